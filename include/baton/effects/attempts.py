"""One attempt at an effect: it begins under a permit, and its end is recorded.

`claim` is the firewall's last look, in the transaction that marks the effect as being sent: is everything stopped, is
the permit good for what the outbox holds now under the policy as it is now, is nobody else at the same target. What the
policy lets through by itself is judged anew there; what people agreed to goes back to them if anything changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from baton.actions import admission, changes, permits, policy, switch
from baton.actions.admission import FORBIDDEN, READY, Admission
from baton.effects import outbox
from baton.effects.outbox import CONFLICT, FAILED, OPEN, PENDING, SENDING, SENT, UNKNOWN, Effect
from baton.errors import BatonError, SpecError
from baton.record import ledger, warehouse
from baton.record.tables import outbox as table
from baton.specs.actions import ActionsSpec

FAULT: Callable[[str], None] = lambda point: None  # noqa: E731 - a hook: crash tests put a killer here
"""Called with consumed, when an effect's permit is used up and nothing is committed yet."""

STOPPED, BUSY, SAME = "stopped", "busy", "same"
_SHARED = ("host", "account", "segment", "network")  # of reach `record` a target belongs to its flow alone


@dataclass(frozen=True)
class Kept:
    """Why an effect does not begin now.

    Attributes:
        why: waiting (for people), forbidden, stopped (all effects are, or the policy cannot be read), busy (another
            effect on its target is on its way: try again), same (its target stands as it wants it: it is done).
    """

    why: str
    words: str


def claim(effect: Effect, lease: float, *, ask: bool = False) -> Effect | Kept | None:
    """Take an effect for one attempt; committed before anything is sent, so that a crash leaves its trace.

    An effect that is in doubt can be taken without a good permit: the other side may be asked, nothing may be sent
    (`Effect.may_send`).

    Args:
        lease: seconds after which another worker may take it over.
        ask: nothing is going to be sent.

    Returns:
        the effect with the payload as it is now and its attempt's number; why it does not begin; None if somebody else
        was faster.
    """

    def work(conn: Connection) -> Effect | Kept | None:
        warehouse.take_turns(conn, switch.TURNS)
        outbox.hold(conn, [effect.key])
        now = outbox.find(effect.key, conn)
        if now is None or (now.state, now.attempts) != (effect.state, effect.attempts) or now.held():
            return None
        if now.state not in OPEN:
            return Kept(now.state, now.error or now.state)
        kept = None if ask else _gate(conn, now)
        doubtful = now.state in (SENDING, UNKNOWN, CONFLICT)
        if kept is not None and not doubtful:
            return kept
        FAULT("consumed")
        return _take(conn, now, lease, may_send=not ask and kept is None)

    return warehouse.transact(work)


def _gate(conn: Connection, effect: Effect) -> Kept | None:
    """None: the effect may begin, and its permit is used up."""
    if stopped := switch.stopped(conn):
        return Kept(STOPPED, f"{stopped}; `baton actions start` lets them begin again")
    try:
        action, origin = effect.judged(), effect.origin()
        spec = changes.policy_in_force(conn, origin.pack, origin.flow)
    except (BatonError, SpecError) as error:
        return Kept(STOPPED, str(error))
    if kept := _busy(conn, effect, spec):
        return kept
    digest = policy.policy_digest(spec, action.kind)
    doubtful = effect.state in (SENDING, UNKNOWN, CONFLICT)
    verdict = permits.consume(conn, origin, action, digest, doubtful)
    if verdict.permit is None:
        admitted = admission.admit(conn, origin, action, spec)
        if admitted.state != READY:
            return _back(conn, effect, verdict.why, admitted)
        if admitted.request is None:
            said = {"permit": admitted.permit, "effect": effect.key, "level": admitted.judged.level}
            ledger.append(
                conn, "permit_issued", effect.subject, {**said, "rule": admitted.judged.rule, "why": verdict.why}
            )
        verdict = permits.consume(conn, origin, action, digest)
        if verdict.permit is None:
            return Kept(STOPPED, verdict.why)
    return _same(conn, effect, spec)


def _back(conn: Connection, effect: Effect, why: str, admitted: Admission) -> Kept:
    """An effect that people have to look at (again), or that the policy does not allow any more."""
    words = f"{why}: {admitted.words}"
    moved = effect.state in (PENDING, FAILED) and outbox.bring(conn, effect.key, admitted.state, words)
    if moved and admitted.state == FORBIDDEN:
        ledger.append(conn, "action_forbidden", effect.subject, forbidden(effect.key, effect.kind, admitted))
    return Kept(admitted.state, words)


def forbidden(key: str, kind: str, admitted: Admission) -> dict[str, Any]:
    """What the ledger says of an effect that may not be."""
    return {"effect": key, "action": kind, "rule": admitted.judged.rule, "reasons": list(admitted.reasons)}


def _shared(effect: Effect, spec: ActionsSpec | None) -> frozenset[str]:
    """Kinds of effects that move the same state of the effect's target, for targets that flows share; else none."""
    if spec is None or effect.kind not in spec.actions or spec.actions[effect.kind].reach not in _SHARED:
        return frozenset()
    return spec.family(effect.kind)


