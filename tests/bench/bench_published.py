"""Published rows: how fast a million are published, what they leave in the database, and what it costs to find one of 100 million.

    python tests/bench/bench_published.py build|publish|rows|hours|trace|card    one of them, in this process, as JSON

The peer of publishing is what Baton did before: a row of a database for each (SQLite here), under the same slot protocol, in the
same run. The 100 million rows are built once, under <BATON_HOME>/bench/published (some minutes, 3 GB), by the engine's own code.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FLOW, MODEL, MILLION = "payments", "fraud", 1_000_000
HOURS, ROWS = (
    int(os.environ.get(f"BATON_BENCH_{name}", most)) for name, most in (("HOURS", "500"), ("ROWS", "100000"))
)
YEAR = 8_760


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """All of them, each in a process of its own; see the module."""
    found = {}
    for name in ("publish", "rows", "hours"):
        with tempfile.TemporaryDirectory(prefix="baton-published-", dir=out) as home:
            found[name] = _child(name, Path(home))
    home = out / "published"
    if not (home / "built").exists():
        _child("build", home)
        (home / "built").touch()
    found |= {name: _child(name, home) for name in ("trace", "card")}
    before = found["rows"]["seconds"]
    shared = {
        "seed": seed,
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "larger_is_better": False,
        "load": os.getloadavg(),
    }
    results = [
        {"name": "publish of 1M decisions and their scores, against rows of a database", "value": before / found["publish"]["seconds"],
         "unit": "x", "target": 5.0, **shared, "larger_is_better": True, "peer": "seconds before", "peer_value": before,
         "ratio": found["publish"]["seconds"]},
        {"name": "publish of 1M decisions: peak memory", "value": found["publish"]["peak"], "unit": "MB", "target": None, **shared,
         "peer": "before", "peer_value": found["rows"]["peak"]},
        {"name": "warehouse of a year at 100,000 rows an hour", "value": found["hours"]["bytes"] * YEAR / 1e9, "unit": "GB",
         "target": 5.0, **shared},
    ]  # fmt: skip
    for name in ("trace", "card"):
        results += [
            {"name": f"{name} in {2 * HOURS * ROWS:,} published rows", "value": found[name]["seconds"], "unit": "s", "target": 0.5, **shared},
            {"name": f"{name}: peak memory", "value": found[name]["peak"], "unit": "MB", "target": 300.0, **shared},
        ]  # fmt: skip
    return results


def _child(name: str, home: Path) -> dict[str, Any]:
    home.mkdir(exist_ok=True)
    given = {
        **os.environ,
        "BATON_HOME": str(home),
        "BATON_WAREHOUSE_URL": "",
        "BATON_STORE_URL": "",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, __file__, name], env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- in a process of its own: prepare, and return what is to be timed ---


def _frames(number: int, rows: int) -> tuple[Any, Any]:
    """Decisions and scores of an hour, in no order of their keys."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(number)
    keys = (number * rows + rng.permutation(rows) + 10**11).astype(str)
    risk, routes = rng.random(rows), np.array(["clear", "review", "block"])
    decisions = pd.DataFrame({
        "entity_key": keys, "risk": risk, "route": routes[(risk > 0.999).astype(int)], "money": rng.lognormal(3, 1, rows),
        "reasons": None,
    })  # fmt: skip
    reasons = [None if one < 0.99 else '[["amount", 1.5], ["hour", -0.2]]' for one in risk]
    scores = pd.DataFrame({"entity_key": keys, "model": MODEL, "version": 1, "score": risk, "reasons": reasons})
    return decisions, scores


def _job(partition: str, decisions: Any, scores: Any) -> Any:
    from baton.data import datasets
    from baton.stages.job import StageJob
    from baton.steps.publish import publish

    inputs = {
        name: datasets.write(frame, f"{partition}-{name}.parquet", partition)
        for name, frame in (("decisions", decisions), ("fraud", scores))
    }
    return StageJob(
        "p", FLOW, "publish", partition, "baton.steps.publish:publish", inputs, models={MODEL: 1},
        options=publish.options(case_routes=["review"], resolutions={"fraud": {"is_fraud": 1}}),
    )  # fmt: skip


def _committed(job: Any, compute: Callable[[Any], Any]) -> Any:
    from baton.stages.slots import run_stage

    return run_stage(job.slot, compute, inputs=job.inputs, params={}, models=job.models, code="bench", run_id=None)


def publish() -> Callable[[], Any]:
    """As it is now."""
    from baton.steps.publish import publish

    job = _job("2026-01-01T00:00:00", *_frames(0, MILLION))
    return lambda: _committed(job, lambda _: publish(job))


