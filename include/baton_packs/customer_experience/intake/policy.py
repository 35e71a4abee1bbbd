"""The rules of the two flows, read from `policy/`: routes, queues, and when a person must look."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from baton.packs.policy_file import read_policy
from baton.specs.base import Share, Spec
from baton_packs.customer_experience import HERE

FOLDER = HERE / "policy"


class Desk(Spec):
    """Whose work it is, and how soon."""

    queue: str = Field(min_length=1, description="team that works it; `none`: nobody")
    priority: int = Field(ge=1, le=3, description="1 is first")


class TypeRule(Desk):
    """What becomes of documents of one type."""

    route: Literal["file", "reply", "approve"] = Field(
        description="file: keep it; reply: answer it; approve: answer it once a person has read the answer"
    )


class RiskRule(Spec):
    """From which risk on a person looks."""

    review: Share = Field(description="from here on a person approves before anything leaves")
    escalate: Share = Field(description="from here on it is a case for the fraud desk")

    @model_validator(mode="after")
    def _in_order(self) -> RiskRule:
        if self.review > self.escalate:
            raise ValueError("review: at most escalate")
        return self


class IntakePolicy(Spec):
    """Rules of `document_intake`."""

    risk: RiskRule = Field(description="risk of a document, 0..1")
    fields: Share = Field(description="least certainty of the fields that an invoice needs")
    largest: dict[str, float] = Field(
        min_length=1,
        description="currency -> amount above which a person looks at an invoice; others: the smallest number",
    )
    types: dict[str, TypeRule] = Field(min_length=1, description="document type -> what becomes of it")
    fraud_desk: Desk = Field(description="who looks at what seems fraudulent")
    sorting: Desk = Field(description="who looks at what the models are not sure of")

    @field_validator("largest")
    @classmethod
    def _of_currencies(cls, value: dict[str, float]) -> dict[str, float]:
        wrong = [name for name in value if not (len(name) == 3 and name.isascii() and name.isupper())]
        if wrong or min(value.values()) <= 0:
            named = ", ".join(wrong) or "so"
            raise ValueError(f"ISO codes and amounts above 0, for example {{EUR: 20000}}; not {named}")
        return value


def intake(path: Path = FOLDER / "intake.yaml") -> IntakePolicy:
    """The rules of `document_intake`.

    Raises:
        SpecError: the file is not there, no YAML, or breaks a rule; names line, field and what is allowed.
    """
    return read_policy(path, IntakePolicy)
