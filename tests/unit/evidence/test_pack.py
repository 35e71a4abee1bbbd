"""A pack of evidence about a model version: the same bytes each time, and every change to it is named."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import random
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from baton.cli.app import app
from baton.drift.decision import Window
from baton.errors import BatonError
from baton.evidence import proofs
from baton.evidence.annex import annex_iv
from baton.evidence.model import evidence
from baton.evidence.pack import Dossier, source
from baton.evidence.witness import cosign, request
from baton.keys import signing_key
from baton.record import anchor, checkpoint, ledger, tables, tree, warehouse
from baton.record.warehouse import now
from baton.registry.manifest import DOMAIN
from baton.settings import settings

STAGE = runpy.run_path(str(Path(__file__).with_name("auditor_stage.py")))
auditor, fingerprint, said, fast, told_of_changes = (
    STAGE[name] for name in ("auditor", "fingerprint", "said", "fast", "told_of_changes")
)
NAMES = ["annex_iv.md", "approvals.jsonl", "card.md", "contracts.jsonl", "drift.jsonl", "gate.jsonl", "keys.json",
         "ledger/checkpoint", "ledger/entries.jsonl", "ledger/proof.json", "lineage.jsonl", "missing.json", "model/manifest.json",
         "model/manifest.sig", "usage.jsonl", "verify.py"]  # fmt: skip


@pytest.fixture
def scene(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A judged, approved and used version 7 among others; yields the folder of its files."""
    warehouse.migrate()
    key = "2026-01-01T00:00:00"
    verdict = {"decision": "PROMOTE", "reasons": ["better"], "champion_version": 6}
    window = dataclasses.asdict(Window(key, 7, "judged", ("amount",), 10))
    commit = {"flow": "f", "partition": key, "map_index": -1, "fence": 1, "digest": "d", "uri": "u", "inputs": {}, "params": {},
              "models": {"m": 7}, "code": "c", "created_at": now(), "ref": {"rows": 10, "content_sha256": "a" * 64}}  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.approvals.insert(), {"model": "m", "version": 7, "verdict": verdict, "answer": "approved",
            "reviewer": "ada", "channel": "mlflow", "judged_at": now(), "answered_at": now()})  # fmt: skip
        conn.execute(tables.drift_windows.insert(), {"model": "m", "partition": key, "version": 7, "flow": "f",
            "verdict": "superseded", "measured": 0, "window": window, "features": ["amount"], "performance": None,
            "commit_id": 1, "judged_at": now(), "table": {"secret": "value of an entity"}})  # fmt: skip
        conn.execute(
            tables.partition_models.insert(),
            {"flow": "f", "partition": key, "model": "m", "version": 7, "recorded_at": now()},
        )
        facts = {
            "contract": "c v1",
            "status": "passed",
            "rows_in": 10,
            "rows_good": 10,
            "failures": ["ada@example.org"],
        }
        conn.execute(
            tables.commits.insert(),
            [{**commit, "stage": "contract", "facts": facts}, {**commit, "stage": "score__m", "facts": {}}],
        )
        for kind, subject, payload in (
            ("version_registered", "m/7", {"winner": "lightgbm"}),
            ("version_registered", "m/6", {"winner": "other"}),
            ("gate_verdict", "m/7", {"decision": "PROMOTE", "reasons": ["better"], "champion": 6}),
            ("approval", "m/7", {"answer": "approved", "reviewer": "ada", "channel": "mlflow"}),
            ("alias_moved", "m", {"alias": "champion", "version": 7, "before": 6}),
            ("window_judged", f"m/{key}", {"version": 6, "verdict": "stable", "features": []}),
            ("window_judged", f"m/{key}", {"version": 7, "verdict": "drifted", "features": ["amount"]}),
            ("version_registered", "m7/7", {"winner": "of another model"}),
        ):
            ledger.append(conn, kind, subject, payload)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_card.md").write_text("# m\n")
    digest = hashlib.sha256(b"# m\n").hexdigest()
    raw = json.dumps({"format": 1, "identity": {}, "files": {"model_card.md": {"bytes": 4, "sha256": digest}}}).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sig").write_bytes(signing_key(settings().keys_dir).sign(DOMAIN + raw))
    yield folder
    warehouse.engine().dispose()


