"""Unsupervised models: how far is a row from what training saw, as a quantile of the training scores.

Labels, where there are any, judge these models; they never teach them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.base import FORMAT, MODEL_FILE, OutOfFold, Reasons, Rows, read_json, write_json
from baton.families.tabular import estimators, explain
from baton.families.tabular.encoding import FrameEncoder
from baton.families.tabular.learner import Scorer, Scores, feature_columns
from baton.specs.tabular import CandidateSpec, TabularSpec

KNOTS = 1001  # of the quantile table over all training rows
TAIL = 200  # largest training scores kept one by one, since decisions are taken among them
LIMIT = 20.0  # robust z beyond which distance says nothing more


@dataclass(frozen=True)
class AnomalyDetector:
    """A fitted estimator and the robust scale of its features.

    Attributes:
        centre, scale: median and 1.4826 times the median absolute deviation of each matrix column, shape (columns,);
            where that is zero (more than half the rows equal) the standard deviation, where that is zero too, 1.
    """

    name: str
    path: str
    predictor: Any
    encoder: FrameEncoder
    centre: np.ndarray
    scale: np.ndarray

    def robust_z(self, frame: pd.DataFrame) -> np.ndarray:
        """Distances from the centre in units of the scale, shape (rows, matrix columns)."""
        return (self.encoder.transform(frame) - self.centre) / self.scale

    def raw(self, frame: pd.DataFrame) -> np.ndarray:
        """Anomaly score, higher is stranger, no fixed unit, shape (rows,)."""
        if estimators.kind_of(self.path, self.name).name == "isolation":
            return -self.predictor.score_samples(self.encoder.transform(frame))
        kind = estimators.kind_of(self.path, self.name)
        if kind.one_class:
            return estimators.distances(self.predictor, kind, self.encoder.transform(frame))
        return (self._residual(frame) ** 2).sum(axis=1)

    def _residual(self, frame: pd.DataFrame) -> np.ndarray:
        z = np.clip(self.robust_z(frame), -LIMIT, LIMIT)
        return z - self.predictor.inverse_transform(self.predictor.transform(z))

    def contributions(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, features): largest absolute robust z, or for PCA the squared part that it cannot rebuild."""
        pca = estimators.kind_of(self.path, self.name).name == "pca"
        values = self._residual(frame) ** 2 if pca else np.abs(self.robust_z(frame))
        result = np.zeros((len(values), len(self.encoder.columns)))
        for column, owner in enumerate(self.encoder.owners):
            result[:, owner] = np.maximum(result[:, owner], values[:, column])
        return result


@dataclass(frozen=True)
class QuantileTable:
    """Where a raw score lies among the training scores.

    Attributes:
        scores: rising raw scores.
        quantiles: their quantiles, rising, below 1.
    """

    scores: np.ndarray
    quantiles: np.ndarray

    @classmethod
    def fit(cls, raw: np.ndarray) -> Self:
        """Learn from raw training scores of shape (n,).

        Raises:
            ModelError: all scores are equal or some are not finite.
        """
        if not np.isfinite(raw).all() or raw.min() == raw.max():
            raise ModelError("anomaly scores of the training rows are constant or not finite: nothing to rank by")
        ordered = np.sort(raw)
        n = len(ordered)
        at = np.unique(np.concatenate([np.linspace(0, n - 1, KNOTS).astype(int), np.arange(max(0, n - TAIL), n)]))
        scores, first = np.unique(ordered[at], return_index=True)
        return cls(scores, (at[first] + 1) / (n + 1))

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return quantiles in 0..1, rising strictly also beyond the training's range."""
        inside = np.interp(raw, self.scores, self.quantiles)
        spread = self.scores[-1] - self.scores[0]
        above = 1 - (1 - self.quantiles[-1]) * np.exp(-np.clip(raw - self.scores[-1], 0, None) / spread)
        below = self.quantiles[0] * np.exp(-np.clip(self.scores[0] - raw, 0, None) / spread)
        return np.where(raw > self.scores[-1], above, np.where(raw < self.scores[0], below, inside))

    def to_json(self) -> dict[str, list[float]]:
        """Return plain JSON values."""
        return {"scores": self.scores.tolist(), "quantiles": self.quantiles.tolist()}

    @classmethod
    def from_json(cls, document: dict[str, list[float]]) -> Self:
        """Restore what `to_json` gave."""
        return cls(np.asarray(document["scores"]), np.asarray(document["quantiles"]))


