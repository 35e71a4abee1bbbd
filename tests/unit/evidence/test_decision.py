"""A pack of evidence about one decision: nothing of whom it is about, and proven where the ledger has it."""

from __future__ import annotations

import hashlib
import hmac
import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions.votes import Voter
from baton.cli.app import app
from baton.cli.state import evidence as cli
from baton.governance import duties
from baton.record import tables, warehouse
from baton.retention.person import erase
from baton.settings import settings

STAGE = runpy.run_path(str(Path(__file__).with_name("auditor_stage.py")))
SCENE = runpy.run_path(str(Path(__file__).with_name("published_scene.py")))
auditor, fingerprint, said, forged = (STAGE[name] for name in ("auditor", "fingerprint", "said", "forged"))
scene, of_decision, lines = (SCENE[name] for name in ("scene", "of_decision", "lines"))
FLOW, KEYS, SECRETS = SCENE["FLOW"], SCENE["KEYS"], SCENE["SECRETS"]


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
    assert told["published"]["decisions"][0]["group_rows"] == 4
    for kind in ("decisions", "predictions"):
        (group,) = told["published"][kind]
        line = f"decision.json: the row group {group['group_sha256'][:12]}... that has its {kind}: it is one of the 1 that {FLOW}/{KEYS[1]}"
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


def changed(**fields: Any) -> Any:
    """A change to what decision.json says of the row group of its decisions."""
    return lambda told: told["published"]["decisions"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(group_sha256="f" * 64), "ffffffffffff... that has its decisions: it is none of those that the ledger was told of"),
        (changed(index=1), "it is none of those that the ledger was told of"),
        (changed(path=["00" * 32]), "it is none of those that the ledger was told of"),
        (changed(dataset_sha256="f" * 64), "it is none of those that the ledger was told of"),
        (lambda told: told["published"]["decisions"][0].pop("path"), "a file lacks 'path'"),
        (lambda told: told["published"].pop("decisions"), "a file lacks 'decisions'"),
        (lambda told: told.pop("flow"), "a file lacks 'flow'"),
        (lambda told: told.update(partition=KEYS[0]), f"decision.json: about decision:{FLOW}@{KEYS[0]}#"),
        (lambda told: told.update(published={"decisions": "x", "predictions": []}), "a file cannot be read: TypeError"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_row_group_is_as_the_ledger_was_told_or_failed(
    scene: tuple[str, Any], auditor: ModuleType, change: Any, words: str
) -> None:
    def lie(files: dict[str, bytes]) -> None:
        told = json.loads(files["decision.json"])
        change(told)
        files["decision.json"] = json.dumps(told).encode()

    _, found, well = auditor.verify(forged(auditor, of_decision(scene), lie), fingerprint())
    assert not well
    assert words in said(found, "failed")


def test_a_lie_stays_said_though_another_file_cannot_be_read(scene: tuple[str, Any], auditor: ModuleType) -> None:
    def lie(files: dict[str, bytes]) -> None:
        files["decision.json"] = b"{}"
        files["gate.jsonl"] = files["gate.jsonl"].replace(b"PROMOTE", b"REJECT")

    _, found, well = auditor.verify(forged(auditor, of_decision(scene), lie), fingerprint())
    assert not well
    assert "gate.jsonl: 1 say otherwise than the ledger" in said(found, "failed")


def test_a_row_group_that_is_not_named_is_not_covered(scene: tuple[str, Any], auditor: ModuleType) -> None:
    def silent(files: dict[str, bytes]) -> None:
        told = json.loads(files["decision.json"])
        files["decision.json"] = json.dumps({**told, "published": {"decisions": [], "predictions": None}}).encode()

    _, found, well = auditor.verify(forged(auditor, of_decision(scene), silent), fingerprint())
    assert well, found
    assert "which row group has its decisions: none is named" in said(found, "not covered")


def test_a_withheld_entry_and_times_help_nobody_to_guess_it(scene: tuple[str, Any], auditor: ModuleType) -> None:
    files = auditor.unpack(of_decision(scene))[0]
    withheld = [one for one in lines(files, "ledger/entries.jsonl") if "payload" not in one]
    assert [one.keys() for one in withheld] == [{"seq", "kind"}] * 2
    assert {one["kind"] for one in withheld} == {"case_decided", "permit_used"}
    for name in ("answers", "effects", "requests", "votes", "permits"):
        row = lines(files, f"{name}.jsonl")[0]
        assert all(len(row[one]) == 20 for one in row if one.split("_")[-1] == "at" and row[one]), row


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


def test_of_a_row_group_that_an_erasure_wrote_anew_nothing_is_proven(
    scene: tuple[str, Any], auditor: ModuleType
) -> None:
    neighbour = next(str(key) for key in range(87654324, 87654328) if str(key) != scene[0])
    assert erase([neighbour], FLOW, "she asked for it", "ada", dry_run=False).rows["decisions"] == 1
    data = of_decision(scene)
    _, found, well = auditor.verify(data, fingerprint())
    assert well, found
    assert json.loads(auditor.unpack(data)[0]["decision.json"])["published"]["decisions"][0]["group_rows"] == 3
    for kind in ("decisions", "predictions"):
        line = f"that has its {kind}: written anew by an erasure since"
        assert line in said(found, "asserted")