def packed(folder: Path | str, seen: str = "") -> bytes:
    return evidence("m", 7, settings().keys_dir, folder, seen)


def test_a_pack_proves_what_the_ledger_has_and_says_what_it_does_not(scene: Path, auditor: ModuleType) -> None:
    data = packed(scene)
    verdicts, found, well = auditor.verify(data, fingerprint(), model=str(scene))
    assert well
    assert verdicts == dict.fromkeys(NAMES, "ok")
    assert said(found, "failed") == ""
    proven = said(found, "proven")
    for line in ("5 entries are in the ledger of 8", "decision, reasons, champion of 1 of 1", "answer, reviewer, channel of 1 of 1",
                 "version, verdict, features of 1 of 1", "manifest of the model's 1 files", "are those that were signed"):  # fmt: skip
        assert line in proven
    assert "1 partitions were scored with it" in said(found, "asserted")
    assert all(line in said(found, "not covered") for line in ("Annex IV, point 8", "completeness", "truth", "time"))
    assert b"ada@example.org" not in data
    assert b"value of an entity" not in data
    assert packed(scene) == data


def test_the_key_of_a_pack_is_not_believed(scene: Path, auditor: ModuleType, tmp_path: Path) -> None:
    data = packed(scene)
    assert not auditor.verify(data, "0" * 64)[2]
    signing_key(tmp_path / "other", "evidence")
    found = auditor.verify(data, str(tmp_path / "other" / "evidence.pub"))[1]
    assert "signed by another key" in said(found, "failed")
    assert auditor.verify(data, str(anchor.folder() / "evidence.pub"))[2]


def test_a_pack_of_a_moment_leaves_out_what_came_later(
    scene: Path, auditor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # judged and answered anew, next year
        patch.setattr(warehouse, "now", lambda: "2027-01-01T00:00:00.000000Z")
        with warehouse.write() as conn:
            later = {"judged_at": warehouse.now(), "answered_at": warehouse.now(), "reviewer": "mallory"}
            conn.execute(tables.approvals.update().values(later))
            ledger.append(conn, "approval", "m/7", {"answer": "approved", "reviewer": "mallory", "channel": "mlflow"})
    data = evidence("m", 7, settings().keys_dir, scene, as_of="2026-12-31T00:00:00.000000Z")
    _, found, well = auditor.verify(data, fingerprint())
    assert well
    assert "5 entries are in the ledger of 9" in said(found, "proven")
    assert "model:m@7 as of 2026-12-31T00:00:00.000000Z" in said(found, "proven")
    assert "the ledger's entry of that time alone" in said(found, "not covered")
    files = auditor.unpack(data)[0]
    assert b"mallory" not in data
    assert (files["approvals.jsonl"], files["gate.jsonl"]) == (b"", b"")


def test_what_says_otherwise_than_the_ledger_is_named(scene: Path, auditor: ModuleType) -> None:
    with warehouse.write() as conn:
        conn.execute(tables.approvals.update().values(reviewer="eve"))
    _, found, well = auditor.verify(packed(scene), fingerprint())
    assert not well
    assert "approvals.jsonl: 1 say otherwise than the ledger: m/7" in said(found, "failed")
    (scene / "model_card.md").write_text("# n\n")
    assert "not the file that was signed" in said(
        auditor.verify(packed(scene), fingerprint(), model=str(scene))[1], "failed"
    )


def test_without_a_registry_the_pack_says_so(scene: Path, auditor: ModuleType) -> None:
    _, found, well = auditor.verify(packed("no registry"), fingerprint())
    assert well
    assert "signed manifest and card: no registry" in said(found, "not covered")
    with pytest.raises(BatonError, match="nothing on record is about it"):
        evidence("m", 9, settings().keys_dir, "no registry")


def test_a_thousand_changes_to_a_pack_are_all_named(
    scene: Path, auditor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "signed_by", fast)
    assert told_of_changes(auditor, packed(scene), 1000) == 1000


def test_the_verifiers_own_ed25519_agrees_with_a_library() -> None:
    rng = random.Random(5)
    for number in range(6):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), rng.randbytes(number * 9)
        good = key.sign(message)
        assert proofs.signed_by(public, message, good)
        for place in rng.sample(range(64), 3):
            bad = good[:place] + bytes([good[place] ^ 1 << rng.randrange(8)]) + good[place + 1 :]
            assert not proofs.signed_by(public, message, bad)
        assert not proofs.signed_by(public, message + b"x", good)
        order = 2**252 + 27742317777372353535851937790883648493
        higher = int.from_bytes(good[32:], "little") + order  # the same signature in another spelling
        assert not proofs.signed_by(public, message, good[:32] + higher.to_bytes(32, "little"))
    assert not proofs.signed_by(b"\xff" * 32, b"", b"\0" * 64)


