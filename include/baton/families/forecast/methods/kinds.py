"""Kinds of series: which one each is, and the simple methods of those that a candidate cannot learn from.

- *dead*: it stops before the others, or its last `dead_after` periods are all zero. Forecast: zero, without width.
- *new*: fewer than `min_periods` periods. Forecast: its level times the middle shape of its siblings' forecasts.
- *short*: fewer periods than the longest season and the horizon together: no step from one season to the next can be
  seen. Forecast: the median of the same place in the last seasons, or of the last periods.
- *intermittent*: on average more than 1.32 periods between demands (Syntetos, Boylan & Croston 2005). Forecast: Croston
  with the Syntetos-Boylan correction, or the candidate where the backtest says that it is better.
- *regular*: the rest; the candidate's own.

Dead and intermittent speak of demand: with a floor below zero, or none, zero is a value like others.
"""

import numpy as np

from baton.families.forecast.panel.series import Panel
from baton.families.forecast.panel.setting import Setting

KINDS = ("regular", "new", "short", "intermittent", "dead")
INTERVAL = 1.32
SEASONS_BACK = 3
LEVEL_PERIODS = 8


def classify(setting: Setting, panel: Panel) -> np.ndarray:
    """Kind of each series at the panel's end, shape (S,)."""
    length = panel.stop - panel.start
    kind = np.full(len(panel.ids), "regular", dtype=object)
    demand = setting.floor is not None and setting.floor >= 0
    if demand:
        kind[length > INTERVAL * (panel.y > 0).sum(axis=1)] = "intermittent"
    kind[length < max(setting.seasons) + setting.horizon] = "short"
    kind[length < setting.min_periods] = "new"
    kind[(panel.stop < panel.periods) & (length > 0)] = "dead"
    if demand:
        recent = panel.y[:, max(0, panel.periods - setting.dead_after) :]
        kind[(length >= setting.dead_after) & ~(recent > 0).any(axis=1)] = "dead"
    return kind


def recent_median(setting: Setting, panel: Panel, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The simple method: forecasts of shape (rows, horizon) and its name for each row.

    A median forgets one promotion or one stock-out; the longest season that was seen twice gives the places.
    """
    found, names = np.zeros((len(rows), setting.horizon)), []
    for at, row in enumerate(rows):
        values = panel.values(row)
        season = max((s for s in setting.seasons if s > 1 and len(values) >= 2 * s), default=1)
        if season == 1:
            found[at] = np.median(values[-LEVEL_PERIODS:]) if len(values) else 0.0
            names.append("RecentMedian")
            continue
        back = min(SEASONS_BACK, len(values) // season)
        places = np.median(values[-back * season :].reshape(back, season), axis=0)
        found[at] = places[np.arange(setting.horizon) % season]
        names.append("SeasonalMedian")
    return found, names


def sibling_shape(
    setting: Setting, panel: Panel, rows: np.ndarray, forecast: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Forecasts of new series from their siblings': own level times the siblings' median of forecast / level.

    The siblings' level is that of the same periods in which the new series was seen, so that a season that lies in
    them is not taken for its size. Siblings share the deepest parent; without any there, the parent above, at last all.

    Args:
        rows: positions of the new series.
        forecast: shape (S, horizon), filled for the siblings.
        known: shape (S,), which series may serve as siblings.
    """
    found, names = np.zeros((len(rows), setting.horizon)), []
    plain, plain_names = recent_median(setting, panel, rows)
    cache: dict[tuple[object, ...], tuple[np.ndarray, bool]] = {}
    for at, row in enumerate(rows):
        values = panel.values(row)
        group, depth = _siblings(setting, panel, row, known)
        key = (depth, len(values), *panel.attributes[list(setting.hierarchy[:depth])].to_numpy(dtype=object)[row])
        if key not in cache:
            cache[key] = _shape(panel, group, len(values), forecast)
        shape, usable = cache[key]
        if not usable:
            found[at], name = plain[at], plain_names[at]
        else:
            found[at], name = (values.mean() if len(values) else 1.0) * shape, "SiblingShape"
        names.append(name)
    return found, names


def _siblings(setting: Setting, panel: Panel, row: int, known: np.ndarray) -> tuple[np.ndarray, int]:
    for depth in range(len(setting.hierarchy), 0, -1):
        columns = list(setting.hierarchy[:depth])
        own = panel.attributes[columns].to_numpy(dtype=object)
        same = (own == own[row]).all(axis=1) & known
        if same.any():
            return np.flatnonzero(same), depth
    return np.flatnonzero(known), 0


def _shape(panel: Panel, group: np.ndarray, periods: int, forecast: np.ndarray) -> tuple[np.ndarray, bool]:
    """Median of forecast / level over the siblings; absolute medians where the new series has no period yet."""
    if not len(group):
        return np.zeros(forecast.shape[1]), False
    if not periods:
        return np.median(forecast[group], axis=0), True
    level = panel.y[group, panel.periods - periods :].mean(axis=1)
    used = np.isfinite(level) & (level > 0)
    if not used.any():
        return np.zeros(forecast.shape[1]), False
    return np.median(forecast[group][used] / level[used, None], axis=0), True
