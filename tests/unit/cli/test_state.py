"""`baton verify`, `baton backup`, `baton restore` as they are typed; what they do is tested in `recovery`."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.data import objects
from baton.record import warehouse
from baton.recovery import sealing
from baton.settings import settings

STATE = runpy.run_path(str(Path(__file__).parents[1] / "recovery" / "test_verify.py"))


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "500"})


@pytest.fixture
def words(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sealing, "COST", 2**4)
    warehouse.migrate()
    STATE["commit"](0)
    path = tmp_path / "words"
    path.write_text("correct horse battery")
    return path


def test_there_and_back(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    first = json.loads(run("backup", shelf, "--passphrase-file", words, "--json").stdout)
    assert (first["parts"], first["copied"]) == (4, first["size"])
    said = run("backup", shelf, "--passphrase-file", words).stdout
    assert f"signed with key {first['signer']}" in said
    assert "4 files, all as written" in run("restore", shelf, "--passphrase-file", words, "--check").stdout
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "new"))
    settings.cache_clear()
    back = run("restore", shelf, "--passphrase-file", words, "--from", Path(first["path"]).stem)
    assert (back.exit_code, "1 dataset, 0 model versions: all as written" in back.stdout) == (0, True), back.output
    assert "`baton actions start`" in back.stdout


def test_verify_lists_what_is_wrong_and_ends_with_code_1(words: Path) -> None:
    assert run("verify").exit_code == 0
    for item in list(objects.listed()):
        objects.delete(item.uri)
    said = run("verify")
    assert (said.exit_code, "missing; run its stage again" in said.stdout) == (1, True)
    assert "1 fault in 1 ledger entry, 1 dataset, 0 model versions" in said.stderr
    said = run("verify", "--json")
    assert (said.exit_code, json.loads(said.stdout)["faults"][0]["what"]) == (1, "dataset")


def test_what_is_typed_wrong_is_said(words: Path, tmp_path: Path) -> None:
    key = ("--passphrase-file", words)
    assert run("backup", tmp_path).exit_code == run("backup", tmp_path, *key, "--to", words).exit_code == 2
    assert run("restore", tmp_path).exit_code == run("restore", tmp_path, *key, "--key", words).exit_code == 2
    assert "no driver for nowhere://" in run("backup", "nowhere://bucket/x", *key).stderr
    assert "none was finished there" in run("restore", tmp_path, *key).stderr
