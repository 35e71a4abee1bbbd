"""What actions.yaml may say: a mistake is named with its line, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from baton.authoring.lint import lint
from baton.errors import SpecError
from baton.packs.pack import read_pack

GOOD = """\
actions:
  block: {description: blocks, recovery: reversible, reach: network, undo: unblock}
  unblock: {description: lets through, recovery: reversible, reach: network, undo: block}
  mail: {description: mails, recovery: irreversible, reach: record}
policy:
  - {name: mails, actions: [mail], level: auto}
  - {name: sure, reach: [network], min_confidence: 0.9, level: notify, cap_per_hour: 5, above_cap: one_approver}
  - {name: rest, level: two_approvers}
"""

GOVERNANCE = "default: {owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01}\n"


def pack(folder: Path, text: str) -> Path:
    (folder / "actions.yaml").write_text(text)
    (folder / "governance.yaml").write_text(GOVERNANCE)
    return folder


def test_a_file_without_mistakes_is_part_of_its_pack(tmp_path: Path) -> None:
    assert lint([pack(tmp_path, GOOD)]) == []
    spec = read_pack("p", tmp_path).actions
    assert spec is not None
    assert spec.family("unblock") == {"block", "unblock"}
    assert spec.family("mail") == {"mail"}


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("undo: unblock", "undo: unblok", 2, "no action `unblok` is declared here"),
        ("undo: unblock", "undo: block", 2, "does not take itself back"),
        (", undo: unblock", "", 2, "a reversible action names the action that takes it back"),
        ("recovery: irreversible", "recovery: irreversible, undo: block", 4, "only a reversible action has one"),
        ("actions: [mail]", "actions: [male]", 6, "no action `male` is declared here"),
        ("reach: [network]", "reach: [host]", 7, "no declared action reaches `host`"),
        ("{name: mails, actions: [mail]", "{name: mails, actions: [mail], reach: [network]", 6, "none of its actions reaches"),
        ("{name: sure, reach: [network], min_confidence: 0.9, ", "{name: sure, actions: [mail], ", 7, "cannot match"),
        ("name: rest", "name: sure", 8, "also the name of rule 2"),
        ("{name: rest, ", "{name: rest, actions: [mail], min_confidence: 0.1, ", 8, "cannot match"),
        ("  - {name: rest, level: two_approvers}\n", "", 3, None),
        (", above_cap: one_approver", "", 7, "belong together"),
        ("above_cap: one_approver", "above_cap: auto", 7, "no stricter"),
        ("level: two_approvers", "level: three_approvers", 8, "three_approvers"),
        ("reach: record", "reach: world", 4, "world"),
        ("actions: [mail]", "acts: [mail]", 6, "unknown field"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, words: str | None
) -> None:
    assert before in GOOD
    found = lint([pack(tmp_path, GOOD.replace(before, after, 1))])
    if words is None:  # the network's actions are still named by the rule above
        assert found == []
        return
    assert any(one.line == line and words in str(one) for one in found), [str(one) for one in found]
    with pytest.raises(SpecError, match=f"actions.yaml:{line}"):
        read_pack("p", tmp_path)


def test_an_action_that_no_rule_names_is_a_mistake(tmp_path: Path) -> None:
    text = GOOD.replace("  - {name: rest, level: two_approvers}\n", "").replace(
        "actions: [mail], ", "actions: [block], "
    )
    (found,) = lint([pack(tmp_path, text)])
    assert (found.line, found.field) == (4, "actions.mail")
    assert "no rule of the policy names it" in found.message
