"""Crash harness of the outbox: a plan is committed with its effects, then workers deliver them; killed at fault points.

As `slot_crashes`, attempts are forked processes that a seeded director stops and kills. Two effects are planned by a
stage whose attempt may die at any point of its commit; two or three workers deliver them, interleaved, and die at any
point of a delivery; leases run out on a clock that the director moves; plans change meanwhile; answers get lost. The
peer books what it is sent in a file: one kind heeds the key, the other would book twice. At the end each planned effect
must be booked once, as it was planned last, and recorded once; see `_violations`.

In a *guarded* scenario one or two people have to agree first: they vote in processes of their own, which die as well; what
they saw is replaced, the policy changes and all effects are stopped meanwhile. Each effect must then have been sent under
one permit, used once, of enough different people who saw just that payload.
"""

from __future__ import annotations

import json
import mmap
import random
import runpy
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import sqlalchemy as sa
from forked import Attempt, Violation, digest

from baton.actions import requests, switch
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.effects import attempts, delivery, firewall, outbox
from baton.effects.peer import Outcome
from baton.errors import BatonError
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import slots

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "placing.py"))

PLAN_POINTS = ("looked", "fenced", "computed", "writing", "written", "synced", "named", "before_commit", "committed")
SEND_POINTS = tuple(
    f"{point}{nth}"
    for nth in ("", 2)
    for point in ("consumed", "claimed", "asked", "posted", "before_commit", "settled")
)
VOTE_POINTS = ("voted", "answered")
HOLDING = ("named", "before_commit", "consumed", "voted")  # inside a transaction
_POLICY = """\
actions:
  order: {{description: orders, recovery: reversible_by_others, reach: record}}
policy:
  - {{name: people, level: {level}, permit_minutes: {minutes}}}
"""
_MINUTES = (6000, 6001)  # for a permit: changed in the middle of a scenario
LEASE = 30.0
PARTITION = "2026-01-01T00:00:00"
ITEMS = ("nails", "screws")
_CLOCK = mmap.mmap(-1, 8)  # shared with the forked workers


def _pass(seconds: float) -> None:
    _CLOCK[:] = struct.pack("d", _time() + seconds)


def _time() -> float:
    return float(struct.unpack("d", _CLOCK[:])[0])


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(_time(), tz)


@dataclass
class Peer:
    """A peer that appends what it books to a file; `moods` say how it takes the next effects."""

    file: Path
    heeds: bool
    moods: list[str]
    answers: bool = True

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        held = [sent for known, sent in bookings(self.file) if known == key]
        if not held:
            return Outcome("absent")
        return Outcome("done", answer={"held": held[0]}, agreed=held[0] == payload)

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        mood = self.moods.pop() if self.moods else "well"
        if mood == "lost before":
            return Outcome("unknown", "no answer")
        if not (self.heeds and any(known == key for known, _ in bookings(self.file))):
            with self.file.open("a") as book:
                book.write(json.dumps([key, payload]) + "\n")
        return Outcome("unknown", "no answer") if mood == "lost after" else Outcome("done", answer={"held": payload})


