"""Random sequences around an effect that people have to agree to: placed, answered by whoever may and may not, changed, delivered
again and again, killed between.

Beside the real mechanism runs a book kept by a few lines of sets: it says whether the other side may get it. `play` kills by an
exception in this process; in `run_killed` votes and deliveries are processes of their own, which kill themselves (SIGKILL) at the same
points. Used by tests and by
`make bench NAME=actions`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from forked import Attempt, Violation, digest
from outbox_crashes import Peer, bookings

from baton.actions import requests, switch
from baton.actions.action import Action
from baton.actions.requests import Request
from baton.actions.votes import Voter, VoteRefused
from baton.effects import attempts, delivery, firewall, outbox
from baton.errors import BatonError
from baton.record import tables, warehouse
from baton.settings import settings

KIND, PARTITION, LEASE = "order", "2026-11-20T09:00:00", 30.0
VOTE_POINTS = ("voted", "answered")
SEND_POINTS = ("consumed", "claimed", "asked", "posted", "before_commit", "settled")
REQUESTER = "trainer"
# as they log in -> who that is; None: nobody who counts
PEOPLE: tuple[tuple[Voter, str | None], ...] = (
    (Voter("7", "ann"), "ann"), (Voter(" ANN ", "Ann"), "ann"), (Voter("ann"), "ann"), (Voter("8", "bob"), "bob"),
    (Voter("Bob"), "bob"), (Voter("9", "cy"), "cy"), (Voter("10", REQUESTER), None), (Voter(REQUESTER.upper()), None),
    (Voter("service"), None), (Voter(""), None), (Voter("unknown"), None), (Voter("flow:f0"), None), (Voter("agent:triage"), None),
)  # fmt: skip
ANN, BOB = PEOPLE[0], PEOPLE[3]
_POLICY = """\
actions:
  order: {{description: orders, recovery: reversible_by_others, reach: record}}
policy:
  - {{name: people, level: {level}, permit_minutes: {minutes}}}
