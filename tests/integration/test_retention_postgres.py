"""Retention and erasure on a real Postgres server: the same rows as in the unit tests."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from baton.console.queries.trace import trace
from baton.data import datasets
from baton.record import ledger, tables, warehouse
from baton.retention.age import retain
from baton.retention.person import erase, flows_of
from baton.specs.retention import FlowRetention
from baton.stages.slots import Slot, head, partitions

PERSON = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "retention" / "test_person.py"))
FLOW, PLANTED = PERSON["FLOW"], PERSON["PLANTED"]
ROWS = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "published" / "test_rows.py"))


def test_published_rows_of_an_earlier_warehouse_are_carried_over_on_postgres_too(postgres_home: Path) -> None:
    ROWS["test_rows_of_an_earlier_warehouse_are_carried_into_the_store"]()


def tables_with(value: str) -> list[str]:
    with warehouse.read() as conn:
        return [
            table.name
            for table in tables.metadata.sorted_tables
            if any(value in str(row) for row in conn.execute(sa.select(table)))
        ]


def test_a_person_is_erased(postgres_home: Path) -> None:
    PERSON["fill"](postgres_home)
    assert flows_of(["b"]) == [FLOW]
    assert "labels" in tables_with(PLANTED)
    planned = erase(["b"], FLOW, "asked", "ada")
    assert erase(["b"], FLOW, "asked", "ada", dry_run=False).rows == planned.rows
    assert tables_with(PLANTED) == []
    assert PERSON["holding"](postgres_home) == []
    assert datasets.read(head(Slot("week", "digest", PERSON["HOUR"])).ref)["entity_key"].tolist() == ["a", "c"]  # type: ignore[union-attr]
    assert ledger.verify().ok
    assert [step.what for step in trace("b")] == ["erased"]


def test_what_is_old_goes(postgres_home: Path) -> None:
    PERSON["fill"](postgres_home)
    policy = {
        FLOW: FlowRetention(
            **dict.fromkeys(("datasets", "predictions", "labels", "cases", "effects"), timedelta(days=1))
        )
    }
    at = datetime.fromisoformat(PERSON["NEXT"]).replace(tzinfo=UTC) + timedelta(days=1)
    [planned] = retain(policy, "ada", at=at)
    assert [done == planned for done in retain(policy, "ada", dry_run=False, at=at)] == [True]
    assert (partitions(FLOW, "ingest"), partitions(FLOW, "publish")) == ([PERSON["NEXT"]], [])
    assert retain(policy, "ada", dry_run=False, at=at) == []
    assert ledger.verify().ok
