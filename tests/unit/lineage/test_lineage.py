"""OpenLineage events: as the schemas want them, of every commit and version, told once they can be; a deaf endpoint stops nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
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
    stage: str,
    facts: dict[str, Any],
    models: Mapping[str, int | str] | None = None,
    of: int = -1,
    **inputs: StageResult,
) -> StageResult:
    return run_stage(
        Slot("f", stage, KEY, of), lambda _: StageOutput(pd.DataFrame({"who": ["ada@example.org"]}), facts),
        inputs={name: one.ref for name, one in inputs.items()}, params={"options": {"source": "cards"}} if not inputs else {},
        models=models or {}, code="c" * 64, run_id="manual__1",
    )  # fmt: skip


def happened(kind: str, subject: str, payload: dict[str, Any]) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, kind, subject, payload)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def endpoint(monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], Any]) -> None:
    """Events go to an endpoint that answers so."""

    class Client(httpx.AsyncClient):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(httpx, "AsyncClient", Client)
    monkeypatch.setenv("BATON_LINEAGE_URL", "http://lineage.example/api/v1/lineage")
    settings.cache_clear()


def versions(many: int) -> None:
    for number in range(1, many + 1):
        happened("approval", f"m/{number}", {"answer": "approved"})


def version(request: httpx.Request) -> int:
    return int(json.loads(request.content)["dataset"]["facets"]["version"]["datasetVersion"])


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


def test_what_a_task_judged_apart_is_told_as_nobodys_dataset(told: Path) -> None:
    delivered = commit("ingest", {})
    judged = commit("contract", {"edges": [0, 1, 2]}, of=0, data=delivered)
    mapped = commit("score", {}, of=1, data=delivered)
    commit("contract", {"status": "passed"}, data=delivered)
    ended = [one for one in read(told) if one["eventType"] == "COMPLETE"]
    assert [(one["job"]["name"], len(one["inputs"]), [to["name"] for to in one["outputs"]]) for one in ended] == [
        ("f.ingest", 0, ["f/ingest"]), ("f.contract", 1, []), ("f.score", 1, ["f/score"]), ("f.contract", 1, ["f/contract"]),
    ]  # fmt: skip
    assert judged.ref.content_sha256 == mapped.ref.content_sha256 != ""


def test_a_deaf_endpoint_stops_nothing_and_loses_nothing(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, heard = [True], list[dict[str, Any]]()

    def answer(request: httpx.Request) -> httpx.Response:
        if deaf[0]:
            raise httpx.ConnectError("no route")
        heard.append(json.loads(request.content) | {"token": request.headers.get("authorization")})
        return httpx.Response(201)

    endpoint(monkeypatch, answer)
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

    def slow(events: list[list[dict[str, Any]]], until: float) -> telling.Sent:
        told_of.append(len(events))
        if len(told_of) == 1:  # another process commits while this one tells
            happened("approval", "m/7", {"answer": "approved", "reviewer": "ada"})
            assert telling.tell(tell_to=lambda *_: pytest.fail("two tell")) == ""
        return telling.Sent(len(events))

    happened("approval", "m/7", {"answer": "rejected", "reviewer": "ada"})
    assert telling.tell(tell_to=slow) == ""
    assert told_of == [1, 1]
    assert telling.standing() == telling.Told(2)


def test_a_slow_endpoint_holds_a_stage_for_seconds_and_not_for_each_entry(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, heard = [0.0], list[int]()

    def slow(request: httpx.Request) -> httpx.Response:
        clock[0] += 3.0
        heard.append(version(request))
        return httpx.Response(201)

    endpoint(monkeypatch, slow)
    monkeypatch.setattr(telling, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    versions(30)
    assert telling.tell() == "lineage: 28 ledger entries wait to be told: more than can be told after one commit"
    assert heard == [1, 2], "the third would begin after five seconds"
    assert telling.tell(again=True) == ""
    assert heard == list(range(1, 31)), "what was told is not told again, though it took many leases"


def test_nothing_is_sent_once_the_lease_is_nearly_over(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, longest = [0.0], 0.0

    def send(events: list[list[dict[str, Any]]], until: float) -> telling.Sent:
        nonlocal longest
        longest = max(longest, until - clock[0])
        return telling.Sent(len(events))

    monkeypatch.setattr(telling, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    versions(1)
    telling.tell(again=True, tell_to=send)
    assert 0 < longest <= telling.LEASE - telling.PATIENCE


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_an_event_that_is_refused_blocks_nothing_behind_it(
    told: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    heard: list[int] = []

    def picky(request: httpx.Request) -> httpx.Response:
        heard.append(version(request))
        return httpx.Response(status if heard[-1] == 2 else 201)

    endpoint(monkeypatch, picky)
    versions(4)
    assert telling.tell() == "lineage: 1 ledger entries were refused and are left out"
    assert heard == [1, 2, 3, 4]
    assert "refuses ledger entry 2" in caplog.text
    said = CliRunner().invoke(app, ["lineage"])
    assert (said.exit_code, heard) == (0, [1, 2, 3, 4])
    assert said.stdout == "told up to ledger entry 4; 1 entries were refused and are left out\n"


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 408, 429, 503])
def test_an_answer_that_is_not_about_the_event_loses_none(
    told: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    heard: list[int] = []

    def busy(request: httpx.Request) -> httpx.Response:
        heard.append(version(request))
        return httpx.Response(status if heard.count(3) == 1 and heard[-1] == 3 else 201)

    endpoint(monkeypatch, busy)
    versions(4)
    assert telling.tell() == f"lineage: 2 ledger entries wait to be told: OSError: the endpoint answered {status}"
    assert telling.tell(again=True) == ""
    assert heard == [1, 2, 3, 3, 4], "what it took is not told again"


def test_an_answer_without_an_end_is_given_up(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: httpx.Request) -> httpx.Response:  # as far as the client knows, bytes still come
        await asyncio.Event().wait()
        return httpx.Response(201)

    endpoint(monkeypatch, hangs)
    monkeypatch.setattr(telling, "PATIENCE", 0.01)
    versions(1)
    assert telling.tell(again=True).endswith("the endpoint cannot be reached: TimeoutError")


def test_the_command_says_that_another_tells(told: Path) -> None:
    def dies(*_: Any) -> telling.Sent:
        raise KeyboardInterrupt

    versions(3)
    with pytest.raises(KeyboardInterrupt):
        telling.tell(tell_to=dies)
    said = CliRunner().invoke(app, ["lineage"])
    assert said.exit_code == 1
    assert "3 ledger entries wait to be told: another process is telling, or died" in " ".join(said.stderr.split())


def test_of_two_first_commits_both_are_told(told: Path) -> None:
    versions(2)
    telling.tell(1)
    telling.tell(0)
    assert [one["dataset"]["facets"]["version"]["datasetVersion"] for one in read(told)] == ["2", "1", "2"]
    telling.tell(0)
    assert len(read(told)) == 3
    waits: list[str] = []

    def meanwhile(events: list[list[dict[str, Any]]], until: float) -> telling.Sent:
        if not waits:
            waits.append(telling.tell(3, tell_to=lambda *_: pytest.fail("two tell")))
        return telling.Sent(len(events))

    versions(3)
    telling.restart(4)
    telling.tell(4, tell_to=meanwhile)
    assert telling.standing() == telling.Told(5, first=3)


def test_a_commit_is_told_in_two_transactions(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(1)
    counted, real = [0], warehouse.write

    def write() -> Any:
        counted[0] += 1
        return real()

    monkeypatch.setattr(warehouse, "write", write)
    telling.tell()
    assert (counted[0], telling.standing()) == (2, telling.Told(1))


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
        events = [event for of_entry in of_entries(conn, rows) for event in of_entry]
    assert [one["kind"] for one in rows if one["kind"] in KINDS] == ["dataset_committed"]
    assert [one["eventType"] for one in events] == ["START", "COMPLETE"]
