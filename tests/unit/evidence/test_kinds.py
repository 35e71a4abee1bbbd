"""Packs of evidence about a flow and about one decision: proven where the ledger has it, and nothing of whom it is about."""

from __future__ import annotations

import hashlib
import json
import runpy
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.actions.votes import Voter
from baton.cli.app import app
from baton.cli.state import evidence as cli
from baton.errors import BatonError
from baton.evidence import from_ledger
from baton.record import ledger, tables, warehouse
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE = runpy.run_path(str(Path(__file__).with_name("auditor_stage.py")))
SCENE = runpy.run_path(str(Path(__file__).with_name("published_scene.py")))
auditor, fingerprint, said, fast, told_of_changes = (
    STAGE[name] for name in ("auditor", "fingerprint", "said", "fast", "told_of_changes")
)
scene, of_flow, of_decision, lines, committed = (
    SCENE[name] for name in ("scene", "of_flow", "of_decision", "lines", "committed")
)
FLOW, KEYS, SECRETS = SCENE["FLOW"], SCENE["KEYS"], SCENE["SECRETS"]


def test_a_flow_and_what_it_published(scene: tuple[str, Any], auditor: ModuleType) -> None:
    data = of_flow(scene)
    verdicts, found, well = auditor.verify(data, fingerprint())
    assert well, found
    assert set(verdicts.values()) == {"ok"}
    assert "partitions.jsonl: commit, rows, sha256, models of 2 of 2 are as an entry `dataset_committed` says" in said(
        found, "proven"
    )
    assert "approvals.jsonl: answer, reviewer, channel of 1 of 1" in said(found, "proven")
    assert "models/card_fraud-2/manifest.json: the manifest of the model's 0 files is signed" in said(found, "proven")
    assert "transaction_anomaly version 1: the registry lost it" in said(found, "not covered")
    files = auditor.unpack(data)[0]
    assert [one["partition"] for one in lines(files, "partitions.jsonl")] == list(KEYS)
    told = lines(files, "lineage.jsonl")
    ended = [one for one in told if one.get("eventType") == "COMPLETE"]
    assert [one["job"]["name"] for one in ended] == [f"{FLOW}.publish"] * 2
    commits = [one["run"]["facets"]["baton_commit"]["commit"] for one in ended]
    assert commits == [one["commit"] for one in lines(files, "partitions.jsonl")]
    assert [one["dataset"]["name"] for one in told if "dataset" in one] == ["models/card_fraud"] * 3
    assert f"lineage.jsonl: {len(told)} OpenLineage events" in said(found, "asserted")
    assert "lineage" not in said(found, "not covered")
    assert [(one["model"], one["version"]) for one in lines(files, "versions.jsonl")] == [
        ("card_fraud", 1), ("card_fraud", 2), ("transaction_anomaly", 1)]  # fmt: skip
    assert json.loads(files["flow.json"])["models"] == {"card_fraud": 2, "transaction_anomaly": 1}
    assert not any(secret in data for secret in SECRETS)
    assert of_flow(scene) == data


def test_a_flow_as_of_a_moment(scene: tuple[str, Any], auditor: ModuleType) -> None:
    data = of_flow(scene, committed(KEYS[0]))
    assert auditor.verify(data, fingerprint())[2]
    files = auditor.unpack(data)[0]
    assert [one["partition"] for one in lines(files, "partitions.jsonl")] == [KEYS[0]]
    with pytest.raises(BatonError, match="had committed nothing"):
        of_flow(scene, "2020-01-01T00:00:00.000000Z")
    with pytest.raises(BatonError, match=r"was published at .* after 2020"):
        of_decision(scene, "2020-01-01T00:00:00.000000Z")


