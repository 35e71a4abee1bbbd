"""A discrete-event simulation (SimPy) of what becomes of an order: supplier, route, receiving, shelf, sales.

Time is counted in hours. A day of the warehouse: deliveries are received at 6, on the first day of a week the stock is
reviewed at 8, sales take what is there at 14 (first in, first out; what is missing is lost), at 22 what has expired is
thrown away and the stock counted. An order of a lead time of L weeks, placed at the review of week w, is therefore on the
shelf before the review of week w + L, unless the supplier is late, the route closed, or all its vehicles under way.

Everything random of a run (`Draws`) is drawn before it from its seed, never inside: alternatives of one run
meet the same demand, lead times and disruptions, so that their costs are compared pair by pair.
"""

import zlib
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from baton.errors import BatonError
from baton_packs.supply_chain.ordering.order_cost import lead_times, whole_packs
from baton_packs.supply_chain.ordering.policies import ItemPolicy

DAY, WEEK = 24, 168  # hours
RECEIVE, REVIEW, SELL, CLOSE = 6, 8, 14, 22  # o'clock
TRANSPORT = 2 * DAY  # the last part of a lead time; what is before it is the supplier's
_NEVER = 1 << 60  # hours
VEHICLES = 6  # shipments that a supplier's route carries at the same time


@dataclass(frozen=True)
class Scenario:
    """One kind of future. Each pair is the least and the most; a run draws between them."""

    weight: float  # share of the runs
    late: float = 0.0  # probability that the supplier is late with an order
    late_days: tuple[int, int] = (0, 0)
    spike: tuple[float, float] = (1.0, 1.0)  # demand is multiplied by it ...
    spike_weeks: tuple[int, int] = (0, 0)  # ... for so long
    closed_days: tuple[int, int] = (0, 0)  # the route lets nothing depart


SCENARIOS: dict[str, Scenario] = {
    "normal": Scenario(weight=0.70),
    "late_supplier": Scenario(weight=0.12, late=0.6, late_days=(4, 14)),
    "demand_spike": Scenario(weight=0.12, spike=(1.3, 2.0), spike_weeks=(1, 3)),
    "closed_route": Scenario(weight=0.06, closed_days=(7, 21)),
}


@dataclass(frozen=True)
class ItemPlan:
    """One item of a run: what is there, what is ordered now, and how it is ordered from next week on."""

    policy: ItemPolicy
    quantity: int  # units ordered at the first review
    on_hand: int  # units
    levels: Sequence[int]  # order-up-to level of each week's review, units; the first is not used
    express: bool = False  # the first order comes in the express lead time, whatever the supplier's state
    open_orders: Sequence[tuple[int, int]] = ()  # units, weeks until delivery (>= 1)


@dataclass(frozen=True)
class Draws:
    """All that is random for one item in one run."""

    scenario: str
    demand: np.ndarray  # units, shape (weeks, 7)
    lead: np.ndarray  # weeks, of an order placed in each week
    delay: np.ndarray  # days the supplier is late with it; a second half for open orders by the week they are due
    closed: tuple[int, int]  # hours from and until which the route is closed


@dataclass
class ItemOutcome:
    """What became of one item in one run; units and money over the horizon."""

    item: str
    scenario: str
    started: int = 0  # on hand at first
    received: int = 0
    sold: int = 0
    lost: int = 0
    expired: int = 0
    left: int = 0
    orders: int = 0
    holding_cost: float = 0.0
    shortage_cost: float = 0.0
    ordering_cost: float = 0.0
    expiry_cost: float = 0.0
    stock: list[int] = field(default_factory=list)  # on hand at the end of each week

    @property
    def cost(self) -> float:
        """All costs. Buying is not among them: what is left over keeps its value unless it expires."""
        return self.holding_cost + self.shortage_cost + self.ordering_cost + self.expiry_cost

    @property
    def fill_rate(self) -> float:
        """Share of the demand that was met; 1 without demand."""
        demand = self.sold + self.lost
        return self.sold / demand if demand else 1.0


