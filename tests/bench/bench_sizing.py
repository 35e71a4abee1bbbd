"""The rates that `baton sizing` counts with: each kind of stage on one batch of card transactions, in one process on one core.

    make bench NAME=sizing      measures, and writes include/baton/sizing/rates.yaml

The steps are those of `transaction_monitoring` under the slot protocol: a delivery of Parquet with 1 % bad rows is read, checked,
scored by the pack's champion (the average of logistic regression, boosting and extra trees), decided and published. Rows a second are
of processor time, so that a busy machine does not look like a slow one. What a task costs beside its rows is `make bench NAME=queue`'s.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from baton.sizing.rates import RATES

ROWS, BAD, SMALL = int(os.environ.get("BATON_BENCH_SIZING_ROWS", "300000")), 0.01, 100
PACK, FLOW, PARTITION = "financial_crime", "transaction_monitoring", "2026-01-01T00:00:00"
HEAD = """\
# Written by `make bench NAME=sizing`, `tasks` by `make bench NAME=queue`; then `make docs`. Rows a second of one core, bytes a row.
"""
# what is so by the way a stage works, and not by measuring
SHAPE: dict[str, dict[str, Any]] = {
    "ingest": {"wide": True},
    "contract": {"wide": True, "reads": ["ingest"]},
    "score": {"wide": True, "reads": ["contract"], "together": True},
    "decide": {"reads": ["contract", "score"], "together": True},
    "publish": {"reads": ["decide", "score"]},
}


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """The figures, from a process of its own on one core; rewrites the rates."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="baton-sizing-") as home:
        given = {
            **os.environ,
            "BATON_HOME": home,
            "BATON_WAREHOUSE_URL": "",
            "BATON_STORE_URL": "",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, __file__, str(seed)], env=given, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    rewrite(**found)
    shared = {"target": None, "peer": None, "peer_value": None, "ratio": None, "seed": seed, "load": load, "rows": ROWS}
    larger, smaller = {"larger_is_better": True, **shared}, {"larger_is_better": False, **shared}
    return [
        *({"name": f"{name}, one core", "value": one["rows_per_second"], "unit": "rows/s", "bytes_per_row": one["bytes_per_row"],
           **larger} for name, one in found["stages"].items()),
        *({"name": f"warehouse, {name}", "value": value, "unit": "bytes", **smaller} for name, value in found["database"].items()),
    ]  # fmt: skip


def rewrite(**parts: Any) -> None:
    """Write parts of the rates anew; the others stay."""
    known = yaml.safe_load(RATES.read_text(encoding="utf-8"))
    machine = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    known |= {"measured": machine, **parts}
    RATES.write_text(HEAD + yaml.safe_dump(known, sort_keys=False, width=150), encoding="utf-8")


