"""What models that are paid by use may use up in a day or a month: `budgets.yaml` of a pack, and of an installation."""

from typing import Literal, Self

from pydantic import Field, RootModel, model_validator

from baton.specs.base import Name, Seq, Spec

TEMPLATE, CASE = "template", "case"
ENDS = (TEMPLATE, CASE)  # rungs that cost nothing
Unit = Literal["cost", "tokens", "calls", "seconds"]
Period = Literal["day", "month"]


class SpendingSpec(Spec):
    """One budget: a limit, of what, and what stands in when it is used up."""

    flow: Name | None = Field(default=None, description="DAG id that it is of; null: all that the file is about")
    period: Period = Field(description="day or month, in UTC, by when the stage asks")
    unit: Unit = Field(description="cost (dollars, by the connection's `prices`), tokens, calls (requests) or seconds")
    limit: float = Field(gt=0.0, description="in that unit; no stage begins what could go above it")
    ladder: Seq[str] = Field(
        default=(TEMPLATE,),
        min_length=1,
        description="what stands in, in this order: connections of smaller models, then `template`, or `case`: the template, put "
        "to a person",
    )

    @model_validator(mode="after")
    def _ends_in_what_is_free(self) -> Self:
        if set(ENDS) & set(self.ladder[:-1]) or self.ladder[-1] not in ENDS:
            raise ValueError(
                f"ladder: `{TEMPLATE}` or `{CASE}` is its last rung: it costs nothing, nothing comes after it"
            )
        return self


class BudgetsSpec(RootModel[dict[Name, SpendingSpec]]):
    """The file budgets.yaml: budgets by name."""
