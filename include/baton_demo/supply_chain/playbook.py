"""The moves of the demo and of the end-to-end tests: deliver a week, run it, answer what waits, let the week pass."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from baton_demo import playbook
from baton_demo.supply_chain import simulate
from baton_packs.supply_chain.ordering import rules as ordering
from baton_packs.supply_chain.steps import EFFECT

if TYPE_CHECKING:
    import pandas as pd

    from baton_demo.story import Demo

FLOW, MODEL, PACK = "replenishment", "demand", "supply_chain"
WEEK = 7 * 86_400  # seconds
SEED = 20
TRIMMED = 0.9  # the simulated buyer cuts each order above the limit by a tenth


class SupplyChainPlaybook(playbook.Playbook):
    """Plays weeks of the recording, one after another: an order changes the stock that the next week starts from."""

    def __init__(self, demo: Demo, first: int, campaigns: int) -> None:
        """Take the first week to be played, and the one that the campaigns begin with (numbers of the recording)."""
        super().__init__(demo)
        self.campaigns, self.rules = campaigns, ordering.load()
        self.warehouse = simulate.Warehouse(self.rules.by_item, SEED)
        self.warehouse.open(self._usual(first))
        self.changed: list[dict[str, Any]] = []
        self.runs: list[str] = []

    def week(self, number: int) -> str:
        """Partition key of a week of the recording."""
        from baton.data.partitions import format_key
        from baton.packs.pack import load_pack
        from baton.sources.replay import recording_start

        source: Any = load_pack(PACK).source("sales")
        return format_key(recording_start(source.step, source.replay.before) + timedelta(weeks=number))

    def is_campaign(self, number: int) -> bool:
        """Whether marketing runs a campaign in that week."""
        return simulate.is_campaign(number, self.campaigns)

    def recorded(self, source: str, number: int) -> pd.DataFrame:
        """Rows of a week as they are with the campaigns."""
        from baton.packs.pack import load_pack
        from baton.sources.reading import read_partition

        if source == "sales":  # not what was delivered: that has the campaigns already
            frame = self._sales[self._sales["seconds"] == number * WEEK].reset_index(drop=True)
        else:
            frame = read_partition(load_pack(PACK), source, self.week(number)).frame
        return simulate.with_campaigns(frame, (frame["seconds"] // WEEK).astype(int), self.campaigns)

    def deliver(self, number: int, bad: bool = False) -> pd.DataFrame | None:
        """Put the week's deliveries into the landing folder; with `bad`, returns what was planted among the sales."""
        partition = self.week(number)
        if number >= self.campaigns - 8:  # before, the recording itself is the delivery
            simulate.deliver("plan", partition, self.recorded("plan", number))
        simulate.deliver("stock", partition, self.warehouse.delivery(partition))
        if bad:
            text, planted = simulate.bad_sales(self.recorded("sales", number))
            simulate.deliver("sales", partition, text)
            return planted
        if number >= self.campaigns:
            simulate.deliver("sales", partition, self.recorded("sales", number))
        return None

    def play(self, numbers: list[int], bad: dict[int, pd.DataFrame | None] | None = None) -> None:
        """Run weeks one after another, answer what waits, place the orders, let the next week sell.

        Args:
            bad: weeks with planted bad rows; receives what was planted.
        """
        with self.demo.progress(f"{FLOW}: {len(numbers)} weeks", len(numbers)) as advance:
            for done, number in enumerate(numbers):
                planted = self.deliver(number, bad=number in (bad or {}))
                if bad is not None and planted is not None:
                    bad[number] = planted
                self.run_week(number)
                self.pass_week(number)
                advance(done + 1)
        self.expect_all(self.airflow.wait(FLOW, self.runs, timeout=120))

    def run_week(self, number: int) -> str:
        """Trigger the week's run, answer its review, wait until its orders are out; returns the run's id."""
        run = self.airflow.trigger(FLOW, self.week(number))
        self.runs.append(run)
        until = time.monotonic() + 240
        while time.monotonic() < until:
            state = self.airflow.run(FLOW, run)["state"]
            if state in ("success", "failed"):
                self.expect(state == "success", f"week {number} ({self.week(number)}) must succeed, it is {state}")
                return run
            tasks = {task["task_id"]: task["state"] for task in self.airflow.tasks(FLOW, run)}
            if tasks.get("send") == tasks.get("send_reviewed") == "success":
                return run  # the report may take a moment longer than the orders
            if tasks.get("review") in ("awaiting_input", "deferred"):
                self.answer(run, number)
            time.sleep(0.3)
        self.expect(False, f"week {number} is not through after 240 s")
        return run

    def answer(self, run: str, number: int) -> None:
        """The simulated buyer: approves, and cuts each quantity by a tenth, to whole packs."""
        asked = self.decisions(self.week(number))
        asked = asked[asked["route"] == "approve"]
        answers = {}
        for item, quantity in zip(asked["item"], asked["quantity"], strict=True):
            pack = self.rules.by_item[item].pack_size
            answers[item] = max(pack, int(quantity * TRIMMED) // pack * pack)
            self.changed.append(
                {"week": self.week(number)[:10], "item": item, "proposed": int(quantity), "decided": answers[item]}
            )
        self.airflow.answer(FLOW, run, "review", approve=True, params=answers)

    def decisions(self, partition: str) -> pd.DataFrame:
        """The week's decisions as committed."""
        from baton.data.datasets import read
        from baton.stages.slots import Slot, head

        result = head(Slot(FLOW, "decide", partition))
        assert result is not None
        return read(result.ref)

    def pass_week(self, number: int) -> None:
        """What was placed is on its way; then the next week's demand meets the stock."""

        orders = placed(self.week(number))
        self.warehouse.order(number, dict(zip(orders["item"], orders["quantity"], strict=True)))
        sales = self.recorded("sales", number + 1)
        self.warehouse.pass_week(self.week(number + 1), dict(zip(sales["item"], sales["units"], strict=True)))

    def repair(self, number: int, planted: pd.DataFrame) -> dict[str, int]:
        """Put the planted rows right or discard them, run the week once more; orders that are out stay."""
        from baton import quarantine
        from baton.quarantine.rows import Where

        partition = self.week(number)
        here = Where(flow=FLOW, partition=partition)
        rows = quarantine.list_rows(here)
        right = dict(zip(planted["sale_id"], planted["units"], strict=True))
        found = {(row.entity_key, rule) for row in rows for rule in row.rules}
        wanted = set(zip(planted["sale_id"], planted["rule"], strict=True))
        self.expect(wanted <= found, f"quarantine must hold the planted rows {wanted}, it holds {found}")
        extra = tuple((row.row_sha, row.row) for row in rows if row.entity_key not in right)
        fixes = {
            (FLOW, partition, (row.row_sha, row.row)): {"units": str(right[str(row.entity_key)])}
            for row in rows if row.entity_key in right
        }  # fmt: skip
        quarantine.discard(Where(flow=FLOW, partition=partition, rows=extra), "second delivery of the week", "demo")
        quarantine.edit(fixes, actor="demo")
        self.run_week(number)
        return {"rows": len(rows), "repaired": len(fixes), "discarded": len(extra)}

    def _usual(self, number: int) -> dict[str, float]:
        """Mean weekly units of each item over the eight weeks before."""
        lately = self._sales[self._sales["seconds"].between((number - 8) * WEEK, (number - 1) * WEEK)]
        return {str(item): float(mean) for item, mean in lately.groupby("item")["units"].mean().items()}

    @cached_property
    def _sales(self) -> pd.DataFrame:
        """All recorded sales."""
        from baton.packs.pack import load_pack
        from baton.sources.reading import read_history

        return read_history(load_pack(PACK), "sales")

    @cached_property
    def truth(self) -> pd.DataFrame:
        """All weeks of the recording as they are with the campaigns: for the summary only, no stage reads it."""
        return simulate.with_campaigns(self._sales, (self._sales["seconds"] // WEEK).astype(int), self.campaigns)


def placed(partition: str) -> pd.DataFrame:
    """Orders of a week that the purchasing API has: item, quantity, amount, order_id."""
    import pandas as pd

    from baton.effects import outbox

    rows = [
        {"item": one.entity_key, "quantity": one.payload["quantity"], "amount": one.payload["amount"],
         "order_id": (one.answer or {}).get("order_id")}
        for one in outbox.effects(FLOW, partition, EFFECT) if one.state == outbox.SENT
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["item", "quantity", "amount", "order_id"])
