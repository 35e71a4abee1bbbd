"""The spec of a forecasting model: many series, known-in-advance regressors, intervals, order cost."""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from baton.names import scoring_of
from baton.specs.base import Column, InnerShare, Name, Seq, Spec
from baton.specs.model import NUMERIC, Candidate, ModelSpec, NamedColumn, TrainingSpec, check_candidates, estimator_of
from baton.specs.policy import DriftPolicy, GatePolicy

# lower is better in all of them
ForecastMetric = Literal["mase", "smape", "wape", "pinball"]
Frequency = Annotated[
    str,
    AfterValidator(lambda text: _frequency(text)),
    Field(examples=["h", "D", "W-MON", "MS", "QS"], pattern=r"^(h|D|W-(MON|TUE|WED|THU|FRI|SAT|SUN)|MS|QS)$"),
]
CalendarPart = Literal["hour", "dayofweek", "day", "dayofyear", "week", "month", "quarter", "year"]
QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def _frequency(text: str) -> str:
    if not re.fullmatch(r"h|D|W-(MON|TUE|WED|THU|FRI|SAT|SUN)|MS|QS", text):
        raise ValueError("should be h, D, W-MON to W-SUN, MS or QS")
    return text


class SeriesSpec(Spec):
    """Which columns play which part; a row is one period of one series."""

    entity: Column = Field(description="key of a series, for example item")
    time: Column = Field(description="start of the period")
    target: Column = Field(description="quantity of the period; null in a row of the future")
    known: Seq[Column] = Field(
        default=(), description="regressors known in advance (price, promotion, holiday); needed for the future too"
    )
    hierarchy: Seq[Column] = Field(
        default=(), description="columns above the series, from the top (state, region); forecasts are reconciled"
    )
    frequency: Frequency = Field(description="length of a period as pandas calls it")
    seasons: Seq[int] = Field(default=(1,), min_length=1, description="seasonal lengths in periods, shortest first")
    floor: float | None = Field(default=0.0, description="no forecast lies below; null: any value")

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row."""
        return (self.entity, self.time)

    @field_validator("seasons")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(length < 1 for length in value) or list(value) != sorted(set(value)):
            raise ValueError("lengths of at least 1, shortest first, each once")
        return value


class SeriesTrainingSpec(TrainingSpec):
    """What a version is trained on."""

    min_periods: int = Field(default=8, ge=2, description="a series with fewer periods is `new`: its neighbours' shape")
    max_gap: int = Field(
        default=1, ge=0, description="missing periods in a row that are bridged; a series with more is refused"
    )
    dead_after: int = Field(default=26, ge=1, description="so many last periods without demand: the series is `dead`")


class LagSpec(Spec):
    """What a global model sees of each series' past."""

    lags: Seq[int] = Field(min_length=1, description="periods back, for example [1, 2, 52]")
    rolling: Seq[Seq[int]] = Field(default=(), description="means as [lag, window] pairs")
    differences: Seq[int] = Field(default=(), description="the target is differenced by these periods")
    scale: Literal["none", "mean", "standard"] = Field(default="mean", description="each series divided by its level")
    log: bool = Field(default=False, description="learn log(1 + target)")
    calendar: Seq[CalendarPart] = Field(default=(), description="parts of the date that are regressors")
    direct: bool = Field(default=False, description="one model per horizon instead of feeding forecasts back")


class ForecasterSpec(Candidate):
    """One forecaster that training tries: an estimator, or a combination of earlier candidates."""

    estimator: str | None = estimator_of("forecast")
    ensemble: Seq[Name] | None = Field(default=None, min_length=2, description="earlier candidates that are combined")
    combine: Literal["median", "mean"] = Field(default="median", description="how an ensemble's parts become one")
    features: LagSpec | None = Field(default=None, description="of a global model (LightGBM); null: one-series models")

    @model_validator(mode="after")
    def _features_of_a_global_model(self) -> Self:
        if (self.features is not None) != (self.estimator == "lightgbm.LGBMRegressor"):
            raise ValueError("features: needed for lightgbm.LGBMRegressor, and for it only")
        return self


class BacktestSpec(Spec):
    """Rolling origins inside the training rows: each forecast uses only what lies before its origin."""

    origins: int = Field(default=4, ge=2, le=60, description="number of origins, the last one `horizon` before the end")
    step: int = Field(default=1, ge=1, description="periods between origins")
    metric: ForecastMetric = Field(default="mase", description="the leaderboard is sorted by it, smallest first")


