"""`baton actions` and `baton undo`: what is shown, who votes, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions import requests, switch
from baton.actions.action import Action
from baton.actions.votes import Voter
from baton.cli import actions as cli
from baton.cli.app import app
from baton.effects import delivery, firewall, outbox
from baton.effects.peer import Outcome
from baton.record import warehouse

FLOW, PART = "incident_response", "2026-11-20T09:00:00"
POLICY = """\
actions:
  block: {description: Blocks an address., recovery: reversible, reach: network, undo: unblock}
  unblock: {description: Lets it through again., recovery: reversible, reach: network, undo: block}
policy:
  - {name: blocks, actions: [block], level: two_approvers}
  - {name: back, actions: [unblock], level: notify}
"""


@pytest.fixture(autouse=True)
def placed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    warehouse.migrate()
    (tmp_path / "actions.yaml").write_text(POLICY)
    action = Action("block", "i1", "203.0.113.7", {"action": "block"}, before={"blocked": False}, after={"blocked": True},
                    evidence=("event 7",))  # fmt: skip
    warehouse.transact(lambda conn: firewall.place(conn, tmp_path, FLOW, PART, [action]))
    as_person(monkeypatch, "ann")
    yield tmp_path
    warehouse.engine().dispose()


def as_person(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(cli, "person", lambda: Voter(name, name, "command line"))


def baton(*words: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), input=typed)
    return done.exit_code, done.output + (done.stderr if done.stderr not in done.output else "")


def test_list_and_show_say_what_would_change_and_what_was_seen() -> None:
    code, said = baton("actions", "list")
    assert (code, said.splitlines()[0]) == (0, f"1  block on 203.0.113.7  0 of 2 approvals  {FLOW}/{PART}/i1")
    _, shown = baton("actions", "show", "1")
    for part in (
        "Blocks an address. (reversible)",
        "blocked: false -> true",
        "evidence: event 7",
        "asked by flow:incident",
    ):
        assert part in shown
    _, text = baton("actions", "show", "1", "--json")
    assert json.loads(text)["seen"] == requests.still_open()[0].seen
    assert json.loads(baton("actions", "list", "--json")[1])["difference"] == [["blocked", False, True]]


def test_two_people_approve_and_each_says_what_they_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = requests.still_open()[0].seen
    assert baton("actions", "approve", "1", "--seen", "0" * 12)[0] == 1
    assert "not what you saw" in baton("actions", "approve", "1", "--seen", seen[:8])[1]
    assert baton("actions", "approve", "1", typed="n\n")[0] == 1
    code, said = baton("actions", "approve", "1", typed="y\n")
    assert (code, "another person has to agree" in said) == (0, True)
    assert "has answered it already" in baton("actions", "approve", "1", "--seen", seen)[1]
    as_person(monkeypatch, "root")
    assert "an account of a service" in baton("actions", "approve", "1", "--seen", seen)[1]
    as_person(monkeypatch, "bob")
    code, said = baton("actions", "approve", "1", "--seen", seen[:12], "--reason", "as agreed")
    assert (code, said) == (0, "request 1: approved; the run of incident_response that waits for it goes on\n")
    assert outbox.effects(FLOW)[0].state == "pending"
    assert baton("actions", "approve", "9")[0] == 1


def test_a_refusal_is_the_end_of_it() -> None:
    seen = requests.still_open()[0].seen
    assert baton("actions", "refuse", "1", "--seen", seen, "--reason", "ours")[1] == "request 1: refused\n"
    assert (outbox.effects(FLOW)[0].state, outbox.effects(FLOW)[0].error) == ("forbidden", "refused by ann: ours")
    assert "forbidden" in baton("outbox", "list", FLOW)[1]


def test_the_switch_needs_a_reason_and_is_shown() -> None:
    assert baton("actions", "stop", "--reason", " ")[0] == 1
    assert baton("actions", "stop", "--reason", "drill")[0] == 0
    assert "all effects are stopped since" in baton("actions", "list")[1]
    assert "by ann" in baton("actions", "start")[1]
    assert switch.stopped() is None


def test_undo_says_what_becomes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (asked,) = requests.still_open()
    key = outbox.effects(FLOW)[0].key
    code, said = baton("undo", key)
    assert (code, "only what was delivered is taken back" in said) == (1, True)
    for person in ("ann", "bob"):
        firewall.vote(asked.id, Voter(person), "approved", asked.seen)

    class Taker:
        answers = True

        def find(self, key: str, payload: dict[str, Any]) -> Outcome:
            return Outcome("absent")

        def place(self, key: str, payload: dict[str, Any]) -> Outcome:
            return Outcome("done", answer={})

    delivery.deliver("block", Taker(), FLOW, PART, via={"conn_id": "firewall"})
    code, said = baton("undo", key, "--reason", "ours")
    assert (code, f"start the DAG `undo` with flow {FLOW} and partition {PART}" in said) == (0, True)


def test_the_person_is_the_account_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LOGNAME", "somebody_else")
    assert cli.person().id != "somebody_else"
    assert cli.person().channel == "command line"


def test_whoever_agreed_before_is_told_what_changed_since(placed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert baton("actions", "approve", "1", typed="y\n")[0] == 0
    action = Action("block", "i1", "203.0.113.7", {"action": "block"}, before={"blocked": None}, after={"blocked": True},
                    evidence=("event 7",))  # fmt: skip
    warehouse.transact(lambda conn: firewall.place(conn, placed, FLOW, PART, [action]))
    _, said = baton("actions", "list")
    assert "you agreed to request 1: only what is shown changed; `baton actions approve 2` shows it and asks" in said
    code, said = baton("actions", "approve", "2", typed="y\n")
    assert "you agreed to request 1, which counts for nothing here: only what is shown changed" in said
    assert "before: blocked: false -> null" in said
    assert (code, "you agreed" in baton("actions", "list")[1]) == (0, False)
    as_person(monkeypatch, "bob")
    assert "ann agreed to request 1" in baton("actions", "show", "2")[1]
    assert json.loads(baton("actions", "show", "2", "--json")[1])["void"]["display"] is True
