"""A playbook walked for one incident: which actions, against what, and what would change; nothing is carried out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baton_packs.incident_response.playbooks.spec import (
    CONDITIONS,
    ActionStep,
    IfStep,
    ParallelStep,
    PlaybookSpec,
    StartStep,
)

MOST_STEPS = 200  # a walk that is longer went round in circles, which lint says before


@dataclass(frozen=True)
class Aim:
    """Something an action may aim at.

    Attributes:
        name: address, account, host, or id of the incident.
        asset_class: of the target, for the policy: outside, inside, protected, standard, privileged, workstation, server,
            domain_controller, unknown, ticket.
        state: what is known of it now, by the field of each tool that was asked, such as {"blocked": False}.
        confidence: 0..1, how sure the findings are in which it stands; None: as sure as the incident.
    """

    name: str
    asset_class: str
    state: Mapping[str, Any] = field(default_factory=dict)
    confidence: float | None = None


@dataclass(frozen=True)
class Planned:
    """One action of a plan, or a step that is passed over (`skipped` says why).

    Attributes:
        before, after: of the target's state; before is None where nobody knows it.
        undo: name of the action that takes it back.
        look: how it is seen afterwards that it holds: `receipt`, or the tool that is asked.
        aim: what the action is against.
    """

    step: str
    name: str
    action: str
    aim: Aim
    before: dict[str, Any] | None
    after: dict[str, Any]
    undo: str | None
    look: str
    skipped: str = ""

    @property
    def target(self) -> str:
        """Name of what it is against; empty for a step that has nothing to aim at."""
        return self.aim.name


def plan(
    book: PlaybookSpec, conditions: Collection[str], aims: Mapping[str, Sequence[Aim]], forbidden: Collection[tuple[str, str]] = ()
) -> list[Planned]:  # fmt: skip
    """The steps of a playbook in their order, each way of a fork once.

    Args:
        conditions: names of what is true, of `spec.CONDITIONS`.
        aims: targets by kind, of `spec.TARGETS`, those with most findings first.
        forbidden: (action, target) that the policy forbids: there `on_failure` comes instead.
    """
    walk = _Walk(book, frozenset(conditions), aims, frozenset(forbidden))
    walk.go(book.workflow_start)
    return walk.found


@dataclass
class _Walk:
    book: PlaybookSpec
    conditions: frozenset[str]
    aims: Mapping[str, Sequence[Aim]]
    forbidden: frozenset[tuple[str, str]]
    found: list[Planned] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    steps: int = 0

    def go(self, name: str) -> None:
        """From a step to the end of its way."""
        while self.steps < MOST_STEPS:
            self.steps += 1
            step = self.book.workflow[name]
            if isinstance(step, ParallelStep):
                for first in step.next_steps:
                    self.go(first)
            elif isinstance(step, IfStep):
                name = step.on_true if step.condition in self.conditions else step.on_false
                continue
            elif isinstance(step, ActionStep):
                failed = self._act(name, step)
                if failed and step.on_failure:
                    self.go(step.on_failure)
            elif not isinstance(step, StartStep):
                return
            name = step.on_completion

    def _act(self, name: str, step: ActionStep) -> bool:
        """Plan an action for each of its targets; True where the policy forbids one."""
        if name in self.done:  # two ways lead to it
            return False
        self.done.add(name)
        missing = [one for one in step.precondition if one not in self.conditions]
        aims = {aim.name: aim for kind in step.targets for aim in self.aims.get(kind, ())}
        if missing or not aims:
            why = f"not so: {CONDITIONS[missing[0]]}" if missing else "there is nothing that it could aim at"
            self.found.append(_planned(name, step, Aim("", ""), why))
            return False
        failed = False
        for number, aim in enumerate(aims.values()):
            forbidden = (step.action, aim.name) in self.forbidden
            failed = failed or forbidden
            why = "the policy forbids it" if forbidden else "is so already" if _so_already(step, aim) else ""
            if not why and number >= step.most:
                why = f"more than {step.most} targets: people decide about the others"
            self.found.append(_planned(name, step, aim, why))
        return failed


def _after(step: ActionStep) -> dict[str, Any]:
    found = step.verification
    return {"done": step.action} if found.field is None else {found.field: found.equals}


def _so_already(step: ActionStep, aim: Aim) -> bool:
    found = step.verification
    return found.field is not None and aim.state.get(found.field) == found.equals


def _planned(name: str, step: ActionStep, aim: Aim, why: str) -> Planned:
    field_of = step.verification.field
    before = {field_of: aim.state[field_of]} if field_of is not None and field_of in aim.state else None
    return Planned(name, step.name, step.action, aim, before, _after(step), step.undo, step.verification.look, why)
