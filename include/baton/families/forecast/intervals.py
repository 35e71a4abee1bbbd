"""Conformal quantiles: how far targets lay from forecasts in the backtest, per series and step.

An error is written as `scale * growth(step) * spread(series) * z`. The scale is the series' MASE denominator at the
origin, growth is the errors' mean size by step, spread the series' own size against the others', drawn
towards 1 by as much as predicts left-out origins best. The signed quantiles of z are pooled over all series of a class
and, as far as a step's own do not suffice, all steps; z of an origin uses the spread of the other origins, as a forecast
of tomorrow will. So a quantile needs few residuals of its own series, and lower and upper side may differ. The median
stays the forecast itself. Where a step has many residuals its quantiles are its own: nights err less than noons, however
far ahead, and the first step's errors have another shape than those of later ones.

Errors drift: they grow with a market, jump with a new habit. So an origin counts half as much as one that lies
`HALF_LIFE` horizons nearer to the forecast (weighted conformal prediction: Barber, Candes, Ramdas & Tibshirani 2023), in
growth, spread and quantiles alike. Where errors do not drift, this costs some precision and no coverage. Horizons are the
unit because origins within one share their targets: many of them know little more than one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from baton.families.forecast.panel.periods import to_period
from baton.families.forecast.panel.setting import Setting

HALF_LIFE = 1.0  # in horizons; infinite: all origins count alike
CLASS_ROWS = 200  # fewer residuals of a class: it borrows those of all
GROWTH_ROWS = 30  # residuals of a step that the rise over all steps weighs as much as, in growth
STEP_ROWS = 100  # and that those of the other steps weigh as much as, in quantiles
GRID = 500  # points that stand for the residuals of all steps
PULLS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0)  # in origins; how strongly a series is drawn towards the others
SMALL = 1e-9
DEPENDENCE_PULL = 4.0
DEPENDENCE_MOST = 0.95


def column(level: float) -> str:
    """Name of a quantile's column."""
    return f"q{level:g}"


@dataclass(frozen=True)
class Intervals:
    """What the residuals of a backtest say about errors to come; made by `fit`.

    Attributes:
        growth: shape (horizon,), mean size of a scaled error by step.
        spread: size of a series' errors against the others'; 1 for a series that is not in it.
        quantiles: class -> shape (horizon, levels), quantiles of z by step.
        dependence: correlation of neighbouring errors per series; `pooled` for others.
    """

    levels: tuple[float, ...]
    floor: float | None
    growth: np.ndarray
    spread: pd.Series
    quantiles: dict[str, np.ndarray]
    dependence: pd.Series
    pooled: float

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Add a column per quantile, and `dependence`, to rows with series, level, step, forecast, scale and kind."""
        classes, step = classes_of(frame), frame["step"].to_numpy() - 1
        spread = frame["series"].map(self.spread).fillna(1.0).to_numpy()
        width = frame["scale"].to_numpy() * self.growth[step] * spread
        width = np.where(frame["kind"] == "dead", 0.0, width)
        table = np.zeros((len(frame), len(self.levels)))
        for name in np.unique(classes):
            at = classes == name
            table[at] = self.quantiles.get(name, self.quantiles["all"])[step[at]]
        made = frame["forecast"].to_numpy()[:, None] + width[:, None] * table
        if self.floor is not None:
            made = np.maximum(made, self.floor)
        added = {column(level): made[:, at] for at, level in enumerate(self.levels)}
        dependence = frame["series"].map(self.dependence).fillna(self.pooled).to_numpy()
        return frame.assign(**added, dependence=dependence)


def classes_of(frame: pd.DataFrame) -> np.ndarray:
    """Which residuals are alike: the kinds of series, and each level above the series."""
    kind = frame["kind"].replace({"short": "young", "new": "young"}).to_numpy(dtype=object)
    level = frame["level"].to_numpy()
    above = level < level.max(initial=0)
    return np.where(above, np.char.add("level ", level.astype(str)), kind).astype(object)


def fit(
    setting: Setting, frame: pd.DataFrame, half_life: float = HALF_LIFE, at: pd.Timestamp | None = None
) -> Intervals:
    """Learn from backtest rows; see the module's text.

    Args:
        half_life: in horizons, above 0; see `HALF_LIFE`.
        at: origin of the forecasts to come; None: after all origins of the frame.
    """
    rows = frame[frame["kind"] != "dead"]
    levels = setting.quantiles
    if not len(rows):
        none = pd.Series(dtype=float)
        return Intervals(
            levels, setting.floor, np.ones(setting.horizon), none,
            {"all": np.zeros((setting.horizon, len(levels)))}, none, 0.0,
        )  # fmt: skip
    scaled = ((rows["y"] - rows["forecast"]) / rows["scale"]).to_numpy()
    step = rows["step"].to_numpy()
    series, names = pd.factorize(rows["series"], sort=True)
    origin, when = pd.factorize(rows["origin"], sort=True)
    # places on a scale on which weights halve by every 1
    places = to_period(pd.Series([*when, when[-1] if at is None else at]), setting.frequency)[0]
    places = places / (setting.horizon * half_life)
    weight = _weights(places[:-1], places[-1])
    growth = _growth(step, np.abs(scaled), weight[origin], setting.horizon)
    unit = scaled / growth[step - 1]
    size, count = _sizes(series, origin, np.abs(unit))
    rest, seen = _rest(rows, series, origin, np.abs(unit), places[:-1])
    pull, others = _pull(rest, seen, series, origin, np.abs(unit))
    z = unit / others[series, origin]
    spread = (pull + size @ weight) / (pull + count @ weight)
    classes = classes_of(rows)
    found = {"all": _by_step(z, step, weight[origin], levels, setting.horizon)}
    for name in np.unique(classes):
        own = classes == name
        if own.sum() >= CLASS_ROWS:
            found[str(name)] = _by_step(z[own], step[own], weight[origin][own], levels, setting.horizon)
    dependence, pooled = _dependence(series, origin, step, z, len(names))
    spreads, together = pd.Series(spread, index=names), pd.Series(dependence, index=names)
    return Intervals(levels, setting.floor, growth, spreads, found, together, pooled)


def cross(setting: Setting, frame: pd.DataFrame, half_life: float = HALF_LIFE) -> pd.DataFrame:
    """Add quantiles to backtest rows, each origin's from the residuals of other origins in other periods (see `apart`)."""
    parts = [
        fit(setting, frame[apart(frame, rows)], half_life, rows["origin"].iloc[0]).apply(rows)
        for _, rows in frame.groupby("origin", sort=True)
    ]
    return pd.concat(parts).loc[frame.index]


