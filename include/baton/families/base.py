"""What every family offers: the two protocols, the scores, and the error a user can act on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.specs_model import expand_features

if TYPE_CHECKING:
    from baton.specs import CandidateSpec, ModelSpec

MODEL_FILE = "model.json"
FORMAT = 1

Reasons = list[tuple[str, float]]


class ModelError(BatonError):
    """A model cannot be fitted, loaded or applied; the message names column, candidate or file and what to do."""


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


@dataclass(frozen=True)
class OutOfFold:
    """Scores of rows by models that did not see them: what calibration learns from.

    Attributes:
        rows: shape (m,), positions in the training frame.
        fold: shape (m,), number of the fold that judged the row.
        raw: candidate name to uncalibrated scores, each of shape (m,).
    """

    rows: np.ndarray
    fold: np.ndarray
    raw: dict[str, np.ndarray]


class FittedModel(Protocol):
    """A model that can score."""

    name: str
    features: list[str]

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Score the rows of `frame`, which holds at least the model's features; others are ignored."""

    def explain(self, frame: pd.DataFrame, top: int = 3) -> list[Reasons]:
        """Return for each row the `top` features that raise its score most, largest first."""

    def save(self, folder: Path) -> None:
        """Write the model into `folder` (made if absent) without any pickle."""


class Family(Protocol):
    """A way to learn."""

    name: str
    supervised: bool

    def fit_raw(
        self,
        candidate: CandidateSpec,
        features: list[str],
        frame: pd.DataFrame,
        y: np.ndarray | None,
        weights: np.ndarray | None,
        seed: int,
    ) -> Any:
        """Fit one candidate without calibration: what the folds judge. A candidate's own seed goes before `seed`."""

    def fit(
        self,
        spec: ModelSpec,
        candidate: CandidateSpec,
        frame: pd.DataFrame,
        y: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        seed: int = 7,
        oof: OutOfFold | None = None,
    ) -> FittedModel:
        """Fit one candidate of `spec`."""

    def load(self, folder: Path) -> FittedModel:
        """Restore a saved model."""


def feature_columns(spec: ModelSpec, frame: pd.DataFrame) -> list[str]:
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


def threads() -> int:
    """Return how many threads a fit may use: OMP_NUM_THREADS where set, at most two, at most the cores given to us."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(2, cores, int(os.environ.get("OMP_NUM_THREADS") or 2)))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write plain JSON; NaN and infinity are refused, since other readers could not read them."""
    path.write_text(json.dumps(document, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read `model.json` of a model of family `name`.

    Raises:
        ModelError: another format version or another family.
    """
    document: dict[str, Any] = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
    if document.get("format") != FORMAT or document.get("family") != name:
        raise ModelError(
            f"{folder / MODEL_FILE}: format {document.get('format')!r} of family {document.get('family')!r}, "
            f"this version reads format {FORMAT} of family {name!r}; train the model again"
        )
    return document
