"""Scoring 2 million rows x 29 by `engine: spark` on Sail, beside tasks that share the same batch: two of them, on two cores.

    python tests/bench/bench_spark.py [seed]

Both score the same parts with the same signed version (the pack's boosting, one thread each), give the same share of reason codes and
check the contract of the scores, and both write parts and commit under the slot protocol. The tasks are processes that have
imported what they need before the clock starts, as Airflow's warm workers have; so has the cluster, which scored a few rows before. Times
are medians of three rounds, alternating; CPU is that of all processes: tasks, or task and server.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil

from baton.data import datasets, parts
from baton.data.datasets import DatasetRef
from baton.engines.spark import SparkCluster
from baton.registry.identity import Identity
from baton.registry.package import Submission, package
from baton.settings import settings
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.stages.run import run as run_job
from baton.steps import score as scoring

HERE = Path(__file__).parent
ROWS, CHUNK, TASKS, ROUNDS = 2_000_000, 100_000, 2, 3
HOUR = "2026-01-01T00:00:00"


class Clustered(Unconnected):
    """Connections that all lead to one cluster."""

    def __init__(self, port: int) -> None:
        self.port = port

    def cluster(self, conn_id: str) -> SparkCluster:
        """The cluster."""
        return SparkCluster("127.0.0.1", self.port, tls=False)


def job(ref: DatasetRef, stage: str, attempt: int, port: int = 0, map_index: int = -1) -> StageJob[Any]:
    """The stage of a flow that scores; a slot of its own for each attempt, so that nothing is found done."""
    options = {"model": "card_fraud", **({"engine": "spark"} if port else {})}
    return StageJob(
        "financial_crime", "bench", f"{stage}{attempt}", HOUR, "baton.steps.score:score", {"data": ref}, options, "scores",
        {"card_fraud": 1}, connections=Clustered(port), map_index=map_index,
    )  # fmt: skip


def on_the_shelf(folder: Path) -> None:
    """Have the step find its version in a folder."""
    shelf = SimpleNamespace(download=lambda name, number, consumer: folder, version_url=lambda name, number: "")
    scoring.Registry = lambda: shelf  # type: ignore[assignment,misc]


def batch(rows: Any, rng: np.random.Generator, count: int, name: str) -> DatasetRef:
    """So many transactions, written as a stage would."""
    with datasets.DatasetWriter(name, HOUR) as writer:
        for start in range(0, count, CHUNK):
            frame = rows(rng, min(CHUNK, count - start))
            frame["transaction_id"] += start
            frame["_row"] += start
            writer.add(frame)
        return writer.close()


def shares(ref: DatasetRef) -> list[DatasetRef]:
    """The batch's parts, shared out among the tasks."""
    have, found = parts.of_manifest(ref.uri, ref.content_sha256), []
    for number in range(TASKS):
        mine = have[len(have) * number // TASKS : len(have) * (number + 1) // TASKS]
        made = parts.put_manifest(f"bench/share{number}.parquet", mine, lambda point: None)
        found.append(DatasetRef(made.uri, made.rows, ref.schema_fingerprint, made.sha256, ref.partition))
    return found


def by_tasks(shared: list[DatasetRef], folder: Path, attempt: int) -> tuple[float, float, list[DatasetRef]]:
    """Seconds, CPU seconds and results of the tasks side by side."""
    given = {**os.environ, "OMP_NUM_THREADS": "1"}
    tasks = []
    for number, ref in enumerate(shared):
        command = [sys.executable, __file__, "task", str(folder), json.dumps(ref.to_dict()), str(attempt), str(number)]
        tasks.append(subprocess.Popen(command, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for task in tasks:
        assert task.stdout is not None
        if task.stdout.readline() != "ready\n":
            raise RuntimeError("a task did not start")
    began = time.perf_counter()
    for task in tasks:
        assert task.stdin is not None
        task.stdin.write("go\n")
        task.stdin.flush()
    said = [json.loads(task.stdout.readline()) for task in tasks if task.stdout is not None]
    seconds = time.perf_counter() - began
    for task in tasks:  # that they end is not part of the work
        task.communicate()
    return seconds, sum(one["cpu"] for one in said), [DatasetRef.from_dict(one["ref"]) for one in said]


def task(folder: str, ref: str, attempt: str, number: str) -> None:
    """One of the tasks."""
    on_the_shelf(Path(folder))
    own = job(DatasetRef.from_dict(json.loads(ref)), "score", int(attempt), map_index=int(number))
    list(warmed(Path(folder)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    before = cpu()
    result = run_job(own)
    sys.stdout.write(json.dumps({"cpu": cpu() - before, "ref": result.ref.to_dict()}) + "\n")
    sys.stdout.flush()


def warmed(folder: Path) -> Iterator[None]:
    """What a warm worker has imported: Great Expectations, LightGBM."""
    import great_expectations

    from baton.families import load

    yield load(folder)
    yield great_expectations


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def by_cluster(ref: DatasetRef, port: int, server: int, attempt: int) -> tuple[float, float, DatasetRef]:
    """The same of the task that orders, and of the server."""

    def used() -> float:
        times = psutil.Process(server).cpu_times()
        return times.user + times.system + cpu()

    before, began = used(), time.perf_counter()
    result = run_job(job(ref, "spark", attempt, port))
    seconds = time.perf_counter() - began
    assert not result.cached
    return seconds, used() - before, result.ref


def difference(one: DatasetRef, others: list[DatasetRef]) -> tuple[int, float]:
    """Rows whose key, model, version or reasons differ, and by how much the scores do at most."""
    columns = ["entity_key", "model", "version", "reasons", "_row", "score"]
    here = pd.concat([batch.to_pandas() for batch in datasets.read_batches(one, columns)], ignore_index=True)
    there = pd.concat(
        [batch.to_pandas() for ref in others for batch in datasets.read_batches(ref, columns)], ignore_index=True
    )
    if len(here) != len(there):
        return abs(len(here) - len(there)), float("nan")
    same = (here[columns[:-1]].fillna("") == there[columns[:-1]].fillna("")).all(axis=1)
    return int((~same).sum()), float((here.score - there.score).abs().max())


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Time and CPU of both, and by how much their rows and scores differ."""
    load_average, rng = os.getloadavg()[0], np.random.default_rng(seed)
    plain = runpy.run_path(str(HERE / "bench_scoring.py"))
    sail = runpy.run_path(str(HERE.parent / "integration" / "spark_server.py"))
    plain["rows"].__globals__["FEATURES"] = 29
    figures: dict[str, list[tuple[float, float]]] = {"tasks": [], "cluster": []}
    with plain["own_home"]() as home, sail["sailing"](home / "sail.log") as (port, process):
        plain["fit"](home, "boosting", rng, seed)
        folder, example = home / "version", plain["rows"](rng, 2)
        identity = Identity("card_fraud", "run", "m-1", "", "2026-01-01T00:00:00+00:00")
        given = Submission("card_fraud", home / "boosting", "run", "classification", example, "# card_fraud")
        package(given, identity, folder, settings().keys_dir)
        on_the_shelf(folder)
        few = [batch(plain["rows"], rng, 1_000, f"bench/few{number}.parquet") for number in range(2)]
        large = batch(plain["rows"], rng, ROWS, "bench/batch.parquet")
        shared = shares(large)
        for number, ref in enumerate(few):  # imports on the workers
            by_cluster(ref, port, process.pid, 100 + number)
        for attempt in range(ROUNDS):
            seconds, used, others = by_tasks(shared, folder, attempt)
            figures["tasks"].append((seconds, used))
            seconds, used, made = by_cluster(large, port, process.pid, attempt)
            figures["cluster"].append((seconds, used))
        rows, apart = difference(made, others)
        peak = psutil.Process(process.pid).memory_info().rss / 1e6
    ours, peer = (tuple(map(statistics.median, zip(*figures[name], strict=True))) for name in ("cluster", "tasks"))
    shared_facts = {
        "seed": seed, "load": load_average, "larger_is_better": False, "rounds": figures, "server_rss_mb": peak,
        "versions": {name: version(name) for name in ("pysail", "pyspark-client", "lightgbm", "pyarrow")},
    }  # fmt: skip
    found = []
    for place, (name, unit) in enumerate((("wall", "s"), ("cpu", "s"))):
        more = {
            "peer": f"{TASKS} tasks that share the batch",
            "peer_value": peer[place],
            "ratio": ours[place] / peer[place],
        }
        found += [
            {"name": f"2M rows x 29, {name}", "value": ours[place], "unit": unit, "target": None, **more, **shared_facts},
            {"name": f"{name} against tasks", "value": ours[place] / peer[place], "unit": "times", "target": 1.5, **more,
             **shared_facts},
        ]  # fmt: skip
    none = {"peer": None, "peer_value": None, "ratio": None}
    return [
        *found,
        {"name": "rows that differ", "value": rows, "unit": "rows", "target": 0, **none, **shared_facts},
        {"name": "scores apart", "value": apart, "unit": "probability", "target": 1e-12, **none, **shared_facts},
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["task"]:
        task(*sys.argv[2:])
    else:
        sys.stdout.write(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path()), indent=1) + "\n")
