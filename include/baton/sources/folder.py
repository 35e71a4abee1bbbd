"""Documents of a drop folder, an object store or a list of named files: bytes, never followed links, within limits."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from baton.errors import NoData, SourceError
from baton.settings import settings
from baton.sources.documents import BatchLimits, Document, frame_of
from baton.sources.files import UNFINISHED

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_DEEP = 10  # folders below the drop folder


def read_folder(folder: Path, where: str, limits: BatchLimits) -> pd.DataFrame:
    """Read every file in a folder and below it.

    Left out: what begins with a dot, unfinished uploads (.tmp, .part, ...), links and whatever is no plain file.

    Raises:
        NoData: there is no such folder, or no file in it.
        SourceError: the folder is a link, or lies behind one below the landing folder; a file cannot be read, or folders
            lie too deep.
    """
    root = _opened(folder, where)
    try:
        frame = frame_of(_walk(root, (), where, limits), "folder", limits)
    finally:
        os.close(root)
    if frame.empty:
        raise NoData(f"{where}: no file in {folder}")
    return frame


def read_store(uri: str, where: str, limits: BatchLimits) -> pd.DataFrame:
    """Read every object below an address of an object store (fsspec), as `read_folder` does a folder's files.

    Raises:
        as `read_folder`.
    """
    from fsspec.core import url_to_fs

    system, root = url_to_fs(uri)
    system.invalidate_cache()

    def found() -> Iterator[Document]:
        for path, about in sorted(system.find(root, detail=True).items()):
            name = path[len(root.rstrip("/")) + 1 :]
            if any(part.startswith(".") for part in name.split("/")) or name.lower().endswith(UNFINISHED):
                continue
            at, size = system.modified(path).astimezone(UTC).replace(microsecond=0), int(about["size"])
            if size > limits.max_bytes:
                mark = str(about.get("ETag") or about.get("md5Hash") or size)
                yield Document(name, at, None, size, "too_large", mark)
            else:
                yield Document(name, at, system.cat_file(path), size)

    try:
        frame = frame_of(found(), "folder", limits)
    except OSError as error:
        raise SourceError(f"{where}: {uri} cannot be read: {error}") from error
    if frame.empty:
        raise NoData(f"{where}: no file below {uri}")
    return frame


def read_named(folder: Path, names: Sequence[str], where: str, limits: BatchLimits) -> pd.DataFrame:
    """Read the files that a person named, by paths below a folder; nothing outside can be reached.

    Raises:
        SourceError: there is no such folder, or a file is not there; a name is no path below the folder, leads over a link,
            is no plain file, stands there twice.
    """
    wanted = [_parts(name, f"{where}: file {number} of {len(names)}") for number, name in enumerate(names, 1)]
    if len(set(wanted)) < len(wanted) or not wanted:
        raise SourceError(f"{where}: name at least one file, each once")
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise SourceError(f"{where}: the landing folder {folder} cannot be read: {error.strerror}; create it") from None
    try:
        called = [f"{where}: file {number} of {len(wanted)}" for number in range(1, len(wanted) + 1)]
        found = (_named(root, parts, which, limits) for parts, which in zip(wanted, called, strict=True))
        return frame_of(found, "folder", limits)
    finally:
        os.close(root)


def _parts(name: str, which: str) -> tuple[str, ...]:
    parts = tuple(name.strip().split("/"))
    if not all(parts) or any(part in (".", "..") for part in parts) or "\0" in name or "\\" in name:
        raise SourceError(f"{which} should be a path below the landing folder, such as documents/letter.pdf")
    return parts


def _opened(folder: Path, where: str) -> int:
    """The open drop folder; its landing folder may be a link, which whoever runs this made, but nothing below it."""
    landing = settings().landing_dir
    base = landing if folder != landing and folder.is_relative_to(landing) else folder.parent
    at = -1
    try:
        at = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        for part in folder.relative_to(base).parts:
            if stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
    except OSError as error:
        if at >= 0:
            os.close(at)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise NoData(f"{where}: no folder {folder}") from None
        if error.errno == errno.ELOOP:
            raise SourceError(
                f"{where}: {folder} leads over a link, and links are not followed: put a folder in its place, or write in "
                "the source's path where it really lies"
            ) from None
        raise SourceError(f"{where}: {folder} cannot be read: {error.strerror}") from error
    return at


def _named(root: int, parts: tuple[str, ...], which: str, limits: BatchLimits) -> Document:
    """Go down folder by folder without following links, so that nobody can swap one on the way."""
    at = os.dup(root)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        made = _document(at, parts[-1], parts, limits)
    except FileNotFoundError:
        raise SourceError(f"{which} is not below the landing folder; correct its name in the form") from None
    except OSError as error:
        raise SourceError(f"{which} cannot be read: {error.strerror}; links are not followed") from None
    finally:
        os.close(at)
    if made is None:
        raise SourceError(f"{which} is no plain file; links are not followed")
    return made


def _walk(folder: int, above: tuple[str, ...], where: str, limits: BatchLimits) -> Iterator[Document]:
    names = sorted(os.listdir(folder))  # an open folder has no path
    for number, name in enumerate(names, 1):
        parts = (*above, name)
        which = f"{where}: number {number} of {len(names)} by name" + (f", {len(above)} folders below" if above else "")
        if name.startswith(".") or name.lower().endswith(UNFINISHED):
            continue
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                if len(parts) > _DEEP:
                    raise SourceError(f"{where}: folders lie deeper than {_DEEP} in it; flatten them")
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    yield from _walk(below, parts, where, limits)
                finally:
                    os.close(below)
                continue
            made = _document(folder, name, parts, limits)
        except FileNotFoundError:  # taken away since the listing
            continue
        except OSError as error:
            raise SourceError(f"{which} cannot be read: {error.strerror}") from None  # the error itself has the name
        if made is None:
            log.warning("%s is left out: a link or no plain file", which)
        else:
            yield made


def _document(folder: int, name: str, parts: tuple[str, ...], limits: BatchLimits) -> Document | None:
    """Read one file; None for what is none. A FIFO is not waited for, a link not followed."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            return None
        at, size = datetime.fromtimestamp(about.st_mtime, UTC).replace(microsecond=0), about.st_size
        content = file.read(limits.max_bytes + 1)
        if len(content) <= limits.max_bytes:
            return Document("/".join(parts), at, content, len(content))
        made = hashlib.sha256(content)
        while chunk := file.read(_CHUNK):
            made.update(chunk)
        return Document("/".join(parts), at, None, max(size, limits.max_bytes + 1), "too_large", made.hexdigest())
