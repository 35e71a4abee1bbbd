"""The inventory agent: explains exceptional orders in two sentences, and may pick among what was simulated.

It chooses nothing else. Its choice counts only if the item's policy allows it, the alternative was simulated, keeps the
service level and costs no more than the proposal and a margin; else the proposal stays and the reason is recorded.
Quantities, amounts and suppliers always come from the frames.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from baton.agents import AgentQuestion, AgentSpec, Refused
from baton.agents.figures import not_plain, repeats_itself
from baton.errors import BatonError
from baton_packs.supply_chain import HERE
from baton_packs.supply_chain.ordering import rules as ordering

MARGIN = 0.02  # an alternative may cost so much more than the proposal, as a share: simulated costs are no exact ones
AS_PROPOSED: Literal["as_proposed"] = "as_proposed"
_SIMULATED = ("item", "alternative", "text", "cost_mean", "fill_rate", "keeps_service")
_PROPOSED = ("item", "quantity", "amount", "position", "expected_demand", "stockout_without", "stockout_with", "reasons",
             "exceptional", "why")  # fmt: skip
_WHY = {
    "budget": "the budget cuts it",
    "surge": "much more demand is expected than usual",
    "risk": "the stock may still run out",
    "early": "the stock may run out before the order can arrive",
    "shelf_life": "the shelf life caps it",
    "kind": "the item does not sell like a regular one",
    "learned": "people changed the item's last orders",
}
# in the schema, where it guides even a small model: a full stop inside a sentence stands before a digit
_ONE = r"[A-Z0-9]([^\n<>`\[\]{}|\\.!?]|\.[0-9]){10,240}\."
_TWO = f"^{_ONE} {_ONE}$"


class Advice(BaseModel):
    """What the agent may answer."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=500, pattern=_TWO, description="two plain sentences about the order")
    choice: Literal["as_proposed", "less", "more", "wait", "express"] = Field(description="an alternative's name")


def rules() -> dict[str, Any]:
    """For which items the agent may choose, from the pack's ordering policy."""
    return {"allowed": {item: policy.alternatives_allowed for item, policy in ordering.load().by_item.items()}}


def cases(proposals: pd.DataFrame, simulated: pd.DataFrame, allowed: Mapping[str, bool]) -> list[AgentQuestion]:
    """A case for each exceptional order, the most expensive first.

    Args:
        proposals: of `inventory.propose`, one row per item.
        simulated: of `alternatives.best`, one row per item and alternative; an item may be missing: then there is nothing
            to choose from.
        allowed: item -> may the agent choose; it may not for an item that is missing.

    Raises:
        BatonError: a column is missing, an item twice, or `reasons` or `why` are no JSON lists; names item and column.
    """
    for frame, name, columns in ((proposals, "proposals", _PROPOSED), (simulated, "simulated", _SIMULATED)):
        if len(frame) and (missing := [column for column in columns if column not in frame.columns]):
            needed = ", ".join(columns)
            raise BatonError(f"frame {name}: column {missing[0]} is missing; the inventory agent needs {needed}")
    if twice := [item for item, count in Counter(row["item"] for row in _records(proposals)).items() if count > 1]:
        raise BatonError(f"frame proposals: item {twice[0]} stands there twice; propose one order per item")
    offers: dict[str, list[dict[str, Any]]] = {}
    for offer in _records(simulated):
        offers.setdefault(offer["item"], []).append(offer)
    rows = sorted((row for row in _records(proposals) if row["exceptional"]), key=lambda r: (-r["amount"], r["item"]))
    return [_case(row, offers.get(row["item"], []), bool(allowed.get(row["item"], False))) for row in rows]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} | {"item": str(row["item"])} for row in frame.to_dict("records")]


