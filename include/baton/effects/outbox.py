"""The outbox: what a stage decided to do outside the warehouse, and how far that has come.

A stage enqueues its effects (orders, messages) in the transaction of its commit; `baton.effects.delivery` carries them
out. An effect has one key for ever, made of flow, partition, entity and kind: whoever repeats it, repeats it
under this key. States:

    pending    the other side does not have it; a new plan may still replace it
    sending    a worker is at it until `lease_until`; after that nobody knows: ask first
    unknown    it may have arrived: ask first, and do not replace it
    failed     the other side refused it
    conflict   the other side holds something else under this key; a person must look
    sent       done, with the other side's answer; never changed, never repeated
    withdrawn  the plan dropped it before it was sent
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record import ledger, warehouse
from baton.record.tables import outbox

PENDING, SENDING, UNKNOWN, FAILED = "pending", "sending", "unknown", "failed"
CONFLICT, SENT, WITHDRAWN = "conflict", "sent", "withdrawn"
REPLACEABLE = (PENDING, FAILED, CONFLICT, WITHDRAWN)
OPEN = (PENDING, SENDING, UNKNOWN, FAILED, CONFLICT)

_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class Effect:
    """One row of the outbox; `attempts` counts them and tells each from the ones before and after."""

    key: str
    kind: str
    flow: str
    partition: str
    entity_key: str
    payload: dict[str, Any]
    state: str
    attempts: int
    lease_until: str | None
    answer: dict[str, Any] | None
    error: str | None
    sent_at: str | None

    @property
    def subject(self) -> str:
        """How the ledger names it."""
        return f"{self.flow}/{self.partition}/{self.entity_key}"

    def held(self) -> bool:
        """True while another worker may be at it."""
        return self.state == SENDING and (self.lease_until or "") > warehouse.now()


@dataclass(frozen=True)
class Enqueued:
    """Numbers of effects: new ones, known ones with the same payload, replaced and withdrawn ones."""

    new: int
    same: int
    replaced: int
    withdrawn: int


def key_of(flow: str, partition: str, entity_key: str, kind: str) -> str:
    """Return the effect's key: readable in front, unique by 128 bits of SHA-256; fits a URL and a header (<= 120)."""
    digest = hashlib.sha256(json.dumps([flow, partition, entity_key, kind]).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{kind} {partition[:10]} {entity_key}").strip("-")[:80]
    return f"{readable}-{digest[:32]}"


def enqueue(
    conn: Connection, flow: str, partition: str, kind: str, entries: Iterable[tuple[str, dict[str, Any]]],
    *, whole: bool = True,
) -> Enqueued:  # fmt: skip
    """Put a partition's effects into the outbox, in the caller's transaction (a stage's `on_commit`).

    Again with the same payload changes nothing; another payload replaces what has not been sent.

    Args:
        kind: what is done, e.g. `order`; lower-case letters, digits, _.
        entries: (entity_key, payload) with one entry per entity; payloads are JSON objects.
        whole: the entries are all that the partition wants of this kind: what was enqueued before, has not been
            sent and is missing here is withdrawn. False: they come on top.

    Raises:
        BatonError: an entity twice; or an effect that was sent, or may have been, would change or be dropped.
    """
    if not _KIND.fullmatch(kind):
        raise BatonError(f"effect kind {kind!r}: lower-case letters, digits and _, a letter first, 31 at most")
    wanted: dict[str, tuple[str, dict[str, Any]]] = {}
    for entity_key, payload in entries:
        key = key_of(flow, partition, str(entity_key), kind)
        if key in wanted:
            raise BatonError(
                f"{flow}/{partition}: two effects `{kind}` for {entity_key!r}; there can be one, sum them up"
            )
        wanted[key] = str(entity_key), json.loads(to_json(payload))
    known = {effect.key: effect for effect in effects(flow, partition, kind, conn)}
    shared = {"kind": kind, "flow": flow, "partition": partition, "state": PENDING, "attempts": 0}
    at = warehouse.now()
    shared |= {"created_at": at, "updated_at": at}
    fresh = {key: entry for key, entry in wanted.items() if key not in known}
    new = [{**shared, "key": key, "entity_key": entity, "payload": sent} for key, (entity, sent) in fresh.items()]
    if new:
        conn.execute(outbox.insert(), new)
    changed = [key for key in wanted if key in known and known[key].payload != wanted[key][1]]
    back = [key for key in wanted if key in known and key not in changed and known[key].state == WITHDRAWN]
    gone = [key for key in known if key not in wanted and known[key].state != WITHDRAWN] if whole else []
    refused = [key for key in changed + back if not _replace(conn, known[key], wanted[key][1])]
    refused += [key for key in gone if not _withdraw(conn, key)]
    if refused:
        _refuse([effect for effect in effects(flow, partition, kind, conn) if effect.key in refused], wanted)
    same = len(wanted) - len(new) - len(changed)
    return Enqueued(len(new), same, len(changed), len(gone))


def _replace(conn: Connection, effect: Effect, payload: dict[str, Any]) -> bool:
    """Give an unsent effect another payload; False if it is no longer unsent (a worker may be at it by now)."""
    state = CONFLICT if effect.state == CONFLICT else PENDING  # what the other side holds is still there
    statement = outbox.update().where(outbox.c.key == effect.key, outbox.c.state.in_(REPLACEABLE))
    error = effect.error if state == CONFLICT else None
    values = {"payload": payload, "state": state, "error": error, "updated_at": warehouse.now()}
    return bool(conn.execute(statement.values(**values)).rowcount == 1)


def _withdraw(conn: Connection, key: str) -> bool:
    statement = outbox.update().where(outbox.c.key == key, outbox.c.state.in_(REPLACEABLE))
    return bool(conn.execute(statement.values(state=WITHDRAWN, updated_at=warehouse.now())).rowcount == 1)


def _refuse(refused: list[Effect], wanted: dict[str, tuple[str, dict[str, Any]]]) -> None:
    def shown(effect: Effect) -> str:
        plan = _plain(wanted[effect.key][1]) if effect.key in wanted else "nothing"
        state = "sent" if effect.state == SENT else "perhaps sent"
        return f"{effect.entity_key}: {state} {_plain(effect.payload)}, now {plan}"

    first, doubtful = refused[0], [effect for effect in refused if effect.state != SENT]
    todo = "cancel or change them at the other side by hand and keep the plan as it was"
    if doubtful:
        todo = "clear the task that delivers them first, it finds out; then run this one again"
    raise BatonError(
        f"{first.flow}/{first.partition}: the plan changed for {len(refused)} effect(s) `{first.kind}` already on "
        f"their way ({'; '.join(map(shown, refused[:3]))}); nothing was enqueued: {todo}"
    )


def _plain(payload: dict[str, Any]) -> str:
    """A payload as an error may show it: whom a mail goes to and what it says is nobody's business in a log."""
    return "another text" if "to" in payload else to_json(payload)


def effects(
    flow: str, partition: str | None = None, kind: str | None = None, conn: Connection | None = None
) -> list[Effect]:
    """Return effects in all states, ordered by partition and key: also what a new plan has to leave as it is."""
    columns = [outbox.c[field.name] for field in fields(Effect)]
    query = sa.select(*columns).where(outbox.c.flow == flow).order_by(outbox.c.partition, outbox.c.key)
    if partition is not None:
        query = query.where(outbox.c.partition == partition)
    if kind is not None:
        query = query.where(outbox.c.kind == kind)
    if conn is not None:
        return [Effect(*row) for row in conn.execute(query)]
    with warehouse.read() as own:
        return [Effect(*row) for row in own.execute(query)]


def left(flow: str, partition: str, kind: str) -> dict[str, dict[str, Any]]:
    """Entity -> payload of the effects that are out, or may be."""
    known = effects(flow, partition, kind)
    return {one.entity_key: one.payload for one in known if one.state in (SENT, SENDING, UNKNOWN)}


# --- one attempt, for `delivery` ---


def claim(effect: Effect, lease: float) -> Effect | None:
    """Take an effect for one attempt; committed before anything is sent, so that a crash leaves its trace.

    Args:
        lease: seconds after which another worker may take it over.

    Returns:
        the effect with the payload as it is now and its attempt's number; None if somebody else was faster.
    """

    def work(conn: Connection) -> Effect | None:
        until = (datetime.now(UTC) + timedelta(seconds=lease)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        free = (outbox.c.state != SENDING) | (outbox.c.lease_until <= warehouse.now())
        statement = (
            outbox.update()
            .where(
                outbox.c.key == effect.key, outbox.c.state == effect.state, outbox.c.attempts == effect.attempts, free
            )
            .values(state=SENDING, attempts=effect.attempts + 1, lease_until=until, updated_at=warehouse.now())
            .returning(*(outbox.c[field.name] for field in fields(Effect)))
        )
        row = conn.execute(statement).first()
        return Effect(*row) if row else None

    return warehouse.transact(work)


def settle(
    conn: Connection,
    claimed: Effect,
    state: str,
    error: str | None,
    answer: dict[str, Any] | None,
    facts: dict[str, Any],
) -> bool:
    """Record how an attempt ended, with its ledger entry, in the caller's transaction.

    Args:
        claimed: what `claim` returned.
        facts: what the ledger says beside key and payload hash.

    Returns:
        False if the lease ran out and another worker took over: nothing is recorded then, that worker asks first.
    """
    at = warehouse.now()
    values = {"state": state, "error": error, "answer": answer, "lease_until": None, "updated_at": at}
    mine = (outbox.c.key == claimed.key, outbox.c.state == SENDING, outbox.c.attempts == claimed.attempts)
    statement = outbox.update().where(*mine).values(**values, sent_at=at if state == SENT else None)
    if conn.execute(statement).rowcount != 1:
        return False
    named = {"key": claimed.key, "effect": claimed.kind, "attempts": claimed.attempts}
    entry = {**named, "payload": digest([claimed]), **facts}
    if state == SENT:
        ledger.append(conn, "action_executed", claimed.subject, entry)
    elif state in (FAILED, CONFLICT) and error != claimed.error:  # said once, not at every retry
        ledger.append(conn, "action_refused", claimed.subject, {**entry, "reason": error})
    return True


def digest(given: Iterable[Effect]) -> str:
    """Return a SHA-256 over keys and payloads."""
    rows = sorted((effect.key, json.dumps(effect.payload, sort_keys=True)) for effect in given)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
