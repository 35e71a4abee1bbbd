"""Small weekly series, a spec for them, and forecasters trained once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast.family import Forecast
from baton.families.forecast.model import FittedForecaster
from baton.specs.forecast import ForecastSpec

STATS = "statsforecast.models."
NAIVE = {"name": "naive", "estimator": STATS + "SeasonalNaive"}
MEAN = {"name": "mean", "estimator": STATS + "HistoricAverage"}
TREES = {
    "name": "trees", "estimator": "lightgbm.LGBMRegressor", "params": {"n_estimators": 40},
    "features": {"lags": [1, 13], "rolling": [[1, 4]], "calendar": ["week"]},
}  # fmt: skip
MIX = {"name": "mix", "ensemble": ["naive", "mean", "trees"]}
DATA = {"entity": "item", "time": "week", "target": "units", "frequency": "W-MON", "seasons": [13]}


def spec_of(**fields: Any) -> ForecastSpec:
    document: dict[str, Any] = {
        "model": "demand", "family": "forecast", "owner": "tests", "description": "units per week", "horizon": 4,
        "training": {"contract": "sales", "history": {"source": "till"}, "min_periods": 8, "dead_after": 10, "max_gap": 0},
        "candidates": [NAIVE, MEAN, TREES, MIX], "validation": {"origins": 3, "step": 4},
        "gate": {"resamples": 100, "ceiling": 3.0}, "drift": {"performance": {}},
    }  # fmt: skip
    document |= fields
    document["data"] = DATA | fields.get("data", {})
    return ForecastSpec.model_validate(document)


def history_of(
    items: int = 8, periods: int = 78, *, noise: float = 0.1, season: float = 0.3, promo: float = 0.6, seed: int = 0,
    future: int = 4,
) -> pd.DataFrame:  # fmt: skip
    """Weekly units with a season of 13, a promotion effect, and `future` rows without units."""
    rng = np.random.default_rng(seed)
    t = np.arange(periods + future)
    parts = []
    for item in range(items):
        flag = (rng.random(len(t)) < 0.15).astype(float)
        units = rng.uniform(20, 90) * (1 + season * np.sin(2 * np.pi * t / 13) + promo * flag)
        units = np.where(t < periods, units * np.exp(rng.normal(0, noise, len(t))), np.nan)
        weeks = pd.date_range("2024-01-01", periods=len(t), freq="W-MON")
        names = {"item": f"i{item:02d}", "region": f"r{item % 2}", "_row": item * len(t) + t}
        parts.append(pd.DataFrame({**names, "week": weeks, "units": units, "promo": flag}))
    return pd.concat(parts, ignore_index=True)


def train(spec: ForecastSpec, frame: pd.DataFrame) -> tuple[FittedForecaster, Any]:
    family = Forecast()
    found = {one.name: family.validate(spec, one, frame)[0] for one in spec.candidates if one.ensemble is None}
    board = family.rank(spec, frame, found)
    return family.fit(spec, frame, board, found), board


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ForecastSpec]:
    return spec_of


@pytest.fixture(scope="session")
def make_history() -> Callable[..., pd.DataFrame]:
    return history_of


@pytest.fixture(scope="session")
def trained() -> Callable[..., tuple[FittedForecaster, Any]]:
    return train


@pytest.fixture(scope="session")
def sales() -> pd.DataFrame:
    return history_of()


@pytest.fixture(scope="session")
def mixed(sales: pd.DataFrame) -> tuple[ForecastSpec, FittedForecaster, Any]:
    """A spec with a promotion known in advance, and its best forecaster (an ensemble, as the only one of interest)."""
    spec = spec_of(data={"known": ["promo"]})
    family = Forecast()
    found = {one.name: family.validate(spec, one, sales)[0] for one in spec.candidates if one.ensemble is None}
    board = family.rank(spec, sales, found)
    chosen = type(board)(board.metric, "mix", board.rows)
    return spec, family.fit(spec, sales, chosen, found), board
