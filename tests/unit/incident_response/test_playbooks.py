"""Playbooks: what is walked for an incident, and every mistake by file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from baton_packs.incident_response import HERE
from baton_packs.incident_response.playbooks import lint
from baton_packs.incident_response.playbooks.plan import Aim, Planned, plan
from baton_packs.incident_response.playbooks.spec import playbooks

AIMS = {
    "outside_attackers": [Aim("203.0.113.66", "outside", {"blocked": False})],
    "accounts": [Aim("anna.adler", "standard", {"disabled": False})],
    "hosts": [Aim("srv-db", "server", {"isolated": False})],
    "incident": [Aim("inc-1", "ticket")],
}


def walked(name: str, *conditions: str, aims: object = AIMS, forbidden: object = ()) -> list[Planned]:
    return plan(playbooks()[name], conditions, aims, forbidden)  # type: ignore[arg-type]


def acts(found: list[Planned]) -> list[tuple[str, str]]:
    return [(one.action, one.target) for one in found if not one.skipped]


def test_every_playbook_of_the_pack_is_right() -> None:
    assert list(lint.check(HERE)) == []
    assert set(playbooks()) == {
        "brute_force",
        "lateral_movement",
        "exfiltration",
        "malicious_code",
        "noisy_scanner",
        "unknown",
    }


def test_guessing_blocks_the_address_and_opens_a_ticket() -> None:
    assert acts(walked("brute_force", "from_outside")) == [("open_ticket", "inc-1"), ("block_address", "203.0.113.66")]


def test_a_fork_is_gone_where_its_condition_is_true() -> None:
    assert ("disable_account", "anna.adler") in acts(walked("brute_force", "from_outside", "entered"))
    assert ("rotate_key", "anna.adler") in acts(walked("lateral_movement", "entered", "privileged_account"))
    assert ("rotate_key", "anna.adler") not in acts(walked("lateral_movement", "entered"))


def test_a_step_says_what_it_would_change_and_what_takes_it_back() -> None:
    block = next(one for one in walked("brute_force", "from_outside") if one.action == "block_address")
    assert (block.before, block.after, block.undo, block.look) == (
        {"blocked": False},
        {"blocked": True},
        "unblock_address",
        "firewall_state",
    )


def test_what_is_so_already_is_passed_over() -> None:
    aims = AIMS | {"outside_attackers": [Aim("203.0.113.66", "outside", {"blocked": True})]}
    found = walked("brute_force", "from_outside", aims=aims)
    assert [one.skipped for one in found if one.action == "block_address"] == ["is so already"]


def test_a_precondition_that_is_not_so_is_said() -> None:
    found = next(one for one in walked("brute_force") if one.action == "block_address")
    assert found.skipped == "not so: an address outside the company takes part"


def test_what_the_policy_forbids_is_replaced_by_the_way_of_failure_once() -> None:
    found = walked(
        "lateral_movement",
        "entered",
        "from_outside",
        forbidden=[("block_address", "203.0.113.66"), ("isolate_host", "srv-db")],
    )
    assert acts(found).count(("notify", "inc-1")) == 1
    assert ("block_address", "203.0.113.66") not in acts(found)


def test_a_playbook_hits_only_so_many_targets() -> None:
    aims = AIMS | {"hosts": [Aim(f"h{n}", "workstation") for n in range(9)]}
    found = [one for one in walked("lateral_movement", "entered", aims=aims) if one.action == "isolate_host"]
    assert [bool(one.skipped) for one in found] == [False] * 3 + [True] * 6


def test_a_scan_changes_nothing() -> None:
    assert acts(walked("noisy_scanner", "from_outside", "bad_reputation")) == [("open_ticket", "inc-1")]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    shutil.copytree(HERE / "playbooks", tmp_path / "playbooks")
    shutil.copy(HERE / "actions.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("command: block_address", "command: block_adress", ":28: workflow.action--block.commands[0].command: no action `block_adress`, did you mean `block_address`?"),
        ("undo: unblock_address", "undo: enable_account", ":32: workflow.action--block.undo: `enable_account` does not take `block_address` back. Allowed: unblock_address"),
        ("undo: unblock_address", "undo: null", ":32: workflow.action--block.undo: `block_address` can be taken back. Allowed: unblock_address"),
        ("on_true: action--close-accounts", "on_true: end--done", "workflow.action--close-accounts: cannot be reached"),
        ("on_false: end--done", "on_false: if-condition--entered", "goes round in a circle: if-condition--entered -> if-condition--entered"),
        ("on_false: end--done", "on_false: end--don", "no step `end--don`, did you mean `end--done`?"),
        ("workflow_start: start--begin", "workflow_start: end--done", "workflow_start: `end--done` is no step of type start. Allowed: start--begin"),
        ("condition: entered", "condition: enterd", "`enterd` is not allowed, did you mean `entered`?"),
        ("targets: [outside_attackers]", "targets: [everything]", "`everything` is not allowed"),
        ("name: brute_force", "name: brute_farce", "`brute_farce` is in the file brute_force.yaml"),
        ("id: playbook--brute-force", "id: playbook--exfiltration", "is also the id of"),
        ("look: firewall_state, field: blocked, equals: true", "look: firewall_state", "field: needed with a tool"),
        ("end--done: {type: end}", "end--done: {type: start, on_completion: end--done}", "end--done: is of type start"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_and_line(pack: Path, old: str, new: str, said: str) -> None:
    path = pack / "playbooks" / "brute_force.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    found = [str(one) for one in lint.check(pack)]
    assert any(said in one for one in found), found


def test_a_playbook_without_an_end_is_a_mistake(pack: Path) -> None:
    path = pack / "playbooks" / "noisy_scanner.yaml"
    text = (
        path.read_text()
        .replace("  end--done: {type: end}\n", "")
        .replace("on_completion: end--done", "on_completion: action--ticket")
    )
    path.write_text(text)
    found = [str(one) for one in lint.check(pack)]
    assert any("there is no step of type end" in one for one in found), found
    assert any("action--ticket -> action--ticket" in one for one in found), found


def test_without_a_playbook_for_the_unknown_something_would_have_none(pack: Path) -> None:
    (pack / "playbooks" / "unknown.yaml").unlink()
    assert any("unknown.yaml" in str(one) for one in lint.check(pack))
