"""The spec of a model of tables: its data, candidates and validation."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import Field, model_validator

from baton.specs.base import Column, InnerShare, Name, Seq, Spec
from baton.specs.contract import ContractSpec
from baton.specs.model import Candidate, ModelSpec, NamedColumn, TrainingSpec, check_candidates, estimator_of
from baton.specs.policy import DriftSpec, GateSpec, Metric


class DataSpec(Spec):
    """Which columns play which part."""

    entity: Column = Field(description="key of a row, for example transaction_id")
    time: Column = Field(description="event time; splits are by time, never at random")
    target: Column | None = Field(default=None, description="0/1 label; null for a model without labels")
    features: Seq[Column] = Field(
        min_length=1, description="columns the model sees; `v*` takes all that match but entity, time, target"
    )
    money: Column | None = Field(default=None, description="column with the amount at stake, for decisions in money")

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row."""
        return (self.entity,)


class LabelledTrainingSpec(TrainingSpec):
    """What a version is trained on, and what is kept back to judge it."""

    holdout: InnerShare = Field(default=0.25, description="share of the history kept back, the most recent by time")
    recent_holdout: InnerShare = Field(
        default=0.4, description="share of recent labelled rows kept back, chosen by a hash of the entity"
    )
    min_positives: int = Field(default=50, ge=0, description="fewer positive labels and the training stops")
    recent_weight: float = Field(default=1.0, gt=0.0, description="weight of a recent row; a row of the history has 1")
    balance: Column | None = Field(
        default=None,
        description="column that says of what kind a positive row is; the positives of a kind weigh together as the square "
        "root of their number (times the same for all kinds), so that the commonest kind does not decide alone",
    )
    refit: bool = Field(
        default=False,
        description="the published model learns from what was held out too, after the same one without it was judged by it",
    )


class CandidateSpec(Candidate):
    """One model that training tries: an estimator, or an average of earlier candidates."""

    estimator: str | None = estimator_of("classification", "anomaly")
    ensemble: Seq[Name] | None = Field(
        default=None, min_length=2, description="earlier candidates; their calibrated probabilities are averaged"
    )
    calibration: Literal["none", "sigmoid", "isotonic"] = Field(
        default="none", description="how scores become probabilities"
    )
    class_weight: Literal["none", "balanced"] | float = Field(
        default="none", description="weight of a positive row: none, balanced, or a number"
    )
    numbers: Literal["plain", "log"] = Field(
        default="plain",
        description="how it sees numbers: as they are, or as sign(x) log(1+|x|), where a few are a thousand times the others",
    )
    negatives: int | None = Field(
        default=None, ge=1, description="train on at most that many negative rows, drawn at random; null: all"
    )
    seed: int | None = Field(default=None, ge=0, description="null: the training's seed")


class ValidationSpec(Spec):
    """How candidates are compared inside the training part."""

    folds: int = Field(
        default=3, ge=1, le=20, description="number of folds; by time each is later than its training rows"
    )
    scheme: Literal["time", "kinds"] = Field(
        default="time",
        description="time: train on the past, judge on what follows; kinds: judge on kinds of positive rows that the training "
        "has none of",
    )
    kinds: Column | None = Field(
        default=None, description="for scheme kinds: the column that says of what kind a positive row is; else empty"
    )
    metric: Metric = Field(default="average_precision", description="the leaderboard is sorted by it")

    @model_validator(mode="after")
    def _column_of_kinds(self) -> Self:
        if (self.scheme == "kinds") != (self.kinds is not None):
            raise ValueError("kinds: name the column with scheme: kinds, and only then")
        if self.scheme == "kinds" and self.folds < 2:
            raise ValueError("folds: with kinds at least 2, each judged by the others")
        return self


class ReasonSpec(Spec):
    """What a person is told when features speak against them."""

    code: Name = Field(description="how programs and letters call the reason")
    features: Seq[Column] = Field(
        min_length=1, description="features that it is about, or globs; the first reason that matches counts"
    )
    text: str = Field(
        min_length=1, max_length=300, description="a sentence; `{features}` is replaced by those that raised the score"
    )


class TabularSpec(ModelSpec):
    """The whole life of a model that scores rows of a table."""

    family: Literal["classification", "anomaly"] = Field(description="what kind of model it is")
    data: DataSpec = Field(description="which columns play which part")
    training: LabelledTrainingSpec = Field(description="what it learns from")
    candidates: Seq[CandidateSpec] = Field(min_length=1, description="what training tries; the best one is registered")
    validation: ValidationSpec = Field(default_factory=ValidationSpec, description="how candidates are compared")
    gate: GateSpec = Field(default_factory=GateSpec, description="when a challenger may replace the champion")
    drift: DriftSpec | None = Field(default=None, description="when it is retrained; null: never by itself")
    reasons: Seq[ReasonSpec] = Field(
        default=(),
        description="sentences for a score that opens a case, by what raised it; none: features by name only",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_candidates(self)
        if self.family == "classification" and self.data.target is None:
            raise ValueError("data.target: a classification model needs a label column")
        if self.family == "anomaly" and self.training.balance is not None:
            raise ValueError("training.balance: an anomaly model learns without labels, so nothing is weighed")
        said = {self.training.balance, self.validation.kinds} - {None}
        if leaked := sorted(str(name) for name in said & set(self.data.features)):
            raise ValueError(f"data.features: `{leaked[0]}` says what the label says")
        return self

    def named_columns(self, *, training: bool) -> list[NamedColumn]:
        """All but the features, which are globs."""
        data, gate = self.data, self.gate
        named: list[NamedColumn] = [
            (("data", "entity"), data.entity, ("int", "str")),
            (("data", "time"), data.time, ("timestamp",)),
            (("data", "money"), data.money, ("int", "float")),
        ]
        if training:
            named.append((("data", "target"), data.target, ("int", "bool")))
            named.append((("training", "balance"), self.training.balance, ("int", "str")))
            named.append((("validation", "kinds"), self.validation.kinds, ("int", "str")))
            if gate.cost is not None and isinstance(gate.cost.missed, str):
                named.append((("gate", "cost", "missed"), gate.cost.missed, ("int", "float")))
            for position, part in enumerate(gate.slices):
                named.append((("gate", "slices", position, "column"), part.column, ("int", "float")))
            for position, rule in enumerate(gate.fairness):
                types = ("int", "float") if rule.bins else ("int", "str", "bool")
                named.append((("gate", "fairness", position, "column"), rule.column, types))
        return named

    def unexplained(self, features: Iterable[str]) -> list[str]:
        """Features that no sentence is about, where the model declares sentences."""
        patterns = [pattern for reason in self.reasons for pattern in reason.features]
        return [name for name in features if patterns and not any(fnmatchcase(name, one) for one in patterns)]

    def features(self, contract: ContractSpec) -> tuple[str, ...]:
        """Writes the feature globs out against a contract's columns, in spec order, each column once.

        Raises:
            ValueError: a name or glob matches no column.
        """
        return expand_features(self.data, contract.columns)


def expand_features(data: DataSpec, columns: Iterable[str]) -> tuple[str, ...]:
    """See `TabularSpec.features`; entity, time and target never match a glob."""
    listed = list(columns)
    never = {data.entity, data.time, data.target}
    found: dict[str, None] = {}
    for pattern in data.features:
        is_glob = any(sign in pattern for sign in "*?[")
        matches = [c for c in listed if (fnmatchcase(c, pattern) and c not in never) or c == pattern]
        if not matches:
            raise ValueError(f"features: `{pattern}` {'matches no column' if is_glob else 'is not a column'}")
        found.update(dict.fromkeys(matches))
    return tuple(found)
