"""Proposed orders, from forecast distribution and stock: order-up-to levels, packs, shelf life, budget.

An order placed at today's review must last until the order of the next review arrives: its lead time plus one
week. The order-up-to level is the quantile `ItemPolicy.target` of the demand over that time, where both
the demand (joint paths of the forecast) and the lead time are drawn. Ordered is what the inventory position (on hand
plus open orders) lacks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.families.forecast.paths import sample_paths
from baton_packs.supply_chain.ordering.order_cost import (
    Block,
    blocks,
    cut_to_budget,
    demand_of,
    item_rng,
    lead_times,
    level,
    sells,
    whole_packs,
)
from baton_packs.supply_chain.ordering.policies import Budget, ItemPolicy

PATHS = 2000  # demand paths per item: the 99 % quantile rests on 20 of them
SURGE = 1.5  # demand expected above so many times last year's (the recent mean without one) is exceptional
SLACK = 0.005  # a stock-out probability that misses its target by less is sampling noise
LEARNED = (0.8, 1.25)  # people's habit may move an order by so much
REVIEWED, LAST = 3, 8  # fewest reviewed orders to learn from, and how many of the last count


@dataclass
class _Order:
    """One item's order while it is made."""

    item: str
    kind: str
    policy: ItemPolicy
    on_hand: int
    position: int
    demand: np.ndarray  # samples over lead time and one week
    lead: np.ndarray  # the lead time of each
    paths: np.ndarray
    open_orders: pd.DataFrame
    quantity: int = 0
    unlearned: int = 0
    up_to: int = 0
    reasons: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def say(self, sentence: str, why: str | None = None) -> None:
        self.reasons.append(sentence)
        if why is not None:
            self.why.append(why)


