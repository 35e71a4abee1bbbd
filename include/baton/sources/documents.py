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
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from baton.data.fit import fit
from baton.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs.source import DocumentFields


COLUMNS = ("document_id", "channel", "name", "received_at", "content", "size", "problem")


@dataclass(frozen=True)
class BatchLimits:
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


def frame_of(documents: Iterable[Document], channel: str, where: str, limits: BatchLimits) -> pd.DataFrame:
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