def test_entries_are_proven_together_or_not_at_all() -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(7)]
    made = tree.MerkleTree(lambda level, number: tree.leaf(leaves[number]) if not level else tree.node(
        made.range(number << level, (2 * number + 1) << level - 1), made.range((2 * number + 1) << level - 1, number + 1 << level)))  # fmt: skip
    nodes = {"0-2": made.range(0, 2).hex(), "3-4": made.range(3, 4).hex(), "4-6": made.range(4, 6).hex()}
    some = {2: leaves[2], 6: leaves[6]}
    assert proofs.root_of(7, some, nodes) == made.root(7)
    assert proofs.root_of(7, {**some, 6: leaves[5]}, nodes) != made.root(7)
    with pytest.raises(proofs.Unproven, match="lacks the entries 4 to 4"):
        proofs.root_of(7, some, {name: one for name, one in nodes.items() if name != "3-4"})


def test_another_library_reads_the_index_and_refuses_an_altered_one(scene: Path, auditor: ModuleType) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    given = json.loads(auditor.unpack(packed(scene))[0][auditor.INDEX])
    public = signing_key(anchor.folder(), checkpoint.KEY).public_key().public_bytes_raw()
    key = SSlibKey(fingerprint(), "ed25519", "ed25519", {"public": public.hex()})
    index = dsse.Envelope.from_dict(given)
    assert list(index.verify([key], 1)) == [fingerprint()]
    index.payload += b" "
    with pytest.raises(VerificationError):
        index.verify([key], 1)


def test_the_verifier_is_for_a_bare_python_3_9() -> None:
    tree = ast.parse(source(), feature_version=(3, 9))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    assert {str(name).split(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_pack_continues_a_checkpoint_that_was_kept_and_cosigned(
    scene: Path, auditor: ModuleType, tmp_path: Path
) -> None:
    kept, folder = ledger.checkpoint(), tmp_path / "witness"
    public = signing_key(anchor.folder(), checkpoint.KEY).public_key().public_bytes_raw()
    note = cosign(request(0, [], kept.note), folder, public, 1_800_000_000)
    with warehouse.write() as conn:
        ledger.append(conn, "noted", "other", {})
    (tmp_path / "kept").write_text(note)
    given = {"seen": str(tmp_path / "kept"), "witness": str(folder / "witness.pub")}
    _, found, well = auditor.verify(packed(scene, note), fingerprint(), **given)
    assert well
    assert "continues the checkpoint of 8 entries" in said(found, "proven")
    assert "cosigned that checkpoint, by its own clock at 2027-01-15T08:00:00Z" in said(found, "proven")
    _, found, well = auditor.verify(packed(scene, kept.note), fingerprint(), witness=given["witness"])
    assert "not cosigned by the witness's key" in said(found, "failed")


def test_a_witness_cosigns_only_what_continues_what_it_saw(scene: Path, tmp_path: Path) -> None:
    public = signing_key(anchor.folder(), checkpoint.KEY).public_key().public_bytes_raw()
    first, folder = ledger.checkpoint(), tmp_path / "witness"
    assert proofs.cosigned(cosign(request(0, [], first.note), folder, public), b"\1" * 32) is None
    with warehouse.write() as conn:
        ledger.append(conn, "noted", "other", {})
    second = ledger.checkpoint()
    with warehouse.read() as conn:
        path = tree.kept(conn).consistency(8, 9)
    with pytest.raises(BatonError, match="the last one seen has 8 entries"):
        cosign(request(0, [], second.note), folder, public)
    with pytest.raises(BatonError, match="not cosigned: its checkpoint is not signed"):
        cosign(request(8, path, second.note), folder, b"\1" * 32)
    rewritten = checkpoint.signed(9, b"\7" * 32)  # by the ledger's own key
    with pytest.raises(BatonError, match="NOT cosigned"):
        cosign(request(8, path, rewritten.note), folder, public)
    note = cosign(request(8, path, second.note), folder, public, 5)
    assert proofs.cosigned(note, signing_key(folder, "witness").public_key().public_bytes_raw()) == 5


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "500"})


