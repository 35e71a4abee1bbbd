"""The rules of ordering, read from `policy/items.yaml`: item policies, budget, what needs a person."""

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from baton.packs.policy_file import read_policy
from baton.specs.base import Seq, Spec
from baton_packs.supply_chain import HERE
from baton_packs.supply_chain.ordering.policies import Budget, ItemPolicy

FILE = HERE / "policy" / "items.yaml"


class OrderingPolicy(Spec):
    """Everything that turns a forecast distribution into orders."""

    approval_limit: float = Field(gt=0.0, description="an order that costs more waits for a person")
    budget: Budget | None = Field(default=None, description="of all orders of a week; null: unlimited")
    runs: int = Field(default=200, ge=20, description="simulated futures per item")
    seed: int = Field(default=7, ge=0, description="of demand paths, lead times and disruptions")
    items: Seq[ItemPolicy] = Field(min_length=1, description="one policy per item")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [policy.item for policy in self.items]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"items: {', '.join(sorted(twice))} more than once")
        return self

    @cached_property
    def by_item(self) -> dict[str, ItemPolicy]:
        """Item -> policy."""
        return {policy.item: policy for policy in self.items}


def load(path: Path = FILE) -> OrderingPolicy:
    """Read the rules.

    Raises:
        SpecError: the file is not there, no YAML, or breaks a rule; names line, field and what is allowed.
    """
    return read_policy(path, OrderingPolicy)
