"""Mails of a partition's time as documents, from a folder of an IMAP mailbox; nothing there is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from baton.errors import SourceError
from baton.sources.documents import BatchLimits, Document, frame_of

if TYPE_CHECKING:
    import pandas as pd

    from baton.sources.imap import ImapFolder


def read_mails(folder: ImapFolder, start: datetime, end: datetime, where: str, limits: BatchLimits) -> pd.DataFrame:
    """Read what arrived (INTERNALDATE) from `start` (inclusive) to `end` (exclusive), one row per mail.

    A mail is named by folder, UIDVALIDITY and UID, which stay the same as long as it lies there. Its size is asked
    before its content: one beyond `limits.max_bytes` is not fetched.

    Raises:
        SourceError: the server does not answer as it should, or there is more than the limits.
    """
    listed = folder.between(start, end)
    heavy = sum(one.size for one in listed if one.size <= limits.max_bytes)
    if len(listed) > limits.max_documents or heavy > limits.max_batch_bytes:
        raise SourceError(
            f"{where}: {len(listed)} mails, {heavy} bytes, more than {limits.max_documents} or {limits.max_batch_bytes} "
            "in one partition; take a shorter step, or raise max_documents or max_batch_bytes"
        )

    def mails() -> Iterator[Document]:
        for one in listed:
            name = f"{folder.name.replace('/', '-')}-{folder.validity}-{one.uid}.eml"
            content = folder.fetch(one.uid) if one.size <= limits.max_bytes else None
            if content is None or len(content) > limits.max_bytes:  # a server may say a wrong size
                yield Document(name, one.received_at, None, one.size, "too_large", str(one.size))
            else:
                yield Document(name, one.received_at, content, len(content))

    return frame_of(mails(), "mailbox", where, limits)