def _case(row: Mapping[str, Any], offers: list[dict[str, Any]], allowed: bool) -> AgentQuestion:
    facts: dict[str, Any] = {
        "order": _units(row["quantity"]),
        "cost": f"{row['amount']:,.2f}",
        "on_hand_or_on_order": _units(row["position"]),
        "expected_demand_until_the_next_order_arrives": _units(row["expected_demand"]),
        "stock_out_probability_without_the_order": f"{row['stockout_without']:.1%}",
        "stock_out_probability_with_the_order": f"{row['stockout_with']:.1%}",
        "how_the_order_came_about": _list(row, "reasons"),
        "why_it_stands_out": [_WHY.get(code, code) for code in _list(row, "why")],
    }
    if allowed:
        facts["alternatives"] = [
            {
                "name": offer["alternative"], "what": offer["text"], "expected_cost": f"{offer['cost_mean']:,.2f}",
                "demand_served": f"{offer['fill_rate']:.1%}", "keeps_service_level": bool(offer["keeps_service"]),
            }
            for offer in offers
        ]  # fmt: skip
    by_name = {offer["alternative"]: offer for offer in offers}
    terms = {"ordered": row["quantity"] > 0, "allowed": allowed, "offers": by_name}
    # who may choose sees no text of others: a name that gives orders could else tip the choice
    data = {} if allowed else {"name of the item": row["item"]}
    return AgentQuestion(row["item"], facts, data, terms)


def check(case: AgentQuestion, output: Advice) -> Advice | Refused:
    """The agent's answer, if the policy lets it be one; else why not."""
    if found := not_plain(output.text):
        return Refused("more than plain sentences", found)
    if not any(character.isdigit() for character in output.text):  # what a weak model writes about any order
        return Refused("no number of the facts")
    if repeats_itself(output.text):
        return Refused("a text that goes round in circles")
    if output.choice != AS_PROPOSED and (reason := _not_allowed(output.choice, case.terms)):
        return Refused(reason, output.choice)
    return output


def _not_allowed(choice: str, terms: Mapping[str, Any]) -> str:
    """Why an item may not be ordered by this alternative; empty if it may."""
    if not terms["allowed"]:
        return "choice that the item's policy does not allow"
    chosen, proposed = terms["offers"].get(choice), terms["offers"].get(AS_PROPOSED)
    if chosen is None or proposed is None:
        return "alternative that was not simulated"
    if not bool(chosen["keeps_service"]):
        return "alternative that misses the service level"
    cost, limit = float(chosen["cost_mean"]), float(proposed["cost_mean"]) * (1.0 + MARGIN)
    if not (math.isfinite(limit) and cost <= limit):  # not: cost > limit, which lets an unknown cost pass
        return "alternative that costs more than the proposal"
    return ""


def template(case: AgentQuestion) -> Advice:
    """Two sentences from the numbers, for when there is no accepted answer; the proposal stays."""
    facts, ordered = case.facts, case.terms["ordered"]
    what = f"{facts['order']} for {facts['cost']} are proposed" if ordered else "No order is proposed"
    risk = facts["stock_out_probability_without_the_order"]
    stock_out = f"the probability of a stock-out is {risk}"
    if ordered:
        after = facts["stock_out_probability_with_the_order"]
        stock_out = f"it brings the probability of a stock-out from {risk} to {after}"
    # more than two would not fit into the length of an answer
    because = " and ".join(facts["why_it_stands_out"][:2]) or "it is marked so"
    text = (
        f"{what}: {facts['on_hand_or_on_order']} are on hand or on order, and "
        f"{facts['expected_demand_until_the_next_order_arrives']} are expected to be needed until the next order arrives. "
        f"The order stands out because {because}; {stock_out}."
    )
    return Advice(text=text, choice=AS_PROPOSED)


def _units(value: float) -> str:
    return f"{value:,.0f} unit{'' if round(value) == 1 else 's'}"


def _list(row: Mapping[str, Any], column: str) -> list[str]:
    try:
        found = json.loads(row[column])
    except (TypeError, ValueError) as error:
        raise BatonError(f"frame proposals: item {row['item']}: column {column} is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
        raise BatonError(f"frame proposals: item {row['item']}: column {column} is no JSON list of texts")
    return found


PROMPT = HERE / "prompts" / "inventory.md"
INVENTORY = AgentSpec("inventory", PROMPT, output=Advice, cases=cases, check=check, template=template, rules=rules)
