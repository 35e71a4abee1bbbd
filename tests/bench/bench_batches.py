"""A large batch through `transaction_monitoring`, one worker and two, beside a plain script in one process.

    python tests/bench/bench_batches.py --rows 1000000 10000000 [--publish] [--seed 20]     also 50000000

The stages are run as Airflow's tasks run them: a worker has imported everything and forks a process for each task; a worker is
pinned to a core of its own. Stages whose rows depend on no others are shared by tasks (`baton.stages.groups`), which the
workers take as they get free. Peak memory is that of the largest task process, what its worker imported included. The peer reads the
same file in batches, judges the contract's rules with DuckDB, scores with the same models (boosted trees by
LightGBM's own `predict` and `pred_contrib`, and once by Baton's), decides by the same rule and writes Parquet;
its CPU is that of the whole process without its imports, ours that of all task processes. Rows are drawn by a seed; every
transaction must come out once. BATON_BENCH_ROWS gives `make bench` other sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

SIZES = "1000000 10000000"
FLOW, PACK, PARTITION = "transaction_monitoring", "financial_crime", "2026-11-20T09:00:00"
MODELS = {"card_fraud": "boosting", "transaction_anomaly": "pca"}
STEPS = {"ingest": "baton.steps.ingest:ingest", "read": "baton.steps.ingest:read_pieces", "contract": "baton.steps.contract:contract", "judge": "baton.steps.contract:judge",
         "decide": "baton_packs.financial_crime.steps:combine", "publish": "baton.steps.publish:publish"}  # fmt: skip
CHUNK = 250_000


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Each size with one worker and with two, and the peer."""
    return measure([int(one) for one in os.environ.get("BATON_BENCH_ROWS", SIZES).split()], seed, publish=False)


def measure(sizes: list[int], seed: int, publish: bool) -> list[dict[str, Any]]:
    """The figures of all sizes."""
    shared = {
        "seed": seed,
        "load": os.getloadavg()[0],
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "larger_is_better": False,
    }
    results: list[dict[str, Any]] = []
    peaks = []
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="baton-batches-", dir=os.environ.get("BATON_BENCH_DIR")) as name:
            folder = Path(name)
            _part(folder, "prepare", rows, seed)
            one, two = (_part(folder, "flow", workers, int(publish)) for workers in (1, 2))
            peer, quick = (_part(folder, "peer", rows, ours) for ours in (0, 1))
        peaks.append(one["peak"])
        wrong = sum(part[name] for part in (one, two) for name in ("lost", "doubled"))
        scripts = [{"peer": name, "peer_value": its["cpu"], "ratio": one["cpu"] / its["cpu"], "value": one["cpu"] / its["cpu"]}
                   for name, its in (("plain script", peer), ("plain script, Baton's trees", quick))]  # fmt: skip
        mapped = {
            workers: sum(made["seconds"][name] for name in ("ingest", "judge", "score", "decide"))
            for workers, made in ((1, one), (2, two))
        }
        size = f"{rows:,} rows"
        results += [
            {"name": f"{size}: seconds, one worker", "value": one["total"], "unit": "s", "target": None, **shared,
             "stages": one["seconds"], "stages_two": two["seconds"]},
            {"name": f"{size}: CPU against a plain script", "unit": "x", "target": 1.3, **shared, **scripts[0]},
            {"name": f"{size}: CPU against that script with Baton's trees", "unit": "x", "target": None, **shared, **scripts[1]},
            {"name": f"{size}: two workers against one", "value": one["total"] / two["total"], "unit": "x", "target": 1.8,
             **shared, "larger_is_better": True},
            {"name": f"{size}: the same, stages that tasks share", "value": mapped[1] / mapped[2], "unit": "x", "target": 1.8,
             **shared, "larger_is_better": True},
            {"name": f"{size}: peak of a task process", "value": max(one["peak"], two["peak"]), "unit": "MB", "target": 1000.0,
             **shared, "by_stage": one["peaks"], "peer": "plain script", "peer_value": peer["peak"]},
            {"name": f"{size}: rows lost or doubled", "value": wrong, "unit": "rows", "target": 0, **shared},
        ]  # fmt: skip
    flat = {
        "name": "peak, largest against smallest",
        "value": peaks[-1] / peaks[0],
        "unit": "x",
        "target": 1.15,
        **shared,
    }
    return [*results, flat] if len(sizes) > 1 else results


