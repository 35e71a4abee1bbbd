"""The promotion decision: pure, from labels and two sets of scores to PROMOTE, HOLD or MORE_DATA with reasons.

Rules, in this order (the first that applies decides; the table is filled as far as possible):

1. A challenger whose scores are not finite or all equal is held; so is one whose champion's scores are not finite.
2. Fewer than `min_positives` positives (or no negatives) in the holdout: MORE_DATA.
3. The challenger's metric must reach `floor`.
4. Money: at its cost-optimal threshold the challenger must not cost more than the champion; a first version
   must cost less than the two policies that need no model (alert nobody, alert everybody).
5. A champion's slice with enough positives must not lose more than `slice_floor`, unless the loss is within noise.
6. The gain in the metric: PROMOTE when the lower end of the paired bootstrap interval reaches `min_gain` and the
   gain is above zero; MORE_DATA when the challenger looks better but the interval does not show it; else HOLD.

A tie keeps the champion: replacing a model has a price that no table shows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from baton.errors import BatonError
from baton.families.tabular.bootstrap import Comparison, compare
from baton.families.tabular.metrics import METRICS, cheapest, cost_at, losses

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs.policy import GateSpec

Decision = Literal["PROMOTE", "HOLD", "MORE_DATA"]
SLICE_POSITIVES = 10  # fewer positives say nothing about a slice; it is listed, not judged


@dataclass(frozen=True)
class Tuning:
    """Labelled rows other than the judged ones, on which each model's alert threshold is chosen.

    Attributes:
        y: shape (m,), 0 or 1.
        challenger, champion: scores of shape (m,); champion None for a first version.
        money: shape (m,), amounts in currency units, or None.
    """

    y: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray | None = None
    money: np.ndarray | None = None


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says.

    Attributes:
        decision: PROMOTE | HOLD | MORE_DATA.
        reasons: plain sentences with numbers; the first is the one that decided.
        table: one dict per figure: metric, champion, challenger, difference, low, high (interval of the difference,
            None where there is none).
        metric: name of the metric that decides.
        rows, positives: size of the judged holdout.
        thresholds: cost-optimal alert thresholds by `champion` and `challenger`; empty without a price.
        cost: money figures of both, empty without a price.
        slices: one dict per slice: slice, positives, champion, challenger, difference, low, high, judged.
    """

    decision: Decision
    reasons: list[str]
    table: list[dict[str, Any]] = field(default_factory=list)
    metric: str = ""
    rows: int = 0
    positives: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    slices: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an infinite threshold (alert nobody) is written as null."""
        document = asdict(self)
        document["thresholds"] = {k: v if np.isfinite(v) else None for k, v in self.thresholds.items()}
        return document


def decide(
    spec: GateSpec,
    y: np.ndarray,
    champion: np.ndarray | None,
    challenger: np.ndarray,
    money: np.ndarray | None = None,
    slices: pd.DataFrame | None = None,
    *,
    tuning: Tuning | None = None,
    seed: int = 7,
) -> GateVerdict:
    """Judge a challenger on a holdout that neither model has seen.

    Args:
        y: shape (n,), 0 or 1.
        champion: scores of shape (n,), or None when there is no champion yet.
        challenger: scores of shape (n,), higher is more suspicious.
        money: shape (n,), amounts in currency units, needed if the cost is a column.
        slices: n rows with the columns that the spec's slices name, needed if it names any.
        tuning: rows to choose thresholds on; None chooses them on the judged rows, and a reason says so.
        seed: of the bootstrap.

    Raises:
        BatonError: shapes do not fit, labels are not 0 or 1, or a needed column is absent.
    """
    labels = _checked(y, champion, challenger)
    judge = _Judge(spec, labels, champion, challenger, money, slices, tuning, seed)
    return judge.verdict()


def _checked(y: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray) -> np.ndarray:
    labels = np.asarray(y)
    for name, scores in (("champion", champion), ("challenger", challenger)):
        if scores is not None and np.shape(scores) != labels.shape:
            raise BatonError(f"gate: {np.shape(scores)} {name} scores for labels of shape {labels.shape}")
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise BatonError("gate: labels must be one row of 0 and 1; unlabelled rows do not belong into the holdout")
    return labels.astype(np.int64)


def _unusable(scores: np.ndarray) -> str | None:
    values = np.asarray(scores, dtype=float)
    broken = int((~np.isfinite(values)).sum())
    if broken:
        return f"{broken} of {len(values)} scores are not finite numbers"
    if len(values) and values.min() == values.max():
        return f"all {len(values)} scores equal {values[0]:.4g}"
    return None


class _Judge:
    """One pass over the rules; kept as an object so that the table survives an early decision."""

    def __init__(
        self, spec: GateSpec, y: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray,
        money: np.ndarray | None, slices: pd.DataFrame | None, tuning: Tuning | None, seed: int,
    ) -> None:  # fmt: skip
        self.spec, self.y, self.slices, self.tuning, self.seed = spec, y, slices, tuning, seed
        self.champion = None if champion is None else np.asarray(champion, dtype=float)
        self.challenger = np.asarray(challenger, dtype=float)
        self.money = money
        self.notes: list[str] = []
        self.table: list[dict[str, Any]] = []
        self.slice_table: list[dict[str, Any]] = []
        self.thresholds: dict[str, float] = {}
        self.cost: dict[str, Any] = {}

    def verdict(self) -> GateVerdict:
        decision, reason = self._decide()
        return GateVerdict(
            decision, [reason, *self.notes], self.table, self.spec.metric, len(self.y), int(self.y.sum()),
            self.thresholds, self.cost, self.slice_table,
        )  # fmt: skip

    def _decide(self) -> tuple[Decision, str]:
        spec, positives = self.spec, int(self.y.sum())
        if reason := _unusable(self.challenger):
            return "HOLD", f"The challenger cannot be judged: {reason}."
        if positives < spec.min_positives or positives == len(self.y):
            return "MORE_DATA", (
                f"The holdout of {len(self.y)} rows holds {positives} positives and {len(self.y) - positives} negatives; "
                f"{spec.min_positives} positives and at least one negative are needed to judge."
            )
        if self.champion is not None and not np.isfinite(self.champion).all():
            broken = int((~np.isfinite(self.champion)).sum())
            return "HOLD", (
                f"The champion cannot be compared with: {broken} of {len(self.y)} scores are not finite numbers; "
                "find the cause first, the challenger may share it."
            )
        found = self._compare()
        for rule in (self._floor, self._money, self._slices):
            if held := rule(found):
                return "HOLD", held
        return self._gain(found)

    def _compare(self) -> Comparison:
        review, flags = 0.0, {}
        loss = None
        if self.spec.cost is not None:
            loss, review = losses(self.spec.cost, len(self.y), self.money), self.spec.cost.review
            flags = self._thresholds(loss, review)
        found = compare(
            self.y, self.challenger, self.champion, thresholds=flags, loss=loss, review=review,
            resamples=self.spec.resamples, confidence=self.spec.confidence, seed=self.seed,
        )  # fmt: skip
        self.table = found.table(first=self.spec.metric)
        return found

    def _thresholds(self, loss: np.ndarray, review: float) -> dict[str, float]:
        models = {"challenger": self.challenger} | ({} if self.champion is None else {"champion": self.champion})
        tuning = self.tuning
        if tuning is None:
            self.notes.append(
                "Alert thresholds were chosen on the judged rows themselves, so both costs are a little flattered."
            )
        for name, scores in models.items():
            elsewhere = None if tuning is None else getattr(tuning, name)
            if tuning is not None and (elsewhere is None or not np.sum(tuning.y)):
                raise BatonError(
                    f"gate: the tuning rows hold no {name} scores or no positives to choose a threshold by"
                )
            if tuning is None:
                best = cheapest(self.y, scores, loss, review)
            else:
                assert self.spec.cost is not None
                prices = losses(self.spec.cost, len(tuning.y), tuning.money)
                best = cheapest(np.asarray(tuning.y), np.asarray(elsewhere, dtype=float), prices, review)
            self.thresholds[name] = best.threshold
            self.cost[name] = asdict(cost_at(self.y, scores, loss, review, best.threshold))
            self.cost[name]["threshold"] = best.threshold if np.isfinite(best.threshold) else None
        self.cost["alert_nobody"] = float(loss[self.y == 1].sum())
        self.cost["alert_everybody"] = review * len(self.y)
        return self.thresholds

    def _floor(self, found: Comparison) -> str | None:
        value = found.challenger[self.spec.metric]
        if value < self.spec.floor:
            return f"The challenger's {_name(self.spec.metric)} of {value:.4f} is below the floor of {self.spec.floor:.4f}."
        return None

    def _money(self, found: Comparison) -> str | None:
        if not self.cost:
            return None
        price = self.cost["challenger"]["total"]
        if self.champion is None:
            policy, least = min((self.cost[key], key) for key in ("alert_nobody", "alert_everybody"))[::-1]
            if price >= least:
                return f"The challenger costs {price:.2f}, no less than needing no model at all ({policy.replace('_', ' ')}: {least:.2f})."
            self.notes.append(f"The challenger costs {price:.2f}; without a model the rows would cost {least:.2f}.")
            return None
        before = self.cost["champion"]["total"]
        low, high = found.interval["cost"]
        span = f"{self.spec.confidence:.0%} interval of the difference {low:+.2f} to {high:+.2f}"
        if price > before:
            return f"The challenger costs more: {price:.2f} against the champion's {before:.2f} ({span})."
        self.notes.append(f"The challenger costs {price:.2f}, the champion {before:.2f} ({span}).")
        return None

    def _slices(self, found: Comparison) -> str | None:
        held: list[str] = []
        for wanted in self.spec.slices:
            if self.slices is None or wanted.column not in self.slices.columns:
                raise BatonError(
                    f"gate: slice {wanted.name!r} needs the column {wanted.column!r}, which was not handed over"
                )
            values = self.slices[wanted.column].to_numpy(dtype=float)
            for low, high in zip(wanted.bins, wanted.bins[1:], strict=False):
                inside = (values >= low) & (values < high)
                if reason := self._slice(f"{wanted.name} {low:g} to {high:g}", inside):
                    held.append(reason)
        return " ".join(held) or None

    def _slice(self, name: str, inside: np.ndarray) -> str | None:
        y = self.y[inside]
        positives = int(y.sum())
        row: dict[str, Any] = {"slice": name, "rows": len(y), "positives": positives, "judged": False}
        self.slice_table.append(row)
        if positives < min(SLICE_POSITIVES, self.spec.min_positives) or positives == len(y):
            return None
        metric = self.spec.metric
        row["challenger"] = METRICS[metric](y, self.challenger[inside])
        if self.champion is None:
            return None
        found = compare(
            y, self.challenger[inside], self.champion[inside],
            resamples=self.spec.resamples, confidence=self.spec.confidence, seed=self.seed,
        )  # fmt: skip
        loss, (low, high) = -found.difference[metric], found.interval[metric]
        row |= {"champion": found.champion[metric], "difference": -loss, "low": low, "high": high, "judged": True}
        if loss <= self.spec.slice_floor:
            return None
        text = (
            f"In slice {name} ({positives} positives) the {_name(metric)} falls from {found.champion[metric]:.4f} to "
            f"{found.challenger[metric]:.4f}, more than the tolerated {self.spec.slice_floor:.4f}"
        )
        if high >= 0:
            self.notes.append(f"{text}; within noise (interval {low:+.4f} to {high:+.4f}).")
            return None
        return text + f" (interval {low:+.4f} to {high:+.4f})."

    def _gain(self, found: Comparison) -> tuple[Decision, str]:
        spec, name = self.spec, _name(self.spec.metric)
        value = found.challenger[spec.metric]
        if self.champion is None:
            return "PROMOTE", f"First version: its {name} of {value:.4f} reaches the floor of {spec.floor:.4f}."
        gain, (low, high) = found.difference[spec.metric], found.interval[spec.metric]
        text = (
            f"{name} {value:.4f} against the champion's {found.champion[spec.metric]:.4f}: difference {gain:+.4f}, "
            f"{spec.confidence:.0%} interval {low:+.4f} to {high:+.4f}"
        )
        if gain > 0 and low >= spec.min_gain:
            return "PROMOTE", f"The challenger is better: {text}."
        if gain > 0 and gain >= spec.min_gain:
            return "MORE_DATA", (
                f"The challenger looks better, but {int(self.y.sum())} positives do not show it: {text}; "
                f"the lower end must reach {spec.min_gain:+.4f}."
            )
        return "HOLD", f"The challenger is not better: {text}; a gain of {spec.min_gain:+.4f} is asked for."


def _name(metric: str) -> str:
    return {"average_precision": "average precision", "roc_auc": "ROC AUC"}[metric]
