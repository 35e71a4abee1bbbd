"""The outbox: what a stage decided to do outside the warehouse, and how far that has come.

A stage places its effects (orders, messages, remedies) through `baton.effects.firewall` in the transaction of its commit;
`baton.effects.delivery` carries them out. An effect has one key for ever, made of flow, partition, entity, kind and target:
whoever repeats it, repeats it under this key. States:

    waiting    people have to agree first: there is an open request
    forbidden  the policy, or a person, said no
    pending    the other side does not have it; a new plan may still replace it
    sending    a worker is at it until `lease_until`; after that nobody knows: ask first
    unknown    it may have arrived: ask first, and do not replace it
    failed     the other side refused it
    conflict   the other side holds something else under this key; a person must look
    sent       done, with the other side's answer; never changed, never repeated
    withdrawn  the plan dropped it before it was sent

No effect begins without a permit, which is used up in the transaction in which it begins: `baton.effects.attempts`.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions.action import Action
from baton.actions.admission import FORBIDDEN, WAITING
from baton.actions.requests import Origin
from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record import warehouse
from baton.record.tables import outbox

PENDING, SENDING, UNKNOWN, FAILED = "pending", "sending", "unknown", "failed"
CONFLICT, SENT, WITHDRAWN = "conflict", "sent", "withdrawn"
REPLACEABLE = (PENDING, FAILED, CONFLICT, WITHDRAWN, WAITING, FORBIDDEN)
OPEN = (PENDING, SENDING, UNKNOWN, FAILED, CONFLICT)  # to be delivered
HELD = (WAITING, FORBIDDEN)


@dataclass(frozen=True)
class Effect:
    """One row of the outbox; `attempts` counts them and tells each from the ones before and after.

    Attributes:
        action: what was judged beside the payload, with `pack`, `requester` and, of an undo, `undoes`: the effect's key.
        undo: kind and payload of what takes it back; None: Baton cannot.
        via: options of the stage that delivered it.
        undone_at: since when it does not stand any more; an undo never stands.
        may_send: of a claimed effect: False: the other side may be asked about it, nothing may be sent.
    """

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
    target: str | None = None
    action: dict[str, Any] | None = None
    undo: dict[str, Any] | None = None
    via: dict[str, Any] | None = None
    undone_at: str | None = None
    may_send: bool = True

    @property
    def subject(self) -> str:
        """How the ledger names it."""
        return f"{self.flow}/{self.partition}/{self.entity_key}"

    @property
    def undoes(self) -> str | None:
        """Key of the effect that this one takes back."""
        return (self.action or {}).get("undoes")

    def held(self) -> bool:
        """True while another worker may be at it."""
        return self.state == SENDING and (self.lease_until or "") > warehouse.now()

    def judged(self) -> Action:
        """The action that it carries out.

        Raises:
            BatonError: it was enqueued by a version that knew no policy.
        """
        if self.action is None or self.target is None:
            raise BatonError(
                f"{self.subject}: enqueued before there was a policy for `{self.kind}`: run the stage that placed it again"
            )
        return Action.of(self.kind, self.entity_key, self.target, self.payload, self.action)

    def origin(self) -> Origin:
        """Where it comes from, for the policy."""
        told, at = self.action or {}, (self.key, self.flow, self.partition)
        return Origin(*at, str(told.get("pack", "")), str(told.get("requester", "")), self.undoes)


COLUMNS = [outbox.c[field.name] for field in fields(Effect) if field.name in outbox.c]


@dataclass(frozen=True)
class Enqueued:
    """Numbers of effects: new ones, known ones with the same payload, replaced and withdrawn ones."""

    new: int
    same: int
    replaced: int
    withdrawn: int


@dataclass(frozen=True)
class Wish:
    """What a stage wants done: the action, and what the outbox keeps with it (`Effect`)."""

    action: Action
    pack: str
    requester: str
    undo: dict[str, Any] | None = None
    undoes: str | None = None
    via: dict[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Its columns, but for those that say where it stands."""
        told = {**self.action.described(), "pack": self.pack, "requester": self.requester}
        told |= {"undoes": self.undoes} if self.undoes else {}
        columns = {"payload": self.action.payload, "target": self.action.target, "action": told, "undo": self.undo}
        return columns | ({"via": self.via} if self.via else {})


