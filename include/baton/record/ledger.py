"""The ledger: the record of what happened, append-only, every entry chained to the one before by SHA-256.

The chain shows an edit, a deletion, an insertion and a swap. Whoever writes to the database can make a chain of his own; for
that, each entry also carries a seal, and each committed one has a line in the *anchor*, both made with a key outside the
database (`baton.record.anchor`). What is left to whoever can also write to BATON_HOME is to put database and anchor back to
an earlier state together: keep copies of the anchor elsewhere, and compare with them (`baton ledger verify --anchor`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from json.encoder import encode_basestring_ascii as _json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.progress import tell
from baton.record import anchor, warehouse
from baton.record import checkpoint as checkpoints
from baton.record.tables import ledger

GENESIS = "0" * anchor.HASH
ANCHORED_WITHIN = timedelta(minutes=1)  # after its commit an entry has a line in the anchor
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
        ok: the chain is whole, sealed, and agrees with the anchor and with the last check.
        records: entries in the database.
        first_broken: number of the first entry that is wrong or missing; None if ok, or if key or anchor is gone.
        head: hash of the last entry.
        reason: empty when ok, else what is wrong with the first broken entry.
        unanchored: entries that the anchor does not know (yet): of the last minute, or whose process died between commit
            and anchor; of a copy of the anchor: all that came after it.
        after: the entry behind which the check began; 0: all were looked at.
    """

    ok: bool
    records: int
    first_broken: int | None
    head: str
    reason: str
    unanchored: int
    after: int = 0


