"""OpenLineage events: as the schemas want them, of every commit and version, told once they can be; a deaf endpoint stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pandas as pd
import pytest
from typer.testing import CliRunner

from baton import lineage
from baton.cli.app import app
from baton.lineage import telling
from baton.lineage.events import KINDS, PRODUCER, of_entries
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

OWN = json.loads(Path(lineage.__file__).with_name("facets.json").read_text())
KEY = "2026-11-20T09:00:00"
FACETS = {"type": "object", "additionalProperties": {"required": ["_producer", "_schemaURL"]}}
DATASET = {
    "required": ["namespace", "name"],
    "properties": {"facets": FACETS, "inputFacets": FACETS, "outputFacets": FACETS},
}
# what the published schema (2-0-2) requires of an event, in our words
EVENT = {
    "required": ["eventTime", "producer", "schemaURL"],
    "properties": {"eventTime": {"format": "date-time"}, "producer": {"format": "uri"}, "schemaURL": {"format": "uri"},
                   "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
                   "run": {"required": ["runId"], "properties": {"runId": {"format": "uuid"}, "facets": FACETS}},
                   "job": {"required": ["namespace", "name"]}, "dataset": DATASET,
                   "inputs": {"type": "array", "items": DATASET}, "outputs": {"type": "array", "items": DATASET}},
    "oneOf": [{"required": ["run", "job"]}, {"required": ["dataset"]}],
}  # fmt: skip


@pytest.fixture
def told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("BATON_LINEAGE_URL", path.as_uri())
    settings.cache_clear()
    warehouse.migrate()
    yield path
    warehouse.engine().dispose()


def commit(
    stage: str, facts: dict[str, Any], models: Mapping[str, int | str] | None = None, **inputs: StageResult
) -> StageResult:
    return run_stage(
        Slot("f", stage, KEY), lambda _: StageOutput(pd.DataFrame({"who": ["ada@example.org"]}), facts),
        inputs={name: one.ref for name, one in inputs.items()}, params={"options": {"source": "cards"}} if not inputs else {},
        models=models or {}, code="c" * 64, run_id="manual__1",
    )  # fmt: skip


def happened(kind: str, subject: str, payload: dict[str, Any]) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, kind, subject, payload)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def facets(event: Any) -> Iterator[dict[str, Any]]:
    for value in event.values() if isinstance(event, dict) else event if isinstance(event, list) else ():
        if isinstance(value, dict) and "_schemaURL" in value:
            yield value
        yield from facets(value)


def test_commits_versions_and_decisions_are_told_in_their_order(told: Path) -> None:
    delivered = commit("ingest", {"source_sha256": "a" * 64, "uri": "/home/ada/cards.csv"})
    happened("gate_verdict", "m/7", {"decision": "PROMOTE", "reasons": ["ada said so"], "champion": 6})
    happened(
        "alias_moved", "m", {"alias": "champion", "version": 7, "before": 6, "actor": "ada", "reason": "ada said so"}
    )
    happened("case_decided", "f/ada", {"actor": "ada"})
    commit("publish", {"routes": {"review": 1}}, {"m": 7}, data=delivered)
    events = read(told)
    assert [one.get("eventType", one["schemaURL"].rpartition("/")[2]) for one in events] == [
        "START", "COMPLETE", "DatasetEvent", "DatasetEvent", "START", "COMPLETE"]  # fmt: skip
    for event in events:
        jsonschema.validate(event, EVENT, format_checker=jsonschema.FormatChecker())
        for facet in facets(event):
            if facet["_schemaURL"].startswith(PRODUCER):
                about = OWN["$defs"][facet["_schemaURL"].rpartition("/")[2]]
                jsonschema.validate(facet, {**about, "$defs": OWN["$defs"]})
    first, last = events[1], events[5]
    assert [(one["name"], one["facets"]["version"]["datasetVersion"]) for one in first["inputs"]] == [
        ("sources/cards", "a" * 64)
    ]
    assert [one["name"] for one in last["inputs"]] == ["f/ingest", "models/m"]
    assert last["outputs"][0]["outputFacets"]["baton_decisions"]["routes"] == {"review": 1}
    assert last["job"]["name"] == "f.publish"
    assert last["run"]["runId"] == events[4]["run"]["runId"] != first["run"]["runId"]
    moved = events[3]["dataset"]["facets"]["baton_model"]
    assert (moved["what"], moved["version"], moved["before"]) == ("alias_moved", 7, 6)
    assert "ada" not in told.read_text()


def test_a_deaf_endpoint_stops_nothing_and_loses_nothing(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_LINEAGE_URL", "http://lineage.example/api/v1/lineage")
    settings.cache_clear()
    deaf, heard = [True], list[dict[str, Any]]()

    def answer(request: httpx.Request) -> httpx.Response:
        if deaf[0]:
            raise httpx.ConnectError("no route")
        heard.append(json.loads(request.content) | {"token": request.headers.get("authorization")})
        return httpx.Response(201)

    class Client(httpx.Client):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(httpx, "Client", Client)
    settings().secrets_dir.mkdir(parents=True)
    (settings().secrets_dir / "lineage_token").write_text("s3cret\n")
    delivered = commit("ingest", {"rows": 1})
    assert delivered.facts["rows"] == 1
    assert (
        "lineage: 1 ledger entries wait to be told: OSError: the endpoint cannot be reached: ConnectError"
        in delivered.facts["lineage"]
    )
    deaf[0] = False
    second = commit("publish", {}, data=delivered)  # within the minute nobody asks again
    assert "2 ledger entries wait" in second.facts["lineage"]
    assert heard == []
    said = CliRunner().invoke(app, ["lineage"])
    assert said.stdout == "told up to ledger entry 2\n"
    assert [one["eventType"] for one in heard] == ["START", "COMPLETE"] * 2
    assert {one["token"] for one in heard} == {"Bearer s3cret"}
    assert "lineage" not in commit("score", {}, data=delivered).facts
    assert CliRunner().invoke(app, ["lineage", "--after", "2"]).exit_code == 0
    assert [one["run"]["runId"] for one in heard[4:6]] == [one["run"]["runId"] for one in heard[6:8]], (
        "the same ids when told twice"
    )


def test_one_process_tells_and_takes_along_what_others_left_to_it(told: Path) -> None:
    told_of: list[int] = []

    def slow(events: list[dict[str, Any]]) -> None:
        told_of.append(len(events))
        if len(told_of) == 1:  # another process commits while this one tells
            happened("approval", "m/7", {"answer": "approved", "reviewer": "ada"})
            assert telling.tell(tell_to=lambda _: told_of.append(-1)) == ""

    happened("approval", "m/7", {"answer": "rejected", "reviewer": "ada"})
    assert telling.tell(tell_to=slow) == ""
    assert told_of == [1, 1]
    assert telling.standing() == telling.Told(2)


def test_nobody_is_told_unless_asked_and_an_address_is_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.migrate()
    assert "lineage" not in commit("ingest", {}).facts
    assert telling.standing() is None
    assert "set BATON_LINEAGE_URL" in CliRunner().invoke(app, ["lineage"]).stderr
    warehouse.engine().dispose()
    for wrong in ("lineage.jsonl", "ftp://host/x", "https://user:word@host/x", "file://host/x"):
        monkeypatch.setenv("BATON_LINEAGE_URL", wrong)
        settings.cache_clear()
        with pytest.raises(ValueError, match="an endpoint such as"):
            settings()
    settings.cache_clear()


def test_an_entry_whose_commit_is_gone_still_has_its_event(told: Path) -> None:
    commit("ingest", {})
    with warehouse.write() as conn:
        conn.execute(tables.commits.delete())
    with warehouse.read() as conn:
        rows = [dict(row) for row in conn.execute(tables.ledger.select()).mappings()]
        events = list(of_entries(conn, rows))
    assert [one["kind"] for one in rows if one["kind"] in KINDS] == ["dataset_committed"]
    assert [one["eventType"] for one in events] == ["START", "COMPLETE"]
