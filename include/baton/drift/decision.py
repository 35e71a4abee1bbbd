"""The drift decision: whether judged windows make retraining due, and if not, why not. Pure; in partition (data) time.

The order of the questions is the design:

1. Does this window count at all? Quarantined (broken) and tiny windows never do.
2. Do features, the prediction or the labelled performance move *persistently*: in `k` of the last `n` windows
   that count and were judged against this champion? One window is a warning.
3. Does the model hold although features moved? `k` labelled windows conclusively within `max_drop` say so.
4. Was there a retraining within the cool-down, or is the budget used up? Both run on partition time, so a
   replay of last week decides as last week did.
5. Are there enough truths (labelled positives, known periods) since the drift began? Retraining without them would
   reproduce the old model.

Windows judged against an earlier champion never count: what moved for it may be ordinary for its successor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from itertools import takewhile
from typing import Any

from baton.drift.performance import Performance
from baton.errors import BatonError
from baton.specs.base import format_duration, parse_duration


class MonitorVerdict(StrEnum):
    """What the monitor says about a model at a partition."""

    STABLE = "STABLE"  # nothing moved
    WARN = "WARN"  # something moved, not persistently
    DRIFT = "DRIFT"  # persistent, retraining not due: the model holds, or the budget is used up
    RETRAIN = "RETRAIN"  # wake training
    COOLDOWN = "COOLDOWN"  # persistent, retraining was requested a short while ago
    WAITING_FOR_LABELS = "WAITING_FOR_LABELS"  # persistent, too few labelled positives since
    TOO_FEW = "TOO_FEW"  # the window does not count: too few rows, broken or no data


CONCLUSIVE = ("dropped", "held", "open")  # a window's labelled result that was measured


@dataclass(frozen=True)
class Window:
    """One partition as judged.

    Attributes:
        version: the champion's version that it was judged against.
        status: judged | too_few | pending (its truth is not known yet) | broken (in quarantine) | missing.
        drifted: names of its drifted features.
        truths: what is known of it and counts for a retraining: labelled positives, known periods.
        performance: None while nothing of it is labelled.
    """

    partition: str
    version: int | None = None
    status: str = "judged"
    drifted: tuple[str, ...] = ()
    rows: int = 0
    truths: int = 0
    performance: Performance | None = None


def window_from(row: Mapping[str, Any]) -> Window:
    """A `Window` from plain JSON, as `dataclasses.asdict` gives it."""
    measured = row.get("performance")
    made = Performance(**measured) if measured else None
    return Window(**{**row, "drifted": tuple(row.get("drifted") or ()), "performance": made})


@dataclass(frozen=True)
class DriftVerdict:
    """The decision at a partition.

    Attributes:
        features: what moved persistently (for WARN: in this window).
        onset: partition since which it moves; `truths`: known truths since then.
    """

    verdict: MonitorVerdict
    reasons: list[str]
    features: list[str]
    partition: str
    onset: str | None = None
    truths: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "verdict": self.verdict.value}


def judgeable(arrived: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The expected partitions, in order, before the first that has not arrived."""
    have = set(arrived)
    return list(takewhile(have.__contains__, sorted(expected)))


def decide(windows: Sequence[Window], spec: Any, *, now: str, retrains: Sequence[str] = ()) -> DriftVerdict:
    """Decide at partition `now`; the module's text has the order of the questions.

    Args:
        windows: judged windows in any order; of several for one partition the last in the sequence counts (a
            superseded partition is judged again). Later ones than `now` are left out.
        spec: the spec's `drift` block: persistence (k, n), cooldown, budget, needed (truths).
        now: partition to decide at; it must be among the windows.
        retrains: partitions at which retraining of this model was requested.

    Raises:
        BatonError: `now` is not among the windows.
    """
    latest = {window.partition: window for window in windows if window.partition <= now}
    if now not in latest:
        raise BatonError(f"drift: no window for partition {now}; judge it before deciding")
    current = latest[now]
    if current.status != "judged":
        return DriftVerdict(MonitorVerdict.TOO_FEW, [_uncounted(current)], [], now)
    ordered = [latest[partition] for partition in sorted(latest)]
    counting = [w for w in ordered if w.status == "judged" and w.version == current.version]
    k, n = spec.persistence.k, spec.persistence.n
    features, onset = _persistent(counting, k, n)
    lost = _lost(counting, k, n)
    if not features and not lost:
        return _calm(counting, now)
    since = min([*([onset] if onset else []), *lost])
    truths = sum(w.truths for w in ordered if w.partition >= since)
    reasons = []
    if features:
        reasons.append(f"drifted in at least {k} of {n} windows, since {onset}: {', '.join(features)}")
    if lost:
        reasons.append(f"labelled performance fell in at least {k} of {n} windows: {', '.join(lost)}")
    verdict, reason = _due(counting, spec, now, retrains, since, truths, bool(lost))
    return DriftVerdict(verdict, [*reasons, reason], features, now, since, truths)


