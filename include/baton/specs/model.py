"""Model specs: one YAML file is the whole life of a model."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from baton.names import CONTRACT
from baton.specs.base import Name, Seq, Spec
from baton.specs.policy import ApprovalSpec, DriftPolicy, GatePolicy, Schedules

# The only classes a spec can name, and the families that may: one list, so that one look says what can run. Nothing else is ever imported by dotted path.
ESTIMATORS: dict[str, tuple[str, ...]] = {
    "sklearn.linear_model.LogisticRegression": ("classification", "text"),
    "sklearn.ensemble.RandomForestClassifier": ("classification",),
    "sklearn.ensemble.ExtraTreesClassifier": ("classification",),
    "sklearn.ensemble.HistGradientBoostingClassifier": ("classification",),
    "lightgbm.LGBMClassifier": ("classification",),
    "sklearn.ensemble.IsolationForest": ("anomaly",),
    "sklearn.decomposition.PCA": ("anomaly",),
    "sklearn.covariance.ShrunkCovariance": ("anomaly", "classification"),
    "sklearn.mixture.GaussianMixture": ("anomaly", "classification"),
    "sklearn.linear_model.RidgeClassifier": ("text",),
    "sklearn.svm.LinearSVC": ("text",),
    "statsforecast.models.Naive": ("forecast",),
    "statsforecast.models.SeasonalNaive": ("forecast",),
    "statsforecast.models.HistoricAverage": ("forecast",),
    "statsforecast.models.AutoETS": ("forecast",),
    "statsforecast.models.AutoARIMA": ("forecast",),
    "statsforecast.models.AutoCES": ("forecast",),
    "statsforecast.models.AutoTheta": ("forecast",),
    "statsforecast.models.DynamicOptimizedTheta": ("forecast",),
    "statsforecast.models.MSTL": ("forecast",),
    "statsforecast.models.CrostonSBA": ("forecast",),
    "statsforecast.models.ADIDA": ("forecast",),
    "statsforecast.models.IMAPA": ("forecast",),
    "statsforecast.models.TSB": ("forecast",),
    "lightgbm.LGBMRegressor": ("forecast",),
}


NUMERIC = ("int", "float", "bool")
# where a spec names a column, which, and the types that a contract may give it
NamedColumn = tuple[tuple[str | int, ...], str | None, tuple[str, ...]]


class HistorySpec(Spec):
    """Rows from before the first partition."""

    source: Name = Field(description="source whose `history` is read")


class RecentSpec(Spec):
    """Rows that a flow has committed since, with their truth."""

    flow: Name = Field(description="DAG id of the flow")
    stage: Name = Field(default=CONTRACT, description="stage whose output is read")
    partitions: int = Field(
        default=1000, ge=1, description="at most so many partitions, the newest whose truth is known"
    )
    rows: int = Field(
        default=500_000, ge=1000,
        description="about so many rows at most: of more labelled ones, the large classes are sampled by a hash of the "
        "entity and count for more instead",
    )  # fmt: skip


class TrainingSpec(Spec):
    """What a version is trained on."""

    contract: Name = Field(description="contract the training rows must keep")
    history: HistorySpec | None = Field(default=None, description="rows from before the first partition")
    recent: RecentSpec | None = Field(default=None, description="rows of a flow, once their truth is known")
    min_rows: int = Field(default=1000, ge=1, description="fewer rows and the training stops")
    seed: int = Field(default=7, ge=0, description="of every random choice in training")

    @model_validator(mode="after")
    def _some_rows(self) -> Self:
        if self.history is None and self.recent is None:
            raise ValueError("give history, recent or both: there is nothing to train on")
        return self


def estimator_of(*families: str) -> Any:
    """The field `estimator` of the candidates of these families."""
    known = [path for path, belongs in ESTIMATORS.items() if not set(families).isdisjoint(belongs)]
    return Field(default=None, description="dotted path of the allow-list", json_schema_extra={"enum": [*known, None]})


class Candidate(Spec):
    """One model that training tries: an estimator, or an ensemble of earlier candidates; a family adds its own options."""

    name: Name = Field(description="how the leaderboard calls it")
    estimator: str | None
    ensemble: Seq[Name] | None
    params: dict[str, Any] = Field(default_factory=dict, description="arguments of the estimator")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.estimator is None) == (self.ensemble is None):
            raise ValueError("give exactly one of estimator and ensemble")
        if self.estimator is not None and self.estimator not in ESTIMATORS:
            raise ValueError(f"estimator: `{self.estimator}` is not on the allow-list")
        if self.ensemble is not None and self.params:
            raise ValueError("params: an ensemble has none")
        if len(set(self.ensemble or ())) != len(self.ensemble or ()):
            raise ValueError("ensemble: each part once")
        return self


class ScoringSpec(Spec):
    """A scoring DAG of the model's own, `<model>_score`, for models that no flow uses."""

    source: Name = Field(description="source of the rows to score")
    contract: Name = Field(description="contract of those rows")
    output: Name | None = Field(default=None, description="contract of the scored rows; null: the engine's own checks")


