"""What tells a text of an unknown class from one of a known class: numbers about a text and what models say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from baton.families.text.terms import words

SHRINKAGE = 0.2  # of the classes' common spread towards a ball: with few texts per class its small directions are noise
SHARED = 2  # distinct texts that must hold a word before its count is kept


@dataclass(frozen=True)
class Space:
    """Where the classes lie among the encoder's vectors; means over many texts.

    Attributes:
        centres: shape (classes, size); middle: shape (size,), of all texts.
        within: shape (size, size): vectors times it have a common spread of 1 inside the classes; `overall`: in all.
    """

    centres: np.ndarray
    middle: np.ndarray
    within: np.ndarray
    overall: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, y: np.ndarray, classes: int) -> Space:
        """Learn from vectors of shape (n, size) with classes `y`, 0 .. classes - 1, of shape (n,)."""
        centres = np.stack([vectors[y == one].mean(axis=0) for one in range(classes)])
        middle = vectors.mean(axis=0)
        within = _whitening(vectors - centres[y], SHRINKAGE)
        return cls(centres, middle, within, _whitening(vectors - middle, SHRINKAGE / 10))

    def traits(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Cosine to the nearest centre, Mahalanobis distance to it, and to the middle of all."""
        length = np.maximum(np.linalg.norm(self.centres, axis=1), 1e-12)
        cosine = (vectors @ self.centres.T / length).max(axis=1)
        a, b = vectors @ self.within, self.centres @ self.within
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        overall = (((vectors - self.middle) @ self.overall) ** 2).sum(axis=1)
        return [cosine, np.maximum(square.min(axis=1), 0.0), overall]


@dataclass(frozen=True)
class World:
    """What traits are measured against: in how many texts each shared word is, and where the classes lie."""

    shared: dict[str, int]
    space: Space | None

    @classmethod
    def fit(cls, texts: Sequence[str], y: np.ndarray, classes: int, vectors: np.ndarray | None) -> World:
        """Learn from training texts."""
        seen: Counter[str] = Counter()
        for text in set(texts):
            seen.update(set(words(text)))
        shared = {word: count for word, count in sorted(seen.items()) if count >= SHARED}
        return cls(shared, None if vectors is None else Space.fit(vectors, y, classes))

    def traits(
        self, raw: Sequence[np.ndarray], scores: np.ndarray, texts: Sequence[str], vectors: np.ndarray | None
    ) -> np.ndarray:
        """Numbers of shape (n, traits); means over classes, so that they hardly depend on how many there are."""
        best = np.sort(scores, axis=1)
        columns = [log_softmax(scores, axis=1).max(axis=1), logsumexp(scores, axis=1), best[:, -1] - best[:, -2]]
        for one in raw:
            ordered = np.sort(one, axis=1)
            columns += [ordered[:, -1], ordered[:, -2], one.mean(axis=1), one.std(axis=1)]
        if len(raw) > 1:  # whether the members agree on the best class
            votes = np.stack([one.argmax(axis=1) for one in raw])
            columns.append((votes == scores.argmax(axis=1)).mean(axis=0))
        found = [words(text) for text in texts]
        columns.append(np.array([np.mean([1 / (1 + self.shared.get(w, 1)) for w in one] or [1.0]) for one in found]))
        columns.append(np.log1p([len(one) for one in found]))
        if self.space is not None and vectors is not None:
            columns += self.space.traits(vectors)
        return np.stack(columns, axis=1).astype(float)

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the space, empty without one."""
        return {} if self.space is None else dict(vars(self.space))

    @classmethod
    def from_arrays(cls, shared: dict[str, int], arrays: dict[str, np.ndarray]) -> World:
        """Restore a world."""
        names = list(Space.__dataclass_fields__)
        return cls(shared, Space(*(arrays[name] for name in names)) if names[0] in arrays else None)


def _whitening(rest: np.ndarray, shrinkage: float) -> np.ndarray:
    spread = rest.T.astype(float) @ rest / max(len(rest), 1)
    size = len(spread)
    spread = (1 - shrinkage) * spread + shrinkage * np.trace(spread) / size * np.eye(size)
    values, axes = np.linalg.eigh(spread)
    return np.asarray(axes / np.sqrt(np.maximum(values, 1e-12)), dtype=np.float32)
