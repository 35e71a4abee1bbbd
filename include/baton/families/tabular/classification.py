"""Two-class models for tables: single estimators and averages of them, with calibrated probabilities."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.base import FORMAT, MODEL_FILE, OutOfFold, Reasons, Rows, parts_of, read_json, write_json
from baton.families.tabular import estimators, explain
from baton.families.tabular.anomaly import QuantileTable
from baton.families.tabular.calibration import Calibration, expit, logit, undo_sampling
from baton.families.tabular.encoding import FrameEncoder
from baton.families.tabular.learner import Scorer, Scores, feature_columns
from baton.specs.tabular import CandidateSpec, TabularSpec

INNER_FOLDS = 3  # where no validation folds are handed over, calibration makes its own


@dataclass(frozen=True)
class FittedEstimator:
    """One fitted estimator.

    Attributes:
        path: dotted path of the estimator.
        rate: share of the negatives it was trained on; its probabilities are corrected for it.
        baseline: medians of the encoded training rows, shape (matrix columns,).
        table: of an estimator that knows only what is usual: where a distance lies among those of the negatives.
    """

    name: str
    path: str
    predictor: Any
    encoder: FrameEncoder
    rate: float
    baseline: np.ndarray
    calibration: Calibration = field(default_factory=Calibration)
    table: QuantileTable | None = None

    @property
    def kind(self) -> estimators.EstimatorKind:
        """What is known of the estimator."""
        return estimators.kind_of(self.path, self.name)

    def raw(self, frame: pd.DataFrame) -> np.ndarray:
        """Probabilities before calibration, shape (rows,); of a one-class estimator the quantile among the negatives."""
        if self.table is not None:
            return self.table(estimators.distances(self.predictor, self.kind, self.encoder.transform(frame)))
        return undo_sampling(estimators.positives(self.predictor, self.kind, self.encoder.transform(frame)), self.rate)

    def contributions(self, frame: pd.DataFrame) -> np.ndarray:
        """Contributions of shape (rows, features)."""
        matrix = self.encoder.transform(frame)
        found = explain.contributions(self.predictor, self.kind, matrix, self.baseline)
        return explain.by_feature(found, self.encoder.owners, len(self.encoder.columns))


class FittedClassifier:
    """One member, or the average of several members' calibrated probabilities (in log-odds, see `average`)."""

    def __init__(self, name: str, members: list[FittedEstimator], calibration: Calibration) -> None:
        """Take fitted members; `calibration` is applied to their average."""
        self.name = name
        self.members = members
        self.calibration = calibration
        self.features = members[0].encoder.features

    def predict(self, frame: pd.DataFrame) -> Scores:
        """Score rows; see `Scorer.predict`. Score and probability are the same number."""
        if frame.empty:
            return Scores(np.empty(0), np.empty(0))
        probability = self.calibration(average([member.calibration(member.raw(frame)) for member in self.members]))
        return Scores(probability, probability)

    def explain(self, frame: pd.DataFrame, top: int = 3) -> list[Reasons]:
        """Reason codes; of an average, the mean of the members' shares (each row's shares add up to 1 in absolute value)."""
        if frame.empty:
            return []
        if len(self.members) == 1:
            return explain.strongest(self.members[0].contributions(frame), self.features, top)
        mean = np.mean([explain.shares(member.contributions(frame)) for member in self.members], axis=0)
        return explain.strongest(mean, self.features, top)

    def save(self, folder: Path) -> None:
        """Write model.json and one file for each member."""
        folder.mkdir(parents=True, exist_ok=True)
        members: list[dict[str, Any]] = []
        for m in self.members:
            file = estimators.save(m.predictor, m.kind, folder, m.name)
            made = {"name": m.name, "estimator": m.path, "file": file, "encoder": m.encoder.to_json()}
            fitted = {"baseline": m.baseline.tolist(), "calibration": m.calibration.to_json()}
            fitted |= {} if m.table is None else {"table": m.table.to_json()}
            members.append({**made, "negatives_rate": m.rate, **fitted})
        document = {"format": FORMAT, "family": Classification.name, "name": self.name, "features": self.features}
        write_json(folder / MODEL_FILE, {**document, "members": members, "calibration": self.calibration.to_json()})


