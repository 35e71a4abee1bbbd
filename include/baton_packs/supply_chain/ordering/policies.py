"""Policies of items: supplier, costs, how sure the stock must be, what people decide."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baton.specs.base import InnerShare, Spec


def _whole_weeks(value: object) -> object:
    """JSON has text keys only: a policy that went through XCom comes back with them."""
    if isinstance(value, dict):
        return {int(k) if isinstance(k, str) and k.strip().isdigit() else k: v for k, v in value.items()}
    return value


class ItemPolicy(Spec):
    """How one item is ordered. Money in the currency of the budget, quantities in units, times in weeks."""

    item: str = Field(min_length=1, description="the series of the forecast")
    supplier: str = Field(min_length=1, description="who delivers; its items share one route in the simulation")
    unit_cost: float = Field(gt=0.0, description="what a unit costs to buy")
    shortage_cost: float = Field(gt=0.0, description="what a missing unit costs: lost margin and goodwill")
    holding_cost: float = Field(gt=0.0, description="what a unit costs that lies in stock for a week")
    order_cost: float = Field(default=0.0, ge=0.0, description="fixed cost of each order")
    expedite_cost: float | None = Field(
        default=None, ge=0.0, description="extra cost of a unit delivered express; null: not offered"
    )
    service_level: InnerShare = Field(description="share of order cycles that must pass without a stock-out")
    lead_time: Annotated[dict[int, float], BeforeValidator(_whole_weeks)] = Field(
        description="weeks from order to delivery -> probability, for example {1: 0.7, 2: 0.3}"
    )
    minimum_order: int = Field(default=1, ge=1, description="smallest quantity the supplier accepts")
    pack_size: int = Field(default=1, ge=1, description="orders are whole packs of so many units")
    shelf_life_weeks: int | None = Field(default=None, ge=1, description="weeks until a unit expires; null: it keeps")
    alternatives_allowed: bool = Field(default=False, description="the agent may pick among simulated alternatives")

    @field_validator("lead_time")
    @classmethod
    def _distribution(cls, value: dict[int, float]) -> dict[int, float]:
        if any(weeks < 1 for weeks in value):
            raise ValueError(
                "a lead time of zero weeks is refused: what is ordered at a review cannot be there at that review. "
                "Give the weeks until delivery, at least 1; for a delivery within days write 1"
            )
        if not value or any(not 0.0 < p <= 1.0 for p in value.values()) or abs(sum(value.values()) - 1.0) > 1e-6:
            raise ValueError(
                f"the probabilities of the lead times must lie above 0 and add up to 1, found {value}; "
                "correct them, for example {1: 0.7, 2: 0.3}"
            )
        return dict(sorted(value.items()))

    @model_validator(mode="after")
    def _can_be_sold(self) -> Self:
        if self.shortage_cost <= self.holding_cost:
            raise ValueError(
                f"shortage_cost {self.shortage_cost:g} is not above holding_cost {self.holding_cost:g}: by that it "
                "never pays to hold stock; check that holding_cost is per unit and week"
            )
        return self

    @property
    def target(self) -> float:
        """Probability with which stock must cover the demand until the next order arrives.

        The newsvendor's critical ratio of an order cycle of one week, shortage / (shortage + holding), is the
        cheapest probability; the service level is a promise and so its floor. The fixed cost of an order is not
        in it: it tells apart the simulated alternatives, among them to order nothing this week.
        """
        return max(self.service_level, self.shortage_cost / (self.shortage_cost + self.holding_cost))

    @property
    def lead_mean(self) -> float:
        """Mean lead time in weeks."""
        return sum(weeks * probability for weeks, probability in self.lead_time.items())

    @property
    def express_lead(self) -> int | None:
        """Weeks an express delivery takes: one less than the usual shortest, at least one; None: not faster."""
        weeks = max(1, min(self.lead_time) - 1)
        return weeks if self.expedite_cost is not None and weeks < self.lead_mean else None


class Budget(Spec):
    """What all orders of a week may cost together."""

    amount: float = Field(gt=0.0, description="money per week over all items")
