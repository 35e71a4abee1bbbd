"""A year of history: what every wake-up, page and command costs when there are 8,760 hourly partitions behind it.

    python tests/bench/bench_year.py [seed]                 build the year once (minutes, 5 GB under <BATON_HOME>/bench/year), measure
    python tests/bench/bench_year.py measure NAME           one of them, in this process, as JSON

Each is measured in a process of its own, after its imports: seconds, statements sent to the warehouse, peak memory. A
target that is missed makes `make bench NAME=year` end with 1.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pandas as pd
from sqlalchemy import event, func, select

HERE = Path(__file__).parent
YEAR: dict[str, Any] = runpy.run_path(str(HERE / "year_rows.py"))
FLOW, MODEL, TARGET, MODELS = (YEAR[name] for name in ("FLOW", "MODEL", "TARGET", "MODELS"))
SIZE = YEAR["Size"](
    **json.loads(os.environ.get("BATON_BENCH_YEAR", "{}"))
)  # a smaller one, to try the benchmark itself
MEMORY = 500.0  # MB, of all but `assemble`

# name -> most seconds, most statements, most MB; None: reported, no target
TARGETS: dict[str, tuple[float | None, int | None, float]] = {
    "monitor: nothing new": (2.0, 20, MEMORY),
    "monitor: one new window": (3.0, None, MEMORY),
    "monitor: labels of an old partition": (3.0, None, MEMORY),
    "assemble": (60.0, None, 2000.0),
    "Today": (1.0, None, MEMORY),
    "Models": (1.0, None, MEMORY),
    "Models, half a year ago": (1.0, None, MEMORY),
    "Map": (1.0, None, MEMORY),
    "a queue's page": (0.3, None, MEMORY),
    "a case's card": (0.3, None, MEMORY),
    "trace": (0.5, None, MEMORY),
    "trace, flow named": (0.5, None, MEMORY),
    "ledger verify": (5.0, None, MEMORY),
    "ledger verify, what is new": (1.0, None, MEMORY),
    "gc --dry-run": (10.0, None, MEMORY),
    "earlier: 100 partitions": (1.0, None, MEMORY),
    "confirmed: 200 partitions": (10.0, None, MEMORY),
    "history: state of a series' model": (1.0, None, MEMORY),
    "labels of a partition": (0.3, None, MEMORY),
    "a delivery of labels": (0.5, None, MEMORY),
}


# --- what is measured: each prepares, and returns what is to be timed ---


def monitor(new: str) -> Callable[[], Any]:
    """Wake the monitor; with a new partition, or labels of a partition of long ago, behind it."""
    from baton.drift import compare
    from baton.feedback.labels import ARRIVED, replace_labels
    from baton.lifecycle import windows
    from baton.lifecycle.monitor import judge_windows
    from baton.record import ledger, warehouse

    folder = Path(tempfile.mkdtemp())
    rng = YEAR["np"].random.default_rng(1)
    known = YEAR["transactions"](0, YEAR["Size"](rows=20_000), rng)
    reference = compare.reference(known, [*YEAR["FEATURES"], "amount"], rng.random(len(known)))
    (folder / "reference.json").write_text(json.dumps(reference | {"metrics": {"average_precision": 0.8}}))
    windows.Registry = lambda: SimpleNamespace(verified=lambda model, version: folder)  # type: ignore[misc,assignment]
    judge_windows(MODEL, FLOW)
    if new == "window":
        _new_hour(rng)
    if new == "labels":
        at = YEAR["hour"](SIZE.partitions // 2)
        with warehouse.write() as conn:
            rows = [(key, 0.0) for key in YEAR["keys"](SIZE.partitions // 2, SIZE)[1:]]  # one is taken back
            about = replace_labels(conn, FLOW, at, YEAR["LABELS"], TARGET, "chargeback", rows, 2)
            ledger.append(conn, ARRIVED, FLOW, {"partitions": sorted(about)})
    return lambda: judge_windows(MODEL, FLOW)


def _new_hour(rng: Any) -> None:
    """Publish the hour after the last one."""
    from baton.published.writing import Publication
    from baton.record import tables
    from baton.record.warehouse import read
    from baton.stages.slots import Slot, StageOutput, run_stage

    heads = tables.heads.c
    with read() as conn:
        last = conn.execute(
            select(func.max(heads.partition)).where(heads.flow == FLOW, heads.stage == "publish")
        ).scalar()
    number = round((pd.Timestamp(last) - pd.Timestamp("2026-01-01")) / pd.Timedelta("1h")) + 1
    key, rows = YEAR["hour"](number), YEAR["transactions"](number, SIZE, rng)
    scores = pd.DataFrame({"entity_key": rows["transaction_id"].astype(str), "score": rng.random(len(rows))})
    said = scores.assign(model=MODEL, version=1, reasons=None)
    made = Publication(FLOW, key, {MODEL: 1}, len(said), predictions=lambda: [said])
    given: dict[str, Any] = {}
    for stage, frame in (("ingest", rows), ("contract", rows), (f"score__{MODEL}", scores), ("publish", scores)):
        more: Any = {"on_commit": made.enforce, "beside": made.write} if stage == "publish" else {}
        output = StageOutput(frame, {"status": "passed"}, **more)
        done = run_stage(Slot(FLOW, stage, key), lambda _, made=output: made, inputs=given, params={}, models={MODEL: 1},
                         code="bench", run_id=None)  # type: ignore[misc]  # fmt: skip
        given = {"data": done.ref} if stage == "contract" else given


def assemble() -> Callable[[], Any]:
    """The training's first stage, committed."""
    from baton.stages.job import StageJob
    from baton.stages.run import run

    occasion, step = f"bench-{time.time():.0f}", "baton.lifecycle.assemble:assemble"
    return lambda: (
        run(StageJob("financial_crime", f"{MODEL}_train", "assemble", occasion, step, options={"model": MODEL})).facts
    )


