"""Packs of evidence about a flow and about one decision: proven where the ledger has it, and nothing of whom it is about."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import runpy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.actions.votes import Voter
from baton.cli.app import app
from baton.cli.state import evidence as cli
from baton.console.queries.lineage import lineage
from baton.errors import BatonError
from baton.evidence import decision, flow, from_ledger
from baton.feedback.cases import decide
from baton.governance import duties
from baton.keys import signing_key
from baton.published import keyed
from baton.record import ledger, tables, warehouse
from baton.registry.manifest import DOMAIN
from baton.retention.person import erase
from baton.settings import settings
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE = runpy.run_path(str(Path(__file__).with_name("auditor_stage.py")))
ROWS = runpy.run_path(str(Path(__file__).parents[1] / "console" / "console_rows.py"))
auditor, fingerprint, said, fast, told_of_changes = (
    STAGE[name] for name in ("auditor", "fingerprint", "said", "fast", "told_of_changes")
)
COLUMNS = ROWS["CONTRACT"]["columns"]
COLUMNS["transaction_id"]["pii"] = "none"  # the key: it says who it is, whatever its contract says
COLUMNS["event_time"]["pii"] = COLUMNS["v10"]["pii"] = None  # as a contract that does not mark them
FLOW, KEYS = ROWS["FLOW"], ("2026-11-20T09:00:00", "2026-11-20T10:00:00")
SECRETS = (b"Ada Example", b"10.9.8.7", b"she called at noon", b"a reason of hers")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """Two published partitions; a case of the second decided, an effect of it permitted; yields the entity and what gives files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATON_HOME", str(tmp_path_factory.mktemp("home")))
        settings.cache_clear()
        warehouse.migrate()
        yield filled(tmp_path_factory.mktemp("model"))
        warehouse.engine().dispose()
    settings.cache_clear()


def filled(folder: Path) -> tuple[str, Any]:
    rng = random.Random(3)
    for number, key in enumerate(KEYS):
        cased = ROWS["publish_partition"](
            key, range(87654320 + 4 * number, 87654324 + 4 * number), rng, version=number + 1
        )
    entity = cased[0]
    decide(FLOW, entity, "fraud", "ada", "she called at noon")
    named = {"flow": FLOW, "partition": KEYS[1], "entity_key": entity}
    at = warehouse.now()
    effect = {**named, "key": f"{FLOW}:{entity}", "kind": "block", "payload": {"ip": "10.9.8.7"}, "state": "sent", "attempts": 1,
              "created_at": at, "updated_at": at, "sent_at": at, "target": "10.9.8.7"}  # fmt: skip
    asked = {**named, "effect": effect["key"], "kind": "block", "target": "10.9.8.7", "pack": "p", "level": "approve", "rule": "r",
             "needs": 1, "reasons": ["a reason of hers"], "requester": f"flow:{FLOW}", "action": {"target": "10.9.8.7"}, "subject": "s",
             "seen": "x", "evidence": "[]", "policy": "p", "state": "approved", "opened_at": at, "updated_at": at, "expires_at": at}  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.outbox.insert().values(effect))
        number = conn.execute(tables.requests.insert().values(asked).returning(tables.requests.c.id)).scalar_one()
        conn.execute(tables.votes.insert().values(request=number, person="7", name="ben", answer="approved", reason="a reason of hers",
                                                  seen="x", channel="console", at=at))  # fmt: skip
        conn.execute(tables.permits.insert().values(effect=effect["key"], request=number, pack="p", level="approve", rule="r",
                                                    subject="s", policy="p", nonce="n", issued_at=at, expires_at=at,
                                                    used_at=at, used_by=effect["key"]))  # fmt: skip
        verdict = {"decision": "PROMOTE", "reasons": ["better"], "champion_version": 1}
        conn.execute(tables.approvals.insert().values(model="card_fraud", version=2, verdict=verdict, answer="approved", reviewer="ada",
                                                      channel="airflow", judged_at=at, answered_at=at))  # fmt: skip
        for kind, subject, payload in (
            ("gate_verdict", "card_fraud/2", {"decision": "PROMOTE", "reasons": ["better"], "champion": 1}),
            ("approval", "card_fraud/2", {"answer": "approved", "reviewer": "ada", "channel": "airflow"}),
            ("alias_moved", "card_fraud", {"alias": "champion", "version": 2, "before": 1}),
            ("permit_used", f"{FLOW}/{KEYS[1]}/{entity}", {"target": "10.9.8.7"}),
        ):
            ledger.append(conn, kind, subject, payload)
    raw = json.dumps({"format": 1, "identity": {}, "files": {}}).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(signing_key(settings().keys_dir).sign(DOMAIN + raw))
    return entity, lambda model, version: folder if (model, version) == ("card_fraud", 2) else "the registry lost it"


