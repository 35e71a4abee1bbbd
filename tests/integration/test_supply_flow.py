"""Replenishment by its stages, on real weeks, a real registry and a real purchasing server: train, forecast, order, change.

The tests tell one story and build on each other, in the order of the file.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import read
from baton.effects import outbox
from baton.errors import BatonError
from baton.feedback import adjustments
from baton.lifecycle.monitor import judge_windows
from baton.record import ledger
from baton.registry.client import Registry
from baton.stages import answers
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import StageResult
from baton_demo.supply_chain import simulate
from baton_demo.supply_chain.playbook import FLOW, MODEL, SupplyChainPlaybook

pytestmark = pytest.mark.timeout(400)

ANSWER: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["answer"]
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))
SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("purchasing_server.py")))
STEPS = "baton_packs.supply_chain.steps"
FIRST = 114


def step(
    flow: str, stage: str, partition: str, path: str, models: dict[str, int] | None = None, **given: Any
) -> StageResult:
    """Run one stage; results among `given` are its inputs (a list: a mapped stage's parts), the rest its options."""
    inputs, options = {}, {}
    for name, value in given.items():
        if isinstance(value, StageResult):
            inputs[name] = value.ref
        elif isinstance(value, list) and value and isinstance(value[0], StageResult):
            inputs |= {f"{name}.{number}": part.ref for number, part in enumerate(value)}
        else:
            options[name] = value
    index = options.get("part", -1)
    fields = {name: options.pop(name) for name in ("until", "output_contract") if name in options}
    return run(StageJob("supply_chain", flow, stage, partition, path, inputs=inputs, options=options, models=models or {},
                        map_index=index, connections=AirflowConnections(), **fields))  # fmt: skip


def train(until: str | None = None) -> StageResult:
    """The stages of `demand_train`, as its DAG wires them."""
    from baton.lifecycle.assemble import as_of
    from baton.packs.pack import find_model

    flow, occasion, same = f"{MODEL}_train", as_of(MODEL, until), {"model": MODEL, "until": until}
    rows = step(flow, "assemble", occasion, "baton.lifecycle.assemble:assemble", **same)
    good = step(flow, "contract", occasion, "baton.steps.contract:contract", contract="sales", data=rows, until=until)
    tried = {
        one.name: step(flow, f"candidate__{one.name}", occasion, "baton.lifecycle.fit:candidate", candidate=one.name, data=good, **same)
        for one in find_model(MODEL)[1].candidates if one.estimator
    }  # fmt: skip
    return step(flow, "register", occasion, "baton.lifecycle.fit:register", data=good, **tried, **same)


def forecast(partition: str) -> dict[str, StageResult]:
    """The stages of a week up to the decisions."""
    found: dict[str, StageResult] = {}
    models = {MODEL: 1}

    def stage(name: str, path: str, **given: Any) -> StageResult:
        found[name] = step(FLOW, name, partition, path, models, **given)
        return found[name]

    for source, suffix in (("sales", ""), ("plan", "__plan"), ("stock", "__stock")):
        rows = stage(f"ingest{suffix}", "baton.steps.ingest:ingest", source=source)
        stage(f"contract{suffix}", "baton.steps.contract:contract", contract=source, data=rows)
    sales, stock = found["contract"], found["contract__stock"]
    stage("publish_truth", "baton.steps.history:publish_truth", model=MODEL, origin="sales", data=sales)
    past = stage("history", "baton.steps.history:history", model=MODEL, data=sales, plan=found["contract__plan"])
    said = stage(f"score__{MODEL}", "baton.steps.score:score", model=MODEL, output_contract="forecasts", data=past)
    offers = stage("propose", f"{STEPS}:propose", forecast=said, stock=stock, history=past)
    parts = [
        step(FLOW, "simulate", partition, f"{STEPS}:simulate", models, part=part, parts=2, proposals=offers, forecast=said, stock=stock)
        for part in range(2)
    ]  # fmt: skip
    agent = "baton_packs.supply_chain.advice:INVENTORY"
    advice = stage("advise", "baton.steps.advise:advise", agent=agent, conn_id="", proposals=offers, simulated=parts)
    decided = stage("decide", f"{STEPS}:decide", proposals=offers, simulated=parts, advice=advice)
    stage(
        "publish",
        "baton.steps.publish:publish",
        decisions=decided,
        demand=said,
        case_routes=[],
        output_contract="decisions",
    )
    return found


def place(week: dict[str, StageResult], partition: str, answer: dict[str, Any] | None = None) -> StageResult:
    given = {"answer": answer} if answer else {}
    if answer:
        answers.note(FLOW, partition, "review", answer)
    name = "order_reviewed" if answer else "order"
    return step(FLOW, name, partition, f"{STEPS}:place", {MODEL: 1}, decisions=week["publish"], **given)


def send(partition: str) -> StageResult:
    return step(FLOW, "send", partition, "baton.steps.deliver:deliver", {MODEL: 1}, effect="purchase_order",
                conn_id="purchasing", endpoint="orders", receipt="order_id", echoes=["item", "quantity"])  # fmt: skip


@pytest.fixture(scope="module")
def book(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> SupplyChainPlaybook:
    from types import SimpleNamespace

    from baton.packs.demos import prepare_data

    prepare_data("supply_chain")
    return SupplyChainPlaybook(SimpleNamespace(airflow=None), FIRST, FIRST + 30)  # type: ignore[arg-type]


@pytest.fixture
def home(workbench: Any) -> Path:
    """The running services' home instead of one for this test alone."""
    return workbench.home


@pytest.fixture(scope="module")
def shop(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    with SERVER["running"](tmp_path_factory.mktemp("shop")) as server:
        where = {"conn_type": "http", "host": "127.0.0.1", "port": server.server_port, "password": SERVER["TOKEN"]}
        patch.setenv("AIRFLOW_CONN_PURCHASING", json.dumps(where))
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield server
    patch.undo()


@pytest.fixture(scope="module")
def week(book: SupplyChainPlaybook) -> dict[str, StageResult]:
    """The first week's stages, with the first version as champion."""
    book.deliver(FIRST)
    return forecast(book.week(FIRST))


def test_training_knows_nothing_after_the_week_asked_for(home: Path, book: SupplyChainPlaybook) -> None:
    facts = train(until=book.week(FIRST - 1)).facts
    assert facts["version"] == 1
    assert 0 < facts["holdout"]["mase"] < 1.2
    from baton.stages.slots import Slot, head

    rows = read(head(Slot(f"{MODEL}_train", "contract", book.week(FIRST - 1))).ref)  # type: ignore[union-attr]
    assert rows["week"].max() == pd.Timestamp(book.week(FIRST - 1), tz="UTC")
    assert len(rows) == 7 * FIRST


def test_the_gate_weighs_a_first_version_in_error_and_in_order_cost(home: Path) -> None:
    verdict = step(f"{MODEL}_promote", "judge", "version-1", "baton.lifecycle.promote:judge", model=MODEL)
    assert verdict.facts["decision"] == "PROMOTE", verdict.facts
    assert "fixed safety stock" in " ".join(verdict.facts["reasons"])
    ANSWER(MODEL, 1, "ada")
    step(f"{MODEL}_promote", "move_champion", "version-1", "baton.lifecycle.promote:move_champion", model=MODEL)
    assert Registry().alias(MODEL, "champion") == 1


def test_the_history_ends_with_this_week_and_goes_on_as_planned(
    home: Path, book: SupplyChainPlaybook, week: dict[str, StageResult]
) -> None:
    rows = read(week["history"].ref)
    known, future = rows[rows["units"].notna()], rows[rows["units"].isna()]
    this = pd.Timestamp(book.week(FIRST), tz="UTC")
    assert known["week"].max() == this  # the recording's later weeks have not happened yet
    assert future["week"].min() == this + pd.Timedelta(weeks=1)
    assert len(future) == 7 * 8
    assert not future["promotion"].isna().any()


def test_forecasts_are_published_by_quantile_and_orders_by_route(
    home: Path, book: SupplyChainPlaybook, week: dict[str, StageResult]
) -> None:
    said, decided = (PUBLISHED["rows_of"](kind, flow=FLOW) for kind in ("predictions", "decisions"))
    assert len(said) == 7 * 4
    assert all(row["quantiles"]["0.1"] <= row["score"] <= row["quantiles"]["0.9"] for row in said)
    assert {row["route"] for row in decided} <= {"none", "order", "approve"}
    assert len(decided) == 7


def test_the_same_trigger_computes_nothing_again(
    home: Path, book: SupplyChainPlaybook, week: dict[str, StageResult]
) -> None:
    again = forecast(book.week(FIRST))
    assert {name for name, result in again.items() if not result.cached} == set()


def test_orders_are_sent_once_and_stay_when_the_plan_changes(
    home: Path, book: SupplyChainPlaybook, week: dict[str, StageResult], shop: Any
) -> None:
    partition = book.week(FIRST)
    going = read(place(week, partition).ref)
    assert len(going)
    assert send(partition).facts["sent"] == len(going)
    assert send(partition).facts["sent"] == 0
    count = book.warehouse.delivery(partition).assign(on_hand=lambda rows: rows["on_hand"] * 5)  # the count was wrong
    simulate.deliver("stock", partition, count)
    changed = forecast(partition)
    assert not changed["propose"].cached
    decisions = read(changed["decide"].ref).set_index("item")
    for item, quantity in zip(going["item"], going["quantity"], strict=True):
        assert decisions.at[item, "quantity"] == quantity
        assert "ordered already" in decisions.at[item, "reasons"]
    place(changed, partition)
    send(partition)
    assert set(shop.booked().values()) == {1}
    assert len(shop.booked()) == len(going)


def test_a_person_changes_a_quantity_and_the_next_proposals_learn(
    home: Path, book: SupplyChainPlaybook, shop: Any
) -> None:
    from baton_packs.supply_chain.ordering import inventory
    from baton_packs.supply_chain.ordering import rules as ordering

    rules, before = ordering.load(), set(shop.booked())
    for number in range(FIRST + 1, FIRST + 4):
        book.deliver(number)
        partition = book.week(number)
        week = forecast(partition)
        decisions = read(week["decide"].ref)
        decisions.loc[decisions["quantity"] > 0, "route"] = "approve"  # as with a limit of nothing
        asked = decisions[decisions["route"] == "approve"]
        week["publish"] = _stored(decisions, partition)
        assert place(week, partition).facts["held_back"] == asked["item"].tolist()
        item = asked.sort_values("money").iloc[-1]
        less = (
            int(item["quantity"] * 0.8) // rules.by_item[item["item"]].pack_size * rules.by_item[item["item"]].pack_size
        )
        facts = place(week, partition, {"answer": "approved", "changes": {item["item"]: less}, "actor": "grace"}).facts
        assert facts["changed"] == [item["item"]]
        send(partition)
        sent = {one.entity_key: one.payload["quantity"] for one in outbox.effects(FLOW, partition)}
        assert sent[item["item"]] == less
        book.warehouse.order(number, sent)
        demand = book.recorded("sales", number + 1)
        book.warehouse.pass_week(book.week(number + 1), dict(zip(demand["item"], demand["units"], strict=True)))
    known = adjustments.known(FLOW, field="quantity")
    assert set(known["actor"]) == {"grace"}
    factors = inventory.learn(known.rename(columns={"entity_key": "item"}))
    assert any(factor < 1 for factor in factors.values()), known
    assert len(set(shop.booked()) - before) > 3
    assert ledger.entries(kind="orders_reviewed", limit=5)


def _stored(decisions: pd.DataFrame, partition: str) -> StageResult:
    """Decisions as another stage would have committed them."""
    from baton.stages.slots import Slot, StageOutput, run_stage

    return run_stage(Slot(FLOW, "asked", partition), lambda inputs: StageOutput(decisions), inputs={}, params={},
                     models={}, code="test", run_id="test")  # fmt: skip


def test_an_answer_about_something_else_or_a_no_orders_nothing(
    home: Path, book: SupplyChainPlaybook, shop: Any
) -> None:
    number = FIRST + 4
    book.deliver(number)
    partition = book.week(number)
    week = forecast(partition)
    decisions = read(week["decide"].ref)
    decisions.loc[decisions["quantity"] > 0, "route"] = "approve"
    week["publish"] = _stored(decisions, partition)
    with pytest.raises(BatonError, match="dept_99, which was not asked about"):
        place(week, partition, {"answer": "approved", "changes": {"dept_99": 5}, "actor": "grace"})
    for answer in ("rejected", "timeout"):
        assert place(week, partition, {"answer": answer, "changes": {}, "actor": "grace"}).facts["orders"] == 0
    assert outbox.effects(FLOW, partition) == []


def test_bad_rows_are_bridged_said_and_a_repair_changes_the_forecast(home: Path, book: SupplyChainPlaybook) -> None:
    number = FIRST + 5
    text, planted = simulate.bad_sales(book.recorded("sales", number))
    book.deliver(number)
    simulate.deliver("sales", book.week(number), text)
    week = forecast(book.week(number))
    assert week["contract"].facts["status"] == "quarantined"
    said = read(week[f"score__{MODEL}"].ref).drop_duplicates("series").set_index("series")
    hit = {sale.split("-")[0] for sale in planted["sale_id"]}
    assert {item for item, method in said["method"].items() if "bridged" in method} == hit
    assert set(said["kind"]) == {"regular"}  # a row in quarantine is no series that stopped


def test_the_monitor_judges_what_has_happened_and_waits_for_the_rest(home: Path, book: SupplyChainPlaybook) -> None:
    outcome = judge_windows(MODEL, FLOW)
    states = {row["partition"]: row["status"] for row in outcome["windows"]}
    assert states[book.week(FIRST + 5)] == "pending"
    assert states[book.week(FIRST)] == "judged"
    assert outcome["decision"] in ("STABLE", "WARN")
