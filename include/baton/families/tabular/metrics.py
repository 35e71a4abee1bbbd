"""Figures of merit of a score against 0/1 labels, and what decisions at a threshold cost in money.

A row is alerted when its score is at least the threshold: a score equal to the threshold is alerted, everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baton.errors import ModelError

if TYPE_CHECKING:
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


METRICS = {"average_precision": average_precision, "roc_auc": roc_auc}


@dataclass(frozen=True)
class Cost:
    """What decisions at one threshold cost.

    Attributes:
        threshold: smallest score that is alerted; infinity alerts nobody.
        total: currency units over the judged rows: reviews of alerts plus what missed positives lose.
        alerts: rows at or above the threshold.
        missed: positives below it.
    """

    threshold: float
    total: float
    alerts: int
    missed: int


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


def cost_at(y: np.ndarray, score: np.ndarray, loss: np.ndarray, review: float, threshold: float) -> Cost:
    """Price the decisions of `threshold`."""
    alert = score >= threshold
    missed = (y == 1) & ~alert
    total = review * int(alert.sum()) + float(loss[missed].sum())
    return Cost(float(threshold), total, int(alert.sum()), int(missed.sum()))


def cheapest(y: np.ndarray, score: np.ndarray, loss: np.ndarray, review: float) -> Cost:
    """Find the threshold of least cost among the scores themselves and infinity; of equal ones the highest."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(y) - 1) if len(y) else np.empty(0, dtype=int)
    at_stake = np.where(y == 1, loss, 0.0)
    saved = np.cumsum(at_stake[order])[last]
    totals = np.append(at_stake.sum(), review * (last + 1) + at_stake.sum() - saved)
    best = int(np.argmin(totals))
    threshold = np.inf if best == 0 else float(ranked[last[best - 1]])
    return cost_at(y, score, loss, review, threshold)


def metrics(
    y: np.ndarray, score: np.ndarray, money: np.ndarray | None = None, cost: CostSpec | None = None
) -> dict[str, Any]:
    """Return the figures that are logged for a version: plain floats and ints, NaN where a figure does not exist.

    Args:
        y: shape (n,), 0 or 1.
        score: shape (n,), finite.
        money: shape (n,), amounts in currency units, needed if `cost` prices by a column.
        cost: None leaves the money figures out.
    """
    labels, values = np.asarray(y).astype(int), np.asarray(score, dtype=float)
    found: dict[str, Any] = {
        "rows": len(labels),
        "positives": int(labels.sum()),
        "average_precision": average_precision(labels, values),
        "roc_auc": roc_auc(labels, values),
        "recall_at_1pct_false_alarms": recall_at(labels, values, 0.01),
    }
    if len(values) and values.min() >= 0 and values.max() <= 1:
        found["brier"] = float(np.mean((values - labels) ** 2))
    if cost is not None and len(values):
        best = cheapest(labels, values, loss := losses(cost, len(labels), money), cost.review)
        found |= {
            "cost": best.total,
            "cost_without_model": float(loss[labels == 1].sum()),
            "threshold": best.threshold,
            "alerts": best.alerts,
            "missed": best.missed,
        }
    return found


def recall_at(y: np.ndarray, score: np.ndarray, false_alarms: float) -> float:
    """Share of positives alerted when at most the share `false_alarms` of the negatives is. NaN without both classes."""
    negatives, positives = np.sort(score[y == 0])[::-1], score[y == 1]
    if not len(negatives) or not len(positives):
        return float("nan")
    allowed = int(false_alarms * len(negatives))
    return float((positives > negatives[allowed]).mean()) if allowed < len(negatives) else 1.0
