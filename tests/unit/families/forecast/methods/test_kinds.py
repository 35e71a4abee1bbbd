"""New, short, intermittent, dead and regular series: recognised, forecast by the right method, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast.family import Forecast
from baton.families.forecast.methods.kinds import classify
from baton.families.forecast.panel.series import prepare
from baton.families.forecast.panel.setting import Setting


def zoo(sales: pd.DataFrame) -> pd.DataFrame:
    """The sales with i00 new, i01 short, i02 intermittent, i03 without demand of late, i04 stopped, i05 brand new."""
    weeks = sorted(sales["week"].unique())
    frame = sales.copy()
    item, week = frame["item"], frame["week"]
    frame = frame[~((item == "i00") & (week < weeks[73])) & ~((item == "i01") & (week < weeks[64]))]
    rng = np.random.default_rng(3)
    seen = frame["units"].notna()
    rare = (frame["item"] == "i02") & seen & (rng.random(len(frame)) < 0.6)
    frame.loc[rare, "units"] = 0.0
    frame.loc[(frame["item"] == "i03") & (frame["week"] >= weeks[60]) & seen, "units"] = 0.0
    frame = frame[~((frame["item"] == "i04") & (frame["week"] >= weeks[70]))]
    frame.loc[frame["item"] == "i05", "units"] = np.nan
    return frame[~((frame["item"] == "i05") & (frame["week"] < weeks[78]))]


KINDS = {
    "i00": "new",
    "i01": "short",
    "i02": "intermittent",
    "i03": "dead",
    "i04": "dead",
    "i05": "new",
    "i06": "regular",
}


def test_kinds(sales: pd.DataFrame, make_spec: Callable[..., Any]) -> None:
    setting = Setting.of(make_spec())
    panel = prepare(setting, zoo(sales))
    kinds = dict(zip(panel.ids, classify(setting, panel), strict=True))
    assert {name: kinds[name] for name in KINDS} == KINDS
    free = Setting.of(make_spec(data={"floor": None}))
    kinds = dict(zip(panel.ids, classify(free, panel), strict=True))
    assert kinds["i02"] == "regular"  # without a floor zero is a value like others
    assert kinds["i03"] == "regular"
    assert kinds["i04"] == "dead"


@pytest.fixture(scope="module")
def scored(sales: pd.DataFrame, make_spec: Callable[..., Any], trained: Any) -> pd.DataFrame:
    spec = make_spec(candidates=[{"name": "naive", "estimator": "statsforecast.models.SeasonalNaive"}])
    frame = zoo(sales)
    return trained(spec, frame)[0].forecast(frame).set_index("series")


def test_methods_are_named(scored: pd.DataFrame) -> None:
    kinds, methods = scored["kind"].to_dict(), scored["method"].to_dict()
    assert {name: kinds[name] for name in KINDS} == KINDS
    assert methods["i00"] == methods["i05"] == "SiblingShape"
    assert methods["i01"] == "RecentMedian"
    assert methods["i02"] in ("CrostonSBA", "naive")
    assert methods["i03"] == methods["i04"] == "Zero"
    assert methods["i06"] == "naive"


def test_dead_series_are_zero_without_width(scored: pd.DataFrame) -> None:
    quantiles = [name for name in scored if name.startswith("q")]
    assert (scored.loc[["i03", "i04"], ["score", *quantiles]].to_numpy() == 0).all()


def test_new_series_follow_their_siblings(sales: pd.DataFrame, scored: pd.DataFrame) -> None:
    own = sales[(sales["item"] == "i00")]["units"].to_numpy()[73:78].mean()
    regular = ["i06", "i07"]
    frame = sales[sales["item"].isin(regular)].sort_values(["item", "week"])
    level = frame["units"].to_numpy().reshape(2, -1)[:, 73:78].mean(axis=1)
    shape = (scored.loc[regular, "score"].to_numpy().reshape(2, -1) / level[:, None]).mean(axis=0)
    assert scored.loc["i00", "score"].to_numpy() == pytest.approx(own * shape)
    assert (scored.loc["i05", "score"] > 0).all()  # never seen: as large as the others in the middle


def test_a_model_that_fails_on_a_series_is_replaced_and_named(
    sales: pd.DataFrame, make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from baton.families.forecast.methods.local import Local

    spec = make_spec(candidates=[{"name": "ets", "estimator": "statsforecast.models.SeasonalNaive"}])
    setting = Setting.of(spec)
    panel = prepare(setting, sales)
    part = Local(setting, spec.candidates[0])

    class Broken:
        def new(self) -> Broken:
            return self

        def forecast(self, y: np.ndarray, h: int) -> dict[str, np.ndarray]:
            raise ZeroDivisionError

    monkeypatch.setattr(part, "model", Broken())
    values, names = part.forecast(panel, np.array([0]))
    assert names == ["SeasonalNaive (ets failed: ZeroDivisionError)"]
    assert values[0] == pytest.approx(panel.y[0, 65:69])


def test_intermittent_series_get_what_the_backtest_says(make_spec: Callable[..., Any], trained: Any) -> None:
    rng = np.random.default_rng(5)
    weeks = pd.date_range("2024-01-01", periods=70, freq="W-MON")
    rare = [
        pd.DataFrame({"item": f"s{i}", "week": weeks, "units": rng.poisson(3, 70) * (rng.random(70) < 0.4)})
        for i in range(6)
    ]
    # a strict rhythm, which the seasonal naive knows and Croston does not
    beat = [pd.DataFrame({"item": f"s{i}", "week": weeks, "units": 9.0 * (np.arange(70) % 13 == i)}) for i in range(6)]
    candidates = [{"name": "naive", "estimator": "statsforecast.models.SeasonalNaive"}]
    spec = make_spec(candidates=candidates, training={"contract": "c", "history": {"source": "s"}, "dead_after": 40})
    at_random, in_rhythm = (trained(spec, pd.concat(parts))[0] for parts in (rare, beat))
    assert at_random.croston
    assert not in_rhythm.croston
    assert set(at_random.forecast(pd.concat(rare))["method"]) == {"CrostonSBA"}


def test_a_series_too_short_for_a_global_model_is_left_out_by_its_key_and_the_others_learn(
    sales: pd.DataFrame, make_spec: Callable[..., Any], trained: Any
) -> None:
    features = {"lags": [1, 2], "differences": [30]}
    trees = {
        "name": "trees",
        "estimator": "lightgbm.LGBMRegressor",
        "params": {"n_estimators": 5},
        "features": features,
    }
    spec = make_spec(candidates=[trees], validation={"origins": 2, "step": 4})
    weeks = sorted(sales["week"].unique())
    frame = sales[~((sales["item"] == "i06") & (sales["week"] < weeks[50]))]  # 28 periods: regular, but no 30 apart
    facts = Forecast().validate(spec, spec.candidates[0], frame)[1]
    assert facts["left_out"] == {"i06": 28}
    fitted, _ = trained(spec, frame)
    methods = fitted.forecast(frame).groupby("series")["method"].first()
    assert methods["i06"] == "SeasonalNaive (trees: 28 periods are too few)"
    assert methods["i07"] == "trees"
    limits = Forecast().describe(spec, frame).limits
    assert "trees does not learn from series of fewer than 33 periods, and does not forecast them: i06 (28)." in limits
    assert "left_out" not in Forecast().validate(spec, spec.candidates[0], sales)[1]
