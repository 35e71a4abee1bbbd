"""Scope: when a model says `none of my classes, or not sure`; how strange a text is, and where the line is drawn.

Strangeness is one of:

- `confidence`: 1 minus the best class's probability. High where classes compete for a text, too.
- `energy`: minus the log of the summed exponentials of the scores (Liu et al. 2020): how little any class claims the text.
- `combined`: a logistic model of what `traits` finds; it has seen texts of unknown classes, see `strangers`.

The line is a quantile of strangeness: at most the promised share of texts of known classes lies above it. Out of fold it is
drawn too low or too high, since texts to come are others than those of the training: its near copies are missing, the world
has gone on. So it is drawn anew on the held-out texts, with the next text counted as one above it (split conformal); the
out-of-fold strangeness goes in as so many texts as `LEANING` says, which counts where few are held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from scipy.special import expit, logsumexp, softmax

from baton.families.text.features.traits import World

Arrays = dict[str, np.ndarray]

LEANING = 50  # held-out texts that the out-of-fold strangeness weighs as much as
PROMISED, SEEN, OUT_OF_FOLD = "false_rejects_promised", "false_rejects", "false_rejects_out_of_fold"


@dataclass(frozen=True)
class StrangerDetector:
    """A logistic model of traits.

    Attributes:
        world: what traits are measured against.
        centre, scale, slopes: shape (traits,).
    """

    world: World
    centre: np.ndarray
    scale: np.ndarray
    slopes: np.ndarray
    intercept: float

    def __call__(self, traits: np.ndarray) -> np.ndarray:
        """How likely the class is unknown, in 0..1, from traits of shape (n, traits)."""
        return np.asarray(expit((traits - self.centre) / self.scale @ self.slopes + self.intercept))


@dataclass(frozen=True)
class Scope:
    """A measure of strangeness and its threshold; a text above is rejected.

    Attributes:
        figures: shares of texts of known classes by name: `false_rejects_promised`; and, of held-out ones,
            `false_rejects` (of their newer half, above the line that their older half draws) and
            `false_rejects_out_of_fold` (above the line of the training texts alone).
        found: out-of-fold strangeness that the line comes from; empty in a saved one.
    """

    kind: str
    threshold: float
    detector: StrangerDetector | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    found: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @classmethod
    def draw(cls, kind: str, found: np.ndarray, share: float, detector: StrangerDetector | None = None) -> Self:
        """Draw the line: at most `share` of the out-of-fold strangeness `found`, shape (n,), lies above."""
        return cls(kind, float(np.sort(found)[::-1][int(share * len(found))]), detector, {PROMISED: share}, found)

    def corrected(self, held: np.ndarray) -> Self:
        """With the line that held-out texts of known classes ask for; their strangeness, shape (n,), in order of time."""
        if not len(held):
            return self
        older, newer = np.split(held, [len(held) // 2])
        seen = {SEEN: (newer > self._line(older)).mean(), OUT_OF_FOLD: (held > self.threshold).mean()}
        figures = {**self.figures, **{name: float(share) for name, share in seen.items()}}
        return replace(self, threshold=self._line(held), figures=figures)

    def _line(self, held: np.ndarray) -> float:
        values = np.concatenate([held, self.found])
        weights = np.repeat([1.0, LEANING / max(len(self.found), 1)], [len(held), len(self.found)])
        order = np.argsort(-values, kind="stable")
        above = 1 + np.cumsum(weights[order])
        at = int(np.searchsorted(above, self.figures[PROMISED] * (1 + weights.sum()), side="right"))
        # what is rejected whatever the line, for want of words, cannot be the line
        at = max(min(at, len(values) - 1), int(np.isinf(values).sum()))
        return float(values[order][at]) if at < len(values) else self.threshold

    def strangeness(
        self, raw: Sequence[np.ndarray], scores: np.ndarray, texts: Sequence[str], vectors: np.ndarray | None
    ) -> np.ndarray:
        """Strangeness of n texts, shape (n,), from the members' raw scores, the blended ones, and the encoder's vectors."""
        if self.detector is None:
            return simple(self.kind, scores)
        return self.detector(self.detector.world.traits(raw, scores, texts, vectors))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the detector's arrays are `arrays`."""
        plain: dict[str, Any] = {"kind": self.kind, "threshold": self.threshold, "figures": dict(self.figures)}
        if self.detector is not None:
            plain |= {"intercept": self.detector.intercept, "shared": self.detector.world.usage.shared}
        return plain

    def arrays(self) -> Arrays:
        """Arrays of the detector, empty without one."""
        if self.detector is None:
            return {}
        own = {name: getattr(self.detector, name) for name in ("centre", "scale", "slopes")}
        return own | self.detector.world.arrays()

    @classmethod
    def from_json(cls, document: dict[str, Any], arrays: Arrays) -> Self:
        """Restore what `to_json` and `arrays` gave."""
        detector = None
        if arrays:
            world = World.from_arrays(document["shared"], arrays)
            own = [arrays[name] for name in ("centre", "scale", "slopes")]
            detector = StrangerDetector(world, own[0], own[1], own[2], document["intercept"])
        return cls(document["kind"], document["threshold"], detector, document["figures"])


def simple(kind: str, scores: np.ndarray) -> np.ndarray:
    """`confidence` or `energy` of blended scores (n, classes), shape (n,)."""
    if kind == "confidence":
        return np.asarray(1 - softmax(scores, axis=1).max(axis=1))
    return np.asarray(-logsumexp(scores, axis=1))
