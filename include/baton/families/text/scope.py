"""Scope: when a model says `none of my classes, or not sure`; how strange a text is, and where the line is drawn.

Strangeness is one of:

- `confidence`: 1 minus the best class's probability. High where classes compete for a text, too.
- `energy`: minus the log of the summed exponentials of the scores (Liu et al. 2020): how little any class claims the text.
- `combined`: a logistic model of what `traits` finds; it has seen texts of unknown classes, see `strangers`.

The line is a quantile of the training texts' out-of-fold strangeness: at most the asked share of texts of known classes lies
above it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, logsumexp, softmax

from baton.families.text.features.traits import World

Arrays = dict[str, np.ndarray]


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
    """A measure of strangeness and its threshold; a text above is rejected."""

    kind: str
    threshold: float
    detector: StrangerDetector | None = None

    @classmethod
    def draw(cls, kind: str, found: np.ndarray, share: float, detector: StrangerDetector | None = None) -> Self:
        """Draw the line: at most `share` of the out-of-fold strangeness `found`, shape (n,), lies above."""
        return cls(kind, float(np.sort(found)[::-1][int(share * len(found))]), detector)

    def strangeness(
        self, raw: Sequence[np.ndarray], scores: np.ndarray, texts: Sequence[str], vectors: np.ndarray | None
    ) -> np.ndarray:
        """Strangeness of n texts, shape (n,), from the members' raw scores, the blended ones, and the encoder's vectors."""
        if self.detector is None:
            return simple(self.kind, scores)
        return self.detector(self.detector.world.traits(raw, scores, texts, vectors))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the detector's arrays are `arrays`."""
        plain: dict[str, Any] = {"kind": self.kind, "threshold": self.threshold}
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
        return cls(document["kind"], document["threshold"], detector)


def simple(kind: str, scores: np.ndarray) -> np.ndarray:
    """`confidence` or `energy` of blended scores (n, classes), shape (n,)."""
    if kind == "confidence":
        return np.asarray(1 - softmax(scores, axis=1).max(axis=1))
    return np.asarray(-logsumexp(scores, axis=1))
