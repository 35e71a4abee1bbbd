"""Progress: work that may run long says how far it is, to whoever listens: a terminal's bar, the log of a task.

Nothing is started for it, no thread and no timer: the work itself tells, and the listener keeps a pace. Where nobody listens it
costs nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """How far a piece of work is.

    Attributes:
        what: is done; `unit`: what is counted.
        done, total: how many; a total of 0 is not known.
        seconds: since it began.
    """

    what: str
    unit: str
    done: int
    total: int
    seconds: float

    @property
    def share(self) -> float | None:
        """The part that is done, 0..1; None where the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at the pace so far; None where nobody can tell."""
        return self.seconds * (1 - self.share) / self.share if self.share else None

    def sentence(self) -> str:
        """For a log: `texts encoded: 4,000 of 10,000 texts (40 %), 12 s, about 18 s left`."""
        counted = f"{self.done:,} {self.unit}"
        if self.share is not None:
            counted = f"{self.done:,} of {self.total:,} {self.unit} ({self.share:.0%})".replace("%", " %")
        rest = f", about {duration(self.left)} left" if self.left is not None else ""
        return f"{self.what}: {counted}, {duration(self.seconds)}{rest}"


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Pace:
    """Passes on how far it is: of work that runs for `after` seconds, and then every `every` seconds."""

    def __init__(
        self, say: Callable[[Standing], None], after: float, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._after, self._every, self._clock = say, after, every, clock
        self._began: dict[str, tuple[float, int]] = {}  # what -> when, and how far it was last
        self._said = float("-inf")

    def tell(self, what: str, unit: str, done: int, total: int) -> None:
        """Take note; work that is less far than before has begun anew."""
        now = self._clock()
        began, before = self._began.get(what, (now, 0))
        began = now if done < before else began
        self._began[what] = began, done
        if now - began >= self._after and now - self._said >= self._every:
            self._said = now
            self._say(Standing(what, unit, done, total, now - began))


_heard: ContextVar[Pace | None] = ContextVar("baton_progress", default=None)


@contextmanager
def heard_by(pace: Pace) -> Iterator[None]:
    """Work inside the block tells this listener."""
    token = _heard.set(pace)
    try:
        yield
    finally:
        _heard.reset(token)


def tell(what: str, unit: str, done: int, total: int = 0) -> None:
    """Say how far a piece of work is; first with 0 when it begins."""
    pace = _heard.get()
    if pace is not None:
        pace.tell(what, unit, done, total)


def told(items: Iterable[T], what: str, unit: str, total: int = 0) -> Iterator[T]:
    """The items; after each it is said how many are done.

    Args:
        total: how many there are, where `items` cannot say.
    """
    if _heard.get() is None:
        yield from items
        return
    count = len(items) if isinstance(items, Sized) else total
    tell(what, unit, 0, count)
    for done, item in enumerate(items, start=1):
        yield item
        tell(what, unit, done, count)
