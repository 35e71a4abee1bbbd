"""From judged windows to a decision: is retraining due, and if not, why not. Pure; time is partition (data) time.

The order of the questions is the design:

1. Does this window count at all? Quarantined (broken) and tiny windows never do.
2. Do features, the prediction or the labelled performance move *persistently*: in `k` of the last `n` counting windows
   judged against this champion? One window is a warning.
3. Does the model hold although features moved? Labelled windows that are conclusively within `max_drop` say so: no
   retraining.
4. Was there a retraining within the cool-down, or is the budget used up? Both run on partition time, so a replay of last
   week decides as last week did.
5. Are there enough labelled positives since the drift began? Retraining without them would reproduce the old model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from baton.errors import BatonError
from baton.specs_base import format_duration, parse_duration

Array = np.ndarray[Any, np.dtype[Any]]


class Verdict(StrEnum):
    """What the monitor says about a model at a partition."""

    STABLE = "STABLE"  # nothing moved
    WARN = "WARN"  # something moved, not persistently
    DRIFT = "DRIFT"  # moved persistently, retraining not due (the model holds, or the budget is used up)
    RETRAIN = "RETRAIN"  # wake training
    COOLDOWN = "COOLDOWN"  # moved persistently, retrained a short while ago
    WAITING_FOR_LABELS = "WAITING_FOR_LABELS"  # moved persistently, too few labelled positives since
    WAITING_FOR_EARLIER = "WAITING_FOR_EARLIER"  # an earlier window is neither in nor declared missing
    TOO_FEW = "TOO_FEW"  # the window does not count: too few rows, or broken data


@dataclass(frozen=True)
class Performance:
    """Metric on labelled rows of a window. `status`: dropped | held | open (interval undecided) | too_few."""

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


@dataclass(frozen=True)
class Window:
    """One judged partition. `status`: judged | too_few | broken (quarantined) | missing. `version`: the champion's."""

    partition: str
    version: int | None = None
    status: str = "judged"
    drifted: tuple[str, ...] = ()
    rows: int = 0
    positives: int = 0
    performance: Performance | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, for the warehouse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Window:
        """The inverse of `to_dict`."""
        measured = data.get("performance")
        made = Performance(**measured) if measured else None
        return cls(**{**data, "drifted": tuple(data.get("drifted") or ()), "performance": made})


@dataclass(frozen=True)
class DriftVerdict:
    """The decision at a partition. `features` moved persistently (or, for WARN, in this window); `onset`: since when."""

    verdict: Verdict
    reasons: list[str]
    features: list[str]
    partition: str
    onset: str | None = None
    positives: int = 0

    @property
    def retrain(self) -> bool:
        """True if training is to be woken."""
        return self.verdict is Verdict.RETRAIN

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "verdict": self.verdict.value}


def judgeable(arrived: Iterable[str], missing: Iterable[str], expected: Sequence[str]) -> list[str]:
    """Partitions that may be judged: those arrived, in order, before the first expected one that is neither in nor declared missing."""
    have, gone, result = set(arrived), set(missing), []
    for partition in sorted(expected):
        if partition in have:
            result.append(partition)
        elif partition not in gone:
            break
    return result