def _busy(conn: Connection, effect: Effect, spec: ActionsSpec | None) -> Kept | None:
    """Two effects on one target, of whichever flow or incident: the later one waits until the first is settled."""
    for other in outbox.on_target(conn, effect.target or "", _shared(effect, spec), (SENDING, UNKNOWN)):
        if other.key != effect.key:
            return Kept(BUSY, f"{other.kind} of {other.subject} on {other.target} is on its way")
    return None


def standing(conn: Connection, effect: Effect, spec: ActionsSpec | None) -> list[Effect]:
    """Effects that stand on the effect's target, the last one first; none for a target of its flow alone."""
    return outbox.on_target(conn, effect.target or "", _shared(effect, spec), (SENT,))


def _same(conn: Connection, effect: Effect, spec: ActionsSpec | None) -> Kept | None:
    """An effect that its target stands in already, by another one, is done: nothing is sent a second time."""
    there = standing(conn, effect, spec)
    if not there or effect.undoes or effect.state not in (PENDING, FAILED):
        return None
    last, told = there[0], effect.action or {}
    wanted = told.get("after")
    alike = (last.action or {}).get("after") == wanted if wanted is not None else last.payload == effect.payload
    if last.kind != effect.kind or not alike:
        return None
    at = warehouse.now()
    undo = {**effect.undo, "nothing": f"it stands by {last.subject}"} if effect.undo else None
    values = {
        "state": SENT,
        "sent_at": at,
        "updated_at": at,
        "error": None,
        "answer": {"same_as": last.key},
        "undo": undo,
    }
    conn.execute(table.update().where(table.c.key == effect.key).values(**values))
    said = {"key": effect.key, "effect": effect.kind, "attempts": effect.attempts, "same_as": last.key}
    ledger.append(conn, "action_executed", effect.subject, said)
    return Kept(SAME, f"{last.target} stands so already by {last.subject}")


def _take(conn: Connection, effect: Effect, lease: float, may_send: bool) -> Effect | None:
    """Mark an effect as being sent, for one attempt; None if somebody else was faster.

    Args:
        lease: seconds after which another worker may take it over.
    """
    until = warehouse.stamp(datetime.now(UTC) + timedelta(seconds=lease))
    free = (table.c.state != SENDING) | (table.c.lease_until <= warehouse.now())
    statement = (
        table.update()
        .where(table.c.key == effect.key, table.c.state == effect.state, table.c.attempts == effect.attempts, free)
        .values(state=SENDING, attempts=effect.attempts + 1, lease_until=until, updated_at=warehouse.now())
        .returning(*outbox.COLUMNS)
    )
    row = conn.execute(statement).first()
    return replace(Effect(*row), may_send=may_send) if row else None


def settle(
    conn: Connection,
    claimed: Effect,
    state: str,
    error: str | None,
    answer: dict[str, Any] | None,
    facts: dict[str, Any],
    via: dict[str, Any] | None = None,
) -> bool:
    """Record how an attempt ended, with its ledger entry, in the caller's transaction.

    Args:
        claimed: what `claim` returned.
        facts: what the ledger says beside key and payload hash.
        via: how it was delivered: what takes it back goes the same way.

    Returns:
        False if the lease ran out and another worker took over: nothing is recorded then, that worker asks first.
    """
    at = warehouse.now()
    values = {"state": state, "error": error, "answer": answer, "lease_until": None, "updated_at": at}
    mine = (table.c.key == claimed.key, table.c.state == SENDING, table.c.attempts == claimed.attempts)
    done: dict[str, Any] = {"sent_at": at, "via": via or claimed.via} if state == SENT else {"sent_at": None}
    done |= {"undone_at": at} if state == SENT and claimed.undoes else {}
    statement = table.update().where(*mine).values(**values, **done)
    if conn.execute(statement).rowcount != 1:
        return False
    named = {"key": claimed.key, "effect": claimed.kind, "attempts": claimed.attempts}
    entry = {**named, "payload": outbox.digest([claimed]), **facts}
    if state == SENT:
        if not claimed.may_send:  # it was there, and people may have been asked about it meanwhile
            admission.settled(conn, claimed.key, "it was done already, before it was asked about")
        if claimed.undoes:
            mark_undone(conn, claimed.undoes, at)
        ledger.append(conn, "action_executed", claimed.subject, entry)
        if claimed.undoes:
            undone = {"effect": claimed.undoes, "by": claimed.key, "asked_by": claimed.origin().requester}
            ledger.append(conn, "action_undone", claimed.subject, undone)
    elif state in (FAILED, CONFLICT) and error != claimed.error:  # said once, not at every retry
        ledger.append(conn, "action_refused", claimed.subject, {**entry, "reason": error})
    return True


def mark_undone(conn: Connection, key: str, at: str) -> bool:
    """Note that an effect does not stand any more; False if it was noted before."""
    here = (table.c.key == key, table.c.state == SENT, table.c.undone_at.is_(None))
    return bool(conn.execute(table.update().where(*here).values(undone_at=at)).rowcount == 1)
