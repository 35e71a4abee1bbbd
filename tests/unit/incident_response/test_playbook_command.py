"""`baton playbook`: what people read before they trust a playbook; nothing of it is carried out."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions import requests
from baton.effects import outbox
from baton.errors import BatonError
from baton.record import warehouse
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.incident_response import HERE
from baton_packs.incident_response.playbooks.command import app
from baton_packs.incident_response.playbooks.preview import CLASSES
from baton_packs.incident_response.playbooks.spec import TARGETS, playbooks

ROWS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_rows.py")))
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))
FLOW, PART = "incident_response", "2026-11-20T10:00:00"


def said(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_has_all_of_them_in_their_order() -> None:
    assert [line.split()[0] for line in said("list").splitlines() if not line.startswith(" ")] == list(playbooks())
    assert [json.loads(line)["name"] for line in said("list", "--json").splitlines()] == list(playbooks())


def test_show_names_each_step_and_what_comes_after_it() -> None:
    text = said("show", "brute_force")
    assert (
        "action--block  block_address: Block the addresses that guess\n    on_completion end--done, on_failure action--tell"
        in text
    )
    assert json.loads(said("show", "brute_force", "--json"))["name"] == "brute_force"
    with pytest.raises(BatonError, match="no playbook `brute`; there are lateral_movement, "):
        said("show", "brute")


def test_a_dry_run_says_of_each_step_when_what_who_how_seen_and_how_taken_back() -> None:
    text = said("dry-run", "brute_force")
    block = """\
action--block  Block the addresses that guess
    if       an address outside the company takes part
    action   block_address on outside_attackers
    policy   auto for outside; forbidden for protected (0.9 sure)
    verify   firewall_state shows blocked true
    undo     unblock_address
    else     action--tell, where the policy forbids it
"""
    assert block in text
    assert "one_approver for standard; two_approvers for privileged, unknown; forbidden for protected" in text
    assert "one_approver for outside; forbidden for protected (0.5 sure)" in said(
        "dry-run", "brute_force", "--confidence", "0.5"
    )
    for name, book in playbooks().items():
        steps = [json.loads(line)["step"] for line in said("dry-run", name, "--json").splitlines()]
        assert steps == list(book.actions())


def test_every_kind_of_target_has_its_classes() -> None:
    assert set(CLASSES) == set(TARGETS)


def test_a_dry_run_of_an_incident_has_its_targets_and_places_nothing(home: Path) -> None:
    warehouse.migrate()
    rows = ROWS["decided"](ROWS["brute_force"]())
    incident = rows.iloc[0]["incident_id"]
    made = run_stage(Slot(FLOW, "publish", PART), lambda _: StageOutput(rows), inputs={}, params={}, models={}, code="t",
                     run_id="t")  # fmt: skip
    decided = [{"entity_key": incident, "risk": 1.0, "route": "contain"}]
    PUBLISHED["seed"](FLOW, PART, commit_id=made.commit_id, decisions=decided)
    text = said("dry-run", "brute_force", "--incident", incident)
    assert '    policy   203.0.113.66 (outside): auto, {"blocked": false} -> {"blocked": true}' in text
    assert '    policy   anna.adler (standard): one_approver, {"disabled": false} -> {"disabled": true}' in text
    assert "isolate_host" not in text
    assert (outbox.effects(FLOW), requests.still_open()) == ([], [])
    told = [json.loads(line) for line in said("dry-run", "brute_force", "--incident", incident, "--json").splitlines()]
    assert [one["target"] for step in told for one in step["targets"]][:2] == [incident, "203.0.113.66"]
    with pytest.raises(BatonError, match="has published no incident 'inc-none'"):
        said("dry-run", "brute_force", "--incident", "inc-none")


def test_lint_names_an_unknown_action_with_its_line(tmp_path: Path) -> None:
    assert said("lint") == "no mistakes\n"
    shutil.copytree(HERE / "playbooks", tmp_path / "playbooks")
    shutil.copy(HERE / "actions.yaml", tmp_path / "actions.yaml")
    path = tmp_path / "playbooks" / "noisy_scanner.yaml"
    path.write_text(path.read_text().replace("command: open_ticket", "command: open_tickets"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "open_tickets" in text)
    done = CliRunner().invoke(app, ["lint", str(tmp_path)])
    assert isinstance(done.exception, BatonError)
    assert str(done.exception) == "1 mistake"
    assert f"{path}:{line}: " in done.output
    assert "no action `open_tickets`, did you mean `open_ticket`?" in done.output
