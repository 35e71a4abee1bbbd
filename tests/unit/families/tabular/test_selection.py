"""Selection and metrics: no fold looks ahead, figures agree with scikit-learn, the cheapest threshold is the cheapest."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from baton.errors import ModelError
from baton.families.base import Rows
from baton.families.tabular.metrics import average_precision, cheapest, cost_at, losses, roc_auc
from baton.families.tabular.selection import learner, select, time_folds
from baton.specs.policy import CostSpec
from baton.specs.tabular import TabularSpec

LINEAR = "sklearn.linear_model.LogisticRegression"


@given(st.lists(st.integers(0, 60), min_size=20, max_size=200), st.integers(1, 5), st.integers(0, 100), st.booleans())
@settings(max_examples=100, deadline=None)
def test_folds_never_look_ahead(times: list[int], folds: int, seed: int, weighted: bool) -> None:
    t = np.array(times)
    weights = np.random.default_rng(seed).integers(1, 9, len(t)).astype(float) if weighted else None
    try:
        found = time_folds(t, folds, weights)
    except ModelError:
        assume(False)
    judged = np.concatenate([judge for _, judge in found])
    assert len(found) == folds
    assert len(np.unique(judged)) == len(judged)
    assert t[judged].max() == t.max()
    for learn, judge in found:
        assert t[learn].max() < t[judge].min()
        assert len(learn) + len(judge) <= len(t)


def test_heavy_recent_rows_are_judged_by_models_that_saw_some_of_them() -> None:
    t = np.arange(1000)
    weights = np.where(t >= 900, 10.0, 1.0)
    learn, judge = time_folds(t, 3, weights)[-1]
    assert learn.max() > 900
    assert judge.min() > 900
    assert time_folds(t, 3)[-1][1].min() == 800


def test_too_few_distinct_times_are_refused() -> None:
    with pytest.raises(ModelError, match="too few distinct times"):
        time_folds(np.zeros(100), 3)
    with pytest.raises(ModelError, match="too few distinct times"):
        time_folds(np.array([]), 3)


labelled = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=60)


@given(labelled)
@settings(max_examples=60, deadline=None)
def test_metrics_agree_with_scikit_learn_ties_included(pairs: list[tuple[int, int]]) -> None:
    y, score = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]) / 12
    assume(0 < y.sum() < len(y))
    assert average_precision(y, score) == pytest.approx(average_precision_score(y, score))
    assert roc_auc(y, score) == pytest.approx(roc_auc_score(y, score))


@given(labelled, st.floats(0, 20), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_the_cheapest_threshold_is_the_cheapest(pairs: list[tuple[int, int]], review: float, seed: int) -> None:
    y, score = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]) / 12
    loss = np.random.default_rng(seed).integers(0, 40, len(y)).astype(float)
    best = cheapest(y, score, loss, review)
    every = [cost_at(y, score, loss, review, t).total for t in [*np.unique(score), np.inf]]
    assert best.total == pytest.approx(min(every))
    assert best.alerts == int((score >= best.threshold).sum())


def test_a_score_at_the_threshold_is_alerted() -> None:
    y, score, loss = np.array([1, 0]), np.array([0.5, 0.4]), np.array([100.0, 0.0])
    assert cost_at(y, score, loss, 5.0, 0.5).missed == 0
    assert cost_at(y, score, loss, 5.0, np.nextafter(0.5, 1)).missed == 1


def test_amounts_that_cannot_price_a_miss_are_refused() -> None:
    by_column, by_number = CostSpec(missed="amount", review=5.0), CostSpec(missed=80.0, review=5.0)
    assert losses(by_number, 3, None).tolist() == [80.0] * 3
    for money in (np.array([1.0, -1.0]), np.array([1.0, np.nan])):
        with pytest.raises(ModelError, match="not negative"):
            losses(by_column, 2, money)
    with pytest.raises(ModelError, match="no amounts"):
        losses(by_column, 2, None)
    with pytest.raises(ModelError, match="amounts for 3 rows"):
        losses(by_column, 3, np.ones(2))


def spec(*candidates: dict[str, Any]) -> TabularSpec:
    return TabularSpec.model_validate({
        "model": "toy", "family": "classification", "owner": "tests", "description": "a toy",
        "data": {"entity": "id", "time": "t", "target": "y", "features": ["x*"], "money": "amount"},
        "training": {"contract": "toy", "history": {"source": "toy"}},
        "candidates": list(candidates), "gate": {"cost": {"missed": "amount", "review": 1.0}},
    })  # fmt: skip


def rows(n: int = 1500) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x0": rng.normal(size=n), "x1": rng.normal(size=n), "amount": rng.exponential(50, n)})
    return frame, (frame.x0.to_numpy() + rng.normal(size=n) > 2).astype(int)


def test_the_better_candidate_wins_and_the_failed_one_says_why() -> None:
    frame, y = rows()
    strong, weak = {"name": "strong", "estimator": LINEAR}, {"name": "weak", "estimator": "sklearn.ensemble.ExtraTreesClassifier",
            "params": {"n_estimators": 2, "max_depth": 1}}  # fmt: skip
    broken = {"name": "broken", "estimator": LINEAR, "params": {"depth": 3}}
    toy = spec(weak, strong, broken, {"name": "both", "ensemble": ["strong", "broken"]})
    board = select(toy, Rows(frame, y), np.arange(len(y)), frame.amount.to_numpy())
    by_name = {row["candidate"]: row for row in board.rows}
    assert by_name["strong"]["value"] >= by_name["weak"]["value"]
    assert board.best in ("strong", "weak")
    assert "depth" in by_name["broken"]["error"]
    assert "depth" in by_name["both"]["error"]
    assert board.rows[-1]["value"] is None
    assert len(by_name["strong"]["folds"]) == 3
    assert by_name["strong"]["cost"] > 0
    with pytest.raises(ModelError, match="no candidate could be judged"):
        select(spec(broken), Rows(frame, y), np.arange(len(y)), frame.amount.to_numpy())


def test_training_is_the_same_twice() -> None:
    frame, y = rows()
    toy = spec({"name": "forest", "estimator": "sklearn.ensemble.ExtraTreesClassifier", "params": {"n_estimators": 10},
                "calibration": "isotonic"})  # fmt: skip
    known, maker = Rows(frame, y), learner(toy.family)
    first, second = (select(toy, known, np.arange(len(y)), frame.amount.to_numpy()) for _ in range(2))
    one, two = (maker.fit(toy, toy.candidates[0], known, toy.training.seed, board.oof) for board in (first, second))
    assert np.array_equal(one.predict(frame).score, two.predict(frame).score)
    assert first.rows[0]["folds"] == second.rows[0]["folds"]


def test_without_labels_there_is_nothing_to_choose_by() -> None:
    frame, _ = rows()
    two = SimpleNamespace(name="a"), SimpleNamespace(name="b")
    anonymous: Any = SimpleNamespace(
        model="toy",
        candidates=two,
        training=SimpleNamespace(seed=1),
        validation=SimpleNamespace(metric="roc_auc", folds=3),
    )
    with pytest.raises(ModelError, match="give one candidate"):
        select(anonymous, Rows(frame), np.arange(len(frame)))
    anonymous.candidates = two[:1]
    assert select(anonymous, Rows(frame), np.arange(len(frame))).best == "a"
