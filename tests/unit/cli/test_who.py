"""Who may what on the command line: every command is in the table, and those that count as a person's word ask who it is.

A command runs as an account of the operating system. Whoever can read BATON_HOME holds its keys and its database, so nothing
that this account does on its own machine can be refused to it; what can be is to count as the word of somebody else: a service,
nobody, or whoever asked.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter
from baton.cli import actions as cli
from baton.cli.app import app
from baton.effects import firewall, outbox
from baton.record import ledger, warehouse

# read what is on record, or write files of the caller's own; `evidence` of one entity is for who has the duty (tests/unit/evidence)
LOOK = (
    "actions list", "actions show", "asof", "budgets", "change list", "data", "demo", "doctor", "evidence", "grants list", "ledger key", "ledger prove", "ledger show", "lineage", "lint", "new flow",
    "new model", "new pack", "outbox list", "playbook dry-run", "playbook lint", "playbook list", "playbook show", "predictions",
    "quarantine export", "quarantine list", "sizing", "sql", "status", "trace", "try", "usage", "witness",
)  # fmt: skip
# change what is on record, under the name of the account; erase also what was
CHANGE = (
    "actions start", "actions stop", "backup", "change ask", "erase", "gc", "grants end", "grants give", "ledger checkpoint", "ledger verify", "outbox settle", "quarantine discard",
    "quarantine reinject", "quarantine repair", "restore", "retain", "rollback", "undo", "up", "verify",
)  # fmt: skip
# count as the word of a person who is not the one that asked
WORD = ("actions approve", "actions refuse")

TWIN = runpy.run_path(str(Path(__file__).with_name("test_actions.py")))  # the same request that waits for two people
FLOW, PART, POLICY = (TWIN[name] for name in ("FLOW", "PART", "POLICY"))


@pytest.fixture
def asked(home: Path, tmp_path: Path) -> Iterator[str]:
    """A request that waits for two people; returns what is seen of it."""
    warehouse.migrate()
    (tmp_path / "actions.yaml").write_text(POLICY)
    action = Action("block", "i1", "203.0.113.7", {"action": "block"}, before={"blocked": False}, after={"blocked": True},
                    evidence=("event 7",))  # fmt: skip
    warehouse.transact(lambda conn: firewall.place(conn, tmp_path, FLOW, PART, [action]))
    yield requests.still_open()[0].seen
    warehouse.engine().dispose()


def commands(group: Any, before: str = "") -> Iterator[str]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_the_table_has_every_command_once() -> None:
    assert sorted((*LOOK, *CHANGE, *WORD)) == sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(
    "who", ["root", "Baton", "airflow", "service:x", "flow:incident_response", "", "unknown", " NOBODY "]
)
@pytest.mark.parametrize("command", WORD)
def test_no_service_and_nobody_has_a_word(command: str, who: str, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "person", lambda: Voter(who, who, "command line"))
    done = CliRunner().invoke(app, [*command.split(), "1", "--seen", asked, "--reason", "because"])
    assert done.exit_code == 1
    assert outbox.effects(FLOW)[0].state == outbox.WAITING
    assert not ledger.entries(kind="action_voted")


def test_who_votes_is_the_account_and_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cli.person()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert cli.person() == before
