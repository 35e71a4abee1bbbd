"""Ingest and contract of a batch of any size: 1 million rows and 8 million from Parquet and CSV, and small ones as fast as before.

    make bench NAME=ingest
    BATON_BENCH_BEFORE=<another checkout> make bench NAME=ingest      # small batches also there, in turns

Twelve columns, seven rules (a key, a median, ranges, a set, a pattern, row counts, times of the partition), 1 % of the rows bad. Each
size runs in a process of its own: peak memory is that of a task. The file is written by another process.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SMALL, LARGE, FEW, ROUNDS = 1_000_000, 8_000_000, 8_000, 5
CHUNK, FLOATS = 100_000, 8
HERE = Path(__file__).resolve()


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Two sizes of each format, one after the other; then small batches, in turns with the checkout before."""
    shared = {"peer": None, "peer_value": None, "ratio": None, "larger_is_better": False, "seed": seed}
    results = []
    for form in ("parquet", "csv"):
        small, large = (_measured(rows, form, seed) for rows in (SMALL, LARGE))
        told = {**shared, "small": small, "large": large}
        results += [
            {"name": f"{form}: peak memory at {LARGE:,} rows", "value": large["peak"], "unit": "MB", "target": 1000.0, **told},
            {"name": f"{form}: the same, against {SMALL:,} rows", "value": large["peak"] / small["peak"], "unit": "x",
             "target": 1.15, **told},
            *({"name": f"{form}: {stage}, seconds a million rows", "value": large[stage] / LARGE * 1e6, "unit": "s",
               "target": None, **told} for stage in ("ingest", "contract")),
        ]  # fmt: skip
    before = os.environ.get("BATON_BENCH_BEFORE")
    turns: dict[str, list[dict[str, float]]] = {"now": [], "before": []}
    for turn in range(2 * ROUNDS):
        which = ("now", "before")[turn % 2]
        if which == "now" or before:
            turns[which].append(_measured(FEW, "csv", seed, before if which == "before" else None))
    for stage in ("ingest", "contract", "ingest cpu", "contract cpu"):
        now, then = (statistics.median(one[stage] for one in turns[which]) if turns[which] else None for which in turns)
        assert now is not None
        results.append({
            **shared, "name": f"{FEW:,} rows: {stage}, against before", "value": now / then if then else now,
            "unit": "x" if then else "s", "target": 1.0 if then else None, "peer": "before" if then else None,
            "peer_value": then, "ratio": now / then if then else None,
        })  # fmt: skip
    return results


def _measured(rows: int, form: str, seed: int, checkout: str | None = None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="baton-ingest-") as home:
        include = Path(checkout) / "include" if checkout else HERE.parents[2] / "include"
        given = {
            **os.environ, "BATON_HOME": home, "BATON_WAREHOUSE_URL": "", "BATON_STORE_URL": "", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(include), "TMPDIR": home,
        }  # fmt: skip
        for what in ("write", "run"):
            command = [sys.executable, str(HERE), what, str(rows), form, str(seed)]
            done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
        return dict(json.loads(done.stdout))


def _partitions(rows: int) -> list[str]:
    """Of small batches one to get warm, and five."""
    return [f"2026-01-01T{hour:02}:00:00" for hour in range(6 if rows <= FEW else 1)]


