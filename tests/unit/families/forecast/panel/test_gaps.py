"""A missing period is bridged and told; a longer gap is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import ModelError
from baton.families.forecast.panel.gaps import fill
from baton.families.forecast.panel.series import prepare
from baton.families.forecast.panel.setting import Setting

WEEKS = pd.date_range("2026-01-05", periods=12, freq="W-MON")
BRIDGED = {"contract": "sales", "history": {"source": "till"}, "min_periods": 4, "dead_after": 10, "max_gap": 1}


@pytest.fixture(scope="module")
def setting(make_spec: Any) -> Setting:
    return Setting.of(make_spec(training=BRIDGED, data={"known": ["promo"], "seasons": [1]}))


def rows_of(future: int = 2) -> pd.DataFrame:
    """Three series over 10 weeks, units 10, 20, ... 100 and more; each has its own promotion; then the future."""
    parts = []
    for number, item in enumerate("abc"):
        t = np.arange(10 + future)
        units = np.where(t < 10, 10.0 * (t + 1) + 200 * number, np.nan)
        promo = (t % 3 == number).astype(float)
        parts.append(pd.DataFrame({"item": item, "week": WEEKS[: len(t)], "units": units, "promo": promo}))
    return pd.concat(parts, ignore_index=True)


def at(rows: pd.DataFrame, item: str, period: int) -> pd.Series:
    return (rows["item"] == item) & (rows["week"] == WEEKS[period])


def test_a_period_missing_inside_is_a_straight_line(setting: Setting) -> None:
    rows = rows_of()
    panel = prepare(setting, rows[~at(rows, "a", 4)])
    assert panel.y[0].tolist() == [10.0 * n for n in range(1, 11)]
    assert panel.bridged.tolist() == [1, 0, 0]
    # week 4: promoted for b (4 % 3 == 1), not for c; without a row of its own, a gets the mean of the others
    assert panel.known[0, 4, 0] == pytest.approx(0.5)
    whole = prepare(setting, rows)
    assert np.array_equal(panel.y[1:], whole.y[1:])
    assert np.array_equal(np.delete(panel.known[0], 4, axis=0), np.delete(whole.known[0], 4, axis=0))


def test_a_last_period_that_others_have_is_the_median_of_the_last(setting: Setting) -> None:
    rows = rows_of()
    panel = prepare(setting, rows[~at(rows, "a", 9)])
    assert panel.y[0, 9] == 75.0  # of 60, 70, 80, 90
    assert panel.bridged.tolist() == [1, 0, 0]
    assert panel.stop.tolist() == [10, 10, 10]


@pytest.mark.parametrize("period", [4, 9])
def test_the_row_of_its_plan_knows_its_promotion(setting: Setting, period: int) -> None:
    rows = rows_of()
    planned = rows.assign(
        units=rows["units"].mask(at(rows, "a", period)), promo=rows["promo"].mask(at(rows, "a", period), 7.0)
    )
    panel = prepare(setting, planned)
    assert panel.known[0, period, 0] == 7.0
    assert panel.y[0, period] == (50.0 if period == 4 else 75.0)
    assert panel.bridged.tolist() == [1, 0, 0]
    filled, _ = fill(setting, planned)
    assert len(filled) == len(planned)  # the planned row is filled in, not doubled
    assert filled.loc[filled["week"] > WEEKS[9], "units"].isna().all()  # the future stays the future


def test_counts_stay_whole_numbers(setting: Setting) -> None:
    rows = rows_of()
    odd = rows.assign(units=rows["units"].mask(at(rows, "a", 3), 41.0))
    assert prepare(setting, odd[~at(rows, "a", 4)]).y[0, 4] == 50.0  # 50.5 is rounded to the even number
    halves = rows.assign(units=rows["units"].mask(at(rows, "a", 0), 0.5).mask(at(rows, "a", 3), 41.0))
    assert prepare(setting, halves[~at(rows, "a", 4)]).y[0, 4] == 50.5


def test_a_longer_gap_is_refused_and_named(setting: Setting) -> None:
    rows = rows_of()
    with pytest.raises(ModelError, match=r"series 'b', period 2026-02-16: the periods right before it are left out"):
        prepare(setting, rows[~(at(rows, "b", 4) | at(rows, "b", 5))])
    empty = rows.assign(units=rows["units"].mask(at(rows, "b", 4) | at(rows, "b", 5)))
    with pytest.raises(
        ModelError, match=r"series 'b', period 2026-02-02: 'units' is missing, but a later period has one"
    ):
        prepare(setting, empty)


def test_a_series_that_stopped_longer_ago_is_not_brought_back(setting: Setting) -> None:
    rows = rows_of(future=0)
    panel = prepare(setting, rows[~(at(rows, "a", 8) | at(rows, "a", 9))])
    assert panel.bridged.tolist() == [0, 0, 0]
    assert panel.stop.tolist() == [8, 10, 10]


def test_nothing_is_bridged_unless_asked_for(setting: Setting, make_spec: Any) -> None:
    strict = Setting.of(make_spec(data={"known": ["promo"]}))
    rows = rows_of()
    with pytest.raises(ModelError, match="left out"):
        prepare(strict, rows[~at(rows, "a", 4)])
    whole, filled = fill(setting, rows)
    assert filled == {}
    assert whole is rows


def test_times_with_a_zone(setting: Setting) -> None:
    rows = rows_of()
    zoned = rows.assign(week=rows["week"].dt.tz_localize("UTC"))
    filled, count = fill(setting, zoned[~at(rows, "a", 4)])
    assert count == {"a": 1}
    assert filled["week"].dtype == zoned["week"].dtype
    assert filled.loc[(filled["item"] == "a") & (filled["week"] == WEEKS[4].tz_localize("UTC")), "units"].tolist() == [
        50.0
    ]


def test_the_method_says_so(make_spec: Any, trained: Any) -> None:
    spec = make_spec(
        training=BRIDGED, data={"known": ["promo"], "seasons": [1]}, horizon=2, validation={"origins": 2},
        candidates=[{"name": "naive", "estimator": "statsforecast.models.SeasonalNaive"}],
    )  # fmt: skip
    rows = rows_of()
    rows = rows[~at(rows, "a", 4)]
    said = trained(spec, rows)[0].forecast(rows).groupby("series")["method"].first()
    assert said["a"] == "naive; 1 missing period bridged"
    assert said["b"] == said["c"] == "naive"
