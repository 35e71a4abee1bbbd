"""What a playbook's YAML may say: CACAO 2.0's vocabulary, with names of actions instead of shell commands.

A playbook is a graph of steps. `plan` walks it for one incident; nothing in it is executed here: an action becomes a request to
the action firewall, whose policy says how far it goes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from baton.packs.spec_file import Problem, raise_for, read_as
from baton.packs.yaml_marks import Marked
from baton.specs.base import Name, Seq, Spec
from baton_packs.incident_response import HERE

FOLDER = HERE / "playbooks"

CONDITIONS = {
    "entered": "somebody got in: there are findings of what comes after an entry",
    "from_outside": "an address outside the company takes part",
    "bad_reputation": "an address or domain is known to be bad",
    "privileged_account": "an account with special rights takes part",
    "critical_asset": "a server, a domain controller or another host whose loss would be bad takes part",
    "several_hosts": "more than one host takes part",
    "sure": "rules and models together are at least 90 % sure",
}
"""What a condition may ask, and what it means; the answers are computed by rules, see `incidents.situation`."""

TARGETS = {
    "outside_attackers": "addresses outside from which the findings come",
    "inside_attackers": "addresses inside from which the findings come",
    "outside_destinations": "addresses outside to which data went or that were called",
    "accounts": "accounts that were used after an entry, or that everything is about",
    "hosts": "hosts on which the findings are",
    "incident": "the incident itself: a ticket, a note",
}
"""At what an action may aim; which names that are comes from the incident and the inventory, never from a text."""

LOOKS = ("receipt", "firewall_state", "account_state", "host_state")
Condition = Literal[
    "entered", "from_outside", "bad_reputation", "privileged_account", "critical_asset", "several_hosts", "sure"
]
Target = Literal["outside_attackers", "inside_attackers", "outside_destinations", "accounts", "hosts", "incident"]
StepId = Annotated[
    str, Field(pattern=r"^(start|end|action|parallel|if-condition)--[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
]


class Command(Spec):
    """What an action step does."""

    type: Literal["baton"] = Field(description="an action of the pack's actions.yaml")
    command: Name = Field(description="its name there")


class Verification(Spec):
    """How it is seen afterwards that the action holds."""

    look: Literal["receipt", "firewall_state", "account_state", "host_state"] = Field(
        description="what is looked at: the peer's receipt, or the tool of tools.yaml that is asked"
    )
    field: str | None = Field(default=None, description="of the tool's answer")
    equals: bool | int | str | None = Field(default=None, description="what it is then")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.look == "receipt") != (self.field is None):
            raise ValueError("field: needed with a tool, and only then")
        return self


class StartStep(Spec):
    """Where a playbook begins."""

    type: Literal["start"]
    on_completion: StepId = Field(description="the first step")


class EndStep(Spec):
    """Where a way ends."""

    type: Literal["end"]


class ActionStep(Spec):
    """One remedy."""

    type: Literal["action"]
    name: str = Field(min_length=3, max_length=80, description="what people read")
    commands: Seq[Command] = Field(min_length=1, max_length=1, description="one action")
    targets: Seq[Target] = Field(min_length=1, description="at what it aims")
    precondition: Seq[Condition] = Field(default=(), description="what must be true; else the step is passed over")
    verification: Verification = Field(description="how it is seen that it holds")
    undo: Name | None = Field(description="the action that takes it back; null: nothing does")
    most: int = Field(default=5, ge=1, le=50, description="targets at most, those with most findings first")
    on_completion: StepId = Field(description="what comes next")
    on_failure: StepId | None = Field(
        default=None, description="what comes instead where the policy forbids the action"
    )

    @property
    def action(self) -> str:
        """Name of its action."""
        return self.commands[0].command


class IfStep(Spec):
    """A fork."""

    type: Literal["if-condition"]
    condition: Condition = Field(description="what is asked")
    on_true: StepId = Field(description="what comes if it is so")
    on_false: StepId = Field(description="what comes if not")


class ParallelStep(Spec):
    """Ways that are gone side by side; each goes to its own end, then comes `on_completion`."""

    type: Literal["parallel"]
    next_steps: Seq[StepId] = Field(min_length=2, description="the first step of each way")
    on_completion: StepId = Field(description="what comes after all of them")


PlaybookStep = Annotated[StartStep | EndStep | ActionStep | IfStep | ParallelStep, Field(discriminator="type")]


class Fits(Spec):
    """Which incidents a playbook is for; an incident fits if any of its tactics or techniques is named, and its asset class."""

    tactics: Seq[str] = Field(default=(), description="of ATT&CK, such as lateral-movement")
    techniques: Seq[Annotated[str, Field(pattern=r"^T\d{4}$")]] = Field(
        default=(), description="of ATT&CK, without sub-technique"
    )
    asset_classes: Seq[Literal["workstation", "server", "domain_controller", "unknown"]] = Field(
        default=("workstation", "server", "domain_controller", "unknown"), description="of the gravest host"
    )
    rank: int = Field(ge=0, le=100, description="where several fit, the highest is the rules' own choice")
    contains: bool = Field(
        default=True, description="false: it watches only, and no agent may choose it instead of one that acts"
    )


class PlaybookSpec(Spec):
    """A file of `playbooks/`."""

    type: Literal["playbook"]
    spec_version: Literal["cacao-2.0"]
    id: Annotated[str, Field(pattern=r"^playbook--[a-z0-9-]{3,60}$")] = Field(description="never changed")
    name: Name = Field(description="like the file")
    description: str = Field(min_length=10, max_length=400, description="for whom it is, and what it does")
    playbook_types: Seq[Literal["notification", "investigation", "mitigation", "remediation"]] = Field(min_length=1)
    fits: Fits = Field(description="which incidents it is for")
    workflow_start: StepId = Field(description="the step of type start")
    workflow: dict[StepId, PlaybookStep] = Field(min_length=2, description="steps by id; an id begins with its type")

    @field_validator("workflow")
    @classmethod
    def _named_like_their_types(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, step in value.items():
            if name.partition("--")[0] != step.type:
                raise ValueError(f"{name}: is of type {step.type}: call it {step.type}--{name.partition('--')[2]}")
        return value

    def actions(self) -> dict[str, ActionStep]:
        """Its action steps by id, as written."""
        return {name: step for name, step in self.workflow.items() if isinstance(step, ActionStep)}


def following(step: Any) -> list[tuple[str, str]]:
    """(field, step id) of all that may come after a step."""
    found = [(field, getattr(step, field, None)) for field in ("on_completion", "on_failure", "on_true", "on_false")]
    return [(field, name) for field, name in found if name] + [
        ("next_steps", name) for name in getattr(step, "next_steps", ())
    ]


def read(path: Path) -> tuple[PlaybookSpec | None, Marked, list[Problem]]:
    """A playbook's file, None where something in it is wrong; with the lines and what is wrong."""
    return read_as(PlaybookSpec, path)


def playbooks(folder: Path = FOLDER) -> dict[str, PlaybookSpec]:
    """Every playbook by name, the one with the highest rank first.

    Raises:
        SpecError: lists every mistake in every file with its line.
    """
    return dict(_read(folder, tuple((str(path), path.stat().st_mtime_ns) for path in sorted(folder.glob("*.yaml")))))


@lru_cache(maxsize=16)
def _read(folder: Path, stamps: tuple[tuple[str, int], ...]) -> tuple[tuple[str, PlaybookSpec], ...]:
    found, problems = [], []
    for path, _ in stamps:
        one, _, wrong = read(Path(path))
        problems += wrong
        found += [] if one is None else [(one.name, one)]
    raise_for(problems)
    return tuple(sorted(found, key=lambda pair: (-pair[1].fits.rank, pair[0])))