def _write(rows: int, form: str, seed: int) -> None:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(seed)
    for partition in _partitions(rows):
        path = Path(os.environ["BATON_HOME"]) / f"landing/rows-{partition.replace(':', '-')}.{form}"
        path.parent.mkdir(exist_ok=True)
        writer: Any = None
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            frame = pd.DataFrame({
                "id": np.arange(start, start + count),
                "at": pd.Timestamp(partition) + pd.to_timedelta(rng.integers(0, 3600, count), unit="s"),
                "amount": np.exp(rng.normal(3, 1, count)).round(2), "kind": rng.choice(["card", "cash", "transfer"], count),
                **{f"v{n}": rng.normal(size=count).round(6) for n in range(FLOATS)},
            })  # fmt: skip
            frame.loc[rng.integers(0, count, count // 100), "amount"] = -1.0
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if form == "csv":
                table = table.set_column(1, "at", pa.array(frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")))
            if writer is None:
                writer = (csv.CSVWriter if form == "csv" else parquet.ParquetWriter)(str(path), table.schema)
            writer.write_table(table)
        writer.close()


def _rules() -> list[dict[str, Any]]:
    given: list[tuple[str, str, dict[str, Any]]] = [
        ("critical", "table_row_count_to_be_between", {"min_value": 1}),
        ("warning", "column_values_to_be_unique", {"column": "id"}),
        ("critical", "column_median_to_be_between", {"column": "amount", "min_value": 1, "max_value": 1000}),
        ("warning", "column_values_to_be_between", {"column": "amount", "min_value": 0}),
        ("warning", "column_values_to_be_between",
         {"column": "at", "min_value": "{start}", "max_value": "{end}", "strict_max": True}),
        ("warning", "column_values_to_be_in_set", {"column": "kind", "value_set": ["card", "cash", "transfer"]}),
        ("warning", "column_values_to_match_regex", {"column": "kind", "regex": "^[a-z]+$"}),
    ]  # fmt: skip
    return [
        {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity, "meta": {"rule": f"rule_{number}"}}
        for number, (severity, kind, kwargs) in enumerate(given)
    ]


def _run(rows: int, form: str, seed: int) -> None:
    from baton.packs.pack import Pack
    from baton.record import warehouse
    from baton.specs.contract import ContractSpec
    from baton.specs.source import SourcesSpec
    from baton.stages import run as stages
    from baton.stages.job import StageJob

    home = Path(os.environ["BATON_HOME"])
    columns = {
        "id": "int",
        "at": "timestamp",
        "amount": "float",
        "kind": "str",
        **{f"v{n}": "float" for n in range(FLOATS)},
    }
    contract = ContractSpec.model_validate({
        "contract": "rows", "version": 1, "owner": "bench", "description": "rows", "key": "id",
        "columns": {name: {"type": kind} for name, kind in columns.items()}, "expectations": _rules(),
    })  # fmt: skip
    sources = SourcesSpec.model_validate(
        {"rows": {"kind": "file", "description": "rows", "path": "{landing}/rows-{partition}.*"}}
    ).root
    (home / "pack/contracts").mkdir(parents=True)
    (home / "pack/contracts/rows.yaml").write_text(contract.model_dump_json())
    pack = Pack("bench", "bench", home / "pack", contracts={"rows": contract}, sources=sources)
    StageJob.load_pack = lambda self: pack  # type: ignore[method-assign]
    for module in ("baton.stages.run", "baton.governance.content"):
        with suppress(ModuleNotFoundError):  # in a checkout of before
            import_module(module).pack_folder = lambda name: pack.folder  # type: ignore[attr-defined]
    warehouse.migrate()
    seconds: dict[str, list[float]] = {"ingest": [], "contract": [], "ingest cpu": [], "contract cpu": []}

    def stage(name: str, partition: str, inputs: dict[str, Any], options: dict[str, str]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        nothing: Any = SimpleNamespace(rows=None)
        job: StageJob[Any] = StageJob(
            "bench", "bench", name, partition, f"baton.steps.{name}:{name}", inputs, options, connections=nothing  # type: ignore[arg-type]
        )  # fmt: skip
        result = stages.run(job)
        seconds[name].append(time.perf_counter() - began)
        seconds[f"{name} cpu"].append(time.process_time() - used)
        return result

    for partition in _partitions(rows):
        read = stage("ingest", partition, {}, {"source": "rows"})
        good = stage("contract", partition, {"data": read.ref}, {"contract": "rows"})
        if read.ref.rows != rows or good.facts["status"] != "quarantined" or not 0.98 * rows < good.ref.rows < rows:
            raise RuntimeError(f"{read.ref.rows} rows, {good.facts}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {name: statistics.median(all_of[1:] or all_of) for name, all_of in seconds.items()}
    sys.stdout.write(json.dumps({"rows": rows, "peak": peak, **took}))


if __name__ == "__main__":
    {"write": _write, "run": _run}[sys.argv[1]](int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
