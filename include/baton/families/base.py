"""Protocols that every model family follows; the scores, the files of a saved model."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd

from baton.data.partitions import HOUR
from baton.drift.performance import Performance
from baton.drift.table import DriftTable
from baton.errors import ModelError
from baton.families.verdict import GateVerdict
from baton.specs.model import Candidate

MODEL_FILE = "model.json"
FORMAT = 1
SEEN = "_seen"  # column of a gate's rows
JUDGED = "judged"  # folder of the model that is judged, inside one that has learnt more
REFITTED = (
    "It has learnt what was held out too, after the model that the figures are of was measured on that. Nothing is left by which its "
    "own answers could be watched for drift; what it is asked about is."
)

Reasons = list[tuple[str, float]]
C = TypeVar("C", bound=Candidate)
Json = dict[str, Any]  # plain values
Tried = Mapping[str, pd.DataFrame]  # candidate -> what `validate` returned of it; one that failed is absent or empty


@dataclass(frozen=True)
class Rows:
    """What a model learns from.

    Attributes:
        frame: n rows; the columns hold at least the features.
        y: shape (n,), 0 or 1; None without labels.
        weights: shape (n,), not negative; None for equal ones.
        shares: shape (n,), of how many rows of its kind a row is one, where samples were taken; None for all rows.
    """

    frame: pd.DataFrame
    y: np.ndarray | None = None
    weights: np.ndarray | None = None
    shares: np.ndarray | None = None

    def take(self, at: np.ndarray) -> "Rows":
        """The rows at these positions."""
        given = (self.y, self.weights, self.shares)
        return Rows(self.frame.iloc[at], *(None if values is None else np.asarray(values)[at] for values in given))


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


@dataclass(frozen=True)
class Leaderboard:
    """How the candidates did.

    Attributes:
        metric: name of the metric that ranks.
        best: name of the winning candidate.
        rows: one dict per candidate, best first: candidate, value (mean over folds), spread (standard
            deviation), folds (values), cost (money per judged case, mean; None without a price), seconds, error.
        oof: the folds' scores, where they were made in this process.
        errors: the metric measures errors: less is better.
    """

    metric: str
    best: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    oof: OutOfFold | None = None
    errors: bool = False


def parts_of(candidates: Sequence[C], candidate: C) -> list[C]:
    """The estimators a candidate consists of, ensembles inside ensembles resolved, each once."""
    if not candidate.ensemble:
        return [candidate]
    named = {one.name: one for one in candidates}
    found: dict[str, C] = {}
    for name in candidate.ensemble:
        if name not in named:
            raise ModelError(f"candidate {candidate.name!r}: its part {name!r} is not among the candidates")
        found |= {part.name: part for part in parts_of(candidates, named[name])}
    return list(found.values())


def ranked(
    metric: str,
    candidates: Sequence[C],
    judge: Callable[[C], dict[str, Any]],
    *,
    errors: bool,
    oof: OutOfFold | None = None,
) -> Leaderboard:
    """Rank candidates by what `judge` measures of each: value, spread, folds, cost.

    Args:
        errors: the metric measures errors, so less is better.

    Raises:
        ModelError: `judge` raised one for every candidate; the message holds each reason.
    """
    rows: list[dict[str, Any]] = []
    for one in candidates:
        row: dict[str, Any] = {"candidate": one.name, "seconds": 0.0, "value": None, "spread": None}
        row |= {"folds": [], "cost": None, "error": None}
        try:
            row |= judge(one)
        except ModelError as error:
            row["error"] = str(error)
        rows.append(row)
    if all(row["value"] is None for row in rows):
        raise ModelError("no candidate could be judged: " + "; ".join(str(row["error"]) for row in rows))
    sign = 1 if errors else -1
    rows.sort(key=lambda row: np.inf if row["value"] is None else sign * row["value"])
    return Leaderboard(metric, str(rows[0]["candidate"]), rows, oof, errors)


@dataclass(frozen=True)
class Watched:
    """What became of one published partition.

    Attributes:
        table: what moved, feature by feature or segment by segment.
        performance: how good the model turned out to be; None while nothing is known.
        truths: how many truths that count for a retraining are known (positives, periods).
        calibration: per bin (its lower end) or quantile (its level): sum of the chances that were said, how many came true,
            rows; empty where the model says no chances or nothing is known.
    """

    table: DriftTable
    performance: Performance | None
    truths: int
    calibration: list[list[float]] = field(default_factory=list)


Watchable = Iterable[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]
"""Some rows of a partition, and the next, at least once: what was scored; what `score` said then; entity_key and value of what is
known of these by now. Where a row's score depends on other rows (`Family.row_local`) all at once."""


