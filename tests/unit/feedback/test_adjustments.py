"""What people changed: the last decision counts, the ledger has all of them, a proposal sees earlier partitions only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.errors import BatonError
from baton.feedback import adjustments
from baton.record import ledger, warehouse

FLOW, WEEKS = "replenishment", ["2026-11-02T00:00:00", "2026-11-09T00:00:00", "2026-11-16T00:00:00"]


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def row(key: str = "a", decided: Any = 60, **other: Any) -> dict[str, Any]:
    return {"entity_key": key, "field": "quantity", "proposed": 48, "decided": decided, "actor": "ada", **other}


def record(week: int, *rows: dict[str, Any], flow: str = FLOW) -> int:
    return warehouse.transact(lambda conn: adjustments.record(conn, flow, WEEKS[week], rows))


def test_a_proposal_learns_from_earlier_partitions_of_its_flow_only() -> None:
    assert record(1, row("b"), row("a", 24, reason="shelf is full")) == 2
    assert record(0, row("a", 48.5)) == 1
    assert record(2, row("a", 1)) == 1
    record(0, row("z"), flow="another")
    known = adjustments.known(FLOW, before=WEEKS[2])
    assert list(known.columns) == list(adjustments.COLUMNS)
    assert known[["entity_key", "partition", "decided"]].to_numpy().tolist() == [
        ["a", WEEKS[0], 48.5], ["a", WEEKS[1], 24.0], ["b", WEEKS[1], 60.0],
    ]  # fmt: skip
    assert known["reason"].tolist() == [None, "shelf is full", None]
    assert len(adjustments.known(FLOW)) == 4
    assert adjustments.known(FLOW, before=WEEKS[0]).empty
    assert adjustments.known(FLOW, before=WEEKS[0])["decided"].dtype == float


def test_a_field_can_be_asked_for() -> None:
    record(0, row(field="quantity"), row(field="supplier_share"))
    assert adjustments.known(FLOW, field="quantity")["field"].tolist() == ["quantity"]


def test_the_last_decision_counts_and_the_ledger_has_both() -> None:
    record(0, row(decided=60))
    record(0, row(decided=12, actor="grace", reason="late truck"))
    known = adjustments.known(FLOW)
    assert known[["decided", "actor", "reason"]].to_numpy().tolist() == [[12.0, "grace", "late truck"]]
    entries = ledger.entries(f"{FLOW}/{WEEKS[0]}/a", "adjustment_recorded")
    assert [(entry.payload["decided"], entry.payload["actor"]) for entry in entries] == [(12.0, "grace"), (60.0, "ada")]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(actor=" "), "actor is missing"),
        (row(key=""), "entity_key is missing"),
        (row(field=None), "field is missing"),
        (row(decided="many"), "'a' by ada: decided is no number but 'many'"),
        (row(decided=float("nan")), "decided is nan; give a finite number"),
        ({**row(), "proposed": None}, "proposed is no number"),
    ],
)
def test_half_an_answer_is_refused_whole(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(BatonError, match=message):
        record(0, row("good"), bad)
    assert adjustments.known(FLOW).empty
    assert not ledger.entries(kind="adjustment_recorded")


def test_a_number_cannot_be_decided_twice_at_once() -> None:
    with pytest.raises(BatonError, match="'a': quantity is decided twice"):
        record(0, row(), row(decided=1))
