"""Retention by age: what a policy names goes, the digests stay, and a slot is as before its first run."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from baton.data import datasets
from baton.errors import StaleAttempt
from baton.packs.pack import read_pack
from baton.record import ledger, tables, warehouse
from baton.retention.age import retain
from baton.specs.retention import FlowRetention
from baton.stages import garbage
from baton.stages.slots import Slot, StageOutput, StageResult, head, history, partitions, run_stage

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD, EDGE, NEW = "2026-11-09T11:00:00", "2026-11-10T12:00:00", "2026-11-20T11:00:00"
TEN_DAYS = timedelta(days=10)


def stage(partition: str, flow: str = "f", compute: Any = None, x: int = 0) -> StageResult:
    rows = StageOutput(pd.DataFrame({"n": [1, 2]}))
    return run_stage(
        Slot(flow, "score", partition),
        compute or (lambda _: rows),
        inputs={},
        params={"x": x},
        models={},
        code="c",
        run_id="r",
    )


def count(table: sa.Table) -> int:
    with warehouse.read() as conn:
        return int(conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def decided() -> int:
    return len(PUBLISHED["read_all"]("decisions", flow="f"))


@pytest.fixture
def filled(home: Path) -> Path:
    warehouse.migrate()
    at = warehouse.now()
    for partition in (OLD, EDGE, NEW):
        stage(partition)
        stage(partition, flow="other")
        place = {"flow": "f", "partition": partition}
        PUBLISHED["seed"]("f", partition, decisions=[{"entity_key": "e"}])
        with warehouse.write() as conn:
            conn.execute(tables.evidence_salts.insert().values(**place, entity_key=partition, salt="ab", at=at))
            for status in ("open", "closed"):
                conn.execute(tables.cases.insert().values(
                    **place, entity_key=f"{status} {partition}", route="r", risk=0.1, status=status, resolutions={},
                    opened_at=at, updated_at=at))  # fmt: skip
            for state in ("sent", "pending"):
                conn.execute(tables.outbox.insert().values(
                    **place, key=f"{state} {partition}", kind="mail", entity_key="e", payload={"to": "x"}, state=state,
                    attempts=1, created_at=at, updated_at=at))  # fmt: skip
    return home


def days(**given: int) -> dict[str, FlowRetention]:
    return {"f": FlowRetention(**{kind: timedelta(days=number) for kind, number in given.items()})}


def test_a_dry_run_says_what_would_go_and_removes_nothing(filled: Path) -> None:
    [planned] = retain(days(datasets=10, predictions=10, cases=10, effects=10), "ada", at=NOW)
    # of the stage one, of what is published the rows and their manifest
    assert (len(planned.objects), planned.rows) == (
        1 + 2,
        {"decisions": 1, "evidence_salts": 1, "cases": 1, "outbox": 1},
    )
    assert (decided(), datasets.verifies(history(Slot("f", "score", OLD))[0].ref)) == (3, True)
    [done] = retain(days(datasets=10, predictions=10, cases=10, effects=10), "ada", dry_run=False, at=NOW)
    assert done == planned


def test_what_is_older_goes_and_nothing_else(filled: Path) -> None:
    retain(days(datasets=10, predictions=10, cases=10, effects=10), "ada", dry_run=False, at=NOW)
    assert partitions("f", "score") == [EDGE, NEW]
    assert partitions("other", "score") == [OLD, EDGE, NEW]
    assert sorted({slot.partition for _, slot, _ in garbage.attempts() if slot.flow == "f"}) == [EDGE, NEW]
    assert (decided(), count(tables.cases)) == (2, 5)  # the open one waits for its person
    with warehouse.read() as conn:
        left = dict(conn.execute(sa.select(tables.outbox.c.key, tables.outbox.c.payload)).all())
    assert [key for key, payload in left.items() if not payload] == [f"sent {OLD}"]
    assert retain(days(datasets=10, predictions=10, cases=10, effects=10), "ada", dry_run=False, at=NOW) == []


def test_the_digests_stay_and_the_ledger_says_who(filled: Path) -> None:
    before = history(Slot("f", "score", OLD))
    retain(days(datasets=10, predictions=10), "ada", dry_run=False, at=NOW)
    assert history(Slot("f", "score", OLD)) == before
    [said] = ledger.entries("f", "retained")
    assert said.payload["before"] == {"datasets": EDGE, "predictions": EDGE}
    assert (said.payload["rows"], said.payload["objects"], said.payload["actor"]) == (
        {"decisions": 1, "evidence_salts": 1}, 1 + 2, "ada")  # fmt: skip
    assert len(said.payload["rows_sha256"]["decisions"]) == 64
    assert ledger.verify().ok


def test_a_slot_that_was_emptied_can_be_run_again(filled: Path) -> None:
    retain(days(datasets=10), "ada", dry_run=False, at=NOW)
    assert head(Slot("f", "score", OLD)) is None
    assert stage(OLD).cached is False
    assert garbage.gc(timedelta(0)).uris == []


def test_an_attempt_at_work_on_what_goes_is_refused(filled: Path) -> None:
    def compute(_: Any) -> StageOutput:
        retain(days(datasets=10), "ada", dry_run=False, at=NOW)
        return StageOutput(pd.DataFrame({"n": [1]}))

    with pytest.raises(StaleAttempt):
        stage(OLD, compute=compute, x=1)
    assert [slot.partition for _, slot, _ in garbage.attempts() if slot == Slot("f", "score", OLD)] == []


def test_a_pack_says_how_long(tmp_path: Path) -> None:
    (tmp_path / "retention.yaml").write_text("f: {datasets: 10d, cases: 1w}\n")
    assert read_pack("p", tmp_path).retention == {"f": FlowRetention(datasets=TEN_DAYS, cases=timedelta(days=7))}


def test_claims_go_with_the_rows_that_they_are_about(filled: Path) -> None:
    with warehouse.write() as conn:
        for partition in (OLD, NEW):
            one = {"flow": "f", "stage": "score", "partition": partition, "mark": "m", "owner": "i"}
            conn.execute(tables.claims.insert().values(**one, first=1.0, last=2.0))
    [done] = retain(days(datasets=10), "ada", dry_run=False, at=NOW)
    assert (done.rows, count(tables.claims)) == ({"claims": 1}, 1)