def append(conn: Connection, kind: str, subject: str, payload: dict[str, Any]) -> int:
    """Append one entry in the caller's transaction and return its number, counted from 1 without gaps.

    Writers take turns from here to the end of their transaction: append last, commit soon.

    Args:
        conn: a connection of `warehouse.write()`.
        kind: what happened, e.g. `dataset_committed`.
        subject: what it happened to, e.g. `transaction_monitoring/score/2026-01-01T00:00:00`.
        payload: plain JSON values.

    Raises:
        BatonError: `conn` does not come from `warehouse.write()`, or is inside a savepoint; or the key is gone.
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
    sealed = anchor.seal(anchor.key(create=last is None), digest)
    conn.execute(ledger.insert().values(**record, hash=digest, seal=sealed))
    warehouse.after_commit(conn, lambda: _committed(seq, digest))
    return int(seq)


def _committed(seq: int, digest: str) -> None:
    anchor.add(seq, digest, _sealed_between)
    checkpoints.when_due(seq, _whole)


def _sealed_between(first: int, last: int) -> list[tuple[int, str]]:
    known, c = anchor.key(), ledger.c
    query = sa.select(c.seq, c.hash, c.seal).where(c.seq.between(first, last)).order_by(c.seq)
    with warehouse.read() as conn:
        return [(row.seq, row.hash) for row in conn.execute(query) if row.seal == anchor.seal(known, row.hash)]


def _whole(conn: Connection, start: int) -> Iterator[str]:
    """Hashes of the entries behind `start`, each as `verify` wants it. Raises BatonError: the first that is not."""
    key, prev = anchor.key(), (_stored_hash(conn, start) if start else GENESIS) or ""
    columns = [ledger.c[name] for name in (*_HASHED, "hash", "seal")]
    query = sa.select(*columns).where(ledger.c.seq > start).order_by(ledger.c.seq)
    rows = conn.execute(query.execution_options(yield_per=_AT_ONCE))
    for number, row in enumerate(rows, start + 1):
        *content, digest, sealed = row
        if row.seq != number or row.prev != prev or _hash_of(*content) != digest or anchor.seal(key, digest) != sealed:
            raise BatonError(f"no checkpoint: {_fault(row, number, prev)}")
        prev = digest
        yield digest


def checkpoint() -> checkpoints.Checkpoint:
    """Sign the ledger as it is now, checked since the last checkpoint. Raises BatonError: as `checkpoint.make`."""
    return checkpoints.make(_whole)


def _digest(record: Any) -> str:
    return _hash_of(*(record[name] for name in _HASHED))


def _hash_of(seq: int, at: str, kind: str, subject: str, payload: str, prev: str) -> str:
    # the JSON list of them as json.dumps writes it, in a third of its time: a check does this a million times
    text = f"[{seq}, {_json(at)}, {_json(kind)}, {_json(subject)}, {_json(payload)}, {_json(prev)}]"
    return hashlib.sha256(text.encode()).hexdigest()


def verify(copy: Path | None = None, *, new: bool = False) -> ChainCheck:
    """Check every entry against the one before, its seal, the anchor and the last check; names the first that is broken.

    Args:
        copy: a copy of the anchor kept elsewhere, instead of the one in BATON_HOME; it may end earlier than the ledger.
        new: only what came after the last check that found all well (`remember`); an edit further back is not seen then.
    """
    path = copy or anchor.anchor_path()
    # the anchor's size is taken before the database is read: whatever it names was committed by then
    size = path.stat().st_size if path.exists() else 0
    with warehouse.read() as conn:
        count = conn.execute(sa.select(sa.func.count()).select_from(ledger)).scalar() or 0
        head = conn.execute(sa.select(ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)).scalar() or GENESIS
        try:
            known = anchor.key(create=not count and not size)
            mark = anchor.remembered() or _NOTHING
        except BatonError as error:
            return ChainCheck(False, count, None, head, str(error), count)
        start, prev = (mark["whole"], mark["head"]) if new else (0, GENESIS)
        lines = anchor.lines(path, size, count - start if start else None) if size else iter(())
        there = not start or anchor.line(known, start, prev) in lines  # takes the lines up to it
        walk = _walk(conn, known, lines, start if there else 0, start, prev, count)
        if walk.fault[1]:
            broken, reason = walk.fault
        else:
            if walk.count > start:
                count, head = walk.count, walk.head  # of one statement
            broken, reason = _differs(conn, mark, count)
        if not reason:
            broken, reason = _compare(conn, walk, path, 0 if copy else mark["whole"], complete=copy is None)
    return ChainCheck(not reason, count, broken, head, reason, walk.unanchored, start)


_AT_ONCE = 500  # entries; of thousands the garbage collector walks all, again and again: half as long again
_NOTHING: dict[str, Any] = {"whole": 0, "head": GENESIS}
_Fault = tuple[int | None, str]
_FINE: _Fault = (None, "")


@dataclass
class _Walk:
    """What the way along the chain showed.

    Attributes:
        count, head: number and hash of the last entry.
        last: the last number that a line of the anchor names.
        rest: number, time and hash of the entries behind the first whose line is not the next one.
        seen: number -> hashes, of the lines left.
    """

    count: int
    head: str
    last: int
    rest: list[tuple[int, str, str]] = field(default_factory=list)
    seen: dict[int, set[str]] = field(default_factory=dict)
    fault: _Fault = _FINE
    unanchored: int = 0


def _walk(
    conn: Connection, key: bytes, lines: Iterator[bytes], last: int, start: int, prev: str, count: int
) -> _Walk:  # fmt: skip
    columns = [ledger.c[name] for name in (*_HASHED, "hash", "seal")]
    query = sa.select(*columns).where(ledger.c.seq > start if start else sa.true()).order_by(ledger.c.seq)
    number = start
    rest: list[tuple[int, str, str]] = []
    line, in_order, seal = b"", True, anchor.seal
    rows = conn.execution_options(yield_per=_AT_ONCE).execute(query).partitions()
    for row in _one_by_one(rows, count - start):
        seq, at, kind, subject, payload, before, digest, sealed = row
        number += 1
        whole = _hash_of(seq, at, kind, subject, payload, before) == digest and seal(key, digest) == sealed
        if not whole or seq != number or before != prev:
            return _Walk(number, prev, last, fault=(min(number, seq), _fault(row, number, prev)))
        prev = digest
        if in_order:
            mine = f"{seq} {digest} {sealed}\n".encode()
            line = next(lines, b"")
            while line and line != mine and not any(anchor.sealed(key, [line])):
                line = next(lines, b"")  # no evidence
            in_order = line == mine
            last = seq if in_order else last
        if not in_order:
            rest.append((seq, at, digest))
    seen: dict[int, set[str]] = {}
    for one, digest in anchor.sealed(key, lines if in_order else chain([line], lines)):
        seen.setdefault(one, set()).add(digest)
    return _Walk(number, prev, max([last, *seen]), rest, seen)


def _one_by_one(batches: Iterable[Sequence[Any]], total: int) -> Iterator[Any]:
    done = 0
    for batch in batches:
        tell("ledger checked", "entries", done, total)
        yield from batch
        done += len(batch)


def _fault(row: Any, expected: int, prev: str) -> str:
    """What is wrong with an entry."""
    seq = row.seq
    if seq != expected:
        return f"entry {expected} is missing" if seq > expected else f"entry {seq} is out of order"
    if _digest(row._mapping) != row.hash:
        return f"entry {seq} was changed: its content does not have its hash"
    if row.prev != prev:
        return f"entry {seq} does not follow the entry before it"
    return f"entry {seq} was not written by Baton: it lacks the seal that only the key in {anchor.folder()} makes"


def _differs(conn: Connection, mark: Mapping[str, Any], count: int) -> _Fault:
    """Whether the entry up to which the last check found all well is there no more, or another one."""
    if count < mark["whole"]:
        return count + 1, f"entries {count + 1} to {mark['whole']} are missing: they were verified at {mark['at']}"
    if mark["whole"] and _stored_hash(conn, mark["whole"]) != mark["head"]:
        return mark["whole"], f"entry {mark['whole']} was rewritten: another one was verified at {mark['at']}"
    return _FINE


def _compare(conn: Connection, walk: _Walk, path: Path, verified: int, *, complete: bool) -> _Fault:
    """The entries that the anchor does not name in their order, and the lines that are left."""
    if walk.last < max(min(1, walk.count), verified):
        gone = f"does not name entry {verified}, up to which all was verified" if verified else "is missing or empty"
        return None, f"{path} {gone}: nobody can tell whether entries were cut off or rewritten; bring back a copy"
    now, fault = datetime.now(UTC), _FINE
    for seq, at, digest in walk.rest:
        hashes = walk.seen.pop(seq, None)
        walk.unanchored += hashes is None
        if fault[1]:
            continue
        if hashes is None and (seq < walk.last or (complete and not _young(at, now))):
            why = "cut from there, or its process died before it wrote one, which the next entry then does"
            fault = seq, f"entry {seq} has no line in {path}: {why}"
        elif hashes is not None and hashes != {digest}:
            fault = seq, f"entry {seq} was rewritten: the anchor has another hash for it"
    if not fault[1] and walk.last > walk.count:
        fault = walk.count + 1, f"entries {walk.count + 1} to {walk.last} are missing: the anchor has seen them"
    for seq, hashes in walk.seen.items() if not fault[1] else ():
        if hashes != {_stored_hash(conn, seq)}:
            return seq, f"entry {seq} was rewritten: the anchor has another hash for it"
    return fault


def _young(at: str, now: datetime) -> bool:
    """Whether an entry may still be without a line; one of the future may not."""
    return abs(now - datetime.fromisoformat(at)) <= ANCHORED_WITHIN


def _stored_hash(conn: Connection, seq: int) -> str | None:
    return conn.execute(sa.select(ledger.c.hash).where(ledger.c.seq == seq)).scalar()


def remember(verdict: ChainCheck, actor: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Keep a check's result for the page that shows it and for `verify(new=True)`; returns what is kept.

    The head up to which all was well stays when a later check finds a fault.

    Args:
        state: up to where all that the ledger is about was well, too (`baton.recovery.verify`); None: as before.
    """
    try:
        before = anchor.remembered() or _NOTHING
    except BatonError:
        before = _NOTHING
    result = {
        "at": warehouse.now(), "by": actor, "ok": verdict.ok, "records": verdict.records,
        "first_broken": verdict.first_broken, "reason": verdict.reason, "unanchored": verdict.unanchored,
        "after": verdict.after, "whole": before["whole"], "head": before["head"],
        "state": before.get("state", {}) if state is None else state,
    }  # fmt: skip
    if verdict.ok:
        result |= {"whole": verdict.records, "head": verdict.head}
    anchor.remember(result)
    return result


