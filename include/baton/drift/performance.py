"""Delayed-label performance: what the champion's scores were worth, once the truth is known."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from baton.errors import BatonError

COVERAGE = 0.8  # share of a window's rows that must be labelled

BINS = 10  # of a calibration

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Performance:
    """The metric on a window's labelled rows, with the champion's value at its promotion (`reference`).

    Attributes:
        status: dropped | held | open (the interval does not decide) | too_few (positives, or no negatives) |
            partial (too few rows labelled).
        low, high: bootstrap interval; None, like `value`, where nothing was measured.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    reference: float
    positives: int
    rows: int
    status: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def calibration(said: Any, true: Any) -> list[list[float]]:
    """What was said beside what came true, in ten bins of equal width; bins without a known truth are left out.

    Args:
        said: (n,) probabilities, 0..1.
        true: (n,) what came true, 0 or 1; NaN or null where it is not known yet.

    Returns:
        per bin: its lower end, sum of what was said, sum of what came true, rows; sums, so that windows can be added up.
    """
    chances, truths = np.asarray(said, dtype=float), np.asarray(true, dtype=float)
    known = np.isfinite(chances) & np.isfinite(truths)
    chances, truths = chances[known], truths[known]
    at = np.clip((chances * BINS).astype(int), 0, BINS - 1)
    sums = [np.bincount(at, weights=weights, minlength=BINS) for weights in (chances, truths, np.ones(len(at)))]
    bins = zip(range(BINS), *sums, strict=True)
    return [[lower / BINS, float(total), float(came), float(rows)] for lower, total, came, rows in bins if rows]


def performance(
    y: Any,
    score: Any,
    reference: float,
    spec: Any,
    *,
    of: int | None = None,
    confidence: float = 0.9,
    resamples: int = 400,
    seed: int = 7,
) -> Performance:
    """Metric of labelled rows against the champion's reference, with a stratified bootstrap interval.

    Args:
        y: (n,) labels 0/1, all rows of the window; NaN or null where the truth is not known yet.
        score: (n,) the champion's scores.
        reference: the champion's metric at its promotion.
        of: rows of the window, where those without a truth are left out of `y`; None: all are in it.
        spec: `metric` (average_precision | roc_auc), `max_drop`, `min_positives`.
        confidence: level of the interval; `resamples`, `seed`: of the bootstrap.

    Returns:
        `dropped` if even the upper end of the interval is below `reference - max_drop`, `held` if even the
        lower end is not. A window of which less than 80 % is labelled is `partial`: labels that only analysts
        gave are labels of alerts, chosen by the model itself, and would flatter it.

    Raises:
        BatonError: an unknown metric.

    Resampling needs no pass over the negatives: only how many of them lie between the positives' scores
    matters, and these counts are multinomial. The cost is resamples x distinct scores of positives.
    """
    metric = _METRICS.get(spec.metric)
    if metric is None:
        raise BatonError(f"drift performance: metric {spec.metric!r} is not one of {sorted(_METRICS)}")
    labels, scores = np.asarray(y, dtype=float), np.asarray(score, dtype=float)
    known = ~np.isnan(labels) & ~np.isnan(scores)
    positive, negative = scores[known & (labels == 1)], -np.sort(-scores[known & (labels == 0)])
    rows = int(known.sum())
    if len(positive) < max(spec.min_positives, 1) or not len(negative):
        return Performance(spec.metric, None, None, None, reference, len(positive), rows, "too_few")
    if rows < COVERAGE * (len(labels) if of is None else of):
        return Performance(spec.metric, None, None, None, reference, len(positive), rows, "partial")
    levels, hits = np.unique(-positive, return_counts=True)  # best score first
    above, upto = (np.searchsorted(-negative, levels, side=side) for side in ("left", "right"))
    cells = np.diff(np.stack([above, upto], axis=1).ravel(), prepend=0, append=len(negative))
    rng = np.random.default_rng(seed)
    p, q = hits / hits.sum(), cells / cells.sum()
    draws = [metric(rng.multinomial(len(positive), p), rng.multinomial(len(negative), q)) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    bound = reference - spec.max_drop
    status = "dropped" if high < bound else "held" if low >= bound else "open"
    value = metric(hits, cells)
    return Performance(spec.metric, value, float(low), float(high), reference, len(positive), rows, status)


def _average_precision(hits: Array, cells: Array) -> float:
    """AP from counts.

    Args:
        hits: (G,) positives per distinct score of a positive, best first.
        cells: (2 G + 1,) negatives above the first score, equal to it, above the second, ..., below the last.
    """
    found, false = np.cumsum(hits), np.cumsum(cells)[1::2]
    return float(np.sum(hits * found / np.maximum(found + false, 1)) / hits.sum())


def _roc_auc(hits: Array, cells: Array) -> float:
    """ROC AUC from the same counts; ties count half."""
    false = np.cumsum(cells)
    below = false[-1] - false[1::2] + 0.5 * cells[1::2]
    return float(hits @ below / (hits.sum() * false[-1]))


_METRICS = {"average_precision": _average_precision, "roc_auc": _roc_auc}
