"""As of a moment: which version was in force, on which evidence, and what a flow worked with; nothing of later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from baton.cli.app import app
from baton.errors import BatonError
from baton.record import asof, ledger, tables, warehouse
from baton.record.used_models import record_models

HOUR, NEXT = "2026-11-20T09:00:00", "2026-11-20T10:00:00"


def at(hour: int, minute: int = 0) -> str:
    return f"2026-11-20T{hour:02}:{minute:02}:00.000000Z"


@pytest.fixture
def record(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Version 1 is champion from 8:02, version 2 from 10:02; a flow publishes with each."""
    warehouse.migrate()

    def said(moment: str, kind: str, subject: str, payload: dict[str, Any]) -> None:
        with monkeypatch.context() as patch, warehouse.write() as conn:
            patch.setattr(warehouse, "now", lambda: moment)
            ledger.append(conn, kind, subject, payload)

    def made(moment: str, flow: str, stage: str, partition: str, **more: Any) -> None:
        row = {"flow": flow, "stage": stage, "partition": partition, "map_index": -1, "fence": int(moment[11:13]), "digest": "d",
               "uri": f"{flow}/{stage}/{moment}", "ref": {"content_sha256": "a" * 64}, "facts": {}, "inputs": {}, "params": {},
               "models": {}, "code": "c" * 64, "created_at": moment} | more  # fmt: skip
        with warehouse.write() as conn:
            number = conn.execute(tables.commits.insert().values(row).returning(tables.commits.c.id)).scalar_one()
            head = {name: row[name] for name in ("flow", "stage", "partition", "map_index", "fence")}
            warehouse.upsert(conn, tables.heads, [{**head, "commit_id": number}])
        said(moment, "dataset_committed", f"{flow}/{stage}/{partition}", {"commit": number})

    for version, hour in ((1, 8), (2, 10)):
        spec, contract = (
            {"spec": {"model": "m", "seed": version}},
            {"contract": {"contract": "rows", "version": version}},
        )
        made(at(hour), "m_train", "contract", f"r{version}", params={"state": contract})
        made(at(hour), "m_train", "register", f"r{version}", facts={"version": version}, params={"state": spec})
        said(at(hour), "version_registered", f"m/{version}", {"winner": "lightgbm"})
        said(at(hour, 1), "gate_verdict", f"m/{version}", {"decision": "PROMOTE", "reasons": [f"reason {version}"]})
        said(at(hour, 1), "approval", f"m/{version}", {"answer": "approved", "reviewer": "ada", "channel": "airflow"})
        move = {"alias": "champion", "version": version, "actor": "ada", "reason": "approved", "manifest": "e" * 64}
        said(at(hour, 2), "alias_moved", "m", move)
        partition = HOUR if version == 1 else NEXT
        made(at(hour, 30), "f", "contract", partition, params={"state": contract})
        made(at(hour, 30), "f", "advise", partition, params={"state": {"agent": {"prompt": f"{version}" * 64}}})
        made(at(hour, 31), "f", "publish", partition, facts={"models": {"m": version}})
        record_models("f", partition, {"m": version})
    said(at(11), "gate_verdict", "m/1", {"decision": "HOLD", "reasons": ["judged again"]})
    yield
    warehouse.engine().dispose()


def test_a_moment_has_a_zone_or_is_utc() -> None:
    assert asof.moment("2026-11-20T10:00") == (at(10), True)
    assert asof.moment("2026-11-20T10:00+01:00") == (at(9), False)
    assert asof.moment("2026-11-20 10:00Z") == (at(10), False)
    for text, why in (
        ("yesterday", "is no moment"),
        ("2999-01-01", "lies ahead"),
        ("0001-01-01T00:00+09:00", "is no moment"),
    ):
        with pytest.raises(BatonError, match=why):
            asof.moment(text)


def test_which_version_was_champion_and_why(record: None) -> None:
    with warehouse.read() as conn:
        found = asof.of_model(conn, "m", at(9))
        later = asof.of_model(conn, "m", at(12))
    assert (found["version"], found["since"], found["until"]) == (1, at(8, 2), at(10, 2))
    assert (found["actor"], found["manifest"]) == ("ada", "e" * 64)
    assert found["gate"]["says"]["reasons"] == ["reason 1"]
    assert (found["approval"]["says"]["reviewer"], found["registered"]["says"]["winner"]) == ("ada", "lightgbm")
    assert found["spec"] == asof.digest({"model": "m", "seed": 1})
    assert (found["contract"], found["dataset"]) == (asof.digest({"contract": "rows", "version": 1}), "a" * 64)
    assert [one["kind"] for one in found["entries"]] == [
        "version_registered",
        "gate_verdict",
        "approval",
        "alias_moved",
    ]
    assert (later["version"], later["until"], later["gate"]["says"]["reasons"]) == (2, None, ["reason 2"])


