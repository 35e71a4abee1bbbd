"""Budgets: what a stage may use up is reserved before it asks, and settled in its commit's transaction.

Reservations take turns, and each sees all that was used and all that others still may use: so however many stages run side
by side, a limit is exceeded at most by what a server takes above the bound of a call, and by the calls that were on their way when
their attempts were killed or lost their slots: one each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.governance.limits import EVERYWHERE
from baton.packs.pack import packs
from baton.record import warehouse
from baton.record.tables import heads, reservations, usage
from baton.specs.budgets import ENDS
from baton.usage import raises
from baton.usage.raises import DeclaredBudget
from baton.usage.used import NO_SLOT, Consumer

Amounts = Mapping[str, float]  # by unit: cost (missing where no price is known), tokens, calls, seconds

DEGRADED = "degraded_by_budget"  # on the ledger
LEASE = 120.0  # seconds beside a call's own: an attempt that was silent for longer may not ask any more
_SLOT = ("flow", "stage", "partition", "map_index")
_USED = {
    "cost": usage.c.cost, "tokens": usage.c.tokens_in + usage.c.tokens_out, "calls": usage.c.calls,
    "seconds": usage.c.seconds,
}  # fmt: skip


@dataclass(frozen=True)
class BudgetState:
    """What was used of a budget in this period, of the limit in force, and what attempts hold that still run."""

    budget: DeclaredBudget
    used: float
    held: float

    @property
    def limit(self) -> float:
        """The limit in force, in the budget's unit."""
        return self.budget.spec.limit

    @property
    def left(self) -> float:
        """What may still be reserved."""
        return max(0.0, self.limit - self.used - self.held)

    @property
    def share(self) -> float:
        """Used share of the limit; above 1 where a server took more than it was allowed."""
        return self.used / self.limit


def of_stage(who: Consumer) -> list[DeclaredBudget]:
    """The budgets in force that a stage is under.

    Raises:
        SpecError: a file is wrong; lists every mistake with file and line.
    """
    with warehouse.read() as conn:
        return _of(who, [*raises.in_force(conn, who.pack), *raises.in_force(conn, EVERYWHERE)])


def _of(who: Consumer, found: Sequence[DeclaredBudget]) -> list[DeclaredBudget]:
    return [one for one in found if one.spec.flow in (who.flow, None)]


def state(conn: Connection, budget: DeclaredBudget, at: str) -> BudgetState:
    """How a budget stands at a moment of now."""
    spent, held = 0.0, 0.0
    unit, since = budget.spec.unit, budget.begins(at)
    r = reservations.c
    joined = reservations.outerjoin(heads, sa.and_(*(r[name] == heads.c[name] for name in _SLOT)))
    query = sa.select(r.spent, r.held, r.until, r.fence, heads.c.fence.label("owner")).select_from(joined)
    # these first: what is settled in between is then counted twice for this moment, and not left out
    for row in conn.execute(query.where(r.at >= since, *budget.within(reservations))):
        spent += row.spent.get(unit, 0.0)
        if row.until > at and row.fence in (row.owner, NO_SLOT):
            held += row.held.get(unit, 0.0)
    mine = (usage.c.day >= since, usage.c.calls > 0, *budget.within(usage))
    used = conn.execute(sa.select(sa.func.coalesce(sa.func.sum(_USED[unit]), 0.0)).where(*mine)).scalar_one()
    return BudgetState(budget, float(used) + spent, held)


def states() -> list[BudgetState]:
    """How all budgets in force stand now, of the packs that run and of the installation.

    Raises:
        SpecError: a file is wrong.
    """
    with warehouse.read() as conn:
        found = [one for pack in (*packs(), EVERYWHERE) for one in raises.in_force(conn, pack)]
        return [state(conn, one, warehouse.now()) for one in found]


