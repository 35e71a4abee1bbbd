"""Every kind of unusable history is refused with series, period, rule and remedy; the calendar is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import ModelError
from baton.families.forecast.panel.periods import label, to_period, to_time
from baton.families.forecast.panel.series import need_future, prepare
from baton.families.forecast.panel.setting import Setting

WEEK = pd.Timestamp("2024-06-03")


def edited(frame: pd.DataFrame, change: Callable[[pd.DataFrame, pd.Series], pd.DataFrame]) -> pd.DataFrame:
    frame = frame.copy()
    return change(frame, (frame["item"] == "i01") & (frame["week"] == WEEK))


def twice(frame: pd.DataFrame, at: pd.Series) -> pd.DataFrame:
    return pd.concat([frame, frame[at]], ignore_index=True)


def without(frame: pd.DataFrame, at: pd.Series) -> pd.DataFrame:
    return frame[~at]


def put(column: str, value: Any) -> Callable[[pd.DataFrame, pd.Series], pd.DataFrame]:
    def change(frame: pd.DataFrame, at: pd.Series) -> pd.DataFrame:
        frame.loc[at, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (twice, "more than once"),
        (without, "left out"),
        (put("week", WEEK + pd.Timedelta(days=1)), "starts no period of frequency 'W-MON'"),
        (put("units", None), "is missing, but a later period has one"),
        (put("units", -3.0), "-3, below data.floor 0"),
        (put("units", np.inf), "not a finite number"),
        (put("promo", None), "known in advance, but null"),
        (put("region", "r9"), "changes within the series"),
        (put("region", None), "hierarchy is null"),
    ],
)
def test_bad_history_names_series_and_rule(
    change: Any, rule: str, sales: pd.DataFrame, make_spec: Callable[..., Any]
) -> None:
    setting = Setting.of(make_spec(data={"known": ["promo"], "hierarchy": ["region"]}))
    with pytest.raises(ModelError, match=rule) as caught:
        prepare(setting, edited(sales, change))
    assert "i01" in str(caught.value)
    assert "2024-06" in str(caught.value)


def test_a_missing_column_and_an_empty_frame(sales: pd.DataFrame, make_spec: Callable[..., Any]) -> None:
    setting = Setting.of(make_spec(data={"known": ["price"]}))
    with pytest.raises(ModelError, match="lacks the column 'price'"):
        prepare(setting, sales)
    plain = Setting.of(make_spec())
    with pytest.raises(ModelError, match="no rows"):
        prepare(plain, sales.iloc[:0])
    with pytest.raises(ModelError, match="no row has a 'units'"):
        prepare(plain, sales.assign(units=np.nan))


def test_regressors_are_needed_for_the_whole_horizon(make_history: Any, make_spec: Callable[..., Any]) -> None:
    setting = Setting.of(make_spec(data={"known": ["promo"]}))
    need_future(setting, prepare(setting, make_history(future=4)))
    with pytest.raises(ModelError, match=r"series 'i00', period 2025-07-21: 'promo' is known in advance"):
        need_future(setting, prepare(setting, make_history(future=3)))


def test_negative_values_pass_without_a_floor(sales: pd.DataFrame, make_spec: Callable[..., Any]) -> None:
    panel = prepare(Setting.of(make_spec(data={"floor": None})), edited(sales, put("units", -3.0)))
    assert np.nanmin(panel.y) == -3.0


def test_past_and_future_are_told_apart(sales: pd.DataFrame, make_spec: Callable[..., Any]) -> None:
    panel = prepare(Setting.of(make_spec()), sales.sample(frac=1.0, random_state=1))
    assert panel.periods == 78
    assert not np.isnan(panel.y).any()
    assert list(panel.ids) == sorted(sales["item"].unique())
    cut = panel.until(50)
    assert cut.y.shape == (8, 50)
    assert (cut.stop == 50).all()


@pytest.mark.parametrize(
    ("frequency", "start"),
    [("h", "2024-02-28T23:00"), ("D", "2024-02-28"), ("W-MON", "2024-01-01"), ("W-SUN", "2023-12-31"),
     ("MS", "1969-11-01"), ("QS", "1969-10-01")],
)  # fmt: skip
def test_calendar_round_trip(frequency: str, start: str) -> None:
    times = pd.Series(pd.date_range(start, periods=40, freq=frequency))
    numbers, exact = to_period(times, frequency)
    assert exact.all()
    assert (np.diff(numbers) == 1).all()
    assert (to_time(numbers, frequency) == times.to_numpy()).all()
    off = to_period(times + pd.Timedelta(minutes=30), frequency)
    assert not off[1].any()
    assert (off[0] == numbers).all()


def test_labels_show_the_hour_only_where_it_matters() -> None:
    assert label(pd.Timestamp("2024-05-06 07:00"), "h") == "2024-05-06T07:00"
    assert label(pd.Timestamp("2024-05-06"), "D") == "2024-05-06"
