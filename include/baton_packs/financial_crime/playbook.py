"""The moves of the demo and of the end-to-end tests, each through the interface that a user has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError

if TYPE_CHECKING:
    import pandas as pd

    from baton.demo import Demo

FLOW, LABELS_FLOW, MODEL = "transaction_monitoring", "transaction_labels", "card_fraud"
SEED = 20


class Playbook:
    """Drives one Baton through Airflow's and MLflow's REST interfaces and the engine's own commands."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.airflow = demo.airflow
        self._promotions: dict[str, set[str]] = {}
        self._trainings: dict[str, set[str]] = {}

    # --- partitions -------------------------------------------------------------------------------------------------

    def hours(self, first: int, end: int | None = None) -> list[str]:
        """Partition keys of the recording's hours first..end-1."""
        from baton.partitions import format_key, replay_anchor

        anchor = replay_anchor()
        return [format_key(anchor + timedelta(hours=hour)) for hour in range(first, end or first + 1)]

    def run_hours(
        self, partitions: list[str], dag_id: str = FLOW, conf: dict[str, Any] | None = None
    ) -> dict[str, str]:
        """Trigger a run per partition, several in flight, and wait; returns state by partition."""
        runs = {self.airflow.trigger(dag_id, partition, conf): partition for partition in partitions}
        with self.demo.progress(f"{dag_id}: {len(runs)} hours", len(runs)) as advance:
            states = self.airflow.wait(dag_id, list(runs), timeout=300, on_change=advance)
        return {runs[run]: state for run, state in states.items()}

    # --- models -----------------------------------------------------------------------------------------------------

    def train(self, models: list[str]) -> None:
        """Trigger the training DAGs side by side and wait."""
        runs = {}
        for model in models:
            self._promotions[model] = self._known(f"{model}_promote")
            runs[model] = self.airflow.trigger(f"{model}_train")
        for model, run in runs.items():
            self.expect_all(self.airflow.wait(f"{model}_train", [run], timeout=400))
            self._trainings[model] = self._known(f"{model}_train")

    def await_training(self, model: str) -> None:
        """Wait for the training that the drift event started by itself."""
        self._promotions[model] = self._known(f"{model}_promote")
        run = self.airflow.wait_for_run(f"{model}_train", self._trainings[model], timeout=60)
        self.expect_all(self.airflow.wait(f"{model}_train", [run], timeout=400))

    def promote_in_airflow(self, model: str) -> None:
        """Approve the challenger with the call that the UI's Required Actions page makes."""
        dag_id = f"{model}_promote"
        run = self.airflow.wait_for_run(dag_id, self._promotions[model], timeout=60)
        self.airflow.answer(dag_id, run, "approve", approve=True, timeout=120)
        self.expect_all(self.airflow.wait(dag_id, [run], timeout=120))
        self.demo.report(f"  {model}: approved through the call of Airflow's Required Actions page")

    def promote_in_registry(self, model: str) -> None:
        """Approve as the reviewer does in MLflow: the tag `baton.review` on the version."""
        from baton.registry import Registry
        from baton.registry_rest import credentials
        from baton.settings import settings

        dag_id = f"{model}_promote"
        run = self.airflow.wait_for_run(dag_id, self._promotions[model], timeout=60)
        self._until_asked(dag_id, run)
        reviewer = Registry(user=credentials(settings().home, "reviewer"))
        version = reviewer.alias(model, "challenger")
        if version is None:
            raise BatonError(f"{model} has no challenger")
        reviewer.tag(model, version, "baton.review", "approved")
        self.expect_all(self.airflow.wait(dag_id, [run], timeout=120))
        self.demo.report(f"  {model}: approved by the tag baton.review in the MLflow registry")

    def _until_asked(self, dag_id: str, run: str, timeout: float = 120) -> None:
        import time

        until = time.monotonic() + timeout
        while time.monotonic() < until:
            state = next((t["state"] for t in self.airflow.tasks(dag_id, run) if t["task_id"] == "approve"), None)
            if state in ("deferred", "awaiting_input"):
                return
            time.sleep(0.3)
        raise BatonError(f"{dag_id} did not ask for approval within {timeout:.0f} s")

    def _known(self, dag_id: str) -> set[str]:
        return {row["dag_run_id"] for row in self.airflow.runs(dag_id)}

    # --- what arrives -----------------------------------------------------------------------------------------------

    def _recorded(self, partition: str) -> pd.DataFrame:
        from baton.packs import load_pack
        from baton.sources import read_partition

        return read_partition(load_pack("financial_crime"), "transactions", partition).frame

    def deliver_bad_rows(self, partition: str) -> pd.DataFrame:
        """A CSV delivery with planted violations; returns their ground truth."""
        from baton_packs.financial_crime import simulate

        delivery, truth = simulate.bad_rows(self._recorded(partition), seed=SEED)
        simulate.deliver_text(delivery, partition)
        return truth

    def deliver_cents(self, partition: str) -> None:
        """A delivery whose amounts are in cents."""
        from baton_packs.financial_crime import simulate

        simulate.deliver(simulate.cents(self._recorded(partition)), partition)

    def deliver_shift(self, partitions: list[str]) -> None:
        """Deliveries after the card network refitted its components."""
        from baton_packs.financial_crime import simulate

        for partition in partitions:
            simulate.deliver(simulate.shift(self._recorded(partition)), partition)

    def labels_arrive(self, partitions: list[str], at: str) -> dict[str, Any]:
        """Chargebacks of these hours arrive; returns what the monitor says about the newest window once it saw all."""
        known = self._known(f"{MODEL}_monitor")
        self.expect_all(self.run_hours(partitions, LABELS_FLOW))
        return self._monitor_verdict(known)

    def _monitor_verdict(self, known: set[str]) -> dict[str, Any]:
        """The first RETRAIN of the monitor runs since, else the last verdict after the monitor has come to rest."""
        import time

        dag_id, until, verdict = f"{MODEL}_monitor", time.monotonic() + 90, {}
        while time.monotonic() < until:
            runs = [run for run in self.airflow.runs(dag_id) if run["dag_run_id"] not in known]
            for run in reversed(runs):  # oldest first, so that the last verdict remains
                if run["state"] == "success":
                    verdict = self.airflow.xcom(dag_id, run["dag_run_id"], "judge_windows")
                    if verdict["decision"] == "RETRAIN":
                        return verdict
            time.sleep(0.5)
        return verdict

    # --- checks -----------------------------------------------------------------------------------------------------

    def expect(self, holds: bool, sentence: str) -> None:
        """Stop the story when something is not as told."""
        if not holds:
            raise BatonError(f"demo: {sentence}")

    def expect_all(self, states: dict[str, str]) -> None:
        """Every run must have succeeded."""
        bad = {run: state for run, state in states.items() if state != "success"}
        self.expect(not bad, f"runs that should be green: {bad}")

    # --- people -----------------------------------------------------------------------------------------------------

    def repair_bad_rows(self, partition: str, truth: pd.DataFrame) -> dict[str, int]:
        """Repair what can be repaired from the ground truth, discard the rest, re-inject; returns counts before."""
        from baton import quarantine
        from baton.quarantine import Where

        here = Where(flow=FLOW, partition=partition)
        rows = quarantine.list_rows(here, limit=None)
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
        from baton.quarantine import Where

        quarantine.repair(Where(flow=FLOW, partition=partition), {"amount": "amount/100"}, actor="demo")
        self.expect_all(self.run_hours([partition]))

    def decide_cases(self, partitions: list[str]) -> dict[str, int]:
        """Analysts decide the open cases of these hours; simulated, with the error rate that the summary states."""
        from sqlalchemy import select

        from baton import cases, tables
        from baton.warehouse import read
        from baton_packs.financial_crime import accounts, simulate

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
        from baton import cases
        from baton_packs.financial_crime import accounts, simulate

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
