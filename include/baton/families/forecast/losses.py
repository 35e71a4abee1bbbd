"""Measures of forecast errors; smaller is better in all of them."""

import numpy as np
import pandas as pd

METRICS = ("mase", "smape", "wape", "pinball")


def cases(frame: pd.DataFrame, metric: str, quantiles: tuple[float, ...] = ()) -> pd.DataFrame:
    """One row per (series, origin): the sums from which the metric of any set of cases follows.

    Args:
        frame: backtest rows; for pinball with a column per quantile (see `intervals.column`).

    Returns:
        series, origin, top, bottom: the metric of cases is sum(top) / sum(bottom). MASE, sMAPE and pinball are
        means over cases (bottom is 1), WAPE weighs by volume.
    """
    y, forecast = frame["y"].to_numpy(), frame["forecast"].to_numpy()
    error = np.abs(y - forecast)
    if metric == "mase":
        loss = error / frame["scale"].to_numpy()
    elif metric == "smape":
        size = np.abs(y) + np.abs(forecast)
        loss = np.where(size > 0, 2 * error / np.where(size > 0, size, 1.0), 0.0)
    elif metric == "wape":
        loss = error
    else:
        loss = pinball(frame, quantiles) / frame["scale"].to_numpy()
    rows = frame[["series", "origin"]].assign(top=loss, bottom=np.abs(y))
    grouped = rows.groupby(["series", "origin"], sort=True)
    if metric == "wape":
        return grouped[["top", "bottom"]].sum().reset_index()
    return grouped[["top"]].mean().assign(bottom=1.0).reset_index()


def value(found: pd.DataFrame) -> float:
    """The metric of the cases; a WAPE without any volume is that of a volume of 1."""
    bottom = float(found["bottom"].sum())
    return float(found["top"].sum() / (bottom if bottom > 0 else 1.0))


def folds(frame: pd.DataFrame, metric: str, quantiles: tuple[float, ...] = ()) -> list[float]:
    """The metric at each origin, earliest first: its mean over the levels of the hierarchy.

    With a hierarchy the forecast of every level is the product, and the many series must not outvote the few above them.

    Args:
        frame: backtest rows of all levels; see `cases`.
    """
    levels = [part for _, part in frame.groupby("level", sort=True)]
    found = [
        pd.Series({origin: value(part) for origin, part in cases(rows, metric, quantiles).groupby("origin", sort=True)})
        for rows in levels
    ]
    return [float(mean) for mean in pd.concat(found, axis=1).mean(axis=1).sort_index()]


def pinball(frame: pd.DataFrame, quantiles: tuple[float, ...]) -> np.ndarray:
    """Mean quantile loss over the levels, doubled so that of the median alone it is the absolute error; shape (n,)."""
    y = frame["y"].to_numpy()
    total = np.zeros(len(frame))
    for level in quantiles:
        gap = y - frame[f"q{level:g}"].to_numpy()
        total += np.maximum(level * gap, (level - 1) * gap)
    return 2 * total / max(1, len(quantiles))


def coverage(frame: pd.DataFrame, share: float) -> float | None:
    """Share of targets inside the central interval of `share`; None if its edges are not among the quantiles."""
    low, high = (f"q{round(edge, 6):g}" for edge in ((1 - share) / 2, (1 + share) / 2))
    if low not in frame or high not in frame:
        return None
    return float(((frame["y"] >= frame[low]) & (frame["y"] <= frame[high])).mean())
