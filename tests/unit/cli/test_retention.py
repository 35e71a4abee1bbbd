"""`baton retain` and `baton erase`: first what would go, then `--yes`."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions.votes import Voter
from baton.cli.app import app
from baton.cli.state import evidence
from baton.record import erased, ledger, tables, warehouse
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


def test_who_may_not_audit_a_flow_is_not_told_whom_it_erased(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.migrate()
    flow = "transaction_monitoring"
    with warehouse.write() as conn:
        ledger.append(conn, erased.ERASED, erased.subject(flow, "gone"), {"by": "ada"})
    for who, told in (("op", True), ("bob", False), ("", False)):
        monkeypatch.setattr(evidence, "person", lambda who=who: Voter(who, who, "command line"))
        for more in ([], ["--flow", flow]):
            said = CliRunner().invoke(app, ["evidence", "decision", "gone", *more], env={"COLUMNS": "500"}).stderr
            assert "no flow has published a decision on 'gone'" in said
            assert ("erased on" in said) == told
