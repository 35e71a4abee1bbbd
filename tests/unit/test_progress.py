"""Progress: said at a pace, by the work itself, and only to whoever listens."""

from __future__ import annotations

import io

from baton import progress
from baton.cli import output
from baton.progress import Pace, Standing, duration, heard_by, told


def listener(said: list[str], now: list[float], after: float = 5, every: float = 10) -> Pace:
    return Pace(lambda standing: said.append(standing.sentence()), after, every, lambda: now[0])


def work(now: list[float], count: int, each: float, what: str = "score") -> list[int]:
    found = []
    for item in told(range(count), what, "rows"):
        now[0] += each
        found.append(item)
    return found


def test_short_work_says_nothing_and_long_work_keeps_a_pace() -> None:
    said: list[str] = []
    now = [100.0]
    with heard_by(listener(said, now)):
        assert work(now, 4, 1.0) == [0, 1, 2, 3]
        assert said == []
        assert work(now, 40, 1.0) == list(range(40))
    assert said == [
        "score: 5 of 40 rows (12 %), 5 s, about 35 s left",
        "score: 15 of 40 rows (38 %), 15 s, about 25 s left",
        "score: 25 of 40 rows (62 %), 25 s, about 15 s left",
        "score: 35 of 40 rows (88 %), 35 s, about 5 s left",
    ]


def test_inner_work_that_begins_anew_counts_from_there() -> None:
    said: list[str] = []
    now = [0.0]
    with heard_by(listener(said, now, after=5, every=0)):
        for _ in told(range(3), "windows", "windows"):
            work(now, 3, 1.0, "texts")
    assert [one for one in said if one.startswith("texts")] == []
    assert [one.partition(" (")[0] for one in said] == ["windows: 2 of 3 windows", "windows: 3 of 3 windows"]


def test_without_a_listener_the_items_go_through_untouched() -> None:
    given = iter([1, 2])
    assert list(told(given, "w", "u")) == [1, 2]
    progress.tell("w", "u", 1)


def test_what_is_not_known_is_not_said() -> None:
    assert Standing("gc", "objects", 1200, 0, 61.0).sentence() == "gc: 1,200 objects, 61 s"
    assert Standing("gc", "objects", 0, 10, 6.0).sentence() == "gc: 0 of 10 objects (0 %), 6 s"
    assert [duration(one) for one in (0.4, 99, 100, 6000)] == ["0 s", "99 s", "2 min", "1.7 h"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_goes_away_and_a_pipe_gets_lines() -> None:
    now, terminal, pipe = [0.0], Terminal(), io.StringIO()
    with output.bar(terminal, lambda: now[0]):
        work(now, 10, 1.0)
    assert "score" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()
    assert "about 5 s left" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K"), "what is printed next starts on a clean line"
    with output.bar(pipe, lambda: now[0]):
        work(now, 30, 1.0)
    assert pipe.getvalue().splitlines()[0] == "score: 10 of 30 rows (33 %), 10 s, about 20 s left"
    quiet = Terminal()
    with output.bar(quiet, lambda: now[0]):
        work(now, 3, 1.0)
    assert quiet.getvalue() == ""
