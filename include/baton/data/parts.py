"""Parts: a batch of any size as Parquet objects of bounded size, and the manifest that names them in the order of their rows.

A manifest is JSON: {"parts": [{"name", "rows", "bytes", "sha256"}, ...]}. The parts lie beside it, or, of a result that several tasks
made, in the folders of these tasks (`../3/name`): a store may move. Its hash leaves the names out: the same rows have the same
hash, whichever attempts wrote them. Of a dataset that is sorted by a key it names the row groups of each part as well, with the hash of
their bytes and their first and last key: so one row is found, and verified, without its part (`baton.published.keyed`).
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from baton.data import objects
from baton.errors import DatasetCorrupt

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 500_000  # of a part, at most
BYTES = 128 << 20  # of a part in memory, about: it ends at the next multiple of STEP rows
STEP = 10_000
GROUP = 50_000  # rows of a group within a part

_PLAIN, _MANIFEST = ".parquet", ".json"
_NAME = re.compile(r"(\.\./-?\d+/)?[^/]+")  # beside the manifest, or in a folder beside its own; nowhere else


@dataclass(frozen=True)
class Group:
    """Bytes of a part that are read on their own: where they begin, their number and SHA-256, the rows in them, and from which
    key to which these are."""

    at: int
    bytes: int
    sha256: str
    rows: int
    first: Any = None
    last: Any = None


@dataclass(frozen=True)
class StoredPart:
    """One Parquet object of a dataset: its address, rows, size in bytes and the SHA-256 of them.

    Attributes:
        groups: of a dataset that is sorted by a key, its row groups, and after them what Parquet says of itself (0 rows).
    """

    uri: str
    rows: int
    bytes: int
    sha256: str
    groups: tuple[Group, ...] = ()


def give_back() -> None:
    """Return to the system what dropped rows held: allocators keep it for later, and a task's memory would grow by the pieces."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; others give back by themselves
    if trim is not None:
        trim(0)


def is_manifest(uri: str) -> bool:
    """Whether an address is that of a manifest."""
    return uri.endswith(_MANIFEST)


def named(name: str, number: int) -> str:
    """Name of a part of the dataset `name` (ending in `.parquet`)."""
    return f"{name.removesuffix(_PLAIN)}.{number:05}{_PLAIN}"


def put(
    name: str, table: pa.Table, at: Callable[[str], None], key: str | None = None, again: bool = False
) -> StoredPart:
    """Write a table as one new Parquet object, see `PartWriter` and `objects.put`."""
    part = PartWriter(key)
    part.add(table, table.schema)
    return part.put(name, table.schema, at, again)


class PartWriter:
    """A part as it grows: full groups of rows are encoded at once, so that beside its bytes no more than a group is held.

    A group ends after the same rows however they came. While a column's type is not known, all wait: an object has one schema.
    """

    def __init__(self, key: str | None = None) -> None:
        """`key`: a column that the rows come sorted by, of which each group's bounds are told."""
        self._key, self._sink = key, io.BytesIO()  # grows by a part of itself, Arrow's own doubles
        self._waiting: list[pa.Table] = []
        self._held = self.rows = 0
        self._bounds: list[tuple[int, Any, Any]] = []
        self._writer: Any = None

    def add(self, rows: pa.Table, schema: pa.Schema) -> None:
        """Take rows; `schema`: of all that were added and can be cast to it, the same once a part of them is encoded."""
        import pyarrow as pa

        self._waiting.append(rows)
        self._held, self.rows = self._held + rows.num_rows, self.rows + rows.num_rows
        if self._held >= GROUP and not any(pa.types.is_null(field.type) for field in schema):
            self._encode(schema, self._held // GROUP * GROUP)

    def put(self, name: str, schema: pa.Schema, at: Callable[[str], None], again: bool = False) -> StoredPart:
        """Write the object; see `objects.put`."""
        import pyarrow as pa

        if self._held or self._writer is None:
            self._encode(schema, self._held)
        self._writer.close()
        body = self._sink.getbuffer()
        groups = () if self._key is None else tuple(_groups(pa.py_buffer(body), self._bounds))
        digest = hashlib.sha256(body).hexdigest()
        return StoredPart(objects.put(name, body, at, again), self.rows, len(body), digest, groups)

    def _encode(self, schema: pa.Schema, rows: int) -> None:
        import pyarrow.parquet as pq

        waiting, self._waiting = self._waiting, []
        whole = in_one(waiting, schema)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._sink, whole.schema, **_writer_options(whole.schema, self._key))
        for start in range(0, max(rows, 1), GROUP):
            group = whole.slice(start, min(GROUP, rows - start))
            self._writer.write_table(group, row_group_size=GROUP)
            if self._key is not None:
                keys = group.column(self._key)
                ends = (keys[0].as_py(), keys[-1].as_py()) if len(keys) else (None, None)
                self._bounds.append((len(keys), *ends))
        self._held -= rows
        if self._held:
            self._waiting = [whole.slice(rows)]


