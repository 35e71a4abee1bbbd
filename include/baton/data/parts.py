"""Parts: a batch of any size as Parquet objects of bounded size, and the manifest that names them in the order of their rows.

A manifest is JSON: {"parts": [{"name", "rows", "bytes", "sha256"}, ...]}. The parts lie beside it, so that a store may move. Its hash
leaves the names out: the same rows have the same hash, whichever attempt wrote them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from baton.data import objects
from baton.errors import DatasetCorrupt

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 500_000  # of a part, at most
BYTES = 128 << 20  # of a part in memory, about: it ends at the next multiple of STEP rows
STEP = 10_000

_PLAIN, _MANIFEST = ".parquet", ".json"


@dataclass(frozen=True)
class StoredPart:
    """One Parquet object of a dataset: its address, rows, size in bytes and the SHA-256 of them."""

    uri: str
    rows: int
    bytes: int
    sha256: str


def is_manifest(uri: str) -> bool:
    """Whether an address is that of a manifest."""
    return uri.endswith(_MANIFEST)


def named(name: str, number: int) -> str:
    """Name of a part of the dataset `name` (ending in `.parquet`)."""
    return f"{name.removesuffix(_PLAIN)}.{number:05}{_PLAIN}"


def put(name: str, table: pa.Table, at: Callable[[str], None], again: bool = False) -> StoredPart:
    """Write a table as one new Parquet object; see `objects.put`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_writer_options(table.schema))
    body = sink.getvalue()
    return StoredPart(
        objects.put(name, memoryview(body), at, again), table.num_rows, body.size, hashlib.sha256(body).hexdigest()
    )


def put_manifest(name: str, parts: Sequence[StoredPart], at: Callable[[str], None]) -> StoredPart:
    """Write the manifest of the dataset `name`; rows and bytes are those of all parts."""
    said = [{"name": part.uri.rpartition("/")[2], **asdict(part)} for part in parts]
    for one in said:
        del one["uri"]
    body = json.dumps({"parts": said}, separators=(",", ":")).encode()
    uri = objects.put(name.removesuffix(_PLAIN) + _MANIFEST, memoryview(body), at)
    return StoredPart(uri, sum(part.rows for part in parts), sum(part.bytes for part in parts), _hash(parts))


def of_manifest(uri: str, sha256: str) -> list[StoredPart]:
    """The parts that a manifest names.

    Raises:
        FileNotFoundError: it is not there.
        DatasetCorrupt: it names other parts than were committed.
    """
    try:
        said = json.loads(objects.get(uri))["parts"]
        folder = uri.rpartition("/")[0]
        parts = [StoredPart(f"{folder}/{one['name']}", one["rows"], one["bytes"], one["sha256"]) for one in said]
        found = _hash(parts)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetCorrupt(f"{uri}: is no manifest ({error}); run its stage again to build it anew") from error
    if found != sha256:
        raise DatasetCorrupt(
            f"{uri}: names other parts than were committed ({found[:12]}..., committed was {sha256[:12]}...); "
            "run its stage again to build it anew"
        )
    return parts


def _hash(parts: Sequence[StoredPart]) -> str:
    said = [[part.rows, part.bytes, part.sha256] for part in parts]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


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
