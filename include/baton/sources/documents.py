"""Documents as rows: one frame for every way that documents come in, and the drop folder that users fill.

document_id   first 20 hex digits of SHA-256 over name, NUL and content: a redelivery has the same one; of a mail over the
              content alone, for its name is only its place in the mailbox
channel       folder, mailbox or http
name          path below the folder, or what else names the document there
received_at   UTC
content       bytes; None with a problem
size          bytes
problem       None; too_large (beyond the source's limit); damaged (content that is no base64); not_read (beyond what a
              partition may hold)

Names are personal data: errors and warnings count files instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from baton.data.fit import fit
from baton.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs.source import DocumentFields


NOT_READ = "not_read"
COLUMNS = ("document_id", "channel", "name", "received_at", "content", "size", "problem")


@dataclass(frozen=True)
class BatchLimits:
    """Of a document, and of all documents of a partition: one that does not fit any more is left out, `not_read`."""

    max_bytes: int = 25_000_000
    max_documents: int = 10_000
    max_batch_bytes: int = 1_000_000_000


@dataclass
class Room:
    """What of its limits a partition has used up."""

    limits: BatchLimits
    documents: int = 0
    size: int = 0

    def takes(self, size: int) -> bool:
        """Whether a document of so many bytes still fits; then it is counted."""
        if self.documents >= self.limits.max_documents or self.size + size > self.limits.max_batch_bytes:
            return False
        self.documents, self.size = self.documents + 1, self.size + size
        return True


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        digest: what its id is made of where the content is not carried.
        is_place: its name says where it lies, and nothing about it.
    """

    name: str
    received_at: datetime
    content: bytes | None
    size: int
    problem: str | None = None
    digest: str = ""
    is_place: bool = False

    @property
    def document_id(self) -> str:
        made = hashlib.sha256(b"" if self.is_place else self.name.encode("utf-8", "surrogateescape") + b"\0")
        made.update(self.content if self.content is not None else self.digest.encode())
        return made.hexdigest()[:20]


def frame_of(documents: Iterable[Document], channel: str, limits: BatchLimits) -> pd.DataFrame:
    """Make rows of documents, sorted by name; the content of those beyond the limits is left out."""
    import pandas as pd

    room, found = Room(limits), list[Document]()
    for one in documents:
        if one.content is None or room.takes(len(one.content)):
            found.append(one)
        else:
            mark = one.digest or hashlib.sha256(one.content).hexdigest()
            found.append(replace(one, content=None, problem=NOT_READ, digest=mark))
    found.sort(key=lambda one: (one.name, one.received_at))
    columns: dict[str, Any] = {
        "document_id": [one.document_id for one in found],
        "channel": [channel] * len(found),
        "name": [fit(one.name) for one in found],
        "received_at": pd.to_datetime([one.received_at for one in found], utc=True).astype("datetime64[ns, UTC]"),
        "content": pd.Series([one.content for one in found], dtype=object),
        "size": pd.Series([one.size for one in found], dtype="int64"),
        "problem": pd.Series([one.problem for one in found], dtype=object),
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def of_records(
    records: Iterable[Mapping[str, Any]], fields: DocumentFields, start: datetime, where: str, limits: BatchLimits
) -> pd.DataFrame:
    """Make rows of decoded JSON records whose content is base64.

    Args:
        start: when a document arrived whose record does not tell.

    Raises:
        SourceError: a record has no name, or its time cannot be read.
    """

    def made() -> Iterator[Document]:
        for number, record in enumerate(records, 1):
            name, text = record.get(fields.name), record.get(fields.content)
            if not isinstance(name, str) or not name:
                raise SourceError(f"{where}, record {number}: `{fields.name}` should be the document's name")
            at = _time(record.get(fields.received_at), start) if fields.received_at else start
            if at is None:
                raise SourceError(f"{where}, record {number}: `{fields.received_at}` should be an ISO 8601 time")
            name = fit(name)
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

    return frame_of(made(), "http", limits)


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
