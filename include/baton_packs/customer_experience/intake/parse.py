"""Documents as they were delivered, to text: the frame *parsed* of the flow `document_intake`."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baton.progress import told
from baton.record import warehouse
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton.stages.digests import code_of
from baton.stages.journal import Journal
from baton_packs.customer_experience.reading.document import ParsedDocument, read_document
from baton_packs.customer_experience.reading.process import DocumentReader
from baton_packs.customer_experience.reading.text.limits import EMPTY, LIMITS, NOT_READ, TOO_LARGE, ReadingLimits

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("document_id", "channel", "name", "received_at", "media", "sender", "sender_name", "reply_to", "recipients",
           "subject", "automatic", "text", "attachments", "pages", "ocr", "language", "problem", "notes", "unread")  # fmt: skip
_MAIL_CHANNELS = ("mailbox",)
_SECONDS = 600.0  # by the clock, for all documents of a batch: a task is ended after 900


@engine_step()
def stage(job: StageJob[Any]) -> StageOutput:
    """`parse` of the input `documents`; what an attempt read that was killed is not read again.

    Facts: `not_read` (documents that the batch had no time or room for) and `degraded`, only if there are such.
    """
    # a dry run commits nothing that would end its journal
    state = {"limits": asdict(LIMITS), "code": code_of(read_document)}
    journal = None if job.dry_run else Journal(job.slot.folder, state)
    frame = parse(read_inputs(job.inputs)["documents"], journal=journal)
    facts, left = dict[str, Any](), int((frame["problem"] == NOT_READ).sum())
    said = [f"{left} of {len(frame)} documents were not read for want of time or room and wait in quarantine"]
    if degraded := [*(said if left else []), *([journal.problem] if journal and journal.problem else [])]:
        facts = {"not_read": left, "degraded": degraded}
    if journal is None:
        return StageOutput(frame, facts)
    return StageOutput(frame, facts, lambda conn, commit_id: warehouse.after_commit(conn, journal.clear))


def parse(
    documents: pd.DataFrame, limits: ReadingLimits = LIMITS, *, workers: int = 2, seconds: float = _SECONDS,
    journal: Journal | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Read documents of any kind; a bad one gets a problem and never stops the batch.

    Each is read in a process with bounds of time and memory, which is started again after one that it did not survive.

    Args:
        documents: document_id, channel, name, received_at, content (bytes or None), size (bytes), problem (None, or why
            the source does not carry the content); columns that begin with `_` pass through.
        workers: processes.
        seconds: by the clock; a document whose turn comes later is `not_read`.
        journal: holds what was read before and takes what is read now.

    Returns:
        one row per document in the same order: document_id, channel, name, received_at, media (mail | pdf | scan | text |
        unknown), sender, sender_name, reply_to, recipients, subject, automatic (a machine wrote it), text, attachments (JSON), pages, ocr, language
        (two letters or ""), problem (None or one of `limits.PROBLEMS`), notes (JSON), unread (JSON: what of it was not read), and what begins with `_`.
    """
    import pandas as pd

    rows, until = documents.to_dict("records"), time.monotonic() + seconds
    local, readers = threading.local(), []

    def read(row: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(local, "reader"):
            local.reader = DocumentReader(limits)
            readers.append(local.reader)
        return _read(row, local.reader, limits, until, journal)

    try:
        # each thread has a process of its own; the threads only wait
        with ThreadPoolExecutor(max_workers=max(1, min(workers, len(rows)))) as pool:
            found = list(told(pool.map(read, rows), "reading", "documents", len(rows)))
    finally:
        for reader in readers:
            reader.close()
    kept = [name for name in documents.columns if str(name).startswith("_")]
    frame = pd.DataFrame([row | one for row, one in zip(rows, found, strict=True)], columns=[*COLUMNS, *kept])
    types = {"recipients": "int64", "pages": "int64", "ocr": "bool", "automatic": "bool"}
    return frame.astype(types | {name: documents[name].dtype for name in ("received_at", *kept)})


def _read(
    row: dict[str, Any], reader: DocumentReader, limits: ReadingLimits, until: float, journal: Journal | None
) -> dict[str, Any]:
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
        name, mailbox = str(row["name"] or ""), row["channel"] in _MAIL_CHANNELS
        about = (hashlib.sha256(cut).hexdigest(), name, str(size), str(mailbox))
        key = "" if journal is None else journal.key(*about)
        known = None if journal is None else journal.get(key)
        if known is not None:
            found = known
        elif time.monotonic() >= until:
            found = {"problem": NOT_READ, "notes": ["the time for reading the batch was used up before its turn"]}
        else:
            found = reader.read(cut, name, size=size, mailbox=mailbox)
            if journal is not None:
                journal.put(key, found)
    whole = vars(ParsedDocument()) | found
    if whole["problem"] == TOO_LARGE and not whole["notes"]:
        whole["notes"] = ["larger than the limit"]
    ocr = whole.pop("ocr_pages") > 0
    return whole | {"ocr": ocr} | {name: json.dumps(whole[name]) for name in ("attachments", "notes", "unread")}
