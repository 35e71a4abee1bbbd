"""Rolling origins: the one backtest that feeds leaderboard, intervals, gate and monitoring.

At each origin everything is done as in production with what lay before it: kinds, scales, fits. A forecast never sees a
target of its origin or later; regressors known in advance are seen, as they will be.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.forecast.methods import points
from baton.families.forecast.methods.points import Points
from baton.families.forecast.panel.periods import label
from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting
from baton.progress import told
from baton.specs.forecast import BacktestSpec, ForecasterSpec

KEYS = ("series", "origin", "step")
COLUMNS = ("series", "level", "origin", "time", "step", "y", "forecast", "simple", "scale", "kind", "method")


def origins(setting: Setting, validation: BacktestSpec, panel: Panel) -> list[int]:
    """Columns of the first forecast period of each origin, earliest first.

    Raises:
        ModelError: the history is too short for them.
    """
    last = panel.periods - setting.horizon
    found = [last - validation.step * back for back in range(validation.origins)][::-1]
    if found[0] < setting.min_periods:
        raise ModelError(
            f"model {setting.model}: {panel.periods} periods are too few for {validation.origins} origins "
            f"{validation.step} apart with a horizon of {setting.horizon}: before the first one "
            f"{max(found[0], 0)} would be left, training.min_periods asks for {setting.min_periods}; "
            "lower validation.origins or horizon, or bring more history"
        )
    return found


def scale(setting: Setting, panel: Panel) -> np.ndarray:
    """Mean absolute error of the seasonal naive forecast inside the history, the denominator of MASE, shape (S,).

    The shortest season counts, as in the M competitions; a series with less than two of it is measured from period to
    period, a constant one by its mean absolute value, one of zeros by 1.
    """
    season, y = setting.seasons[0], panel.y
    found = _lagged(y, season)
    plain = _lagged(y, 1)
    short = (panel.stop - panel.start) < 2 * season
    found = np.where(short | ~(found > 0), plain, found)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.nansum(np.abs(y), axis=1) / np.maximum(1, (~np.isnan(y)).sum(axis=1))
    found = np.where(found > 0, found, size)
    return np.where(found > 0, found, 1.0)


def _lagged(y: np.ndarray, lag: int) -> np.ndarray:
    """Mean absolute difference over `lag` periods, 0 without any."""
    if y.shape[1] <= lag:
        return np.zeros(len(y))
    steps = np.abs(y[:, lag:] - y[:, :-lag])
    return np.nansum(steps, axis=1) / np.maximum(1, (~np.isnan(steps)).sum(axis=1))


def run(
    setting: Setting, validation: BacktestSpec, panel: Panel, candidate: ForecasterSpec, level: np.ndarray | None = None
) -> pd.DataFrame:
    """Backtest one estimator, fitted anew at each origin.

    Args:
        level: shape (S,), level of the hierarchy of each series, the deepest number for the series themselves.

    Returns:
        One row per (series, origin, step) with a known target: the columns `COLUMNS`.
    """

    def make(past: Panel) -> Points:
        return points.forecast(setting, past, candidate.name, [points.fit_part(setting, candidate, past)])

    return replay(setting, panel, origins(setting, validation, panel), make, level)


def replay(
    setting: Setting, panel: Panel, at: Sequence[int], make: Callable[[Panel], Points], level: np.ndarray | None = None
) -> pd.DataFrame:
    """Rows of the forecasts that `make` gives at the origins `at`; see `run`."""
    parts = []
    steps = np.arange(setting.horizon)
    for column in told(at, "backtest", "origins"):
        past = panel.until(column)
        there = past.stop > past.start  # a series that has not begun has no forecast to be judged
        past = past.take(there)
        made = make(past)
        y = panel.y[there, column : column + setting.horizon]
        row, step = np.nonzero(~np.isnan(y))
        when = panel.times(column + steps, setting.frequency)
        parts.append(
            pd.DataFrame({
                "series": past.ids[row],
                "level": (np.zeros(len(panel.ids), dtype=int) if level is None else level)[there][row],
                "origin": when[0],
                "time": when[step],
                "step": step + 1,
                "y": y[row, step],
                "forecast": made.forecast[row, step],
                "simple": made.simple[row, step],
                "scale": scale(setting, past)[row],
                "kind": made.kind[row],
                "method": made.method[row],
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def combine(name: str, frames: Sequence[pd.DataFrame], how: str) -> pd.DataFrame:
    """Backtest of an ensemble out of those of its parts.

    Raises:
        ModelError: the parts were not judged on the same cases.
    """
    first = frames[0]
    for other in frames[1:]:
        if len(other) != len(first) or not (other[list(KEYS)].to_numpy() == first[list(KEYS)].to_numpy()).all():
            raise ModelError(
                f"candidate {name!r}: its parts were backtested on different rows; backtest all candidates again on "
                "the same frame"
            )
    forecast = points.combined([frame["forecast"].to_numpy() for frame in frames], how)
    own = first["kind"].isin(["regular", "intermittent"])
    return first.assign(forecast=forecast, method=first["method"].where(~own, name))


def choose(frame: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Decide whether Croston forecasts the intermittent series: the frame with that choice, and the choice.

    By squared error: the absolute one is smallest for the median, which for such series is zero, a forecast that
    orders nothing.
    """
    at = (frame["kind"] == "intermittent") & frame["simple"].notna()
    if not at.any():
        return frame, True
    rows = frame[at]
    size = rows["scale"].to_numpy()
    errors = {name: (((rows["y"] - rows[name]) / size) ** 2).mean() for name in ("simple", "forecast")}
    if errors["forecast"] < errors["simple"]:
        return frame, False
    method = frame["method"].mask(at, points.CROSTON)
    return frame.assign(forecast=frame["forecast"].mask(at, frame["simple"]), method=method), True


def when(frame: pd.DataFrame, setting: Setting) -> str:
    """First and last origin, for people."""
    return f"{label(frame['origin'].min(), setting.frequency)} to {label(frame['origin'].max(), setting.frequency)}"
