"""The logistics simulation: no unit appears or vanishes, and each disruption does what its name says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baton.errors import BatonError
from baton_packs.supply_chain.ordering.logistics import (
    SCENARIOS,
    Draws,
    ItemOutcome,
    ItemPlan,
    allocate,
    draw,
    simulate,
)


def quiet(weeks: int, daily: int, lead: int = 1) -> Draws:
    """Constant demand, nothing late, nothing closed."""
    return Draws("normal", np.full((weeks, 7), daily), np.full(weeks, lead), np.zeros(2 * weeks, dtype=int), (0, 0))


def run(plan: ItemPlan, draws: Draws) -> ItemOutcome:
    return simulate([plan], [draws])[0]


def test_a_quiet_run_is_as_computed_by_hand(policy) -> None:
    # 10 a day; 100 on hand, 70 ordered now arrive after a week, then nothing is ordered any more
    terms = policy(holding_cost=0.7, shortage_cost=2.0, order_cost=5.0)
    got = run(ItemPlan(terms, 70, 100, [0] * 3), quiet(3, 10))
    assert (got.received, got.sold, got.lost, got.left, got.orders) == (70, 170, 40, 0, 1)
    assert got.stock == [30, 30, 0]
    assert got.holding_cost == pytest.approx(0.1 * (sum(range(30, 100, 10)) + sum(range(30, 100, 10)) + 20 + 10 + 0))
    assert got.cost == pytest.approx(got.holding_cost + 2.0 * 40 + 5.0)
    assert got.fill_rate == pytest.approx(170 / 210)


def test_reviews_order_up_to_the_level_in_packs_and_count_what_is_coming(policy) -> None:
    terms = policy(pack_size=12, minimum_order=24)
    got = run(ItemPlan(terms, 0, 140, [0, 150, 150, 150], open_orders=((30, 2),)), quiet(4, 10))
    # week 1: 70 on hand, 30 coming, 50 lack: 60; week 2: 0 + 30 + 60 there, 60 lack: 60; week 3: 20 + 60, 70 lack: 72
    assert got.orders == 3
    assert got.received == 30 + 60 + 60
    assert got.stock[:2] == [70, 0]


def test_expiry_is_first_in_first_out_and_costs_what_the_units_cost(policy) -> None:
    terms = policy(shelf_life_weeks=2, unit_cost=3.0)
    got = run(ItemPlan(terms, 100, 100, [0] * 5), quiet(5, 5))
    # 100 on hand expire after a week (35 sold); 100 come then and expire after two more (70 sold)
    assert (got.sold, got.expired, got.lost) == (35 + 70, 65 + 30, 5 * 35 - 105)
    assert got.stock == [0, 65, 0, 0, 0]
    assert got.expiry_cost == 95 * 3.0
    assert run(ItemPlan(policy(), 100, 100, [0] * 5), quiet(5, 5)).expired == 0


def test_an_express_order_comes_early_and_costs_extra(policy) -> None:
    terms = policy(lead_time={3: 1.0}, expedite_cost=0.5, order_cost=10.0)
    plan = ItemPlan(terms, 70, 70, [0] * 4)
    slow, fast = run(plan, quiet(4, 10, lead=3)), run(replace(plan, express=True), quiet(4, 10, lead=3))
    assert slow.stock == [0, 0, 0, 0]
    assert fast.stock == [0, 0, 0, 0]
    assert (slow.ordering_cost, fast.ordering_cost) == (10.0, 10.0 + 35.0)
    halved = ItemPlan(terms, 70, 140, [0] * 4)
    assert run(replace(halved, express=True), quiet(4, 10, lead=3)).stock == [70, 0, 0, 0]
    assert run(replace(halved, express=True), quiet(3, 10, lead=3)).lost == 0
    assert run(halved, quiet(3, 10, lead=3)).lost == 70


def test_a_late_supplier_and_a_closed_route_delay_and_a_spike_empties_the_shelf(policy) -> None:
    plan = ItemPlan(policy(), 70, 80, [0] * 3)
    calm = quiet(3, 10)
    late = replace(calm, delay=np.array([5, 0, 0, 0, 0, 0]))
    closed = replace(calm, closed=(0, 10 * 24))
    assert (run(plan, calm).lost, run(plan, late).lost) == (60, 60 + 0)  # delayed, not lost: sold in the third week
    assert run(plan, calm).stock == [10, 10, 0]
    assert run(plan, late).stock == [10, 50, 0]
    assert run(plan, closed).stock == [10, 50, 0]
    assert run(plan, replace(calm, demand=calm.demand * 2)).lost > run(plan, calm).lost
    coming = ItemPlan(policy(), 0, 80, [0] * 3, open_orders=((70, 1),))
    assert run(coming, calm).stock == [10, 10, 0]
    assert run(coming, replace(calm, delay=np.array([0, 0, 0, 5, 0, 0]))).stock == [10, 50, 0]


@pytest.mark.parametrize("scenario", ["late_supplier", "demand_spike", "closed_route"])
def test_every_disruption_raises_shortage_on_paired_runs(policy, scenario: str) -> None:
    terms = policy()
    plan = ItemPlan(terms, 100, 110, [260] * 10)

    def lost(name: str) -> np.ndarray:
        return np.array([run(plan, draw(terms, np.full(10, 100.0), name, (7, seed))).lost for seed in range(60)])

    more = lost(scenario) - lost("normal")
    assert more.mean() > 5
    assert (more >= 0).mean() > 0.9


def test_vehicles_of_a_route_are_shared_by_a_suppliers_items(policy) -> None:
    plans = [ItemPlan(policy(item), 70, 70, [0] * 3) for item in "abc"]
    calm = [quiet(3, 10)] * 3
    assert [outcome.lost for outcome in simulate(plans, calm)] == [70, 70, 70]
    short = [outcome.stock[1] for outcome in simulate(plans, calm, vehicles=1)]
    assert short[0] == 0
    assert short[1] == 20  # its 48 hours begin when the first one's end
    assert short[2] == 40
    apart = [replace(plan, policy=policy(plan.policy.item, supplier=plan.policy.item)) for plan in plans]
    assert [outcome.stock[1] for outcome in simulate(apart, calm, vehicles=1)] == [0, 0, 0]


def test_draws_are_seeded_and_do_not_depend_on_the_plan(policy) -> None:
    weekly = np.full(8, 100.0)
    for scenario in SCENARIOS:
        one, two = (draw(policy(), weekly, scenario, (1, 2)) for _ in range(2))
        assert (one.demand == two.demand).all()
        assert (one.lead == two.lead).all()
        assert (one.delay == two.delay).all()
        assert one.closed == two.closed
    assert (draw(policy(), weekly, "normal", (1, 3)).demand != draw(policy(), weekly, "normal", (1, 2)).demand).any()
    calm, spiked = (draw(policy(), weekly, name, (1, 2)) for name in ("normal", "demand_spike"))
    assert calm.demand.sum() == 800
    assert spiked.demand.sum() > 800
    assert (calm.lead == spiked.lead).all()
    # a closed route is closed for all items of a supplier
    first, second = (draw(policy(item), weekly, "closed_route", (1, 2)) for item in "ab")
    assert first.closed == second.closed
    assert first.closed[1] - first.closed[0] >= 7 * 24
    assert (first.lead != second.lead).any() or (first.demand != second.demand).any()


def test_scenarios_are_shared_out_by_weight() -> None:
    assert sum(kind.weight for kind in SCENARIOS.values()) == pytest.approx(1.0)
    names = allocate(200)
    assert len(names) == 200
    assert {name: names.count(name) for name in SCENARIOS} == pytest.approx(
        {name: 200 * kind.weight for name, kind in SCENARIOS.items()}, abs=3
    )
    assert sorted(allocate(4)) == sorted(SCENARIOS)
    with pytest.raises(BatonError, match="fewer than the 4 scenarios"):
        allocate(3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    on_hand=st.integers(0, 400), quantity=st.integers(0, 400), up_to=st.integers(0, 600), shelf=st.none() | st.integers(1, 4),
    scenario=st.sampled_from(list(SCENARIOS)), seed=st.integers(0, 10_000), mean=st.floats(0.0, 200.0),
    coming=st.lists(st.tuples(st.integers(1, 100), st.integers(1, 9)), max_size=3),
)  # fmt: skip
def test_units_in_are_units_out(policy, on_hand, quantity, up_to, shelf, scenario, seed, mean, coming) -> None:
    terms = policy(shelf_life_weeks=shelf, pack_size=7, minimum_order=20)
    drawn = draw(terms, np.full(6, mean), scenario, (seed,))
    got = run(ItemPlan(terms, quantity, on_hand, [up_to] * 6, open_orders=tuple(coming)), drawn)
    assert got.started + got.received == got.sold + got.expired + got.left
    assert got.sold + got.lost == drawn.demand.sum()
    assert min(got.stock) >= 0
    assert len(got.stock) == 6
    assert got.stock[-1] == got.left
    assert 0.0 <= got.fill_rate <= 1.0


def test_what_cannot_be_simulated_is_refused(policy) -> None:
    for plan, message in (
        (ItemPlan(policy(), 1, -1, [0] * 3), "stock below zero"),
        (ItemPlan(policy(), 1, 1, [0] * 2), "2 order-up-to levels for 3"),
        (ItemPlan(policy(), 1, 1, [0] * 3, open_orders=((5, 0),)), "due already"),
        (ItemPlan(policy(), 1, 1, [0] * 3, express=True), "express delivery is not offered"),
    ):
        with pytest.raises(BatonError, match=f"item a: .*{message}"):
            run(plan, quiet(3, 10))
