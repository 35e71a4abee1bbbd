"""Adjustments: what people changed in a proposal before it was carried out, as feedback for the next proposals."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from baton.errors import BatonError
from baton.record import ledger, tables
from baton.record.warehouse import now, read, upsert

COLUMNS = ("entity_key", "partition", "field", "proposed", "decided", "actor", "reason")


def record(conn: Connection, flow: str, partition: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Record what people decided about proposed numbers, in the caller's transaction; returns the count.

    A second decision on the same number replaces the first; the ledger keeps both.

    Args:
        rows: entity_key, field (e.g. quantity), proposed, decided (numbers), actor, and perhaps reason.

    Raises:
        BatonError: a name is empty, a number is none, or the same number is decided twice; nothing is recorded.
    """
    at = now()
    records = [{"flow": flow, "partition": partition, **_checked(row), "at": at} for row in rows]
    seen: set[tuple[str, str]] = set()
    for one in records:
        if (one["entity_key"], one["field"]) in seen:
            raise BatonError(f"adjustment of {one['entity_key']!r}: {one['field']} is decided twice in the same answer")
        seen.add((one["entity_key"], one["field"]))
    upsert(conn, tables.adjustments, records)
    for one in records:
        said = {name: one[name] for name in ("field", "proposed", "decided", "actor", "reason")}
        ledger.append(conn, "adjustment_recorded", f"{flow}/{partition}/{one['entity_key']}", said)
    return len(records)


def _checked(row: Mapping[str, Any]) -> dict[str, Any]:
    key, field, actor = (str(row.get(name) or "").strip() for name in ("entity_key", "field", "actor"))
    for name, value in (("entity_key", key), ("field", field), ("actor", actor)):
        if not value:
            raise BatonError(f"adjustment {dict(row)!r}: {name} is missing")
    numbers = {}
    for name in ("proposed", "decided"):
        try:
            numbers[name] = float(row[name])
        except (KeyError, TypeError, ValueError) as error:
            raise BatonError(f"adjustment of {key!r} by {actor}: {name} is no number but {row.get(name)!r}") from error
        if not math.isfinite(numbers[name]):
            raise BatonError(f"adjustment of {key!r} by {actor}: {name} is {numbers[name]}; give a finite number")
    reason = str(row.get("reason") or "") or None
    return {"entity_key": key, "field": field, **numbers, "actor": actor, "reason": reason}


def known(flow: str, before: str | None = None, field: str | None = None) -> pd.DataFrame:
    """Return the decisions on record, oldest partition first.

    Args:
        before: only of partitions before this one: what its own proposal may learn from.
        field: only of this field.

    Returns:
        columns entity_key, partition, field, actor, reason (str), proposed, decided (float).
    """
    table = tables.adjustments
    query = select(*(table.c[name] for name in COLUMNS)).where(table.c.flow == flow)
    if before is not None:
        query = query.where(table.c.partition < before)
    if field is not None:
        query = query.where(table.c.field == field)
    with read() as conn:
        rows = conn.execute(query.order_by(table.c.partition, table.c.entity_key, table.c.field)).fetchall()
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"proposed": float, "decided": float})
