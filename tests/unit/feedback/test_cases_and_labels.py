"""Cases keep what a person decided; labels keep the truth of the origin that knows best."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event

from baton.data.datasets import DatasetRef, read
from baton.errors import BatonError
from baton.feedback import cases, labels
from baton.published.rows import in_force
from baton.record import ledger, tables, warehouse
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))
commit, rows, job, FLOW, HOURS = (STAGE[name] for name in ("commit", "rows", "job", "FLOW", "HOURS"))
EARLY, LATE = HOURS[:2]


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


ANSWERS = {"fraud": {"late": 1}, "legitimate": {"late": 0}}


def open_cases(partition: str, *keys: str, risk: float = 0.5, route: str = "review") -> int:
    decisions = pd.DataFrame({"entity_key": list(keys), "route": route, "risk": risk})
    with warehouse.write() as conn:
        return cases.open_cases(conn, FLOW, partition, decisions, ANSWERS)


def states() -> dict[str, str]:
    return dict(rows(tables.cases, "entity_key", "status"))


# --- cases ---


def test_a_case_that_is_no_longer_needed_is_withdrawn_and_opens_again() -> None:
    assert open_cases(EARLY, "1", "2") == 2
    assert open_cases(EARLY, "2", risk=0.9, route="block") == 1
    assert states() == {"1": "withdrawn", "2": "open"}
    assert rows(tables.cases, "entity_key", "route", "risk") == [("1", "review", 0.5), ("2", "block", 0.9)]
    assert open_cases(EARLY) == 0
    assert states() == {"1": "withdrawn", "2": "withdrawn"}
    open_cases(EARLY, "1", "2")
    assert cases.counts(FLOW) == {"open": 2}
    assert cases.counts("another_flow") == {}


def test_a_case_keeps_what_people_call_it_and_the_decisions_own_reasons() -> None:
    said = {
        "a": ("Card\tlost\u202e\x00, from Ann\nExample", json.dumps(["angry", "no entry"])),
        "b": ("x" * 500, "one sentence"),
        "c": (None, None),
        "d": ("\u200b \n", "[]"),
    }
    columns = {name: [one[at] for one in said.values()] for at, name in enumerate(("title", "reasons"))}
    decisions = pd.DataFrame({"entity_key": list(said), "route": "review", "risk": 0.5, **columns}, dtype=object)
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, EARLY, decisions, ANSWERS)
    assert rows(tables.cases, "entity_key", "title", "reasons") == [
        ("a", "Card lost, from Ann Example", ["angry", "no entry"]),
        ("b", "x" * (cases.LONGEST_TITLE - 1) + "…", ["one sentence"]),
        ("c", None, None),
        ("d", None, []),
    ]
    with warehouse.write() as conn:  # a later run says it better
        cases.open_cases(conn, FLOW, EARLY, decisions.assign(title="Lost card"), ANSWERS)
    assert {title for (title,) in rows(tables.cases, "title")} == {"Lost card"}


def test_partitions_do_not_withdraw_each_others_cases() -> None:
    open_cases(EARLY, "1", "2")
    open_cases(LATE, "3")
    open_cases(EARLY, "1")
    assert states() == {"1": "open", "2": "withdrawn", "3": "open"}
    open_cases(LATE, "2")  # the same entity, in a later partition
    assert rows(tables.cases, "partition", "status", entity_key="2") == [(LATE, "open")]
    open_cases(EARLY, "1")
    assert states() == {"1": "open", "2": "open", "3": "withdrawn"}


def test_a_persons_decision_is_kept_whatever_the_flow_says_later() -> None:
    open_cases(EARLY, "1", "2", risk=0.5)
    decided = cases.decide(FLOW, "1", "fraud", "ada", "known mule")
    assert (decided["status"], decided["resolution"], decided["partition"]) == ("closed", "fraud", EARLY)
    before = rows(tables.cases, entity_key="1")
    open_cases(EARLY, "1", "2", risk=0.1)
    open_cases(EARLY)
    open_cases(LATE, "1")
    assert rows(tables.cases, entity_key="1") == before
    assert states() == {"1": "closed", "2": "withdrawn"}


def test_a_stage_withdraws_cases_of_its_own_routes_only() -> None:
    open_cases(EARLY, "1", "2", route="review")
    mine = pd.DataFrame({"entity_key": ["3", "4"], "route": "approve", "risk": 0.5})
    for decisions in (mine, mine[1:]):
        with warehouse.write() as conn:
            cases.open_cases(conn, FLOW, EARLY, decisions, ANSWERS, routes=("approve",))
    assert states() == {"1": "open", "2": "open", "3": "withdrawn", "4": "open"}
    open_cases(EARLY, "1")
    assert states() == {"1": "open", "2": "withdrawn", "3": "withdrawn", "4": "withdrawn"}
    cases.decide(FLOW, "1", "fraud", "ada")
    assert cases.decided(FLOW) == {"1"}
    assert cases.decided("another_flow") == set()


def test_a_decision_is_a_label_of_the_cases_partition_and_a_ledger_record() -> None:
    open_cases(EARLY, "1")
    open_cases(LATE, "2")
    cases.decide(FLOW, "1", "fraud", "ada", "note")
    cases.decide(FLOW, "2", "legitimate", "grace")
    found = rows(tables.labels, "entity_key", "partition", "label", "origin", "actor")
    assert found == [("1", EARLY, 1, "analyst", "ada"), ("2", LATE, 0, "analyst", "grace")]
    (record,) = ledger.entries(subject=f"{FLOW}/1", kind="case_decided")
    shown = record.payload.pop("shown")
    assert record.payload == {"resolution": "fraud", "actor": "ada", "note": "note", "seen": None}
    assert (shown["commit"], len(shown["sha256"])) == (None, 64)


def test_a_withdrawn_case_can_still_be_decided() -> None:
    open_cases(EARLY, "1")
    open_cases(EARLY)
    cases.decide(FLOW, "1", "fraud", "ada")
    assert states() == {"1": "closed"}


def test_what_cannot_be_decided_is_refused_with_nothing_written() -> None:
    open_cases(EARLY, "1")
    with pytest.raises(BatonError, match="resolution 'maybe': allowed are fraud, legitimate"):
        cases.decide(FLOW, "1", "maybe", "ada")
    with pytest.raises(BatonError, match="no case '9' in flow 'shop_flow'"):
        cases.decide(FLOW, "9", "fraud", "ada")
    with pytest.raises(BatonError, match="no case '1' in flow 'another_flow'"):
        cases.decide("another_flow", "1", "fraud", "ada")
    assert rows(tables.labels) == []
    cases.decide(FLOW, "1", "legitimate", "ada")
    with pytest.raises(BatonError, match="case '1' was already decided legitimate by ada"):
        cases.decide(FLOW, "1", "fraud", "grace")
    assert rows(tables.labels, "label", "actor") == [(0, "ada")]
    assert len(ledger.entries(kind="case_decided")) == 1


# --- labels ---


def record(origin: str, *given: tuple[str, str, int], actor: str = "bank") -> None:
    with warehouse.write() as conn:
        rank = {"chargeback": 2, "outcome": 2, "analyst": labels.PERSON}.get(origin, 0)
        assert labels.record_labels(conn, FLOW, origin, actor, given, "late", rank) == len(given)


def predicted(partition: str, *keys: str) -> None:
    PUBLISHED["seed"](FLOW, partition, predictions=[{"entity_key": key} for key in keys])


def predictions(partition: str) -> DatasetRef:
    there = in_force(FLOW, partition)
    assert there is not None
    assert there.predictions is not None
    return there.predictions


def known(predicted_in: str | None = None) -> list[tuple[str, int, str]]:
    ref = predictions(predicted_in) if predicted_in else None
    frame = labels.known_labels(FLOW, "late", read(ref, ["entity_key"])["entity_key"] if ref else None)
    if ref:
        assert labels.digest_of(FLOW, "late", ref) == (labels.digest(frame), False)
    return list(zip(frame["entity_key"], frame["label"], frame["origin"], strict=True))


def test_the_outcome_that_cost_money_outranks_the_analyst() -> None:
    record("analyst", ("1", EARLY, 0), ("2", EARLY, 1), ("3", LATE, 1), actor="ada")
    record("rumour", ("3", LATE, 0), ("4", LATE, 1))
    assert known() == [("1", 0, "analyst"), ("2", 1, "analyst"), ("3", 1, "analyst"), ("4", 1, "rumour")]
    record("chargeback", ("1", EARLY, 1))
    record("outcome", ("2", EARLY, 0))
    assert known() == [("1", 1, "chargeback"), ("2", 0, "outcome"), ("3", 1, "analyst"), ("4", 1, "rumour")]
    predicted(EARLY, "1", "2")
    predicted(LATE, "3", "4", "5")
    assert known(LATE) == [("3", 1, "analyst"), ("4", 1, "rumour")]
    record("analyst", ("1", EARLY, 0), actor="grace")  # a later view does not outrank it
    assert known(EARLY) == [("1", 1, "chargeback"), ("2", 0, "outcome")]


@pytest.mark.parametrize("order", [("analyst", "registry"), ("registry", "analyst")])
def test_of_equal_ranks_the_label_written_last_counts(order: tuple[str, str]) -> None:
    for value, origin in enumerate(order):
        with warehouse.write() as conn:
            labels.record_labels(conn, FLOW, origin, "a", [("1", EARLY, value)], "late", labels.PERSON)
    assert known() == [("1", 1, order[1])]


def test_targets_of_one_entity_stand_side_by_side_and_categories_are_words() -> None:
    with warehouse.write() as conn:
        labels.record_labels(conn, FLOW, "analyst", "ada", [("1", EARLY, "invoice")], "type")
        labels.record_labels(conn, FLOW, "analyst", "ada", [("1", EARLY, 0)], "risky")
    assert labels.known_labels(FLOW, "type")["label"].tolist() == ["invoice"]
    assert labels.known_labels(FLOW, "risky")["label"].tolist() == [0.0]
    assert labels.known_labels(FLOW, None).empty


def test_whether_a_target_has_categories_is_decided_for_all_its_rows_alike() -> None:
    predicted(EARLY, "1", "2")
    with warehouse.write() as conn:
        labels.record_labels(conn, FLOW, "analyst", "ada", [("1", EARLY, 0), ("2", EARLY, "invoice")], "type")
    (_, categories), known = labels.digest_of(FLOW, "type", predictions(EARLY)), []
    for key in ("1", "2"):
        known += labels.known_labels(FLOW, "type", [key], categories=categories)["label"].tolist()
    assert known == labels.known_labels(FLOW, "type")["label"].tolist() == [None, "invoice"]


def test_an_answer_may_settle_several_targets() -> None:
    decisions = pd.DataFrame({
        "entity_key": ["1"], "route": "escalate", "risk": 0.9, "queue": "fraud desk", "priority": 1,
        "resolutions": ['{"forged": {"type": "invoice", "risky": 1}, "junk": {"type": "junk"}}'],
    })  # fmt: skip
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, EARLY, decisions)
    assert rows(tables.cases, "queue", "priority") == [("fraud desk", 1)]
    with pytest.raises(cases.UnknownResolution, match="forged, junk"):
        cases.decide(FLOW, "1", "fraud", "ada")
    cases.decide(FLOW, "1", "forged", "ada")
    assert sorted(rows(tables.labels, "target", "label", "category")) == [
        ("risky", 1.0, None),
        ("type", None, "invoice"),
    ]
    with warehouse.write() as conn, pytest.raises(BatonError, match="resolutions"):
        cases.open_cases(conn, FLOW, EARLY, decisions.drop(columns="resolutions"))


def test_nothing_known_is_an_empty_frame_with_a_digest() -> None:
    frame = labels.known_labels(FLOW, "late")
    assert list(frame.columns) == ["entity_key", "partition", "label", "origin"]
    assert labels.digest(frame) == "0-0000000000000000"


def test_the_digest_changes_when_labels_flip_and_not_with_their_order() -> None:
    record("chargeback", ("1", EARLY, 0), ("2", EARLY, 1))
    frame = labels.known_labels(FLOW, "late")
    before = labels.digest(frame)
    assert labels.digest(frame.iloc[::-1]) == before
    record("chargeback", ("1", EARLY, 1), ("2", EARLY, 0))  # the counts stay
    flipped = labels.digest(labels.known_labels(FLOW, "late"))
    assert flipped != before
    record("chargeback", ("1", EARLY, 0), ("2", EARLY, 1))
    assert labels.digest(labels.known_labels(FLOW, "late")) == before
    record("analyst", ("1", EARLY, 1))  # outranked: nothing that is known changes
    assert labels.digest(labels.known_labels(FLOW, "late")) == before


def deliver(hour: int, late: dict[int, int], flow: str = "shop_labels") -> Any:
    from baton.stages.run import run

    frame = pd.DataFrame({"order_id": list(late), "late": list(late.values())})
    options = {"about": FLOW, "entity": "order_id", "labels": ["late"], "origin": "chargeback"}
    delivered = commit("contract", hour, frame, flow)
    return run(
        job(step="baton.steps.publish:publish_labels", hour=hour, inputs={"data": delivered}, options=options)
    )  # fmt: skip


def test_the_rows_of_a_flow_of_labels_are_accounted_for() -> None:
    from baton.quarantine.records import accounting

    rows = pd.DataFrame({"order_id": [1, 2], "late": [1, 0]})
    read = commit("ingest", 0, rows, "shop_labels", rows_in=2)
    output = StageOutput(rows, deliver(0, {1: 1, 2: 0}).facts)
    run_stage(Slot("shop_labels", "publish", EARLY), lambda inputs: output, inputs={"data": read}, params={}, models={},
              code="test", run_id="test")  # fmt: skip
    found = accounting("shop_labels", EARLY)
    assert found == {"rows_in": 2, "published": 2, "open": 0, "discarded": 0, "superseded": 0}


def test_a_corrected_delivery_replaces_its_own_labels_only() -> None:
    record("analyst", ("1", EARLY, 0), actor="ada")
    facts = deliver(0, {1: 1, 2: 0, 3: 0}).facts
    assert facts == {"published": 3, "labels": {"late": 3}, "positives": {"late": 1}, "origin": "chargeback"}
    deliver(1, {7: 1})
    deliver(0, {2: 1, 3: 0})  # order 1 is taken back, 2 corrected
    assert known() == [("1", 0, "analyst"), ("2", 1, "chargeback"), ("3", 0, "chargeback"), ("7", 1, "chargeback")]
    assert deliver(0, {2: 1, 3: 0}).cached
    assert len(ledger.entries(subject=FLOW, kind="labels_arrived")) == 3


def test_what_is_asked_of_labels_is_found_by_an_index_however_many_there_are() -> None:
    predicted(EARLY, "1")
    sent: list[tuple[str, Any]] = []
    event.listen(
        warehouse.engine(), "before_cursor_execute", lambda c, cur, text, values, *_: sent.append((text, values))
    )
    bounds = labels.Bounds(upto=LATE, heard_by="2027")
    labels.digest_of(FLOW, "late", predictions(EARLY))
    labels.known_labels(FLOW, "late", bounds=bounds, partition=EARLY)
    labels.partitions_known(FLOW, "contract", 5, "late", bounds)
    labels.counts(FLOW, "late", [EARLY, LATE], bounds)
    labels.class_sizes(FLOW, "late", [EARLY, LATE])
    with warehouse.write() as conn:
        labels.replace_labels(conn, FLOW, EARLY, "bank", "late", "chargeback", [("1", 1.0)])
    asked = [(text, values) for text, values in list(sent) if text.startswith(("SELECT", "DELETE"))]
    assert len(asked) == 10
    with warehouse.read() as conn:
        plans = [
            step for text, values in asked for *_, step in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
        ]
    # by one column alone, the flow, SQLite would walk all that the flow ever wrote
    walked = [step for step in plans if step.startswith("SCAN") or "(flow=?)" in step]
    assert walked == ["SCAN segments"], "some dozen rows, however much was published"
