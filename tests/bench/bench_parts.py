"""Memory of a stage that scores a batch in parts: 1 million rows and 8 million, 30 columns, LightGBM of 50 trees.

Each size runs in a process of its own, which writes the batch through `DatasetWriter`, scores it under the slot protocol some
rows at a time, and reads the result back in batches. A peak that grows with the rows would be a batch that is held.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS, CHUNK = 30, 100_000
SMALL, LARGE = 1_000_000, 8_000_000


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Both sizes, one after the other."""
    small, large = _measured(SMALL, seed), _measured(LARGE, seed)
    shared = {"peer": None, "peer_value": None, "ratio": None, "larger_is_better": False, "seed": seed,
              "small": small, "large": large}  # fmt: skip
    return [
        {"name": f"peak memory at {LARGE:,} rows", "value": large["peak"], "unit": "MB", "target": 1000.0, **shared},
        {"name": f"the same, against {SMALL:,} rows", "value": large["peak"] / small["peak"], "unit": "x", "target": 1.15,
         **shared},
        {"name": "seconds a million rows, written, scored, read", "value": large["seconds"] / (LARGE / 1e6), "unit": "s",
         "target": None, **shared},
    ]  # fmt: skip


def _measured(rows: int, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="baton-parts-") as home:
        given = {
            **os.environ,
            "BATON_HOME": home,
            "BATON_WAREHOUSE_URL": "",
            "BATON_STORE_URL": "",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, __file__, str(rows), str(seed)]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def _child(rows: int, seed: int) -> None:
    import lightgbm
    import numpy as np
    import pandas as pd

    from baton.data import datasets
    from baton.record import warehouse
    from baton.stages.slots import Slot, StageOutput, run_stage

    rng = np.random.default_rng(seed)
    names = [f"v{number}" for number in range(COLUMNS)]

    def drawn(number: int) -> pd.DataFrame:
        return pd.DataFrame(rng.normal(size=(number, COLUMNS)), columns=names)

    def frames() -> Iterator[pd.DataFrame]:
        for start in range(0, rows, CHUNK):
            yield drawn(CHUNK).assign(id=np.arange(start, start + CHUNK))

    def scored(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"entity_key": frame["id"].astype(str), "score": booster.predict(frame[names])})

    def stage(name: str, made: Iterator[pd.DataFrame]) -> datasets.DatasetRef:
        slot = Slot("bench", name, "2026-01-01T00:00:00")
        return run_stage(slot, lambda _: StageOutput(next(made), rest=made), inputs={}, params={}, models={}, code="1",
                         run_id="bench").ref  # fmt: skip

    warehouse.migrate()
    known = drawn(20_000)
    learnt = lightgbm.Dataset(known, known["v0"] + known["v1"] ** 2 > 1)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, learnt, 50)
    began = time.monotonic()
    batch = stage("ingest", frames())
    result = stage("score", map(scored, datasets.read_frames(batch)))
    read = sum(one.num_rows for one in datasets.read_batches(result))
    if read != rows:
        raise RuntimeError(f"{read} of {rows} rows came back")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"rows": rows, "seconds": time.monotonic() - began, "peak": peak}))


if __name__ == "__main__":
    _child(int(sys.argv[1]), int(sys.argv[2]))
