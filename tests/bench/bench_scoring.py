"""Scoring 1M rows x 30 features, Parquet to Parquet: a stage under the slot protocol, beside a bare booster.

    python tests/bench/bench_scoring.py [seed]

Ours is what a flow's scoring task does once the model is at hand: `run_stage` with input digest, fence, hash check of the
input, feature checks, prediction, calibration, one row of (key, model, version, score, reasons), Parquet with fsync, commit
and ledger. The peer is the script one would write instead: read Parquet, `Booster.predict`, write key and score. Same
booster (the pack's parameters), same rows, one thread each, alternating; each figure is a median. Reason codes are extra
work that the peer does not do: their figure stands alone.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from baton.data import datasets
from baton.families import family, load
from baton.families.base import Rows
from baton.families.tabular.selection import learner
from baton.packs.pack import find_model
from baton.record import warehouse
from baton.settings import settings
from baton.stages.slots import Slot, StageOutput, run_stage

ROWS, FEATURES, ROUNDS = 1_000_000, 30, 5
SHARE = 0.02  # of the rows get reason codes in a flow


@contextmanager
def own_home() -> Iterator[Path]:
    """A home with an empty warehouse, gone afterwards."""
    before = os.environ.get("BATON_HOME")
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name:
        os.environ["BATON_HOME"] = name
        settings.cache_clear()
        warehouse.migrate()
        try:
            yield Path(name)
        finally:
            os.environ.pop("BATON_HOME") if before is None else os.environ.__setitem__("BATON_HOME", before)
            settings.cache_clear()


def rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Transactions with 30 features."""
    frame = pd.DataFrame(rng.normal(size=(count, FEATURES - 1)), columns=[f"v{i}" for i in range(1, FEATURES)])
    frame["amount"] = rng.exponential(80, count)
    frame.insert(0, "transaction_id", np.arange(count))
    frame["_row"] = np.arange(1, count + 1)
    return frame


def fit(folder: Path, rng: np.random.Generator, seed: int) -> None:
    """The pack's boosting candidate, fitted on 50,000 rows and saved."""
    _, spec = find_model("card_fraud")
    candidate = next(one for one in spec.candidates if one.name == "boosting")
    frame = rows(rng, 50_000)
    y = (frame.v1 + frame.v2 + rng.normal(size=len(frame)) > 4).astype(int).to_numpy()
    learner("classification").fit(spec, candidate, Rows(frame, y), seed=seed).save(folder)


def bare(source: Path, target: Path, booster: lightgbm.Booster, features: list[str]) -> None:
    """The peer."""
    frame = pd.read_parquet(source)
    score = booster.predict(frame[features].to_numpy(), num_threads=1)
    pd.DataFrame({"transaction_id": frame["transaction_id"], "score": score}).to_parquet(
        target, compression="zstd", index=False
    )


def stage(ref: datasets.DatasetRef, model: Any, attempt: int, explain: float) -> None:
    """Ours; the attempt is a parameter, so that nothing is found done."""
    result = run_stage(
        Slot("bench", "score", "2026-01-01T00:00:00"),
        lambda inputs: StageOutput(
            family("classification").score(find_model("card_fraud")[1], model, datasets.read(inputs["data"]), explain)
        ),
        inputs={"data": ref}, params={"attempt": attempt}, models={"card_fraud": 1}, code="bench", run_id="bench",
    )  # fmt: skip
    assert not result.cached
    assert result.ref.rows == ROWS


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds of both, their ratio, and what reason codes add."""
    load_average, rng = os.getloadavg()[0], np.random.default_rng(seed)
    times: dict[str, list[float]] = {"stage": [], "bare": [], "reasons": []}
    with own_home() as home:
        fit(home / "model", rng, seed)
        model = load(home / "model")
        booster = lightgbm.Booster(model_file=str(next((home / "model").glob("*.lightgbm.txt"))))
        frame = rows(rng, ROWS)
        ref = datasets.write(frame, "bench/input.parquet")
        frame.to_parquet(home / "input.parquet", compression="zstd", index=False)
        for attempt in range(ROUNDS):
            started = time.perf_counter()
            bare(home / "input.parquet", home / "bare.parquet", booster, model.features)
            times["bare"].append(time.perf_counter() - started)
            started = time.perf_counter()
            stage(ref, model, attempt, 0.0)
            times["stage"].append(time.perf_counter() - started)
        started = time.perf_counter()
        model.explain(frame.head(int(SHARE * ROWS)))
        times["reasons"].append(time.perf_counter() - started)
    ours, theirs, reasons = (statistics.median(times[name]) for name in ("stage", "bare", "reasons"))
    shared = {
        "seed": seed, "load": load_average, "python": platform.python_version(), "larger_is_better": False,
        "versions": {name: version(name) for name in ("lightgbm", "pyarrow", "pandas", "numpy")},
    }  # fmt: skip
    peer = {"peer": "bare LightGBM script", "peer_value": theirs, "ratio": ours / theirs}
    none = {"peer": None, "peer_value": None, "ratio": None}
    return [
        {"name": "scoring_1m_rows_x_30_features", "value": ours, "unit": "s", "target": None, **peer, **shared},
        {"name": "scoring_against_bare_booster", "value": ours / theirs, "unit": "times", "target": 1.3, **peer, **shared},
        {"name": "scoring_reason_codes_20000_rows", "value": reasons, "unit": "s", "target": None, **none, **shared},
    ]  # fmt: skip


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path())
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
