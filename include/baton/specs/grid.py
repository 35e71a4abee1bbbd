"""What `baton try --grid` searches: for each candidate, the parameters and where they may lie."""

from typing import Self

from pydantic import Field, model_validator

from baton.specs.base import Name, Seq, Spec

Value = bool | int | float | str | None


class Range(Spec):
    """Numbers between two ends, both included; whole ones where both ends are whole."""

    low: int | float = Field(description="the smallest")
    high: int | float = Field(description="the largest")
    log: bool = Field(default=False, description="try magnitudes alike: 0.01 to 0.1 as often as 0.1 to 1")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low: with log it must be above 0")
        return self


class GridSpec(Spec):
    """A search over parameters of candidates."""

    candidates: dict[Name, dict[str, Seq[Value] | Range]] = Field(
        min_length=1, description="candidate -> parameter -> a list of values, or low, high and log"
    )
    trials: int = Field(default=50, ge=1, description="at most so many for each candidate")
    seconds: float = Field(default=300.0, gt=0, description="no trial begins later than that, all candidates together")
    seed: int = Field(default=7, ge=0, description="of the search")
