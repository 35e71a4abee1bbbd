"""The drift decision and the performance of late labels at their limits: what equals one, and what is one off."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baton.drift.decision import MonitorVerdict, Window, decide
from baton.drift.performance import COVERAGE, Performance, calibration, performance
from baton.errors import BatonError


def spec(needed: int = 30, k: int = 2, n: int = 3) -> SimpleNamespace:
    budget = SimpleNamespace(retrains=3, per="12h")
    return SimpleNamespace(
        persistence=SimpleNamespace(k=k, n=n), cooldown="6h", budget=budget, needed=(needed, "cases")
    )


def at(hour: int) -> str:
    return f"2026-11-{20 + hour // 24:02d}T{hour % 24:02d}:00:00"


def run(hours: str, truths: int = 20) -> list[Window]:
    return [Window(at(i), 1, "judged", ("v1",) if c == "d" else (), 100, truths) for i, c in enumerate(hours)]


def measured(*states: str | None) -> list[Window]:
    made = [None if s is None else Performance("m", 0.5, 0.4, 0.6, 0.7, 20, 100, s) for s in states]
    return [replace(window, performance=one) for window, one in zip(run("d" * len(made)), made, strict=True)]


@pytest.mark.parametrize(("needed", "verdict"), [(40, MonitorVerdict.RETRAIN), (41, MonitorVerdict.WAITING_FOR_LABELS)])
def test_truths_count_from_the_onset_on(needed: int, verdict: MonitorVerdict) -> None:
    found = decide(run("qqqdd"), spec(needed), now=at(4))
    assert (found.verdict, found.truths, found.onset, found.features) == (verdict, 40, at(3), ["v1"])
    assert found.reasons[0] == f"drifted in at least 2 of 3 windows, since {at(3)}: v1"


@pytest.mark.parametrize(("hours", "onset"), [("qdd", 1), ("dqdd", 0), ("dqqdd", 3), ("ddqdqdd", 0), ("dqdqqdd", 5)])
def test_a_streak_goes_back_over_as_many_quiet_windows_as_k_of_n_leaves(hours: str, onset: int) -> None:
    assert decide(run(hours), spec(), now=at(len(hours) - 1)).onset == at(onset)


@pytest.mark.parametrize(("hour", "verdict"), [(14, MonitorVerdict.RETRAIN), (15, MonitorVerdict.COOLDOWN)])
def test_the_cool_down_is_over_after_its_last_hour(hour: int, verdict: MonitorVerdict) -> None:
    found = decide(run("q" * 19 + "dd"), spec(), now=at(20), retrains=[at(hour), at(2)])
    assert found.verdict is verdict
    if verdict is MonitorVerdict.COOLDOWN:
        assert found.reasons[-1] == f"retraining was requested at {at(15)}; the cool-down is 6h of data time"


@pytest.mark.parametrize(("oldest", "verdict"), [(8, MonitorVerdict.RETRAIN), (9, MonitorVerdict.DRIFT)])
def test_a_budget_counts_what_is_younger_than_its_span(oldest: int, verdict: MonitorVerdict) -> None:
    found = decide(run("q" * 19 + "dd"), spec(), now=at(20), retrains=[at(oldest), at(11), at(12)])
    assert found.verdict is verdict
    assert ("3 retrainings per 12h" in found.reasons[-1]) is (verdict is MonitorVerdict.DRIFT)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (("held", "held", None), MonitorVerdict.DRIFT),
        (("held", None, None), MonitorVerdict.RETRAIN),
        (("held", "held", "dropped"), MonitorVerdict.RETRAIN),
        (("open", "held", "too_few"), MonitorVerdict.RETRAIN),
    ],
)
def test_a_model_holds_by_k_windows_and_none_that_dropped(
    states: tuple[str | None, ...], verdict: MonitorVerdict
) -> None:
    assert decide(measured(*states), spec(), now=at(2)).verdict is verdict


def test_only_the_last_n_measured_windows_tell_a_loss() -> None:
    lost = [replace(w, drifted=()) for w in measured("dropped", "dropped", "open", "partial", None)]
    found = decide(lost, spec(), now=at(4))
    assert (found.verdict, found.onset) == (MonitorVerdict.RETRAIN, at(0))
    assert found.reasons[0] == f"labelled performance fell in at least 2 of 3 windows: {at(0)}, {at(1)}"
    older = [replace(w, drifted=()) for w in measured("dropped", "dropped", "open", "held", None)]
    assert decide(older, spec(), now=at(4)).verdict is MonitorVerdict.STABLE
    once = [replace(w, drifted=()) for w in measured("open", "dropped")]
    assert decide(once, spec(), now=at(1)).verdict is MonitorVerdict.WARN


def test_each_window_that_does_not_count_says_why() -> None:
    for status, words in (("broken", "quarantine"), ("missing", "no data"), ("too_few", "7 rows are too few")):
        found = decide([Window(at(0), 1, status, rows=7)], spec(), now=at(0))
        assert found.verdict is MonitorVerdict.TOO_FEW
        assert words in found.reasons[0]
    assert found.to_dict()["verdict"] == "TOO_FEW"


# --- late labels ---

POLICY = SimpleNamespace(metric="average_precision", max_drop=0.1, min_positives=5)


def labelled(positives: int, negatives: int, unknown: int = 0) -> tuple[Any, Any]:
    y = np.concatenate([np.ones(positives), np.zeros(negatives), np.full(unknown, np.nan)])
    return y, np.linspace(1, 0, len(y))


@pytest.mark.parametrize(
    ("positives", "negatives", "unknown", "status"),
    [(4, 96, 0, "too_few"), (5, 75, 20, "held"), (5, 74, 21, "partial"), (5, 0, 0, "too_few"), (5, 95, 0, "held")],
)
def test_what_is_too_little_to_measure(positives: int, negatives: int, unknown: int, status: str) -> None:
    assert COVERAGE == 0.8
    found = performance(*labelled(positives, negatives, unknown), 1.0, POLICY)
    assert (found.status, found.positives, found.rows) == (status, positives, positives + negatives)
    assert (found.value is None) is (status in ("too_few", "partial"))


def test_an_unknown_score_is_an_unknown_row() -> None:
    y, score = labelled(5, 95)
    score[-21:] = np.nan
    assert performance(y, score, 1.0, POLICY).status == "partial"


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc"])
def test_held_and_dropped_go_by_the_ends_of_the_interval(metric: str) -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([1.0, 0.0], [40, 160])
    score = y + rng.normal(0, 1, 200)

    def status(reference: float) -> str:
        return performance(y, score, reference, SimpleNamespace(metric=metric, max_drop=0.0, min_positives=1)).status

    found = performance(y, score, 0.5, SimpleNamespace(metric=metric, max_drop=0.0, min_positives=1))
    assert found.low is not None
    assert found.high is not None
    assert found.low < (found.value or 0) < found.high
    assert [status(found.low), status(float(np.nextafter(found.low, 1)))] == ["held", "open"]
    assert [status(found.high), status(float(np.nextafter(found.high, 1)))] == ["open", "dropped"]


def test_a_metric_that_is_none_is_named() -> None:
    with pytest.raises(BatonError, match="metric 'f1'"):
        performance([1, 0], [1, 0], 1.0, SimpleNamespace(metric="f1", max_drop=0.1, min_positives=1))


def test_calibration_adds_up_what_was_said_and_what_came_true() -> None:
    found = calibration([0.04, 0.06, 0.1, 1.0, 0.95, 0.5, np.nan], [0, 1, 1, 1, 0, np.nan, 1])
    assert found == [[0.0, pytest.approx(0.1), 1.0, 2.0], [0.1, 0.1, 1.0, 1.0], [0.9, 1.95, 1.0, 2.0]]
    assert calibration([0.5], [None]) == []