def page(path: str) -> Callable[[], Any]:
    """A page of the console as a browser gets it."""
    from fastapi import Request
    from fastapi.testclient import TestClient

    from baton.console.host import Person, Wiring
    from baton.console.pages.app import create_app
    from baton.console.queries import alias_watch

    class Host:
        root, origin, secret = "", "", b"key of this benchmark"

        def allowed(self, person: Any, action: str, dag_id: str | None) -> bool:
            return True

        def runs(self, person: Any, since: Any) -> list[Any]:
            return []

        def requests(self, person: Any) -> list[Any]:
            return []

        def wirings(self, person: Any) -> list[Any]:
            pack, assets = "pack:financial_crime", (f"x-baton://{FLOW}/published",)
            scores = {f"score__{model}": {"model": model} for model in MODELS[:2]}
            flow = {
                "ingest": {"source": "transactions"},
                **scores,
                "send": {"effect": "mail", "conn_id": "outgoing_mail"},
            }
            watched = [
                Wiring(f"{model}_monitor", ("kind:lifecycle", pack, f"model:{model}"), wakes_on=assets)
                for model in MODELS
            ]
            return [*watched, Wiring(FLOW, ("kind:flow", pack), False, flow, assets)]

        def login_url(self, next_url: str) -> str:
            return next_url

    def who(request: Request) -> Person:
        return Person("ada")

    alias_watch.fetch = lambda models: {model: {"champion": 1} for model in models}
    who.__annotations__["request"] = Request  # the annotation is a text here, and the name is no global
    client = TestClient(create_app(who, Host()))  # type: ignore[arg-type]

    def look(path: str = path) -> Any:
        answer = client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return {"bytes": len(answer.text)}

    look(path.replace(_case(0), _case(1)))  # the server reads its templates once, and lives for long
    return look


def _case(number: int = 0) -> str:
    return str(YEAR["keys"](SIZE.partitions // 2, SIZE)[number])


def card() -> Callable[[], Any]:
    """The card of a case of half a year ago."""
    return page(f"/cases/{FLOW}/{_case()}")


def traced(flow: str | None) -> Callable[[], Any]:
    """The chain behind a decision of half a year ago."""
    from baton.console.queries.trace import trace

    return lambda: [step.what for step in trace(_case(), flow)]


def verified(new: bool) -> Callable[[], Any]:
    """The ledger's check; the engine may know one of what is new."""
    import inspect

    from baton.record import ledger

    if not new:
        return lambda: ledger.verify().reason or "whole"
    if "new" not in inspect.signature(ledger.verify).parameters:
        raise SystemExit("this ledger has no check of what is new")
    ledger.remember(ledger.verify(), "bench")
    return lambda: ledger.verify(new=True).reason or "whole"  # type: ignore[call-arg]


def collected() -> Callable[[], Any]:
    """Look for garbage."""
    from baton.stages.garbage import gc

    return lambda: len(gc(dry_run=True).uris)


def looked_back() -> Callable[[], Any]:
    """What a stage that looks back reads for the newest hour, state and rows."""
    from baton.stages.job import StageJob
    from baton.steps import earlier

    options = earlier.EarlierOptions(stage="decide", columns=("entity_key",))
    job: Any = StageJob("p", FLOW, "earlier", YEAR["hour"](SIZE.partitions), "s", options=options)  # type: ignore[arg-type]
    return lambda: (len(earlier.state(job)), len(earlier.refs(job)))


def confirmed() -> Callable[[], Any]:
    """State and rows of what people confirmed, for the newest hour."""
    from baton.stages.job import StageJob
    from baton.steps import confirmed as step

    options = step.ConfirmedOptions(model=MODEL, columns=("amount",), each=20)
    key = YEAR["hour"](SIZE.partitions)
    job: Any = StageJob("financial_crime", FLOW, "confirmed", key, "s", options=options)  # type: ignore[arg-type]

    def look() -> Any:
        pack, spec = step.model_of(job)
        seen = step.state(job)
        known = step.known(pack, spec, seen.kept, options.columns)
        return 0 if known is None else len(known)

    return look


def series() -> Callable[[], Any]:
    """What a model whose rows carry their own truth looks for, on this flow's partitions."""
    from baton.feedback.known_rows import Recent
    from baton.packs.pack import find_model

    spec = find_model("demand")[1]
    recent = spec.training.recent.model_copy(update={"flow": FLOW})
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"recent": recent})})
    return lambda: len(Recent.of(spec).refs)