def in_one(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """The tables in one piece, column by column, so that no more is held twice: how they came must not show in the bytes.

    The list is emptied.
    """
    import pyarrow as pa

    if len(tables) == 1 and tables[0].schema == schema:
        return tables.pop()
    cast = [one.cast(schema) for one in tables]
    tables.clear()
    if not any(one.num_rows for one in cast):
        return pa.concat_tables([schema.empty_table(), *cast]).combine_chunks()
    columns = [[chunk for one in cast for chunk in one.column(n).chunks] for n in range(len(schema))]
    del cast
    made = [pa.chunked_array(columns.pop(0), field.type).combine_chunks() for field in schema]
    return pa.Table.from_arrays(made, schema=schema)


def _groups(body: pa.Buffer, bounds: Sequence[tuple[int, Any, Any]]) -> Iterator[Group]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = pq.read_metadata(pa.BufferReader(body))
    bytes_of = memoryview(body)
    starts = [bytes_of_group(about.row_group(number))[0] for number in range(about.num_row_groups)]
    starts.append(bytes_of_group(about.row_group(about.num_row_groups - 1))[1] if starts else 0)
    for number, (start, end) in enumerate(pairwise([*starts, body.size])):
        digest = hashlib.sha256(bytes_of[start:end]).hexdigest()
        known: tuple[int, Any, Any] = (0, None, None) if number == about.num_row_groups else bounds[number]
        yield Group(start, end - start, digest, *known)


def bytes_of_group(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """Where the pages of a row group begin and end in their file; 0 and 0 of one without columns."""
    columns = [group.column(number) for number in range(group.num_columns)]
    starts = [one.dictionary_page_offset if one.has_dictionary_page else one.data_page_offset for one in columns]
    ends = [start + one.total_compressed_size for start, one in zip(starts, columns, strict=True)]
    return min(starts, default=0), max(ends, default=0)


def put_manifest(name: str, parts: Sequence[StoredPart], at: Callable[[str], None]) -> StoredPart:
    """Write the manifest of the dataset `name`; rows and bytes are those of all parts.

    Raises:
        StoreError: see `objects.put`; or a part lies neither beside it nor in a folder beside its own.
    """
    folder = objects.address(name).rpartition("/")[0]
    said = [{"name": _relative(part.uri, folder), **asdict(part)} for part in parts]
    for one in said:
        del one["uri"]
        if not one["groups"]:
            del one["groups"]
    body = json.dumps({"parts": said}, separators=(",", ":")).encode()
    uri = objects.put(name.removesuffix(_PLAIN) + _MANIFEST, memoryview(body), at)
    return StoredPart(uri, sum(part.rows for part in parts), sum(part.bytes for part in parts), _hash(parts))


def of_manifest(uri: str, sha256: str) -> list[StoredPart]:
    """The parts that a manifest names.

    Raises:
        FileNotFoundError: it is not there.
        DatasetCorrupt: it names other parts than were committed.
    """
    parts = read_manifest(uri)
    found = _hash(parts)
    if found != sha256:
        raise DatasetCorrupt(
            f"{uri}: names other parts than were committed ({found[:12]}..., committed was {sha256[:12]}...); "
            "run its stage again to build it anew"
        )
    return parts


def read_manifest(uri: str) -> list[StoredPart]:
    """The parts that a manifest names, before anybody looked whether they are those that were committed.

    Raises:
        FileNotFoundError: it is not there.
        DatasetCorrupt: it is no manifest.
    """
    folder = uri.rpartition("/")[0]
    try:
        said = json.loads(objects.get(uri))["parts"]
        return [
            StoredPart(_address(one["name"], folder), one["rows"], one["bytes"], one["sha256"], _read_groups(one))
            for one in said
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetCorrupt(f"{uri}: is no manifest ({error}); run its stage again to build it anew") from error


def owned(uri: str, parts: Sequence[StoredPart]) -> list[StoredPart]:
    """Those parts of a manifest that were written with it, and go when it goes; the others are other datasets'."""
    own = uri.removesuffix(_MANIFEST) + "."
    return [part for part in parts if part.uri.startswith(own)]


def _relative(uri: str, folder: str) -> str:
    above = folder.rpartition("/")[0]
    name = uri.removeprefix(f"{folder}/") if uri.startswith(f"{folder}/") else uri.replace(f"{above}/", "../", 1)
    if not _NAME.fullmatch(name):
        raise objects.StoreError(
            f"{uri}: no part of a dataset in {folder}; it lies neither there nor in a folder beside"
        )
    return name


def _address(name: str, folder: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the part {name!r} would lie elsewhere")
    return f"{folder.rpartition('/')[0]}/{name[3:]}" if name.startswith("../") else f"{folder}/{name}"


def range_of(parts: Sequence[StoredPart], start: int, rows: int) -> tuple[int, list[StoredPart], str]:
    """Some rows of a dataset: rows to leave out of the first part, the parts that hold them, a hash over both.

    The hash is the same wherever these parts stand: what comes before them in their dataset does not count.

    Raises:
        ValueError: the dataset has no such rows.
    """
    held: list[StoredPart] = []
    before = skip = 0
    for part in parts:
        if part.rows and before < start + rows and before + part.rows > start:
            skip = skip if held else max(0, start - before)
            held.append(part)
        before += part.rows
    if start < 0 or start + rows > before:
        raise ValueError(f"no rows {start} to {start + rows} in a dataset of {before}")
    said = json.dumps([skip, rows, _hash(held)], separators=(",", ":"))
    return skip, held, hashlib.sha256(said.encode()).hexdigest()


def _read_groups(said: dict[str, Any]) -> tuple[Group, ...]:
    return tuple(Group(**one) for one in said.get("groups", ()))


def _hash(parts: Sequence[StoredPart]) -> str:
    said: list[list[Any]] = [[part.rows, part.bytes, part.sha256] for part in parts]
    for one, part in zip(said, parts, strict=True):
        groups = [[at.at, at.bytes, at.sha256, at.rows, at.first, at.last] for at in part.groups]
        one += [groups] if groups else []
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def _writer_options(schema: pa.Schema, key: str | None) -> dict[str, Any]:
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
    fixed: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "version": "2.6"}
    if key is not None and pa.types.is_integer(schema.field(key).type):
        # sorted numbers: what they grow by is less than what they are
        fixed["column_encoding"] = {key: "DELTA_BINARY_PACKED"}
    return {**fixed, "use_dictionary": texts or False, "use_byte_stream_split": numbers or False}