def of_flow(scene: tuple[str, Any], as_of: str = "") -> bytes:
    return flow.evidence(FLOW, settings().keys_dir, scene[1], as_of=as_of)


def of_decision(scene: tuple[str, Any], as_of: str = "") -> bytes:
    line = lineage(FLOW, scene[0])
    assert line.published is not None
    checked = [(one.commit, one.row) for one in line.checked]
    basis = decision.Basis(
        FLOW, scene[0], line.partition, line.decision, line.scores, line.published, checked, line.sources
    )
    return decision.evidence(basis, settings().keys_dir, scene[1], as_of=as_of)


def lines(files: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files[name].splitlines()]


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


def committed(partition: str) -> str:
    """When the ledger has the newest result of a partition."""
    with warehouse.read() as conn:
        found = from_ledger.about(conn, [f"{FLOW}/publish/{partition}"], 10**9, ["dataset_committed"])
    return str(found[-1]["at"])


def test_a_flow_as_of_a_moment(scene: tuple[str, Any], auditor: ModuleType) -> None:
    data = of_flow(scene, committed(KEYS[0]))
    assert auditor.verify(data, fingerprint())[2]
    files = auditor.unpack(data)[0]
    assert [one["partition"] for one in lines(files, "partitions.jsonl")] == [KEYS[0]]
    with pytest.raises(BatonError, match="had committed nothing"):
        of_flow(scene, "2020-01-01T00:00:00.000000Z")
    with pytest.raises(BatonError, match=r"was published at .* after 2020"):
        of_decision(scene, "2020-01-01T00:00:00.000000Z")


def test_a_decision_without_whom_it_is_about(scene: tuple[str, Any], auditor: ModuleType) -> None:
    entity, data = scene[0], of_decision(scene)
    _, found, well = auditor.verify(data, fingerprint())
    assert well, found
    assert "2 more are withheld but for place and kind" in said(found, "asserted")
    assert "duty audit: the command asks for it" in said(found, "not covered")
    files = auditor.unpack(data)[0]
    assert not any(secret in content for secret in SECRETS for content in files.values())
    assert not any(entity.encode() in content for content in files.values())
    told = json.loads(files["decision.json"])
    assert {name for name, cell in told["row"].items() if cell.keys() == {"value"}} == {"amount", "v10", "v14"}
    assert all(told["row"][name].keys() == {"digest"} for name in ("card_holder", "transaction_id", "event_time"))
    assert told["published"]["decisions"]["group_rows"] == 4
    for kind in ("decisions", "predictions"):
        line = f"decision.json: the hash of the row group that has its {kind}: it is one of the 1 that were published"
        assert line in said(found, "proven")
    with warehouse.read() as conn:
        salt = bytes.fromhex(conn.execute(tables.evidence_salts.select()).one().salt)
    assert (
        told["row"]["card_holder"]["digest"] == hmac.new(salt, b"card_holder\0Ada Example", hashlib.sha256).hexdigest()
    )
    assert [(one["resolution"], one["actor"]) for one in lines(files, "answers.jsonl")] == [("fraud", "ada")]
    assert [(one["name"], one["answer"]) for one in lines(files, "votes.jsonl")] == [("ben", "approved")]
    assert (
        lines(files, "effects.jsonl")[0]["target"] == hmac.new(salt, b"target\x0010.9.8.7", hashlib.sha256).hexdigest()
    )
    effect, asked, permit = (lines(files, f"{name}.jsonl")[0] for name in ("effects", "requests", "permits"))
    assert effect["key"] == asked["effect"] == permit["effect"] == permit["used_by"]
    assert len(lines(files, "permits.jsonl")) == len(lines(files, "requests.jsonl")) == 1
    assert {one["model"] for one in lines(files, "scores.jsonl")} == {"card_fraud", "transaction_anomaly"}
    assert of_decision(scene) == data


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


