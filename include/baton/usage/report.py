"""What was used, by model, flow, pack or day; how budgets stand; where the month ends. For the command and the page."""

import json
from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record import warehouse
from baton.record.tables import ledger, reservations, usage
from baton.usage import budgets
from baton.usage.budgets import BudgetState

May = Callable[[str | None], bool]  # whether a person may read about a DAG; None: about DAGs in general
GROUPS: dict[str, tuple[str, ...]] = {
    "model": ("asset", "version", "model"),
    "flow": ("flow",),
    "pack": ("pack",),
    "day": ("day",),
}
SUMS = ("rows", "calls", "tokens_in", "tokens_out", "seconds", "cost")
NEARLY = 0.8  # share of a budget from which Today says so
RECENT = 7  # whole days that the forecast goes by
MONTHS = 12  # of one asset
_MOST = 5  # colours of a plot; the rest is one


def totals(by: str, since: str = "", until: str = "", may: May = lambda flow: True) -> list[dict[str, Any]]:
    """What was used, summed by the columns of `GROUPS[by]`; the dearest first, days in order.

    Args:
        since, until: days, `YYYY-MM-DD`, both included; empty: no bound.

    Returns:
        these columns, `uses` (commits) and `SUMS`; cost is None where no price was known.
    """
    return _added(_sums((*GROUPS[by], "flow"), since, until), GROUPS[by], may)


def _sums(by: tuple[str, ...], since: str, until: str) -> list[dict[str, Any]]:
    c = usage.c
    bounds = [*([c.day >= since] if since else []), *([c.day <= until] if until else [])]
    with warehouse.read() as conn:
        return _read(conn, [c[name] for name in dict.fromkeys(by)], bounds)


def _read(
    conn: Connection, keys: Sequence[sa.ColumnElement[Any]], bounds: Sequence[sa.ColumnElement[bool]]
) -> list[dict[str, Any]]:
    sums = [sa.func.sum(usage.c[name]).label(name) for name in SUMS]
    query = sa.select(*keys, sa.func.count().label("uses"), *sums).where(*bounds).group_by(*keys)
    return [dict(row) for row in conn.execute(query).mappings()]


def _added(rows: list[dict[str, Any]], by: tuple[str, ...], may: May) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        if not may(row["flow"]):
            continue
        key = tuple(row[name] for name in by)
        one = found.setdefault(
            key, {**dict(zip(by, key, strict=True)), "uses": 0, **dict.fromkeys(SUMS[:-1], 0), "cost": None}
        )
        for name in ("uses", *SUMS[:-1]):
            one[name] += row[name]
        if row["cost"] is not None:
            one["cost"] = (one["cost"] or 0.0) + row["cost"]
    if by == ("day",):
        return [found[key] for key in sorted(found)]
    return sorted(
        found.values(), key=lambda one: (-(one["cost"] or 0.0), -one["rows"], str([one[name] for name in by]))
    )


def uncommitted(since: str = "", until: str = "", may: May = lambda flow: True) -> dict[str, float]:
    """What attempts under a budget used that committed nothing, by unit."""
    r, spent = reservations.c, defaultdict[str, float](float)
    bounds = [*([r.at >= since] if since else []), *([r.at < f"{until}~"] if until else [])]
    with warehouse.read() as conn:
        for row in conn.execute(sa.select(r.flow, r.spent).where(*bounds)):
            for unit, amount in row.spent.items() if may(row.flow) else ():
                spent[unit] += amount
    return {unit: amount for unit, amount in spent.items() if amount}


def standing(may: May = lambda flow: True) -> list[dict[str, Any]]:
    """All budgets that a person may read about: name, scope, period, unit, limit, used, held, share, turned_away, ladder, waits.

    `turned_away` counts cases of this period that had no room and went down the ladder; `waits` says what the file says instead of
    the limit in force, and whom that waits for.
    """
    found, at = [one for one in budgets.states() if may(one.budget.spec.flow)], warehouse.now()
    if not found:
        return []
    with warehouse.read() as conn:
        short = _turned_away(conn, min(one.budget.begins(at) for one in found))
    return [
        _shown(one, sum(cases for day, cases in short[one.budget.key] if day >= one.budget.begins(at))) for one in found
    ]


def warnings(may: May) -> list[dict[str, Any]]:
    """Budgets for the page Today: used to `NEARLY` their limit, or with cases turned away."""
    return [one for one in standing(may) if one["share"] >= NEARLY or one["turned_away"]]


def _shown(one: BudgetState, turned_away: int) -> dict[str, Any]:
    spec = one.budget.spec
    return {
        "name": one.budget.name, "scope": one.budget.scope, "period": spec.period, "unit": spec.unit, "limit": one.limit,
        "used": one.used, "held": one.held, "share": one.share, "turned_away": turned_away, "ladder": list(spec.ladder),
        "waits": one.budget.waits,
    }  # fmt: skip