@pytest.mark.parametrize("made", [of_flow, of_decision])
def test_changes_are_named(
    scene: tuple[str, Any], auditor: ModuleType, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    monkeypatch.setattr(auditor, "signed_by", fast)
    assert told_of_changes(auditor, made(scene), 200) == 200


def test_an_entry_is_in_the_ledger_or_there_is_no_pack(scene: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with monkeypatch.context() as patch:  # an owner who shows another hash
        about = from_ledger.about
        patch.setattr(from_ledger, "about", lambda conn, subjects, size, kinds=(): [
            {**one, "hash": other} if one["kind"] == "dataset_committed" else one for one in about(conn, subjects, size, kinds)])  # fmt: skip
        with pytest.raises(BatonError, match="do not lead to the root"):
            of_decision(scene)


@pytest.mark.parametrize(
    ("made", "kind"), [(of_flow, "gate_verdict"), (of_flow, "alias_moved"), (of_decision, "gate_verdict")]
)
def test_only_a_decision_withholds_entries_and_none_that_proves_a_file(
    scene: tuple[str, Any], auditor: ModuleType, monkeypatch: pytest.MonkeyPatch, made: Any, kind: str
) -> None:
    proven = from_ledger.proven
    monkeypatch.setattr(from_ledger, "proven", lambda conn, entries, at: proven(
        conn, [{name: one[name] for name in ("seq", "kind")} if one["kind"] == kind else one for one in entries], at))  # fmt: skip
    _, found, well = auditor.verify(made(scene), fingerprint())
    assert not well
    assert f"(`{kind}`) is withheld, and no such may be in this pack" in said(found, "failed")
    monkeypatch.setattr(from_ledger, "proven", lambda conn, entries, at: proven(
        conn, [{name: one[name] for name in ("seq", "kind", "hash")} if one["kind"] == kind else one for one in entries], at))  # fmt: skip
    _, found, well = auditor.verify(made(scene), fingerprint())
    assert not well, "one without its content is not `not covered`"
    assert "has not the hash of its content" in said(found, "failed")


def test_what_the_pack_leaves_out_is_not_said_of_the_ledger(
    scene: tuple[str, Any], auditor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = from_ledger.proven
    monkeypatch.setattr(from_ledger, "proven", lambda conn, entries, at: proven(
        conn, [one for one in entries if one["kind"] != "gate_verdict"], at))  # fmt: skip
    found = auditor.verify(of_flow(scene), fingerprint())[1]
    assert "gate.jsonl: 1 of 1: the pack has no entry `gate_verdict`" in said(found, "asserted")


def test_the_commands(
    scene: tuple[str, Any], auditor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, list(words), env={"COLUMNS": "500"})

    monkeypatch.setattr(cli, "person", lambda: Voter("op", "Olga P.", "command line"))
    assert f"{FLOW}.zip" in run("evidence", f"flow:{FLOW}").stdout
    assert f"decision-{FLOW}.zip" in run("evidence", "decision", scene[0]).stdout
    for name in (FLOW, f"decision-{FLOW}"):
        assert auditor.verify((tmp_path / f"{name}.zip").read_bytes(), fingerprint())[2]


def test_what_was_judged_of_the_partition_is_compared_with_the_ledger(
    scene: tuple[str, Any], auditor: ModuleType
) -> None:
    table, about = tables.drift_windows, f"card_fraud/{KEYS[1]}"
    with warehouse.write() as conn:
        ledger.append(conn, "window_judged", about, {"version": 2, "verdict": "stable", "features": []})
        ledger.append(conn, "window_judged", about, {"version": 3, "verdict": "drifted", "features": ["amount"]})
        window = {"status": "judged", "drifted": [], "rows": 4}
        conn.execute(table.insert().values(model="card_fraud", partition=KEYS[1], version=2, flow=FLOW, verdict="superseded", measured=0,
                                           window=window, features=[], commit_id=1, judged_at=warehouse.now(), table={}))  # fmt: skip
    try:
        _, found, well = auditor.verify(of_decision(scene), fingerprint())
    finally:
        with warehouse.write() as conn:
            conn.execute(table.delete())
    assert well, found
    assert "drift.jsonl: version, verdict, features of 1 of 1 are as an entry `window_judged` says" in said(
        found, "proven"
    )


def test_rows_that_were_erased_since_are_no_contradiction(scene: tuple[str, Any], auditor: ModuleType) -> None:
    c = tables.commits.c
    with warehouse.write() as conn:
        row = conn.execute(tables.commits.select().where(c.stage == "publish", c.partition == KEYS[0])).one()
        ref = {**row.ref, "content_sha256": "f" * 64, "rows": 3}
        conn.execute(tables.commits.update().where(c.id == row.id).values(ref=ref))
    data = of_flow(scene)
    assert auditor.verify(data, fingerprint())[2]
    assert lines(auditor.unpack(data)[0], "partitions.jsonl")[0]["now"] == "f" * 64


def publish_again(number: int) -> None:
    run_stage(Slot(FLOW, "publish", KEYS[0]), lambda _: StageOutput(pd.DataFrame({"a": [number]}), {"routes": {}}), inputs={},
              params={"n": number}, models={"card_fraud": 1}, code="c", run_id="r")  # fmt: skip


def test_what_is_committed_while_a_pack_is_written_is_not_in_it(
    scene: tuple[str, Any], auditor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = ledger.checkpoint

    def overtaken() -> Any:
        at = signed()
        publish_again(1)
        return at

    monkeypatch.setattr(ledger, "checkpoint", overtaken)
    before = committed(KEYS[0])
    data = of_flow(scene)
    _, found, well = auditor.verify(data, fingerprint())
    assert well, found
    assert before < committed(KEYS[0])
    assert "of 2 of 2 are as an entry `dataset_committed` says" in said(found, "proven")
    stages = json.loads(auditor.unpack(data)[0]["flow.json"])["stages"]
    assert max(one["at"] for one in stages) == committed(KEYS[1]) < committed(KEYS[0])


def test_a_result_is_there_from_the_moment_of_its_entry(scene: tuple[str, Any], auditor: ModuleType) -> None:
    publish_again(2)
    c = tables.commits.c
    with warehouse.read() as conn:
        made = conn.execute(tables.commits.select().where(c.stage == "publish").order_by(c.id.desc())).first()
    assert made is not None
    at = committed(KEYS[0])
    assert made.created_at == at, "as the ledger says, not as it was stamped before its turn"
    before = (datetime.fromisoformat(at) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for moment, many in ((before, 0), (at, 1)):
        data = of_flow(scene, moment)
        _, found, well = auditor.verify(data, fingerprint())
        assert well, found
        files = auditor.unpack(data)[0]
        assert [one["commit"] for one in lines(files, "partitions.jsonl")].count(made.id) == many
        assert (json.loads(files["flow.json"])["published"]["commit"] == made.id) == bool(many)
