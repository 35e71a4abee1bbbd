"""`baton retain` and `baton erase`: first what would go, then `--yes`."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.record import tables, warehouse
from baton.retention import age
from baton.specs.retention import FlowRetention

PERSON = runpy.run_path(str(Path(__file__).parents[1] / "retention" / "test_person.py"))


@pytest.fixture
def filled(home: Path) -> Path:
    PERSON["fill"](home)
    return home


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words)


def test_erase_asks_for_yes_and_says_what_is_not_ours_to_clean(filled: Path) -> None:
    said = run("erase", "b", "--reason", "asked")
    assert (said.exit_code, PERSON["holding"](filled) != []) == (0, True)
    assert "nothing was removed: --yes does it" in said.output
    assert "it came from landing/letters.csv" in said.output
    done = run("erase", "b", "--reason", "asked", "--yes")
    assert (done.exit_code, PERSON["holding"](filled)) == (0, [])
    assert "removed, of 1 flow" in done.output
    assert "erased on" in run("trace", "b").output


def test_a_key_that_two_flows_know_is_not_guessed_about(filled: Path) -> None:
    with warehouse.write() as conn:
        conn.execute(tables.labels.insert().values(
            flow="orders", entity_key="b", origin="o", target="t", partition="p", known_at=warehouse.now()))  # fmt: skip
    said = run("erase", "b", "--reason", "asked", "--yes")
    assert said.exit_code == 1
    assert "letters, orders know it" in said.stderr
    assert run("erase", "nobody", "--reason", "asked").exit_code == 1


def test_retain_goes_by_the_packs(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing has an age" in run("retain", "--yes").stderr
    monkeypatch.setattr(age, "policies", lambda: {
        PERSON["FLOW"]: FlowRetention(predictions=timedelta(seconds=1)), "lettres": FlowRetention(),
    })  # fmt: skip
    said = run("retain").output
    assert "nothing was removed" in said
    assert "names lettres, which has not run yet" in said
    assert "removed, of" in run("retain", "--yes").output
