"""Mails of a partition's time as documents, from a folder of an IMAP mailbox; nothing there is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from baton.sources.documents import NOT_READ, BatchLimits, Document, Room, frame_of

if TYPE_CHECKING:
    import pandas as pd

    from baton.sources.imap import ImapFolder


def read_mails(folder: ImapFolder, start: datetime, end: datetime, limits: BatchLimits) -> pd.DataFrame:
    """Read what arrived (INTERNALDATE) from `start` (inclusive) to `end` (exclusive), one row per mail.

    A mail is named by folder, UIDVALIDITY and UID, which change when it is moved or the mailbox is rebuilt; its id is that of
    its content. Its size is asked before its content: one beyond the limits is not fetched, and has the id of its place.

    Raises:
        SourceError: the server does not answer as it should.
    """
    room = Room(limits)

    def mails() -> Iterator[Document]:
        for one in folder.between(start, end):
            name = f"{folder.name.replace('/', '-')}-{folder.validity}-{one.uid}.eml"
            if one.size <= limits.max_bytes and not room.takes(one.size):
                yield Document(name, one.received_at, None, one.size, NOT_READ, str(one.size))
                continue
            content = folder.fetch(one.uid) if one.size <= limits.max_bytes else None
            if content is None or len(content) > limits.max_bytes:  # a server may say a wrong size
                yield Document(name, one.received_at, None, one.size, "too_large", str(one.size))
            else:
                yield Document(name, one.received_at, content, len(content), is_place=True)

    return frame_of(mails(), "mailbox", limits)
