"""The promotion decision for scores of table rows: pure, from labels and two sets of scores to a verdict with reasons.

The ladder is that of `baton.families.verdict`. Its cases are the holdout's rows, of which `min_positives` must be positive
and one negative; its bound is `floor`, its slices are ranges of a column. A challenger whose scores are all equal is
held, and so is one whose champion's scores are not finite.

Money: the challenger must not cost more than the champion; a first version must cost less than to alert nobody, or everybody.
Each row is decided by the cheapest threshold of *other* rows: ten parts, each by that of the nine others, dealt alike for both
models. One chosen on the rows that it is priced on finds luck even in noise, and makes the card fraud score look a third
cheaper than it is (3,205 for 100 held-out frauds instead of about 4,600). Out-of-fold scores of training would not do: a
champion's are of another day, perhaps of other prices, and not at hand when it is judged. `GateVerdict.thresholds` are the
cheapest of all judged rows, the ones to use.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.families.fairness import by_groups
from baton.families.tabular.bootstrap import compare
from baton.families.tabular.metrics import METRICS, cheapest, cost_at, losses, thresholds_elsewhere
from baton.families.verdict import GateRule, GateVerdict, Ladder, Ruling, Slice
from baton.specs.policy import GateSpec

NAMES = {"average_precision": "average precision", "roc_auc": "ROC AUC"}  # as sentences call them
SLICE_POSITIVES = 10  # fewer positives say nothing about a slice; it is listed, not judged


def decide(
    spec: GateSpec,
    y: np.ndarray,
    champion: np.ndarray | None,
    challenger: np.ndarray,
    money: np.ndarray | None = None,
    slices: pd.DataFrame | None = None,
    *,
    seed: int = 7,
    notes: Sequence[str] = (),
) -> GateVerdict:
    """Judge a challenger on a holdout that neither model has seen.

    Args:
        y: shape (n,), 0 or 1.
        champion: scores of shape (n,), or None when there is no champion yet.
        challenger: scores of shape (n,), higher is more suspicious.
        money: shape (n,), amounts in currency units, needed if the cost is a column.
        slices: n rows with the columns that the spec's slices and fairness rules name, needed if it names any.
        seed: of the bootstrap, and of the parts in which thresholds are chosen.
        notes: what is to be said of the holdout.

    Raises:
        BatonError: shapes do not fit, labels are not 0 or 1, or a needed column is absent.
    """
    labels = _checked(y, champion, challenger)
    judge = _Judge(spec, labels, champion, challenger, money, slices, seed)
    judge.notes.extend(notes)
    return judge.climb(*judge.rules())


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


class _Judge(Ladder):
    """Figures and rules of scored rows."""

    def __init__(
        self, spec: GateSpec, y: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray,
        money: np.ndarray | None, slices: pd.DataFrame | None, seed: int,
    ) -> None:  # fmt: skip
        super().__init__(spec, spec.metric, NAMES[spec.metric])
        self.spec, self.y, self.frame, self.seed = spec, y, slices, seed
        self.champion = None if champion is None else np.asarray(champion, dtype=float)
        self.challenger = np.asarray(challenger, dtype=float)
        self.money = money
        self.size, self.positives = len(y), int(y.sum())

    def rules(self) -> tuple[GateRule, ...]:
        """From the first to the last; `_compared` only fills the table."""
        before = (self._usable, self._enough, self._comparable, self._compared)
        return *before, self._floor, self._money, self._slices, self._fair, self._gain

    def _usable(self) -> Ruling | None:
        reason = _unusable(self.challenger)
        return ("HOLD", f"The challenger cannot be judged: {reason}.") if reason else None

    def _enough(self) -> Ruling | None:
        if self.spec.min_positives <= self.positives < self.size:
            return None
        return "MORE_DATA", (
            f"The holdout of {self.size} rows holds {self.positives} positives and {self.size - self.positives} negatives; "
            f"{self.spec.min_positives} positives and at least one negative are needed to judge."
        )

    def _comparable(self) -> Ruling | None:
        broken = 0 if self.champion is None else int((~np.isfinite(self.champion)).sum())
        if not broken:
            return None
        return "HOLD", (
            f"The champion cannot be compared with: {broken} of {self.size} scores are not finite numbers; "
            "find the cause first, the challenger may share it."
        )

    def _compared(self) -> None:
        spec = self.spec
        priced: dict[str, Any] = {}
        if spec.cost is not None:
            loss, review = losses(spec.cost, self.size, self.money), spec.cost.review
            priced = {"thresholds": self._priced(loss, review), "loss": loss, "review": review}
        self.table = compare(self.y, self.challenger, self.champion, **priced, **self._how()).table(first=spec.metric)

    def _how(self) -> dict[str, Any]:
        return {"resamples": self.spec.resamples, "confidence": self.spec.confidence, "seed": self.seed}

    def _priced(self, loss: np.ndarray, review: float) -> dict[str, np.ndarray]:
        """Price both models; returns the threshold of each row by which that was done."""
        models = {"challenger": self.challenger} | ({} if self.champion is None else {"champion": self.champion})
        elsewhere = {name: thresholds_elsewhere(self.y, s, loss, review, self.seed) for name, s in models.items()}
        for name, scores in models.items():
            self.thresholds[name] = cheapest(self.y, scores, loss, review).threshold
            self.cost[name] = asdict(cost_at(self.y, scores, loss, review, elsewhere[name]))
        self.cost["alert_nobody"] = float(loss[self.y == 1].sum())
        self.cost["alert_everybody"] = review * self.size
        return elsewhere

    def _floor(self) -> Ruling | None:
        return self.by_bound(self.spec.floor)

    def _money(self) -> Ruling | None:
        if not self.cost:
            return None
        price = self.cost["challenger"]["total"]
        if self.champion is None:
            policy, least = min((self.cost[key], key) for key in ("alert_nobody", "alert_everybody"))[::-1]
            if price >= least:
                words = policy.replace("_", " ")
                return "HOLD", (
                    f"The challenger costs {price:.2f}, no less than needing no model at all ({words}: {least:.2f})."
                )
            self.notes.append(f"The challenger costs {price:.2f}; without a model the rows would cost {least:.2f}.")
            return None
        before = self.cost["champion"]["total"]
        row = next(row for row in self.table if row["metric"] == "cost")
        if held := self.by_price("The challenger costs", price, before, row):
            return held
        self.notes.append(f"The challenger costs {price:.2f}, the champion {before:.2f} ({self.span(row)}).")
        return None

    def _slices(self) -> Ruling | None:
        return self.by_slices(self._judged_slices())

    def _judged_slices(self) -> Iterator[Slice]:
        for wanted in self.spec.slices:
            if self.frame is None or wanted.column not in self.frame.columns:
                raise BatonError(
                    f"gate: slice {wanted.name!r} needs the column {wanted.column!r}, which was not handed over"
                )
            values = self.frame[wanted.column].to_numpy(dtype=float)
            for low, high in pairwise(wanted.bins):
                name = f"{wanted.name} {low:g} to {high:g}"
                row = self._slice(name, (values >= low) & (values < high))
                self.slices.append(row)
                if row["judged"]:
                    where = f"slice {name} ({row['positives']} positives)"
                    yield Slice(where, row, self.spec.slice_floor, f"{self.spec.slice_floor:.4f}")

    def _slice(self, name: str, inside: np.ndarray) -> dict[str, Any]:
        y = self.y[inside]
        positives = int(y.sum())
        row: dict[str, Any] = {"slice": name, "rows": len(y), "positives": positives, "judged": False}
        if positives < min(SLICE_POSITIVES, self.spec.min_positives) or positives == len(y):
            return row
        metric = self.spec.metric
        row["challenger"] = METRICS[metric](y, self.challenger[inside])
        if self.champion is None:
            return row
        found = compare(y, self.challenger[inside], self.champion[inside], **self._how())
        low, high = found.interval[metric]
        row |= {"champion": found.champion[metric], "difference": found.difference[metric], "low": low, "high": high}
        return row | {"judged": True}

    def _fair(self) -> Ruling | None:
        if not self.spec.fairness:
            return None
        models = {"challenger": self.challenger} | ({} if self.champion is None else {"champion": self.champion})
        # without a price, as many alerts as there are positives
        alerted = {
            name: scores >= self.thresholds.get(name, np.sort(scores)[::-1][self.positives - 1])
            for name, scores in models.items()
        }
        frame = pd.DataFrame() if self.frame is None else self.frame
        return self.by_gaps(by_groups(rule, frame, self.y, alerted) for rule in self.spec.fairness)

    def _gain(self) -> Ruling:
        return self.by_gain(self.spec.floor, f"{self.positives} positives")
