"""The playbook: moves of demos' stories and of the end-to-end tests, each through the interface that a user has."""

import time
from typing import Any

from baton.errors import BatonError
from baton.names import APPROVE, JUDGE_WINDOWS, monitor_of, promote_of, train_of
from baton.registry.client import Registry
from baton.settings import settings
from baton.tracking.rest import credentials
from baton_demo.story import Demo


class Playbook:
    """Drives one Baton through Airflow's and MLflow's REST interfaces and the engine's own commands."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.airflow = demo.airflow
        self._promotions: dict[str, set[str]] = {}
        self._trainings: dict[str, set[str]] = {}

    # --- partitions -------------------------------------------------------------------------------------------------

    def run_partitions(
        self, partitions: list[str], dag_id: str, conf: dict[str, Any] | None = None, timeout: float = 300
    ) -> dict[str, str]:
        """Trigger a run per partition, several in flight, and wait; returns state by partition."""
        runs = {self.airflow.trigger(dag_id, partition, conf): partition for partition in partitions}
        with self.demo.progress(f"{dag_id}: {len(runs)} partitions", len(runs)) as advance:
            states = self.airflow.wait(dag_id, list(runs), timeout=timeout, on_change=advance)
        return {runs[run]: state for run, state in states.items()}

    # --- models -----------------------------------------------------------------------------------------------------

    def train(self, models: list[str], conf: dict[str, Any] | None = None) -> None:
        """Trigger the training DAGs side by side and wait."""
        runs = {}
        for model in models:
            self._promotions[model] = self.known(promote_of(model))
            runs[model] = self.airflow.trigger(train_of(model), conf=conf)
        for model, run in runs.items():
            self.expect_all(self.airflow.wait(train_of(model), [run], timeout=400))
            self._trainings[model] = self.known(train_of(model))

    def await_training(self, model: str) -> None:
        """Wait for the training that the drift event started by itself."""
        run = self.airflow.wait_for_run(train_of(model), self._trainings[model], timeout=60)
        self.expect_all(self.airflow.wait(train_of(model), [run], timeout=400))

    def promote_in_airflow(self, model: str) -> None:
        """Approve the challenger with the call that the UI's Required Actions page makes."""
        dag_id = promote_of(model)
        run = self.airflow.wait_for_run(dag_id, self._promotions[model], timeout=60)
        self.airflow.answer(dag_id, run, APPROVE, approve=True, timeout=120)
        self.expect_all(self.airflow.wait(dag_id, [run], timeout=120))
        self._promotions[model].add(run)  # the next one may have begun by the time that somebody looks
        self.demo.report(f"  {model}: approved through the call of Airflow's Required Actions page")

    def promote_in_registry(self, model: str) -> None:
        """Approve as the reviewer does in MLflow: the tag `baton.review` on the version."""
        dag_id = promote_of(model)
        run = self.airflow.wait_for_run(dag_id, self._promotions[model], timeout=60)
        self._until_asked(dag_id, run)
        reviewer = Registry(user=credentials(settings().home, "reviewer"))
        version = reviewer.alias(model, "challenger")
        if version is None:
            raise BatonError(f"{model} has no challenger")
        reviewer.tag(model, version, "baton.review", "approved")
        self.expect_all(self.airflow.wait(dag_id, [run], timeout=120))
        self._promotions[model].add(run)  # the next one may have begun by the time that somebody looks
        self.demo.report(f"  {model}: approved by the tag baton.review in the MLflow registry")

    def _until_asked(self, dag_id: str, run: str, timeout: float = 120) -> None:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            state = next((t["state"] for t in self.airflow.tasks(dag_id, run) if t["task_id"] == APPROVE), None)
            if state in ("deferred", "awaiting_input"):
                return
            time.sleep(0.3)
        raise BatonError(f"{dag_id} did not ask for approval within {timeout:.0f} s")

    def known(self, dag_id: str) -> set[str]:
        """Run ids of a DAG."""
        return {row["dag_run_id"] for row in self.airflow.runs(dag_id)}

    # --- drift ------------------------------------------------------------------------------------------------------

    def monitor_verdict(self, model: str, known: set[str], partition: str = "", patience: float = 90) -> dict[str, Any]:
        """The first RETRAIN of the monitor runs beyond `known`, else what was said last after `patience` seconds.

        Args:
            partition: any verdict that has seen this window is enough.
        """
        dag_id, until, verdict = monitor_of(model), time.monotonic() + patience, {}
        while time.monotonic() < until:
            runs = [run for run in self.airflow.runs(dag_id) if run["dag_run_id"] not in known]
            for run in reversed(runs):  # oldest first, so that the last verdict remains
                if run["state"] == "success":
                    verdict = self.airflow.xcom(dag_id, run["dag_run_id"], JUDGE_WINDOWS)
                    if verdict["decision"] == "RETRAIN" or (partition and verdict.get("newest") == partition):
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
