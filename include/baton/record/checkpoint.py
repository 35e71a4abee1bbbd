"""Checkpoints: the ledger's size and Merkle root, signed, for those who are given no database.

A checkpoint is a text in the form of c2sp.org/tlog-checkpoint; its key is `evidence.pem` in the folder `ledger`, which all
that write to the ledger share, and the newest one lies beside it. The writer of every 1,000th entry makes one, and whoever
writes an hour or more after the last; entries behind it are covered by the next, or by one on demand. It is signed after
each entry since the last one was checked as `ledger.verify` does, and never over a ledger that does not continue the last.
"""

import base64
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.files import place
from baton.keys import signing_key
from baton.record import anchor, tree, warehouse
from baton.record.tables import ledger, ledger_tree

log = logging.getLogger(__name__)

KEY = "evidence"  # name of the key
EVERY = 1000  # entries
AGE = 3600.0  # seconds
_AT_ONCE = 2000  # rows

Entries = Callable[[Connection, int], Iterator[str]]  # (connection, number) -> hashes of the whole entries behind it


@dataclass(frozen=True)
class Checkpoint:
    """A signed head.

    Attributes:
        size: number of entries.
        root: their Merkle root, 32 bytes.
        note: the whole text, with its signature.
    """

    size: int
    root: bytes
    note: str


def path() -> Path:
    """The newest checkpoint."""
    return anchor.folder() / "checkpoint"


def signed(size: int, root: bytes) -> Checkpoint:
    """The checkpoint of a head, always the same text for the same head and key."""
    key = signing_key(anchor.folder(), KEY)
    public = key.public_key().public_bytes_raw()
    origin = f"baton-ledger-{hashlib.sha256(public).hexdigest()[:16]}"
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    mark = hashlib.sha256(origin.encode() + b"\n\1" + public).digest()[:4]
    line = base64.b64encode(mark + key.sign(text.encode())).decode()
    return Checkpoint(size, root, f"{text}\n\u2014 {origin} {line}\n")


def last() -> Checkpoint | None:
    """The newest checkpoint; None before the first.

    Raises:
        BatonError: the file holds another text than this installation's key signs.
    """
    try:
        note = path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        _, size, root, *_ = note.split("\n")
        known = signed(int(size), base64.b64decode(root))
    except ValueError:
        known = None
    if known is None or known.note != note:
        raise BatonError(
            f"{path()} was not signed with {anchor.folder() / KEY}.pem: find out who wrote it; once it is deleted the next "
            "checkpoint is compared with none"
        )
    return known


def make(entries: Entries) -> Checkpoint:
    """Sign the ledger as it is now; what it costs grows with the entries since the last checkpoint.

    Args:
        entries: hashes of the entries behind a number, each checked; raises BatonError at the first that is wrong.

    Raises:
        BatonError: the ledger is empty, broken behind the last checkpoint, or does not continue it.
    """
    before = last()
    start = before.size if before else 0
    with warehouse.read() as conn:
        size = int(conn.execute(sa.select(sa.func.max(ledger.c.seq))).scalar() or 0)
        if before is not None:
            _require_continued(conn, before, size)
        if size == start:
            if before is None:
                raise BatonError("the ledger is empty: there is nothing to sign")
            return before
        new = list(tree.grown(conn, start, entries(conn, start)))  # of the snapshot that `size` is of, on SQLite
    for first in range(0, len(new), _AT_ONCE):
        rows = [{"level": level, "number": at, "hash": root.hex()} for level, at, root in new[first : first + _AT_ONCE]]
        with warehouse.write() as conn:
            warehouse.upsert(conn, ledger_tree, rows)
    with warehouse.read() as conn:
        made = signed(size, tree.kept(conn).root(size))
    path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place(path(), made.note, replace=True)
    return made


def _require_continued(conn: Connection, before: Checkpoint, size: int) -> None:
    if size < before.size:
        raise BatonError(
            f"entries {size + 1} to {before.size} are missing: {path()} was signed over them. A database that was put back "
            "lacks what was written since; `baton ledger verify` says what is left"
        )
    try:
        same = tree.kept(conn).root(before.size) == before.root
    except sa.exc.NoResultFound:
        raise BatonError(
            f"the table ledger_tree lacks rows that {path()} was signed over: rows of it were deleted; `baton ledger verify` "
            "says whether the ledger is whole, then delete that file and make a checkpoint, which fills the table anew"
        ) from None
    if not same:
        raise BatonError(
            f"the first {before.size} entries are not those that {path()} was signed over: the ledger was rewritten, or "
            "its table ledger_tree; `baton ledger verify` names the entry"
        )


def when_due(number: int, entries: Entries) -> None:
    """Make a checkpoint if the entry that was just committed calls for one; what is wrong then is logged, once an hour."""
    newest = next((one for one in (path(), anchor.folder() / "key") if one.exists()), None)
    if newest is None or (number % EVERY and time.time() - newest.stat().st_mtime < AGE):
        return
    if newest == path():
        os.utime(newest)  # the next writers need not try as well
    try:
        made = make(entries)
    except BatonError as error:
        log.error("no checkpoint of the ledger: %s", error)
    else:
        log.info("checkpoint of the ledger at entry %d", made.size)
