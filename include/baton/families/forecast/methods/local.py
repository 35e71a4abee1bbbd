"""Candidates of statsforecast: one model per series, fitted anew wherever a forecast is made, so nothing is stored."""

import importlib
import inspect
import warnings
from typing import Any

import numpy as np

from baton.errors import ModelError
from baton.families import parameters
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting
from baton.specs.forecast import ForecasterSpec
from baton.specs.model import ESTIMATORS

FALLBACK = "SeasonalNaive"


def build(setting: Setting, candidate: ForecasterSpec) -> Any:
    """Make the statsforecast model of a candidate.

    A class that takes `season_length` gets the longest of data.seasons (MSTL: all of them) unless params say otherwise;
    `trend_forecaster` is the name of another class of the allow-list, or a mapping {estimator, params}.

    Raises:
        ModelError: unknown or unusable arguments.
    """
    params = dict(candidate.params)
    trend = params.pop("trend_forecaster", None)
    if trend is not None:
        inner: dict[str, Any] = {"estimator": trend} if isinstance(trend, str) else dict(trend)
        params["trend_forecaster"] = _make(
            setting, candidate.name, inner["estimator"], inner.get("params", {}), seasonal=False
        )
    return _make(setting, candidate.name, str(candidate.estimator), params, seasonal=True)


def _make(setting: Setting, name: str, path: str, params: dict[str, Any], *, seasonal: bool) -> Any:
    path = path if "." in path else f"statsforecast.models.{path}"
    module, _, label = path.rpartition(".")
    if "forecast" not in ESTIMATORS.get(path, ()) or not module.startswith("statsforecast"):
        raise ModelError(f"candidate {name!r}: {path!r} is no one-series model of the allow-list")
    parameters.refuse(name, path, params)
    made = getattr(importlib.import_module(module), label)
    arguments = dict(params)
    if "season_length" in inspect.signature(made).parameters and seasonal and "season_length" not in arguments:
        longer = [s for s in setting.seasons if s > 1] or [1]
        arguments["season_length"] = longer if label == "MSTL" else longer[-1]
    if label == "AutoETS" and not seasonal:
        arguments.setdefault("model", "ZZN")  # MSTL refuses a trend forecaster that might find a season
    try:
        return made(**arguments)
    except Exception as error:  # statsforecast raises bare exceptions for arguments it does not like
        raise ModelError(f"candidate {name!r}: {path} does not take {arguments}: {error}") from error


class Local:
    """A one-series model; it has learnt nothing beforehand."""

    def __init__(self, setting: Setting, candidate: ForecasterSpec) -> None:
        """Check the candidate's arguments right away."""
        self.setting, self.candidate, self.name = setting, candidate, candidate.name
        self.model = build(setting, candidate)

    def forecast(self, panel: Panel, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Fit and forecast the series at positions `rows`.

        Returns:
            forecasts of shape (rows, horizon), and per row what made them: the candidate's name, or the method that
            stood in for it and why.
        """
        horizon = self.setting.horizon
        found, names = np.zeros((len(rows), horizon)), []
        exogenous = bool(self.setting.known) and getattr(self.model, "uses_exog", False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optimisers warn per series; what fails is told in `method`
            for at, row in enumerate(rows):
                values, arguments = panel.values(row), {}
                if exogenous:
                    begin, end = int(panel.start[row]), panel.periods
                    arguments = {"X": panel.known[row, begin:end], "X_future": panel.known[row, end : end + horizon]}
                try:
                    made = np.asarray(self.model.new().forecast(y=values, h=horizon, **arguments)["mean"], dtype=float)
                    if not np.isfinite(made).all():
                        raise ValueError("the forecast is not finite")
                    found[at] = made
                    names.append(self.name)
                except Exception as error:  # whatever an optimiser raises, one series must not stop all
                    found[at] = seasonal_naive(values, self.setting)
                    names.append(f"{FALLBACK} ({self.name} failed: {type(error).__name__})")
        return found, names


def seasonal_naive(values: np.ndarray, setting: Setting) -> np.ndarray:
    """The last season again, shape (horizon,); the longest season that was seen once, else the last value."""
    season = max((s for s in setting.seasons if len(values) >= s), default=1)
    return values[-season:][np.arange(setting.horizon) % season]


def croston(setting: Setting, panel: Panel, rows: np.ndarray) -> np.ndarray:
    """Croston with the Syntetos-Boylan correction, shape (rows, horizon)."""
    from statsforecast.models import CrostonSBA

    found = np.zeros((len(rows), setting.horizon))
    for at, row in enumerate(rows):
        found[at] = CrostonSBA().forecast(y=panel.values(row), h=setting.horizon)["mean"]
    return found