def allocate(runs: int) -> list[str]:
    """The scenario of each run: every scenario has its share, and at least one run."""
    names = list(SCENARIOS)
    if runs < len(names):
        least = len(names)
        raise BatonError(f"{runs} runs are fewer than the {least} scenarios; simulate at least {least}, better 200")
    edges = np.round(np.cumsum([SCENARIOS[name].weight for name in names]) * (runs - len(names))).astype(int)
    counts = np.diff(edges, prepend=0) + 1
    return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]


def draw(policy: ItemPolicy, weekly: np.ndarray, scenario: str, seed: Sequence[int]) -> Draws:
    """Draws what is random for an item in a run; disruptions begin in the first half of the horizon.

    Args:
        weekly: demand of this run before its scenario, units a week, shape (weeks,).
        seed: of the run. The route's closure depends on it and the supplier only: items of one supplier share it.
    """
    kind, weeks = SCENARIOS[scenario], len(weekly)
    shared = np.random.default_rng([*seed, zlib.crc32(policy.supplier.encode())])
    rng = np.random.default_rng([*seed, zlib.crc32(policy.item.encode()), 1])
    begins = int(shared.integers(0, max(1, weeks // 2), endpoint=True)) * WEEK
    closed = int(shared.integers(*kind.closed_days, endpoint=True)) * DAY
    lead = lead_times(policy, weeks, rng)
    late = rng.random(2 * weeks) < kind.late
    delay = np.where(late, rng.integers(*kind.late_days, size=2 * weeks, endpoint=True), 0)
    start = int(rng.integers(0, max(1, weeks // 2), endpoint=True))
    factor = np.ones(weeks)
    factor[start : start + int(rng.integers(*kind.spike_weeks, endpoint=True))] = rng.uniform(*kind.spike)
    units = np.rint(np.maximum(weekly * factor, 0.0)).astype(np.int64)
    return Draws(scenario, rng.multinomial(units, np.full(7, 1 / 7)), lead, delay, (begins, begins + closed))


class _Route:
    """The way from a supplier: so many vehicles, and days on which nothing departs."""

    def __init__(self, env: simpy.Environment, closed: tuple[int, int], vehicles: int) -> None:
        self.env, self.closed = env, closed
        self.vehicles = simpy.Resource(env, capacity=vehicles)

    def carry(self) -> Generator[Any, Any, None]:
        """A shipment's transport, from the supplier's ramp to receiving at the warehouse."""
        with self.vehicles.request() as vehicle:
            yield vehicle
            if self.closed[0] <= self.env.now < self.closed[1]:
                yield self.env.timeout(self.closed[1] - self.env.now)
            yield self.env.timeout(TRANSPORT)
        late = (RECEIVE - self.env.now) % DAY  # nothing is received at another hour
        if late:
            yield self.env.timeout(late)


class _Store:
    """One item's shelf and its processes."""

    def __init__(self, env: simpy.Environment, plan: ItemPlan, draws: Draws, route: _Route) -> None:
        self.env, self.plan, self.draws, self.route = env, plan, draws, route
        self.policy = plan.policy
        self.life = None if self.policy.shelf_life_weeks is None else self.policy.shelf_life_weeks * WEEK
        self.batches: deque[list[int]] = deque()  # hour of expiry, units; the oldest first
        self.on_hand = self.coming = 0
        self.result = ItemOutcome(self.policy.item, draws.scenario, started=plan.on_hand)
        # how old the stock is that lies there is not known: half of its shelf life, in whole days
        self._shelve(plan.on_hand, None if self.life is None else -(-self.life // (2 * DAY)) * DAY)
        for quantity, week in plan.open_orders:
            self.coming += quantity
            env.process(self._open_order(quantity, week))
        env.process(self._days())

    def _shelve(self, quantity: int, life: int | None) -> None:
        if quantity:
            today = int(self.env.now) // DAY * DAY
            self.batches.append([_NEVER if life is None else today + life, quantity])
            self.on_hand += quantity

    def _receive(self, quantity: int) -> None:
        self.coming -= quantity
        self.result.received += quantity
        self._shelve(quantity, self.life)

    def _open_order(self, quantity: int, week: int) -> Generator[Any, Any, None]:
        """An open order: a late supplier and a closed route hold it up as any other."""
        weeks = len(self.draws.lead)
        delay = int(self.draws.delay[weeks + min(week, weeks) - 1])
        yield self.env.timeout(week * WEEK + RECEIVE - TRANSPORT + delay * DAY)
        yield from self.route.carry()
        self._receive(quantity)

    def _order(self, week: int, quantity: int, express: bool) -> Generator[Any, Any, None]:
        lead, delay = int(self.draws.lead[week]), int(self.draws.delay[week])
        if express and self.policy.express_lead is not None:
            lead, delay = self.policy.express_lead, 0
        yield self.env.timeout(lead * WEEK + RECEIVE - REVIEW - TRANSPORT + delay * DAY)
        yield from self.route.carry()
        self._receive(quantity)

    def _review(self, week: int) -> None:
        policy, express = self.policy, week == 0 and self.plan.express
        quantity = self.plan.quantity
        if week:
            need = self.plan.levels[week] - self.on_hand - self.coming
            quantity = whole_packs(max(need, policy.minimum_order), policy.pack_size) if need > 0 else 0
        if quantity:
            self.coming += quantity
            self.result.orders += 1
            extra = quantity * (policy.expedite_cost or 0.0) if express else 0.0
            self.result.ordering_cost += policy.order_cost + extra
            self.env.process(self._order(week, quantity, express))

    def _sell(self, demand: int) -> None:
        sold = want = min(demand, self.on_hand)
        while want:
            batch = self.batches[0]
            taken = min(want, batch[1])
            batch[1] -= taken
            want -= taken
            if not batch[1]:
                self.batches.popleft()
        self.on_hand -= sold
        self.result.sold += sold
        self.result.lost += demand - sold

    def _days(self) -> Generator[Any, Any, None]:
        """The warehouse's days, one after another."""
        policy, result = self.policy, self.result
        for day, demand in enumerate(self.draws.demand.ravel().tolist()):
            week, weekday = divmod(day, 7)
            yield self.env.timeout(day * DAY + REVIEW - self.env.now)
            if weekday == 0:
                self._review(week)
            yield self.env.timeout(SELL - REVIEW)
            self._sell(demand)
            yield self.env.timeout(CLOSE - SELL)
            while self.batches and self.batches[0][0] <= self.env.now + DAY - CLOSE:
                result.expired += self.batches[0][1]
                self.on_hand -= self.batches.popleft()[1]
            result.holding_cost += self.on_hand * policy.holding_cost / 7
            if weekday == 6:
                result.stock.append(self.on_hand)
        result.left = self.on_hand
        result.shortage_cost = result.lost * policy.shortage_cost
        result.expiry_cost = result.expired * policy.unit_cost


def simulate(plans: Sequence[ItemPlan], draws: Sequence[Draws], vehicles: int = VEHICLES) -> list[ItemOutcome]:
    """One run of one or several items; those of one supplier share its route.

    Args:
        plans: what is done; one per item.
        draws: what happens to each of them, from `draw`, all over the same number of weeks.
        vehicles: shipments that a route carries at the same time.

    Returns:
        an outcome per plan. Units in equal units out: `started + received == sold + expired + left`.
    """
    env = simpy.Environment()
    routes: dict[str, _Route] = {}
    stores = []
    for plan, drawn in zip(plans, draws, strict=True):
        _check(plan, len(drawn.demand))
        route = routes.setdefault(plan.policy.supplier, _Route(env, drawn.closed, vehicles))
        stores.append(_Store(env, plan, drawn, route))
    env.run(until=max(len(drawn.demand) for drawn in draws) * WEEK)
    return [store.result for store in stores]


def _check(plan: ItemPlan, weeks: int) -> None:
    item = plan.policy.item
    if plan.on_hand < 0 or plan.quantity < 0:
        raise BatonError(f"item {item}: stock below zero or a negative order cannot be simulated; correct the stock")
    if len(plan.levels) < weeks:
        what = f"item {item}: {len(plan.levels)} order-up-to levels for {weeks} simulated weeks"
        raise BatonError(f"{what}; give one per week")
    if any(week < 1 for _, week in plan.open_orders):
        raise BatonError(f"item {item}: an open order that is due already; book it into stock before simulating")
    if plan.express and plan.policy.express_lead is None:
        raise BatonError(f"item {item}: express delivery is not offered; set expedite_cost in its policy")
