"""The policies of a model spec: gate, approval, drift, schedules."""

from abc import abstractmethod
from datetime import timedelta
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from baton.specs.base import Column, Cron, Duration, InnerShare, Name, Seq, Share, Spec

Metric = Literal["average_precision", "roc_auc"]
FairnessMetric = Literal["true_positive_rate", "false_positive_rate", "selection_rate"]


class CostSpec(Spec):
    """What errors cost, in the currency of `data.money`."""

    missed: Column | float = Field(description="cost of a missed positive: a column (its amount) or a number")
    review: float = Field(ge=0.0, description="cost of looking at one alert")
    threshold_by: Literal["cost"] = Field(default="cost", description="the alert threshold minimises the cost")


class SliceSpec(Spec):
    """A part of the rows in which a new version must not be clearly worse."""

    name: Name = Field(description="how the gate's table calls it")
    column: Column = Field(description="numeric column that is cut into slices")
    bins: Seq[float] = Field(
        min_length=2, description="rising edges; n edges make n-1 slices, the left edge belongs in"
    )

    @field_validator("bins")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(value)):
            raise ValueError("edges should rise")
        return value


class FairnessSpec(Spec):
    """A bound on how differently a new version may treat groups of rows."""

    name: Name = Field(description="how the gate's table calls it")
    column: Column = Field(description="column that says of which group a row is; the model need not see it")
    bins: Seq[float] = Field(
        default=(), description="rising edges that cut a numeric column into groups; none: each value is a group"
    )
    metric: FairnessMetric = Field(
        default="true_positive_rate",
        description="of a group: positives that are alerted, negatives that are, or all rows that are",
    )
    max_gap: Share = Field(description="largest difference of the metric between two groups")
    min_rows: int = Field(
        default=50,
        ge=1,
        description="a group with fewer rows for the metric is listed, not judged, and the verdict says so",
    )

    @field_validator("bins")
    @classmethod
    def _edges(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) == 1 or any(b <= a for a, b in pairwise(value)):
            raise ValueError("edges should rise; at least 2, or none")
        return value


class GatePolicy(Spec):
    """What the gate of every family has: two models are compared on the same cases, with a paired bootstrap."""

    confidence: InnerShare = Field(default=0.9, description="level of the paired bootstrap interval")
    resamples: int = Field(default=500, ge=50, le=20_000, description="bootstrap resamples")
    min_gain: float = Field(
        default=0.0, description="gain over the champion that the interval's lower end must reach; 0: must lie above"
    )


class GateSpec(GatePolicy):
    """When a challenger may replace the champion."""

    metric: Metric = Field(default="average_precision", description="champion and challenger are compared in it")
    min_positives: int = Field(default=20, ge=1, description="fewer positives in the holdout: MORE_DATA")
    floor: Share = Field(default=0.5, description="the challenger's metric must reach it, champion or not")
    cost: CostSpec | None = Field(default=None, description="decide in money too; null: only in the metric")
    slices: Seq[SliceSpec] = Field(default=(), description="parts of the rows that are looked at one by one")
    slice_floor: Share = Field(default=0.05, description="largest loss of the metric that is tolerated in a slice")
    fairness: Seq[FairnessSpec] = Field(default=(), description="groups that must not be treated too differently")


class ApprovalSpec(Spec):
    """Who says yes."""

    mode: Literal["airflow", "registry", "either"] = Field(
        default="either", description="answer in the Airflow UI, by a tag in the registry, or whichever comes first"
    )
    timeout: Duration = Field(default=timedelta(hours=24), description="no answer by then: not promoted")


class PersistenceSpec(Spec):
    """How often drift must be seen before it counts."""

    k: int = Field(default=2, ge=1, description="so many drifted windows")
    n: int = Field(default=3, ge=1, description="among the last n count as drift")

    @model_validator(mode="after")
    def _k_of_n(self) -> Self:
        if self.k > self.n:
            raise ValueError("k: at most n")
        return self


class BudgetSpec(Spec):
    """A brake against retraining loops."""

    retrains: int = Field(default=3, ge=0, description="at most so many retrainings")
    per: Duration = Field(default=timedelta(days=7), description="within that time")


class PerformanceSpec(Spec):
    """Drift of the result itself, seen when labels arrive."""

    metric: Metric = Field(default="average_precision", description="measured on labelled windows")
    max_drop: float = Field(default=0.15, gt=0.0, le=1.0, description="largest fall against the holdout's value")
    min_positives: int = Field(default=10, ge=1, description="fewer positives and performance is not judged")


class DriftPolicy(Spec):
    """From judged windows to a decision: persistence, cool-down, budget."""

    persistence: PersistenceSpec = Field(default_factory=PersistenceSpec, description="k of the last n windows")
    cooldown: Duration = Field(
        default=timedelta(hours=6), description="pause after a retraining, in data (partition) time"
    )
    budget: BudgetSpec = Field(default_factory=BudgetSpec, description="at most so many retrainings per time")

    @property
    @abstractmethod
    def needed(self) -> tuple[int, str]:
        """How many truths since the drift began make a retraining worth it, and what they are called."""


class DriftSpec(DriftPolicy):
    """When the model is retrained, and when not."""

    min_rows: int = Field(default=500, ge=1, description="a window with fewer rows is not judged")
    p_value: float = Field(default=0.001, gt=0.0, lt=1.0, description="a feature's test must fall below it")
    effect: float = Field(
        default=0.2, gt=0.0, description="and its effect size reach this, however many rows there are"
    )
    fdr: float = Field(default=0.01, gt=0.0, lt=1.0, description="false discovery rate over the features")
    performance: PerformanceSpec | None = Field(default=None, description="null: inputs and scores only")
    min_labelled_positives: int = Field(
        default=30, ge=0, description="recent positives that must be labelled before a retraining makes sense"
    )

    @property
    def needed(self) -> tuple[int, str]:
        """Labelled positives."""
        return self.min_labelled_positives, "labelled positives"


class Schedules(Spec):
    """When Airflow starts the model's DAGs by the clock (UTC)."""

    train: Cron | None = Field(default=None, description="cron line; null: only by drift or by hand")
    score: Cron | None = Field(default=None, description="cron line of `<model>_score`; null: only by hand")
