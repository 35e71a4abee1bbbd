"""Traits: numbers about a text, and what models say of it, that tell unknown classes from known ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import log_softmax, logsumexp

from baton.families.text.features.names import NOBODY, Names
from baton.families.text.features.terms import words

SHRINKAGE = 0.2  # of the classes' common spread towards a ball: with few texts per class its small directions are noise
DIRECTIONS = 12  # at most, in which a class's own texts are taken to vary
PER_DIRECTION = 4  # texts of a class that each of its directions must stand for
SHARED = 2  # distinct texts that must hold a word before its count is kept
PRIOR = 3.0  # texts that the overall use of a word counts for in each class


@dataclass(frozen=True)
class Space:
    """Where the classes lie among the encoder's vectors; means and second moments over many texts.

    Attributes:
        centres: shape (classes, size); middle: shape (size,), of all texts.
        axes: shape (classes, DIRECTIONS, size), orthonormal directions in which a class's texts vary most; zeros where a
            class has too few texts for more.
        within: shape (size, size): vectors times it have a common spread of 1 inside the classes; `overall`: in all.
    """

    centres: np.ndarray
    middle: np.ndarray
    axes: np.ndarray
    within: np.ndarray
    overall: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, y: np.ndarray, classes: int) -> Self:
        """Learn from vectors of shape (n, size) with classes `y`, 0 .. classes - 1, of shape (n,)."""
        centres = np.stack([vectors[y == one].mean(axis=0) for one in range(classes)])
        middle = vectors.mean(axis=0)
        axes = np.stack([_main_axes(vectors[y == one] - centres[one]) for one in range(classes)])
        within = _whitening(vectors - centres[y], SHRINKAGE)
        return cls(centres, middle, axes, within, _whitening(vectors - middle, SHRINKAGE / 10))

    def traits(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Cosine to the nearest centre, Mahalanobis distance to it, to the middle of all, and distance to a class's subspace.

        The last is squared, to the nearest of the affine subspaces that centre and axes of each class span (SIMCA, Wold
        1976): a class's texts differ in some respects and agree in others; one that departs from what they agree in is
        of another class, however near the centre.
        """
        length = np.maximum(np.linalg.norm(self.centres, axis=1), 1e-12)
        cosine = (vectors @ self.centres.T / length).max(axis=1)
        a, b = vectors @ self.within, self.centres @ self.within
        square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        overall = (((vectors - self.middle) @ self.overall) ** 2).sum(axis=1)
        return [cosine, np.maximum(square.min(axis=1), 0.0), overall, self._outside(vectors).min(axis=1)]

    def _outside(self, vectors: np.ndarray) -> np.ndarray:
        """Squared distances to the classes' subspaces, shape (n, classes)."""
        found = []
        for centre, axes in zip(self.centres, self.axes, strict=True):
            rest = vectors - centre
            found.append((rest**2).sum(axis=1) - ((rest @ axes.T) ** 2).sum(axis=1))
        return np.maximum(np.stack(found, axis=1), 0.0)


@dataclass(frozen=True)
class Usage:
    """Which words the texts of each class use.

    Attributes:
        shared: in how many distinct texts each word is, for words that several of them hold; sorted.
        used: shape (classes, words), the same within each class.
        sizes: shape (classes,), distinct texts of each class.
    """

    shared: dict[str, int]
    used: np.ndarray
    sizes: np.ndarray

    @classmethod
    def fit(cls, texts: Sequence[str], y: np.ndarray, classes: int, names: Names = NOBODY) -> Self:
        """Learn from training texts with classes `y`, 0 .. classes - 1, of shape (n,)."""
        held = {text: set(words(text)) for text in set(texts)}
        seen: Counter[str] = Counter()
        for one in held.values():
            seen.update(one)
        shared = {word: count for word, count in sorted(seen.items()) if count >= SHARED and not names.hold(word)}
        place = {word: at for at, word in enumerate(shared)}
        used, sizes = np.zeros((classes, len(shared)), dtype=np.int32), np.zeros(classes, dtype=np.int32)
        for text, one in set(zip(texts, y.tolist(), strict=True)):
            used[one, [place[word] for word in held[text] if word in place]] += 1
            sizes[one] += 1
        return cls(shared, used, sizes)

    def traits(self, texts: Sequence[str], best: np.ndarray) -> list[np.ndarray]:
        """How rare a text's words are, how unusual in the class it was given (`best`, shape (n,)), and how many there are.

        Unusual is the mean of minus the log of the share of the class's texts that hold a word, smoothed by its overall
        share as a Dirichlet prior does (Zhai & Lafferty 2001). It sees the one word that tells a class from its sister.
        """
        place, total = {word: at for at, word in enumerate(self.shared)}, int(self.sizes.sum())
        rare, unusual, length = (np.zeros(len(texts)) for _ in range(3))
        for row, (text, one) in enumerate(zip(texts, best, strict=True)):
            found = words(text)
            distinct = sorted(set(found))
            overall = np.array([self.shared.get(word, 0.5) for word in distinct]) / total
            inside = np.array([self.used[one, place[word]] if word in place else 0 for word in distinct])
            rare[row] = np.mean([1 / (1 + self.shared.get(word, 1)) for word in found] or [1.0])
            unusual[row] = -np.log((inside + PRIOR * overall) / (self.sizes[one] + PRIOR)).mean() if distinct else 0.0
            length[row] = np.log1p(len(found))
        return [rare, unusual, length]


@dataclass(frozen=True)
class World:
    """What traits are measured against: which words the classes use, and where they lie."""

    usage: Usage
    space: Space | None

    @classmethod
    def fit(
        cls, texts: Sequence[str], y: np.ndarray, classes: int, vectors: np.ndarray | None, names: Names = NOBODY
    ) -> Self:
        """Learn from training texts."""
        return cls(Usage.fit(texts, y, classes, names), None if vectors is None else Space.fit(vectors, y, classes))

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
        columns += self.usage.traits(texts, scores.argmax(axis=1))
        if self.space is not None and vectors is not None:
            columns += self.space.traits(vectors)
        return np.stack(columns, axis=1).astype(float)

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of usage and space."""
        own = {"used": self.usage.used, "sizes": self.usage.sizes}
        return own if self.space is None else own | vars(self.space)

    @classmethod
    def from_arrays(cls, shared: dict[str, int], arrays: dict[str, np.ndarray]) -> Self:
        """Restore a world."""
        names = list(Space.__dataclass_fields__)
        space = Space(*(arrays[name] for name in names)) if names[0] in arrays else None
        return cls(Usage(shared, arrays["used"], arrays["sizes"]), space)


def _main_axes(rest: np.ndarray) -> np.ndarray:
    """Axes of the largest spread of a class's vectors around its centre, shape (DIRECTIONS, size).

    Equal vectors count once: no axis may point at a text that came many times.
    """
    rest = np.unique(rest, axis=0)
    axes = np.zeros((DIRECTIONS, rest.shape[1]), dtype=np.float32)
    count = min(DIRECTIONS, len(rest) // PER_DIRECTION)
    found = np.linalg.svd(rest, full_matrices=False)[2][:count]
    axes[: len(found)] = found
    return axes


def _whitening(rest: np.ndarray, shrinkage: float) -> np.ndarray:
    spread = rest.T.astype(float) @ rest / max(len(rest), 1)
    size = len(spread)
    spread = (1 - shrinkage) * spread + shrinkage * np.trace(spread) / size * np.eye(size)
    values, axes = np.linalg.eigh(spread)
    return np.asarray(axes / np.sqrt(np.maximum(values, 1e-12)), dtype=np.float32)
