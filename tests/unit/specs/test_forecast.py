"""The spec of a forecasting model: what it takes, what it refuses and how the lint explains it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from baton.authoring.lint import lint
from baton.packs.pack import load_pack
from baton.specs.forecast import ForecastSpec
from baton.specs.kinds import ModelFile
from baton.specs.tabular import TabularSpec

MODEL: dict[str, Any] = {
    "model": "demand", "family": "forecast", "owner": "planning", "description": "how much is sold",
    "data": {"entity": "item", "time": "week", "target": "units", "known": ["price"], "frequency": "W-MON", "seasons": [4, 52]},
    "horizon": 4,
    "training": {"contract": "sales", "history": {"source": "sales"}},
    "candidates": [
        {"name": "naive", "estimator": "statsforecast.models.SeasonalNaive"},
        {"name": "trees", "estimator": "lightgbm.LGBMRegressor", "features": {"lags": [1, 2], "rolling": [[1, 4]]}},
        {"name": "both", "ensemble": ["naive", "trees"]},
    ],
}  # fmt: skip
CONTRACT = """\
contract: sales
version: 1
owner: shop
description: sales
key: id
columns:
  id: {type: str}
  item: {type: str}
  week: {type: timestamp}
  units: {type: int}
  price: {type: float}
"""


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(MODEL)
    at: Any = document
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    at[last] = value
    return document


def test_the_family_decides_which_fields_there_are() -> None:
    spec = ModelFile.model_validate(MODEL).root
    assert isinstance(spec, ForecastSpec)
    assert spec.data.key == ("item", "week")
    tabular = load_pack("financial_crime").models["card_fraud"]
    assert isinstance(tabular, TabularSpec)
    assert tabular.data.key == ("transaction_id",)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data.frequency", "W", "h, D, W-MON"),
        ("data.seasons", [52, 4], "shortest first"),
        ("data.seasons", [0], "at least 1"),
        ("quantiles", [0.1, 0.9], "0.5 among them"),
        ("quantiles", [0.9, 0.5], "rising"),
        ("horizon", 0, "greater than or equal to 1"),
        ("candidates.1.features", None, "needed for lightgbm"),
        ("candidates.0.features", {"lags": [1]}, "for it only"),
        ("candidates.0.estimator", "lightgbm.LGBMClassifier", "belongs to the family classification"),
        ("candidates.2.ensemble", ["naive", "absent"], "no earlier candidate"),
        ("candidates.2.ensemble", ["naive", "naive"], "each part once"),
        ("training.min_positives", 5, "Extra inputs"),
        ("gate", {"floor": 0.5}, "Extra inputs"),
        ("scoring", {"source": "sales", "contract": "sales"}, r"add training.recent: \{flow: demand_score\}"),
    ],
)
def test_each_mistake_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelFile.model_validate(changed(path, value))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    import json

    for folder in ("models", "contracts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "contracts/sales.yaml").write_text(CONTRACT)
    (tmp_path / "sources.yaml").write_text(
        'sales: {kind: file, description: s, path: "{landing}/{partition}.*", history: "{pack}/h.csv"}\n'
    )
    (tmp_path / "h.csv").touch()
    terms = "{owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01}"
    (tmp_path / "governance.yaml").write_text(f"default: {terms}\n")
    (tmp_path / "models/demand.yaml").write_text(json.dumps(MODEL, indent=1))  # JSON is YAML
    return tmp_path


def test_the_lint_accepts_it_and_names_columns_that_the_contract_lacks(pack: Path) -> None:
    assert lint([pack]) == []
    path = pack / "models/demand.yaml"
    path.write_text(path.read_text().replace('"units"', '"unit"').replace('"price"', '"item"'))
    found = {problem.field: problem.message for problem in lint([pack])}
    assert "did you mean `units`" in found["data.target"]
    assert "`item` is str" in found["data.known[0]"]


def test_a_misspelt_family_is_explained_where_it_stands(pack: Path) -> None:
    path = pack / "models/demand.yaml"
    path.write_text(path.read_text().replace('"forecast"', '"forcast"'))
    problem = next(one for one in lint([pack]) if one.field == "family")
    assert "did you mean `forecast`" in problem.message
