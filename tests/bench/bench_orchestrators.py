"""The published comparison of orchestrators: 40 light tasks in a chain (fibonacci 10), 10 long ones (fibonacci 33).

    python tests/bench/bench_orchestrators.py

Peers in the same run, one after the other: stock Airflow as in `bench_chain`, and Dagster with its multiprocess executor, in an
environment of its own that is made in a temporary folder and goes with it. Start and end of a task are by each one's own record.
A task's share of the time is what the tasks' spans add up to, over the whole from the first start to the last end; beside it
stands the stricter share: only what the same fibonacci takes in a plain process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench_chain import spans, stock, until_known

from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services

DAGSTER, RUNS = "1.13.29", 3
CHAINS = {"light": (40, 10), "long": (10, 33)}  # tasks, fibonacci of
FIBONACCI = """
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
"""
AIRFLOW_DAG = f'''"""Airflow DAGs of the benchmark."""
import datetime
from airflow.sdk import dag, task
{FIBONACCI}
def chain(name, count, number):
    @dag(dag_id=name, schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc), catchup=False)
    def made():
        def step(at):
            @task(task_id=f"step_{{at:02d}}")
            def work(before):
                fibonacci(number)
                return before + 1

            return work

        value = 0
        for at in range(count):
            value = step(at)(value)

    made()


for name, (count, number) in {CHAINS}.items():
    chain(name, count, number)
'''
DAGSTER_JOBS = f"""
import json
import sys
import tempfile

from dagster import DagsterInstance, In, execute_job, job, multiprocess_executor, op, reconstructable
{FIBONACCI}
@op(ins={{"before": In(int, default_value=0)}})
def light_step(before):
    fibonacci({CHAINS["light"][1]})
    return before + 1


@op(ins={{"before": In(int, default_value=0)}})
def long_step(before):
    fibonacci({CHAINS["long"][1]})
    return before + 1


@job(executor_def=multiprocess_executor)
def light():
    value = light_step()
    for _ in range({CHAINS["light"][0]} - 1):
        value = light_step(value)


@job(executor_def=multiprocess_executor)
def long():
    value = long_step()
    for _ in range({CHAINS["long"][0]} - 1):
        value = long_step(value)


if __name__ == "__main__":
    found = {{}}
    with tempfile.TemporaryDirectory() as folder, DagsterInstance.local_temp(folder) as instance:
        for name, made in (("light", light), ("long", long)):
            found[name] = []
            for _ in range({RUNS}):
                result = execute_job(reconstructable(made), instance=instance, raise_on_error=True)
                steps = instance.get_run_step_stats(result.run_id)
                found[name].append(sorted((step.start_time, step.end_time) for step in steps))
    json.dump(found, open(sys.argv[1], "w"))
"""
Runs = dict[str, list[list[tuple[float, float]]]]


def by_airflow(airflow: Orchestrator) -> Runs:
    """Runs of both chains; one more of each before, which warms."""
    found: Runs = {}
    for name in CHAINS:
        until_known(airflow, name)
        found[name] = [spans(airflow, name) for _ in range(RUNS + 1)][1:]
    return found


def by_dagster(folder: Path) -> Runs | None:
    """Runs of both chains; None, with a message, where Dagster cannot be had."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    command = [str(python), "-m", "pip", "install", "--quiet", f"dagster=={DAGSTER}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"bench_orchestrators: Dagster {DAGSTER} cannot be installed: {done.stderr[-300:]}\n")
        return None
    (folder / "chains.py").write_text(DAGSTER_JOBS)
    quiet = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"DAGSTER_DISABLE_TELEMETRY": "yes"}
    subprocess.run([str(python), "chains.py", "found.json"], cwd=folder, env=quiet, check=True, capture_output=True)
    found: Runs = json.loads((folder / "found.json").read_text())
    return found


def plain() -> float:
    """Median seconds of the long task's work in a plain process."""
    code = f"{FIBONACCI}\nimport time; started = time.perf_counter(); fibonacci({CHAINS['long'][1]}); print(time.perf_counter() - started)"
    took = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(5)
    ]
    return statistics.median(took)


def shape(runs: Runs, work: float) -> dict[str, float]:
    """Medians over the runs: seconds a light task, the long tasks' share, and the share of their work alone."""
    whole = {name: [run[-1][1] - run[0][0] for run in found] for name, found in runs.items()}
    inside = [sum(end - start for start, end in run) for run in runs["long"]]
    return {
        "light": statistics.median(whole["light"]) / CHAINS["light"][0],
        "recorded": statistics.median(part / total for part, total in zip(inside, whole["long"], strict=True)),
        "work": CHAINS["long"][0] * work / statistics.median(whole["long"]),
    }


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Figures of Baton beside those of each peer."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "chains.py").write_text(AIRFLOW_DAG)
        work = plain()
        peers = {f"Dagster {DAGSTER} multiprocess": by_dagster(folder)}
        with stock(folder / "stock", folder / "dags") as airflow:
            peers[f"stock Airflow {version('apache-airflow')}"] = by_airflow(airflow)
        with Services(folder / "baton", dags_folder=folder / "dags") as services:
            ours = shape(by_airflow(Orchestrator(services.airflow_url, services.token)), work)
    results = []
    for peer, runs in peers.items():
        theirs = shape(runs, work) if runs else None
        for key, title, unit, target in (
            ("light", "40 light tasks in a chain, each", "s", 0.35),
            ("recorded", "10 long tasks in a chain: time in the task", "share", 0.85),
            ("work", "the same, its work alone", "share", None),
        ):
            value, beside = ours[key], theirs[key] if theirs else None
            larger = key != "light"
            ratio = None if beside is None else (value / beside if larger else beside / value)
            results.append({"name": f"{title}, beside {peer}", "value": value, "unit": unit, "target": target, "peer": peer,
                            "peer_value": beside, "ratio": ratio, "larger_is_better": larger, "seed": seed, "load": load,
                            "at": time.time()})  # fmt: skip
    return results


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(20, Path()), indent=1) + "\n")
