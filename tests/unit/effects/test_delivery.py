"""Rounds, pauses and states of a delivery, against a peer that answers as it is told."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from baton.effects import attempts, delivery, outbox
from baton.effects.delivery import Delivery
from baton.effects.outbox import CONFLICT, FAILED, PENDING, SENDING, SENT, UNKNOWN
from baton.effects.peer import Outcome
from baton.errors import BatonError
from baton.record import ledger, warehouse

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "placing.py"))

FLOW, WEEK = "replenishment", "2026-11-16T00:00:00"
DONE, LATER, LOST = Outcome("done", answer={"id": 1}), Outcome("later", "busy"), Outcome("unknown", "no answer")
REFUSED, OTHER = Outcome("failed", "too many"), Outcome("conflict", "another one")


class Scripted:
    """Answers each `place` and each `find` with the next word, the last one for ever; notes what it was asked."""

    def __init__(self, place: list[Outcome], find: list[Outcome] | None = None, answers: bool = True) -> None:
        self.words, self.answers, self.asked = {"place": place, "find": find or [Outcome("absent")]}, answers, []

    def _next(self, what: str) -> Outcome:
        self.asked.append(what)
        words = self.words[what]
        return words.pop(0) if len(words) > 1 else words[0]

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        return self._next("place")

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        return self._next("find")


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def enqueue(number: int = 1) -> None:
    entries = [(f"i{n:02}", {"item": n}) for n in range(number)]
    warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, WEEK, "order", entries))


def send(peer: Scripted, **options: Any) -> tuple[Delivery, list[float]]:
    slept: list[float] = []
    return delivery.deliver("order", peer, FLOW, WEEK, sleep=slept.append, **options), slept


def states() -> list[str]:
    return [one.state for one in outbox.effects(FLOW, WEEK)]


def test_all_are_sent_once_and_a_second_call_asks_nobody() -> None:
    enqueue(2)
    peer = Scripted([DONE])
    done, slept = send(peer)
    assert (done, slept) == (Delivery(2, 0, 0, 0, 0, [], []), [])
    assert peer.asked == ["place", "place"]
    again, _ = send(peer)
    assert (again.sent, again.already, len(peer.asked)) == (0, 2, 2)


def test_pauses_double_up_to_the_longest_and_the_rounds_end() -> None:
    enqueue()
    done, slept = send(Scripted([LATER]), rounds=5, pause=1.0, longest=3.0)
    assert slept == [1.0, 2.0, 3.0, 3.0]
    assert (done.sent, done.unknown, done.problems) == (0, 1, ["i00: busy"])
    assert done.degraded == ["1 needed more than one attempt; the last reason: busy"]
    assert states() == [PENDING]


@pytest.mark.parametrize(("wait", "slept", "sent"), [(2.5, [2.5], 1), (0.5, [1.0], 1), (3.0, [3.0], 1), (3.1, [], 0)])
def test_a_peer_may_ask_for_a_longer_pause_but_not_for_too_long(wait: float, slept: list[float], sent: int) -> None:
    enqueue()
    done, paused = send(Scripted([Outcome("later", "busy", wait=wait), DONE]), longest=3.0)
    assert (done.sent, paused) == (sent, slept)


def test_a_peer_that_asks_for_a_pause_or_is_silent_five_times_is_left_alone_for_the_round() -> None:
    enqueue(8)
    peer = Scripted([Outcome("later", "busy", wait=0.0)])
    send(peer, rounds=1)
    assert len(peer.asked) == 1
    peer = Scripted([LATER])
    send(peer, rounds=1)
    assert len(peer.asked) == 5
    peer = Scripted([LATER, LATER, LATER, LATER, REFUSED, LATER, LATER, LATER])
    send(peer, rounds=1)
    assert len(peer.asked) == 8, "an answer in between: it is not down"


def test_what_is_refused_is_not_tried_again_in_the_same_call() -> None:
    enqueue()
    done, slept = send(Scripted([REFUSED]))
    assert (done.failed, done.unknown, done.problems, slept) == (1, 0, ["i00: too many"], [])
    assert states() == [FAILED]
    peer = Scripted([DONE])
    assert send(peer)[0].sent == 1
    assert peer.asked == ["find", "place"], "it may have been taken in the meantime by hand"


def test_a_peer_that_cannot_be_asked_gets_what_it_refused_once_more() -> None:
    enqueue()
    send(Scripted([REFUSED], answers=False))
    peer = Scripted([DONE], answers=False)
    assert send(peer)[0].sent == 1
    assert peer.asked == ["place"]


def test_a_lost_answer_is_asked_about_before_anything_is_sent_again() -> None:
    enqueue()
    peer = Scripted([LOST], [DONE])
    done, _ = send(peer)
    assert (done.sent, done.adopted, peer.asked) == (1, 1, ["place", "find"])
    assert done.degraded[0] == "1 of 1 were booked though the answer was lost; asking found them"
    assert ledger.entries(kind="action_executed")[0].payload["adopted"] is True


def test_not_found_means_sent_again_but_not_within_its_time_of_grace() -> None:
    enqueue()
    peer = Scripted([LOST, DONE], [Outcome("absent", grace=3600.0), Outcome("absent")])
    done, _ = send(peer, rounds=2)
    assert (done.sent, peer.asked) == (0, ["place", "find"])
    assert "ask again in" in done.problems[0]
    done, _ = send(peer)
    assert (done.sent, done.adopted, peer.asked[2:]) == (1, 0, ["find", "place"])


@pytest.mark.parametrize(("age", "sent"), [(9.5, 0), (10.0, 1)])
def test_grace_ends_when_it_is_over(monkeypatch: pytest.MonkeyPatch, age: float, sent: int) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 11, 16, 12, tzinfo=UTC) + timedelta(seconds=age)

    enqueue()
    monkeypatch.setattr(warehouse, "now", lambda: "2026-11-16T12:00:00.000000Z")
    monkeypatch.setattr(delivery, "datetime", Later)
    assert send(Scripted([LOST, DONE], [Outcome("absent", grace=10.0)]), rounds=2)[0].sent == sent


@pytest.mark.parametrize(("grace", "asked"), [(3600.0, ["find"]), (0.0, ["find", "place"])])
def test_what_a_dead_worker_was_at_is_in_doubt_since_its_lease_ended(grace: float, asked: list[str]) -> None:
    enqueue()
    assert attempts.claim(outbox.effects(FLOW, WEEK)[0], lease=-60)
    peer = Scripted([DONE], [Outcome("absent", grace=grace)])
    done, _ = send(peer, rounds=1)
    assert (peer.asked, done.sent) == (asked, len(asked) - 1)
    if grace:
        left = float(done.problems[0].split("ask again in ")[1].split(" s")[0])
        assert 3000 < left <= 3540


def test_in_doubt_stays_in_doubt_when_the_peer_does_not_say() -> None:
    enqueue()
    send(Scripted([LOST]), rounds=1)
    done, _ = send(Scripted([DONE], [REFUSED]), rounds=1)
    assert (done.sent, done.unknown, states()) == (0, 1, [UNKNOWN])


def test_what_is_held_otherwise_is_a_conflict_until_it_agrees() -> None:
    enqueue()
    done, _ = send(Scripted([OTHER]))
    assert (done.failed, states()) == (1, [CONFLICT])
    peer = Scripted([DONE], [Outcome("done", answer={"id": 1})])
    assert send(peer)[0].failed == 1, "found, but not compared: still a conflict"
    assert send(Scripted([DONE], [Outcome("done", answer={"id": 1}, agreed=True)]))[0].sent == 1


def test_another_worker_is_waited_for_and_its_effect_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue()
    assert attempts.claim(outbox.effects(FLOW, WEEK)[0], lease=60)
    clock = [0.0]
    monkeypatch.setattr(delivery.time, "monotonic", lambda: clock[0])

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        clock[0] += seconds

    done = delivery.deliver("order", Scripted([DONE]), FLOW, WEEK, lease=30, sleep=sleep)
    assert (done.sent, done.unknown, done.problems) == (0, 1, ["i00: another worker is at it"])
    assert clock[0] == 60.5, "twice the lease"
    assert states() == [SENDING]


def test_an_attempt_that_slept_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue()
    clock = [0.0]
    monkeypatch.setattr(delivery.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(delivery, "FAULT", lambda point: clock.__setitem__(0, clock[0] + 16))
    peer = Scripted([DONE])
    done, _ = send(peer, lease=30, rounds=1)
    assert (done.sent, peer.asked) == (0, [])
    assert "took too long" in done.problems[0]


@pytest.mark.parametrize(("arrived", "state", "entries"), [(True, SENT, 1), (False, PENDING, 0)])
def test_a_person_settles_what_is_in_doubt(arrived: bool, state: str, entries: int) -> None:
    enqueue()
    key = outbox.effects(FLOW, WEEK)[0].key
    for wrong, words in (("none", "no effect has the key"), (key, "not in doubt")):
        with pytest.raises(BatonError, match=words):
            delivery.decide(wrong, arrived, "ann")
    send(Scripted([LOST]), rounds=1)
    assert delivery.decide(key, arrived, "ann").state == UNKNOWN
    assert states() == [state]
    assert ledger.entries(kind="effect_decided")[0].payload == {"key": key, "arrived": arrived, "by": "ann"}
    assert len(ledger.entries(kind="action_executed")) == entries
    peer = Scripted([DONE])
    send(peer)
    assert peer.asked == ([] if arrived else ["place"])


def test_a_person_cannot_settle_what_a_worker_is_at() -> None:
    enqueue()
    effect = outbox.effects(FLOW, WEEK)[0]
    assert attempts.claim(effect, lease=60)
    with pytest.raises(BatonError, match="is sending, not in doubt"):
        delivery.decide(effect.key, True, "ann")


def test_only_the_first_three_problems_are_told() -> None:
    enqueue(4)
    assert send(Scripted([REFUSED]))[0].problems == [f"i0{n}: too many" for n in range(3)]
