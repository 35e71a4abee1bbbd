"""Erasure: after it no file, no table and no export holds the value, and everything else is as it was."""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from baton.console.queries.lineage import lineage
from baton.console.queries.trace import trace
from baton.data import datasets, objects, parts
from baton.data.datasets import DatasetRef
from baton.errors import BatonError, StaleAttempt
from baton.quarantine import files
from baton.quarantine.rows import Where
from baton.record import ledger, tables, warehouse
from baton.record.used_models import record_models
from baton.retention.person import erase, flows_of
from baton.settings import settings
from baton.stages import garbage, groups
from baton.stages.journal import Journal
from baton.stages.slots import Slot, StageOutput, StageResult, head, run_stage

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))

FLOW, HOUR, NEXT = "letters", "2026-11-20T09:00:00", "2026-11-20T10:00:00"
PLANTED = "Zebulon Quackenbush-Featherstonehaugh"
ROWS = pd.DataFrame({"letter_id": ["a", "b", "c"], "name": ["Ann", PLANTED, "Carl"], "n": [1.0, None, 3.0]})
CONTRACT = {"contract": {"contract": "letters", "version": 1, "key": ["letter_id"], "columns": {}}}


def stage(
    name: str, frame: pd.DataFrame, inputs: dict[str, DatasetRef] | None = None, partition: str = HOUR, flow: str = FLOW,
    params: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, on_commit: Any = None,
) -> StageResult:  # fmt: skip
    return run_stage(
        Slot(flow, name, partition), lambda _: StageOutput(frame, facts or {}, on_commit), inputs=inputs or {},
        params=params or {}, models={}, code="c", run_id="r",
    )  # fmt: skip


def add(table: sa.Table, **values: Any) -> None:
    with warehouse.write() as conn:
        conn.execute(table.insert().values(**{"flow": FLOW, "partition": HOUR, "entity_key": "b", **values}))


def effect(**values: Any) -> None:
    at = warehouse.now()
    add(tables.outbox, **{"key": "mail-b-1", "kind": "mail", "payload": {"to": PLANTED}, "state": "sent", "attempts": 1,
        "answer": {"said": PLANTED}, "created_at": at, "updated_at": at, **values})  # fmt: skip