def test_the_commands(scene: Path, auditor: ModuleType, tmp_path: Path) -> None:
    to = tmp_path / "m.zip"
    assert "bytes, sha256" in run("evidence", "model:m@7", "--to", to).stdout
    assert auditor.verify(to.read_bytes(), fingerprint())[2]
    assert "is there already" in run("evidence", "model:m@7", "--to", to).stderr
    assert "flow f: nothing was ever committed" in run("evidence", "flow:f").stderr
    assert "say model:NAME@VERSION" in run("evidence", "model:m").stderr
    assert "say model:NAME@VERSION" in run("evidence", "decision").stderr
    assert "no flow has published a decision on '1'" in run("evidence", "decision", "1").stderr
    now = warehouse.now()
    assert "m-7.zip" in run("evidence", "model:m", "--as-of", now, "--to", tmp_path / "m-7.zip").stdout
    assert run("evidence", "--verifier").stdout == source()
    said = run("ledger", "key")
    assert f"sha256 {fingerprint()}" in said.stderr
    (tmp_path / "key").write_text(said.stdout)
    (tmp_path / "asked").write_text(run("ledger", "checkpoint", "--after", 0).stdout)
    note = run("witness", tmp_path / "asked", "--folder", tmp_path / "w", "--key", tmp_path / "key").stdout
    assert note.startswith(run("ledger", "checkpoint").stdout)
    assert "has 8 entries" in run("ledger", "checkpoint", "--after", 9).stderr
    proof, _, signed = run("ledger", "prove", 3).stdout.partition("\n\n")
    head, index, *path = proof.split("\n")
    assert (head, index) == ("c2sp.org/tlog-proof@v1", "index 2")
    with warehouse.read() as conn:
        entry = conn.execute(tables.ledger.select().where(tables.ledger.c.seq == 3)).one()
    size, root = proofs.head(signed, signing_key(anchor.folder(), "evidence").public_key().public_bytes_raw())
    assert proofs.included(2, size, tree.leaf(bytes.fromhex(entry.hash)), [proofs.decoded(one) for one in path], root)
    assert "there is no entry 9" in run("ledger", "prove", 9).stderr


def test_the_draft_says_what_the_gate_found_of_groups() -> None:
    made = Dossier("model:m@7", {"gate.jsonl": b'{"decision": "PROMOTE"}\n'})
    assert "the model's gate declares none" in annex_iv(made, {})
    rule = {"column": "branch", "metric": "true_positive_rate", "max_gap": 0.2, "gaps": {"challenger": 0.1},
            "groups": [{"group": "a", "counted": 90, "judged": True}, {"group": "c", "counted": 3, "judged": False}]}  # fmt: skip
    made.files["gate.jsonl"] = json.dumps({"fairness": [rule]}).encode()
    text = annex_iv(made, {})
    assert "Groups by `branch`, true positive rate: 2 groups, largest gap 0.1000, at most 0.2000." in text
    assert "Too few rows to judge: c (3 rows)." in text