def _child(seed: int) -> None:
    import numpy as np
    import pandas as pd

    from baton.data import datasets, objects
    from baton.families import family, load
    from baton.families.base import Rows
    from baton.families.tabular.selection import learner
    from baton.packs.pack import find_model
    from baton.record import warehouse
    from baton.settings import settings
    from baton.stages.job import StageJob
    from baton.stages.run import run as run_job
    from baton.stages.slots import Slot, StageOutput, run_stage

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng, home = np.random.default_rng(seed), settings().home
    warehouse.migrate()

    def transactions(count: int) -> pd.DataFrame:
        frame = pd.DataFrame(rng.normal(size=(count, 28)), columns=[f"v{number}" for number in range(1, 29)])
        seconds = np.sort(rng.uniform(0, 3600, count))
        frame.insert(0, "seconds", seconds)
        frame.insert(0, "event_time", pd.Timestamp(PARTITION, tz="UTC") + pd.to_timedelta(seconds, unit="s"))
        frame.insert(0, "transaction_id", np.arange(count))
        return frame.assign(amount=rng.exponential(80, count).round(2))

    def database() -> int:
        with warehouse.engine().connect() as conn:
            conn.exec_driver_sql("pragma wal_checkpoint(truncate)")
        return (home / "warehouse.db").stat().st_size

    def stage(name: str, step: str, inputs: dict[str, Any], options: dict[str, Any], partition: str) -> Any:
        return run_job(StageJob(PACK, FLOW, name, partition, step, inputs, options, models={"card_fraud": 1}))

    def committed(name: str, partition: str, frame: pd.DataFrame) -> Any:
        slot, nothing = Slot(FLOW, name, partition), {"inputs": {}, "params": {}, "models": {}}
        return run_stage(slot, lambda _: StageOutput(frame), **nothing, code="1", run_id="b").ref

    landing = settings().landing_dir / "transactions"
    landing.mkdir(parents=True)
    _, spec = find_model("card_fraud")
    chosen = next(one for one in spec.candidates if one.name == "average")
    known = transactions(50_000)
    truth = (known.v1 + known.v2 + rng.normal(size=len(known)) > 4).astype(int).to_numpy()
    learner("classification").fit(spec, chosen, Rows(known, truth), seed=seed).save(home / "model")
    model, maker = load(home / "model"), family("classification")
    answers = {"case_routes": ["review"], "resolutions": {"fraud": {"is_fraud": 1}}}
    steps, ours = "baton.steps", "baton_packs.financial_crime.steps"

    def score(inputs: Any) -> StageOutput:
        """As `baton.steps.score` does once the version is at hand: that asks MLflow."""

        def one(frame: pd.DataFrame) -> pd.DataFrame:
            made = maker.score(spec, model, frame, 0.02)
            made.insert(1, "model", "card_fraud")
            made.insert(2, "version", 1)
            return made

        frames = map(one, datasets.read_frames(inputs["data"]))
        return StageOutput(next(frames), rest=frames)

    def flow(partition: str, count: int) -> tuple[dict[str, dict[str, Any]], dict[str, float], Any, dict[str, Any]]:
        """All stages on one delivery: their rates, how much the warehouse grew by a row of each, decisions and scores."""
        found: dict[str, dict[str, Any]] = {}
        grew: dict[str, float] = {}

        def measured(name: str, work: Callable[[], Any], per: int = 0) -> Any:
            before, began = database(), time.process_time()
            made = work().ref
            took, grown = time.process_time() - began, database() - before
            folder = f"{Slot(FLOW, name, partition).folder}/"
            size = sum(one.size for one in objects.listed(lambda at: at.startswith(folder)))
            found[name] = {
                "rows_per_second": round(made.rows / took, 1),
                "bytes_per_row": round(size / made.rows, 1),
                **SHAPE[name],
            }
            grew[name] = grown / (per or made.rows)
            return made

        rows = transactions(count)
        rows.loc[rng.choice(count, int(BAD * count), replace=False), "amount"] *= -1
        rows.to_parquet(landing / f"{partition.replace(':', '-')}.parquet", index=False)
        raw = measured(
            "ingest", lambda: stage("ingest", f"{steps}.ingest:ingest", {}, {"source": "transactions"}, partition)
        )
        good = measured(
            "contract",
            lambda: stage(
                "contract", f"{steps}.contract:contract", {"data": raw}, {"contract": "transactions"}, partition
            ),
            int(BAD * count),
        )
        scores = measured(
            "score",
            lambda: run_stage(
                Slot(FLOW, "score", partition),
                score,
                inputs={"data": good},
                params={},
                models={"card_fraud": 1},
                code="1",
                run_id="b",
            ),
        )
        other = committed("other", partition, datasets.read(scores).assign(model="transaction_anomaly"))
        both = {"card_fraud": scores, "transaction_anomaly": other}
        routed = {"params": {"review_cost": 1e6}}  # nothing is dear enough to open a case
        decided = measured(
            "decide", lambda: stage("decide", f"{ours}:combine", {"transactions": good, **both}, routed, partition)
        )
        measured(
            "publish",
            lambda: stage("publish", f"{steps}.publish:publish", {"decisions": decided, **both}, answers, partition),
        )
        return found, grew, decided, both

    flow("2025-12-31T00:00:00", 2000)  # imports
    stages, grew, decided, both = flow(PARTITION, ROWS)

    # what opens a case: a few rows again, all of them for review
    later = "2026-01-01T01:00:00"
    few = datasets.read(decided).head(1000).assign(route="review")
    parts = {name: committed(name, later, datasets.read(ref).head(1000)) for name, ref in both.items()}
    before = database()
    stage(
        "publish",
        "baton.steps.publish:publish",
        {"decisions": committed("decide", later, few), **parts},
        answers,
        later,
    )
    row = grew["publish"]
    case = max(0.0, (database() - before - row * 1000) / 1000)

    before = database()
    for number in range(SMALL):
        committed("small", f"2026-02-01T00:{number // 60:02d}:{number % 60:02d}", few.head(1))
    task = (database() - before) / SMALL
    sizes = {"row": row, "case": case, "bad_row": grew["contract"], "task": task}
    sys.stdout.write(json.dumps({"columns": len(transactions(1).columns), "stages": stages,
                                 "database": {name: round(value, 1) for name, value in sizes.items()}}))  # fmt: skip


if __name__ == "__main__":
    _child(int(sys.argv[1]))
