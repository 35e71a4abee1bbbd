"""Demand paths have the quantiles and the dependence asked for; orders by them cost what the arithmetic says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from baton.errors import ModelError
from baton.families.forecast import orders
from baton.families.forecast.panel.series import prepare
from baton.families.forecast.panel.setting import Setting
from baton.families.forecast.paths import sample_paths
from baton.specs.forecast import QUANTILES, OrderCostSpec


def scored(
    names: list[str], steps: int, mean: float = 100.0, deviation: float = 20.0, rho: float = 0.0
) -> pd.DataFrame:
    rows = [(name, step) for name in names for step in range(1, steps + 1)]
    frame = pd.DataFrame(rows, columns=["series", "step"]).assign(dependence=rho, score=mean)
    return frame.assign(**{f"q{level:g}": mean + deviation * norm.ppf(level) for level in QUANTILES})


def test_paths_follow_the_quantiles() -> None:
    paths = sample_paths(scored(["a", "b"], 4), 4000, 7)
    assert set(paths) == {"a", "b"}
    assert paths["a"].shape == (4000, 4)
    for level in (0.05, 0.25, 0.5, 0.9, 0.975):
        assert np.quantile(paths["a"][:, 2], level) == pytest.approx(100 + 20 * norm.ppf(level), abs=2.0)
    correlation = np.corrcoef(paths["a"].T)[0, 1]
    assert abs(correlation) < 0.06


def test_dependence_widens_the_sum() -> None:
    alone, together = (sample_paths(scored(["a"], 4, rho=rho), 4000, 7)["a"] for rho in (0.0, 0.8))
    assert np.corrcoef(together.T)[0, 1] == pytest.approx(0.8, abs=0.05)
    assert together.sum(axis=1).std() > 1.5 * alone.sum(axis=1).std()


def test_paths_are_seeded_by_series_and_bounded() -> None:
    few, many = sample_paths(scored(["b"], 3), 50, 7), sample_paths(scored(["a", "b", "c"], 3), 50, 7)
    assert (few["b"] == many["b"]).all()
    assert (few["b"] != sample_paths(scored(["b"], 3), 50, 8)["b"]).any()
    low = sample_paths(scored(["a"], 3, mean=5.0), 2000, 7)["a"]
    assert low.min() == 0.0
    assert sample_paths(scored(["a"], 3, mean=5.0), 2000, 7, floor=None)["a"].min() < 0
    certain = scored(["a"], 3, mean=0.0, deviation=0.0)
    assert (sample_paths(certain, 20, 7)["a"] == 0).all()


def backtest_rows(setting: Setting, truth: float, **fields: Any) -> pd.DataFrame:
    frame = scored(["a"], setting.horizon, **fields)
    return frame.assign(origin=pd.Timestamp("2025-01-06"), y=truth, forecast=frame["score"], level=0)


def test_order_cost(make_spec: Any) -> None:
    setting = Setting.of(make_spec())
    prices = pd.DataFrame({"short": [9.0], "over": [1.0]}, index=["a"])
    cost = OrderCostSpec(short=9.0, over=1.0, lead=1)
    found = orders.order_cost(cost, setting, backtest_rows(setting, 120.0), prices).iloc[0]
    assert found["demand"] == 240.0
    # two independent weeks: mean 200, deviation 28.3, the 90 % quantile
    assert found["ordered"] == pytest.approx(200 + 28.3 * norm.ppf(0.9), rel=0.04)
    assert found["cost"] == pytest.approx(max(0, 240 - found["ordered"]) * 9 + max(0, found["ordered"] - 240))
    certain = orders.order_cost(cost, setting, backtest_rows(setting, 100.0, deviation=0.0), prices).iloc[0]
    assert certain["cost"] == 0.0


def test_order_cost_refuses(make_spec: Any, sales: pd.DataFrame) -> None:
    setting = Setting.of(make_spec())
    prices = pd.DataFrame({"short": [9.0], "over": [1.0]}, index=["a"])
    with pytest.raises(ModelError, match="lead of 4 periods need 5"):
        orders.order_cost(OrderCostSpec(short=9.0, over=1.0, lead=4), setting, backtest_rows(setting, 1.0), prices)
    panel = prepare(setting, sales.assign(price=-1.0), ["price"])
    with pytest.raises(ModelError, match=r"'i00'.*`short` \('price'\) is missing or negative"):
        orders.prices(OrderCostSpec(short="price", over=1.0), panel)
    with pytest.raises(ModelError, match="both 0"):
        orders.prices(OrderCostSpec(short=0.0, over=0.0), panel)


def test_a_price_per_series(make_spec: Any, sales: pd.DataFrame) -> None:
    setting = Setting.of(make_spec())
    panel = prepare(setting, sales.assign(price=sales["item"].str[-1].astype(float) + 1), ["price"])
    assert orders.prices(OrderCostSpec(short="price", over=1.0), panel)["short"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
