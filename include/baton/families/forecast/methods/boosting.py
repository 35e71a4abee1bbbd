"""Candidates that learn one LightGBM model from all series: features by mlforecast, files in LightGBM's text format.

The target is brought to a common scale before mlforecast sees it, so that nothing but the trees has to be stored: level,
logarithm and lags are computed again from the history at hand. The order is level, then log(1 + y) for `scale: mean`, and
logarithm, then (y - mean) / standard deviation for `scale: standard`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families import parameters
from baton.families.base import threads
from baton.families.forecast.methods.local import FALLBACK, seasonal_naive
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting
from baton.specs.forecast import ForecasterSpec, LagSpec

DEFAULTS = {"n_estimators": 200, "learning_rate": 0.05, "num_leaves": 31, "verbosity": -1}
# one thread order, one result: trees must not depend on how sums were split
FIXED = {"deterministic": True, "force_row_wise": True}


class Trees:
    """A LightGBM booster behind the one method that mlforecast calls."""

    def __init__(self, booster: Any) -> None:
        """Take a booster."""
        self.booster = booster

    def predict(self, features: Any) -> np.ndarray:
        """Predictions of shape (rows,)."""
        return np.asarray(self.booster.predict(np.asarray(features, dtype=float), num_threads=1))


@dataclass(frozen=True)
class Scale:
    """How the series were brought to one scale; arrays of shape (s, 1)."""

    kind: str
    log: bool
    center: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, spec: LagSpec, y: np.ndarray) -> Self:
        """Levels of `y` (s, T), NaN outside the series."""
        if spec.log and np.nanmin(y) < 0:
            raise ModelError("features.log: the target has negative values; set it to false")
        values = np.log1p(y) if spec.log and spec.scale != "mean" else y
        zero, one = np.zeros((len(y), 1)), np.ones((len(y), 1))
        if spec.scale == "none":
            return cls(spec.scale, spec.log, zero, one)
        if spec.scale == "mean":
            width = np.nanmean(np.abs(values), axis=1, keepdims=True)
            return cls(spec.scale, spec.log, zero, np.where(width > 0, width, 1.0))
        width = np.nanstd(values, axis=1, keepdims=True)
        return cls(spec.scale, spec.log, np.nanmean(values, axis=1, keepdims=True), np.where(width > 0, width, 1.0))

    def apply(self, y: np.ndarray) -> np.ndarray:
        """To the common scale."""
        if self.kind == "mean":
            return np.log1p(y / self.width) if self.log else y / self.width
        return ((np.log1p(y) if self.log else y) - self.center) / self.width

    def undo(self, z: np.ndarray) -> np.ndarray:
        """Back to units of the target."""
        if self.kind == "mean":
            return (np.expm1(z) if self.log else z) * self.width
        y = z * self.width + self.center
        return np.expm1(y) if self.log else y


class Global:
    """One LightGBM model (or one per step) of all series."""

    def __init__(self, setting: Setting, candidate: ForecasterSpec, models: list[Any] | None = None) -> None:
        """Take the trees of a fitted model; `fit` makes them."""
        assert candidate.features is not None
        self.setting, self.candidate, self.name = setting, candidate, candidate.name
        self.features: LagSpec = candidate.features
        self.models = models or []

    @classmethod
    def fit(cls, setting: Setting, candidate: ForecasterSpec, panel: Panel, rows: np.ndarray) -> Self:
        """Learn from the series at positions `rows`, all their periods; those with fewer than `needed` are left out.

        Raises:
            ModelError: no row is left once the lags are taken off, or LightGBM refuses the parameters.
        """
        import lightgbm

        made = cls(setting, candidate)
        rows = rows[panel.lengths[rows] >= needed(candidate)]
        if not len(rows):
            raise ModelError(
                f"candidate {candidate.name!r}: no series is long enough to learn from, with {needed(candidate)} periods"
            )
        table = made._table(panel, rows, made._scale(panel, rows))
        parameters.refuse(candidate.name, str(candidate.estimator), candidate.params)
        params = {**DEFAULTS, **candidate.params, **FIXED, "n_jobs": threads()}
        params.setdefault("random_state", setting.seed)
        try:
            engine = made._engine({candidate.name: lightgbm.LGBMRegressor(**params)})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ahead = setting.horizon if made.features.direct else None
                plain: dict[str, Any] = {"as_numpy": True, "validate_data": False, "cache_train_df": False}
                engine.fit(table, static_features=[], max_horizon=ahead, **plain)
        except (TypeError, ValueError, lightgbm.basic.LightGBMError) as error:
            raise ModelError(
                f"candidate {candidate.name!r} cannot be fitted: {error}; with lags up to {max(made.features.lags)} "
                f"the longest of {len(rows)} series has {int(panel.lengths[rows].max())} periods"
            ) from error
        fitted = engine.models_[candidate.name]
        each = [fitted[h] for h in sorted(fitted)] if isinstance(fitted, dict) else np.atleast_1d(fitted).tolist()
        # the text format is the model: what is forecast before and after saving cannot differ
        made.models = [Trees(lightgbm.Booster(model_str=one.booster_.model_to_string())) for one in each]
        return made

    def forecast(self, panel: Panel, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Forecasts of shape (rows, horizon) for the series at positions `rows`, and what made them.

        For a series with fewer than `needed` periods another method stands in and is named, see `Local.forecast`.
        """
        length = panel.lengths[rows]
        own, found = length >= needed(self.candidate), np.zeros((len(rows), self.setting.horizon))
        names = [
            self.name if one else f"{FALLBACK} ({self.name}: {n} periods are too few)"
            for one, n in zip(own, length, strict=True)
        ]
        for at in np.flatnonzero(~own):
            found[at] = seasonal_naive(panel.values(rows[at]), self.setting)
        if own.any():
            found[own] = self._forecast(panel, rows[own])
        return found, names

    def _forecast(self, panel: Panel, rows: np.ndarray) -> np.ndarray:
        scale = self._scale(panel, rows)
        table = self._table(panel, rows, scale)
        horizon = self.setting.horizon
        models: Any = dict(enumerate(self.models)) if self.features.direct else self.models[0]
        engine = self._engine({})
        series = engine.ts
        series._fit(table, id_col="unique_id", time_col="ds", target_col="y", static_features=[], keep_last_n=None)
        series._initialize_lag_transform_states()
        series.max_horizon = horizon if self.features.direct else None
        series._horizons = list(range(horizon)) if self.features.direct else None
        series.as_numpy = True
        future = self._future(panel, rows) if self.setting.known or self.features.calendar else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = series.predict(models={self.name: models}, horizon=horizon, X_df=future)
        values = made.sort_values(["unique_id", "ds"])[self.name].to_numpy(dtype=float).reshape(len(rows), horizon)
        return scale.undo(values)

    def save(self, folder: Path) -> list[str]:
        """Write the trees; names of the files."""
        files = []
        for number, trees in enumerate(self.models):
            files.append(f"{self.name}_{number}.txt")
            trees.booster.save_model(str(folder / files[-1]))
        return files

    @classmethod
    def load(cls, setting: Setting, candidate: ForecasterSpec, folder: Path, files: list[str]) -> Self:
        """The inverse of `save`."""
        import lightgbm

        return cls(setting, candidate, [Trees(lightgbm.Booster(model_file=str(folder / name))) for name in files])

    def _scale(self, panel: Panel, rows: np.ndarray) -> Scale:
        return Scale.of(self.features, panel.y[rows])

    def _engine(self, models: dict[str, Any]) -> Any:
        from mlforecast import MLForecast
        from mlforecast.lag_transforms import RollingMean
        from mlforecast.target_transforms import Differences

        rolling: dict[int, list[Any]] = {}
        for lag, window in self.features.rolling:
            rolling.setdefault(lag, []).append(RollingMean(window, min_samples=1))
        lags, steps = list(self.features.lags), list(self.features.differences)
        changes = [Differences(steps)] if steps else None
        how: dict[str, Any] = {"lag_transforms": rolling, "target_transforms": changes, "num_threads": 1}
        return MLForecast(models=models, freq=1, lags=lags, **how)

    def _table(self, panel: Panel, rows: np.ndarray, scale: Scale) -> pd.DataFrame:
        """Long rows for mlforecast: number of the series, number of the period, scaled target, regressors."""
        scaled = scale.apply(panel.y[rows])
        at, column = np.nonzero(~np.isnan(scaled))
        table = {"unique_id": at, "ds": column, "y": scaled[at, column]}
        return pd.DataFrame(table | self._regressors(panel, rows, at, column))

    def _future(self, panel: Panel, rows: np.ndarray) -> pd.DataFrame:
        at, step = (grid.ravel() for grid in np.indices((len(rows), self.setting.horizon)))
        column = panel.periods + step
        return pd.DataFrame({"unique_id": at, "ds": column} | self._regressors(panel, rows, at, column))

    def _regressors(self, panel: Panel, rows: np.ndarray, at: np.ndarray, column: np.ndarray) -> dict[str, np.ndarray]:
        found = {f"known_{k}": panel.known[rows[at], column, k] for k in range(len(self.setting.known))}
        if self.features.calendar:
            distinct, code = np.unique(column, return_inverse=True)
            dates = pd.DatetimeIndex(panel.times(distinct, self.setting.frequency))
            for part in self.features.calendar:
                found[f"date_{part}"] = _date_part(dates, part)[code]
        return found


def needed(candidate: ForecasterSpec) -> int:
    """Periods without which a series has no change over `features.differences` whose lags are all known."""
    if candidate.features is None:
        return 1
    return 1 + sum(candidate.features.differences) + max(candidate.features.lags)


def _date_part(dates: pd.DatetimeIndex, part: str) -> np.ndarray:
    if part == "week":
        return dates.isocalendar().week.to_numpy(dtype=float)
    return np.asarray(getattr(dates, part), dtype=float)
