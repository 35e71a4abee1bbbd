"""Expected cost of stock and the cut to a budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baton_packs.supply_chain.ordering.order_cost import (
    Block,
    blocks,
    cut_to_budget,
    demand_of,
    expected_cost,
    extend,
    level,
    whole_packs,
)

SAMPLE = np.random.default_rng(1).gamma(9.0, 11.0, 3000)


def test_expected_cost_is_the_mean_over_the_samples_and_least_at_the_critical_ratio(policy) -> None:
    terms = policy(shortage_cost=3.0, holding_cost=1.0, service_level=0.5)
    stock = np.arange(0.0, 300.0, 10.0)
    gap = SAMPLE[:, None] - stock[None, :]
    direct = (3.0 * np.maximum(gap, 0) + 1.0 * np.maximum(-gap, 0)).mean(axis=0)
    assert expected_cost(SAMPLE, stock, terms) == pytest.approx(direct)
    fine = np.arange(0.0, 300.0)
    cheapest = fine[np.argmin(expected_cost(SAMPLE, fine, terms))]
    assert abs(cheapest - level(SAMPLE, terms.target)) <= 1


def test_demand_beyond_the_forecast_goes_on_like_its_last_week() -> None:
    paths = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert extend(paths, 5).tolist() == [[1, 2, 3, 3, 3], [4, 5, 6, 6, 6]]
    assert demand_of(paths, 1, np.array([2, 4])).tolist() == [5.0, 5 + 6 + 6 + 6]


def test_the_parts_of_an_order_add_up_and_each_is_worth_less_than_the_one_before(policy) -> None:
    parts = blocks(SAMPLE, 20, 204, policy(pack_size=12, minimum_order=50))
    assert [part.units for part in parts] == [60] + [12] * 12
    each = [part.worth / part.units for part in parts]
    assert all(a >= b - 1e-9 for a, b in pairwise(each))
    assert blocks(SAMPLE, 20, 0, policy()) == []


def test_the_least_useful_part_goes_first_and_what_still_fits_comes_back() -> None:
    orders = {
        "a": [Block(10, 100.0, 900.0), Block(10, 100.0, 50.0)],
        "b": [Block(500, 5000.0, 5000.0)],
        "c": [Block(1, 20.0, 30.0), Block(1, 20.0, 2.0)],
    }
    assert cut_to_budget(orders, 5240.0) == {}
    assert cut_to_budget(orders, 5230.0) == {"c": [Block(1, 20.0, 2.0)]}
    # b is given up whole, and then the parts cut before it fit again
    assert set(cut_to_budget(orders, 400.0)) == {"b"}
    assert cut_to_budget(orders, 30.0) == {
        "c": [Block(1, 20.0, 2.0)], "a": orders["a"][::-1], "b": orders["b"],
    }  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(1, 6)), min_size=1, max_size=6),
    st.floats(0.5, 400.0),
)
def test_a_budget_is_kept_and_no_single_cut_part_would_still_fit(
    items: list[tuple[int, int, int]], budget: float
) -> None:
    orders = {
        str(n): [Block(1, float(cost), worth / (k + 1)) for k in range(count)]
        for n, (cost, worth, count) in enumerate(items)
    }
    gone = cut_to_budget(orders, budget)
    kept = {item: len(parts) - len(gone.get(item, [])) for item, parts in orders.items()}
    spent = sum(sum(part.amount for part in orders[item][:count]) for item, count in kept.items())
    assert spent <= budget + 1e-6
    for item, parts in gone.items():
        assert parts == orders[item][kept[item] :][::-1]  # from the end
        assert spent + parts[-1].amount > budget


def test_rounding_up_does_not_add_a_pack_for_noise() -> None:
    assert whole_packs(24.0000000001, 12) == 24
    assert whole_packs(24.1, 12) == 36
    assert whole_packs(0, 12) == 0
