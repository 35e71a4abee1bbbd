"""The stage of the steps' tests: a small pack `shop` in a folder, and a hand that commits frames and reads tables.

Test modules load it by path, because tests are no package: `STAGE = runpy.run_path(...)`.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Table, event, select

from baton.data.datasets import DatasetRef
from baton.packs import pack as packs
from baton.record import tables, warehouse
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))
FLOW, HOURS = "shop_flow", [f"2026-11-20T{hour:02d}:00:00" for hour in range(9, 13)]

FILES = {
    "__init__.py": "",
    "models/late_order.yaml": """\
model: late_order
family: classification
owner: tests
description: Probability that an order arrives late
data: {entity: order_id, time: ordered_at, target: late, features: [amount]}
training:
  contract: orders
  history: {source: orders}
  recent: {flow: shop_flow, stage: contract}
  min_rows: 100
  min_positives: 10
  recent_weight: 5.0
candidates:
  - {name: logistic, estimator: sklearn.linear_model.LogisticRegression}
""",
    "governance.yaml": """\
default: {owner: ann, deputy: bob, impact: low, intended_use: shop, review: 2030-01-01, consumers: [shop_flow]}
""",
    "contracts/orders.yaml": """\
contract: orders
version: 1
owner: tests
description: orders of an hour
key: order_id
columns:
  order_id: {type: int}
  amount: {type: float}
tolerated: 0.5
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: amount, min_value: 0}
    severity: warning
    meta: {rule: amount_negative}
""",
    "sources.yaml": """\
orders:
  kind: file
  description: orders of an hour
  path: "{landing}/shop/{partition}.csv"
  history: "{data}/shop/history.parquet"
""",
    "steps.py": """\
import pandas as pd


def double(orders: pd.DataFrame, factor: int = 2) -> pd.DataFrame:
    return orders.assign(amount=orders["amount"] * factor)


def join(orders: pd.DataFrame, customers: pd.DataFrame, how: str) -> pd.DataFrame:
    return orders.merge(customers, on="order_id", how=how)
""",
}


@contextmanager
def warehouse_and_pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A migrated warehouse and the pack `shop`, found as an installed one is; yields the pack's folder."""
    folder = home / "site" / "shop_pack"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    packs._installed.cache_clear()
    warehouse.migrate()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(packs, "entry_points", lambda group: [EntryPoint("shop", "shop_pack", group)])
            yield folder
    finally:
        packs._installed.cache_clear()
        warehouse.engine().dispose()
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop_pack"]:
            del sys.modules[name]


class Connected(Unconnected):
    """Connections that all lead to one model, or to the reason why there is none."""

    def __init__(self, model: Any) -> None:
        self.given = model

    def model(self, conn_id: str) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def job(stage: str = "publish", step: str = "shop_pack.steps:double", hour: int = 0, **given: Any) -> StageJob[Any]:
    """A job of the flow on the pack."""
    return StageJob("shop", FLOW, stage, HOURS[hour], step, **given)


def commit(stage: str, hour: int, frame: pd.DataFrame, flow: str = FLOW, **facts: Any) -> DatasetRef:
    """The reference of a frame, committed in a slot as an earlier stage would have done."""
    return committed(stage, hour, frame, flow, **facts).ref


def committed(stage: str, hour: int, frame: pd.DataFrame, flow: str = FLOW, **facts: Any) -> StageResult:
    return run_stage(
        Slot(flow, stage, HOURS[hour]), lambda inputs: StageOutput(frame, facts),
        inputs={}, params={"frame": frame.to_json()}, models={}, code="test", run_id="test",
    )  # fmt: skip


def grown(count: int, stages: Sequence[str], flow: str = FLOW) -> list[str]:
    """As many hours of 2026 as the only ones of the flow, each with an empty result of these stages."""
    hours = [f"{datetime(2026, 1, 1) + timedelta(hours=number):%Y-%m-%dT%H:%M:%S}" for number in range(count)]  # noqa: DTZ001
    slots = [
        {"flow": flow, "stage": stage, "partition": hour, "map_index": -1, "fence": 1, "digest": "d", "uri": "u"}
        for stage in stages for hour in hours
    ]  # fmt: skip
    ref = {"uri": "u", "rows": 0, "schema_fingerprint": "", "content_sha256": "", "partition": ""}
    more = {"ref": ref, "facts": {}, "inputs": {}, "params": {}, "models": {}, "code": "c", "created_at": "2026"}
    with warehouse.write() as conn:
        conn.execute(tables.heads.delete())
        conn.execute(tables.commits.delete())
        conn.execute(tables.commits.insert(), [{**slot, **more, "id": number} for number, slot in enumerate(slots)])
        conn.execute(tables.heads.insert(), [{**slot, "commit_id": number} for number, slot in enumerate(slots)])
    return hours


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that this process sends to the warehouse meanwhile."""
    sent: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    event.listen(warehouse.engine(), "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(warehouse.engine(), "before_cursor_execute", note)


def rows(table: Table | str, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
    """Sorted rows of a table, or of what is published under a name; of all columns without names."""
    if isinstance(table, str):
        return sorted(PUBLISHED["read_all"](table, *columns, **where), key=repr)
    query = select(*[table.c[name] for name in columns or table.c.keys()])
    query = query.where(*(table.c[name] == value for name, value in where.items()))
    with warehouse.read() as conn:
        return sorted((tuple(row) for row in conn.execute(query)), key=repr)
