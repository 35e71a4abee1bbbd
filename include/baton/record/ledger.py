"""The ledger: the record of what happened, append-only, every entry chained to the one before by SHA-256.

The chain shows an edit, a deletion, an insertion and a swap. It cannot show that its end was cut off, nor that somebody
rewrote everything from one entry on; for that, each committed entry's hash is also appended to the *anchor*, a file
outside the database (`ledger.anchor` in BATON_HOME). Keep copies of the anchor where the database's owner cannot write.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record import warehouse
from baton.record.tables import ledger
from baton.settings import settings

GENESIS = "0" * 64
_ADVISORY_LOCK = 0x6C6564676572  # "ledger"
_HASHED = ("seq", "at", "kind", "subject", "payload", "prev")


@dataclass(frozen=True)
class LedgerEntry:
    """One thing that happened."""

    seq: int
    at: str
    kind: str
    subject: str
    payload: dict[str, Any]
    hash: str


@dataclass(frozen=True)
class ChainCheck:
    """What `verify` found.

    Attributes:
        ok: the chain is whole and agrees with the anchor.
        records: entries in the database.
        first_broken: number of the first entry that is wrong or missing; None if ok or if the anchor is gone.
        head: hash of the last entry.
        reason: empty when ok, else what is wrong with the first broken entry.
        unanchored: entries that the anchor does not know: their process died between commit and anchor, or
            they were written from another BATON_HOME, or not by Baton.
    """

    ok: bool
    records: int
    first_broken: int | None
    head: str
    reason: str
    unanchored: int


VERIFIED = "ledger_verified"  # in the warehouse's meta table


def anchor_path() -> Path:
    """Return the file that holds `<seq> <hash>` of every entry committed by the processes that share its folder."""
    return (settings().anchor_folder or settings().home) / "ledger.anchor"


def append(conn: Connection, kind: str, subject: str, payload: dict[str, Any]) -> int:
    """Append one entry in the caller's transaction and return its number, counted from 1 without gaps.

    Writers take turns from here to the end of their transaction: append last, commit soon.

    Args:
        conn: a connection of `warehouse.write()`.
        kind: what happened, e.g. `dataset_committed`.
        subject: what it happened to, e.g. `transaction_monitoring/score/2026-01-01T00:00:00`.
        payload: plain JSON values.

    Raises:
        BatonError: `conn` does not come from `warehouse.write()`, or is inside a savepoint.
        TypeError: a value that JSON cannot hold.
    """
    if conn.in_nested_transaction():  # rolled back alone, it would leave its hash in the anchor
        raise BatonError("the ledger is written in the transaction itself, not in a savepoint of it")
    if conn.dialect.name == "postgresql":  # SQLite's write lock is held since BEGIN IMMEDIATE
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    last = conn.execute(sa.select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)).first()
    seq = last.seq + 1 if last else 1
    record = {"seq": seq, "at": warehouse.now(), "kind": kind, "subject": subject}
    record |= {"payload": to_json(payload), "prev": last.hash if last else GENESIS}
    digest = _digest(record)
    conn.execute(ledger.insert().values(**record, hash=digest))
    warehouse.after_commit(conn, lambda: _anchor(seq, digest))
    return int(seq)


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps([record[name] for name in _HASHED]).encode()).hexdigest()


def _anchor(seq: int, digest: str) -> None:
    path = anchor_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":  # a process died while writing its line
                file.write(b"\n")
        file.write(f"{seq} {digest}\n".encode())


def _anchored(path: Path) -> dict[int, set[str]]:
    """Read the anchor; unfinished lines (a process died while writing) carry no evidence and are passed over.

    An entry with two hashes was removed from the database and another one put in its place.
    """
    known: dict[int, set[str]] = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        seq, _, digest = line.partition(" ")
        if seq.isdigit() and len(digest) == len(GENESIS):
            known.setdefault(int(seq), set()).add(digest)
    return known


def verify(anchor: Path | None = None) -> ChainCheck:
    """Check every entry against the one before and against the anchor; names the first that is broken.

    Args:
        anchor: a copy of the anchor kept elsewhere; default the one in BATON_HOME.
    """
    path = anchor or anchor_path()
    # the anchor is read before the database: whatever it names was committed by then
    known = _anchored(path) if path.exists() else None
    count, head, broken, reason = 0, GENESIS, None, ""
    with warehouse.read() as conn:
        for row in _rows(conn):
            count += 1
            if broken is None:
                reason = _fault(row, count, head, known or {})
                broken = None if not reason else min(count, row["seq"])
            head = row["hash"]
    if broken is None and known and max(known) > count:
        broken, reason = (count + 1, f"entries {count + 1} to {max(known)} are missing: the anchor has seen them")
    if not reason and known is None and count:
        reason = f"{path} is missing: nobody can tell whether entries were cut off or rewritten"
    unanchored = sum(1 for seq in range(1, count + 1) if seq not in (known or {}))
    return ChainCheck(not reason, count, broken, head, reason, unanchored)


def remember(verdict: ChainCheck, actor: str) -> dict[str, Any]:
    """Keep a verification's result for the page that shows it; returns what is kept."""
    result = {
        "at": warehouse.now(), "by": actor, "ok": verdict.ok, "records": verdict.records,
        "first_broken": verdict.first_broken, "reason": verdict.reason,
    }  # fmt: skip
    warehouse.meta_set(VERIFIED, json.dumps(result))
    return result


def _fault(row: dict[str, Any], expected: int, prev: str, known: dict[int, set[str]]) -> str:
    """Return what is wrong with an entry, empty if nothing is."""
    seq = row["seq"]
    if seq != expected:
        return f"entry {expected} is missing" if seq > expected else f"entry {seq} is out of order"
    if _digest(row) != row["hash"]:
        return f"entry {seq} was changed: its content does not have its hash"
    if row["prev"] != prev:
        return f"entry {seq} does not follow the entry before it"
    if known.get(seq, {row["hash"]}) != {row["hash"]}:
        return f"entry {seq} was rewritten: the anchor has another hash for it"
    return ""


def _rows(conn: Connection) -> Iterator[dict[str, Any]]:
    result = conn.execution_options(yield_per=2000).execute(sa.select(ledger).order_by(ledger.c.seq))
    for row in result.mappings():
        yield dict(row)


def entries(subject: str | None = None, kind: str | None = None, limit: int = 100) -> list[LedgerEntry]:
    """Return the newest entries first.

    Args:
        subject: only of this subject, or of all subjects below it when it ends in `/`.
        kind: only of this kind.
        limit: how many at most.
    """
    query = sa.select(ledger).order_by(ledger.c.seq.desc()).limit(limit)
    if subject is not None:
        below = ledger.c.subject.startswith(subject, autoescape=True)
        query = query.where(below if subject.endswith("/") else ledger.c.subject == subject)
    if kind is not None:
        query = query.where(ledger.c.kind == kind)
    with warehouse.read() as conn:
        return [
            LedgerEntry(row.seq, row.at, row.kind, row.subject, json.loads(row.payload), row.hash)
            for row in conn.execute(query)
        ]
