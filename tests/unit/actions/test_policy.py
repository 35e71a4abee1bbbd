"""The judgement: first match, caps, and that what is unknown or malformed is forbidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baton.actions.action import Action, digest
from baton.actions.policy import judge, policy_digest
from baton.specs.actions import ActionsSpec

SPEC = ActionsSpec.model_validate({
    "actions": {
        "block": {"description": "b", "recovery": "reversible", "reach": "network", "undo": "unblock"},
        "unblock": {"description": "u", "recovery": "reversible", "reach": "network", "undo": "block"},
        "order": {"description": "o", "recovery": "reversible_by_others", "reach": "record"},
    },
    "policy": [
        {"name": "controllers", "actions": ["block"], "asset_class": ["domain_controller"], "level": "two_approvers"},
        {"name": "sure", "actions": ["block"], "min_confidence": 0.9, "level": "auto", "cap_per_hour": 3, "above_cap": "one_approver"},
        {"name": "small", "actions": ["order"], "max_amount": 100.0, "level": "notify"},
        {"name": "rest", "reach": ["network"], "level": "one_approver"},
    ],
})  # fmt: skip
BLOCK = Action("block", "i", "203.0.113.7", {"a": 1}, confidence=0.95)


def level(action: Action, used: int = 0, spec: ActionsSpec | None = SPEC) -> tuple[str, str]:
    said = judge(spec, action, lambda rule: used)
    return said.level, said.rule


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("auto", "sure")),
        ({"confidence": 0.9}, ("auto", "sure")),
        ({"confidence": 0.899}, ("one_approver", "rest")),
        ({"confidence": None}, ("one_approver", "rest")),
        ({"asset_class": "domain_controller"}, ("two_approvers", "controllers")),
        ({"asset_class": "workstation"}, ("auto", "sure")),
        ({"confidence": float("nan")}, ("forbidden", "")),
        ({"confidence": 1.1}, ("forbidden", "")),
        ({"confidence": True}, ("forbidden", "")),
        ({"amount": float("inf")}, ("forbidden", "")),
        ({"amount": -1.0}, ("forbidden", "")),
        ({"target": ""}, ("forbidden", "")),
        ({"kind": "blok"}, ("forbidden", "")),
        ({"kind": "order"}, ("forbidden", "")),
        ({"kind": "order", "amount": 100.0}, ("notify", "small")),
        ({"kind": "order", "amount": 100.01}, ("forbidden", "")),
    ],
)
def test_the_first_rule_that_fits_decides(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert level(replace(BLOCK, **changes)) == expected


def test_a_cap_makes_the_level_stricter_and_without_a_policy_all_is_forbidden() -> None:
    assert [level(BLOCK, used)[0] for used in (0, 2, 3, 4)] == ["auto", "auto", "one_approver", "one_approver"]
    assert level(BLOCK, spec=None) == ("forbidden", "")
    assert "3 an hour are reached" in judge(SPEC, BLOCK, lambda rule: 3).reasons[1]


def test_the_digest_of_the_policy_is_that_of_what_can_decide() -> None:
    def changed(rule: int, **values: Any) -> ActionsSpec:
        rules = [one.model_copy(update=values) if number == rule else one for number, one in enumerate(SPEC.policy)]
        return SPEC.model_copy(update={"policy": tuple(rules)})

    known = policy_digest(SPEC, "block")
    assert policy_digest(changed(1, min_confidence=0.8), "block") != known
    assert policy_digest(changed(3, permit_minutes=5), "block") != known
    assert policy_digest(changed(2, max_amount=1.0), "block") == known
    assert policy_digest(SPEC, "order") != known
    worded = SPEC.actions | {"block": SPEC.actions["block"].model_copy(update={"description": "other words"})}
    assert policy_digest(SPEC.model_copy(update={"actions": worded}), "block") == known
    assert policy_digest(None, "block") != known


def test_an_action_is_another_one_when_anything_that_matters_differs() -> None:
    others = [replace(BLOCK, **change) for change in (
        {"kind": "unblock"}, {"target": "203.0.113.8"}, {"payload": {"a": 2}}, {"evidence": ("e",)}, {"entity_key": "j"},
    )]  # fmt: skip
    assert len({one.digest for one in [BLOCK, *others]}) == 6
    assert replace(BLOCK, evidence=("a", "b")).digest == replace(BLOCK, evidence=("b", "a")).digest
    shown = replace(BLOCK, before={"blocked": False}, after={"blocked": True})
    assert shown.digest == BLOCK.digest
    assert shown.shown != BLOCK.shown
    again = Action.of("block", "i", "203.0.113.7", shown.payload, shown.described())
    assert (again.digest, again.shown) == (shown.digest, shown.shown)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"confidence": 0.0, "amount": 0.0}, ""), ({"confidence": 1, "amount": 3}, ""), ({}, ""),
        ({"confidence": 1.1}, "its confidence 1.1"), ({"confidence": -0.1}, "its confidence -0.1"), ({"confidence": True}, "its confidence True"),
        ({"confidence": float("nan")}, "its confidence nan"), ({"amount": -0.01}, "its amount -0.01"), ({"amount": False}, "its amount False"),
        ({"amount": float("inf")}, "its amount inf"), ({"amount": "7"}, "its amount '7'"), ({"target": ""}, "it has no target"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_says_why(told: dict[str, Any], words: str) -> None:
    assert replace(BLOCK, confidence=None).flaw() == ""
    assert replace(BLOCK, **told).flaw().startswith(words)
    assert bool(replace(BLOCK, **told).flaw()) == bool(words)


def test_a_digest_is_sha_256_whatever_the_order_of_keys() -> None:
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert len({policy_digest(None, "block"), policy_digest(None, "order"), digest([])}) == 3
    assert all(len(one) == 64 for one in (policy_digest(None, "block"), digest([])))