def fill(home: Path) -> None:
    """One hour of letters through its stages, a training on it, a flow that reads it, and b in every table."""
    warehouse.migrate()
    at = warehouse.now()
    taken = stage("ingest", ROWS, facts={"source_sha256": "x", "uri": "landing/letters.csv"})
    good = stage("contract", ROWS, {"data": taken.ref}, params={"state": CONTRACT}, facts={"status": "passed"})
    keyed = ROWS.rename(columns={"letter_id": "entity_key"})

    publication = PUBLISHED["written"](
        FLOW, HOUR, models={"m": 1}, decisions=[{"entity_key": key, "route": "reply"} for key in keyed["entity_key"]],
        predictions=[{"entity_key": key, "reasons": json.dumps([[PLANTED if key == "b" else "n", 0.5]])}
                     for key in keyed["entity_key"]],
    )  # fmt: skip
    stage("publish", keyed, {"data": good.ref}, on_commit=publication.enforce)
    stage(
        "contract", ROWS, {"data": taken.ref}, params={"state": CONTRACT, "x": 1}, facts={"status": "passed"}
    )  # again
    stage("ingest", ROWS.assign(letter_id=["d", "e", "f"], name="x"), partition=NEXT)
    record_models(FLOW, HOUR, {"m": 1})
    stage("assemble", ROWS, partition="history", flow="m_train")
    stage("digest", keyed, {"data": good.ref}, flow="week")
    stage("orders", keyed.assign(name="other"), flow="orders")  # another flow's b is somebody else
    add(tables.labels, origin="analyst", target="risk", category=PLANTED, known_at=at)
    add(tables.cases, route="reply", risk=0.1, status="closed", resolutions={"yes": {}}, resolution="yes", actor="ada",
        text=f"Dear {PLANTED}", opened_at=at, updated_at=at)  # fmt: skip
    add(tables.quarantine, row_sha="a" * 64, row=2, rule="r", source="s", value=PLANTED, status="open", repair=None,
        raw={"name": PLANTED}, first_seen=at, updated_at=at)  # fmt: skip
    add(tables.evidence_salts, salt=PLANTED, at=at)
    add(tables.adjustments, field="text", proposed=1.0, decided=2.0, actor="ada", reason=PLANTED, at=at)
    effect()
    for path in ("outbox/mail-b-1.eml", "reports/contracts/letters/2026-11-20T09-00-00/contract-1.html"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(PLANTED)
    Journal(Slot(FLOW, "publish", HOUR).folder, None).put("k", {"output": PLANTED})


@pytest.fixture
def filled(home: Path) -> Path:
    fill(home)
    return home


def holding(home: Path, value: str = PLANTED) -> list[str]:
    """Files below the home that hold the value: as rows, or as bytes."""
    found = []
    for path in sorted(one for one in home.rglob("*") if one.is_file()):
        text = (
            str(pq.read_table(path).to_pydict()) if path.suffix == ".parquet" else path.read_bytes().decode("latin-1")
        )
        found += [str(path.relative_to(home))] if value in text else []
    return found


def test_a_dry_run_says_what_would_go_and_removes_nothing(filled: Path) -> None:
    before = holding(filled)
    planned = erase(["b"], FLOW, "asked on paper", "ada")
    assert holding(filled) == before
    assert planned.rows == {"quarantine": 1, "predictions": 1, "decisions": 1, "labels": 1, "cases": 1, "adjustments": 1,
                            "evidence_salts": 1, "outbox": 1, "rows of datasets": 6}  # fmt: skip
    assert planned.deliveries == ["landing/letters.csv"]
    done = erase(["b"], FLOW, "asked on paper", "ada", dry_run=False)
    assert (done.rows, done.objects) == (planned.rows, planned.objects)


def test_nothing_holds_the_value_and_the_rest_is_as_it_was(filled: Path) -> None:
    kept = head(Slot("orders", "orders", HOUR))
    erase(["b"], FLOW, "asked on paper", "ada", dry_run=False)
    assert holding(filled) == []
    with pytest.raises(BatonError, match="nothing to export"):
        files.export(filled / "rows.csv", Where(flow=FLOW))
    assert head(Slot("orders", "orders", HOUR)) == kept
    frame = datasets.read(head(Slot("m_train", "assemble", "history")).ref)  # type: ignore[union-attr]
    assert frame["letter_id"].tolist() == ["a", "c"]
    others = lineage(FLOW, "c")
    assert others.checked[0].row == {"letter_id": "c", "name": "Carl", "n": 3.0}
    assert [one["facts"]["uri"] for one in others.sources] == ["landing/letters.csv"]
    assert garbage.gc(timedelta(0)).uris == []


def test_what_partitions_claimed_for_an_entity_goes_too(filled: Path) -> None:
    with warehouse.write() as conn:
        for owner in ("b", "c"):
            one = {"flow": FLOW, "stage": "s", "partition": HOUR, "mark": "m", "owner": owner}
            conn.execute(tables.claims.insert().values(**one, first=1.0, last=2.0))
    erase(["b"], FLOW, "asked on paper", "ada", dry_run=False)
    with warehouse.read() as conn:
        assert list(conn.scalars(sa.select(tables.claims.c.owner))) == ["c"]


def test_evidence_stays(filled: Path) -> None:
    before = ledger.verify().records
    erase(["b"], FLOW, "asked on paper", "ada", dry_run=False)
    assert (ledger.verify().ok, ledger.verify().records) == (True, before + 1)
    steps = trace("b")
    assert [step.what for step in steps] == ["erased"]
    assert steps[0].says == f"erased on {datetime.now(UTC):%Y-%m-%d} by ada: asked on paper"
    assert steps[0].facts["rows"]["predictions"] == 1
    assert len(steps[0].facts["rows_sha256"]["predictions"]) == 64
    assert steps[0].facts["datasets"] == 6
    with warehouse.read() as conn:
        sent = conn.execute(sa.select(tables.outbox)).mappings().one()
    assert (sent["key"], sent["state"], sent["payload"]) == ("mail-b-1", "sent", {})  # never sent again
    assert trace("c")[-1].what == "decision"


def test_a_repeated_run_finds_its_result_without_the_rows(filled: Path) -> None:
    erase(["b"], FLOW, "asked", "ada", dry_run=False)
    again = stage("ingest", ROWS, facts={"source_sha256": "x"})
    assert (again.cached, again.ref.rows) == (True, 2)
    assert holding(filled) == []


def test_a_run_that_read_the_rows_before_cannot_commit_them_after(filled: Path) -> None:
    def compute(_: Any) -> StageOutput:
        rows = datasets.read(head(Slot(FLOW, "ingest", HOUR)).ref)  # type: ignore[union-attr]
        erase(["b"], FLOW, "asked", "ada", dry_run=False)
        return StageOutput(rows)

    with pytest.raises(StaleAttempt):
        run_stage(Slot(FLOW, "late", NEXT), compute, inputs={}, params={}, models={}, code="c", run_id="r")
    assert holding(filled) == []


def test_a_run_that_commits_meanwhile_is_looked_into_as_well(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, runs = datasets.without, []

    def meanwhile(*args: Any, **more: Any) -> DatasetRef:
        if not runs:
            runs.append(1)
            stage("late", ROWS, partition=NEXT)
        return write(*args, **more)

    monkeypatch.setattr(datasets, "without", meanwhile)
    erase(["b"], FLOW, "asked", "ada", dry_run=False)
    assert datasets.read(head(Slot(FLOW, "late", NEXT)).ref)["letter_id"].tolist() == ["a", "c"]  # type: ignore[union-attr]
    assert holding(filled) == []
    assert garbage.gc(timedelta(0)).uris == []


def test_parts_are_looked_into_and_written_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS", 1)
    monkeypatch.setattr(parts, "STEP", 1)
    fill(home)
    before = head(Slot("m_train", "assemble", "history"))
    assert before is not None
    assert before.ref.kind == "manifest"
    planned = erase(["b"], FLOW, "asked on paper", "ada")
    done = erase(["b"], FLOW, "asked on paper", "ada", dry_run=False)
    assert done.objects == planned.objects
    assert (planned.rows["rows of datasets"], len(planned.objects)) == (6, 6 * 4 + 2 * 4)  # and what is published
    assert holding(home) == []
    assert garbage.gc(timedelta(seconds=-60)).uris == []
    after = head(Slot("m_train", "assemble", "history"))
    assert after is not None
    assert datasets.read(after.ref)["letter_id"].tolist() == ["a", "c"]
    erase(["a", "c"], FLOW, "asked", "ada", dry_run=False)
    assert datasets.read(head(Slot("m_train", "assemble", "history")).ref).empty  # type: ignore[union-attr]


def test_what_a_crashed_attempt_left_goes_too(filled: Path) -> None:
    lost = datasets.write(ROWS, f"letters/late/{NEXT}/-1/{'0' * 64}-1-{warehouse.transact(warehouse.identity)}.parquet")
    erase(["b"], FLOW, "asked", "ada", dry_run=False)
    assert not datasets.verifies(lost)


def test_an_effect_on_its_way_is_waited_for(filled: Path) -> None:
    until = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    effect(key="mail-b-2", state="sending", lease_until=until)
    before = holding(filled)
    with pytest.raises(BatonError, match="being delivered right now"):
        erase(["b"], FLOW, "asked", "ada", dry_run=False)
    assert holding(filled) == before


def test_an_effect_that_is_not_out_yet_is_withdrawn(filled: Path) -> None:
    effect(key="mail-b-2", state="pending")
    erase(["b"], FLOW, "asked", "ada", dry_run=False)
    with warehouse.read() as conn:
        assert dict(conn.execute(sa.select(tables.outbox.c.key, tables.outbox.c.state)).all()) == {
            "mail-b-1": "sent", "mail-b-2": "withdrawn",
        }  # fmt: skip


def test_traces_that_cannot_be_removed_are_said_and_the_rest_goes(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATON_MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    settings.cache_clear()
    done = erase(["b"], FLOW, "asked", "ada", dry_run=False)
    assert "MLflow: no credentials for service" in done.left[0]
    assert holding(filled) == []
    assert trace("b")[0].facts["traces"] == done.left[0]


def test_which_flows_know_a_key(filled: Path) -> None:
    assert (flows_of(["b"]), flows_of(["nobody"])) == ([FLOW], [])


def test_what_several_tasks_made_goes_from_their_parts_and_the_whole_names_the_new_ones(home: Path) -> None:
    fill(home)
    halves = [ROWS.iloc[:2], ROWS.iloc[2:].assign(letter_id=["z"])]
    made = [
        run_stage(Slot(FLOW, "score", HOUR, number), lambda _, rows=rows: StageOutput(rows.rename(columns={"letter_id": "entity_key"})),
                  inputs={}, params={"n": number}, models={}, code="c", run_id="r")
        for number, rows in enumerate(halves)
    ]  # fmt: skip
    own = Slot(FLOW, "score", HOUR)
    whole = groups.whole(own, [one.ref for one in made], [{}, {}], {})
    later = stage("later", ROWS.head(1), {"scores": whole.ref})
    would = erase(["b"], FLOW, "asked", "ada")
    done = erase(["b"], FLOW, "asked", "ada", dry_run=False)
    assert would.rows["rows of datasets"] == done.rows["rows of datasets"]
    now = head(own)
    assert now is not None
    assert datasets.read(now.ref)["entity_key"].tolist() == ["a", "z"]
    assert [ref.uri for ref in now.inputs.values()] == [
        one.ref.uri for number in (0, 1) if (one := head(Slot(FLOW, "score", HOUR, number)))
    ]
    assert now.inputs["group.1"] == made[1].ref, "what held nothing of it stays where it is"
    assert head(Slot(FLOW, "later", HOUR)).inputs["scores"] == now.ref != later.inputs["scores"]  # type: ignore[union-attr]
    assert not [item for item in objects.listed() if PLANTED.encode() in objects.get(item.uri)]
    assert garbage.gc(timedelta(seconds=-60)).uris == []
    assert datasets.verifies(now.ref)