@dataclass(frozen=True)
class Evidence:
    """What a model says of rows that it did not learn from, for people to look at.

    Attributes:
        cases: one row each: truth and said (classes, text), probability (of what is said); none where series are forecast
            or nobody knows the truth.
        series: one row per series and period: series, origin, step, time (of the period, and as text in `label`), y,
            forecast and, with its edges, low and high of the 80 % interval; none for other models.
        importance: feature -> how much of the validation's metric is lost where its cells are dealt anew among the rows,
            largest first; empty where features are words or periods.
    """

    cases: pd.DataFrame | None = None
    series: pd.DataFrame | None = None
    importance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What only the family can say on a model card.

    Attributes:
        data: counts of the training data by name.
        use: one sentence: what one prediction is about and what it means.
        limits: what the user of a prediction must know.
    """

    data: dict[str, Any]
    use: str
    limits: list[str]


class Fitted(Protocol):
    """A trained model."""

    name: str
    features: list[str]

    def save(self, folder: Path) -> None:
        """Write the model into `folder` (made if absent) without any pickle."""


class Family(Protocol):
    """One kind of model, through its whole life: all that the lifecycle's stages ask of it.

    A *frame* is what the training contract let through: for a table its rows, for series their periods. How it is
    cut into rows to learn from and rows to judge on is the family's own matter.

    Attributes:
        truth: `labels` when it arrives later and apart, `rows` when the target is a column of the rows themselves.
        row_local: a row's score depends on no other row, so that a large batch is scored some rows at a time.
    """

    name: str
    truth: Literal["labels", "rows"]
    row_local: bool

    def validate(self, spec: Any, candidate: Any, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Judge one candidate (no ensemble) on rows that it did not see.

        Returns:
            its out-of-sample predictions, plain columns; facts metric, value, spread, seconds.

        Raises:
            ModelError: it cannot be fitted.
        """

    def rank(self, spec: Any, frame: pd.DataFrame, found: Tried) -> Leaderboard:
        """Rank all candidates, ensembles included, by what `validate` found for each single one."""

    def fit(self, spec: Any, frame: pd.DataFrame, board: Leaderboard, found: Tried) -> Fitted:
        """Fit the best candidate on everything that may be learnt from, calibrated on `found`."""

    def published(self, spec: Any, frame: pd.DataFrame, board: Leaderboard, found: Tried, judged: Any) -> Fitted | None:
        """What scores in place of `judged`, which `fit` made: the same, having learnt what was held out too.

        None: `judged` itself, because the spec does not ask for it (`training.refit`) or nothing was held out.
        """

    def evaluate(self, spec: Any, fitted: Any, frame: pd.DataFrame) -> dict[str, float]:
        """Finite metrics of rows that the model did not see, by name; empty without truth."""

    def evidence(self, spec: Any, fitted: Any, frame: pd.DataFrame) -> Evidence:
        """What the model says of the rows that `evaluate` measures it on."""

    def seen(self, spec: Any, frame: pd.DataFrame, learnt_from: pd.DataFrame) -> np.ndarray:
        """Which rows of `frame` a version trained from `learnt_from` by `spec` knows; shape (n,), bool."""

    def judge(self, spec: Any, frame: pd.DataFrame, champion: Any | None, challenger: Any) -> GateVerdict:
        """Compare challenger and champion on the same cases that neither has seen.

        Args:
            frame: what the challenger was trained from; with a champion also `SEEN`, the rows that that one knows.
        """

    def score(self, spec: Any, fitted: Any, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        """What the model says: columns entity_key (str), score (float), reasons (JSON or None), `_row`, and the family's own."""

    def columns(self, spec: Any, fitted: Any) -> list[str] | None:
        """Of `data` what `score` looks at, so that no more is read; None: all."""

    def keys(self, spec: Any, data: pd.DataFrame) -> pd.Series:
        """entity_key of each row of `data`, as `score` writes it."""

    def reference(
        self, spec: Any, fitted: Any, frame: pd.DataFrame, metrics: dict[str, float], step: timedelta = HOUR
    ) -> dict[str, Any]:
        """What later partitions are compared with, plain JSON; no rows.

        Args:
            step: length of a partition: by it the training's period is cut into windows that later ones may be like.
        """

    def watch(self, spec: Any, reference: Json, window: Watchable) -> Watched:
        """Compare a published partition with the reference; how its rows are cut makes no difference."""

    def describe(self, spec: Any, frame: pd.DataFrame) -> Description:
        """What the model card says of the training data, the model's use and its limits."""

    def example(self, spec: Any, fitted: Any, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Input and output for the version's signature: typical values, nobody's row."""

    def load(self, folder: Path) -> Fitted:
        """Restore a saved model."""


class Preparing(Family, Protocol):
    """A family that computes something once for all candidates that need it, see `ModelSpec.needs_prepared`."""

    def prepare(self, spec: Any, frame: pd.DataFrame) -> pd.DataFrame:
        """What they need of each row of the frame; with a column entity_key, by which a person can be erased."""

    def prepared(self, found: pd.DataFrame) -> Family:
        """The family with what `prepare` returned."""


def unseen(holdout: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Held-out rows that the champion does not know either, and what a verdict says of the others."""
    known = int(holdout[SEEN].sum()) if SEEN in holdout else 0
    if not known:
        return holdout, []
    fresh = holdout[~holdout[SEEN]].reset_index(drop=True)
    return fresh, [
        f"{known:,} of {len(holdout):,} held-out rows are left out, because the champion has learnt from them; "
        "rows that neither has seen come with new partitions whose truth is known."
    ]


def threads() -> int:
    """Return how many threads a fit may use: OMP_NUM_THREADS where set, at most two, at most the cores given to us."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(2, cores, int(os.environ.get("OMP_NUM_THREADS") or 2)))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write plain JSON; NaN and infinity are refused, since other readers could not read them."""
    path.write_text(json.dumps(document, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read `model.json` of a model of family `name`. Raises ModelError: another format version or another family."""
    document: dict[str, Any] = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
    if document.get("format") != FORMAT or document.get("family") != name:
        raise ModelError(
            f"{folder / MODEL_FILE}: format {document.get('format')!r} of family {document.get('family')!r}, "
            f"this version reads format {FORMAT} of family {name!r}; train the model again"
        )
    return document
