"""Calibration: from a raw score to a probability, as plain numbers that rise strictly with the score.

`sigmoid`: logistic regression on the raw score's log-odds (Platt 1999, with his smoothed targets).
`isotonic`: pool-adjacent-violators (Zadrozny & Elkan 2002), interpolated between the blocks.
Both learn from out-of-fold scores only; a table fitted on scores of training rows would promise too much.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from baton.errors import ModelError

EDGE = 1e-7  # raw probabilities are kept this far from 0 and 1 before taking log-odds
TIE_BREAK = 1e-6  # share of the raw score in an isotonic probability: keeps order inside a flat block


def logit(p: np.ndarray) -> np.ndarray:
    """Return log-odds, finite for every p in 0..1."""
    kept = np.clip(p, EDGE, 1 - EDGE)
    return np.log(kept) - np.log1p(-kept)


def expit(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def undo_sampling(p: np.ndarray, rate: float) -> np.ndarray:
    """Correct probabilities of a model that saw all positives but only the share `rate` of the negatives.

    Dal Pozzolo et al. 2015, "Calibrating probability with undersampling for unbalanced classification".
    """
    return p if rate >= 1.0 else rate * p / (rate * p + 1.0 - p)


@dataclass(frozen=True)
class Calibration:
    """A strictly rising map from 0..1 to 0..1.

    Attributes:
        method: none | sigmoid | isotonic.
        x: isotonic: log-odds of the raw score at the knots; sigmoid: (slope, intercept).
        y: isotonic: probability at the knots; else empty.
    """

    method: str = "none"
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return probabilities of the shape of `raw`."""
        if self.method == "none":
            return raw
        if self.method == "sigmoid":
            return expit(self.x[0] * logit(raw) + self.x[1])
        return (1 - TIE_BREAK) * np.interp(logit(raw), self.x, self.y) + TIE_BREAK * raw

    @classmethod
    def fit(
        cls, method: str, raw: np.ndarray, y: np.ndarray, name: str, weights: np.ndarray | None = None
    ) -> "Calibration":
        """Learn from out-of-fold scores `raw` of shape (m,) and labels `y` of shape (m,).

        Args:
            weights: shape (m,), how many rows each stands for, where the rows are a sample; None: one each.

        Raises:
            ModelError: unknown method, one class only, or scores that do not rise with the label.
        """
        if method == "none":
            return cls()
        if method not in {"sigmoid", "isotonic"}:
            raise ModelError(f"candidate {name!r}: calibration {method!r} is not one of none, sigmoid, isotonic")
        positives = int(y.sum())
        if positives == 0 or positives == len(y):
            raise ModelError(
                f"candidate {name!r}: calibration needs both classes, the {len(y)} out-of-fold rows hold {positives} positives"
            )
        return (_sigmoid if method == "sigmoid" else _isotonic)(raw, y, name, weights)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"method": self.method, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Restore what `to_json` gave."""
        return cls(document["method"], tuple(document["x"]), tuple(document["y"]))


def _sigmoid(raw: np.ndarray, y: np.ndarray, name: str, weights: np.ndarray | None) -> Calibration:
    mean: Callable[[np.ndarray], float] = np.mean if weights is None else partial(np.average, weights=weights)
    counted = y if weights is None else y * weights
    x, positives = logit(raw), float(counted.sum())
    negatives = (len(y) if weights is None else float(weights.sum())) - positives
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] * x + theta[1]
        slope = expit(z) - target
        value = np.logaddexp(0.0, z) - target * z
        return float(mean(value)), np.array([mean(slope * x), mean(slope)])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    if found.x[0] <= 1e-3:
        raise ModelError(f"candidate {name!r}: its out-of-fold scores do not rise with the label, nothing to calibrate")
    return Calibration("sigmoid", (float(found.x[0]), float(found.x[1])))


def _isotonic(raw: np.ndarray, y: np.ndarray, name: str, weights: np.ndarray | None) -> Calibration:
    x = logit(raw)
    regression = IsotonicRegression(increasing=True, out_of_bounds="clip").fit(x, y, sample_weight=weights)
    if len(np.unique(regression.y_thresholds_)) < 2:
        raise ModelError(f"candidate {name!r}: its out-of-fold scores do not rise with the label, nothing to calibrate")
    edge = 1.0 / (len(y) + 2)  # no finite sample proves a probability of 0 or 1
    levels = np.clip(regression.y_thresholds_, edge, 1 - edge)
    return Calibration("isotonic", tuple(map(float, regression.X_thresholds_)), tuple(map(float, levels)))
