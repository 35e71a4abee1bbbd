"""The stage `report`: the page is stored and logged, earlier stages' losses are told, the backtest is added up right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import ServiceError
from baton.families import family
from baton.families.forecast.model import FittedForecaster
from baton.packs.pack import find_model
from baton.record import ledger, warehouse
from baton.settings import settings
from baton.specs.forecast import ForecastSpec
from baton.stages import run as stages
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput
from baton_packs.supply_chain import steps
from baton_packs.supply_chain.ordering import rules as ordering
from baton_packs.supply_chain.report import stage as reporting

PARTITION = "2012-06-04T00:00:00"
LAST = pd.Timestamp(PARTITION)
ITEMS = {"a": 100.0, "b": 40.0}


@pytest.fixture(scope="module")
def spec() -> ForecastSpec:
    """The pack's own model with its cheapest candidate only."""
    _, own = find_model("demand")
    assert isinstance(own, ForecastSpec)
    return own.model_copy(update={"candidates": own.candidates[:1]})


@pytest.fixture(scope="module")
def history(spec: ForecastSpec) -> pd.DataFrame:
    rng, parts = np.random.default_rng(5), []
    for item, level in ITEMS.items():
        weeks = LAST + pd.to_timedelta(np.arange(-119, spec.horizon + 1), unit="W")
        units = np.round(level * (1 + 0.1 * rng.standard_normal(len(weeks))))
        units[weeks > LAST] = np.nan
        parts.append(pd.DataFrame({"item": item, "week": weeks, "units": units, "promotion": 0.0, "is_holiday": 0}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(_row=np.arange(len(frame)))


@pytest.fixture(scope="module")
def fitted(spec: ForecastSpec, history: pd.DataFrame) -> FittedForecaster:
    maker = family("forecast")
    found = {one.name: maker.validate(spec, one, history)[0] for one in spec.candidates}
    return maker.fit(spec, history, maker.rank(spec, history, found), found)


def test_the_backtest_adds_up_over_items_and_origins(
    spec: ForecastSpec, history: pd.DataFrame, fitted: FittedForecaster
) -> None:
    table = reporting.backtest(spec, fitted, history)
    rows, judged = pd.DataFrame(table["rows"]), fitted.judged()
    assert table["origins"] == spec.validation.origins == (rows["group"] == "origin").sum()
    assert rows.loc[rows["group"] == "item", "name"].tolist() == ["a", "b"]
    all_of_it = rows.iloc[0]
    measured = family("forecast").evaluate(spec, fitted, history)
    assert all_of_it["mase"] == pytest.approx(measured["mase"])
    assert all_of_it["coverage80"] == pytest.approx(measured["coverage80"])
    assert all_of_it["coverage95"] == pytest.approx(measured["coverage95"])
    for group in ("item", "origin"):  # the same number of weeks in each
        part = rows[rows["group"] == group]
        assert part["weeks"].sum() == all_of_it["weeks"] == len(judged)
        assert part["mase"].mean() == pytest.approx(all_of_it["mase"])
        assert part["cost"].mean() == pytest.approx(all_of_it["cost"])
    mine = judged[judged["series"] == "b"]
    assert rows[rows["name"] == "b"]["bias"].iloc[0] == pytest.approx(mine["forecast"].sum() / mine["y"].sum() - 1)


def test_an_item_that_is_sold_no_more_stays_in_the_backtest_without_a_cost(
    spec: ForecastSpec, history: pd.DataFrame, fitted: FittedForecaster
) -> None:
    rows = pd.DataFrame(reporting.backtest(spec, fitted, history[history["item"] == "a"])["rows"]).set_index("name")
    assert np.isnan(rows.loc["b", "cost"])
    assert rows.loc["a", "cost"] == pytest.approx(rows.iloc[0]["cost"])


def test_what_earlier_stages_say_becomes_sentences() -> None:
    contract = {"status": "quarantined", "rows_in": 7, "rows_good": 5, "contract": "sales v1"}
    assert reporting.sentences("contract", contract) == [
        "2 of 7 rows break the contract sales v1 and wait in quarantine."
    ]
    assert reporting.sentences("contract", {**contract, "status": "passed"}) == []
    told = reporting.sentences("history", {"left_out": 1200, "filled": ["a@2012-01-02", "b@2012-01-09"]})
    assert told == [
        "1,200 rows of the history break the contract and were left out of it.",
        "Short gaps in the history were bridged: a@2012-01-02, b@2012-01-09.",
    ]
    assert reporting.sentences("advise", {"degraded": ["agent x: 2 of 2 answers are templates: no model"]}) == [
        "Agent x: 2 of 2 answers are templates: no model."
    ]


class Mlflow:
    """A registry that keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.champion, self.broken = folder, 4, False
        self.runs: list[dict[str, Any]] = []

    def download(self, model: str, version: int, consumer: str) -> Path:
        assert (model, version) == ("demand", 4)
        return self.folder

    def recorded_champion(self, model: str) -> int:
        return self.champion

    def start_run(self, experiment: str, name: str, **known: Any) -> int:
        self.runs.append({"experiment": experiment, "name": name, "status": "RUNNING", **known})
        return len(self.runs) - 1

    def log_text(self, run: int, path: str, content: str) -> None:
        if self.broken:
            raise ServiceError("MLflow is away")
        self.runs[run] |= {"path": path, "content": content}

    def end_run(self, run: int, status: str = "FINISHED") -> None:
        self.runs[run]["status"] = status

    def run_url(self, run: int) -> str:
        return f"run/{run}"


@pytest.fixture
def mlflow(
    home: Path, tmp_path: Path, fitted: FittedForecaster, monkeypatch: pytest.MonkeyPatch, policy: Any
) -> Iterator[Mlflow]:
    made = Mlflow(tmp_path / "model")
    fitted.save(made.folder)
    warehouse.migrate()
    rules = ordering.OrderingPolicy(
        approval_limit=500.0, runs=20, seed=3, items=tuple(policy(item, pack_size=12) for item in ITEMS)
    )
    monkeypatch.setattr(ordering, "load", lambda: rules)
    monkeypatch.setattr(reporting, "Registry", lambda: made)
    yield made
    warehouse.engine().dispose()


def committed(stage: str, frame: pd.DataFrame, facts: dict[str, Any] | None = None) -> slots.StageResult:
    """A frame as an earlier stage of the flow would have committed it."""
    return slots.run_stage(
        Slot("replenishment", stage, PARTITION), lambda inputs: StageOutput(frame, facts or {}), inputs={},
        params={"frame": frame.to_json(), "facts": facts}, models={}, code="test", run_id="test",
    )  # fmt: skip


@pytest.fixture
def job(spec: ForecastSpec, history: pd.DataFrame, fitted: FittedForecaster, mlflow: Mlflow) -> StageJob:
    """The week as the flow's own stages make it: forecast, proposals, simulation in two parts, decisions."""
    scored = family("forecast").score(spec, fitted, history, 0.0)
    stock = pd.DataFrame({"item": list(ITEMS), "on_hand": [150, 400], "due_1": [20, 0]})
    given = {"forecast": scored, "stock": stock, "history": history}
    refs = {name: committed(name, frame).ref for name, frame in given.items()}

    def make(stage: str, inputs: list[str], **options: Any) -> None:
        chosen = {name: ref for name, ref in refs.items() if name.partition(".")[0] in inputs}
        one = StageJob("supply_chain", "replenishment", stage, PARTITION, f"{steps.__name__}:{stage}", chosen,
                       options, map_index=options.get("part", -1))  # fmt: skip
        name = {"propose": "proposals", "decide": "decisions"}.get(stage, f"simulated.{options.get('part')}")
        refs[name] = stages.run(one).ref

    make("propose", ["forecast", "stock", "history"])
    for part in range(2):
        make("simulate", ["proposals", "forecast", "stock"], part=part, parts=2)
    refs["advice"] = committed(
        "advise", pd.DataFrame({"entity_key": ["x"], "choice": [""], "text": [""], "source": [""]})
    ).ref
    make("decide", ["proposals", "simulated", "advice"])
    committed("contract", stock, {"status": "quarantined", "rows_in": 3, "rows_good": 2, "contract": "sales v1"})
    shown = {name: ref for name, ref in refs.items() if name not in ("proposals", "advice")}
    return StageJob("supply_chain", "replenishment", "report", PARTITION, f"{reporting.__name__}:report", shown,
                    models={"demand": 4}, run_id="run-1")  # fmt: skip


def test_the_stage_stores_the_page_and_logs_it_and_repeats_nothing(job: StageJob, mlflow: Mlflow) -> None:
    result = stages.run(job)
    page = settings().reports_dir / result.facts["report"]
    html = page.read_text(encoding="utf-8")
    assert result.facts["report"].startswith("replenishment/2012-06-04T00-00-00-")
    assert result.facts["bytes"] == page.stat().st_size
    assert result.facts["pictures"] == 8 == html.count('role="img"')
    assert result.facts["mlflow"] == "run/0"
    assert "1 of 3 rows break the contract sales v1" in html
    assert "All items and origins" in html
    (run,) = mlflow.runs
    assert run["name"] == f"demand__{PARTITION}__report"
    assert (run["path"], run["content"], run["status"]) == ("report.html", html, "FINISHED")
    assert run["tags"]["airflow.run_id"] == "run-1"
    assert stages.run(job).cached
    assert len(mlflow.runs) == 1
    assert [p.name for p in page.parent.iterdir()] == [page.name]
    committed("history", pd.DataFrame({"x": [1]}), {"left_out": 5})
    again = stages.run(job)  # what an earlier stage says has changed, and so has the page
    assert not again.cached
    assert again.facts["report"] != result.facts["report"]


def test_a_champion_that_was_refused_is_named(job: StageJob, mlflow: Mlflow) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, "version_refused", "demand/5", {"reason": "a file was changed", "instead": 4})
    assert not [
        note for note in reporting.notes(job) if "refused" in note
    ]  # version 5 was never, or is no more, champion
    mlflow.champion = 5
    assert reporting.notes(job)[0] == (
        "Version 5 of the model was refused (a file was changed); version 4 forecast instead."
    )


def test_a_run_that_cannot_take_the_page_is_ended_as_failed(job: StageJob, mlflow: Mlflow) -> None:
    mlflow.broken = True
    with pytest.raises(ServiceError, match="away"):
        stages.run(job)
    assert [run["status"] for run in mlflow.runs] == ["FAILED"]
