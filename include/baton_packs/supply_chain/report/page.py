"""The weekly report as one HTML page: no script, no foreign host, the same bytes for the same input.

With many items only some are drawn (`drawn`); every item has its row in the tables.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baton.families.forecast.panel.periods import plain_times
from baton.families.forecast.paths import sample_paths
from baton_packs.supply_chain import HERE
from baton_packs.supply_chain.ordering.inventory import PATHS
from baton_packs.supply_chain.ordering.order_cost import demand_of, item_rng, lead_times
from baton_packs.supply_chain.ordering.policies import ItemPolicy
from baton_packs.supply_chain.ordering.rules import OrderingPolicy
from baton_packs.supply_chain.report import pictures

TEMPLATES = HERE / "templates"
LARGEST, MOST = 12, 16  # items drawn: the largest orders and the exceptional ones, the page stays small
NAMED = 10  # items that one sentence names
PROPOSED = "as_proposed"
KINDS = {
    "dead": "nothing has been sold for so long that the forecast is zero and nothing is ordered",
    "new": "too new for a forecast of its own: it takes the shape of the other items",
    "short": "too little history for a season: a simple median forecasts it",
    "intermittent": "sells in few weeks only: its forecast is a mean rate",
}
_ROUTES = {"approve": ("waits for a person", 0), "order": ("goes out", 1), "none": ("nothing to order", 2)}


@dataclass(frozen=True)
class Week:
    """Everything that the page shows.

    Attributes:
        partition: of the run.
        version: of the model that forecast.
        dry_run: nothing is ordered.
        rules: policies, budget, limit, seed.
        decisions: of `steps.decide`; simulated: of `steps.simulate`; forecast: the scored frame.
        history: item, week, units (NaN in the future), promotion, is_holiday; stock: item, on_hand, due_1 ....
        backtest: rows of the table; see `stage.backtest`.
        notes: what earlier stages degraded, filled in or left out, as sentences.
    """

    partition: str
    version: int
    dry_run: bool
    rules: OrderingPolicy
    decisions: pd.DataFrame
    simulated: pd.DataFrame
    forecast: pd.DataFrame
    history: pd.DataFrame
    stock: pd.DataFrame
    backtest: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def page(week: Week) -> tuple[str, pd.DataFrame, int]:
    """Render the report.

    Returns:
        the page; one row per item (item, quantity, money, route, alternative, risk_before, risk_after, demand_met,
        drawn); the number of pictures.
    """
    forecast = week.forecast.assign(time=plain_times(week.forecast["time"])).sort_values(["series", "step"])
    history = week.history.assign(week=plain_times(week.history["week"])).sort_values(["item", "week"])
    paths = sample_paths(forecast, PATHS, week.rules.seed)
    offers = _offers(week.simulated)
    stock = week.stock.set_index("item")
    rows = []
    for one in week.decisions.to_dict("records"):
        item = one["item"]
        rows.append(_item(one, paths[item], stock.loc[item], offers.get(item, []), week.rules))
    rows.sort(key=lambda row: (row["rank"], -row["money"], -row["expected"], row["item"]))
    chosen = drawn(rows)
    for number, row in enumerate(row for row in rows if row["item"] in chosen):
        sales = history[history["item"] == row["item"]]
        scored = forecast[forecast["series"] == row["item"]]
        row["pictures"] = _pictures(row, sales, scored, f"{week.partition}-{number}")
    notes = [*week.notes, *_kinds(forecast), *_unsimulated(rows)]
    first = forecast["time"].min()
    html = _environment().get_template("report.html.j2").render(
        week=week, rows=rows, total=_total(rows, week.rules), notes=notes, drawn=len(chosen), most=MOST,
        first=first, last=history.loc[history["units"].notna(), "week"].max(), horizon=int(forecast["step"].max()),
        scenarios=sorted({name for row in rows for offer in row["offers"] for name in offer["by_scenario"]},
                         key=list(pictures.DASHES).index),
    )  # fmt: skip
    table = pd.DataFrame([
        {"item": row["item"], "quantity": row["quantity"], "money": row["money"], "route": row["route"],
         "alternative": row["alternative"], "risk_before": row["before"], "risk_after": row["after"],
         "demand_met": row["offer"]["fill_rate"] if row["offer"] else np.nan, "drawn": row["item"] in chosen}
        for row in rows
    ])  # fmt: skip
    return html, table, sum(len(row.get("pictures", ())) for row in rows)


def drawn(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Items that get pictures: the `LARGEST` and the exceptional ones, `MOST` at most.

    Args:
        rows: the page's rows, the most important first.
    """
    by_size = sorted(rows, key=lambda row: (-row["money"], -row["expected"], row["item"]))
    wanted = [row["item"] for row in by_size if row["exceptional"]]
    wanted = wanted[: MOST - min(LARGEST, len(rows)) // 2]  # however many are exceptional, the largest are seen
    for row in by_size[:LARGEST]:
        if row["item"] not in wanted and len(wanted) < MOST:
            wanted.append(row["item"])
    return set(wanted)


def _offers(simulated: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Item -> its simulated alternatives, best first; lists and dicts are such again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in simulated.to_dict("records"):
        for name in row:
            if str(name).startswith("stock_p") or name == "by_scenario":
                row[name] = json.loads(row[name])
        found.setdefault(row["item"], []).append({str(name): value for name, value in row.items()})
    return {item: sorted(rows, key=lambda row: row["rank"]) for item, rows in found.items()}


def _item(
    row: Mapping[Any, Any], paths: np.ndarray, stock: pd.Series, offers: list[dict[str, Any]], rules: OrderingPolicy
) -> dict[str, Any]:
    """One item's numbers: risk before and after the order as it was decided, what is there by week, the demand."""
    policy = rules.by_item[row["item"]]
    due = {int(name[len("due_") :]): int(stock[name]) for name in stock.index if str(name).startswith("due_")}
    position, quantity = int(stock["on_hand"]) + sum(due.values()), int(row["quantity"])
    usual = lead_times(policy, PATHS, item_rng(policy.item, rules.seed))
    taken = np.full(PATHS, policy.express_lead) if row["express"] and policy.express_lead else usual
    route, rank = _ROUTES[row["route"]]
    exact = [offer for offer in offers if offer["alternative"] == row["alternative"] and offer["quantity"] == quantity]
    return {
        **{str(name): value for name, value in row.items()}, "route_text": route, "rank": rank, "policy": policy,
        "quantity": quantity, "money": float(row["money"]), "on_hand": int(stock["on_hand"]), "position": position,
        "before": float((demand_of(paths, 0, usual + 1) > position).mean()),
        "after": float((demand_of(paths, 0, taken + 1) > position + quantity).mean()),
        "expected": float(paths.sum(axis=1).mean()), "range": np.quantile(paths.sum(axis=1), (0.1, 0.9)).tolist(),
        "offers": offers, "offer": exact[0] if exact else None,
        "demand": np.quantile(np.cumsum(paths, axis=1), (0.05, 0.5, 0.95), axis=0),
        "supply": _supply(row, policy, int(stock["on_hand"]), due, paths.shape[1]),
    }  # fmt: skip


def _supply(
    row: Mapping[Any, Any], policy: ItemPolicy, on_hand: int, due: Mapping[int, int], weeks: int
) -> dict[str, Any]:
    """Units that are there for the demand up to the end of each week, shape (weeks,) each; `lead` in weeks."""
    likely = max(policy.lead_time, key=lambda weeks: (policy.lead_time[weeks], -weeks))
    lead = policy.express_lead if row["express"] and policy.express_lead else likely
    passed = np.arange(weeks)  # whole weeks before each one begins
    return {
        "on_hand": np.full(weeks, on_hand), "order": np.where(passed >= lead, int(row["quantity"]), 0),
        "due": np.array([sum(units for when, units in due.items() if when <= n) for n in passed]), "lead": lead,
    }  # fmt: skip


def _pictures(row: dict[str, Any], sales: pd.DataFrame, scored: pd.DataFrame, salt: str) -> dict[str, str]:
    """The item's pictures by name; those of a simulation only where there is one."""
    item, offer = row["item"], row["offer"] or next((o for o in row["offers"] if o["alternative"] == PROPOSED), None)
    units = {name: row["supply"][name] for name in ("on_hand", "due", "order")}
    made = {
        "forecast": pictures.forecast(sales, scored, f"Sales and forecast of {item}", f"f{salt}"),
        "coverage": pictures.coverage(units, row["demand"], f"Stock, deliveries and demand of {item}", f"c{salt}"),
    }
    year = sales.loc[sales["week"].isin(scored["time"] - pd.Timedelta(weeks=52)), "units"]
    row["last_year"] = float(year.sum()) if len(year) == len(scored) and year.notna().all() else None
    row["covered"] = _covered(row["demand"][1] - sum(units.values()), row["supply"]["lead"])
    row["shown"] = offer
    if offer is not None:
        chosen = row["alternative"] if row["offer"] else ""
        made["cost"] = pictures.cost_curve(row["offers"], chosen, f"Cost of the alternatives for {item}", f"k{salt}")
        made["fan"] = pictures.stock_fan(offer, row["on_hand"], f"Simulated stock of {item}", f"s{salt}")
    return made


def _covered(missing: np.ndarray, lead: int) -> str:
    """Says whether what is there covers the median demand; missing: units by the end of each week, below 0 if enough."""
    short = np.flatnonzero(missing > 0)
    if not len(short):
        return f"What is there covers the median demand of all {len(missing)} weeks."
    week = int(short[0])
    why = "which no usual order of today can prevent" if week < lead else "which later orders have to cover"
    much = f"{missing[week]:,.0f} units"
    return f"By the end of week {week + 1} the median demand exceeds what is there by {much}, {why}."


def _total(rows: Sequence[Mapping[str, Any]], rules: OrderingPolicy) -> dict[str, Any]:
    """Sums of the head."""
    ordered, waiting = [[r for r in rows if r["rank"] in ranks] for ranks in ((0, 1), (0,))]
    known = [row for row in rows if row["offer"] and row["expected"] > 0]
    demand = sum(row["expected"] for row in known)
    money, budget = sum(row["money"] for row in ordered), rules.budget.amount if rules.budget else None
    return {
        "items": len(rows), "orders": len(ordered), "units": sum(row["quantity"] for row in ordered), "money": money,
        "budget": budget, "share": money / budget if budget else None, "waiting": len(waiting),
        "waiting_money": sum(row["money"] for row in waiting), "exceptional": sum(bool(row["exceptional"]) for row in rows),
        "met": sum(row["offer"]["fill_rate"] * row["expected"] for row in known) / demand if demand else None,
        "kept": sum(bool(row["offer"]["keeps_service"]) for row in known), "known": len(known),
        "before": sum(row["before"] for row in rows) / len(rows) if rows else None,
        "after": sum(row["after"] for row in rows) / len(rows) if rows else None,
    }  # fmt: skip


def _kinds(forecast: pd.DataFrame) -> list[str]:
    """What the forecast of an irregular series is worth."""
    kind = forecast.groupby("series")["kind"].first()
    return [f"{named(kind.index[kind == name])}: {text}." for name, text in KINDS.items() if (kind == name).any()]


def _unsimulated(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    said = []
    if none := [row["item"] for row in rows if not row["offers"]]:
        said.append(f"{named(none)}: not simulated; cost and expected service leave it out.")
    if other := [row["item"] for row in rows if row["offers"] and not row["offer"]]:
        said.append(
            f"{named(other)}: the decided quantity is none of those simulated; the pictures of its cost and stock show the "
            "proposal, and the expected service leaves it out."
        )
    return said


def named(items: Iterable[object]) -> str:
    """The first items by name, and how many more there are."""
    names = sorted(map(str, items))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Everything escaped but the pictures, which hold no name unescaped; a missing name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, form in (("count", "{:,.0f}"), ("money", "${:,.0f}"), ("percent", "{:.1%}"), ("number", "{:.2f}"),
                       ("signed", "{:+.1%}"), ("day", "{:%d %b %Y}")):  # fmt: skip
        made.filters[name] = lambda value, form=form: _written(value, form)
    return made


def _written(value: Any, form: str) -> str:
    """A figure, a dash where there is none, a true minus."""
    if value is None or value != value:
        return "–"
    return form.format(value).replace("$-", "-$").replace("-", "−")
