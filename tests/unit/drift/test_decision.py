"""The decision: persistence, order, labels, cool-down and budget, all in data time."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from baton.drift.decision import MonitorVerdict, Window, decide, judgeable, window_from
from baton.drift.performance import Performance, performance
from baton.errors import BatonError

SPEC = SimpleNamespace(
    persistence=SimpleNamespace(k=2, n=3),
    cooldown="6h",
    budget=SimpleNamespace(retrains=3, per="7d"),
    needed=(30, "labelled positives"),
)


def at(hour: int) -> str:
    return f"2026-11-{20 + hour // 24:02d}T{hour % 24:02d}:00:00"


def run(hours: str, *, positives: int = 20, version: int = 1, start: int = 0) -> list[Window]:
    """One window a letter: d drifted, q quiet, b broken, f too few."""
    states = {"b": "broken", "f": "too_few"}
    return [
        Window(at(start + i), version, states.get(c, "judged"), ("v1",) if c == "d" else (), 100, positives)
        for i, c in enumerate(hours)
    ]


def says(windows: list[Window], **kwargs: object) -> MonitorVerdict:
    now = kwargs.pop("now", windows[-1].partition)
    return decide(windows, SPEC, now=now, **kwargs).verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hours", "verdict"),
    [
        ("qqq", MonitorVerdict.STABLE),
        ("qqd", MonitorVerdict.WARN),
        ("qdd", MonitorVerdict.RETRAIN),
        ("dqd", MonitorVerdict.RETRAIN),
        ("dqqd", MonitorVerdict.WARN),
        ("ddq", MonitorVerdict.STABLE),  # it went away
        ("dbd", MonitorVerdict.RETRAIN),  # a broken hour neither counts nor breaks the streak
        ("ddb", MonitorVerdict.TOO_FEW),
        ("ddf", MonitorVerdict.TOO_FEW),
    ],
)
def test_persistence(hours: str, verdict: MonitorVerdict) -> None:
    assert says(run(hours)) is verdict


def test_two_features_once_each_do_not_add_up() -> None:
    windows = run("qqq")
    windows[1] = replace(windows[1], drifted=("v1",))
    windows[2] = replace(windows[2], drifted=("v2",))
    assert says(windows) is MonitorVerdict.WARN


def test_order_is_by_partition_and_the_last_judgement_counts() -> None:
    windows = run("qdd")
    assert says([windows[2], windows[0], windows[1]], now=at(2)) is MonitorVerdict.RETRAIN
    again = replace(windows[1], drifted=())  # the hour was repaired and judged again
    assert says([*windows, again], now=at(2)) is MonitorVerdict.WARN
    assert says(windows, now=at(1)) is MonitorVerdict.WARN  # what came later is not known then


def test_a_gap_is_waited_for() -> None:
    expected = [at(hour) for hour in range(3)]
    assert judgeable([at(0), at(2)], expected) == [at(0)]
    assert judgeable([at(2), at(0), at(1)], expected) == expected


def test_a_missing_window_neither_counts_nor_breaks_the_streak() -> None:
    windows = run("qdd")
    assert says([windows[0], Window(at(1), status="missing"), windows[2]]) is MonitorVerdict.WARN


def test_windows_of_an_earlier_champion_do_not_count() -> None:
    assert says([*run("dd"), *run("d", version=2, start=2)]) is MonitorVerdict.WARN


def test_labels_are_waited_for() -> None:
    verdict = decide(run("qqdd", positives=10), SPEC, now=at(3))
    assert verdict.verdict is MonitorVerdict.WAITING_FOR_LABELS
    assert verdict.onset == at(2)
    assert verdict.truths == 20
    assert "20 labelled positives" in verdict.reasons[-1]
    assert "30 needed" in verdict.reasons[-1]
    assert says(run("qqddd", positives=10)) is MonitorVerdict.RETRAIN


def test_cool_down_and_budget_run_on_data_time() -> None:
    windows = run("q" * 20 + "dd")
    assert says(windows, retrains=[at(16)]) is MonitorVerdict.COOLDOWN
    assert says(windows, retrains=[at(15)]) is MonitorVerdict.RETRAIN
    assert says(windows, retrains=[at(30)]) is MonitorVerdict.COOLDOWN  # a replay of an earlier hour
    assert says(windows, retrains=[at(1), at(2), at(3)]) is MonitorVerdict.DRIFT
    verdict = decide(windows, SPEC, now=at(21), retrains=[at(1), at(2), at(3)])
    assert "budget" in verdict.reasons[-1]


def measured(status: str) -> Performance:
    return Performance("average_precision", 0.5, 0.4, 0.6, 0.7, 20, 100, status)


def test_a_model_that_holds_is_not_retrained() -> None:
    held = [replace(window, performance=measured("held")) for window in run("ddd")]
    verdict = decide(held, SPEC, now=at(2))
    assert verdict.verdict is MonitorVerdict.DRIFT
    assert "holds" in verdict.reasons[-1]
    open_ = [replace(window, performance=measured("open")) for window in run("ddd")]
    assert says(open_) is MonitorVerdict.RETRAIN


def test_a_lost_performance_wakes_training_without_any_drifted_feature() -> None:
    windows = run("qqqqqq")
    for i in (1, 2):
        windows[i] = replace(windows[i], performance=measured("dropped"))
    verdict = decide(windows, SPEC, now=at(5))
    assert verdict.verdict is MonitorVerdict.RETRAIN
    assert verdict.onset == at(1)
    windows[2] = replace(windows[2], performance=None)
    assert says(windows) is MonitorVerdict.WARN


def test_the_window_must_be_there() -> None:
    with pytest.raises(BatonError, match="no window"):
        decide(run("qq"), SPEC, now=at(7))


def test_window_survives_json() -> None:
    window = replace(run("d")[0], performance=measured("open"))
    plain = {**asdict(window), "drifted": list(window.drifted)}
    assert window_from(plain) == window


# --- performance

METRICS = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}


def policy(metric: str, min_positives: int = 10) -> SimpleNamespace:
    return SimpleNamespace(metric=metric, max_drop=0.15, min_positives=min_positives)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_equals_scikit_learn_with_ties(metric: str) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(3_000) < 0.05).astype(int)
    score = np.round(0.4 * y + rng.random(3_000), 2)
    result = performance(y, score, 0.9, policy(metric))
    assert result.value == pytest.approx(METRICS[metric](y, score), abs=1e-12)
    assert result.low < result.value < result.high


def test_interval_covers_as_stated() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        y = np.repeat([1, 0], [60, 2_000])
        score = np.concatenate([rng.normal(1.5, 1, 60), rng.normal(0, 1, 2_000)])
        result = performance(y, score, 0.5, policy("roc_auc"), resamples=200, seed=trial)
        inside += result.low <= 0.8556 <= result.high  # Phi(1.5 / sqrt(2))
    assert 80 <= inside <= 98


def test_status() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [40, 4_000])
    good, bad = np.where(y == 1, 2, 0) + rng.random(4_040), rng.random(4_040)
    assert performance(y, good, 0.9, policy("average_precision")).status == "held"
    assert performance(y, bad, 0.9, policy("average_precision")).status == "dropped"
    assert performance(y, good, 0.9, policy("average_precision", 41)).status == "too_few"
    assert performance(np.ones(40), np.ones(40), 0.9, policy("roc_auc")).status == "too_few"
    alerts = np.where(np.arange(4_040) < 400, y, np.nan)  # only alerts were labelled, by analysts
    assert performance(alerts, good, 0.9, policy("average_precision")).status == "partial"
    with pytest.raises(BatonError, match="f1"):
        performance(y, good, 0.9, policy("f1"))
