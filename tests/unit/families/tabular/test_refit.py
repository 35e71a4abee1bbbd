"""With `training.refit` what scores has learnt the held-out rows too; what judges it has not, nor do its figures change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.partitions import HOUR
from baton.families.base import JUDGED, REFITTED
from baton.families.tabular.family import Tabular
from baton.families.tabular.selection import learner
from baton.lifecycle.fit import Trained
from baton.specs.tabular import TabularSpec

FAMILY = Tabular(learner("classification"))


def spec(refit: bool) -> TabularSpec:
    candidate = {"name": "one", "estimator": "sklearn.linear_model.LogisticRegression", "calibration": "sigmoid"}
    return TabularSpec.model_validate({
        "model": "toy", "family": "classification", "owner": "tests", "description": "a toy",
        "data": {"entity": "id", "time": "t", "target": "y", "features": ["x", "late"]},
        "training": {"contract": "toy", "history": {"source": "toy"}, "min_rows": 1, "refit": refit},
        "candidates": [candidate], "drift": {"min_rows": 100},
    })  # fmt: skip


def rows(part: str = "", n: int = 1200) -> pd.DataFrame:
    """`x` tells in the first three quarters, `late` in the last one, which is held out."""
    rng = np.random.default_rng(3)
    y, now = (rng.random(n) < 0.3).astype(int), np.arange(n) >= 0.75 * n
    frame = pd.DataFrame(
        {"id": np.arange(n), "t": pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(np.arange(n), "min")}
    )
    told = {"x": np.where(now, 0, y), "late": np.where(now, y, 0)}
    return frame.assign(
        **{k: 2.0 * v + rng.normal(size=n) for k, v in told.items()}, y=y, _part=part, _weight=1.0, _partition=""
    )


def trained(one: TabularSpec, frame: pd.DataFrame) -> tuple[Any, Any]:
    found = {"one": FAMILY.validate(one, one.candidates[0], frame)[0]}
    board = FAMILY.rank(one, frame, found)
    judged = FAMILY.fit(one, frame, board, found)
    return judged, FAMILY.published(one, frame, board, found, judged)


def test_what_is_published_has_learnt_what_was_held_out_and_what_is_judged_has_not() -> None:
    frame = rows()
    judged, published = trained(spec(True), frame)
    plain, nothing = trained(spec(False), frame)
    assert nothing is None
    new = rows(n=1600).tail(400)
    assert np.array_equal(judged.predict(new).score, plain.predict(new).score)
    gap = {name: np.ptp([m.predict(new.assign(x=0.0, late=at)).probability[0] for at in (0.0, 2.0)])
           for name, m in (("judged", judged), ("published", published))}  # fmt: skip
    assert gap["published"] > gap["judged"] + 0.1
    assert FAMILY.evaluate(spec(True), judged, frame) == FAMILY.evaluate(spec(False), plain, frame)


def test_both_models_are_in_the_version(tmp_path: Path) -> None:
    one, frame = spec(True), rows()
    judged, published = trained(one, frame)
    board: Any = None
    Trained(one, FAMILY, frame, board, published, {"roc_auc": 0.7}, HOUR, judged).save(tmp_path)
    for folder, model in ((tmp_path, published), (tmp_path / JUDGED, judged)):
        assert np.array_equal(FAMILY.load(folder).predict(frame).score, model.predict(frame).score)


def test_no_score_of_rows_that_it_knows_is_taken_for_what_it_will_say() -> None:
    one, frame = spec(True), rows()
    _, published = trained(one, frame)
    assert set(FAMILY.reference(one, published, frame, {})["features"]) == {"x", "late"}
    assert "prediction" in FAMILY.reference(spec(False), published, frame, {})["features"]
    assert REFITTED in FAMILY.describe(one, frame).limits
    assert REFITTED not in FAMILY.describe(spec(False), frame).limits


@pytest.mark.parametrize(("refit", "known"), [(True, 1200), (False, 900)])
def test_the_next_gate_takes_it_for_knowing_all_rows(refit: bool, known: int) -> None:
    assert FAMILY.seen(spec(refit), rows(n=1600), rows()).sum() == known


def test_held_out_rows_that_are_a_sample_count_for_those_that_they_stand_for() -> None:
    """A tenth of them is there: ten times the weight moves the model towards what they say."""
    frame = rows().assign(_part=["train"] * 900 + ["holdout"] * 300)
    given = {share: trained(spec(True), frame.assign(_share=[1.0] * 900 + [share] * 300))[1] for share in (1.0, 0.1)}
    told = [given[s].predict(frame.tail(1).assign(x=0.0, late=3.0)).probability[0] for s in (1.0, 0.1)]
    assert told[1] > told[0]
