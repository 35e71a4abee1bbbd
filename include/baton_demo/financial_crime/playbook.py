"""The moves of the demo and of the end-to-end tests, each through the interface that a user has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from baton.names import monitor_of
from baton_demo import playbook
from baton_demo.financial_crime.accounts import FLOW, LABELS_FLOW, MODEL

if TYPE_CHECKING:
    import pandas as pd

SEED = 20


class FinancialCrimePlaybook(playbook.Playbook):
    """The moves of transaction monitoring."""

    def hours(self, first: int, end: int | None = None) -> list[str]:
        """Partition keys of the recording's hours first..end-1."""
        from baton.data.partitions import format_key
        from baton.sources.replay import replay_anchor

        anchor = replay_anchor()
        return [format_key(anchor + timedelta(hours=hour)) for hour in range(first, end or first + 1)]

    def run_hours(
        self, partitions: list[str], dag_id: str = FLOW, conf: dict[str, Any] | None = None
    ) -> dict[str, str]:
        """Trigger a run per hour, several in flight, and wait; returns state by partition."""
        return self.run_partitions(partitions, dag_id, conf)

    # --- what arrives -----------------------------------------------------------------------------------------------

    def _recorded(self, partition: str) -> pd.DataFrame:
        from baton.packs.pack import load_pack
        from baton.sources.reading import read_partition

        return read_partition(load_pack("financial_crime"), "transactions", partition).frame

    def deliver_bad_rows(self, partition: str) -> pd.DataFrame:
        """A CSV delivery with planted violations; returns their ground truth."""
        from baton_demo.financial_crime import simulate

        delivery, truth = simulate.bad_rows(self._recorded(partition), seed=SEED)
        simulate.deliver_text(delivery, partition)
        return truth

    def deliver_cents(self, partition: str) -> None:
        """A delivery whose amounts are in cents."""
        from baton_demo.financial_crime import simulate

        simulate.deliver(simulate.cents(self._recorded(partition)), partition)

    def deliver_shift(self, partitions: list[str]) -> None:
        """Deliveries after the card network refitted its components."""
        from baton_demo.financial_crime import simulate

        for partition in partitions:
            simulate.deliver(simulate.shift(self._recorded(partition)), partition)

    def labels_arrive(self, partitions: list[str], at: str) -> dict[str, Any]:
        """Chargebacks of these hours arrive; returns what the monitor says about the newest window once it saw all."""
        known = self.known(monitor_of(MODEL))
        self.expect_all(self.run_hours(partitions, LABELS_FLOW))
        return self.monitor_verdict(MODEL, known)

    # --- people -----------------------------------------------------------------------------------------------------

    def repair_bad_rows(self, partition: str, truth: pd.DataFrame) -> dict[str, int]:
        """Repair what can be repaired from the ground truth, discard the rest, re-inject; returns counts before."""
        from baton import quarantine
        from baton.quarantine.rows import Where

        here = Where(flow=FLOW, partition=partition)
        rows = quarantine.list_rows(here)
        self.expect({row.row for row in rows} == set(truth["_row"]), "quarantine must hold exactly the planted rows")
        right = {int(row): cells for row, cells in zip(truth["_row"], truth["repair"], strict=True) if cells}
        changes = {(FLOW, partition, (row.row_sha, row.row)): right[row.row] for row in rows if row.row in right}
        quarantine.edit(changes, actor="demo")
        lost = tuple((row.row_sha, row.row) for row in rows if row.row not in right)
        quarantine.discard(
            Where(flow=FLOW, partition=partition, rows=lost), "cannot be told apart from another row", "demo"
        )
        self.expect_all(self.run_hours([partition]))
        return {"rows": len(rows), "repaired": len(changes), "discarded": len(lost)}

    def repair_cents(self, partition: str) -> None:
        """The unit error, repaired with one expression, re-injected."""
        from baton import quarantine
        from baton.quarantine.rows import Where

        quarantine.repair(Where(flow=FLOW, partition=partition), {"amount": "amount/100"}, actor="demo")
        self.expect_all(self.run_hours([partition]))

    def decide_cases(self, partitions: list[str]) -> dict[str, int]:
        """Analysts decide the open cases of these hours; simulated, with the error rate that the summary states."""
        from sqlalchemy import select

        from baton.feedback import cases
        from baton.record import tables
        from baton.record.warehouse import read
        from baton_demo.financial_crime import accounts, simulate

        table = tables.cases
        query = select(table.c.entity_key).where(
            table.c.flow == FLOW, table.c.partition.in_(partitions), table.c.status == "open"
        )
        with read() as conn:
            keys = sorted(conn.execute(query).scalars())
        answers = simulate.analysts(keys, accounts.truth(partitions), seed=SEED)
        for key, resolution in answers.items():
            cases.decide(FLOW, key, resolution, actor="analyst (simulated)")
        return {r: list(answers.values()).count(r) for r in ("fraud", "legitimate")}

    def summary(self, quiet: list[str], shifted: list[str], later: list[str]) -> dict[str, Any]:
        """The numbers of the table, all out of the warehouse and the registry."""
        from baton.feedback import cases
        from baton_demo.financial_crime import accounts, simulate

        return {
            "flow": FLOW,
            "data": "real: 284,807 card transactions of two days (ULB), 492 frauds; " + simulate.SAID,
            "partitions": accounts.partition_table(quiet + shifted + later),
            "average_precision": {
                "before the shift": round(accounts.average_precision(quiet), 3),
                "after the shift, old champion": round(accounts.average_precision(shifted), 3),
                "after the shift, new champion": round(accounts.average_precision(later), 3),
            },
            "models": accounts.champions(),
            "drift": accounts.drift_windows(),
            "cases": cases.counts(FLOW),
        }
