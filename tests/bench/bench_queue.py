"""200 runs of light flows queued at once, of three priorities: none lost, order and pools kept, the scheduler prompt meanwhile.

Each run is a chain of four tasks in the pools that Baton's flows name; `agents` has one slot, so that tasks wait there. All figures are
by Airflow's own record of each task: scheduled (what it depends on is done), queued (it has its slot), start, end.

A *hop* is from the end of a task to the start of the next in its run, without the time in which that one waited for its turn: until the slot
of its pool and of the executor that it then got became free. A *turn* lost is a task that was queued although one of a higher priority had been
scheduled before and its pool had room. Runs of one flow are let in four at a time, as always.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench_chain import until_known
from bench_sizing import rewrite

from baton.services.airflow_api import Orchestrator
from baton.services.supervisor import Services

RUNS = int(os.environ.get("BATON_BENCH_QUEUE_RUNS", "200"))
FLOWS = {"urgent": 10, "usual": 5, "whenever": 1}  # priority
CHAIN = {"prepare": "default_pool", "score": "scoring", "ask": "agents", "settle": "default_pool"}
DAGS = f'''"""Airflow DAGs of the benchmark."""
from airflow.sdk import task
from baton.airflow.flows import Flow


def chain(name, priority):
    with Flow(name, pack="financial_crime", cron=None, owner="bench", doc_md="light", priority=priority) as flow:
        value = 0
        for step, pool in {CHAIN}.items():

            @task(task_id=step, pool=pool)
            def work(before):
                return before + 1

            value = work(value)
    return flow


made = [chain(name, priority) for name, priority in {FLOWS}.items()]
'''


@dataclass(frozen=True)
class Task:
    """One task of one run; moments in seconds since 1970."""

    run: str
    name: str
    pool: str
    priority: int
    scheduled: float
    queued: float
    start: float
    end: float


@dataclass(frozen=True)
class Slots:
    """When slots were taken, from queued to end: of the executor and of each pool."""

    tasks: Sequence[Task]
    pools: Mapping[str, int]
    executor: int

    def full(self, pool: str | None) -> list[tuple[float, float]]:
        """Stretches of time in which a pool (None: the executor) had no slot free."""
        mine = [one for one in self.tasks if pool in (None, one.pool)]
        slots = self.executor if pool is None else self.pools[pool]
        moments = sorted([(one.end, -1) for one in mine] + [(one.queued, 1) for one in mine])
        found, taken, since = [], 0, 0.0
        for at, change in moments:
            if taken >= slots > taken + change:
                found.append((since, at))
            elif taken < slots <= taken + change:
                since = at
            taken += change
        return found


def hops(slots: Slots) -> list[float]:
    """Seconds of each hop."""
    full = {pool: slots.full(pool) + slots.full(None) for pool in slots.pools}
    order = list(CHAIN)
    by_name = {(one.run, one.name): one for one in slots.tasks}
    found = []
    for one in slots.tasks:
        if one.name == order[0]:
            continue
        before = by_name[one.run, order[order.index(one.name) - 1]]
        # slots that became free before went to others
        turn = max([until for _, until in full[one.pool] if until <= one.queued], default=0.0)
        found.append(one.start - before.end - max(0.0, turn - one.scheduled))
    return found


def lost_turns(slots: Slots) -> int:
    """Tasks that were queued before one of a higher priority that could have been."""
    full = {pool: slots.full(pool) for pool in slots.pools}
    ahead = [one for one in slots.tasks if one.priority > min(FLOWS.values())]
    return sum(
        any(
            one.priority > other.priority
            and one.scheduled < other.queued < one.queued
            and not any(since <= other.queued < until for since, until in full[one.pool])
            for one in ahead
        )
        for other in slots.tasks
    )


def most_at_once(tasks: Sequence[Task], pool: str) -> int:
    """The most tasks of a pool that ran at one moment."""
    moments = sorted(
        [(one.end, -1) for one in tasks if one.pool == pool] + [(one.start, 1) for one in tasks if one.pool == pool]
    )
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def queue(airflow: Orchestrator) -> tuple[list[Task], int, float]:
    """Queue all runs while their flows are paused, let go, and wait; their tasks, how many runs were lost or are not green, and seconds in all."""
    wanted = [(name, f"{name}-{number:03d}") for number in range(RUNS) for name in [list(FLOWS)[number % len(FLOWS)]]]
    for name in FLOWS:
        airflow.request("PATCH", f"/dags/{name}", json={"is_paused": True})
    runs = [(name, airflow.trigger(name, partition)) for name, partition in wanted]
    began = time.time()
    for name in reversed(FLOWS):  # the urgent ones last
        airflow.request("PATCH", f"/dags/{name}", json={"is_paused": False})
    states: dict[str, str] = {}
    deadline = time.monotonic() + 1800
    while not states.keys() >= {run for _, run in runs} and time.monotonic() < deadline:
        time.sleep(2)
        for name in FLOWS:
            states |= {
                one["dag_run_id"]: one["state"]
                for one in airflow.runs(name, limit=100)
                if one["state"] in ("success", "failed")
            }
    rows = [row for name, run in runs for row in airflow.tasks(name, run)]
    done = [row for row in rows if row["state"] == "success" and row["try_number"] == 1]
    bad = len(runs) - sum(states.get(run) == "success" for _, run in runs) + len(runs) * len(CHAIN) - len(done)
    return list(_tasks(done)), bad, max(_moment(row, "end_date") for row in done) - began


def _tasks(rows: Sequence[dict[str, Any]]) -> Iterator[Task]:
    for row in rows:
        moments = [_moment(row, name) for name in ("scheduled_when", "queued_when", "start_date", "end_date")]
        yield Task(
            f"{row['dag_id']}/{row['dag_run_id']}", row["task_id"], row["pool"], row["priority_weight"], *moments
        )


def _moment(row: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(row[name]).timestamp()


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """The figures; one run of each flow before, which warms."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "queue.py").write_text(DAGS)
        extra = {"BATON_SCHEDULES": "false"}
        with Services(
            folder / "home", dags_folder=folder / "dags", extra_env=extra, companions_of=["financial_crime"]
        ) as services:
            airflow = Orchestrator(services.airflow_url, services.token)
            for flow in FLOWS:
                until_known(airflow, flow)
                airflow.wait(flow, [airflow.trigger(flow, "warm")], timeout=300)
            pools = {one["name"]: one["slots"] for one in airflow.request("GET", "/pools")["pools"]}
            tasks, bad, seconds = queue(airflow)
    slots = Slots(tasks, pools, 2 * (os.cpu_count() or 1))  # as the plan sets the executor's
    waits = sorted(hops(slots))
    above = max(most_at_once(tasks, pool) - pools[pool] for pool in set(CHAIN.values()))
    through = {flow: statistics.median(one.end for one in tasks if one.run.startswith(f"{flow}/") and one.name == "settle")
               - min(one.scheduled for one in tasks) for flow in FLOWS}  # fmt: skip
    rate, busy = len(tasks) / seconds, sum(one.end - one.start for one in tasks) / len(tasks)
    rewrite(tasks={"per_second": round(rate, 2), "core_seconds": round(busy, 3)})
    shared = {"larger_is_better": False, "peer": None, "peer_value": None, "ratio": None, "seed": seed, "load": load,
              "required": True, "runs": RUNS, "tasks": len(tasks)}  # fmt: skip
    return [
        {"name": f"{RUNS} runs at once: runs and tasks lost, repeated or not green", "value": bad, "unit": "", "target": 0, **shared},
        {"name": "the same: turns lost to a lower priority", "value": lost_turns(slots), "unit": "tasks", "target": 0, **shared},
        {"name": "the same: most running in a pool above its slots", "value": max(0, above), "unit": "tasks", "target": 0, **shared},
        {"name": "the same: scheduler hop, p95", "value": waits[int(0.95 * len(waits))], "unit": "s", "target": 2.0,
         "median": statistics.median(waits), "worst": waits[-1], **shared},
        {"name": "the same: tasks a second", "value": rate, "unit": "1/s", "target": None, **shared,
         "larger_is_better": True, "required": False, "seconds": seconds, "median_seconds_until_through": through},
    ]  # fmt: skip
