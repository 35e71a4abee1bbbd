"""The peer of bench_batches: what one would write instead. No versions, no retries, nothing on record; one process, one core.

    python tests/bench/batches_peer.py FOLDER ROWS OURS     FOLDER: delivery.parquet and the models, as the bench made them

The boosted trees are asked by LightGBM's own `predict` and `pred_contrib`; with OURS = 1 by what Baton scores and explains forests with
(`families/trees.py`, `families/shapley.py`), which is several times faster and in nobody's script.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# as `combine` has them
REVIEW, FALSE_BLOCK, EXPOSURE, BLOCK, STRANGE, STRANGE_AMOUNT = 5.0, 25.0, 100.0, 0.9, 0.9995, 100.0  # fmt: skip


def peer(folder: Path, rows: int, ours: bool) -> dict[str, Any]:
    """CPU, seconds and peak memory in MB, imports left out."""
    import duckdb
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from baton.families import load, shapley, trees

    if not ours:
        trees.boosted = lambda booster, matrix: np.asarray(booster.predict(matrix, num_threads=1))
        shapley.ROWS = sys.maxsize  # from so many rows on it would not ask LightGBM
    models = {name: load(folder / name) for name in ("card_fraud", "transaction_anomaly")}
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    source = folder / "delivery.parquet"
    rules = " or ".join(f"v{number} is null" for number in range(1, 29))
    with duckdb.connect(config={"threads": 1, "memory_limit": "1GB", "temp_directory": str(folder / "spill")}) as base:
        bad, distinct, median = base.execute(
            f"select count(*) filter (where transaction_id is null or event_time is null or not (amount between 0 and 1000000) "
            f"or not (seconds >= 0) or {rules}), count(distinct transaction_id), approx_quantile(amount, 0.5) from '{source}'"
        ).fetchone()  # type: ignore[misc]
    assert (bad, distinct) == (0, rows)
    assert 2 < median < 150
    writers: dict[str, Any] = {}

    def write(name: str, frame: Any) -> None:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if name not in writers:
            writers[name] = pq.ParquetWriter(folder / f"peer-{name}.parquet", table.schema, compression="zstd")
        writers[name].write_table(table)

    for frame in _frames(source):
        keys, said = frame["transaction_id"].astype(str), {}
        for name, model in models.items():
            score = model.predict(frame).probability  # type: ignore[attr-defined]
            reasons: Any = np.full(len(frame), "", dtype=object)
            top = np.argpartition(-score, len(frame) // 50)[: len(frame) // 50]
            reasons[top] = [json.dumps(one) for one in model.explain(frame.iloc[top])]  # type: ignore[attr-defined]
            said[name] = score
            write(
                name,
                pd.DataFrame({"entity_key": keys, "model": name, "version": 1, "score": score, "reasons": reasons}),
            )
        p, quantile = said["card_fraud"], said["transaction_anomaly"]
        amount = frame["amount"].to_numpy()
        expected = p * np.maximum(amount, EXPOSURE)
        blocking = np.where(p >= BLOCK, (1 - p) * FALSE_BLOCK, np.inf)
        strange = (quantile >= STRANGE) & (amount >= STRANGE_AMOUNT)
        block = (blocking <= REVIEW) & (blocking <= expected)
        route = np.select([block, ~block & ((expected >= REVIEW) | strange)], ["block", "review"], "clear")
        write(
            "decisions",
            pd.DataFrame({"entity_key": keys, "risk": p, "route": route, "money": expected, "amount": amount}),
        )
    for writer in writers.values():
        writer.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "seconds": time.monotonic() - began, "peak": used.ru_maxrss / 1024}


def _frames(source: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(batch_size=100_000):
            yield batch.to_pandas()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(peer(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")) + "\n")
