"""The blend: from raw scores of one or several models to probabilities.

`p = softmax(sum of weight[m] * raw[m])`: one weight per model, learnt from out-of-fold scores by maximum likelihood. With
one model the weight is the inverse temperature (temperature scaling, Guo et al. 2017); with several it is a weighted
logarithmic opinion pool (Genest & Zidek 1986), so that no second calibration is needed.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from baton.errors import ModelError


def combine(raw: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Blended scores of shape (n, classes) from raw ones of that shape; their softmax are the probabilities."""
    return np.asarray(sum(weight * one for weight, one in zip(weights, raw, strict=True)))


def learn(raw: Sequence[np.ndarray], y: np.ndarray, name: str) -> np.ndarray:
    """Weights of shape (models,), not negative.

    Args:
        raw: out-of-fold scores, each of shape (n, classes).
        y: shape (n,), positions of the true classes.

    Raises:
        ModelError: the scores say nothing of the classes.
    """
    stack = np.stack([np.asarray(one, dtype=float) for one in raw])
    # a scale of one for all models: the search is then equally fine in each direction
    scale = np.maximum(stack.std(axis=(1, 2)), 1e-12)
    stack = stack / scale[:, None, None]
    rows = np.arange(len(y))
    true = stack[:, rows, y]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        found = log_softmax(np.tensordot(weights, stack, axes=1), axis=1)
        slope = (np.exp(found)[None] * stack).sum(axis=2) - true
        return -float(found[rows, y].mean()), slope.mean(axis=1)

    start = np.full(len(stack), 2.0 / len(stack))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 200.0)] * len(stack))
    if not np.isfinite(found.x).all() or found.x.max() < 1e-3:
        raise ModelError(f"candidate {name!r}: its out-of-fold scores do not rise with the class, nothing to calibrate")
    return np.asarray(found.x / scale)