class Classification:
    """The family: logistic regression, forests, boosting, and averages of them."""

    name = "classification"
    supervised = True

    def fit_raw(self, candidate: CandidateSpec, features: list[str], rows: Rows, seed: int) -> FittedEstimator:
        """Fit one estimator without calibration.

        Raises:
            ModelError: unusable labels, columns, estimator or parameters.
        """
        seed = seed if candidate.seed is None else candidate.seed
        path = str(candidate.estimator)
        kind = estimators.kind_of(path, candidate.name)
        labels = _labels(rows, candidate.name)
        estimator = estimators.build(path, candidate.params, seed, candidate.name)
        if kind.one_class:
            return _one_class(candidate, estimator, kind, features, rows.take(np.flatnonzero(labels == 0)))
        keep, rate = _keep(labels, candidate.negatives, seed)
        part = rows if keep is None else rows.take(keep)
        labels = labels if keep is None else labels[keep]
        encoder = _encoder(candidate, kind, features, part.frame)
        matrix = encoder.transform(part.frame)
        weight = np.ones(len(labels)) if part.weights is None else np.asarray(part.weights, dtype=float)
        weight = np.where(labels == 1, weight * _class_weight(candidate, labels), weight)
        plain = rows.weights is None and candidate.class_weight == "none"
        try:
            predictor = estimators.fit(estimator, kind, matrix, labels, None if plain else weight)
        except (TypeError, ValueError) as error:
            raise ModelError(f"candidate {candidate.name!r} cannot be fitted: {error}") from error
        return FittedEstimator(candidate.name, path, predictor, encoder, rate, np.nanmedian(matrix, axis=0))

    def fit(
        self, spec: TabularSpec, candidate: CandidateSpec, rows: Rows, seed: int = 7, oof: OutOfFold | None = None
    ) -> Scorer:
        """Fit a candidate on all rows and calibrate it on out-of-fold scores.

        Args:
            oof: out-of-fold scores from `selection.select`; where absent and a calibration is asked for, stratified
                folds are fitted for it here.

        Raises:
            ModelError: see `fit_raw`, or scores that cannot be calibrated.
        """
        features = feature_columns(spec, rows.frame)
        parts = parts_of(spec.candidates, candidate)
        labels = _labels(rows, candidate.name)
        if oof is None and any(c.calibration != "none" for c in (candidate, *parts)):
            oof = self._inner_folds(parts, features, rows, labels, seed)
        members = [self.fit_raw(part, features, rows, seed) for part in parts]
        members = [
            replace(member, calibration=calibration_of(part, oof, labels, rows.shares))
            for member, part in zip(members, parts, strict=True)
        ]
        outer = Calibration()
        if candidate.ensemble and candidate.calibration != "none" and oof is not None:
            blended = blend(candidate, parts, oof, labels, rows.shares)
            outer = _calibrated(candidate, blended, oof, labels, rows.shares)
        return FittedClassifier(candidate.name, members, outer)

    def _inner_folds(
        self, parts: list[CandidateSpec], features: list[str], rows: Rows, y: np.ndarray, seed: int
    ) -> OutOfFold:
        from sklearn.model_selection import StratifiedKFold

        if min(y.sum(), len(y) - y.sum()) < INNER_FOLDS:
            raise ModelError(f"calibration needs {INNER_FOLDS} rows of each class, there are {int(y.sum())} positives")
        fold = np.empty(len(y), dtype=int)
        raw = {part.name: np.empty(len(y)) for part in parts}
        split = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=seed).split(rows.frame, y)
        for number, (train, judge) in enumerate(split):
            fold[judge] = number
            for part in parts:
                member = self.fit_raw(part, features, rows.take(train), seed)
                raw[part.name][judge] = member.raw(rows.frame.iloc[judge])
        return OutOfFold(np.arange(len(y)), fold, raw)

    def load(self, folder: Path) -> Scorer:
        """Restore a saved model; see `baton.families.load`."""
        document = read_json(folder, self.name)
        members = []
        for m in document["members"]:
            predictor, encoder = estimators.restore(folder, m["file"]), FrameEncoder.from_json(m["encoder"])
            rate, baseline, calibration = m["negatives_rate"], np.asarray(m["baseline"]), m["calibration"]
            made = FittedEstimator(m["name"], m["estimator"], predictor, encoder, rate, baseline)
            table = QuantileTable.from_json(m["table"]) if "table" in m else None
            members.append(replace(made, calibration=Calibration.from_json(calibration), table=table))
        return FittedClassifier(document["name"], members, Calibration.from_json(document["calibration"]))


