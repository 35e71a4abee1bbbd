"""Figures of merit of a score against 0/1 labels, and what decisions at a threshold cost in money.

A row is alerted when its score is at least the threshold: a score equal to the threshold is alerted, everywhere.
"""

from dataclasses import dataclass

import numpy as np

from baton.errors import ModelError
from baton.specs.policy import CostSpec


def average_precision(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the precision-recall steps; rows of equal score count as one step. NaN without positives.

    Args:
        y: shape (n,), 0 or 1.
        score: shape (n,), finite, higher is more suspicious.
    """
    order = np.argsort(-score, kind="stable")
    sorted_score, hits = score[order], np.cumsum(y[order])
    if not len(y) or hits[-1] == 0:
        return float("nan")
    last = np.append(np.flatnonzero(np.diff(sorted_score)), len(y) - 1)  # last row of each group of ties
    found = hits[last]
    precision = found / (last + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])


def roc_auc(y: np.ndarray, score: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties half. NaN unless both classes are there."""
    from scipy.stats import rankdata

    positives = int(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(score)[y == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


PARTS = 10  # of the judged rows: nine choose the threshold of the tenth
METRICS = {"average_precision": average_precision, "roc_auc": roc_auc}


@dataclass(frozen=True)
class Cost:
    """What decisions cost.

    Attributes:
        total: currency units over the judged rows: reviews of alerts plus what missed positives lose.
        alerts: rows that are alerted.
        missed: positives that are not.
    """

    total: float
    alerts: int
    missed: int


@dataclass(frozen=True)
class Cheapest(Cost):
    """What the decisions of the best threshold cost.

    Attributes:
        threshold: smallest score that is alerted; infinity alerts nobody.
    """

    threshold: float


def losses(cost: CostSpec, rows: int, money: np.ndarray | None) -> np.ndarray:
    """What each row loses if it is positive and missed, in currency units, shape (rows,).

    Raises:
        ModelError: the spec prices by a column but no amounts are given, or they are negative or not finite.
    """
    if not isinstance(cost.missed, str):
        return np.full(rows, float(cost.missed))
    if money is None:
        raise ModelError(f"gate.cost.missed is the column {cost.missed!r}, but no amounts were handed over")
    amounts = np.asarray(money, dtype=float)
    if amounts.shape != (rows,):
        raise ModelError(f"{amounts.shape} amounts for {rows} rows")
    if not np.isfinite(amounts).all() or (amounts < 0).any():
        raise ModelError(f"column {cost.missed!r}: amounts must be finite and not negative to price a missed row")
    return amounts


def cost_at(y: np.ndarray, score: np.ndarray, loss: np.ndarray, review: float, threshold: float | np.ndarray) -> Cost:
    """Price the decisions of a threshold, or of one for each row, shape (n,)."""
    alert = score >= threshold
    missed = (y == 1) & ~alert
    total = review * int(alert.sum()) + float(loss[missed].sum())
    return Cost(total, int(alert.sum()), int(missed.sum()))


def cheapest(y: np.ndarray, score: np.ndarray, loss: np.ndarray, review: float) -> Cheapest:
    """Find the threshold of least cost among the scores themselves and infinity; of equal ones the highest.

    Priced on the rows that it was chosen on, so less than it will cost: see `thresholds_elsewhere`.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(y) - 1) if len(y) else np.empty(0, dtype=int)
    at_stake = np.where(y == 1, loss, 0.0)
    saved = np.cumsum(at_stake[order])[last]
    totals = np.append(at_stake.sum(), review * (last + 1) + at_stake.sum() - saved)
    best = int(np.argmin(totals))
    threshold = np.inf if best == 0 else float(ranked[last[best - 1]])
    cost = cost_at(y, score, loss, review, threshold)
    return Cheapest(cost.total, cost.alerts, cost.missed, threshold)


def thresholds_elsewhere(
    y: np.ndarray, score: np.ndarray, loss: np.ndarray, review: float, seed: int = 7
) -> np.ndarray:
    """For each row the cheapest threshold of other rows, so that the cost of its decision is not flattered; shape (n,).

    Positives and negatives are dealt at random into `PARTS`; a part's threshold is the cheapest of all others. The same seed
    deals the rows of every model alike.

    Args:
        y: shape (n,), 0 or 1.
        score: shape (n,), finite.
        loss: shape (n,), see `losses`.
        review: currency units for one alert.
    """
    rng = np.random.default_rng(seed)
    part = np.empty(len(y), dtype=int)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(y == label))
        part[rows] = np.arange(len(rows)) % PARTS
    found = np.full(len(y), np.inf)
    for k in range(PARTS):
        others = part != k
        found[~others] = cheapest(y[others], score[others], loss[others], review).threshold
    return found