def _turned_away(conn: Connection, since: str) -> dict[str, list[tuple[str, int]]]:
    """Day and cases by budget."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    query = sa.select(ledger.c.at, ledger.c.payload).where(ledger.c.kind == budgets.DEGRADED, ledger.c.at >= since)
    for row in conn.execute(query):
        said = json.loads(row.payload)
        found[said["budget"]].append((row.at[:10], said["cases"]))
    return found


def forecast(days: Mapping[str, float], today: date) -> dict[str, float] | None:
    """Where the month ends, by what each day used (`YYYY-MM-DD`).

    Returns:
        so_far, a_day (mean of the last `RECENT` whole days, of those since the first one with use), end (so far, what today lacks
        of such a day, and such a day for each that is left); None before the first whole day.
    """
    first = min(days, default="")
    recent = [str(today - timedelta(days=number)) for number in range(1, RECENT + 1)]
    if not (known := [days.get(day, 0.0) for day in recent if day >= first > ""]):
        return None
    so_far = sum(amount for day, amount in days.items() if day.startswith(f"{today:%Y-%m}"))
    a_day, left = sum(known) / len(known), monthrange(today.year, today.month)[1] - today.day
    return {
        "so_far": so_far,
        "a_day": a_day,
        "end": so_far + max(a_day - days.get(str(today), 0.0), 0.0) + left * a_day,
    }


def month(may: May, of: date, today: date) -> dict[str, Any]:
    """The page Usage: a month's days for the plots, sums by model and by flow, forecast.

    Returns:
        month, earlier, later (`YYYY-MM`, empty where there is none), days (day, cost and rows by asset), order of the assets, models, flows,
        forecast (of cost; of the month that it is, else None), uncommitted.
    """
    first, last = of.replace(day=1), of.replace(day=monthrange(of.year, of.month)[1])
    rows = [row for row in _sums(("day", *GROUPS["model"], "flow"), str(first), str(last)) if may(row["flow"])]
    models = _added(rows, GROUPS["model"], may)
    order = list(dict.fromkeys(one["asset"] for one in models))
    named = {asset: asset if place < _MOST else "others" for place, asset in enumerate(order)}
    days: dict[str, dict[str, Any]] = {
        str(day): {"day": str(day), "cost": defaultdict(float), "rows": defaultdict(float)}
        for day in (first + timedelta(days=number) for number in range((min(last, max(today, first)) - first).days + 1))
    }
    for row in rows:
        for what in ("cost", "rows"):
            days.setdefault(row["day"], {"day": row["day"], "cost": defaultdict(float), "rows": defaultdict(float)})
            days[row["day"]][what][named[row["asset"]]] += row[what] or 0.0
    ahead = None
    if (of.year, of.month) == (today.year, today.month):
        before = str(min(first, today - timedelta(days=RECENT)))
        ahead = forecast({one["day"]: one["cost"] or 0.0 for one in totals("day", before, "", may)}, today)
    return {
        "month": f"{of:%Y-%m}", "earlier": f"{first - timedelta(days=1):%Y-%m}",
        "later": f"{last + timedelta(days=1):%Y-%m}" if last < today else "", "days": list(days.values()),
        "order": list(dict.fromkeys(named.values())), "models": models, "flows": _added(rows, GROUPS["flow"], may),
        "forecast": ahead, "uncommitted": uncommitted(str(first), str(last), may),
    }  # fmt: skip


def of_asset(conn: Connection, asset: str, pack: str | None, today: date, may: May) -> dict[str, Any]:
    """What the versions of a model or an agent were used for in the last `MONTHS` months, this one included.

    Args:
        asset: `model:NAME` or `agent:NAME`. pack: of the flows, where names are a pack's own; None: of all packs.

    Returns:
        months (month as `YYYY-MM`, cost and rows by version; from the first one with use), order of the versions (the one used last first,
        the oldest ones as `earlier`), and rows: by month, newest first, version and asked model, with `uses` and `SUMS`.
    """
    c = usage.c
    first = today.replace(day=1)
    wanted = [f"{first:%Y-%m}"]
    while len(wanted) < MONTHS:
        first = (first - timedelta(days=1)).replace(day=1)
        wanted.insert(0, f"{first:%Y-%m}")
    bounds = [c.asset == asset, c.day >= str(first), *([c.pack == pack] if pack is not None else [])]
    month_of = sa.func.substr(c.day, 1, 7).label("month")
    found = _read(conn, [month_of, c.version, c.model, c.flow], bounds)
    rows = _added(found, ("month", "version", "model"), may)
    rows.sort(key=lambda one: one["month"], reverse=True)  # and of one month the dearest first
    order = list(dict.fromkeys(one["version"] for one in rows))
    named = {version: version if place < _MOST else "earlier" for place, version in enumerate(order)}
    used: dict[str, dict[str, Any]] = {
        month: {"month": month, "cost": defaultdict(float), "rows": defaultdict(float)}
        for month in wanted if rows and month >= rows[-1]["month"]
    }  # fmt: skip
    for one in rows:
        for what in ("cost", "rows"):
            used[one["month"]][what][named[one["version"]]] += one[what] or 0.0
    return {"months": list(used.values()), "order": list(dict.fromkeys(named.values())), "rows": rows}
