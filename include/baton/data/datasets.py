"""Datasets: immutable Parquet objects, named by a `DatasetRef`, in any fsspec store.

An object is written once, under a name never used before, and is data only when a commit names it
(`baton.stages.slots`). Reading hashes the very bytes that it parses: nobody gets other rows than were committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from baton.data import objects
from baton.data.cells import keys_of
from baton.data.objects import StoreError, no_fault
from baton.errors import DatasetCorrupt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class DatasetRef:
    """What one stage hands to the next.

    Attributes:
        uri: address of the Parquet object.
        rows: number of rows.
        schema_fingerprint: SHA-256 (first 16 hex digits) of column names and Arrow types, in order.
        content_sha256: SHA-256 of the object's bytes; equal for equal rows under the same library versions.
        partition: the partition that the rows belong to.
    """

    uri: str
    rows: int
    schema_fingerprint: str
    content_sha256: str
    partition: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, small enough for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> DatasetRef:
        """Build from `to_dict`'s result. Raises TypeError: a field is missing or unknown."""
        return cls(**value)


def schema_fingerprint(schema: pa.Schema) -> str:
    """Return a short hash of column names and Arrow types, in order."""
    text = "\n".join(f"{field.name}\t{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(frame: pd.DataFrame, name: str, partition: str = "", at: Callable[[str], None] = no_fault) -> DatasetRef:
    """Write `frame` (n rows; its index is dropped) as one new object and return its reference.

    Args:
        frame: every column of one type that Arrow knows.
        name: path below `settings().store_url`, ending in `.parquet`, never used before.
        partition: carried into the reference.
        at: called at the points `writing`, `written`, `synced` (crash tests).

    Raises:
        StoreError: the store is full or not writable (the partial object is removed), the name is taken, or a
            column mixes types.
    """
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise StoreError(f"{name}: the frame does not fit Parquet: {error}; give each column one type") from error
    return write_table(table, name, partition, at)


def write_table(table: Any, name: str, partition: str, at: Callable[[str], None] = no_fault) -> DatasetRef:
    """Write an Arrow table as one new object; see `write`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_writer_options(table.schema))
    body = sink.getvalue()
    uri = objects.put(name, memoryview(body), at)
    digest = hashlib.sha256(body).hexdigest()
    return DatasetRef(uri, table.num_rows, schema_fingerprint(table.schema), digest, partition)


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Fixed options: the bytes, and with them the digests of all later stages, depend on the rows only.

    A dictionary pays for texts only; numbers are split by byte before zstd, which takes half the time to write
    and to read (ULB, 30 columns) and less space.
    """
    import pyarrow as pa

    numbers = [field.name for field in schema if field.type in (pa.float32(), pa.float64())]
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type) or pa.types.is_dictionary(field.type)
    ]
    fixed = {"compression": "zstd", "compression_level": 1, "version": "2.6", "row_group_size": 1 << 20}
    return {**fixed, "use_dictionary": texts or False, "use_byte_stream_split": numbers or False}


def read(ref: DatasetRef, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the rows of `ref` after checking its hash.

    Args:
        ref: a committed dataset.
        columns: only these, in this order; default all.

    Raises:
        DatasetCorrupt: the object is missing or has other bytes than were committed.
        StoreError: a column is not in the dataset.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    body = _verified(ref)
    file = pq.ParquetFile(pa.BufferReader(body))
    missing = [name for name in columns or [] if name not in file.schema_arrow.names]
    if missing:
        raise StoreError(f"{ref.uri}: no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}")
    frame = file.read(columns=list(columns) if columns is not None else None).to_pandas()
    return frame[list(columns)] if columns is not None else frame


def without(ref: DatasetRef, keys: Collection[tuple[str, ...]], values: Collection[str]) -> tuple[int, Any]:
    """Look for rows that hold one of `values` as a key.

    Args:
        keys: columns of each key, joined as `cells.keys_of` joins them; one with a column that is not there holds nothing.

    Returns:
        number of such rows, and the Arrow table of all others, of the same schema; None if there is no such row.

    Raises:
        DatasetCorrupt: the object is missing or has other bytes than were committed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(_verified(ref)))
    there = [list(key) for key in sorted(keys) if set(key) <= set(file.schema_arrow.names)]
    wanted, hits = pa.array(sorted(values), pa.string()), pa.array([False] * ref.rows)
    for key in there:
        columns = file.read(columns=key)
        found = (
            columns.column(0).cast(pa.string())
            if len(key) == 1
            else pa.array(keys_of(columns.to_pandas(), key), pa.string())
        )
        hits = pc.or_(hits, pc.is_in(found, value_set=wanted))
    count = int(pc.sum(hits).as_py() or 0)
    return (count, file.read().filter(pc.invert(hits))) if count else (0, None)


def verifies(ref: DatasetRef) -> bool:
    """Return whether the object is there with the recorded bytes."""
    try:
        _verified(ref)
    except DatasetCorrupt:
        return False
    return True


def _verified(ref: DatasetRef) -> bytes:
    try:
        body = objects.get(ref.uri)
    except FileNotFoundError as error:
        raise DatasetCorrupt(f"{ref.uri}: the object is missing; run its stage again to build it anew") from error
    found = hashlib.sha256(body).hexdigest()
    if found != ref.content_sha256:
        raise DatasetCorrupt(
            f"{ref.uri}: the bytes have SHA-256 {found[:12]}..., committed was {ref.content_sha256[:12]}...; "
            "run its stage again to build it anew"
        )
    return body
