"""Kill one process in the middle of one stage and see the run through: used by `make gameday` and the e2e tests."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from baton.quarantine.records import accounting
from baton.record import tables
from baton.record.warehouse import read
from baton.services.airflow_api import Orchestrator
from baton.stages.slots import Slot, head

FLOW = "transaction_monitoring"
STAGES = ("ingest", "contract", "score__card_fraud", "score__transaction_anomaly", "decide", "publish")
VICTIMS = ("task", "worker", "scheduler")
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent / "hold")}


@dataclass(frozen=True)
class Outcome:
    """What became of one kill."""

    stage: str
    victim: str
    state: str
    seconds: float  # from the kill to the end of the run
    lost: int
    duplicated: int


def kill(services: Any, airflow: Orchestrator, folder: Path, partition: str, stage: str, victim: str) -> Outcome:
    """Run a partition that never ran, kill the victim while `stage` is between computing and committing, wait for the end."""
    (folder / "held").unlink(missing_ok=True)
    (folder / "hold").write_text(stage)
    try:
        run = airflow.trigger(FLOW, partition)
        pid = held(folder, airflow, run, stage)
        began = time.monotonic()
        if victim == "scheduler":
            services.kill("scheduler")
        else:
            os.kill(pid if victim == "task" else psutil.Process(pid).ppid(), signal.SIGKILL)
    finally:
        (folder / "hold").unlink(missing_ok=True)  # an orphan wakes now, and must not be able to commit over another
    state = airflow.wait(FLOW, [run], timeout=240)[run]
    return Outcome(stage, victim, state, round(time.monotonic() - began, 1), *rows(partition))


def held(folder: Path, airflow: Orchestrator, run: str, stage: str) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "held").exists() and (text := (folder / "held").read_text()):
            return int(text)
        time.sleep(0.05)
    raise TimeoutError(f"{stage} was not reached: {[(t['task_id'], t['state']) for t in airflow.tasks(FLOW, run)]}")


def rows(partition: str) -> tuple[int, int]:
    """Rows lost and duplicated in a partition, by the contract's good rows against what is published."""
    good = head(Slot(FLOW, "contract", partition))
    accounts = accounting(FLOW, partition)
    table = tables.decisions
    with read() as conn:
        here = (table.c.flow == FLOW) & (table.c.partition == partition)
        published = conn.execute(select(func.count()).select_from(table).where(here)).scalar() or 0
        twice = conn.execute(
            select(func.count()).select_from(select(table.c.entity_key).where(here).group_by(table.c.entity_key)
                                             .having(func.count() > 1).subquery())
        ).scalar() or 0  # fmt: skip
    assert good is not None
    lost = max(0, good.ref.rows - published) + (
        accounts["rows_in"] - sum(accounts[k] for k in ("published", "open", "discarded"))
    )
    return lost, twice + max(0, published - good.ref.rows)
