"""`engine: spark` on a real Spark Connect server: the rows of a task, and what happens when anything on the way fails."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data import datasets, parts
from baton.data.datasets import DatasetRef
from baton.engines.spark import SparkCluster
from baton.families import load
from baton.families.base import Rows
from baton.families.tabular.selection import learner
from baton.packs.pack import find_model
from baton.record import warehouse
from baton.registry.identity import Identity
from baton.registry.package import Submission, package
from baton.settings import settings
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton.steps import score as scoring

SAIL: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("spark_server.py")))
HOUR, ROWS = "2026-01-01T00:00:00", 2_500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with SAIL["sailing"](tmp_path_factory.mktemp("sail") / "log") as (port, _):
        yield port


def transactions(rng: np.random.Generator, count: int) -> pd.DataFrame:
    frame = pd.DataFrame(rng.normal(size=(count, 28)), columns=[f"v{i}" for i in range(1, 29)])
    frame["amount"] = rng.exponential(80, count)
    frame.insert(0, "transaction_id", np.arange(count))
    frame["event_time"] = pd.Timestamp("2026-01-01", tz="UTC")
    frame["_row"] = np.arange(1, count + 1)
    return frame


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack's boosting, fitted and saved."""
    folder, rng = tmp_path_factory.mktemp("model"), np.random.default_rng(20)
    _, spec = find_model("card_fraud")
    chosen = next(one for one in spec.candidates if one.name == "boosting")
    frame = transactions(rng, 3_000)
    y = (frame.v1 + frame.v2 + rng.normal(size=len(frame)) > 2).astype(int).to_numpy()
    learner("classification").fit(spec, chosen, Rows(frame, y), seed=20).save(folder / "saved")
    return folder / "saved"


class Clustered(Unconnected):
    """Connections that all lead to one cluster."""

    def __init__(self, port: int) -> None:
        self.port = port

    def cluster(self, conn_id: str) -> SparkCluster:
        return SparkCluster("127.0.0.1", self.port, tls=False)


@pytest.fixture
def batch(home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetRef:
    """A batch of three parts, and a registry that holds one signed version."""
    warehouse.migrate()
    monkeypatch.setattr(parts, "ROWS", 1_000)
    monkeypatch.setattr(parts, "STEP", 500)
    example = transactions(np.random.default_rng(1), 2)
    identity = Identity("card_fraud", "run", "m-1", "", "2026-01-01T00:00:00+00:00")
    folder = home / "version"
    package(
        Submission("card_fraud", saved, "run", "classification", example, "# card"),
        identity,
        folder,
        settings().keys_dir,
    )
    assert load(folder)
    shelf = SimpleNamespace(download=lambda name, version: folder, version_url=lambda name, version: "url")
    monkeypatch.setattr(scoring, "Registry", lambda: shelf)
    frame = transactions(np.random.default_rng(2), ROWS)
    return run_stage(
        Slot("cards", "contract", HOUR),
        lambda inputs: StageOutput(frame),
        inputs={},
        params={},
        models={},
        code="1",
        run_id="t",
    ).ref


def score(batch: DatasetRef, port: int, stage: str = "score", **options: Any) -> StageJob[Any]:
    given = {"model": "card_fraud", "explain": 1.0, **options}
    return StageJob(
        "financial_crime", "cards", stage, HOUR, "baton.steps.score:score", {"data": batch}, given, "scores",
        {"card_fraud": 3}, connections=Clustered(port),
    )  # fmt: skip


def test_the_rows_are_those_of_a_task(batch: DatasetRef, server: int) -> None:
    here = run(score(batch, server, "here"))
    there = run(score(batch, server, engine="spark"))
    assert there.ref.kind == "manifest"
    one, other = datasets.read(here.ref), datasets.read(there.ref)
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-12)
    assert run(score(batch, server, engine="spark")).cached
