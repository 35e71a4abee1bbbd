"""Documents as rows: one frame for every way that documents come in, and the drop folder that users fill.

document_id   first 20 hex digits of SHA-256 over name, NUL and content: a redelivery has the same one
channel       folder, mailbox or http
name          path below the folder, or what else names the document there
received_at   UTC
content       bytes; None with a problem
size          bytes
problem       None; too_large (beyond the source's limit); damaged (content that is no base64)

Names are personal data: errors and warnings count files instead.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.errors import NoData, SourceError
from baton.settings import settings
from baton.source_files import UNFINISHED

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs_source import DocumentFields

log = logging.getLogger(__name__)

COLUMNS = ("document_id", "channel", "name", "received_at", "content", "size", "problem")
_CHUNK = 1 << 20
_DEEP = 10  # folders below the drop folder


@dataclass(frozen=True)
class Limits:
    """Of a document, and of all documents of a partition."""

    max_bytes: int = 25_000_000
    max_documents: int = 10_000
    max_batch_bytes: int = 1_000_000_000


@dataclass(frozen=True)
class Document:
    """One document; `digest` is what its id is made of where the content is not carried."""

    name: str
    received_at: datetime
    content: bytes | None
    size: int
    problem: str | None = None
    digest: str = ""

    @property
    def document_id(self) -> str:
        made = hashlib.sha256(self.name.encode("utf-8", "surrogateescape") + b"\0")
        made.update(self.content if self.content is not None else self.digest.encode())
        return made.hexdigest()[:20]


def frame_of(documents: Iterable[Document], channel: str, where: str, limits: Limits) -> pd.DataFrame:
    """Make rows of documents, sorted by name.

    Raises:
        SourceError: more documents or bytes than the limits; `where` is what the error calls the source.
    """
    import pandas as pd

    found: list[Document] = []
    held = 0
    for one in documents:
        found.append(one)
        held += len(one.content or b"")
        if len(found) > limits.max_documents or held > limits.max_batch_bytes:
            raise SourceError(
                f"{where}: more than {limits.max_documents} documents or {limits.max_batch_bytes} bytes in one partition; "
                "take a shorter step, or raise max_documents or max_batch_bytes"
            )
    found.sort(key=lambda one: (one.name, one.received_at))
    columns: dict[str, Any] = {
        "document_id": [one.document_id for one in found],
        "channel": [channel] * len(found),
        "name": [one.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in found],
        "received_at": pd.to_datetime([one.received_at for one in found], utc=True).astype("datetime64[ns, UTC]"),
        "content": pd.Series([one.content for one in found], dtype=object),
        "size": pd.Series([one.size for one in found], dtype="int64"),
        "problem": pd.Series([one.problem for one in found], dtype=object),
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def of_records(
    records: Iterable[Mapping[str, Any]], fields: DocumentFields, start: datetime, where: str, limits: Limits
) -> pd.DataFrame:
    """Make rows of decoded JSON records whose content is base64.

    Args:
        start: when a document arrived whose record does not tell.

    Raises:
        SourceError: a record has no name, or its time cannot be read; more than the limits.
    """

    def made() -> Iterator[Document]:
        for number, record in enumerate(records, 1):
            name, text = record.get(fields.name), record.get(fields.content)
            if not isinstance(name, str) or not name:
                raise SourceError(f"{where}, record {number}: `{fields.name}` should be the document's name")
            at = _time(record.get(fields.received_at), start) if fields.received_at else start
            if at is None:
                raise SourceError(f"{where}, record {number}: `{fields.received_at}` should be an ISO 8601 time")
            packed = text.encode("utf-8", "replace") if isinstance(text, str) else b""
            mark = hashlib.sha256(packed).hexdigest()
            if len(packed) // 4 * 3 > limits.max_bytes + 2:
                yield Document(name, at, None, len(packed) // 4 * 3, "too_large", mark)
                continue
            try:
                content = base64.b64decode(b"".join(packed.split()), validate=True) if isinstance(text, str) else None
            except binascii.Error:
                content = None
            if content is None:
                yield Document(name, at, None, len(packed), "damaged", mark)
            elif len(content) > limits.max_bytes:
                yield Document(name, at, None, len(content), "too_large", mark)
            else:
                yield Document(name, at, content, len(content))

    return frame_of(made(), "http", where, limits)


def _time(text: object, default: datetime) -> datetime | None:
    if text in (None, ""):
        return default
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def digest(frame: pd.DataFrame) -> str:
    """SHA-256 over what the rows say: ids stand for names and contents."""
    made = hashlib.sha256()
    for row in zip(*(frame[name] for name in ("document_id", "received_at", "size", "problem")), strict=True):
        made.update(("\x1f".join(map(str, row)) + "\x1e").encode())
    return made.hexdigest()


def read_folder(folder: Path, where: str, limits: Limits) -> pd.DataFrame:
    """Read every file in a folder and below it.

    Left out: what begins with a dot, unfinished uploads (.tmp, .part, ...), links and whatever is no plain file.

    Raises:
        NoData: there is no such folder, or no file in it.
        SourceError: the folder is a link, or lies behind one below the landing folder; a file cannot be read, folders lie
            too deep, or there is more than the limits.
    """
    root = _opened(folder, where)
    try:
        frame = frame_of(_walk(root, (), where, limits), "folder", where, limits)
    finally:
        os.close(root)
    if frame.empty:
        raise NoData(f"{where}: no file in {folder}")
    return frame


def read_store(uri: str, where: str, limits: Limits) -> pd.DataFrame:
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
        frame = frame_of(found(), "folder", where, limits)
    except OSError as error:
        raise SourceError(f"{where}: {uri} cannot be read: {error}") from error
    if frame.empty:
        raise NoData(f"{where}: no file below {uri}")
    return frame


def read_named(folder: Path, names: Sequence[str], where: str, limits: Limits) -> pd.DataFrame:
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
        return frame_of(found, "folder", where, limits)
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


def _named(root: int, parts: tuple[str, ...], which: str, limits: Limits) -> Document:
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


def _walk(folder: int, above: tuple[str, ...], where: str, limits: Limits) -> Iterator[Document]:
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


def _document(folder: int, name: str, parts: tuple[str, ...], limits: Limits) -> Document | None:
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
