"""Objects: bytes under a name never used before, in a folder or in any fsspec store.

A name is taken once: a folder by an exclusive create, an object store by a conditional put (`mode="create"` of S3, Google
and Azure alike). A store behind a network may have kept an object and lost its answer, and the client then asks again and
hears "exists": so what is there is read back, and equal bytes are our own.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from baton.errors import BatonError
from baton.files import sync_folder
from baton.settings import settings

_KINDS = (".parquet", ".json")
_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict"}  # the last: while another writes it


class StoreError(BatonError):
    """An object cannot be written or read; names the store, what is wrong and what to do."""


@dataclass(frozen=True)
class StoredObject:
    """One object of the store; `name` is its path below the store's address."""

    name: str
    uri: str
    modified: float
    size: int


def no_fault(point: str) -> None:
    """Called where a process may die; the crash tests put a killer in its place."""


def put(name: str, body: memoryview, at: Callable[[str], None] = no_fault) -> str:
    """Write one new object and return its address.

    Args:
        name: path below `settings().store_url`, never used before.
        at: called at the points `writing`, `written`, `synced` (crash tests).

    Raises:
        StoreError: the store is full, out of reach or not writable (a partial object is removed), or the name is taken.
    """
    uri = address(name)
    try:
        if _local(uri):
            _put_file(path_of(uri), body, at)
        else:
            _put_remote(uri, bytes(body), at)
    except FileExistsError as error:
        raise StoreError(
            f"{uri} exists already: the warehouse is older than its store (was it restored from a backup?); "
            "set BATON_STORE_URL to an empty folder"
        ) from error
    except OSError as error:
        full = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise StoreError(f"{uri}: cannot be written: {full}; nothing was committed, fix that and retry") from error
    return uri


def get(uri: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return an object's bytes; with `start` and `end` only those from the one up to the other.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: the store is out of reach.
    """
    if _local(uri):
        if start is None or end is None:
            return path_of(uri).read_bytes()
        with path_of(uri).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), end - start, start)
    fs, path = driver(uri)
    with answering(uri):
        return bytes(fs.cat_file(path, start=start, end=end))


def listed(wanted: Callable[[str], bool] = lambda name: True) -> Iterator[StoredObject]:
    """List the objects of the store, datasets and journals; `modified` in seconds since 1970, `size` in bytes.

    Args:
        wanted: of which names; the others are not looked at, which costs a disk access each.

    Raises:
        StoreError: the store is out of reach.
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
            yield StoredObject(name, address(name), stat.st_mtime, stat.st_size)
        return
    fs, root = driver(store)
    try:
        with answering(store):
            there = sorted(fs.find(root, detail=True).items())
    except FileNotFoundError as error:
        raise StoreError(f"{store}: there is no such bucket; make it first") from error
    for found, info in there:
        name = found.removeprefix(f"{root.rstrip('/')}/")
        if found.endswith(_KINDS) and wanted(name):
            # S3's listing says when; asking again would cost a request each
            modified = info["LastModified"] if "LastModified" in info else fs.modified(found)
            yield StoredObject(name, address(name), modified.timestamp(), int(info["size"]))


def delete(uri: str) -> None:
    """Remove an object that no commit names; one that is gone already is fine."""
    with suppress(FileNotFoundError):
        if _local(uri):
            path_of(uri).unlink()
            return
        fs, path = driver(uri)
        with answering(uri):
            fs.rm_file(path)


def age(item: StoredObject) -> float:
    """Return an object's age in seconds, by this machine's clock."""
    return time.time() - item.modified


def address(name: str, store: str | None = None) -> str:
    """Return an object's address in a store, by default `settings().store_url`."""
    base = (settings().store_url if store is None else store).rstrip("/")
    return f"{base}/{quote(name, safe='/:~') if _local(base) else name}"


def path_of(uri: str) -> Path:
    """Return the local path of a `file://` URI."""
    return Path(unquote(urlsplit(uri).path))


def refuses_a_second_put() -> None:
    """Try the store: write an object, write another under its name, remove it.

    Raises:
        StoreError: the store is out of reach, or takes both: then two attempts of a stage could overwrite each other.
    """
    name = f"probe/{uuid4().hex}.json"
    uri = put(name, memoryview(b"1"))
    try:
        put(name, memoryview(b"2"))
    except StoreError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
    else:
        raise StoreError(f"{uri}: the store overwrites where it was told to create; it needs conditional puts")
    finally:
        delete(uri)


# --- a store behind a network ---


def _local(uri: str) -> bool:
    return uri.startswith("file://")


def driver(uri: str) -> tuple[Any, str]:
    """The driver of an address, and the path in it.

    Raises:
        StoreError: no driver of this kind of address is installed, or it refuses its options.
    """
    import fsspec

    try:
        # other processes write, too: what a listing said is not kept
        return fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"BATON_STORE_URL: no driver for {uri.partition('://')[0]}:// ({error}); S3's is in the extra `production`, "
            "Google's is the package gcsfs, Azure's adlfs"
        ) from error


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Each driver raises its own library's errors when its store does not answer."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StoreError(f"{uri}: the store does not answer: {type(error).__name__}: {error}") from error


def _put_remote(uri: str, body: bytes, at: Callable[[str], None]) -> None:
    fs, path = driver(uri)
    at("writing")
    try:
        fs.pipe_file(path, body, mode="create")
    except Exception as error:
        if not _taken(error):
            if isinstance(error, OSError):
                raise
            raise OSError(f"{type(error).__name__}: {error}") from error
        try:
            there = get(uri)
        except FileNotFoundError:
            raise OSError("it is not there though its name is taken: another attempt writes it") from error
        if there != body:
            raise FileExistsError(uri) from error
    at("written")
    at("synced")


def _taken(error: Exception) -> bool:
    """Whether an error means that the name is in use: AWS names the condition that failed and s3fs makes a `FileExistsError`
    of it, as Google's and Azure's drivers do; other servers of S3 name the code alone."""
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return isinstance(error, FileExistsError) or code in _TAKEN


# --- a folder ---


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