def key_of(flow: str, partition: str, entity_key: str, kind: str, target: str = "", undoes: str = "") -> str:
    """Return the effect's key: readable in front, unique by 128 bits of SHA-256; fits a URL and a header (<= 120).

    A target that is the entity itself does not count: effects that were placed without one keep their keys.
    """
    parts = [
        flow,
        partition,
        entity_key,
        kind,
        *([target] if target not in ("", entity_key) or undoes else []),
        *([undoes] if undoes else []),
    ]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{kind} {partition[:10]} {entity_key}").strip("-")[:80]
    return f"{readable}-{digest[:32]}"


def enqueue(
    conn: Connection, flow: str, partition: str, kinds: Collection[str], wishes: Sequence[Wish], *, whole: bool = True
) -> tuple[Enqueued, list[str]]:
    """Put a partition's effects into the outbox, in the caller's transaction; only `baton.effects.firewall` does so.

    Again with the same payload changes nothing; another payload replaces what has not been sent. What is new waits: the
    firewall says how it goes on.

    Args:
        kinds: what the wishes are all of.
        wishes: one per entity, kind and target.
        whole: they are all that the partition wants of these kinds: what was enqueued before, has not been
            sent and is missing here is withdrawn. False: they come on top.

    Returns:
        numbers, and the keys of those whose admission has to be looked at.

    Raises:
        BatonError: an effect twice; or one that was sent, or may have been, would change or be dropped.
    """
    wanted: dict[str, Wish] = {}
    for wish in wishes:
        one = wish.action
        key = key_of(flow, partition, one.entity_key, one.kind, one.target, wish.undoes or "")
        if key in wanted:
            raise BatonError(
                f"{flow}/{partition}: two effects `{one.kind}` for {one.entity_key!r}; there can be one, sum them up"
            )
        wanted[key] = wish
    known = {
        e.key: e for e in effects(flow, partition, conn=conn) if e.kind in kinds and (e.key in wanted or not e.undoes)
    }
    at = warehouse.now()
    shared = {"flow": flow, "partition": partition, "state": WAITING, "attempts": 0, "created_at": at, "updated_at": at}
    fresh = {key: wish for key, wish in wanted.items() if key not in known}
    new = [
        {**shared, "key": key, "kind": w.action.kind, "entity_key": w.action.entity_key, "via": None, **w.row()}
        for key, w in fresh.items()
    ]
    if new:
        conn.execute(outbox.insert(), new)
    changed = [key for key in wanted if key in known and known[key].payload != wanted[key].action.payload]
    back = [key for key in wanted if key in known and key not in changed and known[key].state == WITHDRAWN]
    gone = [key for key in known if key not in wanted and known[key].state != WITHDRAWN] if whole else []
    refused = [key for key in changed + back if not _replace(conn, known[key], wanted[key])]
    refused += [key for key in gone if not withdraw(conn, key)]
    if refused:
        _refuse([effect for effect in effects(flow, partition, conn=conn) if effect.key in refused], wanted)
    judged = [*fresh, *changed, *back]
    for key in wanted:
        if key in known and key not in judged and _readmit(conn, known[key], wanted[key]):
            judged.append(key)
    same = len(wanted) - len(new) - len(changed)
    return Enqueued(len(new), same, len(changed), len(gone)), judged


def _replace(conn: Connection, effect: Effect, wish: Wish) -> bool:
    """Give an unsent effect another payload; False if it is no longer unsent (a worker may be at it by now)."""
    state = CONFLICT if effect.state == CONFLICT else WAITING  # what the other side holds is still there
    statement = outbox.update().where(outbox.c.key == effect.key, outbox.c.state.in_(REPLACEABLE))
    error = effect.error if state == CONFLICT else None
    values = {**wish.row(), "state": state, "error": error, "updated_at": warehouse.now()}
    return bool(conn.execute(statement.values(**values)).rowcount == 1)


def _readmit(conn: Connection, effect: Effect, wish: Wish) -> bool:
    """Whether an effect whose payload is the same has to be judged anew; its new evidence is noted then.

    What is on its way, or done, stays as it was judged.
    """
    if effect.state in (SENDING, UNKNOWN, SENT):
        return False
    known = effect.action is not None and effect.target is not None
    if known and effect.judged().shown == wish.action.shown and effect.state != FORBIDDEN:
        return effect.state == WAITING
    here = (outbox.c.key == effect.key, outbox.c.state.in_(REPLACEABLE))
    changed = conn.execute(outbox.update().where(*here).values(**wish.row(), updated_at=warehouse.now()))
    return bool(changed.rowcount == 1)


