"""Ten chained tasks that use pandas, MLflow, Great Expectations and LightGBM: Baton's services against stock Airflow.

Stock is the same Airflow version with its default configuration (LocalExecutor, SQLite, a database of its own), in the
same environment, one after the other on a machine that does nothing else. Seconds are from the start of the first task
to the end of the last, by Airflow's own record; a hop is from the end of a task to the start of the next.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from baton.services.airflow_api import Orchestrator
from baton.services.plan import choose_port
from baton.services.supervisor import Services

STAGES, RUNS = 10, 3
DAG = '''"""Airflow DAG of the benchmark: ten chained tasks with heavy imports."""

import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), catchup=False)
def chain():
    def step(number):
        @task(task_id=f"step_{number:02d}")
        def work(rows):
            import great_expectations, lightgbm, mlflow, pandas

            return int(pandas.DataFrame({"x": range(rows)})["x"].sum() % 1000) + 10

        return work

    value = 100
    for number in range(10):
        value = step(number)(value)


chain()
'''


def spans(airflow: Orchestrator, dag: str) -> list[tuple[float, float]]:
    """One run: start and end of each of its tasks in seconds since 1970, in their order."""
    run = airflow.trigger(dag)
    airflow.wait(dag, [run], timeout=600)
    tasks = sorted(airflow.tasks(dag, run), key=lambda task: task["task_id"])
    assert all(task["state"] == "success" for task in tasks), [task["state"] for task in tasks]
    moment = lambda task, name: datetime.fromisoformat(task[name]).timestamp()  # noqa: E731
    return [(moment(task, "start_date"), moment(task, "end_date")) for task in tasks]


def measure(airflow: Orchestrator) -> tuple[float, list[float]]:
    """One run: seconds from first start to last end, and its hops."""
    found = spans(airflow, "chain")
    hops = [start - end for (_, end), (start, _) in pairwise(found)]
    return found[-1][1] - found[0][0], hops


def until_known(airflow: Orchestrator, dag: str = "chain") -> None:
    """Wait until the DAG is parsed."""
    deadline = time.monotonic() + 180
    while dag not in airflow.dag_ids():
        if time.monotonic() > deadline:
            raise TimeoutError("the DAG was not parsed within 180 s")
        time.sleep(1)
    airflow.request("PATCH", f"/dags/{dag}", json={"is_paused": False})


@contextmanager
def stock(folder: Path, dags: Path) -> Any:
    """Airflow with its defaults: only addresses and folders are set, and the examples are left out."""
    port = choose_port(None, "stock")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "BATON", "PYTHONDONTWRITE"))}
    environment |= {
        "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__PORT": str(port), "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
    }  # fmt: skip
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    services = [
        subprocess.Popen([*airflow, *verb], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         start_new_session=True)
        for verb in (["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"])
    ]  # fmt: skip

    def token() -> str:
        passwords = json.loads((folder / "simple_auth_manager_passwords.json.generated").read_text())
        answer = httpx.post(f"http://127.0.0.1:{port}/auth/token", trust_env=False,
                            json={"username": "admin", "password": passwords["admin"]})  # fmt: skip
        return str(answer.json()["access_token"])

    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                token()
                break
            except (httpx.TransportError, FileNotFoundError, KeyError, ValueError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
        yield Orchestrator(f"http://127.0.0.1:{port}", token)
    finally:
        for service in services:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Measure both; the first run of each is not counted (it warms caches for both)."""
    figures: dict[str, tuple[float, float, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "chain.py").write_text(DAG)
        with stock(folder / "stock", folder / "dags") as airflow:
            until_known(airflow)
            figures["stock"] = _several(airflow)
        with Services(folder / "baton", dags_folder=folder / "dags") as services:
            airflow = Orchestrator(services.airflow_url, services.token)
            until_known(airflow)
            figures["baton"] = _several(airflow)
    versions = {p: version(p) for p in ("apache-airflow", "mlflow", "great-expectations", "lightgbm", "pandas")}
    peer = f"stock Airflow {versions['apache-airflow']}"
    shared = {"larger_is_better": False, "peer": peer, "seed": seed, "versions": versions, "load": os.getloadavg()[0]}
    (total, _, hops), (stock_total, _, stock_hops) = figures["baton"], figures["stock"]
    hop, stock_hop = statistics.median(hops), statistics.median(stock_hops)
    return [
        {"name": "chain of 10 heavy stages", "value": total, "unit": "s", "target": 5.0, "peer_value": stock_total,
         "ratio": stock_total / total, **shared},
        {"name": "chain: times faster than stock", "value": stock_total / total, "unit": "x", "target": 10.0,
         "peer_value": 1.0, "ratio": stock_total / total, **(shared | {"larger_is_better": True})},
        {"name": "hop between two tasks, median", "value": hop, "unit": "s", "target": 0.25, "peer_value": stock_hop,
         "ratio": stock_hop / hop if hop else None, **shared},
    ]  # fmt: skip


def _several(airflow: Orchestrator) -> tuple[float, float, list[float]]:
    """Median and worst total of the counted runs, and all their hops."""
    measure(airflow)
    totals, hops = zip(*(measure(airflow) for _ in range(RUNS)), strict=True)
    return statistics.median(totals), max(totals), [hop for some in hops for hop in some]
