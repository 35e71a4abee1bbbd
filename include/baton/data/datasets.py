"""Datasets: immutable rows, named by a `DatasetRef`, as one Parquet object or as parts with a manifest, in any fsspec store.

An object is written once, under a name never used before, and is data only when a commit names it
(`baton.stages.slots`). Reading hashes the very bytes that it parses: nobody gets other rows than were committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from baton.data import objects, parts, stored
from baton.data.cells import keys_of
from baton.data.objects import StoreError, no_fault
from baton.data.parts import PartWriter, StoredPart
from baton.errors import DatasetCorrupt
from baton.settings import settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class DatasetRef:
    """What one stage hands to the next.

    Attributes:
        uri: address of the Parquet object, or of the manifest that names several.
        rows: number of rows.
        schema_fingerprint: SHA-256 (first 16 hex digits) of column names and Arrow types, in order.
        content_sha256: SHA-256 of the object's bytes, of a manifest over those of its parts; equal for equal rows under the
            same library versions. Of some rows of a dataset (`window`): over the parts that hold them.
        partition: the partition that the rows belong to.
        start, of: of some rows of a dataset: the first of them (from 0), and the hash of all.
    """

    uri: str
    rows: int
    schema_fingerprint: str
    content_sha256: str
    partition: str
    start: int = 0
    of: str = ""

    @property
    def kind(self) -> str:
        """`parquet`: one object; `manifest`: several."""
        return "manifest" if parts.is_manifest(self.uri) else "parquet"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, small enough for XCom."""
        return {name: value for name, value in asdict(self).items() if self.of or name not in ("start", "of")}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> DatasetRef:
        """Build from `to_dict`'s result. Raises TypeError: a field is missing or unknown."""
        return cls(**value)


def schema_fingerprint(schema: pa.Schema) -> str:
    """Return a short hash of column names and Arrow types, in order."""
    text = "\n".join(f"{field.name}\t{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- writing ---


def write(frame: pd.DataFrame, name: str, partition: str = "", at: Callable[[str], None] = no_fault) -> DatasetRef:
    """Write `frame` (n rows; its index is dropped) as one new dataset and return its reference.

    Args:
        frame: every column of one type that Arrow knows.
        name: path below `settings().store_url`, ending in `.parquet`, never used before.
        partition: carried into the reference.
        at: called for each object at the points `writing`, `written`, `synced` (crash tests).

    Raises:
        StoreError: the store is full or not writable (what was written is removed), the name is taken, or a
            column mixes types.
    """
    with DatasetWriter(name, partition, at) as writer:
        writer.add(frame)
        return writer.close()


class DatasetWriter:
    """Rows come frame by frame, in order; more than one part's (`parts.ROWS`, `parts.BYTES`) become parts with a manifest.

    No more than a part is held. How the rows were cut into frames makes no difference to what is written. As a context it
    removes what it wrote when an error leaves it.
    """

    def __init__(
        self, name: str, partition: str = "", at: Callable[[str], None] = no_fault, ends: Collection[int] = (),
        key: str | None = None,
    ) -> None:  # fmt: skip
        """See `write`.

        Args:
            ends: numbers of rows after which a part ends in any case; with any the dataset has a manifest.
            key: a column that the rows come sorted by, so that one is found in a group of its part.
        """
        self._name, self._partition, self._at, self._key = name, partition, at, key
        self._ends = sorted(ends)
        self._schema: pa.Schema | None = None
        self._part, self._size = PartWriter(key), 0
        self._parts: list[StoredPart] = []

    def add(self, rows: pd.DataFrame | pa.Table) -> None:
        """Take rows; the first decide columns and types.

        Raises:
            StoreError: they cannot be stored, see `write`, or have other columns or types than those before.
        """
        table = self.fitting(rows)
        start = 0
        while start < table.num_rows:
            if self._full():
                self._flush()
            left = min(table.num_rows - start, self._until_end())
            whole = start == 0 and not self._part.rows and left <= parts.ROWS and table.nbytes <= parts.BYTES
            piece = table.slice(start, left if whole else min(left, parts.STEP - self._part.rows % parts.STEP))
            self._size += piece.nbytes
            self._part.add(piece, self.schema)
            start += piece.num_rows
            if self._until_end() == 0:
                self._flush()

    def close(self) -> DatasetRef:
        """Write what is left and return the reference of all.

        Raises:
            StoreError: as `write`; nothing was added, not even a frame without rows.
        """
        schema = self.schema
        if self._parts or self._key is not None:
            if self._part.rows or not self._parts:
                self._flush()
            made = parts.put_manifest(self._name, self._parts, self._at)
        else:
            made = self._part.put(self._name, schema, self._at)
        return DatasetRef(made.uri, made.rows, schema_fingerprint(schema), made.sha256, self._partition)

    @property
    def schema(self) -> pa.Schema:
        """Columns and types so far.

        Raises:
            StoreError: nothing was added, not even a frame without rows.
        """
        if self._schema is None:
            raise StoreError(f"{self._name}: no frame was added, so its columns are not known; add one without rows")
        return self._schema

    def __enter__(self) -> DatasetWriter:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the parts when an error came: a task's time limit is no Exception."""
        if kind is not None:
            for part in self._parts:
                objects.delete(part.uri)

    def _full(self) -> bool:
        rows = self._part.rows
        return rows > 0 and rows % parts.STEP == 0 and (rows >= parts.ROWS or self._size >= parts.BYTES)

    def _until_end(self) -> int:
        """Rows until a part ends in any case."""
        now = self._part.rows
        have = now + sum(part.rows for part in self._parts)
        return next((end - have for end in self._ends if end > have or (end == have and now)), 1 << 62)

    def _flush(self) -> None:
        part, self._part, self._size = self._part, PartWriter(self._key), 0
        self._parts.append(part.put(parts.named(self._name, len(self._parts)), self.schema, self._at))

    def fitting(self, rows: pd.DataFrame | pa.Table) -> pa.Table:
        """The rows under the schema so far, which they may complete; see `add`."""
        import pyarrow as pa

        try:
            table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
            if self._schema is None:
                self._schema = table.schema
            elif table.schema != self._schema:
                if table.schema.names == self._schema.names:  # parts before keep their columns without a type
                    self._schema = _more_known(self._schema, table.schema)
                table = table.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError) as error:
            raise StoreError(
                f"{self._name}: the frame does not fit Parquet: {error}; give each column one type"
            ) from error
        return table.replace_schema_metadata(self._schema.metadata)


