"""The breaker as a pure machine: when it opens, how long it stays so, what a probe does; and the bucket of tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baton.lookups.breaker import CLOSED, OPEN, Breaker, answered, failed, may_probe, pause
from baton.lookups.bucket import Bucket
from baton.specs.tool import BreakerSpec

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
LIMITS = BreakerSpec(failures=3, share=0.5, of=10, pause_seconds=30.0, longest_pause_seconds=100.0)


def after(answers: str, limits: BreakerSpec = LIMITS) -> Breaker:
    """What so many answers (`.`) and failures (`x`) make of a breaker."""
    breaker = Breaker()
    for one in answers:
        breaker = failed(breaker, "down", NOW, limits) if one == "x" else answered(breaker, limits)
    return breaker


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ("xx", CLOSED),
        ("xxx", OPEN),
        ("xx.xx", CLOSED),
        ("x.x.x.x.x.", CLOSED),
        ("x.x.x.x.xx", OPEN),
        (".xx.xx.xx", CLOSED),
    ],
)
def test_it_opens_after_failures_in_a_row_or_a_share_of_the_last_answers(answers: str, state: str) -> None:
    assert after(answers).state == state


def test_half_of_the_last_answers_open_it_only_when_there_are_so_many() -> None:
    limits = BreakerSpec(failures=100, share=0.5, of=10)
    assert after("x.x.x.x.x", limits).state == CLOSED
    assert after("." * 50 + "x.x.x.x.x", limits).state == OPEN


def test_it_says_since_when_why_and_when_it_may_be_tried_again() -> None:
    breaker = after("xxx")
    assert (breaker.opened_at, breaker.retry_at, breaker.error) == (NOW, NOW + timedelta(seconds=30), "down")
    assert not may_probe(breaker, NOW + timedelta(seconds=29))
    assert may_probe(breaker, NOW + timedelta(seconds=30))
    assert not may_probe(Breaker(), NOW)


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker, pauses = after("xxx"), []
    for _ in range(4):
        breaker = failed(breaker, "still down", NOW, LIMITS)
        assert breaker.retry_at is not None
        pauses.append((breaker.retry_at - NOW).total_seconds())
    assert pauses == [60.0, 100.0, 100.0, 100.0]
    assert (breaker.opened_at, breaker.probes, breaker.error) == (NOW, 4, "still down")
    assert pause(10_000, LIMITS) == timedelta(seconds=100)


def test_a_probe_that_is_answered_closes_it_and_what_was_before_does_not_count() -> None:
    breaker = answered(after("xxx"), LIMITS)
    assert breaker == Breaker(recent=(False,))
    assert failed(breaker, "down", NOW, LIMITS).state == CLOSED


@given(st.text(alphabet=".x", max_size=60))
def test_closed_means_fewer_failures_in_a_row_than_allowed(answers: str) -> None:
    breaker = Breaker()
    for one in answers:
        breaker = failed(breaker, "e", NOW, LIMITS) if one == "x" else answered(breaker, LIMITS)
        assert len(breaker.recent) <= LIMITS.of
        assert (breaker.state == CLOSED) == (breaker.opened_at is None) == (breaker.retry_at is None)
        assert breaker.state == OPEN or breaker.failures < LIMITS.failures
        assert one == "x" or breaker.state == CLOSED


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_bucket_gives_a_seconds_tokens_at_once_and_then_so_many_a_second(tmp_path: Path) -> None:
    clock = Clock()
    bucket = Bucket(tmp_path / "rates" / "one", 5.0, clock, clock.sleep)
    assert all(bucket.take(100.0) for _ in range(5))
    assert clock.now == 0.0
    assert all(bucket.take(100.0) for _ in range(10))
    assert clock.now == pytest.approx(2.0)
    clock.now += 60.0  # it holds no more than a second's
    for _ in range(6):
        bucket.take(1000.0)
    assert clock.now == pytest.approx(62.2)


def test_a_token_that_would_come_too_late_is_not_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    bucket = Bucket(tmp_path / "one", 0.5, clock, clock.sleep)
    assert bucket.take(1.0)
    assert not bucket.take(1.0)
    assert clock.now == 0.0
    assert bucket.take(2.0)
    assert clock.now == pytest.approx(2.0)


def test_workers_of_a_machine_share_a_bucket_and_a_later_one_finds_it_as_it_was_left(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Bucket(tmp_path / "one", 5.0, clock, clock.sleep) for _ in range(2))
    assert all(bucket.take(100.0) for bucket in (one, other) for _ in range(5))
    assert clock.now == pytest.approx(1.0), "five a second, not ten"
    assert Bucket(tmp_path / "other", 5.0, clock, clock.sleep).take(clock.now), "another tool has its own"
    assert not Bucket(tmp_path / "one", 5.0, clock, clock.sleep).take(clock.now)


@pytest.mark.parametrize(
    "left", [b"", b"nonsense", b"[nan, 0.0]", b"[-1e12, 0.0]", b"[5.0, 1e12]", b"[9e99, 0.0]", b"\xff"]
)
def test_what_a_crash_or_a_restart_of_the_machine_left_holds_nobody_up_and_gives_nobody_more(
    left: bytes, tmp_path: Path
) -> None:
    (tmp_path / "one").write_bytes(left)
    clock = Clock()
    bucket = Bucket(tmp_path / "one", 5.0, clock, clock.sleep)
    assert sum(bucket.take(1.0) for _ in range(50)) == 10
    assert clock.now <= 1.0