def apart(frame: pd.DataFrame, judged: pd.DataFrame) -> np.ndarray:
    """Mask of the rows that know nothing of an origin's rows `judged`: other periods, so other origins.

    Origins less than a horizon apart share targets: an error there tells the error here. Of a whole backtest at least
    one period of each other origin lies outside, its first or its last. Of a part of one (`cross` leaves some rows to
    learn a series' spread from) there may be no row left; then all other origins serve, which is better than none.
    """
    time = frame["time"].to_numpy()
    outside = (time < judged["time"].min()) | (time > judged["time"].max())
    return outside if outside.any() else (frame["origin"] != judged["origin"].iloc[0]).to_numpy()


def _weights(places: np.ndarray, place: float) -> np.ndarray:
    """Weights by distance, halved by every 1; the nearest has 1."""
    distance = np.abs(places - place)
    return np.asarray(0.5 ** (distance - distance.min()))


def _growth(step: np.ndarray, size: np.ndarray, weight: np.ndarray, horizon: int) -> np.ndarray:
    """Weighted mean size by step; as far as a step has few, made rising by pooling neighbours (isotonic regression)."""
    from sklearn.isotonic import IsotonicRegression

    total = np.bincount(step - 1, weights=weight * size, minlength=horizon)
    count = np.bincount(step - 1, weights=weight, minlength=horizon)
    seen = np.flatnonzero(count)
    rising = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(seen, total[seen] / count[seen], count[seen])
    return np.maximum((total + GROWTH_ROWS * rising.predict(np.arange(horizon))) / (count + GROWTH_ROWS), SMALL)


