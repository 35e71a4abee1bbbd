"""The story of the supply chain that `baton demo` plays on real weekly sales.

What is real: the weekly sales, promotions and holidays of seven departments. What is simulated, seeded and said in the
summary: prices and suppliers, the warehouse, the planted bad rows, the campaigns, the buyer, the purchasing API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baton.errors import BatonError
from baton.names import monitor_of
from baton_demo.supply_chain import accounts
from baton_demo.supply_chain.playbook import MODEL, SEED, SupplyChainPlaybook

if TYPE_CHECKING:
    import pandas as pd

    from baton.demo.story import Demo

FIRST, CAMPAIGNS, BAD, LAST = 114, 116, 115, 129
SAID = (
    "simulated: prices, suppliers and lead times, the warehouse (which lives on the orders placed), two bad rows, fortnightly "
    f"campaigns that lift four departments by 70 %, a buyer who cuts orders above the limit by a tenth, the purchasing API; seed {SEED}"
)


def play(demo: Demo) -> dict[str, Any]:
    """Train on what was known then; play weeks with bad rows, then campaigns; retrain; go on; count everything."""
    book = SupplyChainPlaybook(demo, FIRST, CAMPAIGNS)
    with demo.part("supply chain: train and promote the first demand model"):
        book.train([MODEL], conf={"until": book.week(FIRST - 1)})
        book.promote_in_registry(MODEL)

    planted: dict[int, pd.DataFrame | None] = {BAD: None}
    with demo.part("supply chain: two quiet weeks, one with bad rows; repair"):
        book.play([FIRST, BAD], planted)
        truth = planted[BAD]
        assert truth is not None
        quarantined = book.repair(BAD, truth)

    with demo.part("supply chain: campaigns begin; forecasts fail, the monitor waits until it can learn, then asks"):
        verdict: dict[str, Any] = {}
        number = CAMPAIGNS
        while verdict.get("decision") != "RETRAIN":
            book.expect(number < LAST - 3, f"the monitor must ask for retraining by now, it says {verdict}")
            known = book.known(monitor_of(MODEL))
            book.play([number])
            verdict = book.monitor_verdict(MODEL, known, partition=book.week(number))
            number += 1

    with demo.part("supply chain: retrain, judge on the same origins, promote"):
        book.await_training(MODEL)
        book.promote_in_airflow(MODEL)

    with demo.part("supply chain: go on with the new champion"):
        book.play(list(range(number, number + 3)))

    later = list(range(number, number + 3))
    summary: dict[str, Any] = {
        "flow": "replenishment",
        "data": f"real: 143 weeks of seven departments (Walmart); {SAID}",
        "weeks": accounts.week_table(book, list(range(FIRST, number + 3))),
        "cost": accounts.cost_of_versions(book, [1, 2], later),
        "models": accounts.models(),
        "drift": accounts.windows(),
        "monitor": verdict,
        "quarantined": quarantined,
        "changed": book.changed,
    }
    check(summary)
    return summary


def check(summary: dict[str, Any]) -> None:
    """What the story promises, checked on the numbers of the warehouse and the registry.

    Raises:
        BatonError: a number is another one.
    """
    before, after = summary["cost"]["version 1"], summary["cost"]["version 2"]
    if not after["cost"] < before["cost"]:
        raise BatonError(f"demo: the new champion's orders must cost less: {summary['cost']}")
    if {row["version"] for row in summary["weeks"]} != {1, 2}:
        raise BatonError(f"demo: two versions must have forecast: {summary['weeks']}")


def show(summary: dict[str, Any]) -> list[Any]:
    """The summary for people: a table, then sentences."""
    columns = [
        "week",
        "orders",
        "dollars",
        "waited for a person",
        "units short a week later",
        "campaign ahead",
        "demand",
    ]
    rows = [
        [row["partition"][:10], str(row["orders"]), f"{row['money']:,.0f}", str(row["waited"] or ""), f"{row['short']:,}",
         "yes" if row["campaign_next"] else "", f"v{row['version']}"]
        for row in summary["weeks"]
    ]  # fmt: skip
    old, new = summary["cost"]["version 1"], summary["cost"]["version 2"]
    return [
        {"columns": columns, "rows": rows},
        f"cost of the orders that would have followed, per item and week, on the last three weeks: version 1 {old['cost']:,.0f}, "
        f"version 2 {new['cost']:,.0f} dollars; scaled error {old['mase']:g} against {new['mase']:g}; the 80 % interval held "
        f"{old['coverage80']:.0%} against {new['coverage80']:.0%}",
        f"monitor: {summary['monitor']['decision']} at {summary['monitor']['partition'][:10]}: "
        + "; ".join(summary["monitor"]["reasons"]),
        f"quarantine: {summary['quarantined']['rows']} rows, {summary['quarantined']['repaired']} repaired, "
        f"{summary['quarantined']['discarded']} discarded; nothing was ordered twice",
        f"the buyer changed {len(summary['changed'])} orders; later proposals learn from it",
    ]