class FittedDetector:
    """A detector with its quantile table."""

    def __init__(self, detector: AnomalyDetector, table: QuantileTable) -> None:
        """Take the fitted parts."""
        self.name = detector.name
        self.detector = detector
        self.table = table
        self.features = detector.encoder.features

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Score rows; the score is the quantile among the training rows, in 0..1."""
        if frame.empty:
            return Scores(np.empty(0), np.empty(0))
        quantile = self.table(self.detector.raw(frame))
        return Scores(quantile, quantile)

    def explain(self, frame: pd.DataFrame, top: int = 3) -> list[Reasons]:
        """The features farthest from their training median, in robust standard deviations (PCA: squared residual)."""
        return [] if frame.empty else explain.strongest(self.detector.contributions(frame), self.features, top)

    def save(self, folder: Path) -> None:
        """Write model.json and the estimator."""
        folder.mkdir(parents=True, exist_ok=True)
        d = self.detector
        document = {
            "format": FORMAT,
            "family": Anomaly.name,
            "name": self.name,
            "features": self.features,
            "estimator": d.path,
            "file": estimators.save(d.predictor, estimators.kind_of(d.path, d.name), folder, d.name),
            "encoder": d.encoder.to_json(),
            "centre": d.centre.tolist(),
            "scale": d.scale.tolist(),
            "table": self.table.to_json(),
        }
        write_json(folder / MODEL_FILE, document)


class Anomaly:
    """The family: isolation forest, PCA reconstruction, distance from the usual."""

    name = "anomaly"
    supervised = False

    def fit_raw(self, candidate: CandidateSpec, features: list[str], rows: Rows, seed: int) -> AnomalyDetector:
        """Fit one estimator; labels and weights are not used, which is what unsupervised means.

        Raises:
            ModelError: unusable columns, estimator or parameters, or an option that needs labels.
        """
        if (
            candidate.ensemble
            or candidate.calibration != "none"
            or candidate.class_weight != "none"
            or candidate.negatives
        ):
            raise ModelError(
                f"candidate {candidate.name!r}: ensemble, calibration, class_weight and negatives need labels; "
                "an anomaly model has none"
            )
        seed = seed if candidate.seed is None else candidate.seed
        path = str(candidate.estimator)
        kind = estimators.kind_of(path, candidate.name)
        estimator = estimators.build(path, candidate.params, seed, candidate.name)
        encoder = FrameEncoder.fit(
            rows.frame, features, layout=kind.layout, impute=not kind.nulls, log=candidate.numbers == "log"
        )
        matrix = encoder.transform(rows.frame)
        centre = np.median(matrix, axis=0)
        scale = 1.4826 * np.median(np.abs(matrix - centre), axis=0)
        scale = np.where(scale > 0, scale, matrix.std(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        learned = np.clip((matrix - centre) / scale, -LIMIT, LIMIT) if kind.name == "pca" else matrix
        try:
            predictor = estimators.fit(estimator, kind, learned, None, None)
        except (TypeError, ValueError) as error:
            raise ModelError(f"candidate {candidate.name!r} cannot be fitted: {error}") from error
        return AnomalyDetector(candidate.name, path, predictor, encoder, centre, scale)

    def fit(
        self, spec: TabularSpec, candidate: CandidateSpec, rows: Rows, seed: int = 7, oof: OutOfFold | None = None
    ) -> Scorer:
        """Fit a candidate on all rows and tabulate its training scores; labels, weights and `oof` are not used."""
        detector = self.fit_raw(candidate, feature_columns(spec, rows.frame), rows, seed)
        return FittedDetector(detector, QuantileTable.fit(detector.raw(rows.frame)))

    def load(self, folder: Path) -> Scorer:
        """Restore a saved model; see `baton.families.load`."""
        document = read_json(folder, self.name)
        predictor, encoder = estimators.restore(folder, document["file"]), FrameEncoder.from_json(document["encoder"])
        place = np.asarray(document["centre"]), np.asarray(document["scale"])
        detector = AnomalyDetector(document["name"], document["estimator"], predictor, encoder, *place)
        return FittedDetector(detector, QuantileTable.from_json(document["table"]))
