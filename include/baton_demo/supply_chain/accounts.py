"""The demo's table: weeks, orders, stock-outs, and what each version's forecasts would have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baton_demo.supply_chain.playbook import FLOW, MODEL, placed

if TYPE_CHECKING:
    import pandas as pd

    from baton_demo.supply_chain.playbook import SupplyChainPlaybook


def week_table(book: SupplyChainPlaybook, numbers: list[int]) -> list[dict[str, Any]]:
    """One row per week: rows in, good and open rows, orders, money, units short in the week after, version."""
    from baton.quarantine.records import accounting
    from baton.record.used_models import recorded_models

    rows = []
    for number in numbers:
        partition, after = book.week(number), book.week(number + 1)
        orders, counts = placed(partition), accounting(FLOW, partition)
        decisions = book.decisions(partition)
        rows.append({
            "partition": partition, "campaign_next": book.is_campaign(number + 1), "rows_in": counts["rows_in"],
            "open": counts["open"], "discarded": counts["discarded"], "orders": len(orders),
            "money": round(float(orders["amount"].sum()), 2), "waited": int((decisions["route"] == "approve").sum()),
            "short": sum(units for (week, _), units in book.warehouse.lost.items() if week == after),
            "version": recorded_models(FLOW, partition)[MODEL],
        })  # fmt: skip
    return rows


def cost_of_versions(book: SupplyChainPlaybook, versions: list[int], numbers: list[int]) -> dict[str, dict[str, float]]:
    """What each version's forecasts of the same weeks would have cost, and their error.

    Returns:
        version -> cost (money per item and week: short and over by the gate's prices, order up to the cost-optimal
        quantile), mase (mean over items and steps), coverage80.
    """
    from baton.families import family
    from baton.packs.pack import find_model
    from baton.registry.client import Registry

    _, spec = find_model(MODEL)
    registry, maker = Registry(), family(spec.family)
    truth = book.truth.assign(week=book.truth["week"].dt.tz_localize(None))
    number = (truth["seconds"] // (7 * 86_400)).astype(int)
    found = {}
    for version in versions:
        model: Any = maker.load(registry.verified(MODEL, version))
        found[f"version {version}"] = _cost(spec, model, truth, number, numbers)
    return found


def _cost(spec: Any, model: Any, truth: pd.DataFrame, number: pd.Series, numbers: list[int]) -> dict[str, float]:
    import numpy as np
    import pandas as pd

    from baton.families.forecast.paths import sample_paths

    cost = spec.gate.cost
    costs, errors, inside = [], [], []
    for origin in numbers:
        frame = truth[number <= origin + spec.horizon].astype({"units": float})
        frame.loc[number > origin, "units"] = np.nan
        scored = model.forecast(frame)
        known = truth.rename(columns={"item": "series", "week": "time", "units": "actual"})
        joined = scored.merge(known[["series", "time", "actual"]], on=["series", "time"])
        errors.append((joined["score"] - joined["actual"]).abs() / joined["scale"])
        inside.append(joined["actual"].between(joined["q0.1"], joined["q0.9"]))
        for series, paths in sample_paths(scored, 400, 7).items():
            total = paths[:, : cost.lead + 1].sum(axis=1)
            stock = np.quantile(total, cost.short / (cost.short + cost.over))
            demand = joined.loc[(joined["series"] == series) & (joined["step"] <= cost.lead + 1), "actual"].sum()
            costs.append(cost.short * max(demand - stock, 0.0) + cost.over * max(stock - demand, 0.0))
    return {
        "cost": round(float(np.mean(costs)), 1),
        "mase": round(float(pd.concat(errors).mean()), 3),
        "coverage80": round(float(pd.concat(inside).mean()), 3),
    }


def models() -> list[dict[str, Any]]:
    """Versions with their aliases and the gate's word."""
    from baton.registry.client import Registry

    registry = Registry()
    aliases = {name: registry.alias(MODEL, name) for name in ("champion", "previous_champion", "challenger")}
    return [
        {"model": MODEL, "version": one.version, "aliases": [name for name, version in aliases.items() if version == one.version]}
        for one in sorted(registry.versions(MODEL), key=lambda one: one.version)
    ]  # fmt: skip


def windows() -> list[dict[str, Any]]:
    """Judged windows: partition, verdict, what moved, the error of the known weeks."""
    from sqlalchemy import select

    from baton.record import tables
    from baton.record.warehouse import read

    table = tables.drift_windows
    with read() as conn:
        rows = conn.execute(select(table).where(table.c.model == MODEL).order_by(table.c.partition)).mappings().all()
    return [
        {"partition": row["partition"], "version": row["version"], "features": row["features"],
         "mase": (row["performance"] or {}).get("value"), "expected": (row["performance"] or {}).get("reference")}
        for row in rows
    ]  # fmt: skip