def bookings(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """What the peer has booked, in order."""
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def _plan(flow: str, pack: Path, quantities: tuple[int, ...], stop: Callable[[str], None]) -> dict[str, Any]:
    """A stage that decides on the effects."""
    slots.FAULT = stop
    frame = pd.DataFrame({"item": ITEMS, "quantity": quantities})

    def enqueue(conn: Any, _commit: int) -> None:
        _place(conn, flow, pack, quantities)

    slots.run_stage(
        slots.Slot(flow, "plan", PARTITION), lambda _: slots.StageOutput(frame, {}, enqueue),
        inputs={}, params={"quantities": list(quantities)}, models={}, code="crash harness", run_id="harness",
    )  # fmt: skip
    return {"at": "done"}


def _place(conn: Any, flow: str, pack: Path, quantities: tuple[int, ...]) -> None:
    actions = [Action("order", item, item, payload) for item, payload in _entries(quantities)]
    firewall.place(conn, pack, flow, PARTITION, actions, kinds=("order",))


def _entries(quantities: tuple[int, ...]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (item, {"item": item, "quantity": number}) for item, number in zip(ITEMS, quantities, strict=True) if number
    ]


def _send(flow: str, peer: Peer, stop: Callable[[str], None]) -> dict[str, Any]:
    """A worker; by the director's clock."""
    seen: Counter[str] = Counter()

    def at(point: str) -> None:
        seen[point] += 1
        stop(f"{point}{seen[point] if seen[point] > 1 else ''}")

    delivery.FAULT = attempts.FAULT = at
    _by_the_clock()
    done = delivery.deliver(
        "order", peer, flow, PARTITION, rounds=3, lease=LEASE, sleep=lambda _seconds: stop("sleeping")
    )
    return {"at": "done", "sent": done.sent, "unknown": done.unknown, "failed": done.failed}


def _vote(flow: str, person: str, stop: Callable[[str], None]) -> dict[str, Any]:
    """A person who agrees to all that is asked."""
    _by_the_clock()
    firewall.FAULT = stop
    counted = 0
    for one in requests.still_open(flow, PARTITION):
        try:
            firewall.vote(one.id, Voter(person), "approved", one.seen)
        except VoteRefused:
            continue
        stop("answered")
        counted += 1
    return {"at": "done", "votes": counted}


def _by_the_clock() -> None:
    attempts.datetime = requests.datetime = delivery.datetime = _Datetime  # type: ignore[misc]
    warehouse.now = lambda: datetime.fromtimestamp(_time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    delivery.time = SimpleNamespace(monotonic=_time)  # type: ignore[assignment]


@dataclass
class Guard:
    """The policy of a guarded scenario: how many people, and whether all effects are stopped now."""

    folder: Path
    level: str
    minutes: int = _MINUTES[0]

    def write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "actions.yaml").write_text(_POLICY.format(level=self.level, minutes=self.minutes))

    def meddle(self, rng: random.Random, trace: list[str], counts: Counter[str]) -> None:
        """Change the policy, or turn the switch."""
        if rng.random() < 0.5:
            self.minutes = _MINUTES[self.minutes == _MINUTES[0]]
            self.write()
            trace.append("policy changes")
            counts["policy changed"] += 1
        elif switch.stopped() is None:
            switch.stop("director", "seeded")
            trace.append("stopped")
            counts["all effects stopped"] += 1
        else:
            self.resume()
            trace.append("started")

    def resume(self) -> None:
        if switch.stopped() is not None:
            switch.start("director")


def run_guarded(seed: int, counts: Counter[str]) -> str:
    """As `run_scenario`, with people who have to agree."""
    return run_scenario(seed, counts, guarded=True)


def run_scenario(seed: int, counts: Counter[str], guarded: bool = False) -> str:
    """Run one seeded scenario; returns the name of its interleaving.

    Raises:
        Violation: an invariant does not hold; names the seed.
    """
    rng, flow, file = random.Random(f"outbox {seed}"), f"flow_{seed}", settings().home / f"book_{seed}"
    guard = Guard(settings().home / f"pack_{seed}", rng.choice(("one_approver", "two_approvers"))) if guarded else None
    if guard is not None:
        guard.write()
    pack = PLACING["pack"]() if guard is None else guard.folder
    trace: list[str] = []
    every: list[Attempt] = []
    wanted = (rng.randint(1, 3), rng.randint(1, 3))
    heeds = rng.random() < 0.5
    _CLOCK[:] = struct.pack("d", time.time())

    def worker(name: str, kill_at: str | None) -> Attempt:
        moods = rng.choices(("well", "lost before", "lost after"), (4, 1, 1), k=2)
        trace.append(f"{name}: {moods}")
        return Attempt(partial(_send, flow, Peer(file, heeds, moods)), trace, name, kill_at)

    try:
        trace.append(f"heeds the key: {heeds}")
        first = Attempt(
            partial(_plan, flow, pack, wanted), trace, "plan", PLAN_POINTS[seed // 3 % 9] if seed % 3 else None
        )
        every.append(first)
        _alone(first, counts, "plan")
        if first.ended == "killed":
            every.append(Attempt(partial(_plan, flow, pack, wanted), trace, "plan again"))
            _alone(every[-1], counts, "plan")
        kills = [rng.choice(SEND_POINTS) if rng.random() < 0.6 else None for _ in range(rng.choice((2, 2, 3)))]
        kills[0] = SEND_POINTS[seed % len(SEND_POINTS)] if seed % 4 else kills[0]
        workers = [worker(f"worker {number}", kill) for number, kill in enumerate(kills)]
        every += workers
        if guard is not None:
            people = ("ann", "bob", "cy")[: rng.choice((1, 2, 3))]
            kill_votes = [rng.choice((None, None, *VOTE_POINTS)) for _ in people]
            early = [
                Attempt(partial(_vote, flow, who), trace, f"voter {who}", at)
                for who, at in zip(people, kill_votes, strict=True)
            ]
            late = [Attempt(partial(_vote, flow, who), trace, f"voter {who} late") for who in ("ann", "bob")]
            every += [*early, *late]
            wanted = _interleave(
                rng, [*early, *(late if rng.random() < 0.8 else ())], flow, wanted, trace, counts, guard, pack
            )
        wanted = _interleave(rng, workers, flow, wanted, trace, counts, guard, pack)
        for number in range(8):  # retries, until nothing is open
            if all(one.state in (outbox.SENT, outbox.WITHDRAWN) for one in outbox.effects(flow, PARTITION)):
                break
            _pass(2 * LEASE)
            for who in ("ann", "bob") if guard is not None else ():
                every.append(Attempt(partial(_vote, flow, who), trace, f"voter {who} {number}"))
                _alone(every[-1], counts, "voter")
            every.append(worker(f"retry {number}", None))
            _alone(every[-1], counts, "retry")
        if problems := [*_violations(flow, file, wanted, every), *_unpermitted(flow, guard)]:
            raise Violation("; ".join(problems))
    except Violation as violation:
        raise Violation(f"outbox seed {seed}: {violation}; {' / '.join(trace)}") from None
    finally:
        if guard is not None:
            guard.resume()
        for one in every:
            one.bury()
        file.unlink(missing_ok=True)
    return digest(trace)


def _alone(attempt: Attempt, counts: Counter[str], what: str) -> None:
    attempt.start()
    while attempt.ended is None:
        attempt.step()
        if attempt.at == "sleeping":
            _pass(LEASE / 3)
    _count(attempt, counts, what)


def _count(attempt: Attempt, counts: Counter[str], what: str) -> None:
    counts[f"{what} {attempt.ended if attempt.ended != 'killed' else f'killed at {attempt.at}'}"] += 1


def _interleave(
    rng: random.Random, workers: list[Attempt], flow: str, wanted: tuple[int, ...], trace: list[str], counts: Counter[str],
    guard: Guard | None, pack: Path,
) -> tuple[int, ...]:  # fmt: skip
    """Let the workers make their steps in a seeded order; returns the plan that holds at the end."""
    waiting, running = list(workers), []
    while waiting or running:
        holder = next((one for one in running if one.at.startswith(HOLDING)), None)
        if holder is None:
            if waiting and (not running or rng.random() < 0.3):
                waiting[0].start()
                running.append(waiting.pop(0))
                continue
            if rng.random() < 0.15:
                seconds = LEASE * rng.choice((0.2, 0.6, 1.1))
                _pass(seconds)
                trace.append(f"{seconds} s pass")
            if rng.random() < 0.05:
                wanted = _plan_anew(rng, flow, pack, wanted, trace, counts)
            if guard is not None and rng.random() < 0.05:
                guard.meddle(rng, trace, counts)
        one = holder or rng.choice(running)
        one.step()
        if one.at == "sleeping":
            _pass(LEASE / 10)
        if one.ended is not None:
            running.remove(one)
            _count(one, counts, one.name.partition(" ")[0])
    if guard is not None:
        guard.resume()
    return wanted


def _plan_anew(
    rng: random.Random, flow: str, pack: Path, wanted: tuple[int, ...], trace: list[str], counts: Counter[str]
) -> tuple[int, ...]:
    """Another plan; refused as a whole when an effect that would change is on its way."""
    other = (rng.randint(0, 3), rng.randint(0, 3))
    trace.append(f"plan {other}")
    try:
        warehouse.transact(lambda conn: _place(conn, flow, pack, other))
    except BatonError:
        counts["another plan refused"] += 1
        return wanted
    counts["another plan accepted"] += 1
    return other


def _violations(flow: str, file: Path, wanted: tuple[int, ...], every: list[Attempt]) -> list[str]:
    failed = [f"{one.name} failed: {one.result['error']}" for one in every if one.ended == "failed"]
    plan = dict(_entries(wanted))
    effects = outbox.effects(flow, PARTITION)
    booked = bookings(file)
    keys = {one.key: one.entity_key for one in effects}
    subjects = Counter(
        e.payload["key"] for e in ledger.entries(subject=f"{flow}/{PARTITION}/", kind="action_executed", limit=50)
    )
    sent = {one.entity_key: one.payload for one in effects if one.state == outbox.SENT}
    holds = {
        "nothing stays open": all(one.state in (outbox.SENT, outbox.WITHDRAWN) for one in effects),
        "what the last plan wants is sent, as it wants it, and no more": sent == plan,
        "the peer booked each once": Counter(keys[key] for key, _ in booked) == Counter(dict.fromkeys(plan, 1)),
        "the peer booked what is recorded": all(payload == plan.get(keys[key]) for key, payload in booked),
        "the ledger knows each once": subjects == Counter({one.key: 1 for one in effects if one.state == outbox.SENT}),
    }
    return failed + [f"does not hold: {sentence}" for sentence, true in holds.items() if not true]


def _unpermitted(flow: str, guard: Guard | None) -> list[str]:
    """Effects that were sent without one permit of their own, used once; of guarded ones, by people who saw another payload."""
    found, permits, asked, votes = [], tables.permits.c, tables.requests.c, tables.votes.c
    with warehouse.read() as conn:
        for one in outbox.effects(flow, PARTITION, conn=conn):
            used = sa.select(permits.request, permits.used_by, permits.void_at)
            used = used.where(permits.effect == one.key, permits.used_at.is_not(None)).order_by(permits.id.desc())
            rows = conn.execute(used).all()
            if one.state != outbox.SENT:
                continue
            if not rows or any(row.used_by != one.key for row in rows):
                found.append(f"{one.entity_key} was sent without a permit of its own")
            elif guard is not None:
                request = rows[0].request
                told = conn.execute(sa.select(asked.action, asked.seen).where(asked.id == request)).one()
                yes = (votes.request == request, votes.answer == "approved", votes.seen == told.seen)
                people = set(conn.scalars(sa.select(votes.person).where(*yes)))
                if len(people) < (2 if guard.level == "two_approvers" else 1):
                    found.append(f"{one.entity_key} was sent with the word of {sorted(people)}")
                if told.action["payload"] != one.payload:
                    found.append(f"{one.entity_key} was approved as {told.action['payload']}, sent as {one.payload}")
    return found
