"""What a task orders of a cluster: the same rows, under the same slot, whatever the cluster does twice, late or wrongly."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from baton.data import datasets, objects, parts
from baton.data.datasets import DatasetRef
from baton.engines import orders, worker
from baton.engines.orders import EngineError, Reports
from baton.errors import BatonError, ContractBroken, DatasetCorrupt, SpecError
from baton.settings import settings
from baton.stages import run as stages
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, head, history
from baton.stages.step import row_local

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit, FLOW, HOURS = (STAGE[name] for name in ("job", "commit", "FLOW", "HOURS"))
ORDERS = pd.DataFrame({"order_id": range(50), "amount": [float(n) for n in range(50)], "note": ["x" * 20] * 50})
SCORES = pd.DataFrame({"score": [n / 50 for n in range(50)]})
SLOT = Slot(FLOW, "decide", HOURS[0])


@row_local
def priced(orders: pd.DataFrame, scores: pd.DataFrame, factor: float = 1.0) -> pd.DataFrame:
    return orders[["order_id"]].assign(amount=orders["amount"] * scores["score"].to_numpy() * factor)


@row_local
def shortened(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    return orders.head(2)


@row_local
def mixed(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    return orders[["order_id"]].assign(grade="a" if orders.order_id[0] >= 20 else 1)


@row_local
def sparse(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Texts from the second part on, and numbers that are whole at first and missing later."""
    late = orders.order_id >= 25
    return orders[["order_id"]].assign(note=orders.note.where(late), count=orders.order_id.where(~late))