class ModelSpec(Spec):
    """What the life of every model has; a family adds its own data, candidates, gate and drift policy."""

    model: Name = Field(description="name of the model, the same as the file's; also its name in the registry")
    family: str = Field(description="what kind of model it is")
    owner: str = Field(min_length=1, description="who answers for it: a person or a team")
    description: str = Field(min_length=1, description="what it decides and for whom; head of the model card")
    data: Any
    training: TrainingSpec = Field(description="what it learns from")
    candidates: Seq[Candidate]
    validation: Any
    gate: GatePolicy = Field(description="when a challenger may replace the champion")
    approval: ApprovalSpec = Field(default_factory=ApprovalSpec, description="who says yes")
    drift: DriftPolicy | None = Field(default=None, description="when it is retrained; null: never by itself")
    schedules: Schedules = Field(default_factory=Schedules, description="when Airflow starts its DAGs")
    scoring: ScoringSpec | None = Field(default=None, description="a scoring DAG of its own; null: flows score it")

    starts_from_history: ClassVar[bool] = False
    """Whether a prediction needs the rows before its partition too."""

    def needs_prepared(self, candidate: Candidate) -> bool:
        """Whether a candidate needs what the family prepares once for all that do, see `families.base.Preparing`."""
        return False

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Files out of published packages that this model works with, see `baton.packs.packaged`."""
        return ()

    @abstractmethod
    def named_columns(self, *, training: bool) -> list[NamedColumn]:
        """Columns that the contract of its rows must have; with `training`, what only training rows have too."""


def check_candidates(spec: ModelSpec) -> None:
    """Names are unique, ensembles name earlier candidates, estimators belong to the family.

    Raises:
        ValueError: with the field's path in front.
    """
    earlier: set[str] = set()
    for position, candidate in enumerate(spec.candidates):
        where = f"candidates[{position}]"
        if candidate.name in earlier:
            raise ValueError(f"{where}.name: `{candidate.name}` is taken by an earlier candidate")
        for part in candidate.ensemble or ():
            if part not in earlier:
                raise ValueError(f"{where}.ensemble: `{part}` is no earlier candidate")
        families = ESTIMATORS.get(candidate.estimator or "", (spec.family,))
        if spec.family not in families:
            raise ValueError(
                f"{where}.estimator: `{candidate.estimator}` belongs to the family {' or '.join(families)}"
            )
        earlier.add(candidate.name)


Value = bool | int | float | str | None


class Range(Spec):
    """Numbers between two ends, both included; whole ones where both ends are whole."""

    low: int | float = Field(description="the smallest")
    high: int | float = Field(description="the largest")
    log: bool = Field(default=False, description="try magnitudes alike: 0.01 to 0.1 as often as 0.1 to 1")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low: with log it must be above 0")
        return self


class GridSpec(Spec):
    """A search over parameters of candidates, what `baton try --grid` reads: for each one, parameters and where they may lie."""

    candidates: dict[Name, dict[str, Seq[Value] | Range]] = Field(
        min_length=1, description="candidate -> parameter -> a list of values, or low, high and log"
    )
    trials: int = Field(default=50, ge=1, description="at most so many for each candidate")
    seconds: float = Field(default=300.0, gt=0, description="no trial begins later than that, all candidates together")
    seed: int = Field(default=7, ge=0, description="of the search")
