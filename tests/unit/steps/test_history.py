"""What a forecast starts from: every series up to its partition, each period once."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data.datasets import read
from baton.settings import settings
from baton.stages.run import run

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, HOURS = STAGE["commit"], STAGE["HOURS"]
FILES = {
    "models/sold.yaml": """\
model: sold
family: forecast
owner: tests
description: Pieces sold an hour
data: {entity: shop, time: hour, target: pieces, frequency: h}
horizon: 2
training: {contract: sales, history: {source: sales}, recent: {flow: sold_score}}
candidates: [{name: naive, estimator: statsforecast.models.Naive}]
scoring: {source: sales, contract: sales}
""",
    "contracts/sales.yaml": """\
contract: sales
version: 1
owner: tests
description: pieces sold by each shop
key: shop
columns:
  shop: {type: str}
  hour: {type: timestamp}
  pieces: {type: float}
tolerated: 0.5
""",
    "sources.yaml": """\
sales:
  kind: file
  description: pieces sold
  path: "{landing}/sales/{partition}.csv"
  history: "{data}/sales.csv"
""",
}


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        (folder / "models" / "late_order.yaml").unlink()
        for name, text in FILES.items():
            (folder / name).write_text(text)
        recording = pd.concat([sold(f"2026-11-20T{hour:02d}:00:00") for hour in range(24)])
        settings().data_dir.mkdir(parents=True, exist_ok=True)
        recording.to_csv(settings().data_dir / "sales.csv", index=False)
        yield folder


def sold(hour: str) -> pd.DataFrame:
    at = pd.Timestamp(hour, tz="UTC")
    return pd.DataFrame({"shop": ["east", "west"], "hour": at, "pieces": [float(at.hour), 1.0]})


def series(hour: int, **how: Any) -> pd.DataFrame:
    data = commit("contract", hour, sold(HOURS[hour]), flow="sold_score~dry" if how.get("dry_run") else "sold_score")
    one = STAGE["job"]("history", "baton.steps.history:history", hour, options={"model": "sold"}, inputs={"data": data})
    return read(run(replace(one, flow="sold_score", **how)).ref)


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_first_partition_stands_behind_what_the_recording_has_of_the_time_before(dry_run: bool) -> None:
    found = series(0, dry_run=dry_run)
    assert not found.duplicated(["shop", "hour"]).any()
    assert found["hour"].max() == pd.Timestamp(HOURS[0], tz="UTC")
    assert len(found) == 2 * 10


def test_a_model_that_no_flow_uses_goes_on_from_its_own_partitions() -> None:
    for hour in range(3):
        found = series(hour)
    assert sorted(found["hour"].dt.hour.unique()) == list(range(12))
    assert not found.duplicated(["shop", "hour"]).any()