def far_enough(verdict: DriftVerdict, windows: Sequence[Window], spec: Any, edge: str) -> bool:
    """Whether no window from before `edge`, since which all are among the windows, could put the onset further back."""
    if verdict.onset is None:
        return True
    k, n = spec.persistence.k, spec.persistence.n
    version = next(w.version for w in windows if w.partition == verdict.partition)
    quiet = [
        w for w in windows if w.status == "judged" and w.version == version and edge <= w.partition < verdict.onset
    ]
    return verdict.onset >= edge and len(quiet) > n - k


def _uncounted(window: Window) -> str:
    reasons = {"broken": "its data are in quarantine: broken data is no drift", "missing": "it has no data"}
    return reasons.get(window.status, f"{window.rows} rows are too few to judge")


def _persistent(counting: Sequence[Window], k: int, n: int) -> tuple[list[str], str | None]:
    """Features of the newest window that drifted in k of the last n, and the start of that streak."""
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


def _lost(counting: Sequence[Window], k: int, n: int) -> list[str]:
    """Partitions with a conclusive loss, if k of the last n measured ones (labels lag) have it."""
    measured = [(w.partition, w.performance.status) for w in counting if w.performance is not None]
    measured = [(p, status) for p, status in measured if status in CONCLUSIVE][-n:]
    lost = [partition for partition, status in measured if status == "dropped"]
    return lost if len(lost) >= k else []


def _calm(counting: Sequence[Window], now: str) -> DriftVerdict:
    """Nothing persistent: WARN if something moved at all."""
    moved = list(counting[-1].drifted)
    if moved:
        reason = f"moved in this window, not persistently: {', '.join(moved)}"
        return DriftVerdict(MonitorVerdict.WARN, [reason], moved, now)
    if _lost(counting, 1, 1):
        return DriftVerdict(MonitorVerdict.WARN, ["labelled performance fell, not persistently"], [], now)
    return DriftVerdict(MonitorVerdict.STABLE, ["nothing moves persistently"], [], now)


def _due(
    counting: Sequence[Window], spec: Any, now: str, retrains: Sequence[str], since: str, truths: int, lost: bool
) -> tuple[MonitorVerdict, str]:
    """The verdict once something moved persistently, with its reason."""
    states = [w.performance.status for w in counting if w.performance is not None and w.partition >= since]
    if not lost and states.count("held") >= spec.persistence.k and "dropped" not in states:
        return MonitorVerdict.DRIFT, "the model holds on the windows labelled since then: retraining is not due"
    at = datetime.fromisoformat(now)
    ago = {r: at - datetime.fromisoformat(r) for r in retrains}  # negative: requested with newer data than `now`
    cooldown, per = parse_duration(spec.cooldown), parse_duration(spec.budget.per)
    near = [r for r, span in ago.items() if span < cooldown]
    if near:
        pause = f"the cool-down is {format_duration(cooldown)} of data time"
        return MonitorVerdict.COOLDOWN, f"retraining was requested at {max(near)}; {pause}"
    if sum(span < per for span in ago.values()) >= spec.budget.retrains:
        budget = f"{spec.budget.retrains} retrainings per {format_duration(per)}"
        return MonitorVerdict.DRIFT, f"the budget of {budget} is used up: a person must look"
    needed, what = spec.needed
    if truths < needed:
        return MonitorVerdict.WAITING_FOR_LABELS, (
            f"{truths} {what} since {since}, {needed} needed: "
            "retraining without knowing the new situation would reproduce the old model"
        )
    return MonitorVerdict.RETRAIN, f"{truths} {what} since {since}: retrain"
