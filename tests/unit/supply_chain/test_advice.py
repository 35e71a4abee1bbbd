"""The inventory agent's facts, its policy and its template, without any model."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, get_args

import pandas as pd
import pytest
from pydantic import ValidationError

from baton.agents.case import AgentQuestion, Refused
from baton.agents.figures import foreign_numbers
from baton.errors import BatonError
from baton_packs.supply_chain.advice import INVENTORY, MARGIN, Advice, cases, check, template
from baton_packs.supply_chain.ordering import alternatives, inventory
from baton_packs.supply_chain.ordering import rules as ordering
from baton_packs.supply_chain.ordering.policies import Budget

TEXT = "The item needs 480 units. It stands out because the demand is high."


def proposal(item: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "item": item, "supplier": "north", "quantity": 480, "amount": 8160.0, "position": 1420, "expected_demand": 1512.3,
        "stockout_without": 0.312, "stockout_with": 0.081, "reasons": '["rounded up to 20 packs of 24"]',
        "exceptional": True, "why": '["surge"]', **changes,
    }  # fmt: skip


def offer(name: str, cost: float = 2400.0, keeps: bool = True, item: str = "a") -> dict[str, Any]:
    return {"item": item, "alternative": name, "text": f"order as {name}", "cost_mean": cost, "fill_rate": 0.97,
            "keeps_service": keeps}  # fmt: skip


def case(*offers: dict[str, Any], allowed: bool = True, **changes: Any) -> AgentQuestion:
    offered = pd.DataFrame([offer("as_proposed"), *offers])
    (made,) = cases(pd.DataFrame([proposal(**changes)]), offered, {"a": allowed})
    return made


def verdict(made: AgentQuestion, choice: str = "as_proposed", text: str = TEXT) -> Advice | Refused:
    return check(made, Advice(text=text, choice=choice))  # type: ignore[arg-type]


def test_only_exceptional_orders_are_cases_and_the_most_expensive_come_first() -> None:
    rows = [
        proposal("a", amount=1.0),
        proposal("b", amount=9.0),
        proposal("c", exceptional=False),
        proposal("d", amount=9.0),
    ]
    assert [one.key for one in cases(pd.DataFrame(rows), pd.DataFrame({"item": []}), {})] == ["b", "d", "a"]
    assert cases(pd.DataFrame(rows[2:3]), pd.DataFrame({"item": []}), {}) == []


def test_facts_hold_the_rows_numbers_as_they_are_to_be_written() -> None:
    facts = case(quantity=1480, expected_demand=1).facts
    assert (facts["order"], facts["cost"], facts["stock_out_probability_without_the_order"]) == (
        "1,480 units",
        "8,160.00",
        "31.2%",
    )
    assert facts["expected_demand_until_the_next_order_arrives"] == "1 unit"
    assert facts["how_the_order_came_about"] == ["rounded up to 20 packs of 24"]
    assert foreign_numbers("1,480 units for 8,160 in 20 packs, 31%.", facts) == []


def test_who_may_choose_sees_the_alternatives_and_no_name() -> None:
    may, may_not = case(offer("less")), case(offer("less"), allowed=False)
    assert [one["name"] for one in may.facts["alternatives"]] == ["as_proposed", "less"]
    assert (may.data, may_not.data) == ({}, {"name of the item": "a"})
    assert "alternatives" not in may_not.facts
    assert "terms" not in may.question()


def test_an_alternative_is_taken_only_as_policy_and_simulation_say() -> None:
    limit = 2400.0 * (1 + MARGIN)
    taken = verdict(case(offer("less", limit)), "less")
    assert isinstance(taken, Advice)
    assert taken.choice == "less"
    for made, reason in (
        (case(offer("less"), allowed=False), "choice that the item's policy does not allow"),
        (case(offer("more")), "alternative that was not simulated"),
        (case(offer("less", limit + 1)), "alternative that costs more than the proposal"),
        (case(offer("less", float("nan"))), "alternative that costs more than the proposal"),
        (case(offer("less", keeps=False)), "alternative that misses the service level"),
    ):
        assert verdict(made, "less") == Refused(reason, "less")


def test_an_unknown_proposal_cost_lets_nothing_pass() -> None:
    (made,) = cases(
        pd.DataFrame([proposal()]), pd.DataFrame([offer("as_proposed", float("inf")), offer("less")]), {"a": True}
    )
    assert verdict(made, "less") == Refused("alternative that costs more than the proposal", "less")
    (made,) = cases(pd.DataFrame([proposal()]), pd.DataFrame([offer("less")]), {"a": True})
    assert verdict(made, "less") == Refused("alternative that was not simulated", "less")


def test_a_text_is_two_plain_sentences() -> None:
    assert isinstance(verdict(case()), Advice)
    for text, reason in (
        (TEXT[:-1] + ". And a third one. ", None),
        ("Only one sentence here without an end", None),
        ("See <b>this</b> now. It is right as it stands.", None),
        ("A line.\nAnother line that is long enough.", None),
        ("x" * 501, None),
        (TEXT.replace("480 units. ", "480 units. Or not, as it may be. "), None),
        (TEXT.replace("480 units. ", "480 units! Or not. "), None),
        (TEXT.replace("high", "at https://evil"), "more than plain sentences"),
        (TEXT.replace("high", "\u202ehigh"), "more than plain sentences"),
        ("The order covers the demand. It stands out for reasons.", "no number of the facts"),
        (
            f"The 480 units are {'a product that is ' * 4}good. It stands out for it.",
            "a text that goes round in circles",
        ),
    ):
        if reason is None:
            with pytest.raises(ValidationError):
                Advice(text=text, choice="as_proposed")
        else:
            refused = verdict(case(), text=text)
            assert isinstance(refused, Refused)
            assert refused.reason == reason


def test_names_outside_the_simulated_ones_are_not_even_an_answer() -> None:
    with pytest.raises(ValidationError):
        Advice(text=TEXT, choice="order 99999")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Advice.model_validate({"text": TEXT, "choice": "less", "quantity": 99999})


def test_the_schema_knows_each_alternative_that_can_be_simulated(policy: Any) -> None:
    row = {"item": "a", "quantity": 480}
    made = {one.name for one in alternatives.alternatives(row, policy(expedite_cost=1.0, lead_time={2: 1.0}))}
    assert made == set(get_args(Advice.model_fields["choice"].annotation))


def reasons() -> list[str]:
    """What the inventory policy may say, by its own account."""
    listed = re.search(r"`why` \(JSON list out of\s([^)]+)\)", inspect.getdoc(inventory.propose) or "")
    assert listed
    return re.findall(r"\w+", listed[1])


def test_every_reason_of_the_inventory_policy_has_words() -> None:
    assert len(reasons()) > 3
    worded = case(why=json.dumps([*reasons(), "another"])).facts["why_it_stands_out"]
    assert worded[-1] == "another"
    assert not {*worded[:-1]} & {*reasons()}
    assert len(set(worded)) == len(worded)


@pytest.mark.parametrize("quantity", [0, 1, 480, 9_999_999])
def test_the_template_is_what_an_agent_might_have_answered(quantity: int) -> None:
    for first in reasons():
        for second in reasons():
            made = case(quantity=quantity, amount=quantity * 17.0, position=9_999_999, expected_demand=9_999_999.0,
                        stockout_without=1.0, stockout_with=1.0, why=json.dumps([*dict.fromkeys([first, second, "risk"])]))  # fmt: skip
            answer = template(made)
            assert check(made, answer) == answer
            assert foreign_numbers(answer.text, made.facts) == []
    assert template(case(why="[]")).text.count("it is marked so") == 1
    assert (quantity == 0) == template(made).text.startswith("No order is proposed")


def test_the_template_in_words() -> None:
    assert template(case()).text == (
        "480 units for 8,160.00 are proposed: 1,420 units are on hand or on order, and 1,512 units are expected to be needed "
        "until the next order arrives. The order stands out because much more demand is expected than usual; it brings the "
        "probability of a stock-out from 31.2% to 8.1%."
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{k: v for k, v in proposal().items() if k != "why"}], "frame proposals: column why is missing"),
        ([proposal(), proposal()], "item a stands there twice"),
        ([proposal(reasons="no json")], "item a: column reasons is no JSON"),
        ([proposal(why='{"a": 1}')], "item a: column why is no JSON list of texts"),
    ],
)
def test_frames_that_cannot_be_used_say_why(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BatonError, match=message):
        cases(pd.DataFrame(rows), pd.DataFrame([offer("as_proposed")]), {})
    with pytest.raises(BatonError, match="frame simulated: column cost_mean is missing"):
        cases(pd.DataFrame([proposal()]), pd.DataFrame([offer("x")]).drop(columns="cost_mean"), {})


def test_the_rules_are_the_packs_own() -> None:
    allowed = INVENTORY.rules()["allowed"]
    assert allowed == {item: policy.alternatives_allowed for item, policy in ordering.load().by_item.items()}
    assert set(allowed.values()) == {True, False}
    json.dumps(INVENTORY.state())


def test_real_proposals_and_simulations_are_what_the_agent_takes(scored: Any, policy: Any) -> None:
    terms = {"a": policy(alternatives_allowed=True), "b": policy("b")}
    stock = pd.DataFrame({"item": ["a", "b"], "on_hand": [20, 500]})
    forecast = scored({"a": 100.0, "b": 80.0})
    proposals = inventory.propose(forecast, stock, terms, Budget(amount=800.0), seed=1)
    row = proposals[proposals["item"] == "a"].iloc[0].to_dict()
    outcomes = alternatives.simulate_alternatives(row, forecast, terms["a"], seed=1, runs=8)
    ranked = alternatives.best(alternatives.summarise(outcomes), terms["a"])
    made = {one.key: one for one in cases(proposals, ranked, {"a": True})}
    assert set(made) == set(proposals.loc[proposals["exceptional"], "item"])
    assert "a" in made
    assert {one["name"] for one in made["a"].facts["alternatives"]} == set(ranked["alternative"])
    assert check(made["a"], template(made["a"])) == template(made["a"])