def performance(
    y: Any,
    score: Any,
    reference: float,
    spec: Any,
    *,
    confidence: float = 0.9,
    resamples: int = 400,
    seed: int = 7,
) -> Performance:
    """Metric of labelled rows against the champion's reference, with a stratified bootstrap interval.

    Args:
        y: (n,) labels 0/1; NaN or null where the label is not known yet, such rows are left out.
        score: (n,) the champion's scores.
        reference: the champion's metric at its promotion.
        spec: `metric` (average_precision | roc_auc), `max_drop`, `min_positives`.

    Returns:
        `dropped` if even the upper end of the interval is below `reference - max_drop`, `held` if even the lower end is
        not, `open` otherwise, `too_few` with less than `min_positives` positives (or no negatives).

    Resampling needs no pass over the negatives: only how many of them fall between the positives' scores matters, and those
    counts are multinomial. Cost: resamples x distinct positive scores.
    """
    labels = np.asarray(y, dtype=float)
    scores = np.asarray(score, dtype=float)
    known = ~np.isnan(labels) & ~np.isnan(scores)
    labels, scores = labels[known], scores[known]
    positive, negative = scores[labels == 1], scores[labels == 0]
    if len(positive) < max(spec.min_positives, 1) or not len(negative):
        return Performance(spec.metric, None, None, None, reference, len(positive), len(scores), "too_few")
    levels, counts = np.unique(-positive, return_counts=True)  # best score first
    above = np.searchsorted(np.sort(-negative), levels, side="left")  # negatives strictly above each level
    upto = np.searchsorted(np.sort(-negative), levels, side="right")
    cells = np.diff(np.stack([above, upto], axis=1).ravel(), prepend=0, append=len(negative))
    metric = _METRICS.get(spec.metric)
    if metric is None:
        raise BatonError(f"drift performance: metric {spec.metric!r} is not one of {sorted(_METRICS)}")
    rng = np.random.default_rng(seed)
    p, q = counts / counts.sum(), cells / cells.sum()
    draws = [metric(rng.multinomial(len(positive), p), rng.multinomial(len(negative), q)) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    bound = reference - spec.max_drop
    status = "dropped" if high < bound else "held" if low >= bound else "open"
    value = metric(counts, cells)
    return Performance(spec.metric, value, float(low), float(high), reference, len(positive), len(scores), status)


def _average_precision(positives: Array, negatives: Array) -> float:
    """AP from counts: positives per level (G,), negatives per cell (2 G + 1,): above, equal, above, equal, ..., below."""
    hits = np.cumsum(positives)
    false = np.cumsum(negatives)[1::2]
    return float(np.sum(positives * hits / np.maximum(hits + false, 1)) / positives.sum())


def _roc_auc(positives: Array, negatives: Array) -> float:
    """ROC AUC from the same counts; ties count half."""
    false = np.cumsum(negatives)
    below = false[-1] - false[1::2] + 0.5 * negatives[1::2]
    return float(positives @ below / (positives.sum() * false[-1]))


_METRICS = {"average_precision": _average_precision, "roc_auc": _roc_auc}


def decide(
    windows: Sequence[Window],
    spec: Any,
    *,
    now: str,
    retrains: Sequence[str] = (),
    expected: Sequence[str] | None = None,
) -> DriftVerdict:
    """Decide at partition `now`; see the module's text for the order of the questions.

    Args:
        windows: judged windows in any order; of several for one partition the last in the sequence counts (a superseded
            partition is judged again). Later ones than `now` do not count.
        spec: the spec's `drift` block: persistence (k, n), cooldown, budget (retrains, per), min_labelled_positives.
        now: partition to decide at; it must be among the windows.
        retrains: partitions at which this model's retraining was requested.
        expected: all partitions up to `now` that must be in or declared missing first; None: no such check.

    Raises:
        BatonError: `now` is not among the windows.
    """
    latest = {window.partition: window for window in windows if window.partition <= now}
    if now not in latest:
        raise BatonError(f"drift: no window for partition {now}; judge it before deciding")
    current = latest[now]
    ordered = [latest[partition] for partition in sorted(latest)]
    if expected is not None:
        absent = sorted(partition for partition in expected if partition < now and partition not in latest)
        if absent:
            return DriftVerdict(
                Verdict.WAITING_FOR_EARLIER, [f"{len(absent)} earlier partition(s) not in, first {absent[0]}"], [], now
            )
    if current.status != "judged":
        why = {"broken": "its data are in quarantine: broken data is no drift", "missing": "it has no data"}
        return DriftVerdict(Verdict.TOO_FEW, [why.get(current.status, f"only {current.rows} rows: not judged")], [], now)
    counting = [w for w in ordered if w.status == "judged" and w.version == current.version]
    features, onset = _persistent(counting, spec.persistence.k, spec.persistence.n)
    dropped = _dropped(counting, spec.persistence.k, spec.persistence.n)
    if not features and not dropped:
        return _calm(current, counting, now)
    onset = min([*([onset] if onset else []), *dropped])
    positives = sum(w.positives for w in ordered if w.partition >= onset)
    reasons = _evidence(features, dropped, onset, spec)
    verdict, reason = _due(counting, spec, now, retrains, onset, positives, bool(dropped))
    return DriftVerdict(verdict, [*reasons, reason], features, now, onset, positives)


def _persistent(counting: Sequence[Window], k: int, n: int) -> tuple[list[str], str | None]:
    """Features of the newest window that drifted in k of the last n counting windows, and the earliest onset."""
    recent = counting[-n:]
    features = [f for f in recent[-1].drifted if sum(f in w.drifted for w in recent) >= k]
    onsets = []
    for feature in features:
        quiet, onset = 0, counting[-1].partition
        for window in reversed(counting):
            quiet = 0 if feature in window.drifted else quiet + 1
            if quiet > n - k:
                break
            if not quiet:
                onset = window.partition
        onsets.append(onset)
    return features, min(onsets, default=None)


def _dropped(counting: Sequence[Window], k: int, n: int) -> list[str]:
    """Partitions with a conclusive loss, if k of the last n labelled windows have one; labels lag, so these are older windows."""
    labelled = [w for w in counting if w.performance is not None and w.performance.status != "too_few"][-n:]
    lost = [w.partition for w in labelled if w.performance is not None and w.performance.status == "dropped"]
    return lost if len(lost) >= k else []


def _calm(current: Window, counting: Sequence[Window], now: str) -> DriftVerdict:
    if current.drifted:
        moved = ", ".join(current.drifted)
        return DriftVerdict(Verdict.WARN, [f"moved in this window, not persistently: {moved}"], list(current.drifted), now)
    if any(w.performance is not None and w.performance.status == "dropped" for w in counting[-1:]):
        return DriftVerdict(Verdict.WARN, ["labelled performance fell in this window, not persistently"], [], now)
    return DriftVerdict(Verdict.STABLE, ["no persistent movement"], [], now)


def _evidence(features: Sequence[str], dropped: Sequence[str], onset: str, spec: Any) -> list[str]:
    reasons = []
    rule = f"in at least {spec.persistence.k} of {spec.persistence.n} windows"
    if features:
        reasons.append(f"drifted {rule}, since {onset}: {', '.join(features)}")
    if dropped:
        reasons.append(f"labelled performance fell {rule}: {', '.join(dropped)}")
    return reasons


def _due(
    counting: Sequence[Window],
    spec: Any,
    now: str,
    retrains: Sequence[str],
    onset: str,
    positives: int,
    lost: bool,
) -> tuple[Verdict, str]:
    """The verdict once something moved persistently, with its reason."""
    since = [w.performance.status for w in counting if w.performance is not None and w.partition >= onset]
    if not lost and since.count("held") >= spec.persistence.k and "dropped" not in since:
        return Verdict.DRIFT, "the model holds on the labelled windows since then: retraining is not due"
    at, cooldown = datetime.fromisoformat(now), parse_duration(spec.cooldown)
    near = [r for r in retrains if at - datetime.fromisoformat(r) < cooldown]  # one after `now` knows more than we do here
    if near:
        return Verdict.COOLDOWN, f"retraining was requested at {max(near)}; the cool-down is {format_duration(cooldown)} of data time"
    per = parse_duration(spec.budget.per)
    used = [r for r in retrains if at - datetime.fromisoformat(r) < per]
    if len(used) >= spec.budget.retrains:
        return Verdict.DRIFT, f"the budget of {spec.budget.retrains} retrainings per {format_duration(per)} is used up: a person must look"
    if positives < spec.min_labelled_positives:
        return Verdict.WAITING_FOR_LABELS, (
            f"{positives} labelled positives since {onset}, {spec.min_labelled_positives} needed: "
            "retraining without labels of the new situation would reproduce the old model"
        )
    return Verdict.RETRAIN, f"{positives} labelled positives since {onset}: retrain"