def test_a_row_group_is_one_of_those_that_the_ledger_was_told_of(
    scene: tuple[str, Any], auditor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_groups, name = keyed.row_groups, "decision.json: the hash of the row group that has its decisions"
    other = hashlib.sha256(b"other").hexdigest()

    def forged(ref: Any) -> Iterator[Any]:
        for number, part, place, group in row_groups(ref):
            yield number, part, place, replace(group, sha256=other)

    with monkeypatch.context() as patch:  # an owner who says another hash, and signs it
        patch.setattr(keyed, "row_groups", forged)
        _, found, well = auditor.verify(of_decision(scene), fingerprint())
        assert not well
        assert f"{name}: it is none of the 1 that the ledger was told of" in said(found, "failed")


def test_a_withheld_entry_and_times_help_nobody_to_guess_it(scene: tuple[str, Any], auditor: ModuleType) -> None:
    files = auditor.unpack(of_decision(scene))[0]
    withheld = [one for one in lines(files, "ledger/entries.jsonl") if "payload" not in one]
    assert [one.keys() for one in withheld] == [{"seq", "kind"}] * 2
    assert {one["kind"] for one in withheld} == {"case_decided", "permit_used"}
    for name in ("answers", "effects", "requests", "votes", "permits"):
        row = lines(files, f"{name}.jsonl")[0]
        assert all(len(row[one]) == 20 for one in row if one.split("_")[-1] == "at" and row[one]), row


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


def test_evidence_about_one_decision_is_for_who_has_the_duty(
    scene: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(who: str, to: str) -> Any:
        monkeypatch.setattr(cli, "person", lambda: Voter(who, "op", "command line"))
        return CliRunner().invoke(app, ["evidence", "decision", scene[0], "--to", to], env={"COLUMNS": "500"})

    for who in ("ann", "root", ""):  # what they call themselves gives them nothing
        refused = run(who, "a.zip")
        assert refused.exit_code == 1
        assert f"{who or 'nobody'} may not audit flow:{FLOW}: that is for op, admin" in refused.stderr
    assert not (tmp_path / "a.zip").exists()
    with warehouse.write() as conn:
        day = datetime.now(UTC).date()
        made = duties.give(conn, f"flow:{FLOW}", "audit", "ann", duties.Who("op"), day, "the auditor of this year")
    assert run("ann", "a.zip").exit_code == 1, "a second person has to agree"
    with warehouse.write() as conn:
        duties.agree(conn, made.id, ["admin"], 1)
    assert run("ann", "a.zip").exit_code == 0
    with warehouse.write() as conn:
        duties.end(conn, made.id, duties.Who("op"), "done")
    assert run("ann", "b.zip").exit_code == 1
    alone = settings().home / "governance"
    alone.write_text("single\n")
    settings.cache_clear()
    try:
        done = run("ann", "b.zip")
    finally:
        alone.unlink()
        settings.cache_clear()
    assert (done.exit_code, "Allowed all the same: this installation says `governance: single`" in done.stdout) == (
        0,
        True,
    )


def test_a_decision_as_of_a_moment_shows_no_later_state(scene: tuple[str, Any], auditor: ModuleType) -> None:
    then, later = warehouse.now(), "2999-01-01T00:00:00.000000Z"
    tables_of = (tables.outbox, tables.requests, tables.permits)
    with warehouse.read() as conn:
        before = [dict(conn.execute(table.select()).mappings().one()) for table in tables_of]
    with warehouse.write() as conn:
        conn.execute(tables.outbox.update().values(state="undone", undone_at=later, updated_at=later))
        conn.execute(tables.requests.update().values(state="withdrawn", updated_at=later))
        conn.execute(tables.permits.update().values(used_at=later, void_at=later, void_why="dropped"))
    try:
        files = auditor.unpack(of_decision(scene, then))[0]
    finally:
        with warehouse.write() as conn:
            for table, row in zip(tables_of, before, strict=True):
                conn.execute(table.update().values(row))
    assert (files["effects.jsonl"], files["requests.jsonl"]) == (b"", b"")
    permit = lines(files, "permits.jsonl")[0]
    assert [permit[name] for name in ("used_at", "used_by", "void_at", "void_why")] == [None] * 4
    assert len(lines(files, "votes.jsonl")) == 1
    assert lines(auditor.unpack(of_decision(scene, then))[0], "permits.jsonl")[0]["used_at"] is not None


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


def test_of_a_row_group_that_an_erasure_wrote_anew_nothing_is_proven(
    scene: tuple[str, Any], auditor: ModuleType
) -> None:
    neighbour = next(str(key) for key in range(87654324, 87654328) if str(key) != scene[0])
    assert erase([neighbour], FLOW, "she asked for it", "ada", dry_run=False).rows["decisions"] == 1
    data = of_decision(scene)
    _, found, well = auditor.verify(data, fingerprint())
    assert well, found
    assert json.loads(auditor.unpack(data)[0]["decision.json"])["published"]["decisions"]["group_rows"] == 3
    for kind in ("decisions", "predictions"):
        line = f"the row group that has its {kind}: published before the ledger was told, or written anew by an erasure"
        assert line in said(found, "asserted")


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
