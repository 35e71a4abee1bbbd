"""Delivery of what is in the outbox: attempts as often as needed, the effect once.

Before an attempt the effect is marked `sending` in a transaction of its own. A lost answer, a server error or a
crash leaves it in doubt, and what is in doubt is asked about before it is sent again, under the same key. So a
peer books once if it heeds the key, or if it knows by the time of the question what it has accepted; the pause
before the question doubles from round to round to give it that time.
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import permits, switch
from baton.effects import attempts, outbox
from baton.effects.attempts import BUSY, SAME, Kept
from baton.effects.outbox import CONFLICT, FAILED, FORBIDDEN, OPEN, PENDING, SENDING, SENT, UNKNOWN, WAITING, Effect
from baton.effects.peer import Outcome, Peer
from baton.errors import BatonError
from baton.progress import told
from baton.record import ledger, warehouse
from baton.record.tables import outbox as table

log = logging.getLogger(__name__)
FAULT: Callable[[str], None] = lambda point: None  # noqa: E731 - a hook: crash tests put a killer here
"""Called in turn with claimed, asked (if in doubt), posted (if it was sent), before_commit, settled."""

_SINCE = "in_doubt_since"  # in the answer of an unknown effect: asking does not make its attempt any younger
_SILENCE = 5  # failures in a row that end a round: a peer that is down is not asked a thousand times


@dataclass(frozen=True)
class Delivery:
    """How a partition's effects of some kinds stand after `deliver`.

    Attributes:
        sent: sent by this call.
        already: sent before, or by another worker meanwhile.
        failed: refused by the peer, or in conflict with what it holds.
        unknown: not sent as far as known; may be in doubt.
        adopted: of `sent`, found at the peer by asking, because an answer was lost.
        problems: the first undelivered ones, with the reason.
        degraded: sentences on what did not go smoothly.
        waiting: for people to agree; forbidden: by the policy or by a person. Neither is a failure.
    """

    sent: int
    already: int
    failed: int
    unknown: int
    adopted: int
    problems: list[str]
    degraded: list[str]
    waiting: int = 0
    forbidden: int = 0


def deliver(
    kind: str | Collection[str], peer: Peer, flow: str, partition: str, *, rounds: int = 5, pause: float = 1.0,
    longest: float = 30.0, lease: float = 30.0, sleep: Callable[[float], None] = time.sleep,
    via: dict[str, Any] | None = None, undoing: bool = False,
) -> Delivery:  # fmt: skip
    """Send a partition's effects of some kinds; several workers may do so at once, after any crash, and again.

    Args:
        rounds: attempts per effect and call; a refusal is not tried again before the next call.
        pause: seconds between the first two rounds, doubled from round to round up to `longest`.
        longest: a peer that asks for a longer wait ends the call.
        lease: seconds that an attempt may take, see `attempts.claim`; more than the two requests of an attempt.
        via: how this is delivered, kept with each effect: what takes it back goes the same way.
        undoing: only effects that take others back by this `via`; else only those that do not.
    """
    run = _Run(peer, lease, via)

    def mine() -> list[Effect]:
        found = outbox.effects(flow, partition, kind)
        return [one for one in found if (one.via == via if undoing else True) and bool(one.undoes) == undoing]

    already = sum(effect.state == SENT for effect in mine())
    number, patience = 0, time.monotonic() + 2 * lease
    while todo := [e for e in mine() if e.state in OPEN and e.key not in run.refused]:
        free = [effect for effect in todo if not effect.held()]
        if not free:  # another worker, perhaps a dead one: its lease ends
            if time.monotonic() > patience:
                break
            sleep(min(0.5, lease / 10))
            continue
        asked = run.round(sorted(free, key=lambda effect: effect.attempts))
        patience = time.monotonic() + 2 * lease
        if not run.tried:  # another worker was faster everywhere
            continue
        number += 1
        if number >= rounds or (asked or 0.0) > longest:
            break
        if run.unsettled:
            sleep(max(asked or 0.0, min(pause * 2 ** (number - 1), longest)))
    return run.result(mine(), already)


def decide(key: str, arrived: bool, by: str) -> Effect:
    """Settle an effect that is in doubt by a person's word, on the ledger as such.

    Args:
        arrived: True: the other side has it, it is never sent again. False: it has not, the next delivery sends it.
        by: who looked.

    Returns:
        the effect as it was.

    Raises:
        BatonError: there is no such effect, or nothing about it is in doubt.
    """
    with warehouse.read() as conn:
        flow = conn.execute(sa.select(table.c.flow).where(table.c.key == key)).scalar()
    effect = next((one for one in outbox.effects(flow) if one.key == key), None) if flow else None
    if effect is None:
        raise BatonError(f"outbox: no effect has the key {key!r}; `baton outbox list` shows them")
    doubtful = effect.state == UNKNOWN or (effect.state == SENDING and not effect.held())
    claimed = attempts.claim(effect, lease=30.0, ask=True) if doubtful else None
    if claimed is None or isinstance(claimed, Kept):
        raise BatonError(f"outbox: {effect.entity_key} is {effect.state}, not in doubt: nothing to decide")

    def work(conn: Connection) -> None:
        said = {"decided_by": by}
        state, answer = (SENT, said) if arrived else (PENDING, None)
        if not attempts.settle(conn, claimed, state, None, answer, said if arrived else {}):
            raise BatonError(f"outbox: {effect.entity_key} was taken by a worker meanwhile; look again")
        ledger.append(conn, "effect_decided", effect.subject, {"key": key, "arrived": arrived, "by": by})

    warehouse.transact(work)
    return effect


def _doubt(effect: Effect) -> str:
    """When the attempt that is in doubt was made, at the latest."""
    if effect.state == SENDING and effect.lease_until:  # its worker died, and may have been at it until then
        return effect.lease_until
    return str((effect.answer or {}).get(_SINCE) or warehouse.now())


def _withheld(claimed: Effect) -> str:
    """Why nothing may be sent though the effect was taken; empty: it may. Since then, the switch may have been turned, or
    what was agreed to have ended: asking the other side takes a while."""
    if not claimed.may_send:
        return "it was asked about; sending it needs a new permit"
    with warehouse.read() as conn:
        if stopped := switch.stopped(conn):
            return str(stopped)
        return "" if permits.stands(conn, claimed.key) else "its permit was taken back since the attempt began"


def _age(since: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()


class _Run:
    """One call of `deliver`."""

    def __init__(self, peer: Peer, lease: float, via: dict[str, Any] | None = None) -> None:
        self.peer, self.lease, self.via = peer, lease, via
        self.kept: dict[str, str] = {}  # key -> why it may not begin
        self.sent: dict[str, bool] = {}  # key -> adopted
        self.refused: set[str] = set()
        self.repeated: dict[str, str] = {}  # key -> why an attempt was not the last one

    def round(self, todo: list[Effect]) -> float | None:
        """Try each effect once; returns the wait that the peer asks for."""
        silent, self.tried, self.unsettled = 0, False, False
        for effect in told(todo, "delivery", "effects"):
            outcome = self._attempt(effect)
            if outcome is None:
                continue
            self.tried = True
            if outcome.kind not in ("later", "unknown"):
                silent = 0
                continue
            self.unsettled = True
            self.repeated[effect.key] = outcome.words
            silent += 1
            if outcome.wait is not None or silent == _SILENCE:
                return outcome.wait
        return None

    def _attempt(self, effect: Effect) -> Outcome | None:
        """One attempt; None when another worker has the effect, or it may not begin."""
        began = time.monotonic()
        claimed = attempts.claim(effect, self.lease)
        if claimed is None:
            return None
        if isinstance(claimed, Kept):
            return self._keep(effect, claimed)
        FAULT("claimed")
        outcome, before, since = Outcome("absent"), UNKNOWN if effect.state == SENDING else effect.state, _doubt(effect)
        if before != PENDING and (self.peer.answers or before != FAILED):
            outcome = self.peer.find(claimed.key, claimed.payload)
            FAULT("asked")
            if before == CONFLICT and outcome.kind == "done" and not outcome.agreed:
                outcome = Outcome("conflict", effect.error or "")
        adopted, state = outcome.kind == "done", before
        if outcome.kind == "absent" and before == UNKNOWN and (left := outcome.grace - _age(since)) > 0:
            outcome = Outcome("unknown", f"in doubt: not found, but it may be filed late: ask again in {left:.0f} s")
        if outcome.kind == "absent":
            if why := _withheld(claimed):
                outcome, state = Outcome("later", why), PENDING  # the other side has nothing, as is known now
            elif time.monotonic() - began > self.lease / 2:  # asleep for long: another worker may be at it soon
                outcome = Outcome("later", "the attempt took too long before anything was sent")
            else:
                outcome = self.peer.place(claimed.key, claimed.payload)
                FAULT("posted")
                since = warehouse.now() if outcome.kind == "unknown" else since
                state = {"failed": FAILED, "unknown": UNKNOWN}.get(outcome.kind, before)
        state = {"done": SENT, "conflict": CONFLICT}.get(outcome.kind, state)
        if outcome.kind == "failed" and state == UNKNOWN:  # the peer does not answer the question
            outcome = replace(outcome, kind="unknown")
        if state == UNKNOWN:
            outcome = replace(outcome, answer={_SINCE: since})
        return outcome if self._settle(claimed, state, outcome, adopted) else None

    def _keep(self, effect: Effect, kept: Kept) -> Outcome | None:
        if kept.why == BUSY:
            return Outcome("later", kept.words)
        if kept.why == SAME:
            self.sent[effect.key] = False
            return Outcome("done")
        self.kept[effect.key] = kept.words
        self.refused.add(effect.key)
        return None

    def _settle(self, claimed: Effect, state: str, outcome: Outcome, adopted: bool) -> bool:
        error = None if state == SENT else outcome.words

        facts = {"adopted": adopted, "answer": outcome.answer} if state == SENT else {}

        def work(conn: Connection) -> bool:
            mine = attempts.settle(conn, claimed, state, error, outcome.answer, facts, self.via)
            FAULT("before_commit")
            return mine

        mine = warehouse.transact(work)
        FAULT("settled")
        if not mine:
            return False
        log.info("%s %s: %s, attempt %s %s", claimed.kind, claimed.key, state, claimed.attempts, error or "")
        if state == SENT:
            self.sent[claimed.key] = adopted
        elif outcome.kind in ("failed", "conflict") or (state == UNKNOWN and not self.peer.answers):
            self.refused.add(claimed.key)
        return True

    def result(self, now: list[Effect], already: int) -> Delivery:
        """Count what stands in the outbox now."""
        failed = [effect for effect in now if effect.state in (FAILED, CONFLICT)]
        unknown = [effect for effect in now if effect.state in (PENDING, SENDING, UNKNOWN)]
        sent, adopted = len(self.sent), sum(self.sent.values())
        others = sum(effect.state == SENT for effect in now) - already - sent
        degraded = []
        if adopted:
            degraded.append(f"{adopted} of {sent} were booked though the answer was lost; asking found them")
        if self.repeated:
            last = next(reversed(self.repeated.values()))
            degraded.append(f"{len(self.repeated)} needed more than one attempt; the last reason: {last}")
        why = {
            e.key: self.kept.get(e.key) or e.error or "not tried yet"
            if e.state != SENDING
            else "another worker is at it"
            for e in now
        }
        problems = [f"{e.entity_key}: {why[e.key]}" for e in [*failed, *unknown][:3]]
        held = [sum(effect.state == state for effect in now) for state in (WAITING, FORBIDDEN)]
        return Delivery(sent, already + others, len(failed), len(unknown), adopted, problems, degraded, *held)
