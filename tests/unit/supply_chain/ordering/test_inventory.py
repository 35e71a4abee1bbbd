"""Proposed orders: from forecast distribution and stock to packs of an item, and the errors on the way."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baton.errors import BatonError
from baton.families.forecast.paths import sample_paths
from baton_packs.supply_chain.ordering.inventory import PATHS, learn, past_demand, propose
from baton_packs.supply_chain.ordering.order_cost import levels
from baton_packs.supply_chain.ordering.policies import Budget


def stock(**on_hand: float) -> pd.DataFrame:
    return pd.DataFrame({"item": list(on_hand), "on_hand": list(on_hand.values())})


def why(row: pd.Series) -> list[str]:
    return json.loads(row["why"])


def test_the_order_fills_up_to_the_quantile_of_the_demand_over_lead_time_and_one_week(scored, policy) -> None:
    forecast = scored({"a": 1000.0}, cv=0.1)
    row = propose(forecast, stock(a=1500), {"a": policy(lead_time={2: 1.0})}, None, seed=1).iloc[0]
    demand = sample_paths(forecast, PATHS, 1)["a"][:, :3].sum(axis=1)
    assert (demand <= row["order_up_to"]).mean() >= 4.0 / 4.1
    assert (demand <= row["order_up_to"] - 1).mean() < 4.0 / 4.1
    assert row["quantity"] == row["order_up_to"] - 1500
    assert row["expected_demand"] == pytest.approx(3000, rel=0.02)
    assert row["stockout_without"] > 0.99
    assert row["stockout_with"] <= 0.05
    assert row["amount"] == row["quantity"] * 10.0


def test_an_uncertain_lead_time_needs_more_stock_than_its_mean(scored, policy) -> None:
    def up_to(lead_time: dict[int, float]) -> int:
        rows = propose(scored({"a": 100.0}), stock(a=0), {"a": policy(lead_time=lead_time)}, None, seed=1)
        return int(rows["order_up_to"].iloc[0])

    assert up_to({1: 1.0}) < up_to({2: 1.0}) < up_to({1: 0.5, 3: 0.5}) <= up_to({3: 1.0})


def test_open_orders_count_as_stock_but_cannot_prevent_an_early_stock_out(scored, policy) -> None:
    forecast, policies = scored({"a": 100.0}), {"a": policy(lead_time={3: 1.0})}
    alone = propose(forecast, stock(a=150), policies, None, seed=1).iloc[0]
    coming = pd.DataFrame({"item": ["a", "a"], "quantity": [200, 40], "due_week": [1, 2]})
    late = pd.DataFrame({"item": ["a"], "quantity": [240], "due_week": [3]})
    soon_row = propose(forecast, stock(a=150), policies, None, seed=1, open_orders=coming).iloc[0]
    late_row = propose(forecast, stock(a=150), policies, None, seed=1, open_orders=late).iloc[0]
    assert soon_row["quantity"] == late_row["quantity"] == alone["quantity"] - 240
    assert soon_row["position"] == 390
    assert soon_row["stockout_before_arrival"] < 0.05 < 0.95 < late_row["stockout_before_arrival"]
    assert "early" in why(late_row)


def test_packs_are_whole_and_the_minimum_holds(scored, policy) -> None:
    packed = propose(scored({"a": 100.0}), stock(a=190), {"a": policy(pack_size=48)}, None, seed=1).iloc[0]
    need = packed["order_up_to"] - packed["position"]
    assert packed["quantity"] % 48 == 0
    assert need <= packed["quantity"] < need + 48
    least = propose(scored({"a": 100.0}), stock(a=290), {"a": policy(pack_size=12, minimum_order=100)}, None, seed=1)
    assert least["quantity"].iloc[0] == 108
    assert "minimum order" in least["reasons"].iloc[0]
    enough = propose(scored({"a": 100.0}), stock(a=5000), {"a": policy(minimum_order=100)}, None, seed=1).iloc[0]
    assert enough["quantity"] == 0
    assert not enough["exceptional"]


def test_shelf_life_caps_what_a_minimum_order_drags_in(scored, policy) -> None:
    limits = {"lead_time": {1: 1.0}, "pack_size": 50}
    keeps = propose(scored({"a": 100.0}), stock(a=0), {"a": policy(minimum_order=400, **limits)}, None, seed=1).iloc[0]
    assert keeps["quantity"] == 400
    spoils = policy(minimum_order=400, shelf_life_weeks=2, **limits)
    none = propose(scored({"a": 100.0}), stock(a=0), {"a": spoils}, None, seed=1).iloc[0]
    assert none["quantity"] == 0
    assert why(none)[0] == "shelf_life"
    assert "risk" in why(none)
    large = policy(shelf_life_weeks=2, **limits | {"pack_size": 300})
    capped = propose(scored({"a": 100.0}), stock(a=0), {"a": large}, None, seed=1).iloc[0]
    assert capped["quantity"] == 300  # two packs are needed for 98 %, of which the second would spoil: 95 % need 360


def test_a_dead_item_is_not_ordered_and_other_kinds_are_exceptional(scored, policy) -> None:
    dead = propose(scored({"a": 5.0}, kind="dead"), stock(a=0), {"a": policy(minimum_order=50)}, None, seed=1).iloc[0]
    assert (dead["quantity"], why(dead)) == (0, ["kind"])
    for kind in ("new", "short", "intermittent"):
        row = propose(scored({"a": 5.0}, kind=kind), stock(a=0), {"a": policy()}, None, seed=1).iloc[0]
        assert row["quantity"] > 0
        assert "kind" in why(row)
        assert kind in row["reasons"]


def test_the_learned_factor_moves_the_order_and_says_so(scored, policy) -> None:
    forecast, policies = scored({"a": 100.0}), {"a": policy(pack_size=10)}
    plain = propose(forecast, stock(a=100), policies, None, seed=1).iloc[0]
    moved = propose(forecast, stock(a=100), policies, None, seed=1, learned={"a": 1.25}).iloc[0]
    assert moved["unlearned"] == plain["quantity"]
    assert 1.2 * plain["quantity"] <= moved["quantity"] <= 1.25 * plain["quantity"] + 10
    assert "learned" in why(moved)
    assert "learned" not in why(plain)


def test_learning_takes_the_median_of_the_last_reviews_and_keeps_its_bounds() -> None:
    def rows(item: str, decided: list[int], proposed: int = 100) -> pd.DataFrame:
        weeks = [f"2012-01-{day:02d}" for day in range(1, len(decided) + 1)]
        return pd.DataFrame({"item": item, "proposed": proposed, "decided": decided, "partition": weeks})

    changes = pd.concat(
        [rows("a", [90, 110, 120]), rows("few", [50, 50]), rows("low", [10, 20, 30]), rows("nothing", [5, 5, 5], 0),
         rows("turned", [50] * 10 + [110] * 8)]
    ).sample(frac=1.0, random_state=1)  # fmt: skip
    assert learn(changes) == pytest.approx({"a": 1.1, "low": 0.8, "turned": 1.1})
    with pytest.raises(BatonError, match=r"item a: .*negative"):
        learn(rows("a", [90, -1, 100]))


def test_demand_above_last_year_is_exceptional_and_a_season_is_not(scored, policy) -> None:
    forecast, policies = scored({"a": 300.0}), {"a": policy()}

    def said(recent: float, last_year: float) -> bool:
        past = pd.DataFrame({"item": ["a"], "recent_mean": [recent], "last_year": [last_year]})
        return "surge" in why(propose(forecast, stock(a=0), policies, None, seed=1, past=past).iloc[0])

    assert said(recent=290, last_year=150)
    assert not said(recent=100, last_year=280)  # as every year
    assert said(recent=100, last_year=np.nan)
    assert not said(recent=250, last_year=np.nan)


def test_past_demand_is_read_from_the_same_weeks() -> None:
    weeks = pd.date_range("2010-01-01", periods=60, freq="W-FRI")
    history = pd.DataFrame({"item": "a", "week": weeks, "units": np.arange(60.0)})
    history = pd.concat([history, pd.DataFrame({"item": "b", "week": weeks[-10:], "units": 5.0})])
    past = past_demand(history, 4, "item", "week", "units").set_index("item")
    # the next week is number 60: a year before it lie 8, 9, 10, 11
    assert past.loc["a"].tolist() == [np.arange(52, 60).mean(), np.mean([8, 9, 10, 11])]
    assert past.loc["b", "recent_mean"] == 5.0
    assert np.isnan(past.loc["b", "last_year"])


def test_the_budget_cuts_the_least_useful_packs_and_names_them(scored, policy) -> None:
    forecast = scored({"cheap": 100.0, "dear": 100.0})
    policies = {
        "cheap": policy("cheap", unit_cost=10.0, shortage_cost=1.0, pack_size=10),
        "dear": policy("dear", unit_cost=10.0, shortage_cost=9.0, pack_size=10),
    }
    free = propose(forecast, stock(cheap=0, dear=0), policies, None, seed=1).set_index("item")
    cut = propose(forecast, stock(cheap=0, dear=0), policies, Budget(amount=4000.0), seed=1).set_index("item")
    assert free["amount"].sum() > 4000
    assert cut["amount"].sum() <= 4000
    lost = free["quantity"] - cut["quantity"]
    assert lost["cheap"] > lost["dear"] >= 0
    assert "budget" in why(cut.loc["cheap"])
    assert f"{lost['cheap']:,} of {free.loc['cheap', 'quantity']:,} units are cut" in cut.loc["cheap", "reasons"]
    assert "risk" in why(cut.loc["cheap"])
    assert "budget" not in why(free.loc["cheap"])


def test_a_proposal_is_seeded_and_an_item_draws_alone(scored, policy) -> None:
    policies = {item: policy(item) for item in "abc"}
    three = propose(scored({"a": 90.0, "b": 50.0, "c": 20.0}), stock(a=1, b=2, c=3), policies, None, seed=4)
    again = propose(scored({"a": 90.0, "b": 50.0, "c": 20.0}), stock(a=1, b=2, c=3), policies, None, seed=4)
    pd.testing.assert_frame_equal(three, again)
    other = propose(scored({"a": 90.0, "b": 50.0, "c": 20.0}), stock(a=1, b=2, c=3), policies, None, seed=5)
    assert three["order_up_to"].tolist() != other["order_up_to"].tolist()


def test_the_simulations_first_level_is_the_proposals(scored, policy) -> None:
    forecast = scored({"a": 100.0})
    row = propose(forecast, stock(a=0), {"a": policy()}, None, seed=3).iloc[0]
    later = levels(sample_paths(forecast, PATHS, 3)["a"], policy(), 8, 3)
    assert later[0] == row["order_up_to"]
    assert len(later) == 8
    assert min(later) > 150  # the last weeks too: beyond the horizon demand goes on


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    on_hand=st.integers(0, 500), pack=st.integers(1, 60), least=st.integers(1, 300),
    shelf=st.none() | st.integers(1, 6), budget=st.none() | st.floats(1.0, 8000.0), factor=st.floats(0.8, 1.25),
)  # fmt: skip
def test_whatever_the_policy_an_order_is_one_that_the_supplier_accepts(
    scored, policy, on_hand: int, pack: int, least: int, shelf: int | None, budget: float | None, factor: float
) -> None:
    terms = policy(pack_size=pack, minimum_order=least, shelf_life_weeks=shelf)
    limit = None if budget is None else Budget(amount=budget)
    row = propose(scored({"a": 100.0}), stock(a=on_hand), {"a": terms}, limit, seed=1, learned={"a": factor}).iloc[0]
    assert row["quantity"] % pack == 0
    assert row["quantity"] == 0 or row["quantity"] >= least
    assert budget is None or row["amount"] <= budget
    assert row["stockout_with"] <= row["stockout_without"]
    assert row["exceptional"] == bool(why(row))


@pytest.mark.parametrize(
    ("held", "message"),
    [({"a": -3}, "item a: stock below zero.*count it"), ({}, "item a: no stock row"), ({"a": float("nan")}, "item a: .*missing"),
     ({"a": 1, "z": 1}, "item z: stock but no forecast.*unknown item")],
)  # fmt: skip
def test_bad_stock_names_the_item_and_what_to_do(scored, policy, held: dict[str, float], message: str) -> None:
    with pytest.raises(BatonError, match=message):
        propose(scored({"a": 10.0}), stock(**held), {"a": policy()}, None, seed=1)


def test_other_bad_input_names_the_item_too(scored, policy) -> None:
    forecast = scored({"a": 10.0})
    with pytest.raises(BatonError, match="item a: no policy"):
        propose(forecast, stock(a=1), {}, None, seed=1)
    with pytest.raises(BatonError, match="item a: more than one stock row"):
        propose(forecast, pd.concat([stock(a=1), stock(a=2)]), {"a": policy()}, None, seed=1)
    broken = forecast.assign(**{"q0.9": forecast["q0.9"].where(forecast["step"] != 3)})
    with pytest.raises(BatonError, match="item a: the forecast of step 3 is not a finite number"):
        propose(broken, stock(a=1), {"a": policy()}, None, seed=1)
    for item, quantity, week, message in (
        ("z", 1, 1, "item z: an open order but no policy"), ("a", 0, 1, "item a: an open order of 0 units"),
        ("a", 5, 0, "item a: an open order due in 0 weeks; book it"),
    ):  # fmt: skip
        late = pd.DataFrame({"item": [item], "quantity": [quantity], "due_week": [week]})
        with pytest.raises(BatonError, match=message):
            propose(forecast, stock(a=1), {"a": policy()}, None, seed=1, open_orders=late)
