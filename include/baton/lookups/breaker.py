"""The circuit breaker of one tool, pure: closed, open after failures, half-open while one question tries it again.

closed --failures in a row, or a share of the last answers--> open --after a pause--> half_open
half_open --answered--> closed       half_open --failed--> open, for twice as long
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from baton.specs.tool import BreakerSpec

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(frozen=True)
class Breaker:
    """How a tool has been of late.

    Attributes:
        state: closed, open or half_open.
        failures: in a row, up to now.
        opened_at: when it left `closed`; None while it is closed.
        retry_at: when it may be tried again; of half_open: when the question that tries it is given up.
        probes: questions that tried it again and failed, since it opened.
        error: of the last failure, without values and secrets.
        recent: the last answers of this process, True for a failure.
    """

    state: str = CLOSED
    failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    probes: int = 0
    error: str = ""
    recent: tuple[bool, ...] = ()


def may_probe(breaker: Breaker, now: datetime) -> bool:
    """Whether one question may try an open breaker's tool again."""
    return breaker.state != CLOSED and (breaker.retry_at is None or breaker.retry_at <= now)


def answered(breaker: Breaker, limits: BreakerSpec) -> Breaker:
    """After an answer: closed, and no failures in a row any more."""
    recent = breaker.recent if breaker.state == CLOSED else ()
    return Breaker(recent=_last(recent, False, limits))


def failed(breaker: Breaker, error: str, now: datetime, limits: BreakerSpec) -> Breaker:
    """After a failure: perhaps open; after that of a probe open again, for longer."""
    if breaker.state != CLOSED:
        probes = breaker.probes + 1
        later = now + pause(probes, limits)
        return replace(breaker, state=OPEN, failures=breaker.failures + 1, probes=probes, retry_at=later, error=error)
    recent, failures = _last(breaker.recent, True, limits), breaker.failures + 1
    if failures < limits.failures and not _too_many(recent, limits):
        return Breaker(failures=failures, error=error, recent=recent)
    return Breaker(OPEN, failures, now, now + pause(0, limits), 0, error, recent)


def pause(probes: int, limits: BreakerSpec) -> timedelta:
    """How long it stays open after so many probes that failed."""
    longest = max(limits.longest_pause_seconds, limits.pause_seconds)
    return timedelta(seconds=min(longest, limits.pause_seconds * 2.0 ** min(probes, 30)))


def _last(recent: Sequence[bool], failure: bool, limits: BreakerSpec) -> tuple[bool, ...]:
    return (*recent, failure)[-limits.of :]


def _too_many(recent: Sequence[bool], limits: BreakerSpec) -> bool:
    return len(recent) == limits.of and sum(recent) >= limits.share * limits.of > 0