def _part(folder: Path, part: str, *arguments: int) -> dict[str, Any]:
    """A part of the bench in a process of its own, single-threaded as the services' are."""
    given = {**os.environ, "BATON_WAREHOUSE_URL": "", "BATON_STORE_URL": "", "BATON_HOME": str(folder / "home"),
             "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1",
             "JE_ARROW_MALLOC_CONF": "background_thread:false",
             "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
             **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}}  # fmt: skip
    script = [str(Path(__file__).with_name("batches_peer.py"))] if part == "peer" else [__file__, "--part", part]
    command = [sys.executable, *script, str(folder), *map(str, arguments)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- rows and models ---


def drawn(rng: Any, start: int, count: int) -> Any:
    """Transactions; a third component that is far out is what the models look for."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(rng.normal(size=(count, 28)), columns=[f"v{number}" for number in range(1, 29)])
    frame.insert(0, "transaction_id", np.arange(start, start + count))
    seconds = np.sort(rng.uniform(0, 3600, count))
    frame.insert(1, "event_time", pd.Timestamp(f"{PARTITION}Z") + pd.to_timedelta(seconds, unit="s"))
    frame.insert(2, "seconds", seconds)
    return frame.assign(amount=rng.exponential(80, count).round(2))


def prepare(folder: Path, rows: int, seed: int) -> dict[str, Any]:
    """The delivery as one Parquet file, and a fitted model of each kind."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from baton.families.base import Rows
    from baton.families.tabular.selection import learner
    from baton.packs.pack import find_model

    rng = np.random.default_rng(seed)
    known = drawn(rng, 0, 20_000)
    truth = (known.v1 + known.v2 + rng.normal(size=len(known)) > 4).astype(int).to_numpy()
    for model, candidate in MODELS.items():
        _, spec = find_model(model)
        chosen = next(one for one in spec.candidates if one.name == candidate)
        learner(spec.family).fit(spec, chosen, Rows(known, truth), seed=seed).save(folder / model)
    writer = None
    for start in range(0, rows, CHUNK):
        table = pa.Table.from_pandas(drawn(rng, start, min(CHUNK, rows - start)), preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "delivery.parquet", table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return {}


class Shelf:
    """What a task asks of the registry, answered from the folder; the files' manifests are another bench's."""

    folder = Path()

    def download(self, model: str, version: int, consumer: str) -> Path:
        return self.folder / model

    def version_url(self, model: str, version: int) -> str:
        return ""


# --- workers ---


@dataclass
class Done:
    """What a task came to: its result, seconds, seconds of CPU, peak memory in MB."""

    result: Any
    seconds: float
    cpu: float
    peak: float


def worker(core: int, line: Connection) -> None:
    """Fork a process for each task that comes along the line, and say what it came to."""
    os.sched_setaffinity(0, {core})
    while (job := line.recv()) is not None:
        began = time.monotonic()
        answer, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            _task(job, told)
        os.close(told)
        with os.fdopen(answer) as said:
            text = said.read()
        _, status, used = os.wait4(pid, 0)
        if status:
            line.send(RuntimeError(f"{job.stage}: {text}"))
            continue
        line.send(
            Done(json.loads(text), time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        )


def _task(job: Any, told: int) -> None:
    from baton.stages.run import run as run_job

    with os.fdopen(told, "w") as out:
        try:
            result = run_job(job)
            out.write(json.dumps({"ref": result.ref.to_dict(), "cached": result.cached}))
            code = 0
        except BaseException as error:
            out.write(repr(error))
            code = 1
    os._exit(code)


class Crew:
    """Workers, each on a core of its own, that take jobs as they get free."""

    def __init__(self, count: int) -> None:
        self.lines: list[Connection] = []
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.cpu = 0.0
        cores = sorted(os.sched_getaffinity(0))
        for number in range(count):
            ours, theirs = Pipe()
            if os.fork() == 0:
                worker(cores[number % len(cores)], theirs)
                os._exit(0)
            self.lines.append(ours)

    def do(self, name: str, jobs: list[Any]) -> list[Any]:
        """Results of the jobs in their order."""
        began, waiting, results = time.monotonic(), list(enumerate(jobs)), [None] * len(jobs)
        at: dict[Connection, int] = {}
        while waiting or at:
            for line in self.lines:
                if waiting and line not in at:
                    at[line], job = waiting.pop(0)
                    line.send(job)
            for line in wait(list(at)):
                done = line.recv()  # type: ignore[union-attr]
                if isinstance(done, Exception):
                    raise done
                results[at.pop(line)] = done.result  # type: ignore[arg-type]
                self.cpu += done.cpu
                self.peaks[name] = max(self.peaks.get(name, 0.0), done.peak)
        self.seconds[name] = time.monotonic() - began
        return results


# --- the flow, the way its DAG wires it ---


def flow(folder: Path, workers: int, publish: int) -> dict[str, Any]:
    """One batch from its delivery to its decisions."""
    import importlib

    from baton.airflow.server.warmup import MODULES

    for name in MODULES:
        importlib.import_module(name)
    from baton.data.datasets import DatasetRef
    from baton.record import warehouse
    from baton.settings import scoring_slots, settings
    from baton.stages import groups
    from baton.stages.job import StageJob
    from baton.stages.run import announce
    from baton.stages.slots import Slot, head
    from baton.steps import score

    home = folder / f"home-{workers}"
    os.environ["BATON_HOME"] = str(home)
    settings.cache_clear()
    warehouse.migrate()
    warehouse.engine().dispose()
    landing = home / f"landing/transactions/{PARTITION.replace(':', '-')}.parquet"
    landing.parent.mkdir(parents=True)
    os.link(folder / "delivery.parquet", landing)
    Shelf.folder = folder
    score.Registry = Shelf  # type: ignore[assignment, misc]

    def job(
        stage: str, step: str = "", contract: str = "", options: Mapping[str, Any] = {}, **inputs: DatasetRef
    ) -> StageJob[Any]:
        return StageJob(PACK, FLOW, stage, PARTITION, step or STEPS[stage], inputs, dict(options), contract,
                        dict.fromkeys(MODELS, 1), run_id="bench")  # fmt: skip

    def whole(stage: str) -> DatasetRef:
        found = head(Slot(FLOW, stage, PARTITION))
        warehouse.engine().dispose()  # a fork must not share a connection
        assert found is not None
        return found.ref

    crew, began = Crew(workers), time.monotonic()
    reading = job("ingest", options={"source": "transactions"})
    cpu = time.process_time()
    announced = announce(reading)  # by the task `ingest`, which reads the file's bytes once for that
    looked, crew.cpu = time.monotonic() - began, time.process_time() - cpu
    warehouse.engine().dispose()
    if announced is not None:
        given = {**reading.options, **announced.told}
        pieces = groups.portions(announced.ends, 2 * scoring_slots())
        crew.do("ingest", [replace(reading, step=STEPS["read"], options=given, group=one) for one in pieces])
    else:
        crew.do("ingest", [reading])
    crew.seconds["ingest"] += looked
    arrived = whole("ingest")
    judging = job("contract", STEPS["judge"], options={"contract": "transactions"}, data=arrived)
    portions = groups.split(arrived, 2 * scoring_slots())
    crew.do("judge", [replace(judging, group=group) for group in portions if group.of > 1])
    crew.do("contract", [job("contract", options={"contract": "transactions"}, data=arrived)])
    good = whole("contract")
    shares = groups.split(good, 2 * scoring_slots())
    scoring = [
        job(f"score__{model}", "baton.steps.score:score", "scores", {"model": model}, data=good) for model in MODELS
    ]
    crew.do("score", [replace(one, group=group) for group in shares for one in scoring])
    inputs = {"transactions": good, **{model: whole(f"score__{model}") for model in MODELS}}
    crew.do("decide", [replace(job("decide", **inputs), group=group) for group in shares])
    if publish:
        options = {"case_routes": ["review", "block"], "resolutions": {"fraud": {"is_fraud": 1}}}
        crew.do("publish", [job("publish", "", "decisions", options, decisions=whole("decide"),
                                **{model: inputs[model] for model in MODELS})])  # fmt: skip
    total = time.monotonic() - began
    for line in crew.lines:
        line.send(None)
    lost, doubled = _accounted(folder, whole("decide"))
    return {"total": total, "seconds": crew.seconds, "cpu": crew.cpu, "peak": max(crew.peaks.values()), "peaks": crew.peaks,
            "lost": lost, "doubled": doubled, "tasks": len(shares)}  # fmt: skip


def _accounted(folder: Path, decisions: Any) -> tuple[int, int]:
    """Transactions without a decision, and decisions beyond one for each."""
    import numpy as np
    import pyarrow.parquet as pq

    from baton.data import datasets

    keys = pq.read_table(folder / "delivery.parquet", columns=["transaction_id"]).column(0).to_numpy()
    counts = np.zeros(len(keys), dtype=np.int32)
    for batch in datasets.read_batches(decisions, ["entity_key"]):
        np.add.at(counts, batch.column(0).to_numpy(zero_copy_only=False).astype(np.int64), 1)
    return int((counts == 0).sum()), int((counts - 1).clip(0).sum())


def main() -> None:
    """Figures of the sizes that are asked for, as JSON; or one part of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[int(one) for one in SIZES.split()])
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--publish", action="store_true", help="also publish the decisions")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        name, folder, *numbers = given.part
        made = {"prepare": prepare, "flow": flow}[name](Path(folder), *map(int, numbers))
    else:
        made = measure(given.rows, given.seed, given.publish)  # type: ignore[assignment]
    sys.stdout.write(json.dumps(made, indent=None if given.part else 1, default=asdict) + "\n")


if __name__ == "__main__":
    main()
