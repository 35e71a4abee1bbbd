"""The rules that the gates of all families share, at their limits: what equals a limit keeps it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from baton.families.verdict import ROUNDING, GateVerdict, Ladder, Slice, first


def ladder(errors: bool = False, min_gain: float = 0.0, **row: Any) -> Ladder:
    made = Ladder(SimpleNamespace(min_gain=min_gain, confidence=0.95), "m", "measure", errors=errors)  # type: ignore[arg-type]
    made.table = [{"metric": "m", **row}]
    return made


@pytest.mark.parametrize(
    ("errors", "value", "held"),
    [(False, 0.5, None), (False, 0.499, "below the floor"), (True, 0.5, None), (True, 0.501, "above the")],
)
def test_bound(errors: bool, value: float, held: str | None) -> None:
    ruling = ladder(errors, challenger=value).by_bound(0.5)
    assert ruling is None if held is None else ruling is not None and ruling[0] == "HOLD" and held in ruling[1]


@pytest.mark.parametrize(("price", "held"), [(10.0, False), (10.01, True), (9.0, False)])
def test_price(price: float, held: bool) -> None:
    ruling = ladder().by_price("Alerts cost", price, 10.0, {"low": -1.0, "high": 2.0}, " a row")
    assert (ruling is not None) is held
    if ruling:
        assert ruling[0] == "HOLD"
        assert "10.01 a row against the champion's 10.00 (95% interval of the difference -1.00 to +2.00)" in ruling[1]


def a_slice(difference: float, low: float, high: float) -> Slice:
    row = {"champion": 0.8, "challenger": 0.8 + difference, "difference": difference, "low": low, "high": high}
    return Slice("the night", row, 0.1, "0.1")


@pytest.mark.parametrize(
    ("errors", "difference", "low", "high", "held", "noted"),
    [
        (False, -0.1, -0.2, -0.05, False, False),  # as much as is tolerated
        (False, -0.11, -0.2, -0.05, True, False),
        (False, -0.11, -0.2, 0.0, False, True),  # an interval that touches 0 is noise
        (False, 0.5, 0.4, 0.6, False, False),
        (True, 0.1, 0.05, 0.2, False, False),
        (True, 0.11, 0.05, 0.2, True, False),
        (True, 0.11, 0.0, 0.2, False, True),
        (True, -0.5, -0.6, -0.4, False, False),
    ],
)
def test_slices(errors: bool, difference: float, low: float, high: float, held: bool, noted: bool) -> None:
    made = ladder(errors)
    ruling = made.by_slices([a_slice(0.0, 0.0, 0.0), a_slice(difference, low, high)])
    assert (ruling is not None, len(made.notes) == 1) == (held, noted)
    said = ruling[1] if ruling else "".join(made.notes)
    if held or noted:
        assert said.startswith(f"In the night the measure {'rises' if errors else 'falls'} from 0.8000")
        assert ("within noise" in said) is noted


def test_all_slices_that_lose_are_named() -> None:
    ruling = ladder().by_slices([a_slice(-0.2, -0.3, -0.1), a_slice(-0.3, -0.4, -0.2)], "recall")
    assert ruling is not None
    assert ruling[1].count("the recall falls") == 2


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize(
    ("gain", "low", "least", "decision"),
    [
        (0.1, 0.05, 0.05, "PROMOTE"),  # the interval's end reaches what is asked for
        (0.1, 0.049, 0.05, "MORE_DATA"),
        (0.05, 0.01, 0.05, "MORE_DATA"),  # the gain does, its interval does not
        (0.049, 0.01, 0.05, "HOLD"),
        (0.1, 2 * ROUNDING, 0.0, "PROMOTE"),
        (0.1, ROUNDING, 0.0, "MORE_DATA"),  # 0 asks for an interval above 0
        (0.0, 0.0, 0.0, "HOLD"),
        (-0.1, -0.2, 0.0, "HOLD"),
        (-0.1, 0.2, -0.2, "HOLD"),  # a loss is no gain, whatever is asked for
    ],
)
def test_gain(errors: bool, gain: float, low: float, least: float, decision: str) -> None:
    sign = -1 if errors else 1
    ends = {"low": -9.0, "high": -low} if errors else {"low": low, "high": 9.0}
    made = ladder(errors, least, champion=0.5, challenger=0.5 + sign * gain, difference=sign * gain, **ends)
    assert made.by_gain(0.4, "9 cases")[0] == decision


@pytest.mark.parametrize(("errors", "words"), [(False, "reaches the floor"), (True, "keeps the ceiling")])
def test_a_first_version_has_kept_the_bound(errors: bool, words: str) -> None:
    decision, reason = ladder(errors, champion=None, challenger=0.5).by_gain(0.4, "9 cases")
    assert (decision, words in reason) == ("PROMOTE", True)


def test_the_first_rule_that_decides_decides_and_carries_what_was_found() -> None:
    made = ladder(challenger=1.0)
    made.notes, made.size, made.positives, made.thresholds = ["a note"], 7, 3, {"champion": 0.5}
    made.cost, made.slices = {"c": 1}, [{"slice": "s"}]
    verdict = made.climb(lambda: None, lambda: ("HOLD", "why"), lambda: ("PROMOTE", "never"))
    assert verdict == GateVerdict(
        "HOLD", ["why", "a note"], made.table, "m", 7, 3, {"champion": 0.5}, {"c": 1}, [{"slice": "s"}]
    )
    with pytest.raises(AssertionError):
        first(lambda: None)


def test_an_infinite_threshold_is_null_in_json() -> None:
    found = GateVerdict("HOLD", ["r"], thresholds={"champion": math.inf, "challenger": 0.5}).to_dict()
    assert found["thresholds"] == {"champion": None, "challenger": 0.5}
    assert found["decision"] == "HOLD"
