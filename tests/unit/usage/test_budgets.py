"""A budget is reserved before a stage asks, settled with its commit, released when its attempt dies, and degraded aloud."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, Field
from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError

from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.data.datasets import read
from baton.errors import SpecError, StaleAttempt
from baton.packs.pack import load_pack
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import slots
from baton.stages.connections import NoModel, prices_of
from baton.stages.run import run
from baton.usage import budgets
from baton.usage.used import Consumer, Use, record

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
Scripted = runpy.run_path(str(Path(__file__).parents[1] / "scripted_model.py"))["Scripted"]
job, rows, FLOW, HOURS = (STAGE[name] for name in ("job", "rows", "FLOW", "HOURS"))
ORDERS = pd.DataFrame({"order_id": [f"o{i}" for i in range(4)]})
CASE = 8_000  # tokens that a case may take at most
A_DAY = "a_day: {flow: shop_flow, period: day, unit: %s, limit: %s%s}\n"


class Killed(BaseException):
    """No task may catch it."""


class Line(BaseModel):
    text: str = Field(max_length=60)


SPEC = AgentSpec(
    "clerk", Path(__file__), Line, lambda orders: [AgentQuestion(key, {}) for key in orders["order_id"]],
    lambda case, line: line, lambda case: Line(text="as it is"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        prompt = folder / "prompts" / "clerk.md"  # where people answer for it
        prompt.parent.mkdir()
        prompt.write_text(SPEC.instructions)
        monkeypatch.setattr(f"{__name__}.SPEC", replace(SPEC, prompt=prompt))
        yield folder


def budget(pack: Path, unit: str, limit: float, more: str = "") -> None:
    (pack / "budgets.yaml").write_text(A_DAY % (unit, limit, more))


class Models(STAGE["Connected"]):  # type: ignore[misc] # a class of a module that is loaded by path
    """A model behind each connection."""

    def __init__(self, **models: Any) -> None:
        self.models = models

    def model(self, conn_id: str) -> Any:
        return self.models[conn_id]


def priced(*script: Any, name: str = "scripted:large", price: float = 100.0) -> Any:
    model = Scripted(*script, good={"text": "Dear all."})
    model.name, model.prices = name, {"input": price, "output": price}
    return model


def advise(hour: int = 0, dry_run: bool = False, **models: Any) -> Any:
    given = {"inputs": {"orders": STAGE["commit"]("contract", hour, ORDERS)}, "dry_run": dry_run}
    options = {"agent": f"{__name__}:SPEC", "conn_id": "large"}
    return run(job("advise", "baton.steps.advise:advise", hour, options=options, connections=Models(**models), **given))


def used(unit: str = "cost") -> float:
    (state,) = budgets.states()
    assert state.budget.spec.unit == unit
    return state.used


def test_what_a_commit_used_is_in_its_transaction() -> None:
    model = priced()
    result = advise(large=model)
    ((commit, asset, name, version, flow, cases, calls, cost),) = rows(
        tables.usage, "commit_id", "asset", "model", "version", "flow", "rows", "calls", "cost"
    )
    assert (commit, asset, name, version) == (result.commit_id, "agent:clerk", "scripted:large", SPEC.prompt_sha[:12])
    assert (flow, cases, calls) == (FLOW, 4, 4)
    assert cost == pytest.approx(result.facts["cost"])
    assert cost > 0
    advise(large=model)
    assert len(rows(tables.usage)) == 1, "a result that was there used nothing"


def test_a_budget_that_is_short_degrades_to_the_template_and_says_so(pack: Path) -> None:
    budget(pack, "cost", 2.5 * CASE * 100 / 1e6)
    model = priced()
    result = advise(large=model)
    frame = read(result.ref)
    assert len(model.asked) == 2, "the bound of two cases fits"
    assert frame["source"].tolist() == ["agent", "agent", "template", "template"]
    assert frame["reason"].tolist() == ["", "", *["degraded: budget (a_day)"] * 2]
    assert result.facts["degraded"] == ["agent clerk: 2 of 4 answers are templates: degraded: budget (a_day) (2)"]
    assert result.facts["over_budget"] == 2
    (entry,) = ledger.entries(kind="degraded_by_budget")
    assert (entry.subject, entry.payload["cases"], entry.payload["budget"]) == (f"{FLOW}/{HOURS[0]}", 2, "shop/a_day")
    assert rows(tables.reservations) == [], "settled with the commit"
    assert used() == pytest.approx(result.facts["cost"])


def test_the_ladder_goes_over_a_smaller_model(pack: Path) -> None:
    budget(pack, "cost", 1.5 * CASE * 100 / 1e6, ", ladder: [small, template]")
    small = priced(name="scripted:small", price=10.0)
    result = advise(large=priced(), small=small)
    frame = read(result.ref)
    assert result.facts["degraded"] == [
        "agent clerk: 3 cases were answered by scripted:small: degraded: budget (a_day)"
    ]
    assert frame["model"].tolist() == ["scripted:large", *["scripted:small"] * 3]
    assert frame["reason"].tolist() == ["", *["degraded: budget (a_day)"] * 3]
    assert sorted(rows(tables.usage, "model", "rows")) == [("scripted:large", 1), ("scripted:small", 3)]


def test_the_last_rung_may_be_a_case_for_a_person(pack: Path) -> None:
    budget(pack, "calls", 2, ", ladder: [case]")
    frame = read(advise(large=priced()).ref)
    assert frame["source"].tolist() == ["agent", *["case"] * 3]
    assert frame["reason"].tolist() == ["", *["degraded: budget (a_day), for a person"] * 3]


def test_a_model_without_a_price_has_no_room_in_a_budget_of_dollars(pack: Path) -> None:
    budget(pack, "cost", 1e9)
    model = Scripted(good={"text": "Dear all."})
    assert read(advise(large=model).ref)["source"].tolist() == ["template"] * 4
    assert not model.asked


def test_the_budget_of_the_installation_holds_for_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "budgets.yaml").write_text("all: {period: month, unit: calls, limit: 9}\n")
    monkeypatch.setenv("BATON_BUDGETS", str(home / "budgets.yaml"))
    settings.cache_clear()
    model = priced()
    advise(large=model)
    assert advise(1, large=model).facts["over_budget"] == 2, "2 requests bound a case, of 9 are 5 left"
    assert used("calls") == 6


def test_an_attempt_that_dies_keeps_what_it_used_and_releases_the_rest(pack: Path) -> None:
    budget(pack, "tokens", 4 * CASE)
    with pytest.raises(Killed):
        advise(large=priced({"text": "Dear."}, {"text": "Dear."}, Killed()))
    ((held, spent),) = rows(tables.reservations, "held", "spent")
    assert held == {}
    assert 0 < spent["tokens"] < CASE
    assert used("tokens") == spent["tokens"]
    result = advise(large=priced())
    assert result.facts["replayed"] == 2
    assert used("tokens") == result.facts["input_tokens"] + result.facts["output_tokens"], "nothing counts twice"


def test_what_was_paid_for_is_not_thrown_away_when_there_is_no_more_room(pack: Path) -> None:
    budget(pack, "calls", 6)
    with pytest.raises(Killed):
        advise(large=priced(*[{"text": "Dear."}] * 2, Killed()))
    budget(pack, "calls", 3)
    model = priced()
    frame = read(advise(large=model).ref)
    assert frame["source"].tolist() == ["agent", "agent", "template", "template"]
    assert not model.asked


def test_what_an_attempt_held_that_could_not_say_so_is_free_with_its_fence(pack: Path) -> None:
    budget(pack, "tokens", 4 * CASE)
    slot = job("advise").slot
    fence = warehouse.transact(lambda conn: slots.raise_fence(conn, slot))
    who = Consumer("shop", FLOW, "advise", HOURS[0], fence=fence)
    hold = budgets.reserve(who, "large", {"large": {"tokens": CASE}}, 4, 30.0)
    other = Consumer("shop", FLOW, "advise", HOURS[1])
    again = budgets.reserve(other, "large", {"large": {"tokens": CASE}}, 4, 30.0)
    assert (hold.plan, again.plan) == ([("large", 4)], [])
    warehouse.transact(lambda conn: slots.raise_fence(conn, slot))
    assert budgets.reserve(other, "large", {"large": {"tokens": CASE}}, 4, 30.0).plan


def test_an_attempt_that_lost_its_slot_asks_no_more(pack: Path) -> None:
    budget(pack, "calls", 8)
    slot = job("advise").slot

    fences: list[int] = []

    def overtaken() -> dict[str, str]:
        fences.append(warehouse.transact(lambda conn: slots.raise_fence(conn, slot)))
        return {"text": "Dear."}

    model = priced(overtaken)
    with pytest.raises(StaleAttempt):
        advise(large=model)
    assert len(model.asked) == 1
    who = Consumer("shop", FLOW, "advise", HOURS[0], fence=fences[0] - 1)
    late = budgets.reserve(who, "large", {"large": {"calls": 1}}, 1, 30.0)
    assert not late.keep({}, {"calls": 1}, 30.0), "it does not get the fence of the one that owns the slot now"


def test_an_attempt_that_was_silent_for_too_long_asks_no_more(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget(pack, "tokens", 4 * CASE)
    monkeypatch.setattr(budgets, "LEASE", -60.0)
    model = priced()
    frame = read(advise(large=model).ref)
    assert not model.asked
    assert set(frame["reason"]) == {"degraded: budget (what was reserved has lapsed)"}


def test_a_retry_turns_no_case_away_that_there_is_room_for(pack: Path) -> None:
    budget(pack, "calls", 8)
    with pytest.raises(Killed):
        advise(large=priced(*[{"text": "Dear."}] * 3, Killed()))
    model = priced()
    result = advise(large=model)
    assert read(result.ref)["source"].tolist() == ["agent"] * 4
    assert ("over_budget" in result.facts, len(model.asked), used("calls")) == (False, 1, 4)


@pytest.mark.parametrize(("end", "source"), [("case", "case"), ("template", "template")])
def test_what_the_smaller_model_fails_at_is_degraded_all_the_same(pack: Path, end: str, source: str) -> None:
    budget(pack, "cost", 1.5 * CASE * 100 / 1e6, f", ladder: [small, {end}]")
    small = priced(*["nonsense"] * 40, name="scripted:small", price=1.0)
    result = advise(large=priced(), small=small)
    frame = read(result.ref)
    assert frame["source"].tolist() == ["agent", *[source] * 3]
    assert frame["reason"].tolist()[1:] == ["degraded: budget (a_day): no valid answer in 2 tries"] * 3
    assert result.facts["over_budget"] == 3
    (entry,) = ledger.entries(kind="degraded_by_budget")
    assert entry.payload["cases"] == 3


def test_the_cost_of_a_ladder_is_that_of_each_model(pack: Path) -> None:
    budget(pack, "cost", 1.5 * CASE * 100 / 1e6, ", ladder: [small, template]")
    result = advise(large=priced(), small=priced(name="scripted:small", price=1.0))
    costs = [cost for (cost,) in rows(tables.usage, "cost")]
    assert len(costs) == 2
    assert result.facts["cost"] == pytest.approx(sum(costs), abs=1e-6)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_what_is_no_price_is_none(pack: Path, price: float) -> None:
    with pytest.raises(NoModel, match=r"connection large: `prices` of its extra must be .* 0 or more; input is"):
        prices_of("large", {"input": price, "output": 2})
    with pytest.raises(NoModel, match="must be"):
        prices_of("large", {"input": 1})
    assert prices_of("large", {"input": "0.5", "output": 0}) == {"input": 0.5, "output": 0}
    budget(pack, "cost", 1e-9)
    who = Consumer("shop", FLOW, "advise", HOURS[0])
    assert budgets.reserve(who, "large", {"large": {"cost": price}}, 4, 30.0).plan == []


@pytest.mark.parametrize(
    ("failure", "calls", "tokens"),
    [
        (TimeoutError(), 1, CASE),
        (RuntimeError("what a server sent is none of its interface"), 1, CASE),
        (ModelHTTPError(503, "large"), 1, 0),
        (ModelConnectionError("large", "refused", phase="connect"), 0, 0),
        (ModelConnectionError("large", "broke off", phase="read"), 1, CASE),
    ],
)
def test_a_request_whose_answer_did_not_come_counts_as_much_as_it_may_have_used(
    pack: Path, failure: Exception, calls: int, tokens: int
) -> None:
    budget(pack, "tokens", 100 * CASE)
    result = advise(large=priced(failure))
    facts, (row,) = result.facts, rows(tables.usage, "calls", "tokens_in", "tokens_out")
    assert (row[0], row[1] + row[2]) == (3 + calls, facts["input_tokens"] + facts["output_tokens"] + tokens)
    assert facts["requests"] == 3, "the facts have what was answered"


def test_a_dry_run_uses_the_budget_and_leaves_no_usage(pack: Path) -> None:
    budget(pack, "calls", 100)
    advise(large=priced(), dry_run=True)
    assert rows(tables.usage) == []
    assert ledger.entries(kind="budget_changed") == []
    assert used("calls") == 4


def test_another_day_begins_anew_and_a_month_does_not(pack: Path) -> None:
    budget(pack, "calls", 100)
    (pack / "budgets.yaml").write_text(
        (pack / "budgets.yaml").read_text() + "a_month: {period: month, unit: calls, limit: 9}\n"
    )
    commit = STAGE["committed"]("contract", 0, ORDERS).commit_id
    who = Consumer("shop", FLOW, "advise", HOURS[0])
    with warehouse.write() as conn:
        record(conn, commit, who, [Use("agent:clerk", "1", calls=3)], "2026-11-20T23:59:59.000000Z")
        day, month = (budgets.state(conn, one, "2026-11-21T00:00:00.000000Z") for one in budgets.of_stage(who))
    assert (day.used, month.used, month.left) == (0, 3, 6)


def test_a_changed_limit_is_on_record(pack: Path) -> None:
    who = Consumer("shop", FLOW, "advise", HOURS[0])
    for limit in (9.0, 9.0, 5.0):
        budget(pack, "calls", limit)
        load_pack("shop")
        budgets.reserve(who, "large", {"large": {"calls": 1}}, 1, 1.0)
    entries = [entry.payload for entry in ledger.entries(kind="budget_changed")]
    assert [(one["limit"], (one["before"] or {}).get("limit")) for one in entries] == [(5.0, 9.0), (9.0, None)]


@pytest.mark.parametrize(("more", "said"), [(", ladder: [template, small]", "its last rung"), (", unti: x", "unti")])
def test_a_mistake_has_its_line(pack: Path, more: str, said: str) -> None:
    budget(pack, "cost", 1, more)
    with pytest.raises(SpecError, match=rf"budgets.yaml:1: .*{said}"):
        load_pack("shop")


def race(stages: int, limit: int) -> tuple[int, float]:
    """As many stages as reserve at the same moment for 3 cases of one unit each: cases that were let through, and held."""
    gate, got = threading.Barrier(stages), [0] * stages

    def one(number: int) -> None:
        who = Consumer("shop", FLOW, "advise", f"p{number}")
        gate.wait(30)
        got[number] = sum(many for _, many in budgets.reserve(who, "large", {"large": {"calls": 1}}, 3, 60.0).plan)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(stages)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (state,) = budgets.states()
    return sum(got), state.held


def test_stages_side_by_side_never_reserve_more_than_there_is(pack: Path) -> None:
    budget(pack, "calls", 20)
    assert race(10, 20) == (20, 20)
