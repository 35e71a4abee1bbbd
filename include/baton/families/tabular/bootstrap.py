"""Paired stratified bootstrap of two scores on the same rows, fast enough for a gate.

Positives and negatives are drawn separately with replacement, the same draw for both models. Average precision and
ROC AUC depend on a negative only through its place among the positives' scores, and the cost only through
which models alert it; negatives that agree in all of these are one cell with a count. A resample then draws cell
counts, which is exact and takes 40,000 rows down to some hundred cells when positives are rare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from baton.families.tabular.metrics import METRICS, cost_at

CHUNK = 4_000_000  # numbers held at a time


@dataclass(frozen=True)
class Comparison:
    """Figures of challenger and champion and the intervals of their differences (challenger minus champion)."""

    challenger: dict[str, float]
    champion: dict[str, float]
    difference: dict[str, float]
    interval: dict[str, tuple[float, float]]
    challenger_interval: dict[str, tuple[float, float]]

    def table(self, first: str) -> list[dict[str, Any]]:
        """One dict per figure, `first` on top: metric, champion, challenger, difference, low, high, challenger_low/high."""
        names = sorted(self.challenger, key=lambda name: (name != first, name))
        rows: list[dict[str, Any]] = []
        for name in names:
            low, high = self.interval.get(name, (None, None))
            own_low, own_high = self.challenger_interval[name]
            row = {"metric": name, "champion": self.champion.get(name), "challenger": self.challenger[name]}
            row |= {"difference": self.difference.get(name), "low": low, "high": high}
            rows.append({**row, "challenger_low": own_low, "challenger_high": own_high})
        return rows


def compare(
    y: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray | None = None,
    *,
    thresholds: Mapping[str, float | np.ndarray] | None = None,
    loss: np.ndarray | None = None,
    review: float = 0.0,
    resamples: int = 500,
    confidence: float = 0.9,
    seed: int = 7,
) -> Comparison:
    """Compare two scores, or describe one.

    Args:
        y: shape (n,), 0 or 1, both present.
        challenger, champion: finite scores of shape (n,).
        thresholds: alert threshold by `challenger` and `champion`, or one for each row, shape (n,); adds the figure `cost`.
        loss: shape (n,), currency units lost when a positive row is missed; needed with thresholds.
        review: currency units for one alert.
        confidence: level of the two-sided percentile interval.
    """
    models = {"challenger": challenger} | ({} if champion is None else {"champion": champion})
    places = {name: _Places(y, score) for name, score in models.items()}
    figures = {name: {metric: f(y, score) for metric, f in METRICS.items()} for name, score in models.items()}
    flags = {name: models[name] >= threshold for name, threshold in (thresholds or {}).items() if name in models}
    for name in flags:
        assert loss is not None
        figures[name]["cost"] = cost_at(y, models[name], loss, review, (thresholds or {})[name]).total
    draws = _draw(y, places, flags, loss, review, resamples, np.random.default_rng(seed))
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(values: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(values, edges)
        return float(low), float(high)

    own = {metric: interval(values) for metric, values in draws["challenger"].items()}
    if champion is None:
        return Comparison(figures["challenger"], {}, {}, {}, own)
    new, old = figures["challenger"], figures["champion"]
    between = {metric: interval(draws["challenger"][metric] - draws["champion"][metric]) for metric in new}
    return Comparison(new, old, {metric: new[metric] - old[metric] for metric in new}, between, own)


class _Places:
    """Where each row lies among the distinct scores of the positives, highest first.

    A positive of the k-th highest distinct score has place k; a negative has place 2k if it ties with that score,
    2k - 1 if it lies above it (and below the one before).
    """

    def __init__(self, y: np.ndarray, score: np.ndarray) -> None:
        levels, self.positive = np.unique(-score[y == 1], return_inverse=True)
        negative = -score[y == 0]
        at = np.searchsorted(levels, negative, side="left")
        tie = (at < len(levels)) & (levels[np.minimum(at, len(levels) - 1)] == negative)
        self.negative = 2 * at + tie  # 0: above all; 2k+1: ties with level k; 2k+2: just below level k
        self.levels = len(levels)


def _draw(
    y: np.ndarray, places: dict[str, _Places], flags: dict[str, np.ndarray], loss: np.ndarray | None, review: float,
    resamples: int, rng: np.random.Generator,
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    """Figures of every resample: model -> figure -> shape (resamples,)."""
    names = list(places)
    positives = int(y.sum())
    alerts = [flags[name][y == 0] for name in names if name in flags]
    keys = np.column_stack([places[name].negative for name in names] + alerts)
    cells, counts = np.unique(keys, axis=0, return_counts=True)
    prices = {}
    for name in flags:
        assert loss is not None
        prices[name] = np.where(flags[name][y == 1], review, loss[y == 1])
    widest = max(len(cells), positives, 2 * max(place.levels for place in places.values()) + 1)
    step = max(1, CHUNK // widest)
    parts: list[dict[str, dict[str, np.ndarray]]] = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        wins = _resample(rng, np.ones(positives, dtype=np.int64), size)
        others = _resample(rng, counts, size)
        part: dict[str, dict[str, np.ndarray]] = {}
        for column, name in enumerate(names):
            part[name] = _rank_figures(places[name], cells[:, column], wins, others)
            if name in flags:
                alerted = cells[:, len(names) + [n for n in names if n in flags].index(name)]
                part[name]["cost"] = wins @ prices[name] + review * (others @ alerted)
        parts.append(part)
    return {
        name: {figure: np.concatenate([part[name][figure] for part in parts]) for figure in parts[0][name]}
        for name in names
    }


def _resample(rng: np.random.Generator, counts: np.ndarray, size: int) -> np.ndarray:
    """Multinomial resamples of `counts` (shape (k,)): shape (size, k), each row adding up to counts.sum()."""
    total, k = int(counts.sum()), len(counts)
    if k * 10 < total:
        return rng.multinomial(total, counts / total, size=size)
    # many cells: drawing row by row is faster than a binomial per cell
    owner = np.repeat(np.arange(k), counts)
    drawn = owner[rng.integers(0, total, size=(size, total), dtype=np.int32)]
    drawn += (np.arange(size) * k)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * k).reshape(size, k)


def _rank_figures(place: _Places, cell: np.ndarray, wins: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision and ROC AUC of each resample from counts of positives and negative cells."""
    size = len(wins)
    won = _sum_by(place.positive, wins, place.levels)  # (size, levels)
    lost = _sum_by(cell, others, 2 * place.levels + 1)  # (size, 2 * levels + 1)
    found = np.cumsum(won, axis=1)
    false = np.cumsum(lost, axis=1)
    total, negatives = found[:, -1], others.sum(axis=1)
    alarms = false[:, 1::2]  # negatives at or above each level
    ties = lost[:, 1::2]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found + alarms > 0, found / (found + alarms), 0.0)
    average = (won * precision).sum(axis=1) / total
    beaten = negatives[:, None] - alarms + 0.5 * ties
    auc = (won * beaten).sum(axis=1) / (total * negatives)
    assert average.shape == (size,)
    return {"average_precision": average, "roc_auc": auc}


def _sum_by(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """Add up columns of `values` (size, k) that share a group: shape (size, groups)."""
    size, k = values.shape
    index = (np.arange(size) * groups)[:, None] + group[None, :k]
    return np.bincount(index.ravel(), weights=values.ravel(), minlength=size * groups).reshape(size, groups)