def _sizes(series: np.ndarray, origin: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean size per (series, origin) and whether there is one, both of shape (series, origins)."""
    shape = (int(series.max()) + 1, int(origin.max()) + 1)
    cell = series * shape[1] + origin
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    total = np.bincount(cell, weights=size, minlength=shape[0] * shape[1]).reshape(shape)
    return total / np.maximum(count, 1), (count > 0).astype(float)


def _rest(
    rows: pd.DataFrame, series: np.ndarray, origin: np.ndarray, unit: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What other origins say of a series without knowing an origin's periods: weighted sums of sizes and of origins.

    Both of shape (series, origins); an origin of which only a part lies outside counts by that part.
    """
    shape = (int(series.max()) + 1, int(origin.max()) + 1)
    whole = np.bincount(series * shape[1] + origin, minlength=shape[0] * shape[1]).reshape(shape)
    total, seen = np.zeros(shape), np.zeros(shape)
    for judged in range(shape[1]):
        keep = apart(rows, rows[origin == judged])
        cell = series[keep] * shape[1] + origin[keep]
        count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        size = np.bincount(cell, weights=unit[keep], minlength=shape[0] * shape[1]).reshape(shape)
        others = np.arange(shape[1]) != judged
        if not others.any():
            continue
        weight = np.zeros(shape[1])
        weight[others] = _weights(places[others], places[judged])
        total[:, judged] = (size / np.maximum(whole, 1)) @ weight
        seen[:, judged] = (count / np.maximum(whole, 1)) @ weight
    return total, seen


def _pull(
    rest: np.ndarray, seen: np.ndarray, series: np.ndarray, origin: np.ndarray, unit: np.ndarray
) -> tuple[float, np.ndarray]:
    """The pull under which the other origins predict an origin's sizes best, and the spreads (series, origins) by it."""
    best: tuple[float, float, np.ndarray] | None = None
    for pull in PULLS:
        spread = np.maximum((pull + rest) / (pull + seen), SMALL)
        own = spread[series, origin]
        loss = float(np.mean(np.log(own) + unit / own))  # Laplace likelihood
        if best is None or loss < best[0]:
            best = (loss, pull, spread)
    assert best is not None
    return best[1], best[2]


def _by_step(
    z: np.ndarray, step: np.ndarray, weight: np.ndarray, levels: tuple[float, ...], horizon: int
) -> np.ndarray:
    """Quantiles of each step, shape (horizon, levels): of its own residuals, and of all as `STEP_ROWS` of them at most."""
    order = np.argsort(z, kind="stable")
    reached = np.cumsum(weight[order])
    places = (np.arange(GRID) + 0.5) / GRID * reached[-1]
    grid = z[order][np.minimum(np.searchsorted(reached, places), len(z) - 1)]
    rows, found = np.argsort(step, kind="stable"), []
    for own in np.split(rows, np.searchsorted(step[rows], np.arange(2, horizon + 1))):
        others = min(STEP_ROWS, reached[-1] - weight[own].sum()) / GRID  # no more than there are
        found.append(_quantiles(np.append(z[own], grid), np.append(weight[own], np.full(GRID, others)), levels))
    return np.array(found)


def _quantiles(z: np.ndarray, weight: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Weighted conformal quantiles, rounded away from the median, which is the forecast itself.

    The error to come has a weight of 1; with equal weights the rank of a level p is (n + 1) p.
    """
    order = np.argsort(z, kind="stable")
    ordered, reached = z[order], np.cumsum(weight[order])
    whole = reached[-1] + 1.0
    found = []
    for level in levels:
        if level < 0.5:
            rank = np.searchsorted(reached, whole * level, side="right")
        else:
            rank = np.searchsorted(reached, whole * level, side="left") + 1
        value = float(ordered[int(np.clip(rank, 1, len(z))) - 1])
        found.append(min(value, 0.0) if level < 0.5 else max(value, 0.0) if level > 0.5 else 0.0)
    return np.array(found)


def _dependence(
    series: np.ndarray, origin: np.ndarray, step: np.ndarray, z: np.ndarray, size: int
) -> tuple[np.ndarray, float]:
    """Correlation of neighbouring steps' errors per series, drawn towards that of all."""
    order = np.lexsort((step, origin, series))
    s, o, h, e = series[order], origin[order], step[order], z[order]
    next_to = (s[1:] == s[:-1]) & (o[1:] == o[:-1]) & (h[1:] == h[:-1] + 1)
    # bounded, so that one spike does not decide
    e = np.clip(e, -3, 3)
    product = np.bincount(s[1:][next_to], weights=(e[1:] * e[:-1])[next_to], minlength=size)
    power = np.bincount(s[1:][next_to], weights=((e[1:] ** 2 + e[:-1] ** 2) / 2)[next_to], minlength=size)
    if power.sum() <= 0:
        return np.zeros(size), 0.0
    pooled = float(np.clip(product.sum() / power.sum(), 0.0, DEPENDENCE_MOST))
    origins = max(1, len(np.unique(origin)))
    weight = DEPENDENCE_PULL * power.mean() / origins
    own = (product + weight * pooled) / (power + weight)
    return np.clip(own, 0.0, DEPENDENCE_MOST), pooled
