"""Published rows for tests that need some and publish nothing: written as a flow writes them, put in force in one call.

Test modules load it by path, because tests are no package: `seed = runpy.run_path(...)["seed"]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import pandas as pd

from baton.published.rows import COLUMNS, JSON, batches, published
from baton.published.writing import Publication
from baton.record import warehouse


def written(
    flow: str, partition: str, *, decisions: Iterable[Mapping[str, Any]] = (), predictions: Iterable[Mapping[str, Any]] = (),
    models: Mapping[str, int] | None = None, name: str | None = None,
) -> Publication:  # fmt: skip
    """Rows in the store that `enforce` puts in force; what a row leaves out is as dull as may be."""
    decided, said = list(decisions), list(predictions)
    dull = {"risk": 0.1, "route": "clear", "money": 0.0}
    scored = {"model": "m", "version": 1, "score": 0.5, "reasons": None}
    publication = Publication(
        flow, partition, models or {}, len(decided) + len(said),
        (lambda: [pd.DataFrame([{**dull, **row} for row in decided])]) if decided else None,
        (lambda: [pd.DataFrame([{**scored, **row} for row in said])]) if said else None,
    )  # fmt: skip
    publication.write(
        name or f"{flow}/publish/{partition}/-1/{uuid4().hex * 2}-1-{warehouse.transact(warehouse.identity)}.parquet"
    )
    return publication


def seed(flow: str, partition: str, *, commit_id: int = 1, **rows: Any) -> None:
    """Publish rows of a partition, see `written`."""
    made = written(flow, partition, **rows)
    warehouse.transact(lambda conn: made.enforce(conn, commit_id))


def rows_of(kind: Any, **where: Any) -> list[dict[str, Any]]:
    """What is published, by flow, partition and key: the rows that say `where`."""
    with warehouse.read() as conn:
        places = list(published(conn))
    rows = [row for place in places for batch in batches(place, kind) for row in batch.to_pylist()]
    for row in rows:
        row |= {name: json.loads(row[name]) for name in JSON if row.get(name) is not None}
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def read_all(kind: Any, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
    """The same as tuples of the columns that are named; of all, without names."""
    return [tuple(row[name] for name in columns or COLUMNS[kind]) for row in rows_of(kind, **where)]
