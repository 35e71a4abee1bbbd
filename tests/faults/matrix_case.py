"""One cell of the policy matrix: an action that is placed, voted on and delivered for real, in a flow of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.effects import delivery, firewall, outbox
from baton.effects.peer import Outcome
from baton.record import warehouse

REACHES = ("record", "host", "account", "segment", "network")
LEVELS = ("auto", "notify", "one_approver", "two_approvers", "forbidden")
RECOVERIES = ("reversible", "irreversible")
VIA = {"conn_id": "peer", "endpoint": "actions"}


@dataclass
class Peer:
    """Takes everything; counts what it was sent by key."""

    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: bool = True

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        there = [body for known, body in self.sent if known == key]
        return Outcome("done", answer={}, agreed=there[0] == payload) if there else Outcome("absent")

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        self.sent.append((key, dict(payload)))
        return Outcome("done", answer={})


@dataclass
class Case:
    """One cell: an action of a kind, in a flow of its own."""

    kind: str
    level: str
    flow: str
    folder: Path
    peer: Peer = field(default_factory=Peer)

    @property
    def action(self) -> Action:
        payload = {"action": self.kind, "target": self.flow}
        return Action(self.kind, "incident", f"target of {self.flow}", payload, evidence=("event 1",),
                      confidence=0.9, amount=10.0)  # fmt: skip

    def place(self, action: Action | None = None, requester: str = "", flow: str = "") -> firewall.Placement:
        given = [action or self.action]
        return warehouse.transact(
            lambda conn: firewall.place(
                conn, self.folder, flow or self.flow, "p", given, kinds=(given[0].kind,), requester=requester
            )
        )

    def vote(self, *voters: Voter, seen: str = "", answer: str = "approved", number: int = 0) -> int:
        """Have people answer the newest request; returns how many votes counted."""
        counted = 0
        for voter in voters:
            with warehouse.read() as conn:
                found = [one for one in requests.of_effect(conn, self.key()) if not number or one.id == number]
            if not found:
                continue
            try:
                firewall.vote(found[0].id, voter, answer, seen or found[0].seen)
                counted += 1
            except VoteRefused:
                continue
        return counted

    def key(self) -> str:
        return next(one.key for one in outbox.effects(self.flow, "p"))

    def deliver(self, flow: str = "") -> delivery.Delivery:
        return delivery.deliver(
            [self.kind], self.peer, flow or self.flow, "p", rounds=1, via=VIA, sleep=lambda seconds: None
        )

    def policy(self, before: str, after: str) -> None:
        path = self.folder / "actions.yaml"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    def set(self, table: Any, where: Any, **values: Any) -> None:
        with warehouse.write() as conn:
            conn.execute(table.update().where(where).values(**values))


def write_policy(folder: Path) -> Path:
    """One kind and one rule per reach, level and recovery; reversible ones take themselves back by `undo_<kind>`."""
    folder.mkdir(parents=True, exist_ok=True)
    actions, rules = [], []
    for kind, reach, level, recovery in kinds():
        undo = f", undo: undo_{kind}" if recovery == "reversible" else ""
        actions.append(f"  {kind}: {{description: does it, recovery: {recovery}, reach: {reach}{undo}}}")
        if undo:
            actions.append(f"  undo_{kind}: {{description: back, recovery: irreversible, reach: {reach}}}")
        rules.append(f"  - {{name: r_{kind}, actions: [{kind}], level: {level}, permit_minutes: 60}}")
    rules.append("  - {name: backs, level: auto}")
    (folder / "actions.yaml").write_text("\n".join(["actions:", *actions, "policy:", *rules]) + "\n")
    return folder


def kinds() -> Iterator[tuple[str, str, str, str]]:
    """Kind, reach, level, recovery."""
    for reach in REACHES:
        for level in LEVELS:
            for recovery in RECOVERIES:
                yield f"{reach[:3]}_{level.replace('_approver', '')}_{recovery[:3]}", reach, level, recovery


@contextmanager
def later(minutes: float) -> Iterator[None]:
    """The clock so many minutes on."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(minutes=minutes)

    now, clock = warehouse.now, requests.datetime
    warehouse.now = lambda: Shifted.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    requests.datetime = Shifted  # type: ignore[misc]
    try:
        yield
    finally:
        warehouse.now = now
        requests.datetime = clock  # type: ignore[misc]
