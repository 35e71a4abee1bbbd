"""Commands that only look: they create nothing, cut nothing that goes into a pipe, and name what there is."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.cli.output import table
from baton.console.queries.trace import trace
from baton.record import ledger, tables, warehouse
from baton.settings import settings

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))


@pytest.fixture(autouse=True)
def _no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pipe, whatever the terminal of these tests says."""
    monkeypatch.delenv("COLUMNS", raising=False)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("words", [("trace", "7"), ("ledger", "show"), ("quarantine", "list")])
def test_looking_at_nothing_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("BATON_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    said = run(*words)
    assert said.exit_code == 1
    assert "nothing has run here yet" in said.output
    assert list(tmp_path.iterdir()) == []
    settings.cache_clear()


@pytest.fixture
def migrated(home: Path) -> Iterator[Path]:
    warehouse.migrate()
    yield home
    warehouse.engine().dispose()


def test_a_wrong_kind_lists_those_that_there_are(migrated: Path) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, "case_decided", "flow/1", {})
        ledger.append(conn, "gate_verdict", "model/1", {})
    said = run("ledger", "show", "--kind", "gate_verdit")
    assert said.exit_code == 1
    assert "did you mean `gate_verdict`? There are: case_decided, gate_verdict" in said.output
    assert run("ledger", "show", "--kind", "case_decided").exit_code == 0


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(["one", "two"], [["a" * 90, "b" * 90]])
    assert f"{'a' * 90} {'b' * 90}" in capsys.readouterr().out.replace("  ", " ")


def test_a_rule_on_the_whole_partition_names_no_cell(migrated: Path) -> None:
    base = {"flow": "orders", "partition": "2026-11-20T09:00:00", "source": "s", "row": 1, "row_sha": "x"}
    base |= {"entity_key": "7", "contract": "c", "severity": "warning", "advice": "", "raw": {}, "repair": None}
    base |= {"first_seen": "2026", "updated_at": "2026", "actor": "ann", "reason": "a test order"}
    known = set(tables.quarantine.c.keys())
    row = {**base, "rule": "too_many_bad_rows", "column": None, "value": None, "status": "discarded"}
    with warehouse.write() as conn:
        conn.execute(tables.quarantine.insert(), [{name: value for name, value in row.items() if name in known}])
    (step,) = [one for one in trace("7") if one.what == "quarantine"]
    assert step.says == "row 1 broke too_many_bad_rows; now discarded by ann: a test order"
    listed = run("quarantine", "list").output
    assert "a test order" in listed
