"""Alternatives, their simulation over the same futures, and their ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import BatonError
from baton_packs.supply_chain.ordering.alternatives import alternatives, best, simulate_alternatives, summarise
from baton_packs.supply_chain.ordering.inventory import propose

ROW: dict[str, Any] = {"item": "a", "quantity": 240, "on_hand": 100}


def test_alternatives_are_orders_that_the_supplier_accepts(policy) -> None:
    terms = policy(pack_size=24, minimum_order=48, expedite_cost=0.5)
    offers = {offer.name: offer for offer in alternatives(ROW, terms)}
    assert {name: offer.quantity for name, offer in offers.items()} == {
        "as_proposed": 240, "less": 168, "more": 312, "wait": 0, "express": 240,
    }  # fmt: skip
    assert offers["express"].amount == 240 * 10.5
    assert offers["as_proposed"].amount == 2400.0
    assert [offer.express for offer in offers.values()] == [False] * 4 + [True]
    small = alternatives({**ROW, "quantity": 48}, terms)
    assert [(offer.name, offer.quantity) for offer in small] == [
        ("as_proposed", 48), ("more", 72), ("wait", 0), ("express", 48),
    ]  # fmt: skip
    nothing = alternatives({**ROW, "quantity": 0}, terms)
    assert [(offer.name, offer.quantity) for offer in nothing] == [("as_proposed", 0), ("more", 48)]
    assert "express" not in {offer.name for offer in alternatives(ROW, policy())}


@pytest.fixture(scope="module")
def study(scored, policy) -> tuple[pd.DataFrame, pd.DataFrame]:
    forecast, terms = scored({"a": 100.0}), policy(pack_size=10, expedite_cost=0.5)
    row = propose(forecast, pd.DataFrame({"item": ["a"], "on_hand": [120]}), {"a": terms}, None, seed=2).iloc[0]
    outcomes = simulate_alternatives(row, forecast, terms, seed=2, runs=60)
    return outcomes, summarise(outcomes)


def test_all_alternatives_meet_the_same_futures(study) -> None:
    outcomes, _ = study
    demand = (outcomes["sold"] + outcomes["lost"]).groupby(outcomes["run"])
    assert (demand.nunique() == 1).all()
    assert demand.first().nunique() > 30
    assert (outcomes.groupby("run")["scenario"].nunique() == 1).all()
    assert outcomes.groupby("alternative").size().unique().tolist() == [60]
    assert (
        outcomes["started"] + outcomes["received"] == outcomes["sold"] + outcomes["expired"] + outcomes["left"]
    ).all()


def test_a_study_is_reproducible_and_another_seed_is_another_study(scored, policy) -> None:
    forecast, terms = scored({"a": 100.0}), policy()
    one, two, other = (simulate_alternatives(ROW, forecast, terms, seed=seed, runs=8) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert not one["cost"].equals(other["cost"])


def test_summaries_are_those_of_the_runs_and_savings_are_paired(study) -> None:
    outcomes, summaries = study
    table = summaries.set_index("alternative")
    waited = outcomes[outcomes["alternative"] == "wait"]
    assert table.loc["wait", "cost_mean"] == pytest.approx(waited["cost"].mean())
    assert table.loc["wait", "cost_p95"] == pytest.approx(waited["cost"].quantile(0.95))
    assert table.loc["as_proposed", ["saving", "saving_low", "saving_high"]].tolist() == [0.0, 0.0, 0.0]
    saved = outcomes[outcomes["alternative"] == "as_proposed"]["cost"].to_numpy() - waited["cost"].to_numpy()
    assert table.loc["wait", "saving"] == pytest.approx(saved.mean())
    assert table.loc["wait", "saving_high"] < 0  # stock for a week, delivery takes longer: waiting is dear
    unpaired = np.sqrt(waited["cost"].var() + outcomes[outcomes["alternative"] == "more"]["cost"].var())
    assert saved.std() < unpaired
    fan = np.array(table.loc["as_proposed", ["stock_p5", "stock_p25", "stock_p50", "stock_p75", "stock_p95"]].tolist())
    assert fan.shape == (5, 8)
    assert (np.diff(fan, axis=0) >= 0).all()
    assert set(table.loc["wait", "by_scenario"]) == {"normal", "late_supplier", "demand_spike", "closed_route"}
    parts = table[["holding_cost", "shortage_cost", "ordering_cost", "expiry_cost"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(table["cost_mean"].to_numpy())


def test_the_best_is_the_cheapest_that_keeps_the_service_level(policy) -> None:
    summaries = pd.DataFrame(
        {
            "item": "a", "alternative": ["as_proposed", "more", "wait", "express"],
            "cost_mean": [100.0, 120.0, 50.0, 110.0], "fill_rate": [0.94, 0.97, 0.80, 0.96],
        }
    )  # fmt: skip
    ranked = best(pd.concat([summaries, summaries.assign(item="b", cost_mean=1.0)]), policy(service_level=0.95))
    assert ranked["alternative"].tolist() == ["express", "more", "as_proposed", "wait"]
    assert ranked["rank"].tolist() == [1, 2, 3, 4]
    assert ranked["keeps_service"].tolist() == [True, True, False, False]
    assert best(summaries, policy(service_level=0.75))["alternative"].iloc[0] == "wait"


def test_what_cannot_be_simulated_is_refused(scored, policy) -> None:
    forecast = scored({"a": 100.0}, horizon=4)
    with pytest.raises(BatonError, match="item z: no forecast"):
        simulate_alternatives({**ROW, "item": "z"}, forecast, policy("z"), seed=1)
    with pytest.raises(BatonError, match="item a: 6 weeks to simulate, 4 are forecast"):
        simulate_alternatives(ROW, forecast, policy(), seed=1, weeks=6)