def plain(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    return orders


class Cluster:
    """A cluster in this process; `says` may change what it answers."""

    local = True

    def __init__(
        self, says: Callable[[list[tuple[int, str]], str], list[tuple[int, str]]] = lambda all_, order: all_
    ) -> None:
        self.says, self.ended = says, 0

    def each(self, order: str, count: int) -> Reports:
        numbers = [pa.RecordBatch.from_pydict({"id": [number]}) for number in reversed(range(count))]
        rows = pa.Table.from_batches(list(worker.work(order, numbers)))
        try:
            yield from self.says(list(zip(*rows.to_pydict().values(), strict=True)), order)
        finally:
            self.ended += 1

    def __call__(self, job: StageJob[Any], *more: Any) -> Any:
        return orders.output(self, job, *more)


class Clustered(Unconnected):
    def __init__(self, cluster: Cluster) -> None:
        self.given = cluster

    def cluster(self, conn_id: str) -> Cluster:
        return self.given


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts of 20 rows, frames of 7."""
    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(parts, "STEP", 5)
    monkeypatch.setattr(stages, "read_frames", partial(datasets.read_frames, rows=7))
    for module in (stages, worker):
        monkeypatch.setattr(module, "resolve", lambda path: globals().get(path.partition(":")[2]) or worker.pure)
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        yield


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> dict[str, DatasetRef]:
    """Fifty rows, in parts of 20 and of 15."""
    given = {"orders": commit("contract", 0, ORDERS)}
    with monkeypatch.context() as patch:
        patch.setattr(parts, "ROWS", 15)
        return given | {"scores": commit("score", 0, SCORES)}


def there(inputs: dict[str, DatasetRef], cluster: Cluster | None = None, step: str = "x:priced", **given: Any) -> Any:
    options = {"engine": "spark", "params": given.pop("params", {})}
    return run(
        job("decide", step, inputs=inputs, options=options, connections=Clustered(cluster or Cluster()), **given)
    )


def stored() -> list[str]:
    return [item.uri for item in objects.listed() if "/decide/" in item.uri]


def test_the_rows_are_those_of_a_task_to_the_byte(inputs: dict[str, DatasetRef]) -> None:
    here = run(job("here", "x:priced", inputs=inputs, options={"params": {"factor": 2.0}}, output_contract="orders"))
    made = there(inputs, params={"factor": 2.0}, output_contract="orders")
    assert made.ref.content_sha256 == here.ref.content_sha256
    assert made.ref.schema_fingerprint == here.ref.schema_fingerprint
    assert there(inputs, params={"factor": 2.0}, output_contract="orders").cached
    assert len(stored()) == 4, "three parts, the manifest, nothing else"


def test_a_batch_in_one_part_gives_one_object(inputs: dict[str, DatasetRef]) -> None:
    small = {"orders": commit("contract", 1, ORDERS.head(20)), "scores": commit("score", 1, SCORES.head(20))}
    ref = there(small).ref
    assert ref.kind == "parquet"
    assert ref.content_sha256 == run(job("here", "x:priced", inputs=small)).ref.content_sha256
    empty = {"orders": commit("contract", 2, ORDERS.head(0)), "scores": commit("score", 2, SCORES.head(0))}
    assert there(empty).ref.rows == 0


def test_what_a_cluster_does_twice_is_there_once(inputs: dict[str, DatasetRef]) -> None:
    def twice(all_: list[tuple[int, str]], order: str) -> list[tuple[int, str]]:
        again = worker.work(order, [pa.RecordBatch.from_pydict({"id": [1, 2]})])
        return [*all_, *[(row["part"][0].as_py(), row["said"][0].as_py()) for row in again]]

    made = there(inputs, Cluster(twice))
    assert datasets.read(made.ref)["order_id"].tolist() == list(range(50))
    assert len(stored()) == 4


def test_a_part_that_is_not_spoken_of_or_is_another_stops_all(inputs: dict[str, DatasetRef]) -> None:
    cluster = Cluster(lambda all_, order: all_[:2])
    with pytest.raises(EngineError, match=r"stage shop_flow.decide: the cluster said nothing of part 0"):
        there(inputs, cluster)

    def altered(all_: list[tuple[int, str]], order: str) -> list[tuple[int, str]]:
        path = objects.path_of(json.loads(order)["targets"][1])
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        return all_

    cluster = Cluster(altered)
    with pytest.raises(DatasetCorrupt, match=r"00001.parquet: is not what the worker that wrote it says"):
        there(inputs, cluster)
    assert cluster.ended == 1, "the cluster is told that nobody listens any more"
    assert stored() == []
    assert history(SLOT) == []
    assert there(inputs).ref.rows == 50


def test_an_input_that_was_altered_is_named(inputs: dict[str, DatasetRef]) -> None:
    path = objects.path_of(parts.of_manifest(inputs["scores"].uri, inputs["scores"].content_sha256)[1].uri)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetCorrupt, match=rf"{path.name}: the bytes have SHA-256"):
        there(inputs)
    assert stored() == []


def test_a_key_twice_is_found_whether_one_part_has_both_or_two_have_one(
    home: Path, inputs: dict[str, DatasetRef]
) -> None:
    path = home / "site/shop_pack/contracts/orders.yaml"
    rule = "expect_column_values_to_be_unique, kwargs: {column: order_id}, severity: critical, meta: {rule: twice}"
    path.write_text(path.read_text() + "  - {type: " + rule + "}\n")
    assert there(inputs, output_contract="orders").ref.rows == 50
    for number, ids in enumerate(([*range(49), 0], [8, *range(1, 50)]), 1):  # in two parts; in two frames of one
        twice = {**inputs, "orders": commit("contract", number, ORDERS.assign(order_id=ids))}
        with pytest.raises(ContractBroken, match=r"twice: .* by 2 of 50 rows"):
            there(twice, output_contract="orders")
    assert len(stored()) == 4, "those of the first time"


def test_what_is_wrong_with_rows_comes_back_as_what_it_is(inputs: dict[str, DatasetRef]) -> None:
    with pytest.raises(ContractBroken, match="amount_negative"):
        there(inputs, params={"factor": -1.0}, output_contract="orders")
    with pytest.raises(BatonError, match="shortened is row_local: it returns a frame with one row for each"):
        there(inputs, step="x:shortened")
    with pytest.raises(BatonError, match=r"stage shop_flow.decide: part 1 does not fit part 0"):
        there(inputs, step="x:mixed")
    with pytest.raises(BatonError, match=r"the inputs need the same rows.*'orders': 50, 'scores': 49"):
        there({**inputs, "scores": commit("score", 1, SCORES.head(49))})
    with pytest.raises(SpecError, match=r"engine: spark: x:plain is not marked `@row_local`"):
        there(inputs, step="x:plain")
    assert stored() == []


def test_parts_get_the_columns_of_all(inputs: dict[str, DatasetRef]) -> None:
    ref = there(inputs, step="x:sparse").ref
    made = datasets.read(ref)
    assert made["note"].notna().sum() == made["count"].isna().sum() == 25
    assert [str(one.type) for one in datasets.table(ref).schema] == ["int64", "string", "int64"]
    assert len(stored()) == 4


def test_a_worker_with_other_packages_does_nothing(
    inputs: dict[str, DatasetRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = orders.build("shop")
    monkeypatch.setattr(worker, "build", lambda pack: ours | {"lightgbm": "4.0.0"})
    with pytest.raises(
        BatonError, match=r"the cluster has another lightgbm \(4.0.0\) than the task \([0-9.]+\): install"
    ):
        there(inputs)
    assert stored() == []


def test_a_folder_that_a_cluster_cannot_see_is_no_store_for_it(inputs: dict[str, DatasetRef]) -> None:
    cluster = Cluster()
    cluster.local = False
    with pytest.raises(SpecError, match=rf"does not see the folder {settings().store_url}; set BATON_STORE_URL"):
        there(inputs, cluster)
    assert head(SLOT) is None
