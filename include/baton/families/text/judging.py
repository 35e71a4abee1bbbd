"""The promotion decision for text models: challenger and champion on the same held-out texts.

The rules are those of `baton.families.tabular.gate`, in its order; the first that applies decides:

1. A challenger whose probabilities are not finite, or that gives all texts one class: HOLD.
2. Fewer than `min_cases` held-out texts: MORE_DATA.
3. The challenger's metric must reach `floor`.
4. No class with `class_cases` texts may lose more than `class_floor` of its recall, unless the loss is within noise.
5. The gain in the metric: PROMOTE when the lower end of the paired bootstrap interval lies above `min_gain` and the gain
   above zero; MORE_DATA when the challenger looks better but the interval does not show it; else HOLD. A tie keeps the
   champion. (Reaching `min_gain` is not enough here: one text more right gives an interval that begins at 0.)

Judged is the best class, accepted or not: a threshold that rejects every hard text must not look like a gain. A text of a
class that a model has not learnt counts against it. Texts are resampled as a whole, the same draws for both models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from baton.families.tabular.gate import Decision, GateVerdict
from baton.families.text import measures
from baton.specs.text import TextSpec

CHUNK = 4_000_000  # counts of resampled texts held at a time


def judge(
    spec: TextSpec, truth: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray, broken: int = 0
) -> GateVerdict:
    """Compare two models.

    Args:
        truth: class names of the held-out texts, shape (n,).
        champion, challenger: names of the best classes, shape (n,); champion None for a first version.
        broken: texts for which the challenger's probabilities are not finite.
    """
    return _Judge(spec, truth, champion, challenger, broken).verdict()


class _Judge:
    """One pass over the rules; kept as an object so that the table survives an early decision."""

    def __init__(
        self, spec: TextSpec, truth: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray, broken: int
    ) -> None:
        self.gate, self.seed, self.truth, self.broken = spec.gate, spec.training.seed, truth, broken
        self.said = {"challenger": challenger} | ({} if champion is None else {"champion": champion})
        self.notes: list[str] = []
        self.table: list[dict[str, Any]] = []
        self.slices: list[dict[str, Any]] = []

    def verdict(self) -> GateVerdict:
        decision, reason = self._decide()
        return GateVerdict(
            decision, [reason, *self.notes], self.table, self.gate.metric, len(self.truth), 0, {}, {}, self.slices
        )

    def _decide(self) -> tuple[Decision, str]:
        gate, said = self.gate, self.said["challenger"]
        if self.broken:
            return "HOLD", f"The challenger cannot be judged: {self.broken} of {len(said)} texts have no finite scores."
        if len(self.truth) < gate.min_cases:
            return "MORE_DATA", f"The holdout holds {len(self.truth)} texts; {gate.min_cases} are needed to judge."
        if len(np.unique(said)) < 2:
            return "HOLD", f"The challenger cannot be judged: it gives all {len(said)} texts the class {said[0]!r}."
        self._fill()
        value = self.table[0]["challenger"]
        if value < gate.floor:
            return "HOLD", f"The challenger's {self._name} of {value:.4f} is below the floor of {gate.floor:.4f}."
        if held := self._classes():
            return "HOLD", held
        return self._gain()

    def _fill(self) -> None:
        """The table: the deciding metric first, each with its interval; the draws are kept for the classes."""
        rng = np.random.default_rng(self.seed)
        rows = len(self.truth)
        metrics = sorted(measures.NAMES, key=lambda metric: metric != self.gate.metric)
        draws: dict[tuple[str, str], list[np.ndarray]] = {(m, name): [] for m in metrics for name in self.said}
        classes, place = np.unique(self.truth, return_inverse=True)
        recalls: dict[str, list[np.ndarray]] = {name: [] for name in self.said}
        step = max(1, CHUNK // rows)
        for start in range(0, self.gate.resamples, step):
            size = min(step, self.gate.resamples - start)
            counts = rng.multinomial(rows, np.full(rows, 1 / rows), size=size).astype(float)
            per_class = np.stack([counts[:, place == at].sum(axis=1) for at in range(len(classes))], axis=1)
            for name, said in self.said.items():
                for metric in metrics:
                    draws[metric, name].append(measures.resampled(metric, self.truth, said, counts))
                hits = counts * (self.truth == said)
                found = np.stack([hits[:, place == at].sum(axis=1) for at in range(len(classes))], axis=1)
                recalls[name].append(found / np.maximum(per_class, 1))
        for metric in metrics:
            values = {name: measures.value(metric, self.truth, said) for name, said in self.said.items()}
            self.table.append(self._row(metric, values, {n: np.concatenate(draws[metric, n]) for n in self.said}))
        for at, label in enumerate(classes):
            inside = place == at
            values = {name: float((said[inside] == label).mean()) for name, said in self.said.items()}
            one = {name: np.concatenate([part[:, at] for part in recalls[name]]) for name in self.said}
            row = self._row(str(label), values, one)
            judged = self.champion and int(inside.sum()) >= self.gate.class_cases
            row = {"slice": row.pop("metric"), "rows": int(inside.sum()), "positives": int(inside.sum()), **row}
            self.slices.append(row | {"judged": bool(judged)})

    def _row(self, metric: str, values: dict[str, float], draws: dict[str, np.ndarray]) -> dict[str, Any]:
        row: dict[str, Any] = {"metric": metric, "champion": values.get("champion"), "challenger": values["challenger"]}
        row |= {"difference": None, "low": None, "high": None}
        if self.champion:
            edges = [(1 - self.gate.confidence) / 2, (1 + self.gate.confidence) / 2]
            low, high = np.quantile(draws["challenger"] - draws["champion"], edges)
            row |= {"difference": values["challenger"] - values["champion"], "low": float(low), "high": float(high)}
        return row

    def _classes(self) -> str | None:
        held: list[str] = []
        for row in self.slices:
            if not row["judged"] or -row["difference"] <= self.gate.class_floor:
                continue
            text = (
                f"In class {row['slice']} ({row['rows']} texts) the recall falls from {row['champion']:.4f} to "
                f"{row['challenger']:.4f}, more than the tolerated {self.gate.class_floor:.4f}"
            )
            interval = f"interval {row['low']:+.4f} to {row['high']:+.4f}"
            if row["high"] >= 0:
                self.notes.append(f"{text}; within noise ({interval}).")
            else:
                held.append(f"{text} ({interval}).")
        return " ".join(held) or None

    def _gain(self) -> tuple[Decision, str]:
        gate, row = self.gate, self.table[0]
        value = row["challenger"]
        if not self.champion:
            return "PROMOTE", f"First version: its {self._name} of {value:.4f} reaches the floor of {gate.floor:.4f}."
        gain, low = row["difference"], row["low"]
        text = (
            f"{self._name} {value:.4f} against the champion's {row['champion']:.4f}: difference {gain:+.4f}, "
            f"{gate.confidence:.0%} interval {low:+.4f} to {row['high']:+.4f}"
        )
        if gain > 0 and low > gate.min_gain:
            return "PROMOTE", f"The challenger is better: {text}."
        if gain > 0 and gain >= gate.min_gain:
            return "MORE_DATA", (
                f"The challenger looks better, but {len(self.truth)} texts do not show it: {text}; "
                f"the lower end must lie above {gate.min_gain:+.4f}."
            )
        return "HOLD", f"The challenger is not better: {text}; a gain of {gate.min_gain:+.4f} is asked for."

    @property
    def champion(self) -> bool:
        return "champion" in self.said

    @property
    def _name(self) -> str:
        return measures.NAMES[self.gate.metric]