def propose(
    scored: pd.DataFrame,
    stock: pd.DataFrame,
    policies: Mapping[str, ItemPolicy],
    budget: Budget | None,
    *,
    seed: int,
    open_orders: pd.DataFrame | None = None,
    learned: Mapping[str, float] | None = None,
    past: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Proposes this week's order of each item.

    Args:
        scored: scored frame of the forecast model, weekly, units; step 1 is the week that begins now.
        stock: `item`, `on_hand` (units >= 0), one row per item of `scored`.
        policies: item -> policy.
        budget: of all orders together; None: unlimited.
        seed: of demand paths and lead times; each item has its own stream, whatever other items there are.
        open_orders: `item`, `quantity` (units > 0), `due_week` (weeks from now until delivery, >= 1).
        learned: item -> factor from `learn`.
        past: from `past_demand`; without it no demand is called exceptional.

    Returns:
        one row per item, sorted: `item`, `supplier`, `kind`, `quantity` (units), `unlearned` (units, the order
        before learned factor and budget), `amount` (money), `order_up_to`, `position`, `on_hand`, `expected_demand`
        (units over lead time and one week), `stockout_without`, `stockout_with` (probability that demand over that
        time exceeds position, position and order), `stockout_before_arrival` (probability that stock runs out before
        an order of today can arrive), `reasons` (JSON list of sentences), `exceptional`, `why` (JSON list out of
        budget, surge, risk, early, shelf_life, kind, learned).

    Raises:
        BatonError: stock below zero, an item without stock, forecast or policy, non-finite forecasts, an
            open order that is already due; names the item and what to do.
    """
    _check(scored, stock, policies)
    due = _due(open_orders, set(policies))
    paths = sample_paths(scored, PATHS, seed)
    kinds = scored.groupby("series")["kind"].first()
    on_hand = stock.set_index("item")["on_hand"]
    known = past if past is not None else pd.DataFrame(columns=["item", "recent_mean", "last_year"])
    before = known.set_index("item")[["recent_mean", "last_year"]].astype(float)
    orders = []
    for item in sorted(paths):
        mine = due[due["item"] == item]
        lead = lead_times(policies[item], PATHS, item_rng(item, seed))
        order = _Order(
            item, str(kinds[item]), policies[item], int(on_hand[item]), int(on_hand[item] + mine["quantity"].sum()),
            demand_of(paths[item], 0, lead + 1), lead, paths[item], mine,
        )  # fmt: skip
        _size(order, (learned or {}).get(item, 1.0))
        if item in before.index:
            _surge(order, *before.loc[item])
        orders.append(order)
    if budget is not None:
        _keep_budget(orders, budget)
    return pd.DataFrame([_row(order) for order in orders])


def _size(order: _Order, factor: float) -> None:
    """Need, learned factor, packs, minimum and shelf life of one item."""
    policy = order.policy
    if order.kind == "dead":
        order.say("nothing has been sold for so long that the series counts as dead: nothing is ordered", "kind")
        return
    order.up_to = level(order.demand, policy.target)
    order.say(
        f"{order.up_to:,} units cover the demand over lead time and one week with {policy.target:.1%}; "
        f"{order.position:,} are on hand or on order"
    )
    if order.kind != "regular":
        order.say(f"the series is {order.kind}: its forecast is less certain than others", "kind")
    need = max(0, order.up_to - order.position)
    order.unlearned = _fitted(order, need, [])
    said: list[tuple[str, str | None]] = []
    order.quantity = _fitted(order, need * factor, said)
    if order.quantity != order.unlearned:
        change = f"factor {factor:.2f}, {order.quantity:,} instead of {order.unlearned:,} units"
        order.say(f"people changed the last orders of this item: {change}", "learned")
    for sentence, why in said:
        order.say(sentence, why)


def _fitted(order: _Order, need: float, said: list[tuple[str, str | None]]) -> int:
    """The need as an order the supplier accepts and the shelf life allows; `said` collects (sentence, why)."""
    policy = order.policy
    if need <= 0:
        return 0
    quantity = whole_packs(need, policy.pack_size)
    if policy.pack_size > 1:
        said.append((f"rounded up to {quantity // policy.pack_size:,} packs of {policy.pack_size:,}", None))
    if quantity < policy.minimum_order:
        quantity = whole_packs(policy.minimum_order, policy.pack_size)
        said.append((f"raised to {quantity:,} units for the minimum order of {policy.minimum_order:,}", None))
    room = sells(order.paths, policy, order.lead) - order.position
    if quantity <= room:
        return quantity
    most = max(0, int(room)) // policy.pack_size * policy.pack_size
    after = f"after {policy.shelf_life_weeks} weeks"
    if most < policy.minimum_order:
        said.append((f"not even the minimum order sells before it expires {after}", "shelf_life"))
        return 0
    said.append((f"capped at {most:,} units: more hardly sell before they expire {after}", "shelf_life"))
    return most


def _surge(order: _Order, recent_mean: float, last_year: float) -> None:
    """Demand well above last year's; above the recent mean only where there is no last year: a season is none."""
    weekly = float(order.paths.mean())
    usual, name = (last_year, "last year's") if last_year > 0 else (recent_mean, "the recent weeks'")  # NaN: not known
    if usual > 0 and weekly > SURGE * usual:
        order.say(f"{weekly:,.0f} units a week are expected, {weekly / usual:.1f} times {name} {usual:,.0f}", "surge")


def _keep_budget(orders: list[_Order], budget: Budget) -> None:
    """Cuts the packs that spare least per money, and says so in each row."""
    parts = {order.item: blocks(order.demand, order.position, order.quantity, order.policy) for order in orders}
    total = sum(order.quantity * order.policy.unit_cost for order in orders)
    cuts: dict[str, list[Block]] = cut_to_budget(parts, budget.amount)
    for order in orders:
        if order.item not in cuts:
            continue
        units = sum(block.units for block in cuts[order.item])
        spared, money = sum(b.worth for b in cuts[order.item]), sum(b.amount for b in cuts[order.item])
        order.say(
            f"all orders together cost {total:,.2f}, above the budget of {budget.amount:,.2f}: {units:,} of "
            f"{order.quantity:,} units are cut; they would spare only {spared / money:.3f} per currency unit",
            "budget",
        )
        order.quantity -= units


def _row(order: _Order) -> dict[str, object]:
    policy = order.policy
    dead = order.kind == "dead"
    stock = order.position + order.quantity
    without, risk = float((order.demand > order.position).mean()), float((order.demand > stock).mean())
    early = _early(order)
    allowed = 1.0 - policy.service_level + SLACK
    if not dead and risk > allowed:
        order.say(f"the probability of a stock-out stays at {risk:.1%}, above {1 - policy.service_level:.1%}", "risk")
    if not dead and early > allowed:
        order.say(f"stock runs out with {early:.1%} before an order of today can arrive", "early")
    return {
        "item": order.item, "supplier": policy.supplier, "kind": order.kind, "quantity": order.quantity,
        "unlearned": order.unlearned, "amount": round(order.quantity * policy.unit_cost, 2), "order_up_to": order.up_to,
        "position": order.position, "on_hand": order.on_hand, "expected_demand": float(order.demand.mean()),
        "stockout_without": without, "stockout_with": risk, "stockout_before_arrival": early,
        "reasons": json.dumps(order.reasons, ensure_ascii=False), "exceptional": bool(order.why), "why": json.dumps(order.why),
    }  # fmt: skip


def _early(order: _Order) -> float:
    """Probability that the demand of some week before delivery finds less stock than it needs."""
    weeks = int(order.lead.max())
    arrives = np.zeros(weeks)
    for quantity, week in zip(order.open_orders["quantity"], order.open_orders["due_week"], strict=True):
        if week < weeks:
            arrives[int(week)] += quantity
    demand = np.stack([demand_of(order.paths, 0, np.full(PATHS, week + 1)) for week in range(weeks)], axis=1)
    out = demand > order.on_hand + np.cumsum(arrives)
    return float((out & (np.arange(weeks) < order.lead[:, None])).any(axis=1).mean())


def _check(scored: pd.DataFrame, stock: pd.DataFrame, policies: Mapping[str, ItemPolicy]) -> None:
    items, held = set(scored["series"]), set(stock["item"])
    for missing, what in (
        (items - set(policies), "no policy; add one to the pack's policies or take its sales out of the flow"),
        (items - held, "no stock row; deliver its stock on hand, 0 if there is none"),
        (held - items, "stock but no forecast; an unknown item: correct its name, or deliver its sales"),
    ):
        if missing:
            raise BatonError(f"item {', '.join(sorted(map(str, missing)))}: {what}")
    twice = stock.loc[stock["item"].duplicated(), "item"]
    if len(twice):
        raise BatonError(f"item {twice.iloc[0]}: more than one stock row; deliver one per item")
    for item, on_hand in zip(stock["item"], stock["on_hand"], strict=True):
        if not np.isfinite(on_hand):
            raise BatonError(f"item {item}: stock on hand is missing; deliver it, 0 if there is none")
        if on_hand < 0:
            raise BatonError(f"item {item}: stock below zero ({on_hand:g}); count it and deliver the corrected stock")
    numbers = [name for name in scored.columns if name == "score" or (name[0] == "q" and name[1:2].isdigit())]
    bad = ~np.isfinite(scored[numbers].to_numpy(dtype=float)).all(axis=1)
    if bad.any():
        row = scored[bad].iloc[0]
        raise BatonError(
            f"item {row['series']}: the forecast of step {row['step']} is not a finite number; "
            "train the model again or look at the item's sales"
        )


def _due(open_orders: pd.DataFrame | None, known: set[str]) -> pd.DataFrame:
    if open_orders is None or open_orders.empty:
        return pd.DataFrame(columns=["item", "quantity", "due_week"]).astype({"quantity": int, "due_week": int})
    for item, quantity, week in open_orders[["item", "quantity", "due_week"]].itertuples(index=False):
        if item not in known:
            what = f"item {item}: an open order but no policy"
            raise BatonError(f"{what}; an unknown item: correct its name or close the order")
        if not quantity > 0:
            raise BatonError(f"item {item}: an open order of {quantity:g} units; close it or correct the quantity")
        if not week >= 1:
            raise BatonError(
                f"item {item}: an open order due in {week:g} weeks; book it into stock if it has come, else give the "
                "weeks until it is now expected, at least 1"
            )
    return open_orders


def learn(changes: pd.DataFrame) -> dict[str, float]:
    """How people habitually change an item's orders: the median of decided / proposed over the last reviewed ones.

    Args:
        changes: `item`, `proposed` and `decided` (units), `partition` (sortable), one row per reviewed order.
            `proposed` is the column `unlearned` of `propose`: against a quantity that contains the factor already,
            an accepted correction would undo itself.

    Returns:
        item -> factor from 0.8 to 1.25, for items with at least 3 reviewed orders above 0 among the last 8.

    Raises:
        BatonError: a quantity is missing or negative.
    """
    factors = {}
    for item, rows in changes.sort_values("partition", kind="stable").groupby("item"):
        if not (rows[["proposed", "decided"]] >= 0).all(axis=None):
            raise BatonError(f"item {item}: a reviewed order with a missing or negative quantity; correct the feedback")
        rows = rows.tail(LAST)
        rows = rows[rows["proposed"] > 0]  # of an order of nothing there is no ratio
        if len(rows) >= REVIEWED:
            factors[str(item)] = float(np.clip((rows["decided"] / rows["proposed"]).median(), *LEARNED))
    return factors


def past_demand(history: pd.DataFrame, horizon: int, item: str, time: str, units: str) -> pd.DataFrame:
    """What was sold lately and a year before the weeks that are forecast, for `propose`.

    Args:
        history: one row per item and week in `item`, `time`, `units` (units or null).
        horizon: weeks that are forecast.

    Returns:
        `item`, `recent_mean` (units a week over the last 8 weeks), `last_year` (over the same weeks of the year before,
        NaN unless all of them are known).
    """
    rows = []
    for name, sales in history.dropna(subset=[units]).sort_values(time).groupby(item):
        last = sales[time].max()
        ago = (last - sales[time]) / pd.Timedelta(weeks=1)
        year = sales.loc[(ago < 52) & (ago >= 52 - horizon), units]
        mean = float(year.mean()) if len(year) == horizon else np.nan
        rows.append({"item": name, "recent_mean": float(sales[units].tail(8).mean()), "last_year": mean})
    return pd.DataFrame(rows, columns=["item", "recent_mean", "last_year"])
