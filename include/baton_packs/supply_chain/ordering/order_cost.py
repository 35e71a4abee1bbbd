"""Order cost: what a level of stock costs against a distribution of demand, and which packs a budget leaves out."""

import heapq
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from baton_packs.supply_chain.ordering.policies import ItemPolicy

SELLS = 0.95


class Block(NamedTuple):
    """Units of an order that stay or go together: a pack, or the packs that make up the minimum order."""

    units: int
    amount: float  # money
    worth: float  # expected cost that they spare: shortage less holding, money


def extend(paths: np.ndarray, weeks: int) -> np.ndarray:
    """Demand paths over at least `weeks` weeks: those beyond the forecast are like its last one.

    Args:
        paths: units, shape (n, horizon).
    """
    missing = weeks - paths.shape[1]
    return paths if missing <= 0 else np.hstack([paths, np.repeat(paths[:, -1:], missing, axis=1)])


def demand_of(paths: np.ndarray, first: int, weeks: np.ndarray) -> np.ndarray:
    """Demand of each path over its own number of weeks from week `first` on; shape (n,), units."""
    total = np.cumsum(np.hstack([np.zeros((len(paths), 1)), extend(paths, first + int(weeks.max(initial=0)))]), axis=1)
    return total[np.arange(len(paths)), first + weeks] - total[:, first]


def lead_times(policy: ItemPolicy, size: int, rng: np.random.Generator) -> np.ndarray:
    """Lead times in weeks drawn from the policy's distribution, shape (size,)."""
    weeks = np.array(list(policy.lead_time))
    shares = np.array(list(policy.lead_time.values()))
    return rng.choice(weeks, size=size, p=shares / shares.sum())


def level(demand: np.ndarray, target: float) -> int:
    """Smallest whole stock that covers the demand with probability `target`; demand: samples, shape (n,)."""
    return int(np.ceil(np.quantile(demand, target, method="inverted_cdf") - 1e-9))


def sells(paths: np.ndarray, policy: ItemPolicy, lead: np.ndarray, week: int = 0) -> float:
    """Stock beyond which an order of week `week` hardly sells before it expires; infinite if it keeps. Units.

    The 95 % quantile of the demand until expiry: a bound on what a pack or a minimum order drags in, not the aim.
    """
    if policy.shelf_life_weeks is None:
        return float("inf")
    return float(np.quantile(demand_of(paths, week, lead + policy.shelf_life_weeks), SELLS))


def levels(paths: np.ndarray, policy: ItemPolicy, weeks: int, seed: int) -> list[int]:
    """Order-up-to level of each of the next `weeks` reviews, units; the first is that of `propose`.

    Args:
        paths: demand paths, units, shape (n, horizon).
    """
    lead = lead_times(policy, len(paths), item_rng(policy.item, seed))
    needed = (level(demand_of(paths, week, lead + 1), policy.target) for week in range(weeks))
    return [int(min(units, sells(paths, policy, lead, week))) for week, units in enumerate(needed)]


def item_rng(item: str, seed: int) -> np.random.Generator:
    """An item's own random stream of lead times: the same whatever other items there are, and not that of its paths."""
    return np.random.default_rng([seed, zlib.crc32(item.encode()), zlib.crc32(b"lead time")])


def whole_packs(units: float, pack: int) -> int:
    """The units rounded up to whole packs."""
    return int(np.ceil(units / pack - 1e-9)) * pack


def expected_cost(demand: np.ndarray, stock: np.ndarray, policy: ItemPolicy) -> np.ndarray:
    """Expected shortage and holding cost of an order cycle for each level of stock; shape of `stock`, money."""
    sample = np.sort(demand)
    below = np.concatenate([[0.0], np.cumsum(sample)])
    covered = np.searchsorted(sample, stock, side="right")
    over = (stock * covered - below[covered]) / len(sample)
    short = over + sample.mean() - stock  # E(D - s)+ = E(s - D)+ + E(D) - s
    return policy.shortage_cost * short + policy.holding_cost * over


def blocks(demand: np.ndarray, position: int, quantity: int, policy: ItemPolicy) -> list[Block]:
    """The order in the parts in which it can be cut, the most useful part first.

    Expected cost is convex in the stock, so each further pack is worth less than the one before.
    """
    if quantity == 0:
        return []
    first = min(quantity, whole_packs(policy.minimum_order, policy.pack_size))
    steps = np.concatenate([[0], np.arange(first, quantity + 1, policy.pack_size)])
    worth = -np.diff(expected_cost(demand, position + steps.astype(float), policy))
    units = np.diff(steps)
    return [Block(int(u), float(u * policy.unit_cost), float(w)) for u, w in zip(units, worth, strict=True)]


def cut_to_budget(orders: Mapping[str, Sequence[Block]], budget: float) -> dict[str, list[Block]]:
    """Leaves out the parts that spare least per money until the rest costs no more than the budget.

    A part that was left out and fits into what the last cut freed comes back.

    Returns:
        item -> the parts cut, the least useful first; items that keep everything are not in it.
    """
    total = sum(block.amount for parts in orders.values() for block in parts)
    last = [(parts[-1].worth / parts[-1].amount, item, len(parts) - 1) for item, parts in orders.items() if parts]
    heapq.heapify(last)
    cut: list[tuple[str, int]] = []
    while total > budget + 1e-9 and last:
        _, item, index = heapq.heappop(last)
        total -= orders[item][index].amount
        cut.append((item, index))
        if index:
            before = orders[item][index - 1]
            heapq.heappush(last, (before.worth / before.amount, item, index - 1))
    gone: dict[str, list[Block]] = {}
    for item, index in reversed(cut):
        block = orders[item][index]
        if item not in gone and total + block.amount <= budget + 1e-9:
            total += block.amount
        else:
            gone.setdefault(item, []).insert(0, block)
    return gone
