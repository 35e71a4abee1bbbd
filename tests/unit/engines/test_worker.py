"""The model on its way to a cluster: verified there once more, before anything opens it, and gone from the store afterwards."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from baton.data import datasets, objects
from baton.engines import orders, worker
from baton.engines.orders import Reports
from baton.errors import DatasetCorrupt, RegistryRefused
from baton.keys import signing_key
from baton.registry.identity import Identity
from baton.registry.manifest import sign
from baton.settings import settings
from baton.stages.step import Keywords

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
ROWS = pd.DataFrame({"order_id": [1, 2], "amount": [1.0, 2.0]})
BOOSTER = "tree\nversion=v4\nnum_class=1\n\nTree=0\nnum_leaves=1\nleaf_value=0\n\nend of trees\n"
IDENTITY = Identity("late_order", "run-1", "m-1", "", "2026-01-01T00:00:00+00:00")
NAME = f"shop_flow/decide/{STAGE['HOURS'][0]}/-1/{'a' * 64}-1-{'b' * 12}.parquet"


def opened(job: Any, read: worker.Read, files: Path) -> Iterator[pd.DataFrame]:
    for some in read({}):
        yield some["orders"].assign(model=(files / "one.lightgbm.txt").read_text(), where=str(files))


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker, "resolve", lambda path: opened)
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A signed model folder."""
    folder = tmp_path / "version"
    folder.mkdir()
    flavour = {"baton": {"family": "classification", "format": 1, "data": "."}}
    (folder / "MLmodel").write_text(
        json.dumps({"flavors": flavour, "model_id": "m-1", "run_id": "run-1", "mlflow_version": "3.17.2"})
    )
    (folder / "model.json").write_text('{"family": "classification"}')
    (folder / "one.lightgbm.txt").write_text(BOOSTER)
    sign(folder, signing_key(settings().keys_dir), IDENTITY)
    return folder


class Cluster:
    """A cluster in this process; `changed` bytes of the model's object are turned before it begins."""

    local = True

    def __init__(self, changed: int = 0) -> None:
        self.changed, self.seen = changed, ""

    def each(self, order: str, count: int) -> Reports:
        self.seen = order
        path = objects.path_of(json.loads(order)["model"]["uri"])
        if self.changed:
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[: -self.changed] + b"x" * self.changed)
        for row in worker.work(order, [pa.RecordBatch.from_pydict({"id": [0]})]):
            yield 0, row["said"][0].as_py()


def asked(version: Path, cluster: Cluster) -> Any:
    job = STAGE["job"]("decide", "x:step", options=Keywords(), inputs={"orders": STAGE["commit"]("contract", 0, ROWS)})
    made = orders.output(cluster, job, "x:opened", version, {"mlflow": "url"})
    assert made.facts == {"mlflow": "url"}
    assert made.made is not None
    return made.made(NAME)


def models() -> list[str]:
    return [item.name for item in objects.listed() if ".model." in item.name]


def test_a_worker_opens_the_files_of_the_version_and_leaves_none(version: Path) -> None:
    cluster = Cluster()
    made = datasets.read(asked(version, cluster))
    assert set(made["model"]) == {BOOSTER}
    assert not Path(made["where"][0]).exists()
    assert models() == []
    assert BOOSTER not in cluster.seen
    assert "PRIVATE" not in cluster.seen


def test_a_model_that_was_altered_in_the_store_is_refused(version: Path) -> None:
    with pytest.raises(DatasetCorrupt, match=r"\.model\.parquet: the bytes have SHA-256"):
        asked(version, Cluster(changed=3))
    assert models() == []


def test_a_model_that_was_altered_before_it_was_shipped_is_refused(version: Path) -> None:
    (version / "one.lightgbm.txt").write_text(BOOSTER.replace("leaf_value=0", "leaf_value=1"))
    with pytest.raises(RegistryRefused, match=r"one.lightgbm.txt: bytes are not those that were signed"):
        asked(version, Cluster())
    (version / "one.lightgbm.txt").write_text(BOOSTER)
    (version / "more.py").write_text("import os")
    with pytest.raises(RegistryRefused, match=r"more.py"):
        asked(version, Cluster())
