"""Rows that are published: of a partition all, or those of some keys; each shaped as its view `predictions` or `decisions`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import Connection, select

from baton.data.datasets import DatasetRef, read_batches
from baton.errors import DatasetCorrupt
from baton.published import keyed
from baton.record import tables
from baton.record.warehouse import read

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Kind = Literal["decisions", "predictions"]
DECISIONS: Kind = "decisions"
PREDICTIONS: Kind = "predictions"
KEY = "entity_key"
# columns of the views: what the objects hold stands between the partition and the commit. One row per entity, of predictions
# per entity and model; category: class of the score; accepted: 0 where a model of texts says none of its classes, or not sure,
# strangeness: what it says so by; quantiles: level -> value of a forecast
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "decisions": ("flow", "partition", KEY, "risk", "route", "money", "models", "commit_id", "decided_at"),
    "predictions": (
        "flow", "partition", KEY, "model", "version", "score", "category", "accepted", "strangeness", "quantiles", "decision",
        "reasons", "row_sha", "commit_id", "scored_at",
    ),
}  # fmt: skip
SORTED: dict[Kind, tuple[str, ...]] = {"decisions": (KEY,), "predictions": (KEY, "model")}
JSON = ("models", "quantiles", "reasons")  # text in the objects and in the views
_WHOLE, _REAL = ("version", "accepted", "commit_id"), ("risk", "money", "score", "strangeness")
_MADE: dict[Kind, str] = {"decisions": "decided_at", "predictions": "scored_at"}
_WHY = ("model", "version", "score", "category", "reasons")
_NEVER = ("decision", "row_sha")  # no flow says them yet


@dataclass(frozen=True)
class Published:
    """What is in force of a partition; `decisions` and `predictions` are None where it publishes none."""

    number: int
    flow: str
    partition: str
    commit_id: int
    models: dict[str, int]
    entities: int
    decisions: DatasetRef | None
    predictions: DatasetRef | None
    at: str

    def ref(self, kind: Kind) -> DatasetRef | None:
        """The dataset of one kind."""
        return self.decisions if kind == DECISIONS else self.predictions


def schema(kind: Kind) -> pa.Schema:
    """Columns of a view and their types."""
    import pyarrow as pa

    kinds = dict.fromkeys(_WHOLE, pa.int64()) | dict.fromkeys(_REAL, pa.float64())
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS[kind]])


def stored(kind: Kind) -> pa.Schema:
    """Columns of an object and their types: what is not the same in all rows of the partition."""
    import pyarrow as pa

    shared = ("flow", "partition", "models", "commit_id", _MADE[kind], *_NEVER)
    return pa.schema([field for field in schema(kind) if field.name not in shared])


def published(conn: Connection, *where: Any) -> Iterator[Published]:
    """What is in force, by flow and partition, under conditions on `tables.published`."""
    table = tables.published
    query = select(table).where(table.c.commit_id.is_not(None), *where).order_by(table.c.flow, table.c.partition)
    for row in conn.execute(query.execution_options(yield_per=500)).mappings():
        refs = {kind: DatasetRef.from_dict(row[kind]) if row[kind] else None for kind in (DECISIONS, PREDICTIONS)}
        yield Published(**{**row, **refs})


def in_force(flow: str, partition: str, conn: Connection | None = None) -> Published | None:
    """What is in force of a partition; None where it has published nothing."""
    if conn is None:
        with read() as own:
            return in_force(flow, partition, own)
    table = tables.published.c
    return next(published(conn, table.flow == flow, table.partition == partition), None)


def find(kind: Kind, flow: str, partition: str, keys: Collection[str]) -> list[dict[str, Any]]:
    """The published rows of some entities, with the columns of `COLUMNS`; what is JSON is decoded.

    Raises:
        DatasetCorrupt: the objects cannot be read.
    """
    return _patiently(flow, partition, partial(_rows, kind=kind, wanted=keys)) or []


def told_of(conn: Connection, flow: str, partition: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """What lists show of entities, as it is in force in this transaction: entity -> money, why (model, version, score, category,
    reasons; the highest score first). Entities that the partition does not publish are left out.

    Raises:
        DatasetCorrupt: the objects cannot be read.
    """
    one = in_force(flow, partition, conn) if keys else None
    if one is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(_cells(one, PREDICTIONS, keys, _WHY), key=lambda row: -row["score"]):
        found.setdefault(row.pop(KEY), {"money": None, "why": []})["why"].append(row)
    for row in _cells(one, DECISIONS, keys, ("money",)):
        found.setdefault(row[KEY], {"why": []})["money"] = row["money"]
    return found


def _patiently(flow: str, partition: str, look: Callable[[Published], T]) -> T | None:
    seen = in_force(flow, partition)
    while seen is not None:
        try:
            return look(seen)
        except DatasetCorrupt:
            later = in_force(flow, partition)
            if later == seen:
                raise
            seen = later  # published anew since it was looked up, and its objects are gone
    return None


def batches(one: Published, kind: Kind, size: int = 65_536) -> Iterator[pa.RecordBatch]:
    """All rows of a partition in the order of their keys, with the columns of `schema`.

    Raises:
        DatasetCorrupt: the objects cannot be read.
    """
    ref = one.ref(kind)
    for batch in () if ref is None else read_batches(ref, rows=size):
        yield _whole(one, kind, batch)


def _rows(one: Published, kind: Kind, wanted: Collection[str]) -> list[dict[str, Any]]:
    ref = one.ref(kind)
    found = [] if ref is None else keyed.find(ref, KEY, wanted).to_batches()
    return [row for batch in found for row in _decoded(_whole(one, kind, batch))]


def _cells(one: Published, kind: Kind, wanted: Collection[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Of the rows of some entities only what is stored in some columns, and the key: a partition may open 100,000 cases."""
    ref = one.ref(kind)
    return iter(()) if ref is None else _decoded(keyed.find(ref, KEY, wanted, columns))


def _decoded(rows: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    texts = [name for name in JSON if name in rows.schema.names]
    for row in rows.to_pylist():
        for name in texts:
            if row[name] is not None:
                row[name] = json.loads(row[name])
        yield row


def _whole(one: Published, kind: Kind, batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    shared = {"flow": one.flow, "partition": one.partition, "commit_id": one.commit_id, _MADE[kind]: one.at}
    shared["models"] = json.dumps(one.models)
    columns = [
        batch.column(field.name) if field.name in batch.schema.names
        else pa.repeat(pa.scalar(shared.get(field.name), field.type), batch.num_rows)
        for field in schema(kind)
    ]  # fmt: skip
    return pa.record_batch(columns, schema=schema(kind))
