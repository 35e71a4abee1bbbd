"""Documents as they were delivered, to text: the frame *parsed* of the flow `document_intake`."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from baton_packs.customer_experience.reading.document import ParsedDocument
from baton_packs.customer_experience.reading.process import DocumentReader
from baton_packs.customer_experience.reading.text.limits import EMPTY, LIMITS, TOO_LARGE, ReadingLimits

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("document_id", "channel", "name", "received_at", "media", "sender", "sender_name", "reply_to", "recipients",
           "subject", "automatic", "text", "attachments", "pages", "ocr", "language", "problem", "notes", "unread")  # fmt: skip
_MAIL_CHANNELS = ("mailbox",)


def parse(documents: pd.DataFrame, limits: ReadingLimits = LIMITS, *, workers: int = 2) -> pd.DataFrame:
    """Read documents of any kind; a bad one gets a problem and never stops the batch.

    Each is read in a process with bounds of time and memory, which is started again after one that it did not survive.

    Args:
        documents: document_id, channel, name, received_at, content (bytes or None), size (bytes), problem (None, or why
            the source does not carry the content); columns that begin with `_` pass through.
        workers: processes.

    Returns:
        one row per document in the same order: document_id, channel, name, received_at, media (mail | pdf | scan | text |
        unknown), sender, sender_name, reply_to, recipients, subject, automatic (a machine wrote it), text, attachments (JSON), pages, ocr, language
        (two letters or ""), problem (None or one of `limits.PROBLEMS`), notes (JSON), unread (JSON: what of it was not read), and what begins with `_`.
    """
    import pandas as pd

    rows = documents.to_dict("records")
    local, readers = threading.local(), []

    def read(row: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(local, "reader"):
            local.reader = DocumentReader(limits)
            readers.append(local.reader)
        return _read(row, local.reader, limits)

    try:
        # each thread has a process of its own; the threads only wait
        with ThreadPoolExecutor(max_workers=max(1, min(workers, len(rows)))) as pool:
            found = list(pool.map(read, rows))
    finally:
        for reader in readers:
            reader.close()
    kept = [name for name in documents.columns if str(name).startswith("_")]
    frame = pd.DataFrame([row | one for row, one in zip(rows, found, strict=True)], columns=[*COLUMNS, *kept])
    types = {"recipients": "int64", "pages": "int64", "ocr": "bool", "automatic": "bool"}
    return frame.astype(types | {name: documents[name].dtype for name in ("received_at", *kept)})


def _read(row: dict[str, Any], reader: DocumentReader, limits: ReadingLimits) -> dict[str, Any]:
    content, size = row["content"], row["size"]
    given = row.get("problem")
    if isinstance(given, str) and given:
        found: dict[str, Any] = {"problem": given, "notes": ["the source did not deliver the content"]}
    elif not isinstance(content, bytes | bytearray | memoryview) or not len(content):
        found = {"problem": EMPTY, "notes": ["no content"]}
    else:
        data = bytes(content)
        size = len(data) if size is None or size != size else max(int(size), len(data))
        cut = data if size <= limits.document_bytes else data[: limits.header_bytes]
        found = reader.read(cut, str(row["name"] or ""), size=size, mailbox=row["channel"] in _MAIL_CHANNELS)
    whole = vars(ParsedDocument()) | found
    if whole["problem"] == TOO_LARGE and not whole["notes"]:
        whole["notes"] = ["larger than the limit"]
    ocr = whole.pop("ocr_pages") > 0
    return whole | {"ocr": ocr} | {name: json.dumps(whole[name]) for name in ("attachments", "notes", "unread")}
