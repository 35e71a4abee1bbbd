"""Kill a process in the middle of a stage and see the run through: used by `make gameday` and the e2e tests."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from baton.effects import outbox
from baton.published.rows import DECISIONS, KEY, batches, in_force
from baton.quarantine.records import accounting
from baton.record import tables
from baton.record.warehouse import read
from baton.services.airflow_api import DONE, Orchestrator
from baton.settings import settings
from baton.stages.slots import Slot, head

FLOW, WEEKLY = "transaction_monitoring", "replenishment"
STAGES = {
    FLOW: ("ingest", "contract", "score__card_fraud", "score__transaction_anomaly", "decide", "publish"),
    WEEKLY: (  # all but those that wait for a person
        "ingest", "contract", "ingest__plan", "contract__plan", "ingest__stock", "contract__stock", "publish_truth", "history",
        "score__demand", "propose", "simulate", "advise", "decide", "publish", "report", "order", "send",
    ),
}  # fmt: skip
VICTIMS = ("task", "worker", "scheduler", "dag-processor", "api-server", "mlflow")
_PATHS = (str(Path(__file__).parent / "hold"), os.environ.get("PYTHONPATH", ""))
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, _PATHS))}


@dataclass(frozen=True)
class Outcome:
    """What became of one kill; lost and duplicated are counted once a run, with its first kill."""

    flow: str
    stage: str
    victim: str
    state: str  # of the run
    seconds: float  # from the kill until the stage had succeeded
    lost: int = 0
    duplicated: int = 0


def kill(services: Any, airflow: Orchestrator, folder: Path, partition: str, stage: str, victim: str) -> Outcome:
    """Run an hour that never ran, with one kill."""
    return drill(services, airflow, folder, FLOW, partition, {stage: victim})[0]


def drill(
    services: Any, airflow: Orchestrator, folder: Path, flow: str, partition: str, victims: Mapping[str, str],
    answer: Callable[[str], None] = lambda run: None,
) -> list[Outcome]:  # fmt: skip
    """Run a partition that never ran; kill each stage's victim while that stage is between computing and committing.

    Args:
        answer: called with the run's id once, when its review asks.
    """
    left, outcomes = dict(victims), []
    hold(folder, left)
    run = airflow.trigger(flow, partition)
    try:
        while left:
            stage, pid = held(folder, airflow, flow, run, left)
            victim, began = left.pop(stage), time.monotonic()
            if victim in ("task", "worker"):
                os.kill(pid if victim == "task" else psutil.Process(pid).ppid(), signal.SIGKILL)
            else:
                _strike(services, victim)
            if victim == "scheduler":
                _gone(pid)  # it takes its tasks along
            hold(folder, left)  # an orphan wakes now, and must not be able to commit over another
            state = _stage_ends(airflow, flow, run, stage)
            outcomes.append(Outcome(flow, stage, victim, state, round(time.monotonic() - began, 1)))
    finally:
        hold(folder, ())
    state = _run_ends(airflow, flow, run, answer)
    lost, duplicated = rows(partition, flow)
    outcomes = [replace(one, state=state) for one in outcomes]
    return [replace(outcomes[0], lost=lost, duplicated=duplicated), *outcomes[1:]]


def _strike(services: Any, name: str) -> None:
    """Kill a service; one that died a moment ago is started again first."""
    deadline = time.monotonic() + 60
    while name not in services.pids() and time.monotonic() < deadline:
        time.sleep(0.05)
    services.kill(name)


def _gone(pid: int) -> None:
    """Wait until a process has ended; 5 s at most."""
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def hold(folder: Path, stages: Iterable[str]) -> None:
    """Have these stages stop in their middle, and no others."""
    part = folder / "hold.part"
    part.write_text("\n".join(stages))
    part.replace(folder / "hold")


def held(folder: Path, airflow: Orchestrator, flow: str, run: str, stages: Iterable[str]) -> tuple[str, int]:
    """Wait until one of the stages stands in its middle; returns it and its process, which is alive."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        for stage in stages:
            file = folder / f"held-{stage}"
            if file.exists() and (text := file.read_text()) and psutil.pid_exists(int(text)):
                file.unlink()
                return stage, int(text)
        time.sleep(0.05)
    at = [(task["task_id"], task["state"]) for task in airflow.tasks(flow, run)]
    raise TimeoutError(f"{flow} {run}: none of {list(stages)} was reached: {at}")


def _stage_ends(airflow: Orchestrator, flow: str, run: str, stage: str) -> str:
    deadline = time.monotonic() + 240
    while True:
        states = {task["state"] for task in airflow.tasks(flow, run) if task["task_id"] == stage}
        if states == {"success"} or states & {"failed", "upstream_failed"} or time.monotonic() > deadline:
            return str(sorted(states, key=str)[0])
        time.sleep(0.25)


def _run_ends(airflow: Orchestrator, flow: str, run: str, answer: Callable[[str], None]) -> str:
    deadline, asked = time.monotonic() + 240, False
    while (state := airflow.run(flow, run)["state"]) not in DONE and time.monotonic() < deadline:
        review = [task["state"] for task in airflow.tasks(flow, run) if task["task_id"] == "review"]
        if not asked and review and review[0] in ("awaiting_input", "deferred"):
            answer(run)
            asked = True
        time.sleep(0.3)
    return str(state)


def rows(partition: str, flow: str = FLOW) -> tuple[int, int]:
    """Rows, commits and orders of a partition that are missing, and that are there twice.

    The contract's rows against those it read, the decisions against what `decide` made (and in the hourly flow against the
    contract's good rows), one commit for the same digest of a slot (a delivery whose effects have left since has another),
    and the orders that the purchasing service holds against the outbox.
    """
    good, decided = head(Slot(flow, "contract", partition)), head(Slot(flow, "decide", partition))
    assert good is not None
    assert decided is not None
    accounts = accounting(flow, partition)
    commits, place = tables.commits, in_force(flow, partition)
    keys = [key for batch in batches(place, DECISIONS) for key in batch.column(KEY).to_pylist()] if place else []
    published, distinct = len(keys), len(set(keys))
    with read() as conn:
        slots = conn.execute(
            select(func.count()).where(commits.c.flow == flow, commits.c.partition == partition)
            .group_by(commits.c.stage, commits.c.map_index, commits.c.digest)
        ).scalars().all()  # fmt: skip
    wanted = max(decided.ref.rows, good.ref.rows) if flow == FLOW else decided.ref.rows
    astray = accounts["rows_in"] - good.ref.rows - accounts["open"] - accounts["discarded"]
    lost = abs(astray) + max(0, wanted - distinct)
    twice = (published - distinct) + max(0, distinct - wanted) + sum(slots) - len(slots)
    missing, surplus = _orders(flow, partition)
    return lost + missing, twice + surplus


def _orders(flow: str, partition: str) -> tuple[int, int]:
    """Orders that were to go out and are not with the purchasing service, and those there that nobody knows."""
    if flow != WEEKLY:
        return 0, 0
    wanted = {one.key for one in outbox.effects(flow, partition) if one.state != outbox.WITHDRAWN}
    with closing(sqlite3.connect(settings().home / "purchasing.db")) as book:
        there = [key for (key,) in book.execute("SELECT key FROM orders") if f"-{partition[:10]}-" in key]
    return len(wanted - set(there)), len(there) - len(wanted & set(there))
