"""Datasets: immutable Parquet objects, named by a `DatasetRef`, in any fsspec store.

An object is written once, under a name never used before, and is data only when a commit names it
(`baton.stages.slots`). Reading hashes the very bytes that it parses: nobody gets other rows than were committed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from baton.data.cells import keys_of
from baton.errors import BatonError, DatasetCorrupt
from baton.files import sync_folder
from baton.settings import settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class StoreError(BatonError):
    """An object cannot be written or read; names the store, what is wrong and what to do."""


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


def _no_fault(point: str) -> None:
    """Called where a process may die; the crash tests put a killer in its place."""


def schema_fingerprint(schema: pa.Schema) -> str:
    """Return a short hash of column names and Arrow types, in order."""
    text = "\n".join(f"{field.name}\t{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(frame: pd.DataFrame, name: str, partition: str = "", at: Callable[[str], None] = _no_fault) -> DatasetRef:
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


def write_table(table: Any, name: str, partition: str, at: Callable[[str], None] = _no_fault) -> DatasetRef:
    """Write an Arrow table as one new object; see `write`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_writer_options(table.schema))
    body = sink.getvalue()
    uri = _uri(name)
    _put(uri, memoryview(body), at)
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
        if _local(ref.uri):
            body = path_of(ref.uri).read_bytes()
        else:
            fs, path = _remote(ref.uri)
            body = bytes(fs.cat_file(path))
    except FileNotFoundError as error:
        raise DatasetCorrupt(f"{ref.uri}: the object is missing; run its stage again to build it anew") from error
    found = hashlib.sha256(body).hexdigest()
    if found != ref.content_sha256:
        raise DatasetCorrupt(
            f"{ref.uri}: the bytes have SHA-256 {found[:12]}..., committed was {ref.content_sha256[:12]}...; "
            "run its stage again to build it anew"
        )
    return body


# --- objects ---

_KINDS = (".parquet", ".json")


@dataclass(frozen=True)
class StoredObject:
    """One object of the store; `name` is its path below the store's address."""

    name: str
    uri: str
    modified: float
    size: int


def objects(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[StoredObject]:
    """List the objects of the store, datasets and journals; `modified` in seconds since 1970, `size` in bytes.

    Args:
        wanted: of which names; the others are not looked at, which costs a disk access each.
    """
    store = settings().store_url.rstrip("/")
    if _local(store):
        root = str(path_of(store))
        for entry in _files(root):
            name = entry.path.removeprefix(f"{root}/")
            if not wanted(name):
                continue
            try:
                stat = entry.stat()
            except FileNotFoundError:  # another process removed it since the listing
                continue
            yield StoredObject(name, _uri(name), stat.st_mtime, stat.st_size)
        return
    fs, root_path = _remote(store)
    for found, info in sorted(fs.find(root_path, detail=True).items()):
        name = found[len(root_path.rstrip("/")) + 1 :]
        if found.endswith(_KINDS) and wanted(name):
            yield StoredObject(name, _uri(name), fs.modified(found).timestamp(), int(info["size"]))


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    """Objects below a folder, in order; a year has 80,000, so no path is made of what the listing knows."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry.path)
        elif entry.name.endswith(_KINDS):
            yield entry


def delete(uri: str) -> None:
    """Remove an object that no commit names; one that is gone already is fine."""
    try:
        if _local(uri):
            path_of(uri).unlink()
        else:
            fs, path = _remote(uri)
            fs.rm_file(path)
    except FileNotFoundError:
        pass


def path_of(uri: str) -> Path:
    """Return the local path of a `file://` URI."""
    return Path(unquote(urlsplit(uri).path))


def _uri(name: str) -> str:
    store = settings().store_url.rstrip("/")
    return f"{store}/{quote(name, safe='/:~') if _local(store) else name}"


def _local(uri: str) -> bool:
    return uri.startswith("file://")


def _remote(uri: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(uri)


def _put(uri: str, body: memoryview, at: Callable[[str], None]) -> None:
    try:
        if _local(uri):
            _put_file(path_of(uri), body, at)
            return
        fs, path = _remote(uri)
        at("writing")
        fs.pipe_file(path, bytes(body), mode="create")
        at("written")
        at("synced")
    except FileExistsError as error:
        raise StoreError(
            f"{uri} exists already: the warehouse is older than its store (was it restored from a backup?); "
            "set BATON_STORE_URL to an empty folder"
        ) from error
    except OSError as error:
        full = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise StoreError(f"{uri}: cannot be written: {full}; nothing was committed, fix that and retry") from error


def _put_file(path: Path, body: memoryview, at: Callable[[str], None]) -> None:
    made = _make_folders(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        try:
            half = len(body) // 2
            _write_all(descriptor, body[:half])
            at("writing")
            _write_all(descriptor, body[half:])
            at("written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        for folder in (path.parent, *made):  # else a power cut after the commit could lose the name
            sync_folder(folder)
    except BaseException:  # a task's time limit is no Exception
        path.unlink(missing_ok=True)
        raise
    at("synced")


def _make_folders(folder: Path) -> list[Path]:
    """Create `folder`; returns the folders whose entries changed."""
    changed = []
    above = folder
    while not above.exists():
        above = above.parent
        changed.append(above)
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def _write_all(descriptor: int, body: memoryview) -> None:
    while body:
        body = body[os.write(descriptor, body) :]


def age(item: StoredObject) -> float:
    """Return an object's age in seconds, by this machine's clock."""
    return time.time() - item.modified
