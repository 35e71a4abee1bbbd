"""Protocols of learning the rows of a table, which classification and anomaly detection follow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.base import Fitted, OutOfFold, Reasons, Rows
from baton.specs.tabular import CandidateSpec, TabularSpec, expand_features


@dataclass(frozen=True)
class Scores:
    """What a model says about n rows.

    Attributes:
        score: shape (n,), higher is riskier; what is ranked, thresholded and stored.
        probability: shape (n,), in 0..1; calibrated where the candidate asks for calibration. It rises strictly
            with `score`, so both rank the rows alike. An anomaly model's is the quantile among its training rows.
    """

    score: np.ndarray
    probability: np.ndarray


class Scorer(Fitted, Protocol):
    """A trained model that scores rows of a table."""

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Score the rows of `frame`, which holds at least the model's features; others are ignored."""

    def explain(self, frame: pd.DataFrame, top: int = 3) -> list[Reasons]:
        """Return for each row the `top` features that raise its score most, largest first."""


class Learner(Protocol):
    """A way to learn from the rows of a table."""

    name: str
    supervised: bool

    def fit_raw(self, candidate: CandidateSpec, features: list[str], rows: Rows, seed: int) -> Any:
        """Fit one candidate without calibration: what the folds judge. A candidate's own seed goes before `seed`."""

    def fit(
        self, spec: TabularSpec, candidate: CandidateSpec, rows: Rows, seed: int = 7, oof: OutOfFold | None = None
    ) -> Scorer:
        """Fit one candidate on all `rows`, calibrated on `oof` where the candidate asks for it."""

    def load(self, folder: Path) -> Scorer:
        """Restore a saved model."""


def feature_columns(spec: TabularSpec, frame: pd.DataFrame) -> list[str]:
    """Resolve the spec's feature names and globs against the columns of `frame`, in the order of the spec.

    Raises:
        ModelError: a name or glob matches no column, or the target is asked for as a feature.
    """
    try:
        found = list(expand_features(spec.data, [str(column) for column in frame.columns]))
    except ValueError as error:
        raise ModelError(f"model {spec.model}: {error}; the frame has {', '.join(map(str, frame.columns))}") from error
    if spec.data.target in found:
        raise ModelError(f"model {spec.model}: the target {spec.data.target!r} is listed as a feature; remove it")
    return found
