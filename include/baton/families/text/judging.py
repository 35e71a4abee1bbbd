"""The promotion decision for text models: challenger and champion on the same held-out texts.

The ladder is that of `baton.families.verdict`. Its cases are texts, its bound is `floor`, its slices are classes with
`class_cases` texts and their recall; a challenger that gives all texts one class is held. So is one that rejects clearly more
texts of classes that it knows than `reject.max_false_rejects` promises; what is seen of the promise is always said.

Judged is the best class, accepted or not: a threshold that rejects every hard text must not look like a gain. A text of a
class that a model has not learnt counts against it. Texts are resampled as a whole, the same draws for both models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from baton.families.text import measures
from baton.families.verdict import GateRule, GateVerdict, Ladder, Ruling, Slice
from baton.specs.text import TextSpec

CHUNK = 4_000_000  # counts of resampled texts held at a time


def judge(
    spec: TextSpec, truth: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray, broken: int = 0,
    rejected: Mapping[str, np.ndarray] | None = None, notes: Sequence[str] = (),
) -> GateVerdict:  # fmt: skip
    """Compare two models.

    Args:
        truth: class names of the held-out texts, shape (n,).
        champion, challenger: names of the best classes, shape (n,); champion None for a first version.
        broken: texts for which the challenger's probabilities are not finite.
        rejected: of `champion` and `challenger`, shape (n,): 1 for a rejected text, NaN for one of a class that it does
            not know.
        notes: what is to be said of the held-out texts.
    """
    judge = _Judge(spec, truth, champion, challenger, broken, rejected)
    judge.notes.extend(notes)
    return judge.climb(*judge.rules())


class _Judge(Ladder):
    """Figures and rules of texts."""

    def __init__(
        self, spec: TextSpec, truth: np.ndarray, champion: np.ndarray | None, challenger: np.ndarray, broken: int,
        rejected: Mapping[str, np.ndarray] | None,
    ) -> None:  # fmt: skip
        super().__init__(spec.gate, spec.gate.metric, measures.NAMES[spec.gate.metric])
        self.gate, self.seed, self.truth, self.broken = spec.gate, spec.training.seed, truth, broken
        self.said = {"challenger": challenger} | ({} if champion is None else {"champion": champion})
        self.size = len(truth)
        self.promised = spec.reject.max_false_rejects if spec.reject is not None else None
        self.rejected = rejected if self.promised is not None else None
        self.surely: float | None = None  # lower end of the challenger's share of false rejects

    def rules(self) -> tuple[GateRule, ...]:
        """From the first to the last; `_compared` only fills the table."""
        before = self._usable, self._enough, self._varied, self._compared
        return *before, self._floor, self._promise, self._classes, self._gain

    def _usable(self) -> Ruling | None:
        if not self.broken:
            return None
        return "HOLD", f"The challenger cannot be judged: {self.broken} of {self.size} texts have no finite scores."

    def _enough(self) -> Ruling | None:
        if self.size >= self.gate.min_cases:
            return None
        return "MORE_DATA", f"The holdout holds {self.size} texts; {self.gate.min_cases} are needed to judge."

    def _varied(self) -> Ruling | None:
        said = self.said["challenger"]
        if len(np.unique(said)) > 1:
            return None
        return "HOLD", f"The challenger cannot be judged: it gives all {len(said)} texts the class {said[0]!r}."

    def _compared(self) -> None:
        """The table: the deciding metric first, each with its interval; the draws are kept for the classes."""
        rng = np.random.default_rng(self.seed)
        rows = len(self.truth)
        metrics = sorted(measures.NAMES, key=lambda metric: metric != self.gate.metric)
        draws: dict[tuple[str, str], list[np.ndarray]] = {(m, name): [] for m in metrics for name in self.said}
        classes, place = np.unique(self.truth, return_inverse=True)
        recalls: dict[str, list[np.ndarray]] = {name: [] for name in self.said}
        shares: dict[str, list[np.ndarray]] = {name: [] for name in self.rejected or ()}
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
            for name, one in (self.rejected or {}).items():
                shares[name].append(counts @ np.nan_to_num(one) / np.maximum(counts @ ~np.isnan(one), 1))
        for metric in metrics:
            values = {name: measures.value(metric, self.truth, said) for name, said in self.said.items()}
            self.table.append(self._row(metric, values, {n: np.concatenate(draws[metric, n]) for n in self.said}))
        for at, label in enumerate(classes):
            inside = place == at
            values = {name: float((said[inside] == label).mean()) for name, said in self.said.items()}
            drawn = {name: np.concatenate([part[:, at] for part in recalls[name]]) for name in self.said}
            row = self._row(str(label), values, drawn)
            judged = self.champion and int(inside.sum()) >= self.gate.class_cases
            row = {"slice": row.pop("metric"), "rows": int(inside.sum()), "positives": int(inside.sum()), **row}
            self.slices.append(row | {"judged": bool(judged)})
        if self.rejected and not any(np.isnan(one).all() for one in self.rejected.values()):
            values = {name: float(np.nanmean(one)) for name, one in self.rejected.items()}
            drawn = {name: np.concatenate(parts) for name, parts in shares.items()}
            self.table.append(self._row("false_rejects", values, drawn))
            self.surely = float(np.quantile(drawn["challenger"], (1 - self.gate.confidence) / 2))

    def _row(self, metric: str, values: dict[str, float], draws: dict[str, np.ndarray]) -> dict[str, Any]:
        row: dict[str, Any] = {"metric": metric, "champion": values.get("champion"), "challenger": values["challenger"]}
        row |= {"difference": None, "low": None, "high": None}
        if self.champion:
            edges = [(1 - self.gate.confidence) / 2, (1 + self.gate.confidence) / 2]
            low, high = np.quantile(draws["challenger"] - draws["champion"], edges)
            row |= {"difference": values["challenger"] - values["champion"], "low": float(low), "high": float(high)}
        return row

    def _floor(self) -> Ruling | None:
        return self.by_bound(self.gate.floor)

    def _promise(self) -> Ruling | None:
        """What was promised of texts of known classes, against what is seen."""
        if self.promised is None or self.rejected is None or self.surely is None:
            return None
        of_known = self.rejected["challenger"][~np.isnan(self.rejected["challenger"])]
        texts = f"{of_known.mean() * 100:.1f} % of {len(of_known)} held-out texts of known classes"
        if self.surely > self.promised:
            return "HOLD", (
                f"The challenger rejects {texts}, reject.max_false_rejects promises {self.promised * 100:.1f} % at most: "
                "train again, so that the line is drawn on these, or promise what can be kept."
            )
        self.notes.append(f"False rejects: {self.promised * 100:.1f} % at most are promised, {texts} are seen.")
        return None

    def _classes(self) -> Ruling | None:
        most = self.gate.class_floor
        judged = [row for row in self.slices if row["judged"]]
        slices = [Slice(f"class {row['slice']} ({row['rows']} texts)", row, most, f"{most:.4f}") for row in judged]
        return self.by_slices(slices, "recall")

    def _gain(self) -> Ruling:
        return self.by_gain(self.gate.floor, f"{self.size} texts")

    @property
    def champion(self) -> bool:
        return "champion" in self.said