def last_check() -> dict[str, Any] | None:
    """What `remember` kept last; None before the first check. A record that somebody else wrote is a check that failed."""
    try:
        return anchor.remembered()
    except BatonError as error:
        return {
            "at": None,
            "by": "",
            "ok": False,
            "records": 0,
            "first_broken": None,
            "reason": str(error),
            "unanchored": 0,
        }


def kinds() -> list[str]:
    """Kinds of the entries that there are, sorted."""
    with warehouse.read() as conn:
        return sorted(conn.execute(sa.select(ledger.c.kind).distinct()).scalars())


def entries(
    subject: str | None = None,
    kind: str | None = None,
    limit: int = 100,
    conn: Connection | None = None,
    since: str = "",
) -> list[LedgerEntry]:
    """Return the newest entries first, as a transaction sees them if `conn` is given.

    Args:
        subject: only of this subject, or of all subjects below it when it ends in `/`.
        kind: only of this kind.
        limit: how many at most.
        since: only from this time on, as `warehouse.stamp` writes it.
    """
    query = sa.select(ledger).order_by(ledger.c.seq.desc()).limit(limit)
    if subject is not None:
        below = ledger.c.subject.startswith(subject, autoescape=True)
        query = query.where(below if subject.endswith("/") else ledger.c.subject == subject)
    if kind is not None:
        query = query.where(ledger.c.kind == kind)
    if since:
        query = query.where(ledger.c.at >= since)
    if conn is None:
        with warehouse.read() as own:
            return entries(subject, kind, limit, own, since)
    return [
        LedgerEntry(row.seq, row.at, row.kind, row.subject, json.loads(row.payload), row.hash)
        for row in conn.execute(query)
    ]