class Hold:
    """What one attempt has reserved.

    Attributes:
        plan: connections in the order of the ladder, and how many of the cases each is asked about, the first ones first.
        short: the budget that the rest has no room in; None: all cases are in the plan.
        at: when it was reserved: the period that it counts in.
        waits: what files say of its budgets and people have not agreed to, in words.
    """

    def __init__(
        self, number: int, at: str, plan: Sequence[tuple[str, int]], short: DeclaredBudget | None, waits: Sequence[str]
    ) -> None:
        self._number, self.at, self.plan, self.short, self.waits = number, at, plan, short, list(waits)

    def keep(self, spent: Amounts, held: Amounts, seconds: float) -> bool:
        """Say what was used so far and what is held on to, for so many seconds and some.

        Returns:
            False: it has lapsed, or another attempt owns the slot: ask no more.
        """
        c, at = reservations.c, warehouse.now()
        values = {"spent": dict(spent), "held": dict(held), "until": _later(at, seconds)}
        owner = sa.select(heads.c.fence).where(*(heads.c[name] == c[name] for name in _SLOT)).scalar_subquery()
        mine = (c.id == self._number, c.until > at, sa.or_(c.fence == NO_SLOT, c.fence == owner))
        changed = warehouse.transact(lambda conn: conn.execute(reservations.update().where(*mine).values(values)))
        return changed.rowcount == 1

    def end(self, spent: Amounts) -> None:
        """Release what was not used; what was used counts, whatever becomes of the attempt."""
        values = {"spent": dict(spent), "held": {}}
        mine = reservations.c.id == self._number
        warehouse.transact(lambda conn: conn.execute(reservations.update().where(mine).values(values)))

    def settle(self, conn: Connection) -> None:
        """In the commit's transaction, beside `used.record`, which has the same amounts."""
        conn.execute(reservations.delete().where(reservations.c.id == self._number))


def reserve(
    who: Consumer, first: str, bounds: Mapping[str, Amounts], cases: int, seconds: float, trial: bool = False
) -> Hold:  # fmt: skip
    """Reserve for as many of the cases as the budgets have room for; the others go down the ladder of the one that is short.

    Args:
        first: connection of the model that the stage is to ask.
        bounds: what a case may use up at most, by connection; those of the ladders that are missing cannot be asked.
        seconds: that a case may take.
        trial: what the files say is left as it is: nothing comes in force, and nobody is asked about it.

    Raises:
        SpecError: a file of budgets is wrong.
    """

    def work(conn: Connection) -> Hold:
        warehouse.take_turns(conn, "budgets")
        at = warehouse.now()
        over = (who.pack, EVERYWHERE)
        found = (
            [one for pack in over for one in raises.in_force(conn, pack)]
            if trial
            else raises.settle(conn, over, who.flow)
        )
        budgets = _of(who, found)
        left = [state(conn, one, at).left for one in budgets]
        short: DeclaredBudget | None = None
        rungs, plan, rest = [first], list[tuple[str, int]](), cases
        while rungs and rest:
            rung = rungs.pop(0)
            if (bound := bounds.get(rung)) is None:
                continue
            fits = [_times(room, bound.get(one.spec.unit)) for one, room in zip(budgets, left, strict=True)]
            many = int(min([rest, *fits]))  # no budget: the last one was taken away
            if many:
                plan.append((rung, many))
                left = [room - many * bound.get(one.spec.unit, 0.0) for one, room in zip(budgets, left, strict=True)]
                rest -= many
            if rest and short is None:
                short = budgets[fits.index(min(fits))]
                rungs = [one for one in short.spec.ladder if one not in ENDS]
        held = {unit: sum(many * bounds[rung].get(unit, 0.0) for rung, many in plan) for unit in _USED}
        row = {**_place(who), "fence": who.fence, "at": at, "until": _later(at, seconds), "held": held, "spent": {}}
        number = conn.execute(reservations.insert().values(row).returning(reservations.c.id)).scalar_one()
        return Hold(number, at, plan, short, [f"budget {one.name}: {one.waits}" for one in budgets if one.waits])

    return warehouse.transact(work)


def _times(left: float, bound: float | None) -> float:
    """How often a bound fits; never where it is not known, such as the cost at a model without a price, or is none."""
    if bound is None or not bound >= 0:
        return 0
    return math.inf if bound == 0 else math.floor(left / bound + 1e-9)


def _place(who: Consumer) -> dict[str, Any]:
    return {name: getattr(who, name) for name in ("pack", *_SLOT)}


def _later(at: str, seconds: float) -> str:
    return warehouse.stamp(datetime.fromisoformat(at).astimezone(UTC) + timedelta(seconds=seconds + LEASE))