def withdraw(conn: Connection, key: str, why: str | None = None) -> bool:
    """Take back an effect that is not out; False if it is, or may be."""
    statement = outbox.update().where(outbox.c.key == key, outbox.c.state.in_(REPLACEABLE))
    values = {"state": WITHDRAWN, "updated_at": warehouse.now(), **({"error": why} if why else {})}
    return bool(conn.execute(statement.values(**values)).rowcount == 1)


def bring(conn: Connection, key: str, state: str, error: str | None = None, of: Collection[str] = REPLACEABLE) -> bool:
    """Bring an effect that is not out to another state; one in conflict stays so, the other side holds something."""
    statement = outbox.update().where(outbox.c.key == key, outbox.c.state.in_([one for one in of if one != CONFLICT]))
    return bool(conn.execute(statement.values(state=state, error=error, updated_at=warehouse.now())).rowcount == 1)


def _refuse(refused: list[Effect], wanted: dict[str, Wish]) -> None:
    def shown(effect: Effect) -> str:
        plan = _plain(wanted[effect.key].action.payload) if effect.key in wanted else "nothing"
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


def _plain(payload: Mapping[str, Any]) -> str:
    """A payload as an error may show it: whom a mail goes to and what it says is nobody's business in a log."""
    return "another text" if "to" in payload else to_json(payload)


def effects(
    flow: str, partition: str | None = None, kind: str | Collection[str] | None = None, conn: Connection | None = None
) -> list[Effect]:
    """Return effects in all states, ordered by partition and key: also what a new plan has to leave as it is."""
    query = sa.select(*COLUMNS).where(outbox.c.flow == flow).order_by(outbox.c.partition, outbox.c.key)
    if partition is not None:
        query = query.where(outbox.c.partition == partition)
    if kind is not None:
        query = query.where(outbox.c.kind.in_([kind] if isinstance(kind, str) else kind))
    if conn is not None:
        return [Effect(*row) for row in conn.execute(query)]
    with warehouse.read() as own:
        return [Effect(*row) for row in own.execute(query)]


def find(key: str, conn: Connection) -> Effect | None:
    """The effect of that key."""
    row = conn.execute(sa.select(*COLUMNS).where(outbox.c.key == key)).first()
    return Effect(*row) if row else None


def known(conn: Connection, keys: Collection[str]) -> list[Effect]:
    """The effects of those keys that there are."""
    return [Effect(*row) for row in warehouse.among(conn, sa.select(*COLUMNS), outbox.c.key, keys)]


def hold(conn: Connection, keys: Collection[str]) -> None:
    """Have nobody else change these effects to the end of the transaction.

    Whoever changes an effect, its requests or its permits holds it first, and writes to the ledger last: no two then wait
    for each other on a server.
    """
    query = sa.select(outbox.c.key).order_by(outbox.c.key).with_for_update()
    for _ in warehouse.among(conn, query, outbox.c.key, sorted(keys)):
        pass


def on_target(conn: Connection, target: str, kinds: Collection[str], states: Collection[str]) -> list[Effect]:
    """Effects of some kinds on a target that stand or are on their way, of whichever flow; the last one first."""
    c = outbox.c
    query = sa.select(*COLUMNS).where(c.target == target, c.kind.in_(kinds), c.undone_at.is_(None), c.state.in_(states))
    return [Effect(*row) for row in conn.execute(query.order_by(c.sent_at.desc(), c.created_at.desc(), c.key))]


def left(flow: str, partition: str, kind: str) -> dict[str, dict[str, Any]]:
    """Entity -> payload of the effects that are out, or may be."""
    known = effects(flow, partition, kind)
    return {one.entity_key: one.payload for one in known if one.state in (SENT, SENDING, UNKNOWN)}


def digest(given: Iterable[Effect]) -> str:
    """Return a SHA-256 over keys and payloads."""
    rows = sorted((effect.key, json.dumps(effect.payload, sort_keys=True)) for effect in given)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
