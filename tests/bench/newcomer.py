"""What a newcomer does with the services: start them, have a model trained and approve it, answer what asks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from baton.errors import ServiceError
from baton.services.airflow_api import Orchestrator
from baton.services.health import airflow_token
from baton.settings import read_services


@contextmanager
def up(project: Path, environment: Mapping[str, str], pack: str) -> Iterator[Orchestrator]:
    """`baton up --pack`, until it is well; its state is in the project's `.baton`."""
    home, log = project / ".baton", project / "up.log"
    own = project / ".venv" / "bin" / "python"
    command = [str(own) if own.exists() else sys.executable, "-m", "baton.cli.app", "up", "--pack", pack]
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=project, env=dict(environment), stdout=out, stderr=out)
    try:
        while "Ctrl-C" not in log.read_text():
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.3)
        url = read_services(home)["airflow"]["url"]
        password = json.loads((home / "secrets" / "airflow_users.json").read_text())["admin"]
        yield Orchestrator(url, lambda: airflow_token(url, "admin", password, patience=60))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def trained(airflow: Orchestrator, model: str) -> None:
    """Its training, which starts by itself once where its hour is past; then a person's yes."""
    until = time.monotonic() + 120
    while f"{model}_train" not in airflow.dag_ids():
        assert time.monotonic() < until, f"{model}_train is not there"
        time.sleep(0.5)
    runs = [row["dag_run_id"] for row in airflow.runs(f"{model}_train")] or [airflow.trigger(f"{model}_train")]
    states = airflow.wait(f"{model}_train", runs, timeout=400)
    assert "success" in states.values(), states
    promotion = airflow.wait_for_run(f"{model}_promote", set(), timeout=90)
    answered(airflow, f"{model}_promote", promotion, "approve")
    succeeded(airflow, f"{model}_promote", promotion)


def succeeded(airflow: Orchestrator, dag: str, run: str, timeout: float = 300) -> None:
    """Wait for a run; what is not green in it is said with the end of its log."""
    state = airflow.wait(dag, [run], timeout=timeout)[run]
    if state != "success":
        failed = [task for task in airflow.tasks(dag, run) if task["state"] == "failed"]
        where = f"/dags/{dag}/dagRuns/{run}/taskInstances"
        said = [airflow.request("GET", f"{where}/{task['task_id']}/logs/{task['try_number']}") for task in failed]
        words = [str([line.get("event") for line in one["content"]])[-1500:] for one in said]
        raise AssertionError(
            f"{dag} {run} is {state}: {dict(zip([task['task_id'] for task in failed], words, strict=True))}"
        )


def answered(airflow: Orchestrator, dag: str, run: str, task: str) -> None:
    """A person's yes, where one is asked for."""
    try:
        airflow.answer(dag, run, task, approve=True, timeout=180)
    except ServiceError as error:
        if "nothing to answer" not in str(error):
            raise
