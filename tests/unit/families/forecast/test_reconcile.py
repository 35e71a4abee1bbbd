"""Levels add up, better levels help worse ones, and what has no evidence keeps its own forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton import families
from baton.errors import ModelError
from baton.families.forecast import reconcile
from baton.families.forecast.panel.series import prepare
from baton.families.forecast.panel.setting import Setting


@pytest.fixture(scope="module")
def tiered(make_spec: Any, make_history: Any, trained: Any) -> tuple[Any, pd.DataFrame]:
    frame = make_history(items=6, noise=0.3, promo=0.0).assign(country=lambda rows: "c")
    spec = make_spec(
        data={"hierarchy": ["country", "region"]},
        candidates=[{"name": "theta", "estimator": "statsforecast.models.DynamicOptimizedTheta"}],
    )
    return trained(spec, frame)[0], frame


def test_levels_add_up(tiered: Any) -> None:
    model, frame = tiered
    scored = model.levels(frame)
    sums = scored.groupby(["level", "step"])["score"].sum().unstack()
    assert list(sums.index) == [0, 1, 2, 3]
    assert np.allclose(sums.to_numpy(), sums.to_numpy()[0])
    region = scored[scored["series"] == "country=c, region=r1"].set_index("step")["score"]
    below = scored[scored["series"].isin(["i01", "i03", "i05"])].groupby("step")["score"].sum()
    assert np.allclose(region, below)
    pd.testing.assert_frame_equal(
        model.forecast(frame), scored[scored["level"] == 3].drop(columns="level").reset_index(drop=True)
    )


def test_a_reconciled_model_survives_saving(tiered: Any, tmp_path: Any) -> None:
    model, frame = tiered
    model.save(tmp_path)
    pd.testing.assert_frame_equal(model.levels(frame), families.load(tmp_path).levels(frame), check_exact=True)


def test_a_dead_and_an_unknown_series_do_not_break_the_sums(tiered: Any) -> None:
    model, frame = tiered
    weeks = sorted(frame["week"].unique())
    frame = frame[~((frame["item"] == "i01") & (frame["week"] >= weeks[60]))]
    born = frame[(frame["item"] == "i02") & (frame["week"] >= weeks[72])].assign(item="z")
    scored = model.levels(pd.concat([frame, born]))
    sums = scored.groupby(["level", "step"])["score"].sum().unstack().to_numpy()
    assert np.allclose(sums, sums[0])
    assert (scored[scored["series"] == "i01"]["score"] == 0).all()
    assert (scored[scored["series"] == "z"]["score"] > 0).all()


@pytest.mark.parametrize("method", reconcile.METHODS)
def test_methods_are_coherent_and_leave_coherent_forecasts_alone(method: str) -> None:
    rng = np.random.default_rng(0)
    members = np.array([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]])
    level = np.array([0, 1, 1])
    bottom = rng.uniform(5, 10, (4, 3))
    errors = rng.normal(size=(7, 30))
    base = np.vstack([members @ bottom, bottom])
    fixed = np.zeros(4, dtype=bool)
    assert np.allclose(reconcile.reconcile(method, members, level, base, errors, fixed, 0.0), bottom)
    base[0] += 4.0  # the total says more: all but bottom-up share it
    made = reconcile.reconcile(method, members, level, base, errors, fixed, 0.0)
    assert (made.sum() > bottom.sum() + 0.1) == (method != reconcile.BOTTOM_UP)
    fixed[2] = True
    held = reconcile.reconcile(method, members, level, base, errors, fixed, 0.0)
    assert np.allclose(held[2], bottom[2])


def test_a_series_named_like_a_level(make_spec: Any, sales: pd.DataFrame) -> None:
    setting = Setting.of(make_spec(data={"hierarchy": ["region"]}))
    named = sales.assign(item=sales["item"].replace("i01", "region=r1"))
    with pytest.raises(ModelError, match="'region=r1' has the name of a level"):
        reconcile.tree(setting, prepare(setting, named))


def test_the_leaderboard_counts_every_level_alike(tiered: Any, make_spec: Any, trained: Any) -> None:
    model, frame = tiered
    spec = make_spec(
        data={"hierarchy": ["country", "region"]},
        candidates=[{"name": "theta", "estimator": "statsforecast.models.DynamicOptimizedTheta"}],
    )
    board = trained(spec, frame)[1]
    rows = model.rows
    by_level = ((rows["y"] - rows["forecast"]).abs() / rows["scale"]).groupby(rows["level"]).mean()
    assert len(by_level) == 4
    assert board.rows[0]["value"] == pytest.approx(by_level.mean())