def rows() -> Callable[[], Any]:
    """As it was: a row of a table for each."""
    from baton.data.datasets import read
    from baton.published import carrying
    from baton.record import warehouse
    from baton.stages.slots import StageOutput

    job = _job("2026-01-01T00:00:00", *_frames(0, MILLION))
    with warehouse.write() as conn:
        for table in (carrying.DECISIONS, carrying.PREDICTIONS):
            table.create(conn)
            conn.exec_driver_sql(f"CREATE INDEX ix_{table.name} ON {table.name} (entity_key, flow, partition)")

    def compute(_: Any) -> StageOutput:
        decisions, scores = read(job.inputs["decisions"]), read(job.inputs["fraud"])
        where = {"flow": job.flow, "partition": job.partition}

        def on_commit(conn: Any, commit: int) -> None:
            decided = [
                {**where, "commit_id": commit, "decided_at": "t", "models": {MODEL: 1}, "entity_key": key, "risk": risk, "route": route, "money": money}
                for key, risk, route, money in zip(decisions["entity_key"], decisions["risk"], decisions["route"], decisions["money"], strict=True)
            ]  # fmt: skip
            said = [
                {**where, "commit_id": commit, "scored_at": "t", "entity_key": key, "model": model, "version": version, "score": score,
                 "reasons": json.loads(why) if isinstance(why, str) else None}
                for key, model, version, score, why in zip(*(scores[name] for name in scores), strict=True)
            ]  # fmt: skip
            warehouse.bulk_replace(conn, carrying.DECISIONS, where, decided)
            warehouse.bulk_replace(conn, carrying.PREDICTIONS, where, said)

        return StageOutput(decisions, {}, on_commit)

    return lambda: _committed(job, compute)


def hours() -> Callable[[], Any]:
    """Hours of 100,000 rows through five stages and publishing: what each leaves in the database."""
    import pandas as pd

    from baton.record import warehouse
    from baton.settings import settings
    from baton.stages.slots import Slot, StageOutput, run_stage
    from baton.steps.publish import publish

    many = 34  # two merges of the index among them

    def size() -> int:
        warehouse.compact()
        return int((settings().home / "warehouse.db").stat().st_size)

    def hour(number: int) -> None:
        job = _job(f"2026-01-{number // 24 + 1:02}T{number % 24:02}:00:00", *_frames(number, 100_000))
        for stage in ("ingest", "contract", "score__fraud", "score__anomaly", "decide"):
            run_stage(Slot(FLOW, stage, job.partition), lambda _: StageOutput(pd.DataFrame({"n": [1]}), {"rows_in": 100_000}),
                      inputs=job.inputs, params={"options": {"model": MODEL}}, models=job.models, code="bench", run_id="r")  # fmt: skip
        _committed(job, lambda _: publish(job))

    hour(0)
    before = size()

    def work() -> dict[str, float]:
        for number in range(1, many):
            hour(number)
        return {"bytes": (size() - before) / (many - 1)}

    return work


def build() -> Callable[[], Any]:
    """Publish all hours; the one in the middle has a contract behind it."""
    import pandas as pd

    from baton.published.writing import Publication
    from baton.stages.slots import Slot, StageOutput, run_stage

    contract = {"contract": "payments", "version": 1, "key": ["entity_key"], "columns": {"amount": {"type": "float"}}}

    def work() -> dict[str, int]:
        for number in range(HOURS):
            decisions, scores = _frames(number, ROWS)
            partition = _hour(number)
            small = (
                pd.DataFrame({"entity_key": ["0"]})
                if number != HOURS // 2
                else decisions[["entity_key"]].assign(amount=1.0)
            )
            good = run_stage(
                Slot(FLOW, "contract", partition), lambda _, rows=small: StageOutput(rows, {"status": "passed", "rows_in": ROWS}),
                inputs={}, params={"state": {"contract": contract}, "at": partition}, models={}, code="bench", run_id=None,
            )  # fmt: skip
            made = Publication(FLOW, partition, {MODEL: 1}, ROWS, lambda one=decisions: [one], lambda one=scores: [one])
            run_stage(
                Slot(FLOW, "publish", partition),
                lambda _, rows=small, made=made: StageOutput(rows, {}, made.enforce, beside=made.write), inputs={"data": good.ref},
                params={"at": partition}, models={MODEL: 1}, code="bench", run_id=None,
            )  # fmt: skip
        return {"rows": 2 * HOURS * ROWS}

    return work


def _hour(number: int) -> str:
    import pandas as pd

    return f"{pd.Timestamp('2026-01-01') + pd.Timedelta(hours=number):%Y-%m-%dT%H:%M:%S}"


def _entity() -> str:
    return str(HOURS // 2 * ROWS + ROWS // 3 + 10**11)


def trace() -> Callable[[], Any]:
    """The chain behind a decision in the middle, its flow not named."""
    from baton.console.queries.trace import trace

    def work() -> dict[str, int]:
        found = [step.what for step in trace(_entity())]
        assert found[-1] == "decision", found
        return {"steps": len(found)}

    return work


def card() -> Callable[[], Any]:
    """The card of a decision that needed nobody, so that its partition has to be found, too."""
    from baton.console.host import Person, Rights
    from baton.console.queries.card import find_card

    class Host:
        def allowed(self, person: Any, action: str, dag_id: str | None) -> bool:
            return True

    def work() -> dict[str, float]:
        found = find_card(Rights(Host(), Person("ada")), FLOW, _entity())  # type: ignore[arg-type]
        assert found is not None
        assert found["decision"]["entity_key"] == _entity()
        return {"scores": len(found["scores"])}

    return work


def main(name: str) -> None:
    """Time one of them in this process, after its imports."""
    import pandas as pd  # noqa: F401 - as in Airflow, where tasks and pages find their libraries imported
    import pyarrow.parquet  # noqa: F401 - the same

    from baton.record import warehouse

    warehouse.migrate()
    kinds: dict[str, Callable[[], Callable[[], Any]]] = {
        "publish": publish, "rows": rows, "hours": hours, "build": build, "trace": trace, "card": card,
    }  # fmt: skip
    work = kinds[name]()
    started = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    said = {"seconds": seconds, "peak": peak, **(found if isinstance(found, dict) else {})}
    sys.stdout.write(f"{json.dumps(said)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
