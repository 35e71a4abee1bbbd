"""What a playbook would do, step by step, and what the policy would say; nothing is placed, no incident is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from baton.actions.action import Action
from baton.effects import firewall
from baton_packs.incident_response.playbooks.spec import CONDITIONS, ActionStep, PlaybookSpec

CLASSES = {
    "outside_attackers": ("outside", "protected"), "inside_attackers": ("inside", "protected"),
    "outside_destinations": ("outside", "protected"), "accounts": ("standard", "privileged", "unknown", "protected"),
    "hosts": ("workstation", "server", "domain_controller", "unknown", "protected"), "incident": ("ticket",),
}  # fmt: skip
"""Asset classes that a kind of target may be of."""


@dataclass(frozen=True)
class Previewed:
    """An action step as people read it.

    Attributes:
        conditions: what must be true, in words.
        policy: (asset class, level, why) for each class that a target may be of, caps left aside.
        verification: what is looked at afterwards; undo: what takes it back, None: nothing.
        otherwise: the step that comes where the policy forbids the action.
    """

    step: str
    name: str
    conditions: Sequence[str]
    action: str
    targets: Sequence[str]
    policy: Sequence[tuple[str, str, str]]
    verification: str
    undo: str | None
    otherwise: str | None


def preview(pack: str, book: PlaybookSpec, confidence: float) -> list[Previewed]:
    """The action steps of a playbook in the order of its file.

    Args:
        pack: whose `actions.yaml` decides.
        confidence: 0..1, how sure an incident would be.
    """
    return [_of(pack, name, step, confidence) for name, step in book.actions().items()]


def _of(pack: str, name: str, step: ActionStep, confidence: float) -> Previewed:
    classes = list(dict.fromkeys(one for kind in step.targets for one in CLASSES[kind]))
    wanted = [Action(step.action, "incident", "target", {}, one, confidence) for one in classes]
    judged = firewall.foresee(pack, wanted)
    policy = [(one, said.level, "; ".join(said.reasons)) for one, said in zip(classes, judged, strict=True)]
    seen = step.verification
    look = seen.look if seen.field is None else f"{seen.look} shows {seen.field} {_word(seen.equals)}"
    conditions = [CONDITIONS[one] for one in step.precondition]
    return Previewed(name, step.name, conditions, step.action, step.targets, policy, look, step.undo, step.on_failure)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
