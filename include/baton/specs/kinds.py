"""The YAML of a pack as strict pydantic models: models, contracts, sources.

    models/<model>.yaml        -> TabularSpec | ForecastSpec | TextSpec, by `family`
    contracts/<contract>.yaml  -> ContractSpec
    sources.yaml               -> SourcesSpec (name -> FileSource | SqlSource | HttpSource)

`baton.packs` loads them, `baton.lint` explains mistakes, `baton.schemas` writes JSON Schema for editors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from baton.specs.base import Column, Cron, Duration, Name, Seq, Spec, format_duration, parse_duration
from baton.specs.contract import ColumnSpec, ContractSpec, ExpectationSpec, RuleMeta, expand_range
from baton.specs.forecast import (
    BacktestSpec,
    ErrorSpec,
    ForecasterSpec,
    ForecastGateSpec,
    ForecastMetric,
    ForecastSpec,
    LagSpec,
    OrderCostSpec,
    SeriesDriftSpec,
    SeriesSpec,
    SeriesTrainingSpec,
)
from baton.specs.model import (
    ESTIMATORS,
    CandidateSpec,
    DataSpec,
    HistorySpec,
    ModelSpec,
    RecentSpec,
    ScoringSpec,
    TabularSpec,
    TrainingSpec,
    ValidationSpec,
    expand_features,
)
from baton.specs.policy import (
    ApprovalSpec,
    BudgetSpec,
    CostSpec,
    DriftPolicy,
    DriftSpec,
    GatePolicy,
    GateSpec,
    Metric,
    PerformanceSpec,
    PersistenceSpec,
    Schedules,
    SliceSpec,
)
from baton.specs.source import (
    FileSource,
    Format,
    HttpSource,
    PagingSpec,
    ReplaySpec,
    RetrySpec,
    Source,
    SourcesSpec,
    SqlSource,
)
from baton.specs.text import (
    AccuracySpec,
    KernelSpec,
    RejectSpec,
    TextCandidateSpec,
    TextDataSpec,
    TextDriftSpec,
    TextGateSpec,
    TextMetric,
    TextSpec,
    TextTrainingSpec,
    TextValidationSpec,
)


class ModelFile(RootModel[Annotated[TabularSpec | ForecastSpec | TextSpec, Field(discriminator="family")]]):
    """models/<model>.yaml: the family decides which fields there are."""


Kind = Literal["model", "contract", "sources"]
KINDS: dict[Kind, type[BaseModel]] = {"model": ModelFile, "contract": ContractSpec, "sources": SourcesSpec}

__all__ = [
    "ESTIMATORS",
    "KINDS",
    "AccuracySpec",
    "ApprovalSpec",
    "BacktestSpec",
    "BudgetSpec",
    "CandidateSpec",
    "Column",
    "ColumnSpec",
    "ContractSpec",
    "CostSpec",
    "Cron",
    "DataSpec",
    "DriftPolicy",
    "DriftSpec",
    "Duration",
    "ErrorSpec",
    "ExpectationSpec",
    "FileSource",
    "ForecastGateSpec",
    "ForecastMetric",
    "ForecastSpec",
    "ForecasterSpec",
    "Format",
    "GatePolicy",
    "GateSpec",
    "HistorySpec",
    "HttpSource",
    "KernelSpec",
    "Kind",
    "LagSpec",
    "Metric",
    "ModelFile",
    "ModelSpec",
    "Name",
    "OrderCostSpec",
    "PagingSpec",
    "PerformanceSpec",
    "PersistenceSpec",
    "RecentSpec",
    "RejectSpec",
    "ReplaySpec",
    "RetrySpec",
    "RuleMeta",
    "Schedules",
    "ScoringSpec",
    "Seq",
    "SeriesDriftSpec",
    "SeriesSpec",
    "SeriesTrainingSpec",
    "SliceSpec",
    "Source",
    "SourcesSpec",
    "Spec",
    "SqlSource",
    "TabularSpec",
    "TextCandidateSpec",
    "TextDataSpec",
    "TextDriftSpec",
    "TextGateSpec",
    "TextMetric",
    "TextSpec",
    "TextTrainingSpec",
    "TextValidationSpec",
    "TrainingSpec",
    "ValidationSpec",
    "expand_features",
    "expand_range",
    "format_duration",
    "json_schema",
    "parse_duration",
]


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema (2020-12) of one kind of YAML file, with every field's description."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **KINDS[kind].model_json_schema()}
