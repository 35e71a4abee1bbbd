"""Undo: what takes an effect back, fixed when the effect is planned, and which effect of a target may be taken back now."""

from collections.abc import Mapping
from typing import Any

from baton.actions.action import Action
from baton.errors import BatonError
from baton.specs.actions import ActionsSpec

NOTHING = "nothing"  # mark of an undo that has nothing to do: the effect changed nothing


def of(spec: ActionsSpec | None, action: Action) -> dict[str, Any] | None:
    """How an action would be taken back: kind and payload of the undo, perhaps the mark `nothing`; None: not by Baton.

    Raises:
        BatonError: it is declared reversible, but nobody says with which payload.
    """
    declared = spec.actions.get(action.kind) if spec is not None else None
    if declared is None or declared.undo is None:
        return None
    if action.before is not None and action.before == action.after:
        return {"kind": declared.undo, "payload": {}, NOTHING: "the target was so before"}
    payload: Mapping[str, Any] | None = action.undo
    if payload is None and action.payload.get("action") == action.kind:
        payload = {**action.payload, "action": declared.undo}
    if payload is None:
        raise BatonError(
            f"action {action.kind} on {action.target}: it is declared reversible by {declared.undo}, and nothing says "
            "what that is sent: give Action(undo=...), or a field `action` in its payload"
        )
    return {"kind": declared.undo, "payload": dict(payload)}


def reverse(undo: Mapping[str, Any], action: Action) -> Action:
    """The action that takes `action` back: the same target, the difference turned round."""
    return Action(
        str(undo["kind"]), action.entity_key, action.target, undo["payload"], action.asset_class, action.confidence,
        action.amount, action.evidence, before=action.after, after=action.before,
    )  # fmt: skip