def in_one(frames: Iterable[pd.DataFrame], name: str) -> pa.Table:
    """Frames as one table, with the columns and types that they would have as the dataset `name`.

    Raises:
        StoreError: see `DatasetWriter.add`.
    """
    writer = DatasetWriter(name)
    tables = [writer.fitting(frame) for frame in frames]
    return parts.in_one(tables, writer.schema)


def _more_known(schema: pa.Schema, of_later: pa.Schema) -> pa.Schema:
    """The schema, its columns that held nothing so far with the types that later rows give them."""
    import pyarrow as pa

    fields = [new if pa.types.is_null(old.type) else old for old, new in zip(schema, of_later, strict=True)]
    known = pa.schema(fields)
    return known.with_metadata((schema if known == schema else of_later).metadata)


# --- reading ---


def read(ref: DatasetRef, columns: Sequence[str] | None = None, *, exact: bool = False) -> pd.DataFrame:
    """Read the rows of `ref` after checking its hash.

    Args:
        ref: a committed dataset.
        columns: only these, in this order; default all.
        exact: integers with gaps are objects and not floats, which hold 53 bits and would differ from frame to frame.

    Raises:
        DatasetCorrupt: an object is missing or has other bytes than were committed.
        StoreError: a column is not in the dataset, or it has more rows than `settings().max_frame_rows`.
    """
    if ref.rows > settings().max_frame_rows:
        raise StoreError(
            f"{ref.uri}: {ref.rows:,} rows are too many for one frame (BATON_MAX_FRAME_ROWS={settings().max_frame_rows:,}); "
            "take them batch by batch with `datasets.read_batches`"
        )
    wanted = list(columns) if columns is not None else None
    tables = []
    skip, have = stored.held(ref)
    for file in stored.files(ref, have):
        _require(ref, file, wanted)
        tables.append(file.read(columns=wanted))
        del file  # its bytes go before the next one's come
    table = stored.joined(tables)
    frame = stored.frame_of(table.slice(skip, ref.rows) if ref.of else table, exact=exact)
    return frame[wanted] if wanted is not None else frame


def table(ref: DatasetRef) -> pa.Table:
    """Read all rows of `ref` as Arrow has them, after checking its hash; for one part, not for a batch of any size.

    Raises:
        DatasetCorrupt: an object is missing or has other bytes than were committed.
    """
    import pyarrow as pa

    return pa.concat_tables([file.read() for file in stored.files(ref)])


