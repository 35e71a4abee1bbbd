"""Point forecasts of a whole panel: every kind of series by its method, ensembles out of their parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from baton.errors import ModelError
from baton.families.forecast.methods import local
from baton.families.forecast.methods.boosting import Global, needed
from baton.families.forecast.methods.kinds import classify, recent_median, sibling_shape
from baton.families.forecast.methods.local import Local
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting
from baton.specs.forecast import ForecasterSpec

GLOBAL = "lightgbm.LGBMRegressor"
CROSTON = "CrostonSBA"


class Forecaster(Protocol):
    """A forecaster of regular series."""

    name: str

    def forecast(self, panel: Panel, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Forecasts of shape (rows, horizon), and what made each row's."""


@dataclass(frozen=True)
class Points:
    """Forecasts of S series.

    Attributes:
        forecast: shape (S, horizon).
        simple: shape (S, horizon), Croston's forecast of intermittent series, NaN for the others.
        kind, method: shape (S,).
    """

    forecast: np.ndarray
    simple: np.ndarray
    kind: np.ndarray
    method: np.ndarray

    def choose(self, croston: bool) -> "Points":
        """Let Croston forecast the intermittent series, or leave them to the candidate."""
        at = self.kind == "intermittent"
        if not croston or not at.any():
            return self
        method = np.where(at, CROSTON, self.method).astype(object)
        return Points(np.where(at[:, None], self.simple, self.forecast), self.simple, self.kind, method)


def learnable(setting: Setting, panel: Panel) -> np.ndarray:
    """Positions of the series that a global model learns from: all but new and dead ones."""
    return np.flatnonzero(~np.isin(classify(setting, panel), ("new", "dead")))


def left_out(setting: Setting, candidate: ForecasterSpec, panel: Panel) -> dict[str, int]:
    """Series that could be learnt from but are too short for this candidate, with their periods."""
    rows = learnable(setting, panel)
    return {str(panel.ids[row]): int(panel.lengths[row]) for row in rows[panel.lengths[rows] < needed(candidate)]}


def fit_part(setting: Setting, candidate: ForecasterSpec, panel: Panel) -> Forecaster:
    """Fit one estimator on a panel; a one-series model has nothing to learn beforehand."""
    if candidate.estimator == GLOBAL:
        return Global.fit(setting, candidate, panel, learnable(setting, panel))
    return Local(setting, candidate)


def forecast(setting: Setting, panel: Panel, name: str, parts: Sequence[Forecaster], combine: str = "median") -> Points:
    """Forecast the periods after the panel's end.

    Args:
        name: of the candidate, for `method`.
        parts: its estimators; several are combined period by period.
        combine: median | mean.
    """
    kind = classify(setting, panel)
    made = np.zeros((len(kind), setting.horizon))
    simple = np.full_like(made, np.nan)
    method = np.full(len(kind), "Zero", dtype=object)
    own = np.flatnonzero(np.isin(kind, ("regular", "intermittent")))
    results = [part.forecast(panel, own) for part in parts]
    made[own] = combined([values for values, _ in results], combine)
    method[own] = _methods(name, parts, [names for _, names in results])
    at = np.flatnonzero(kind == "intermittent")
    simple[at] = local.croston(setting, panel, at)
    at = np.flatnonzero(kind == "short")
    made[at], method[at] = recent_median(setting, panel, at)
    if setting.floor is not None:
        made, simple = np.maximum(made, setting.floor), np.maximum(simple, setting.floor)
    at = np.flatnonzero(kind == "new")
    if len(at):
        siblings = kind == "regular"
        if not siblings.any():
            siblings = np.isin(kind, ("intermittent", "short"))
        made[at], method[at] = sibling_shape(setting, panel, at, made, siblings)
    made[kind == "dead"] = 0.0 if setting.floor is None else max(0.0, setting.floor)
    if not np.isfinite(made).all():
        row = int(np.argwhere(~np.isfinite(made))[0][0])
        raise ModelError(f"candidate {name!r}: its forecast of series {panel.ids[row]!r} is not finite")
    return Points(made, simple, kind, method)


def combined(values: Sequence[np.ndarray], combine: str) -> np.ndarray:
    """Median or mean over equally shaped arrays."""
    if len(values) == 1:
        return values[0]
    return np.median(values, axis=0) if combine == "median" else np.mean(values, axis=0)


def _methods(name: str, parts: Sequence[Forecaster], names: Sequence[list[str]]) -> list[str]:
    """The candidate's name per row; a part that something stood in for is told."""
    found = []
    for row in zip(*names, strict=True):
        others = [method for part, method in zip(parts, row, strict=True) if method != part.name]
        found.append(others[0] if others and len(parts) == 1 else "; ".join([name, *others]))
    return found
