"""One action and one rule of `actions.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from baton.specs.base import Name, Seq, Share, Spec

Level = Literal["auto", "notify", "one_approver", "two_approvers", "forbidden"]
Reach = Literal["record", "host", "account", "segment", "network"]
Recovery = Literal["reversible", "reversible_by_others", "irreversible"]
LEVELS: tuple[Level, ...] = ("auto", "notify", "one_approver", "two_approvers", "forbidden")  # ever stricter
ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")]  # also the kind of its effects


class ActionSpec(Spec):
    """One thing that may be done outside Baton."""

    description: str = Field(min_length=1, description="what it does, in a sentence, for whoever approves it")
    recovery: Recovery = Field(description="reversible: Baton can take it back; by others: people there can")
    reach: Reach = Field(description="the most that one such action touches; `record`: something of its flow alone")
    undo: ActionName | None = Field(default=None, description="of a reversible one: the action that takes it back")


class PolicyRule(Spec):
    """Who has to agree to which actions; the first rule that fits an action decides."""

    name: Name = Field(description="how requests, permits and the ledger call it")
    actions: Seq[ActionName] = Field(default=(), description="only these; empty: all")
    reach: Seq[Reach] = Field(default=(), description="only actions that reach so far; empty: all")
    asset_class: Seq[str] = Field(default=(), description="only on targets of these classes; empty: all")
    min_confidence: Share | None = Field(
        default=None, description="only from this confidence on; one without never fits"
    )
    max_amount: float | None = Field(default=None, ge=0.0, description="only up to this amount; one without never fits")
    level: Level = Field(description="auto, notify (it goes, and is on Today's list), so many approvers, or forbidden")
    cap_per_hour: int | None = Field(default=None, ge=1, description="so many an hour at this level; null: no cap")
    above_cap: Level | None = Field(default=None, description="the stricter level of those above the cap")
    permit_minutes: int = Field(
        default=60, ge=1, le=60 * 24 * 14, description="so long a permit is good until the effect"
    )
    answer_minutes: int = Field(
        default=1440, ge=1, le=60 * 24 * 30, description="so long people may answer; then it expires"
    )

    @model_validator(mode="after")
    def _cap_with_level(self) -> Self:
        if (self.cap_per_hour is None) != (self.above_cap is None):
            raise ValueError("cap_per_hour and above_cap belong together: give both, or neither")
        if self.above_cap is not None and LEVELS.index(self.above_cap) <= LEVELS.index(self.level):
            raise ValueError(f"above_cap: `{self.above_cap}` is no stricter than the level `{self.level}`")
        return self
