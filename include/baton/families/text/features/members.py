"""One linear model on features of the text, reduced to plain arrays."""

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from baton.errors import ModelError
from baton.families import parameters
from baton.families.text.features.encoder import Encoder
from baton.families.text.features.names import NOBODY, Names
from baton.families.text.features.terms import Terms
from baton.specs.text import KernelSpec, TextCandidateSpec

Matrix = Any  # a dense or sparse matrix of shape (texts, features)


@dataclass(frozen=True)
class Member:
    """A fitted estimator: `raw = features @ coefficients.T + intercept`.

    Attributes:
        path: dotted path of the estimator.
        terms: None for a model on vectors alone; `vectors`: whether it sees the encoder's.
        coefficients: shape (classes, features), float32; terms first, then what is made of the vector.
        intercept: shape (classes,).
        projection: shape (size, components / 2) of random Fourier features; None takes the vector itself.
    """

    name: str
    path: str
    terms: Terms | None
    vectors: bool
    coefficients: np.ndarray
    intercept: np.ndarray
    projection: np.ndarray | None = None

    def raw(self, texts: Sequence[str], encoder: Encoder | None) -> np.ndarray:
        """Scores before calibration, shape (texts, classes)."""
        matrix = _features(self.terms, self.vectors, self.projection, texts, encoder)
        return np.asarray(matrix @ self.coefficients.T) + self.intercept


def fit(
    candidate: TextCandidateSpec,
    texts: Sequence[str],
    y: np.ndarray,
    weights: np.ndarray,
    classes: int,
    seed: int,
    encoder: Encoder | None,
    names: Names = NOBODY,
) -> Member:
    """Fit one estimator.

    Args:
        y: shape (n,), 0 .. classes - 1.
        weights: shape (n,), weights of the texts.
        classes: number of classes; those absent from `y` (a fold may lack one) get a low score everywhere.
        seed: the training's; a candidate's own goes before.
        names: no term holds one.

    Raises:
        ModelError: fewer than two classes, or arguments that the estimator does not take.
    """
    known = np.unique(y)
    if len(known) < 2:
        raise ModelError(f"candidate {candidate.name!r}: the {len(y)} texts hold fewer than two classes")
    terms = Terms.fit(candidate, texts, names) if candidate.features != "embeddings" else None
    vectors = candidate.features != "tfidf"
    seed = seed if candidate.seed is None else candidate.seed
    projection = None
    if candidate.kernel is not None and encoder is not None:
        projection = _projection(candidate.kernel, encoder.size, seed)
    matrix = _features(terms, vectors, projection, texts, encoder)
    estimator = _build(candidate, seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            estimator.fit(matrix, y, sample_weight=weights)
    except ConvergenceWarning as warning:
        raise ModelError(
            f"candidate {candidate.name!r} did not converge; give more max_iter or a smaller C"
        ) from warning
    except (TypeError, ValueError) as error:
        raise ModelError(f"candidate {candidate.name!r} cannot be fitted: {error}") from error
    slopes = np.atleast_2d(estimator.coef_)
    intercept = np.broadcast_to(np.asarray(estimator.intercept_, dtype=float), len(slopes))
    if len(known) == 2:  # scikit-learn keeps one row for the second class
        slopes, intercept = np.vstack([-slopes / 2, slopes / 2]), np.concatenate([-intercept / 2, intercept / 2])
    coefficients = np.zeros((classes, matrix.shape[1]), dtype=np.float32)
    coefficients[known] = slopes
    constant = np.full(classes, float(np.min(intercept)) - 1.0)
    constant[known] = intercept
    return Member(candidate.name, str(candidate.estimator), terms, vectors, coefficients, constant, projection)


def _build(candidate: TextCandidateSpec, seed: int) -> Any:
    parameters.refuse(candidate.name, str(candidate.estimator), candidate.params)
    module, _, name = str(candidate.estimator).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)(**({"random_state": seed} | candidate.params))
    except TypeError as error:
        raise ModelError(f"candidate {candidate.name!r}: {name} refuses its params: {error}") from error


def _projection(kernel: KernelSpec, size: int, seed: int) -> np.ndarray:
    """Directions of orthogonal random features (Yu et al. 2016): less noise than independent ones, at the same cost."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(-(-kernel.components // 2 // size)):
        axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
        blocks.append(axes * np.sqrt(rng.chisquare(size, size=size)))
    directions = np.concatenate(blocks, axis=1)[:, : kernel.components // 2]
    return np.asarray(directions * np.sqrt(2 * kernel.gamma), dtype=np.float32)


def _features(
    terms: Terms | None, vectors: bool, projection: np.ndarray | None, texts: Sequence[str], encoder: Encoder | None
) -> Matrix:
    if not vectors:
        assert terms is not None
        return terms.transform(texts)
    if encoder is None:
        raise ModelError("this model needs the sentence encoder, which was not opened")
    vector = encoder.encode(texts)
    if projection is not None:
        angle = vector @ projection
        vector = np.hstack([np.cos(angle), np.sin(angle)]) / np.float32(np.sqrt(angle.shape[1]))
    if terms is None:
        return vector
    return sparse.hstack([terms.transform(texts), sparse.csr_matrix(vector)], format="csr")