def _encoder(
    candidate: CandidateSpec, kind: estimators.EstimatorKind, features: list[str], frame: pd.DataFrame
) -> FrameEncoder:
    log = candidate.numbers == "log"
    return FrameEncoder.fit(frame, features, layout=kind.layout, impute=not kind.nulls, log=log)


def _one_class(
    candidate: CandidateSpec, estimator: Any, kind: estimators.EstimatorKind, features: list[str], usual: Rows
) -> FittedEstimator:
    """How far a row is from the negatives: what is new has no labels, and is far from all that is known as harmless.

    Raises:
        ModelError: an option that a one-class estimator cannot keep, or unusable columns or parameters.
    """
    if candidate.class_weight != "none" or candidate.negatives is not None:
        raise ModelError(
            f"candidate {candidate.name!r}: class_weight and negatives say nothing to a one-class estimator"
        )
    encoder = _encoder(candidate, kind, features, usual.frame)
    matrix = encoder.transform(usual.frame)
    try:
        predictor = estimators.fit(estimator, kind, matrix, None, None)
    except (TypeError, ValueError) as error:
        raise ModelError(f"candidate {candidate.name!r} cannot be fitted: {error}") from error
    table = QuantileTable.fit(estimators.distances(predictor, kind, matrix))
    baseline = np.median(matrix, axis=0)
    return FittedEstimator(candidate.name, str(candidate.estimator), predictor, encoder, 1.0, baseline, table=table)


def calibration_of(
    candidate: CandidateSpec, oof: OutOfFold | None, y: np.ndarray, shares: np.ndarray | None = None
) -> Calibration:
    """Calibrate one estimator on its out-of-fold scores; `y` and `shares` are those of the whole training frame."""
    if candidate.calibration == "none" or oof is None:
        return Calibration()
    return _calibrated(candidate, oof.raw[candidate.name], oof, y, shares)


def _calibrated(
    candidate: CandidateSpec, raw: np.ndarray, oof: OutOfFold, y: np.ndarray, shares: np.ndarray | None
) -> Calibration:
    weights = None if shares is None else 1 / np.asarray(shares, dtype=float)[oof.rows]
    return Calibration.fit(candidate.calibration, raw, y[oof.rows], candidate.name, weights)


def blend(
    candidate: CandidateSpec, parts: list[CandidateSpec], oof: OutOfFold, y: np.ndarray, shares: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """Out-of-fold score of a candidate before its own calibration: the average of its parts' calibrated ones, shape (m,)."""
    if not candidate.ensemble:
        return oof.raw[candidate.name]
    return average([calibration_of(part, oof, y, shares)(oof.raw[part.name]) for part in parts])


def average(probabilities: list[np.ndarray]) -> np.ndarray:
    """Average in log-odds, each array of shape (n,).

    With rare positives the plain mean lets the boldest member decide alone; log-odds weigh a step from 0.01 to 0.1 like
    one from 0.9 to 0.99 (logarithmic opinion pool, Genest & Zidek 1986).
    """
    if len(probabilities) == 1:
        return probabilities[0]
    return expit(np.mean([logit(p) for p in probabilities], axis=0))


def _labels(rows: Rows, name: str) -> np.ndarray:
    if rows.y is None:
        raise ModelError(f"candidate {name!r}: a classifier needs labels")
    labels, size = np.asarray(rows.y), len(rows.frame)
    if labels.shape != (size,):
        raise ModelError(f"candidate {name!r}: {labels.shape} labels for {size} rows")
    if not np.isin(labels, (0, 1)).all():
        raise ModelError(f"candidate {name!r}: labels must be 0 or 1, found others or nulls")
    labels = labels.astype(int)
    if labels.min(initial=1) == labels.max(initial=0):
        raise ModelError(f"candidate {name!r}: the {size} training rows hold one class only")
    return labels


def _keep(labels: np.ndarray, negatives: int | None, seed: int) -> tuple[np.ndarray | None, float]:
    """Positions of the rows trained on (all positives, at most `negatives` others), and the negatives' rate."""
    others = np.flatnonzero(labels == 0)
    if negatives is None or len(others) <= negatives:
        return None, 1.0
    drawn = np.random.default_rng(seed).choice(others, negatives, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(labels == 1), drawn])), negatives / len(others)


def _class_weight(candidate: CandidateSpec, labels: np.ndarray) -> float:
    if candidate.class_weight == "none":
        return 1.0
    if candidate.class_weight == "balanced":
        return float((labels == 0).sum() / (labels == 1).sum())
    return float(candidate.class_weight)
