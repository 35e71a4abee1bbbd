"""Random sequences around a promotion: asked, answered by whoever may and may not, changed meanwhile, done twice, killed between.

Beside the real mechanism runs a book kept by a few lines of sets: it says whether a move may happen. Used by the unit test and
by `make bench NAME=actions`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions import promotions, requests
from baton.actions.requests import Request
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall
from baton.errors import BatonError
from baton.names import CHAMPION
from baton.record import ledger, tables, warehouse

NEEDS = 2
# as they log in -> who that is; None: nobody who counts
PEOPLE: tuple[tuple[Voter, str | None], ...] = (
    (Voter("7", "ann"), "ann"), (Voter(" ANN ", "Ann"), "ann"), (Voter("ann", "ann", "registry"), "ann"),
    (Voter("8", "bob"), "bob"), (Voter("Bob"), "bob"), (Voter("9", "cy"), "cy"),
    (Voter("10", "trainer"), None), (Voter("TRAINER", "", "registry"), None), (Voter("11", "starter"), None),
    (Voter("service"), None), (Voter("baton", "baton", "registry"), None), (Voter(""), None), (Voter("unknown"), None),
    (Voter("flow:m_promote"), None), (Voter("agent:triage"), None),
)  # fmt: skip
BARRED = {"trainer": "started its training", "Starter": "started its promotion"}


class Killed(Exception):
    """The process dies here: its transaction is rolled back."""


@dataclass
class Figures:
    """What some sequences came to; sentences name seed and step."""

    sequences: int = 0
    moves: int = 0
    refused: int = 0
    let_through: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)


def play(seeds: range) -> Figures:
    """Play a sequence for each seed, each about a model of its own."""
    figures = Figures()
    for seed in seeds:
        figures.sequences += 1
        _Sequence(seed, figures).play()
    return figures


class _Sequence:
    def __init__(self, seed: int, figures: Figures) -> None:
        self.rng, self.figures, self.seed = random.Random(f"votes {seed}"), figures, seed
        self.model, self.step = f"m{seed}", 0
        self.manifest, self.gate = "files", "gate"
        self.asked: Request | None = None
        self.before: list[Request] = []
        self.judged_for: int | None = None
        # the book: the champion, who said yes to what is asked now, and whether that is over
        self.champion: int | None = None
        self.yes: set[str] = set()
        self.over = True
        if self.rng.random() < 0.7:
            self.champion = 1
            warehouse.transact(lambda conn: self._record(conn))
        self._judge()

    def play(self) -> None:
        acts = [(self._ask, 3), (self._vote, 10), (self._approve, 3), (self._move, 5), (self._disturb, 4)]
        self._ask()
        for step in range(self.rng.randint(6, 14)):
            self.step = step
            self.rng.choices([act for act, _ in acts], [often for _, often in acts])[0]()
        self._move()
        if self.judged_for is not None:  # rolled back to what the gate compared with: the permit is as it was, and used
            self._go_back(self.judged_for)
        self._move()

    def _go_back(self, version: int) -> None:
        self.champion = version
        warehouse.transact(lambda conn: self._record(conn, rollback=True))

    def _judge(self) -> None:
        row = {"model": self.model, "version": 2, "judged_at": f"t{self.rng.random()}", "answer": None, "verdict": {
            "decision": "PROMOTE", "champion_version": self.champion, "manifest": "files", "gate": "gate"}}  # fmt: skip
        warehouse.transact(lambda conn: warehouse.upsert(conn, tables.approvals, [row]))
        self.judged_for, self.over, self.yes = self.champion, True, set()

    def _ask(self) -> None:
        try:
            after = promotions.ask(self.model, 2, BARRED)
        except BatonError:
            assert self.champion != self.judged_for
            return
        if self.asked is None or after.id != self.asked.id:
            self.before += [self.asked] if self.asked else []
            self.yes = set()
        self.asked, self.over = after, False

    def _vote(self) -> None:
        self._cast(*self.rng.choice(PEOPLE), "refused" if self.rng.random() < 0.08 else "approved")

    def _approve(self) -> None:
        """Two who may."""
        self._cast(*PEOPLE[0], "approved")
        self._cast(*PEOPLE[3], "approved")

    def _cast(self, voter: Voter, who: str | None, answer: str) -> None:
        old = bool(self.before) and self.rng.random() < 0.15
        asked = self.rng.choice(self.before) if old else self.asked
        if asked is None:
            return
        seen = "what was shown before" if self.rng.random() < 0.05 else asked.seen
        try:
            after = firewall.vote(asked.id, voter, answer, seen)
        except VoteRefused:
            self.figures.refused += 1
            if asked is self.asked and _state(asked.id) == requests.REPLACED:
                self.over, self.yes = True, set()
            return
        if after.id != (self.asked and self.asked.id):
            self.figures.let_through.append(f"seed {self.seed}, {self.step}: a vote on what was asked before")
        elif after.state == requests.REFUSED:
            self.over, self.yes = True, set()
        elif who is None:
            self.figures.let_through.append(f"seed {self.seed}, {self.step}: the vote of {voter}")
        else:
            self.yes.add(who)

    def _disturb(self) -> None:
        kind = self.rng.choice(["judged", "judged", "champion", "champion", "files", "gate", "row"])
        if kind == "judged":
            self._judge()
        elif kind == "champion":
            self._go_back(self.rng.choice([1, 1, 3]))
        elif kind == "files":
            self.manifest = "files" if self.manifest != "files" else "other files"
        elif kind == "gate":
            self.gate = "gate" if self.gate != "gate" else "another gate"
        else:  # behind Baton's back
            here = tables.permits.c.effect == f"change:promote:model:{self.model}:2"
            values = self.rng.choice([{"expires_at": "2020"}, {"nonce": "0"}, {"used_at": "2020"}, {"subject": "0"}])
            warehouse.transact(lambda conn: conn.execute(sa.update(tables.permits).where(here).values(values)))
            if len(self.yes) >= NEEDS:  # before that there is none of what is asked now
                self.over, self.yes = True, set()

    def _record(self, conn: Connection, version: int | None = None, **told: Any) -> None:
        move = {"alias": CHAMPION, "version": version or self.champion, "before": None, **told}
        ledger.append(conn, promotions.ALIAS_MOVED, self.model, move)

    def _move(self) -> None:
        may = not self.over and len(self.yes) >= NEEDS and self.champion == self.judged_for
        may = may and (self.manifest, self.gate) == ("files", "gate")
        kill = self.rng.random() < 0.3

        def work(conn: Connection) -> None:
            promotions.permitted(conn, self.model, 2, self.manifest, self.gate)
            self._record(conn, 2)
            if kill:
                raise Killed

        try:
            warehouse.transact(work)
        except Killed:
            moved = None
        except BatonError:
            moved = False
        else:
            moved = True
        where = f"seed {self.seed}, {self.step}"
        if moved is not False and not may:
            self.figures.let_through.append(f"{where}: moved with {sorted(self.yes)}, over: {self.over}")
        if moved is False and may:
            self.figures.kept_out.append(f"{where}: not moved with {sorted(self.yes)}")
        if moved:
            self.figures.moves += 1
            self.champion, self.over, self.yes = 2, True, set()


def _state(number: int) -> str:
    with warehouse.read() as conn:
        return requests.find(conn, number).state