def read_batches(ref: DatasetRef, columns: Sequence[str] | None = None, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Read the rows of `ref` in order, part by part: one is fetched, checked, passed on and dropped before the next.

    Args:
        ref: a committed dataset of any size.
        columns: only these, in this order; default all.
        rows: of a batch, at most.

    Raises:
        DatasetCorrupt: an object is missing or has other bytes than were committed; rows of the parts before it have been
            passed on.
        StoreError: a column is not in the dataset.
    """
    wanted = list(columns) if columns is not None else None
    skip, have = stored.held(ref)
    left = ref.rows
    for file in stored.files(ref, have):
        _require(ref, file, wanted)
        for batch in file.iter_batches(batch_size=rows, columns=wanted):
            some = batch.slice(skip, left) if ref.of else batch
            skip, left = max(0, skip - batch.num_rows), left - some.num_rows
            if some.num_rows or not ref.of:
                yield some.select(wanted) if wanted is not None else some
        del file  # its bytes go before the next one's come


def read_frames(
    ref: DatasetRef, rows: int = 100_000, ends: Sequence[int] = (), *, exact: bool = False, columns: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:  # fmt: skip
    """Read the rows of `ref` in order, as frames of exactly `rows` rows, the last of what is left: see `read_batches`.

    Two datasets of as many rows give frames that fit each other, however each was cut into parts; one of no rows gives one without any.

    Args:
        ends: numbers of rows after which a frame ends in any case; then the next begins.
        exact, columns: see `read`.
    """
    import pyarrow as pa

    if not ref.rows:
        yield read(ref, columns, exact=exact)
        return
    edges = sorted({0, *ends, ref.rows})
    sizes = (min(rows, end - at) for start, end in pairwise(edges) for at in range(start, end, rows))
    waiting: list[pa.Table] = []
    have, size = 0, next(sizes, 0)
    for batch in read_batches(ref, columns, rows):
        table = pa.Table.from_batches([batch])
        while table.num_rows and have + table.num_rows >= size:
            whole = stored.joined([*waiting, table.slice(0, size - have)])
            table, waiting, have, size = table.slice(size - have), [], 0, next(sizes, 0)
            made = [stored.frame_of(whole, exact=exact)]
            del whole
            yield made.pop()  # whoever takes the frame has it alone
        waiting, have = [*waiting, table], have + table.num_rows


def _require(ref: DatasetRef, file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
    missing = [name for name in columns or [] if name not in file.schema_arrow.names]
    if missing:
        said = f"no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}"
        raise StoreError(f"{ref.uri}: {said}") from ValueError(said)  # not the store's fault: trying again is no use


def held(ref: DatasetRef, keys: Collection[tuple[str, ...]], values: Collection[str]) -> int:
    """Count the rows that hold one of `values` as a key.

    Args:
        keys: columns of each key, joined as `cells.keys_of` joins them; one with a column that is not there holds nothing.

    Raises:
        DatasetCorrupt: an object is missing or has other bytes than were committed.
    """
    import pyarrow.compute as pc

    return sum(int(pc.sum(_hits(file, keys, values)).as_py() or 0) for file in stored.files(ref))


def without(
    ref: DatasetRef, keys: Collection[tuple[str, ...]], values: Collection[str], name: str, key: str | None = None
) -> DatasetRef:
    """Write the rows that hold none of `values` as a key (see `held`) as a new dataset `name`, part by part, sorted by `key`
    as they are.

    Raises:
        DatasetCorrupt: an object is missing or has other bytes than were committed.
        StoreError: as `write`.
    """
    import pyarrow.compute as pc

    with DatasetWriter(name, ref.partition, key=key) as writer:
        for file in stored.files(ref):
            writer.add(file.read().filter(pc.invert(_hits(file, keys, values))))
            del file
        return writer.close()


def _hits(file: pq.ParquetFile, keys: Collection[tuple[str, ...]], values: Collection[str]) -> pa.BooleanArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted, hits = pa.array(sorted(values), pa.string()), pa.array([False] * file.metadata.num_rows, pa.bool_())
    for key in sorted(keys):
        if not set(key) <= set(file.schema_arrow.names):
            continue
        columns = file.read(columns=list(key))
        found = (
            columns.column(0).cast(pa.string())
            if len(key) == 1
            else pa.array(keys_of(columns.to_pandas(), list(key)), pa.string())
        )
        hits = pc.or_(hits, pc.is_in(found, value_set=wanted))
    return hits


def verifies(ref: DatasetRef) -> bool:
    """Return whether all its objects are there with the recorded bytes."""
    try:
        for part in stored.held(ref)[1]:
            stored.verified(part)
    except DatasetCorrupt:
        return False
    return True


def delete(ref: DatasetRef) -> None:
    """Remove a dataset that no commit names."""
    with suppress(DatasetCorrupt):  # gc finds parts by their names
        for part in parts.owned(ref.uri, stored.held(ref)[1]):
            objects.delete(part.uri)
    objects.delete(ref.uri)
