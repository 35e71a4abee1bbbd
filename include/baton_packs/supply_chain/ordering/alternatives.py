"""Alternatives to an order, simulated against the same futures, and which of them is best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.families.forecast.paths import sample_paths
from baton_packs.supply_chain.ordering.inventory import PATHS
from baton_packs.supply_chain.ordering.logistics import ItemPlan, allocate, draw, simulate
from baton_packs.supply_chain.ordering.order_cost import levels, whole_packs
from baton_packs.supply_chain.ordering.policies import ItemPolicy

RUNS = 200
STEP = 0.25  # `more` and `less` differ from the proposal by such a share, at least by a pack
PROPOSED = "as_proposed"
_MEANS = ("holding_cost", "shortage_cost", "ordering_cost", "expiry_cost", "fill_rate")
_FAN = {"stock_p5": 0.05, "stock_p25": 0.25, "stock_p50": 0.5, "stock_p75": 0.75, "stock_p95": 0.95}


@dataclass(frozen=True)
class Alternative:
    """One way to order this week."""

    name: str  # as_proposed, less, more, wait, express
    quantity: int  # units
    express: bool
    amount: float  # money, with the extra cost of an express delivery
    text: str  # for people and for the agent


def alternatives(row: Mapping[Any, Any], policy: ItemPolicy) -> list[Alternative]:
    """The proposal and what else the supplier accepts: a quarter less or more, nothing, or the same express.

    Args:
        row: of `propose`; `item` and `quantity` are read.
    """
    proposed, pack = int(row["quantity"]), policy.pack_size
    least = whole_packs(policy.minimum_order, pack)
    step = max(pack, whole_packs(STEP * proposed, pack))
    offers = [(PROPOSED, proposed, False, f"order {proposed:,} units as proposed")]
    if proposed - step >= least:
        offers.append(("less", proposed - step, False, f"order {proposed - step:,} units, a quarter less"))
    more, why = max(least, proposed + step), "a quarter more" if proposed else "the smallest order"
    offers.append(("more", more, False, f"order {more:,} units, {why}"))
    if proposed:
        offers.append(("wait", 0, False, "order nothing this week"))
    if proposed and policy.express_lead is not None:
        weeks = "a week" if policy.express_lead == 1 else f"{policy.express_lead} weeks"
        offers.append(("express", proposed, True, f"order {proposed:,} units express, delivered in {weeks}"))
    return [
        Alternative(name, units, express, round(units * (policy.unit_cost + (policy.expedite_cost or 0.0) * express), 2), text)
        for name, units, express, text in offers
    ]  # fmt: skip


def simulate_alternatives(
    row: Mapping[Any, Any],
    scored: pd.DataFrame,
    policy: ItemPolicy,
    *,
    seed: int,
    open_orders: Iterable[Sequence[int]] = (),
    runs: int = RUNS,
    weeks: int | None = None,
) -> pd.DataFrame:
    """Simulates every alternative of one item's order over the same seeded futures.

    Args:
        row: of `propose`; `item`, `on_hand` and `quantity` are read.
        scored: the scored frame; only the item's rows are used.
        seed: of paths, lead times and disruptions; the one given to `propose` gives the same order-up-to level.
        open_orders: (units, weeks until delivery) of the item.
        runs: futures, at least 4; shared out over `SCENARIOS` by weight.
        weeks: simulated; None: as many as are forecast.

    Returns:
        one row per alternative and run: `item`, `alternative`, `quantity`, `amount`, `text`, `scenario`, `run`,
        `cost`, its parts `holding_cost`, `shortage_cost`, `ordering_cost`, `expiry_cost` (money), `fill_rate`,
        `started`, `received`, `sold`, `lost`, `expired`, `left` (units), `orders`, `stock` (list, on hand at the end
        of each week).

    Raises:
        BatonError: the item has no forecast, or stock and orders that cannot be.
    """
    item = str(row["item"])
    mine = scored[scored["series"] == item]
    if mine.empty:
        raise BatonError(f"item {item}: no forecast to simulate with; score the item first")
    paths = sample_paths(mine, max(PATHS, runs), seed)[item]
    weeks = weeks or paths.shape[1]
    if weeks > paths.shape[1]:
        what = f"item {item}: {weeks} weeks to simulate, {paths.shape[1]} are forecast"
        raise BatonError(f"{what}; raise the model's horizon")
    up_to = levels(paths, policy, weeks, seed)
    offers = alternatives(row, policy)
    coming = tuple((int(units), int(week)) for units, week in open_orders)
    plans = [ItemPlan(policy, offer.quantity, int(row["on_hand"]), up_to, offer.express, coming) for offer in offers]
    rows = []
    for run, scenario in enumerate(allocate(runs)):
        drawn = draw(policy, paths[run, :weeks], scenario, (seed, run))
        for offer, plan in zip(offers, plans, strict=True):
            outcome = simulate([plan], [drawn])[0]
            named = {"alternative": offer.name, "quantity": offer.quantity, "amount": offer.amount, "text": offer.text}
            rows.append({**named, "run": run, "cost": outcome.cost, "fill_rate": outcome.fill_rate, **vars(outcome)})
    return pd.DataFrame(rows)


def summarise(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each alternative over the runs.

    Args:
        outcomes: from `simulate_alternatives`, of one or more items; each alternative over the same runs.

    Returns:
        one row per item and alternative: `quantity`, `amount`, `text`, `runs`, `cost_mean`, `cost_p5`, `cost_p95`, the
        means of the parts of the cost, `fill_rate`, `saving`, `saving_low`, `saving_high` (what it costs less than the
        proposal: mean over the pairs and its 95 % interval), `stock_p5` to `stock_p95` (lists by week),
        `by_scenario` (dict scenario -> cost_mean, fill_rate).
    """
    rows = []
    for item, mine in outcomes.groupby("item"):
        base = mine[mine["alternative"] == PROPOSED].set_index("run")["cost"]
        for name, runs in mine.groupby("alternative", sort=False):
            saved = (base - runs.set_index("run")["cost"]).to_numpy()
            margin = 1.96 * float(saved.std(ddof=1)) / math.sqrt(len(saved)) if len(saved) > 1 else math.inf
            stock = np.array(runs["stock"].tolist())
            scenarios = runs.groupby("scenario", sort=False)[["cost", "fill_rate"]].mean()
            first, saving = runs.iloc[0], float(saved.mean())
            rows.append({
                "item": item, "alternative": name, "quantity": int(first["quantity"]), "amount": float(first["amount"]),
                "text": first["text"], "runs": len(runs), "cost_mean": float(runs["cost"].mean()),
                "cost_p5": float(runs["cost"].quantile(0.05)), "cost_p95": float(runs["cost"].quantile(0.95)),
                **{part: float(runs[part].mean()) for part in _MEANS},
                "saving": saving, "saving_low": saving - margin, "saving_high": saving + margin,
                **{column: np.quantile(stock, share, axis=0).tolist() for column, share in _FAN.items()},
                "by_scenario": scenarios.rename(columns={"cost": "cost_mean"}).to_dict("index"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def best(summaries: pd.DataFrame, policy: ItemPolicy) -> pd.DataFrame:
    """One item's alternatives, the best first: cheapest of those whose fill rate keeps the service level.

    Those that miss it come behind, the highest fill rate first.

    Returns:
        the summaries with `rank` (from 1) and `keeps_service`.
    """
    mine = summaries[summaries["item"] == policy.item].copy()
    mine["keeps_service"] = mine["fill_rate"] >= policy.service_level
    within = mine["cost_mean"].where(mine["keeps_service"], -mine["fill_rate"])
    ranked = mine.iloc[np.lexsort((within, ~mine["keeps_service"]))].reset_index(drop=True)
    ranked["rank"] = range(1, len(ranked) + 1)
    return ranked
