"""Scoring 1M rows x 30 features, Parquet to Parquet: a stage under the slot protocol, beside a bare booster.

    python tests/bench/bench_scoring.py [seed]

Ours is what a flow's scoring task does once the model is at hand: `run_stage` with input digest, fence, hash check of the
input, feature checks, prediction, calibration, one row of (key, model, version, score, reasons), Parquet with fsync, commit
and ledger. The peer is the script one would write instead: read Parquet, `Booster.predict`, write key and score. Same
booster (the pack's parameters), same rows, one thread each, alternating; each figure is a median. The same for the pack's
champion, the average of logistic regression, boosting and extra trees, beside the script that asks scikit-learn and LightGBM for
each, undoes the sampling, calibrates and averages. Both have to say the same scores. Reason codes are extra work that these
peers do not do: they are made beside LightGBM's own `pred_contrib`, for the rows that a flow explains.
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
from scipy.special import expit, logit

from baton.data import datasets
from baton.families import family, load
from baton.families.base import Rows
from baton.families.tabular.calibration import undo_sampling
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


def fit(folder: Path, candidate: str, rng: np.random.Generator, seed: int) -> Any:
    """One of the pack's candidates, fitted on 50,000 rows, saved and loaded again."""
    _, spec = find_model("card_fraud")
    chosen = next(one for one in spec.candidates if one.name == candidate)
    frame = rows(rng, 50_000)
    y = (frame.v1 + frame.v2 + rng.normal(size=len(frame)) > 4).astype(int).to_numpy()
    learner("classification").fit(spec, chosen, Rows(frame, y), seed=seed).save(folder / candidate)
    return load(folder / candidate)


def written(frame: pd.DataFrame, score: np.ndarray, target: Path) -> None:
    """Key and score of a peer."""
    made = pd.DataFrame({"transaction_id": frame["transaction_id"], "score": score})
    made.to_parquet(target, compression="zstd", index=False)


def bare(source: Path, target: Path, model: Any) -> None:
    """The peer of the boosting: its booster alone."""
    frame = pd.read_parquet(source)
    score = model.members[0].predictor.predict(frame[model.features].to_numpy(), num_threads=1)
    written(frame, score, target)


def plain(source: Path, target: Path, model: Any) -> None:
    """The peer of the average."""
    frame = pd.read_parquet(source)
    matrix = frame[model.features].to_numpy()
    votes = []
    for member in model.members:
        if isinstance(member.predictor, lightgbm.Booster):
            raw = member.predictor.predict(matrix, num_threads=1)
        elif member.name == "logistic":
            columns = member.encoder.columns
            z = (matrix - [column.mean for column in columns]) / [column.deviation for column in columns]
            size = np.log1p(np.abs(z))
            bent = np.stack([np.sign(z) * size, size], axis=2).reshape(len(z), -1)
            raw = member.predictor.predict_proba(bent)[:, 1]
        else:
            raw = member.predictor.predict_proba(matrix)[:, 1]
        undone = member.rate * raw / (member.rate * raw + 1 - raw)
        slope, intercept = member.calibration.x
        votes.append(expit(slope * logit(undone.clip(1e-7, 1 - 1e-7)) + intercept))
    written(frame, expit(np.mean([logit(vote.clip(1e-7, 1 - 1e-7)) for vote in votes], axis=0)), target)


def stage(ref: datasets.DatasetRef, model: Any, attempt: int, explain: float) -> datasets.DatasetRef:
    """Ours; the attempt is a parameter, so that nothing is found done. What was committed."""
    result = run_stage(
        Slot("bench", "score", "2026-01-01T00:00:00"),
        lambda inputs: StageOutput(
            family("classification").score(find_model("card_fraud")[1], model, datasets.read(inputs["data"]), explain)
        ),
        inputs={"data": ref}, params={"attempt": attempt, "model": model.name}, models={"card_fraud": 1}, code="bench",
        run_id="bench",
    )  # fmt: skip
    assert not result.cached
    assert result.ref.rows == ROWS
    return result.ref


def against(peer: Any, model: Any, ref: datasets.DatasetRef, source: Path, rounds: int) -> tuple[float, float, float]:
    """Median seconds of ours and of the peer, and by how much their scores differ at most."""
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    target = source.with_name("peer.parquet")
    for attempt in range(rounds):
        started = time.perf_counter()
        peer(source, target, model)
        times["peer"].append(time.perf_counter() - started)
        started = time.perf_counter()
        made = stage(ref, model, attempt, 0.0)
        times["ours"].append(time.perf_counter() - started)
    ours, theirs = datasets.read(made, ["score"])["score"], pd.read_parquet(target)["score"]
    if peer is bare:  # it stops at what the booster says
        member = model.members[0]
        theirs = pd.Series(member.calibration(undo_sampling(theirs.to_numpy(), member.rate)))
    return statistics.median(times["ours"]), statistics.median(times["peer"]), float((ours - theirs).abs().max())


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds of both, their ratio, by how much their scores differ, and what reason codes add."""
    load_average, rng = os.getloadavg()[0], np.random.default_rng(seed)
    shared = {
        "seed": seed, "load": load_average, "python": platform.python_version(), "larger_is_better": False,
        "versions": {name: version(name) for name in ("lightgbm", "scikit-learn", "pyarrow", "pandas", "numpy")},
    }  # fmt: skip
    results: list[dict[str, Any]] = []
    with own_home() as home:
        boosting, average = (fit(home, name, rng, seed) for name in ("boosting", "average"))
        frame, source = rows(rng, ROWS), home / "input.parquet"
        ref = datasets.write(frame, "bench/input.parquet")
        frame.to_parquet(source, compression="zstd", index=False)
        script = "plain scikit-learn + LightGBM script"
        for name, model, peer, title, target in (
            ("scoring", boosting, bare, "bare LightGBM script", 0.35), ("champion", average, plain, script, 0.5),
        ):  # fmt: skip
            ours, theirs, apart = against(peer, model, ref, source, ROUNDS if peer is bare else (ROUNDS + 1) // 2)
            more = {"peer": title, "peer_value": theirs, "ratio": ours / theirs, **shared}
            results += [
                {"name": f"{name}_1m_rows_x_30_features", "value": ours, "unit": "s", "target": None, **more},
                {"name": f"{name}_against_peer", "value": ours / theirs, "unit": "times", "target": target, **more},
                {"name": f"{name}_scores_apart", "value": apart, "unit": "probability", "target": 1e-9, **more},
            ]
        member, some = boosting.members[0], frame.head(int(SHARE * ROWS))
        started = time.perf_counter()
        ours = member.contributions(some)  # the tables are made in it
        took = time.perf_counter() - started
        matrix, started = member.encoder.transform(some), time.perf_counter()
        theirs = member.predictor.predict(matrix, pred_contrib=True, num_threads=1)[:, :-1]
        peer = time.perf_counter() - started
    more = {"peer": "LightGBM's pred_contrib", "peer_value": peer, "ratio": took / peer, **shared}
    apart = float(np.abs(ours - theirs).max())
    return [
        *results,
        {"name": "reason_codes_20000_rows", "value": took, "unit": "s", "target": None, **more},
        {"name": "reason_codes_apart", "value": apart, "unit": "log-odds", "target": 1e-9, **more},
    ]


if __name__ == "__main__":
    results = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path())
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
