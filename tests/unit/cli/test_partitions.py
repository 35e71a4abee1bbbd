"""Partitions on the command line: one spelling, short ones taken, wrong ones refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.record import tables, warehouse

HERE = "2026-11-20T11:00:00"


@pytest.fixture(autouse=True)
def one_row(home: Path) -> None:
    warehouse.migrate()
    row = {"flow": "orders", "row_sha": "a", "row": 1, "rule": "type", "source": "orders", "status": "repaired"}
    at = {"first_seen": warehouse.now(), "updated_at": warehouse.now()}
    with warehouse.write() as conn:
        conn.execute(tables.quarantine.insert(), [{**row, **at, "partition": part} for part in (HERE, "history")])


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("typed", ["2026-11-20T11", "2026-11-20 11:00", HERE, f"{HERE}Z", "history"])
def test_a_partition_is_found_however_short_it_is_written(typed: str) -> None:
    said = run("quarantine", "list", "--partition", typed)
    assert (said.exit_code, "1 repaired" in said.output) == (0, True), said.output


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("2026-11-20T11-00-00", "expected the UTC start"),
        ("2026-13-20", "expected the UTC start"),
        ("2026-11-20", f"rows wait in {HERE}, history"),
        ("yesterday", "such as 2026-11-20T09:00:00"),
    ],
)
def test_reinject_with_a_wrong_partition_fails_at_once(typed: str, words: str) -> None:
    said = run("quarantine", "reinject", "orders", typed)
    assert said.exit_code == 2
    assert words in " ".join(said.stderr.replace("\u2502", " ").split())


def test_reinject_with_a_right_one_goes_on_to_airflow() -> None:
    said = run("quarantine", "reinject", "orders", "2026-11-20T11")
    assert (said.exit_code, "Airflow does not run" in said.stderr) == (1, True)
    assert run("quarantine", "reinject", "ordres", HERE).exit_code == 2
