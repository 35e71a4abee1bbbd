"""Measures of predicted classes: accuracy, macro F1 and log loss, also under resampling weights."""

import numpy as np
from scipy.special import log_softmax

NAMES = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def value(metric: str, truth: np.ndarray, said: np.ndarray) -> float:
    """accuracy or macro_f1 of class names (or numbers), each of shape (n,)."""
    return float(resampled(metric, truth, said, np.ones((1, len(truth))))[0])


def resampled(metric: str, truth: np.ndarray, said: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The metric of resamples.

    Args:
        truth, said: shape (n,).
        counts: shape (resamples, n), how often each row was drawn.

    Returns:
        shape (resamples,). Macro F1 is the mean over the classes that occur in the resample's truth.
    """
    right = (truth == said).astype(float)
    if metric == "accuracy":
        return np.asarray(counts @ right / counts.sum(axis=1))
    classes = np.unique(truth)
    is_true = (truth[:, None] == classes).astype(float)
    is_said = (said[:, None] == classes).astype(float)
    true, claimed = counts @ is_true, counts @ is_said
    hits = counts @ (is_true * right[:, None])
    score = 2 * hits / np.maximum(true + claimed, 1.0)
    return np.asarray((score * (true > 0)).sum(axis=1) / np.maximum((true > 0).sum(axis=1), 1))


def log_loss(scores: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-probability of the true class; blended scores of shape (n, classes)."""
    return -float(log_softmax(scores, axis=1)[np.arange(len(y)), y].mean())