def labels() -> Callable[[], Any]:
    """The labels of a partition's predictions."""
    from baton.feedback.labels import digest_of
    from baton.published.rows import in_force

    def count() -> int:
        there = in_force(FLOW, YEAR["hour"](SIZE.partitions // 2))
        assert there is not None
        assert there.predictions is not None
        return int(digest_of(FLOW, TARGET, there.predictions)[0].partition("-")[0])

    return count


def delivered() -> Callable[[], Any]:
    """Labels of an hour written again; rolled back."""
    from baton.feedback.labels import replace_labels
    from baton.record import warehouse

    at = SIZE.partitions // 3

    def write() -> Any:
        rows = [(key, 0.0) for key in YEAR["keys"](at, SIZE)]
        try:
            with warehouse.write() as conn:
                found = replace_labels(conn, FLOW, YEAR["hour"](at), YEAR["LABELS"], TARGET, "chargeback", rows, 2)
                raise KeyError(len(found))
        except KeyError as done:
            return done.args[0]

    return write


PREPARED: dict[str, Callable[[], Callable[[], Any]]] = {
    "monitor: nothing new": lambda: monitor(""),
    "monitor: one new window": lambda: monitor("window"),
    "monitor: labels of an old partition": lambda: monitor("labels"),
    "assemble": assemble,
    "Today": lambda: page("/today"),
    "Models": lambda: page(f"/models?model={MODEL}"),
    "Models, half a year ago": lambda: page(f"/models?model={MODEL}&until={YEAR['hour'](SIZE.partitions // 2)}"),
    "Map": lambda: page("/map"),
    "a queue's page": lambda: page(f"/cases?flow={FLOW}&page=3"),
    "a case's card": card,
    "trace": lambda: traced(None),
    "trace, flow named": lambda: traced(FLOW),
    "ledger verify": lambda: verified(new=False),
    "ledger verify, what is new": lambda: verified(new=True),
    "gc --dry-run": collected,
    "earlier: 100 partitions": looked_back,
    "confirmed: 200 partitions": confirmed,
    "history: state of a series' model": series,
    "labels of a partition": labels,
    "a delivery of labels": delivered,
}


def say(line: str) -> None:
    """A line for who waits, or for the process that reads it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure(name: str) -> dict[str, Any]:
    """Do it once in this process; what it returned, seconds, statements, the process's peak in MB."""
    import pyarrow.parquet  # noqa: F401 - as in Airflow, where tasks find their libraries imported

    from baton.families import family
    from baton.packs.pack import find_model
    from baton.record import warehouse

    for model in (MODEL, "demand"):
        family(find_model(model)[1].family)
    work, sent = PREPARED[name](), []
    note: Any = lambda *said: sent.append(said[2])  # noqa: E731
    event.listen(warehouse.engine(), "before_cursor_execute", note)
    started, computed = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - computed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"result": result, "seconds": seconds, "cpu": cpu, "statements": len(sent), "peak_mb": peak}


def built(out: Path) -> dict[str, str]:
    """The environment of the year's home, which is built where it is not there."""
    home = out / "year"
    environment = {**os.environ, "BATON_HOME": str(home), "BATON_WAREHOUSE_URL": "", "BATON_STORE_URL": ""}
    if not YEAR["fits"](home, SIZE):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        say(f"building a year of history in {home}: minutes, once")
        subprocess.run([sys.executable, str(HERE / "bench_year.py"), "build"], env=environment, check=True)
        (home / "built").write_text(YEAR["fingerprint"](SIZE))
    return environment


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Build the year where it is not there, measure all; the seed of the rows is fixed: they are built once."""
    environment, found = built(out), []
    for name, (seconds, statements, memory) in TARGETS.items():
        done = subprocess.run(
            [sys.executable, __file__, "measure", name], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            say(f"{name}: not measured: {done.stderr.strip().splitlines()[-1]}")
            continue
        value = json.loads(done.stdout.splitlines()[-1])
        shared = {
            "larger_is_better": False,
            "required": True,
            "seed": 20,
            "load": os.getloadavg(),
            "result": value["result"],
        }
        found += [
            {"name": f"{name}: seconds", "value": value["seconds"], "unit": "s", "target": seconds, **shared},
            {"name": f"{name}: statements", "value": value["statements"], "unit": "", "target": statements, **shared},
            {"name": f"{name}: peak memory", "value": value["peak_mb"], "unit": "MB", "target": memory, **shared},
        ]
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
            say(json.dumps(measure(sys.argv[2]), default=str))
    elif sys.argv[1:2] == ["build"]:
        YEAR["build"](SIZE, say)
    else:
        runner = runpy.run_path(str(HERE / "run.py"))
        runner["main"](["year"])