def test_before_the_first_record_it_says_so(record: None) -> None:
    with warehouse.read() as conn:
        with pytest.raises(
            BatonError, match=r"m had no champion at .*begins at 2026-11-20T08:02.* with version 1 \(ledger entry 6\)"
        ):
            asof.of_model(conn, "m", at(8))
        with pytest.raises(BatonError, match="knows no champion"):
            asof.of_model(conn, "n", at(8))
        with pytest.raises(BatonError, match=r"f had committed nothing at .*begins at 2026-11-20T08:30"):
            asof.of_flow(conn, "f", at(8))
        with pytest.raises(
            BatonError, match=rf"partition {NEXT} had committed nothing at .*begins at 2026-11-20T10:30"
        ):
            asof.of_flow(conn, "f", at(9), NEXT)
        with pytest.raises(BatonError, match="nothing was ever committed"):
            asof.of_flow(conn, "g", at(9))
        assert [asof.entries_until(conn, moment) for moment in (at(7), at(8), at(8, 1), at(12))] == [0, 3, 5, 19]


def test_what_a_flow_worked_with(record: None) -> None:
    with warehouse.read() as conn:
        found, later = asof.of_flow(conn, "f", at(9)), asof.of_flow(conn, "f", at(12))
        assert asof.of_flow(conn, "f", at(12), HOUR)["models"] == {"m": 1}
    assert (found["models"], later["models"]) == ({"m": 1}, {"m": 2})
    assert (found["published"]["partition"], later["published"]["partition"]) == (HOUR, NEXT)
    stages = {one["stage"]: one for one in found["stages"]}
    assert stages["contract"]["specs"] == {"contract": asof.digest({"contract": "rows", "version": 1})}
    assert stages["advise"]["specs"] == {"agent.prompt": "1" * 64}
    with warehouse.read() as conn:
        entry = conn.execute(tables.ledger.select().where(tables.ledger.c.seq == stages["publish"]["entry"])).one()
    assert (entry.subject, json.loads(entry.payload)["commit"]) == (f"f/publish/{HOUR}", stages["publish"]["commit"])


def test_what_several_tasks_made_was_made_by_what_each_of_them_worked_with(record: None) -> None:
    known = {"flow": "f", "partition": NEXT, "digest": "d", "created_at": at(11), "facts": {}, "models": {}}
    ref = {"content_sha256": "b" * 64}
    with warehouse.write() as conn:
        for number, uri in ((0, "f/score/0"), (-1, "f/score/whole")):
            given = {"group.0": {"uri": "f/score/0"}, "group.1": {"uri": "f/score/1"}} if number < 0 else {}
            params = {"groups": 2} if number < 0 else {"options": {"model": "m"}}
            code = "baton.stages.groups" if number < 0 else "e" * 64
            row = {**known, "stage": "score", "map_index": number, "fence": 11, "uri": uri, "ref": ref | {"uri": uri},
                   "inputs": given, "params": params, "code": code}  # fmt: skip
            made = conn.execute(tables.commits.insert().values(row).returning(tables.commits.c.id)).scalar_one()
            head = {"flow": "f", "stage": "score", "partition": NEXT, "map_index": number, "fence": 11, "uri": uri}
            conn.execute(tables.heads.insert().values(**head, commit_id=made))
    with warehouse.read() as conn:
        found = asof.of_flow(conn, "f", at(12), NEXT)
    scores = [one for one in found["stages"] if one["stage"] == "score"]
    assert [(one["code"], one["specs"]) for one in scores] == [("e" * 64, {"options": asof.digest({"model": "m"})})] * 2


def test_every_question_is_answered_by_an_index(record: None) -> None:
    sent: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        sent.append((statement, given))

    with warehouse.read() as conn:
        sa.event.listen(conn, "before_cursor_execute", note)
        asof.of_model(conn, "m", at(12))
        asof.of_flow(conn, "f", at(12))
        asof.of_flow(conn, "f", at(12), HOUR)
        asof.users_of(conn, "m", 1)
        asof.entries_until(conn, at(9))
        for statement, given in list(sent):
            plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
            assert [step for step in plan if not step.startswith(("SEARCH", "USE TEMP"))] == [], statement
    assert asof.replay("f", HOUR, {"m": 1, "n": 0}).count("=") == 1, "rules are no version"


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "400"})


def test_the_command_prints_how_to_replay(record: None) -> None:
    conf = json.dumps({"partition_from": HOUR, "partition_to": HOUR, "model": "m=1", "dry_run": True})
    command = f"airflow dags trigger f --conf '{conf}'"
    said = run("asof", "2026-11-20T10:00", "model:m").stdout
    for words in (
        "read as UTC",
        "approved by ada (airflow)",
        "PROMOTE: reason 1",
        "(entry 6)",
        command,
        "changes nothing",
    ):
        assert words in said, words
    said = run("asof", "2026-11-20T13:00+01:00", "flow:f", "--partition", HOUR).stdout
    assert "read as UTC" not in said
    assert command in said
    assert "there is nothing to replay" in run("asof", "2026-11-20T09:00", "model:m", "--partition", NEXT).stdout
    assert json.loads(run("asof", "2026-11-20T09:00", "model:m", "--json").stdout)["version"] == 1
    assert "say model:NAME or flow:DAG_ID" in run("asof", "2026-11-20", "m").stderr
