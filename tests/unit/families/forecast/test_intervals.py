"""Conformal intervals hold what they promise, widen with the step, respect the floor and learn skew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast import intervals, losses
from baton.families.forecast.panel.setting import Setting

HORIZON = 6


@pytest.fixture(scope="module")
def setting(make_spec: Any) -> Setting:
    return Setting.of(make_spec(horizon=HORIZON, data={"floor": None}))


def residuals(
    series: int,
    origins: int,
    seed: int,
    *,
    skewed: bool = False,
    rho: float = 0.0,
    kind: str = "regular",
    apart: int = HORIZON,
) -> pd.DataFrame:
    """Backtest rows whose errors grow with the step and differ in size between series by a factor of 4."""
    rng = np.random.default_rng(seed)
    size = np.exp(np.random.default_rng(1).uniform(-0.7, 0.7, series))
    shape = (series, origins, HORIZON)
    noise = rng.standard_normal(shape)
    for step in range(1, HORIZON):
        noise[:, :, step] = rho * noise[:, :, step - 1] + np.sqrt(1 - rho**2) * noise[:, :, step]
    if skewed:
        noise = rng.exponential(1.0, shape) - np.log(2)
    error = noise * size[:, None, None] * np.sqrt(1 + np.arange(HORIZON))
    at, origin, step = (axis.ravel() for axis in np.indices(shape))
    scale = np.exp(np.random.default_rng(2).normal(3, 1, series))[at]
    forecast = 50 * scale
    return pd.DataFrame({
        "series": np.array([f"s{i:03d}" for i in at], dtype=object), "level": 0, "step": step + 1,
        "origin": pd.Timestamp("2025-01-06") + pd.to_timedelta(7 * apart * origin, "D"), "kind": kind,
        "forecast": forecast, "scale": scale, "y": forecast + scale * error.ravel(),
        "time": pd.Timestamp("2025-01-06") + pd.to_timedelta(7 * (apart * origin + step), "D"),
    })  # fmt: skip


@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_of_new_errors(setting: Setting, skewed: bool) -> None:
    known, later = (residuals(120, 6, seed, skewed=skewed) for seed in (10, 11))
    found = intervals.fit(setting, known).apply(later)
    for share in (0.8, 0.95, 0.5):
        assert losses.coverage(found, share) == pytest.approx(share, abs=0.03)
    below, above = (found["y"] < found["q0.1"]).mean(), (found["y"] > found["q0.9"]).mean()
    assert below == pytest.approx(0.1, abs=0.03)  # each side by itself, skewed or not
    assert above == pytest.approx(0.1, abs=0.03)


def test_cross_conformal_coverage_with_few_residuals(setting: Setting) -> None:
    found = intervals.cross(setting, residuals(40, 3, 12))
    assert losses.coverage(found, 0.8) == pytest.approx(0.8, abs=0.03)
    assert losses.coverage(found, 0.95) == pytest.approx(0.95, abs=0.03)


def test_an_origin_is_not_judged_by_its_own_residuals(setting: Setting) -> None:
    rows = residuals(20, 3, 13)
    wild = rows["origin"] == rows["origin"].max()
    broken = rows.assign(y=rows["y"].where(~wild, rows["y"] + 1e6 * rows["scale"]))
    columns = ["q0.025", "q0.975"]
    before, after = (intervals.cross(setting, frame).loc[wild, columns] for frame in (rows, broken))
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_nor_by_others_that_share_its_periods(setting: Setting) -> None:
    rows = residuals(20, 4, 13, apart=2)  # horizon 6: neighbours share four periods
    first = rows["origin"] == rows["origin"].min()
    shared = rows["time"] <= rows.loc[first, "time"].max()
    broken = rows.assign(y=rows["y"].where(~shared, rows["y"] + 1e6 * rows["scale"]))
    columns = ["q0.025", "q0.975"]
    before, after = (intervals.cross(setting, frame).loc[first, columns] for frame in (rows, broken))
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    close = residuals(20, 2, 13, apart=0)
    assert np.isfinite(intervals.cross(setting, close)["q0.975"]).all()


def test_widths(setting: Setting) -> None:
    found = intervals.fit(setting, residuals(60, 4, 14))
    rows = found.apply(residuals(60, 1, 15))
    columns = [intervals.column(level) for level in setting.quantiles]
    assert (np.diff(rows[columns].to_numpy(), axis=1) >= 0).all()
    width = ((rows["q0.9"] - rows["q0.1"]) / rows["scale"]).to_numpy().reshape(60, HORIZON)
    assert (np.diff(width, axis=1) >= -0.1 * width[:, 1:]).all()  # a step is covered by itself: rising but for chance
    assert width[0, -1] > 1.8 * width[0, 0]  # the errors grow by a factor of 2.4
    truth = np.exp(np.random.default_rng(1).uniform(-0.7, 0.7, 60))
    assert np.corrcoef(width[:, 0], truth)[0, 1] > 0.8  # wild series have wide intervals
    unknown = found.apply(residuals(1, 1, 16).assign(series="never seen"))
    assert (unknown["q0.9"] > unknown["q0.5"]).all()


def test_floor_and_dead_series(make_spec: Any) -> None:
    floored = Setting.of(make_spec(horizon=HORIZON))
    rows = residuals(30, 3, 17).assign(forecast=0.1)
    rows["y"] = rows["scale"] * 0.2
    found = intervals.fit(floored, rows).apply(rows.assign(kind="dead"))
    assert (found["q0.025"] == 0.1).all()
    assert (found["q0.975"] == 0.1).all()
    alive = intervals.fit(floored, residuals(30, 3, 18)).apply(rows)
    assert alive["q0.025"].min() == 0.0
    nothing = intervals.fit(floored, rows.iloc[:0])
    assert (nothing.apply(rows)["q0.975"] == 0.1).all()


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_dependence_of_neighbours(setting: Setting, rho: float) -> None:
    found = intervals.fit(setting, residuals(80, 4, 19, rho=rho))
    assert found.pooled == pytest.approx(rho, abs=0.1)
    assert found.dependence.mean() == pytest.approx(rho, abs=0.1)


def drifting(seed: int, factor: float) -> pd.DataFrame:
    """Errors of 120 series at 9 origins a horizon apart, from one origin to the next `factor` times as large."""
    rows = residuals(120, 9, seed)
    number = pd.factorize(rows["origin"], sort=True)[0]
    return rows.assign(y=rows["forecast"] + (rows["y"] - rows["forecast"]) * factor**number)


def covered(setting: Setting, rows: pd.DataFrame, half_life: float) -> float:
    """Coverage at 80 % of the last origin, from what was known before it."""
    last = rows["origin"] == rows["origin"].max()
    found = intervals.fit(setting, rows[~last], half_life).apply(rows[last])
    share = losses.coverage(found, 0.8)
    assert share is not None
    return share


def test_errors_that_grow(setting: Setting) -> None:
    rows = [drifting(seed, 1.15) for seed in (30, 31, 32)]
    recent, equal = (
        np.mean([covered(setting, one, half_life) for one in rows]) for half_life in (intervals.HALF_LIFE, np.inf)
    )
    assert equal < 0.72
    assert recent > equal + 0.04
    assert recent == pytest.approx(0.8, abs=0.05)


def test_errors_after_a_break(setting: Setting) -> None:
    rows = residuals(120, 9, 33)
    number = pd.factorize(rows["origin"], sort=True)[0]
    rows["y"] = rows["forecast"] + (rows["y"] - rows["forecast"]) * np.where(number >= 6, 3.0, 1.0)
    assert covered(setting, rows, np.inf) < 0.65
    assert covered(setting, rows, intervals.HALF_LIFE) == pytest.approx(0.8, abs=0.06)


def test_errors_that_do_not_drift_lose_nothing(setting: Setting) -> None:
    rows = [drifting(seed, 1.0) for seed in (34, 35, 36)]
    for half_life in (intervals.HALF_LIFE, np.inf):
        assert np.mean([covered(setting, one, half_life) for one in rows]) == pytest.approx(0.8, abs=0.03)


def test_equal_weights_are_plain_conformal_ranks(make_spec: Any) -> None:
    """A series has one error, so that what is learnt of it is that it has the others' size."""
    z = np.random.default_rng(37).permutation(np.arange(1.0, 100.0)) - 50
    monday = pd.Timestamp("2025-01-06")
    plain = Setting.of(make_spec(horizon=1, data={"floor": None}))
    rows = pd.DataFrame({
        "series": [f"s{number}" for number in range(99)], "level": 0, "step": 1, "origin": monday, "time": monday,
        "kind": "regular", "forecast": 0.0, "scale": 1.0, "y": z,
    })  # fmt: skip
    at = [plain.quantiles.index(level) for level in (0.1, 0.5, 0.9)]
    found = intervals.fit(plain, rows)
    assert found.quantiles["all"][0][at] * found.growth[0] == pytest.approx(
        [-40.0, 0.0, 40.0]
    )  # ranks 10 and 90 of 100
    older = np.where(z > 0, 0, 7)  # by a horizon: they count half
    half = intervals.fit(
        plain, rows.assign(**{name: rows[name] - pd.to_timedelta(older, "D") for name in ("origin", "time")})
    )
    low, _, high = half.quantiles["all"][0][at] * half.growth[0]
    assert low > -50 + 10
    assert high > 40.0