class OrderCostSpec(Spec):
    """The cost of the orders that would have followed: order up to the cost-optimal quantile, then demand happens."""

    short: Column | float = Field(description="cost of a unit that is missing: a number or a column")
    over: Column | float = Field(description="cost of a unit left over: a number or a column")
    lead: int = Field(default=1, ge=1, description="periods until an order arrives; the order covers them and one more")


class ForecastGateSpec(GatePolicy):
    """When a challenger may replace the champion."""

    metric: ForecastMetric = Field(default="mase", description="champion and challenger are compared in it")
    ceiling: float = Field(default=1.0, gt=0.0, description="a challenger's metric must not exceed it, champion or not")
    min_cases: int = Field(default=20, ge=4, description="fewer (series, origin) pairs to compare: MORE_DATA")
    cost: OrderCostSpec | None = Field(default=None, description="decide in order cost too; null: only in the metric")
    segments: Seq[Column] = Field(default=(), description="columns whose values are looked at one by one")
    segment_rise: float = Field(default=0.2, ge=0.0, description="largest rise of the metric tolerated in a segment")


class ErrorSpec(Spec):
    """Errors of published forecasts against those expected, seen as sales arrive."""

    metric: Literal["mase"] = Field(default="mase", description="scaled absolute error of what is known by now")
    max_rise: float = Field(default=0.4, gt=0.0, description="largest rise above the backtest's value")
    min_cases: int = Field(default=6, ge=2, description="fewer known (series, period) pairs and errors are not judged")


class SeriesDriftSpec(DriftPolicy):
    """When the model is retrained, and when not. A season is in the forecast, so it is no drift."""

    min_rows: int = Field(default=6, ge=2, description="fewer known (series, period) pairs and a window is not judged")
    p_value: float = Field(default=0.01, gt=0.0, lt=1.0, description="the test of a segment must fall below it")
    effect: float = Field(default=0.8, gt=0.0, description="and its bias reach this, in expected errors")
    fdr: float = Field(default=0.05, gt=0.0, lt=1.0, description="false discovery rate over the segments")
    segments: Seq[Column] = Field(default=(), description="columns whose values are watched; series themselves always")
    performance: ErrorSpec | None = Field(default=None, description="null: bias only")
    min_known: int = Field(
        default=12, ge=0, description="known (series, period) pairs since the drift began that a retraining needs"
    )

    @property
    def needed(self) -> tuple[int, str]:
        """Known periods."""
        return self.min_known, "known periods"


class ForecastSpec(ModelSpec):
    """The whole life of a forecasting model."""

    family: Literal["forecast"] = Field(description="what kind of model it is")
    data: SeriesSpec = Field(description="which columns play which part")
    horizon: int = Field(ge=1, le=400, description="periods that are forecast")
    quantiles: Seq[InnerShare] = Field(default=QUANTILES, description="of the forecast distribution; 0.5: the forecast")
    training: SeriesTrainingSpec = Field(description="what it learns from")
    candidates: Seq[ForecasterSpec] = Field(min_length=1, description="what training tries; the best one is registered")
    validation: BacktestSpec = Field(default_factory=BacktestSpec, description="how candidates are compared")
    gate: ForecastGateSpec = Field(default_factory=ForecastGateSpec, description="when a challenger may take over")
    drift: SeriesDriftSpec | None = Field(default=None, description="when it is retrained; null: never by itself")

    starts_from_history: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_candidates(self)
        if self.scoring is not None and self.training.recent is None:
            raise ValueError(
                "scoring: a forecast starts from the periods right before it, and the history ends; add training.recent: "
                f"{{flow: {scoring_of(self.model)}}}"
            )
        if 0.5 not in self.quantiles or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError("quantiles: rising, each once, with 0.5 among them")
        return self

    def named_columns(self, *, training: bool) -> list[NamedColumn]:
        """All of them are needed for a forecast too: it starts from the history."""
        data, gate, drift = self.data, self.gate, self.drift
        named: list[NamedColumn] = [
            (("data", "entity"), data.entity, ("int", "str")),
            (("data", "time"), data.time, ("timestamp",)),
            (("data", "target"), data.target, ("int", "float")),
        ]
        named += [(("data", "known", i), column, NUMERIC) for i, column in enumerate(data.known)]
        named += [(("data", "hierarchy", i), column, ("int", "str")) for i, column in enumerate(data.hierarchy)]
        named += [(("gate", "segments", i), column, ("int", "str")) for i, column in enumerate(gate.segments)]
        if gate.cost is not None:
            costs = (("short", gate.cost.short), ("over", gate.cost.over))
            named += [(("gate", "cost", part), c, ("int", "float")) for part, c in costs if isinstance(c, str)]
        if drift is not None:
            named += [(("drift", "segments", i), column, ("int", "str")) for i, column in enumerate(drift.segments)]
        return named