"""
_MINUTES = (600, 601)  # of a permit: another policy
_NEEDS = {"one_approver": 1, "two_approvers": 2}

Stop = Callable[[str], None]
Work = Callable[[Stop], dict[str, Any]]


class Killed(BaseException):
    """The process dies here: its transaction is rolled back, and nothing after it happens."""


@dataclass
class Figures:
    """What some sequences came to; sentences name seed and step."""

    sequences: int = 0
    sent: int = 0
    refused: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    let_through: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)


def play(seeds: range) -> Figures:
    """Play a sequence for each seed, each about a flow of its own, in this process."""
    figures = Figures()
    for seed in seeds:
        _Sequence(seed, figures, _here, kills=0.3).play()
    return figures


def run_killed(seed: int, counts: Counter[str]) -> str:
    """One sequence with votes and deliveries in processes of their own, some of which die; returns the name of what happened in it.

    Raises:
        Violation: something got through, or was kept out.
    """
    figures = Figures()
    _Sequence(seed, figures, _elsewhere, kills=0.6).play()
    counts.update({f"killed at {point}": number for point, number in figures.killed.items()} | {"sent": figures.sent})
    if problems := figures.let_through + figures.kept_out:
        raise Violation("; ".join(problems))
    return digest(figures.trace)


def _here(work: Work, kill_at: str | None) -> tuple[str, dict[str, Any]]:
    """The point where it was killed, empty if it was not, and what it said last."""

    def stop(point: str) -> None:
        if point == kill_at:
            raise Killed

    try:
        return "", work(stop)
    except Killed:
        return str(kill_at), {}
    finally:
        firewall.FAULT = attempts.FAULT = delivery.FAULT = lambda point: None


def _elsewhere(work: Work, kill_at: str | None) -> tuple[str, dict[str, Any]]:
    attempt = Attempt(work, [], "one", kill_at)
    attempt.finish()
    assert attempt.ended != "failed", attempt.result
    return (attempt.at if attempt.ended == "killed" else ""), attempt.result


def _vote(number: int, voter: Voter, answer: str, seen: str, stop: Stop) -> dict[str, Any]:
    firewall.FAULT = stop
    try:
        firewall.vote(number, voter, answer, seen)
    except VoteRefused as refusal:
        return {"at": "done", "refused": str(refusal)}
    stop("answered")
    return {"at": "done", "refused": ""}


def _deliver(flow: str, peer: Peer, stop: Stop) -> dict[str, Any]:
    attempts.FAULT = delivery.FAULT = stop
    delivery.deliver(KIND, peer, flow, PARTITION, rounds=1, lease=LEASE, sleep=lambda _seconds: None)
    return {"at": "done"}


class _Sequence:
    def __init__(
        self, seed: int, figures: Figures, do: Callable[[Work, str | None], tuple[str, dict[str, Any]]], kills: float
    ) -> None:
        self.rng, self.figures, self.do, self.kills = random.Random(f"effects {seed}"), figures, do, kills
        self.seed, self.step, self.flow = seed, 0, f"f{seed}"
        self.pack, self.file = settings().home / f"pack_{seed}", settings().home / f"book_{seed}"
        self.level = self.rng.choice(list(_NEEDS))
        self.minutes, self.quantity = _MINUTES[0], 1
        self.heeds = self.rng.random() < 0.5
        # the book: by request what it is about, under which policy, who said yes and whether somebody said no; the newest is last
        self.asked: dict[int, tuple[Request, int]] = {}
        self.yes: dict[int, set[str]] = {}
        self.no: set[int] = set()
        self.booked = 0

    def play(self) -> None:
        self.figures.sequences += 1
        self.pack.mkdir()
        self._write_policy()
        self._place()
        steps = (self._vote, self._approve, self._place, self._change, self._deliver, self._disturb)
        for step in range(1, self.rng.randint(6, 14)):
            self.step = step
            self.rng.choices(steps, (8, 4, 1, 2, 7, 2))[0]()
        self._end()
        self.file.unlink(missing_ok=True)

    # --- what happens ---

    def _write_policy(self) -> None:
        (self.pack / "actions.yaml").write_text(_POLICY.format(level=self.level, minutes=self.minutes))

    def _place(self) -> None:
        action = Action(KIND, "nails", "nails", {"item": "nails", "quantity": self.quantity})

        def work(conn: Any) -> None:
            firewall.place(conn, self.pack, self.flow, PARTITION, [action], requester=REQUESTER)

        try:
            warehouse.transact(work)
        except BatonError:  # it may be on its way: as it was
            (effect,) = outbox.effects(self.flow, PARTITION)
            self.quantity = effect.payload["quantity"]
        self._look()

    def _change(self) -> None:
        """An approval is for what was seen, not for what it became."""
        self.quantity += 1
        self._place()

    def _vote(self) -> None:
        self._cast(*self.rng.choice(PEOPLE), "refused" if self.rng.random() < 0.06 else "approved")

    def _approve(self) -> None:
        """Two who may."""
        self._cast(*ANN, "approved")
        self._cast(*BOB, "approved")

    def _cast(self, voter: Voter, who: str | None, answer: str) -> None:
        old = len(self.asked) > 1 and self.rng.random() < 0.15
        number = self.rng.choice(list(self.asked)) if old else max(self.asked)
        seen = "what was shown before" if self.rng.random() < 0.05 else self.asked[number][0].seen
        at, said = self._done(partial(_vote, number, voter, answer, seen), VOTE_POINTS)
        counted = at == "answered" or (not at and not said["refused"])
        where = f"seed {self.seed}, {self.step}"
        self.figures.refused += bool(said.get("refused"))
        if counted and answer == "refused":
            self.no.add(number)
        elif counted and (who is None or number != max(self.asked)):
            self.figures.let_through.append(f"{where}: the vote of {voter} on request {number}")
        elif counted and who is not None:
            if who in self.yes[number]:
                self.figures.let_through.append(f"{where}: the second vote of {voter} on request {number}")
            self.yes[number].add(who)
        self._look()

    def _deliver(self) -> None:
        lost = ["lost after" if self.rng.random() < 0.2 else "lost before" if self.rng.random() < 0.15 else "well"]
        self._lapse()
        self._done(partial(_deliver, self.flow, Peer(self.file, self.heeds, lost)), SEND_POINTS)
        self._look()
        self._check()

    def _disturb(self) -> None:
        kind = self.rng.choice(["policy", "policy", "stop", "row"])
        if kind == "policy":
            self.minutes = _MINUTES[self.minutes == _MINUTES[0]]
            self._write_policy()
        elif kind == "stop":
            switch.start("director") if switch.stopped() else switch.stop("director", "seeded")
        else:  # behind Baton's back
            values = self.rng.choice([{"expires_at": "2020"}, {"nonce": "0"}, {"subject": "0"}, {"effect": "another"}])
            here = tables.permits.c.effect.in_([one.key for one in outbox.effects(self.flow, PARTITION)])
            warehouse.transact(lambda conn: conn.execute(sa.update(tables.permits).where(here).values(values)))

    def _lapse(self) -> None:
        """The lease of whoever died runs out."""
        table = tables.outbox
        here = (table.c.flow == self.flow, table.c.lease_until.is_not(None))
        warehouse.transact(
            lambda conn: conn.execute(sa.update(table).where(*here).values(lease_until="2020-01-01T00:00:00.000000Z"))
        )

    def _done(self, work: Work, points: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        at, said = self.do(work, self.rng.choice(points) if self.rng.random() < self.kills else None)
        self.figures.killed.update([at] if at else [])
        self.figures.trace.append(f"{points[0]}: {at or said}")
        return at, said

    # --- the book ---

    def _look(self) -> None:
        """Enter requests that are new."""
        for one in requests.still_open(self.flow, PARTITION):
            if one.id not in self.asked:
                self.asked[one.id] = (one, self.minutes)
                self.yes[one.id] = set()

    def _may(self, payload: dict[str, Any]) -> bool:
        """Whether enough people agreed to just this, under the policy as it is, and nobody refused or stopped it."""
        newest = max(self.asked)
        about, minutes = self.asked[newest]
        agreed = newest not in self.no and len(self.yes[newest]) >= _NEEDS[self.level]
        return agreed and about.action["payload"] == payload and minutes == self.minutes and not switch.stopped()

    def _check(self) -> None:
        found = bookings(self.file)
        where = f"seed {self.seed}, {self.step}"
        for _, payload in found[self.booked :]:
            if not self._may(payload):
                self.figures.let_through.append(
                    f"{where}: {payload} was sent with {self.yes} of {self.asked.keys()}, no: {self.no}"
                )
        if len(found) > 1:
            self.figures.let_through.append(f"{where}: sent {len(found)} times")
        self.booked = len(found)

    def _end(self) -> None:
        """All is well again and people say yes: unless somebody refused it, it was or is sent once, and a repetition sends nothing."""
        self.step += 1
        if switch.stopped():
            switch.start("director")
        self._place()
        for _ in range(4):
            self._calmly()
            (effect,) = outbox.effects(self.flow, PARTITION)
            if effect.state == outbox.SENT:
                self._place()
                self._calmly()
                break
        self.figures.sent += len(bookings(self.file))
        refused = bool(self.no)
        if effect.state != outbox.SENT and not refused:
            self.figures.kept_out.append(f"seed {self.seed}: {effect.state}: {effect.error}")
        if (effect.state == outbox.SENT) != (len(bookings(self.file)) == 1):
            self.figures.let_through.append(
                f"seed {self.seed}: {effect.state}, {len(bookings(self.file))} times with the peer"
            )

    def _calmly(self) -> None:
        for one in requests.still_open(self.flow, PARTITION):
            for voter, who in (ANN, BOB):
                try:
                    firewall.vote(one.id, voter, "approved", one.seen)
                except VoteRefused:
                    continue
                self.yes[one.id].add(str(who))
        self._look()
        self._lapse()
        _deliver(self.flow, Peer(self.file, self.heeds, []), lambda point: None)
        self._look()
        self._check()
