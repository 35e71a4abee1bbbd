"""Lineage: what one decision rests on, whatever the stages are called and however many sources there are."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.console.host import Person, Rights
from baton.console.queries.card import find_card
from baton.console.queries.trace import TraceStep, trace
from baton.data.datasets import DatasetRef
from baton.errors import BatonError
from baton.record import tables, warehouse
from baton.record.warehouse import now, upsert, write
from baton.stages.slots import Slot, StageOutput, StageResult, head, run_stage

FLOW, HOUR, LATER = "desk", "2026-11-20T09:00:00", "2026-11-20T10:00:00"
HOST = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))["LittleHost"]
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))
ORDERS = pd.DataFrame({"order_id": ["o1", "o2", "o3"], "amount": [1.0, 2.0, 3.0], "_row": [1, 2, 3]})
STOCK = pd.DataFrame({"stock_id": ["s1", "s2"], "on_hand": [7, 8], "_row": [1, 2]})
ROUTED = pd.DataFrame({"route": ["review"]})


@pytest.fixture(autouse=True)
def empty_warehouse(home: Path) -> Any:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def stage(
    name: str, frame: pd.DataFrame, inputs: dict[str, StageResult] | None = None, facts: dict[str, Any] | None = None,
    on_commit: Any = None, partition: str = HOUR, **params: Any,
) -> StageResult:  # fmt: skip
    given: dict[str, DatasetRef] = {key: result.ref for key, result in (inputs or {}).items()}
    return run_stage(
        Slot(FLOW, name, partition), lambda _: StageOutput(frame, facts or {}, on_commit), inputs=given,
        params={**params, "rows": frame.to_json()}, models={}, code="test", run_id="test",
    )  # fmt: skip


def read(name: str, source: str, frame: pd.DataFrame, first: StageResult | None = None, **more: Any) -> StageResult:
    facts = {"uri": f"{source}.csv", "rows_in": len(frame), "source_sha256": "ab", "format": "csv"}
    return stage(name, frame, {"first": first} if first else {}, facts, options={"source": source}, **more)


def check(name: str, contract: str, key: str, data: StageResult, frame: pd.DataFrame, **more: Any) -> StageResult:
    spec = {"contract": contract, "key": key.split("@"), "columns": {str(column): {"type": "str"} for column in frame}}
    facts = {"contract": f"{contract} v1", "status": "passed", "rows_in": len(frame), "rows_good": len(frame)}
    return stage(name, frame, {"data": data}, facts, state={"contract": spec, "repairs": ""}, **more)


def publish(entities: list[str], inputs: dict[str, StageResult], partition: str = HOUR) -> StageResult:
    made = {"risk": 0.5, "route": "review", "money": 1.0}
    published = PUBLISHED["written"](FLOW, partition, decisions=[{**made, "entity_key": key} for key in entities])
    return stage("publish", ROUTED, inputs, on_commit=published.enforce, partition=partition)


def quarantine(entity: str, source: str, partition: str = HOUR) -> None:
    row = {"flow": FLOW, "partition": partition, "row_sha": "ff", "row": 4, "rule": "type", "source": source,
           "entity_key": entity, "column": "amount", "value": "?", "advice": None, "status": "open", "repair": None,
           "reason": None, "actor": None, "raw": {}, "first_seen": now(), "updated_at": now()}  # fmt: skip
    with write() as conn:
        upsert(conn, tables.quarantine, [row], update=["status"])


def said(steps: list[TraceStep], *kinds: str) -> list[tuple[str, str]]:
    return [(step.what, step.says) for step in steps if step.what in (kinds or ("source", "contract"))]


def card(entity: str) -> dict[str, Any]:
    found = find_card(Rights(HOST(), Person("admin")), FLOW, entity)
    assert found is not None
    return found


def cells(found: dict[str, Any]) -> dict[str, Any]:
    return {cell["name"]: cell["value"] for cell in found["row"]}


def test_stages_may_have_any_name_and_stand_before_the_contract() -> None:
    arrived = read("fetch", "orders", ORDERS)
    parsed = stage("parse", ORDERS, {"orders": arrived})
    publish(["o2"], {"decisions": check("checked", "orders", "order_id", parsed, ORDERS)})
    assert said(trace("o2")) == [
        ("source", "row 2 of orders.csv (3 rows)"),
        ("contract", "contract orders v1: passed, 3 of 3 rows went on"),
    ]
    assert cells(card("o2")) == {"order_id": "o2", "amount": 2.0}


def two_sources(entities: list[str]) -> None:
    first = read("ingest", "orders", ORDERS)
    orders = check("contract", "orders", "order_id", first, ORDERS)
    arrived = read("ingest__stock", "stock", STOCK, first)
    stock = check("contract__stock", "stock", "stock_id", arrived, STOCK)
    publish(entities, {"decisions": stage("decide", ROUTED, {"orders": orders, "stock": stock})})


def test_an_entity_of_the_second_source_has_its_row_there() -> None:
    two_sources(["o3", "s2"])
    orders = ["row 3 of orders.csv (3 rows)", "contract orders v1: passed, 3 of 3 rows went on"]
    stock = ["row 2 of stock.csv (2 rows)", "contract stock v1: passed, 2 of 2 rows went on"]
    assert [says for _, says in said(trace("o3"))] == [*orders, "stock.csv (2 rows)", stock[1]]
    assert [says for _, says in said(trace("s2"))] == [*stock, "orders.csv (3 rows)", orders[1]]
    assert cells(card("s2")) == {"stock_id": "s2", "on_hand": 8}
    assert (card("s2")["contract"]["name"], card("s2")["row_problem"]) == ("stock v1", None)
    assert card("o3")["contract"]["name"] == "orders v1"


def test_an_entity_that_no_source_has_rests_on_all_of_them() -> None:
    two_sources(["dept 7"])
    assert [says for what, says in said(trace("dept 7")) if what == "source"] == [
        "orders.csv (3 rows)",
        "stock.csv (2 rows)",
    ]
    assert card("dept 7")["row"] == []
    assert "has no row with order_id = dept 7" in card("dept 7")["row_problem"]


def test_the_contract_says_which_column_is_the_key() -> None:
    frame = pd.DataFrame({"batch_id": ["7", "8", "7"], "order_id": ["7", "7b", "8"], "_row": [1, 2, 3]})
    publish(["8"], {"decisions": check("contract", "orders", "order_id", read("ingest", "orders", frame), frame)})
    assert said(trace("8"), "source") == [("source", "row 3 of orders.csv (3 rows)")]
    named = pd.DataFrame({"reference": ["x", "y"], "_row": [1, 2]})
    arrived = read("ingest", "letters", named, partition=LATER)
    publish(["y"], {"decisions": check("contract", "letters", "reference", arrived, named, partition=LATER)}, LATER)
    assert said(trace("y"), "source") == [("source", "row 2 of letters.csv (2 rows)")]


def test_a_key_of_several_columns_finds_its_row() -> None:
    frame = pd.DataFrame({"item": ["a", "a", "b"], "week": ["w1", "w2", "w1"], "_row": [1, 2, 3]})
    publish(["a@w2"], {"decisions": check("contract", "sales", "item@week", read("ingest", "sales", frame), frame)})
    assert said(trace("a@w2"), "source") == [("source", "row 2 of sales.csv (3 rows)")]


def test_a_delivery_that_came_after_the_decision_is_not_its_source() -> None:
    publish(["o2"], {"decisions": check("contract", "orders", "order_id", read("ingest", "orders", ORDERS), ORDERS)})
    more = pd.concat([ORDERS.iloc[1:], ORDERS.iloc[:1]], ignore_index=True).assign(_row=[1, 2, 3], late=True)
    check("contract", "orders", "order_id", read("ingest", "corrected", more), more)
    assert said(trace("o2"), "source") == [("source", "row 2 of orders.csv (3 rows)")]


def test_what_was_only_quarantined_is_told_from_its_own_contract() -> None:
    two_sources(["o1"])
    quarantine("s9", "stock")
    assert said(trace("s9"), "source", "contract", "quarantine") == [
        ("source", "stock.csv (2 rows)"),
        ("contract", "contract stock v1: passed, 2 of 2 rows went on"),
        ("quarantine", "row 4 broke type (amount='?'); now open"),
    ]


def test_rows_that_cannot_be_read_are_said_to_be_so() -> None:
    from baton.data import objects

    two_sources(["s2"])
    found = head(Slot(FLOW, "contract__stock", HOUR))
    assert found is not None
    objects.path_of(found.ref.uri).unlink()
    with pytest.raises(BatonError, match="object is missing"):
        trace("s2")
    assert "object is missing" in card("s2")["row_problem"]


def test_without_a_contract_the_source_alone_is_told() -> None:
    publish(["o1"], {"decisions": read("ingest", "orders", ORDERS)})
    assert said(trace("o1")) == [("source", "orders.csv (3 rows)")]
    assert card("o1")["row_problem"] == "The commits of this decision name no contract, so its source row is not known."


def test_only_what_the_decision_rests_on_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import event

    from baton.console.queries.lineage import lineage
    from baton.data import datasets

    counts = []
    for hours in (1, 12):  # the longer history costs nothing
        for hour in range(hours):
            partition = f"2026-11-20T{hour:02d}:00:00"
            arrived = read("ingest", "orders", ORDERS, partition=partition)
            checked = check("contract", "orders", "order_id", arrived, ORDERS, partition=partition)
            publish([f"o{hour}"], {"decisions": checked, "again": checked, "raw": arrived}, partition)
        asked: list[str] = []
        event.listen(warehouse.engine(), "before_cursor_execute", lambda *given, to=asked: to.append(given[2]))
        opened: list[str] = []
        with monkeypatch.context() as patch:
            by = datasets.read_batches
            patch.setattr(datasets, "read_batches", lambda ref, to=opened, by=by: to.append(ref.uri) or by(ref))
            found = lineage(FLOW, "o0")
        assert [one.commit["partition"] for one in found.checked] == ["2026-11-20T00:00:00"]
        assert [one["stage"] for one in found.sources] == ["ingest"]
        counts.append((len(asked), len(opened)))
    assert counts[0] == counts[1]
    assert counts[0][1] == 1


def test_who_is_not_known_and_who_is_known_twice() -> None:
    with pytest.raises(BatonError, match="no flow has published or quarantined 'o2'"):
        trace("o2")
    publish(["o2"], {})
    quarantine("o2", "orders")
    with write() as conn:
        conn.execute(tables.quarantine.update().values(flow="another_desk"))
    with pytest.raises(BatonError, match="known to another_desk, desk: name one with --flow"):
        trace("o2")
    assert [step.what for step in trace("o2", FLOW)] == ["decision"]
