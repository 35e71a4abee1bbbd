"""`baton new flow`: the DAG files, steps and contracts that it writes fit together, and its steps do what they say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.authoring.flow_files import read_flows
from baton.authoring.lint import lint
from baton.authoring.new_flow import new_flow
from baton.authoring.new_model import NewModel, new_model
from baton.authoring.new_pack import new_pack
from baton.errors import SpecError
from baton.packs.pack import read_pack
from baton.settings import settings
from baton.specs.contract import ContractSpec

TABLE = ["nr,at,amount,bad", *(f"{n},2026-01-{n:02d},{n}.5,{n % 2}" for n in range(1, 13))]
TEXTS = ["nr,at,words,topic", *(f"{n},2026-01-{n:02d},I lost my card no {n},t{n % 2}" for n in range(1, 9))]
SERIES = ["shop,at,units", *(f"{shop},2026-{1 + n // 28:02d}-{1 + n % 28:02d},5" for shop in "ab" for n in range(56))]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A project with an empty dags/ and a new pack that can be imported, under a name of its own."""
    name = f"site{abs(hash(request.node.name)) % 10**8}"
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BATON_PROJECT", str(tmp_path))
    settings.cache_clear()
    (tmp_path / "dags").mkdir()
    new_pack(name, tmp_path)
    monkeypatch.syspath_prepend(tmp_path / name)
    (tmp_path / "home" / "data" / name).mkdir(parents=True)
    yield tmp_path / name / f"baton_{name}"
    settings.cache_clear()


def model(site: Path, lines: list[str], name: str, family: str, target: str) -> None:
    name_of_pack = site.name.removeprefix("baton_")
    (site.parents[1] / "home" / "data" / name_of_pack / "history.csv").write_text("\n".join(lines) + "\n")
    new_model(NewModel(name=name, pack=site, family=family, source="rows", target=target, scoring=False))
    text = (site / "contracts" / f"{name}_rows.yaml").read_text()
    (site / "contracts" / "incoming.yaml").write_text(text.replace(f"contract: {name}_rows", "contract: incoming"))


def flow(site: Path, *models: str) -> Any:
    written = new_flow("work", site, "rows", "incoming", list(models), site.parents[1] / "dags")
    mistakes = [problem for problem in lint([site, *(p for p in written if p.suffix == ".py")]) if not problem.note]
    assert mistakes == [], "\n".join(map(str, mistakes))
    return importlib.import_module(f"{site.name}.work_steps")


def kept(site: Path, contract: str, frame: pd.DataFrame) -> ContractSpec:
    """The contract, all of whose columns the frame has."""
    spec = read_pack("x", site).contracts[contract]
    assert set(spec.columns) <= set(frame.columns)
    return spec


def test_a_flow_of_two_models_decides_opens_cases_asks_and_learns(site: Path) -> None:
    model(site, TABLE, "risky", "classification", "bad")
    model(site, TABLE, "odd", "anomaly", "bad")
    steps = flow(site, "risky", "odd")
    (main,) = read_flows(site.parents[1] / "dags" / "work.py")
    assert {"score__risky", "score__odd", "decide", "publish", "review", "settle"} <= main.stages()
    (labels,) = read_flows(site.parents[1] / "dags" / "work_labels.py")
    assert labels.flow == "work_labels"
    pack = read_pack("x", site)
    assert {one.training.recent.flow for one in pack.models.values()} == {"work"}
    assert list(pack.contracts["work_labels"].columns) == ["nr", "bad"]

    rows = pd.DataFrame({"nr": [1, 2, 3], "amount": [1.0, 2.0, 3.0]})
    risky = pd.DataFrame({"entity_key": ["3", "2", "1"], "score": [0.95, 0.2, 0.1]})
    odd = pd.DataFrame({"entity_key": ["1", "2", "3"], "score": [0.1, 0.7, 0.1]})
    decided = steps.decide(rows, risky, odd)
    kept(site, "work_decisions", decided)
    assert decided["route"].tolist() == ["accept", "review", "approve"]
    assert json.loads(decided["reasons"][1]) == ["risky: 20%", "odd: 70%"]
    settled = steps.settle(decided, {"answer": "approved", "changes": {"3": 0}, "actor": "ann"})
    assert settled["proposed"].tolist() == [0, 0, 0]
    assert steps.settle(decided, {"answer": "timeout", "changes": {}, "actor": ""})["entity_key"].tolist() == ["1", "2"]


def test_a_flow_of_a_text_model_offers_the_likeliest_classes(site: Path) -> None:
    model(site, TEXTS, "topics", "text", "topic")
    steps = flow(site, "topics")
    scored = pd.DataFrame({
        "entity_key": ["7", "8"], "category": ["t1", "t0"], "score": [0.9, 0.8], "accepted": [True, False],
        "reasons": [json.dumps([["t1", 0.9], ["t0", 0.1]]), None],
    })  # fmt: skip
    decided = steps.decide(pd.DataFrame({"nr": [7, 8]}), scored)
    kept(site, "work_decisions", decided)
    assert decided["route"].tolist() == ["accept", "review"]  # what the model does not take for one of its classes
    assert json.loads(decided["resolutions"][0]) == {"t1": {"topic": "t1"}, "t0": {"topic": "t0"}}


def test_a_flow_of_a_forecast_plans_quantities(site: Path) -> None:
    model(site, SERIES, "units_sold", "forecast", "units")
    steps = flow(site, "units_sold")
    (main,) = read_flows(site.parents[1] / "dags" / "work.py")
    assert {"publish_truth", "history", "score__units_sold", "review"} <= main.stages()
    assert not (site.parents[1] / "dags" / "work_labels.py").exists()
    forecast = pd.DataFrame({
        "entity_key": ["a@1", "b@1"], "series": ["a", "b"], "time": pd.to_datetime(["2026-03-01"] * 2, utc=True),
        "step": [1, 1], "score": [10.4, 1.0], "q0.1": [9.0, 0.0], "q0.9": [12.0, 9.0],
    })  # fmt: skip
    decided = steps.decide(forecast)
    kept(site, "work_decisions", decided)
    assert (decided["route"].tolist(), decided["proposed"].tolist()) == (["accept", "approve"], [10, 1])


def test_what_cannot_work_is_refused_and_leaves_nothing(site: Path) -> None:
    model(site, SERIES, "units_sold", "forecast", "units")
    model(site, TABLE, "risky", "classification", "bad")
    for models, said in (
        (["risk"], "did you mean `risky`"),
        ([], "at least one"),
        (["risky", "units_sold"], "one model"),
    ):
        with pytest.raises(SpecError, match=said):
            new_flow("work", site, "rows", "incoming", models, site.parents[1] / "dags")
    with pytest.raises(SpecError, match="no source `truth`"):
        new_flow("work", site, "rows", "incoming", ["risky"], site.parents[1] / "dags", labels="truth")
    assert list((site.parents[1] / "dags").iterdir()) == []
    assert not (site / "work_steps.py").exists()