def test_however_close_origins_lie_some_errors_are_of_other_periods(setting: Setting) -> None:
    rows = residuals(20, 3, 38, apart=1)
    for origin, judged in rows.groupby("origin"):
        other = rows[intervals.apart(rows, judged)]
        assert len(other)
        assert not set(other["time"]) & set(judged["time"])
        assert origin not in set(other["origin"])


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_each_step_is_covered_whatever_its_errors_are_like(setting: Setting, share: float) -> None:
    def uneven(seed: int) -> pd.DataFrame:
        """A first step without tails, nights that err less than the days around them, a last step with heavy tails."""
        rows, rng = residuals(150, 5, seed), np.random.default_rng(seed)
        step, error = rows["step"], rows["y"] - rows["forecast"]
        blunt, wild = rng.uniform(-2, 2, len(rows)) * rows["scale"], 3 * rng.standard_t(4, len(rows)) * rows["scale"]
        error = error.mask(step == 1, blunt).mask(step == 6, wild).where(~step.isin([3, 4]), 0.3 * error)
        return rows.assign(y=rows["forecast"] + error)

    found = intervals.fit(setting, uneven(40)).apply(pd.concat([uneven(seed) for seed in (41, 42)]))
    for step, rows in found.groupby("step"):
        assert losses.coverage(rows, share) == pytest.approx(share, abs=0.03), step


def test_where_there_are_few_in_all_the_widest_is_the_widest_seen(setting: Setting) -> None:
    table = intervals.fit(setting, residuals(2, 2, 45)).quantiles["all"]
    assert np.ptp(table[:, [0, -1]], axis=0).tolist() == [0.0, 0.0]  # 24 residuals: no rank for 2.5 % but the last


def test_a_step_with_few_residuals_borrows_those_of_the_others(setting: Setting) -> None:
    few = residuals(6, 3, 43)
    found = intervals.fit(setting, few)
    table = found.quantiles["all"]
    assert (np.abs(table - table.mean(axis=0)) < 0.5 * np.abs(table).max(axis=0) + 1e-9).all()
    assert losses.coverage(intervals.fit(setting, few).apply(residuals(6, 40, 44)), 0.8) == pytest.approx(0.8, abs=0.06)
