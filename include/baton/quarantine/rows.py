"""Quarantined rows as people see them: one entry a row, with all rules that it breaks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data.cells import MASKED, PROBLEM, as_text
from baton.record import warehouse
from baton.record.tables import quarantine

WAITING = ("open", "repaired")
STATUSES = ("open", "repaired", "resolved", "discarded")
FEW = 500  # single rows that are looked for by themselves; of more all rows of their partition are read
RowKey = tuple[str, int]  # row_sha, row: a row within its partition


@dataclass(frozen=True)
class Where:
    """Which quarantined rows: all that agree with everything given.

    Attributes:
        key: value of the contract's key column.
        rows: (row_sha, row) of single rows.
        status: None means any.
    """

    flow: str | None = None
    partition: str | None = None
    rule: str | None = None
    key: str | None = None
    source: str | None = None
    row: int | None = None
    rows: tuple[RowKey, ...] | None = None
    status: str | tuple[str, ...] | None = None


@dataclass(frozen=True)
class QuarantinedRow:
    """One row and all that is known about it.

    Attributes:
        values: what stands in `columns`, as whoever may decide sees it: masked values are the row's own again.
        raw: its cells as they arrived, by column.
        repair: cells that a person changed.
        status: open or repaired while any of its records is, else discarded or resolved.
    """

    flow: str
    partition: str
    source: str
    row: int
    row_sha: str
    entity_key: str | None
    rules: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[str, ...]
    advice: tuple[str, ...]
    status: str
    raw: Mapping[str, Any]
    repair: Mapping[str, str | None]
    reason: str | None
    actor: str | None
    first_seen: str
    updated_at: str

    @property
    def cells(self) -> dict[str, str | None]:
        """The row's cells as text, repairs laid over them."""
        return {column: as_text(value) or None for column, value in self.raw.items() if column != PROBLEM} | dict(
            self.repair
        )

    @property
    def place(self) -> str:
        """How messages name the row."""
        return f"{self.flow} {self.partition} row {self.row}"


def list_rows(where: Where | None = None, limit: int | None = None) -> list[QuarantinedRow]:
    """Return quarantined rows, one entry a row with all its rules, ordered by flow, partition and row.

    A rule in `where` selects rows that break it and still shows all their rules.
    """
    with warehouse.read() as conn:
        return select(conn, where or Where(), limit)


def counts(flow: str | None = None, partition: str | None = None) -> dict[str, int]:
    """Return the number of rows by status, each row once."""
    tally = dict.fromkeys(STATUSES, 0)
    c = quarantine.c
    rank = sa.func.min(sa.case({"discarded": 0, "repaired": 1, "open": 2}, value=c.status, else_=3)).label("rank")
    rows = sa.select(rank).group_by(c.flow, c.partition, c.row_sha, c.row)
    rows = rows.where(c.flow == flow) if flow else rows
    rows = rows.where(c.partition == partition) if partition else rows
    ranked = rows.subquery()
    with warehouse.read() as conn:
        for number, count in conn.execute(sa.select(ranked.c.rank, sa.func.count()).group_by(ranked.c.rank)):
            tally[("discarded", "repaired", "open", "resolved")[number]] = count
    return tally


def take_turn(conn: Connection, flow: str, partition: str) -> None:
    """From here to the end of the transaction nobody else decides about the partition's rows, and no run judges them."""
    warehouse.take_turns(conn, f"quarantine {flow}/{partition}")


def select(conn: Connection, where: Where, limit: int | None) -> list[QuarantinedRow]:
    """The rows that `where` describes, ordered by flow, partition and row."""
    c = quarantine.c
    named = {name: getattr(where, name) for name in ("flow", "partition", "source", "row", "rule")}
    tests = [c[name] == value for name, value in {**named, "entity_key": where.key}.items() if value is not None]
    statuses = (where.status,) if isinstance(where.status, str) else where.status
    if statuses is not None:
        tests.append(c.status.in_(statuses))
    if where.rows is not None and len(where.rows) <= FEW:
        tests.append(c.row_sha.in_(sorted({sha for sha, _ in where.rows})))
    identity = (c.flow, c.partition, c.row_sha, c.row)
    chosen = sa.select(*identity).where(*tests).distinct().order_by(c.flow, c.partition, c.row, c.row_sha)
    # a row with one resolved rule may still be open for another, and single rows are picked below
    exact = where.rows is None and "resolved" not in (statuses or ())
    picked = chosen.limit(limit if exact else None).subquery()
    same_row = sa.and_(*(column == picked.c[column.name] for column in identity))
    query = sa.select(quarantine).join(picked, same_row)
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for found in conn.execute(query.order_by(c.flow, c.partition, c.row, c.row_sha, c.rule)):
        groups.setdefault((found.flow, found.partition, found.row_sha, found.row), []).append(found)
    made = [_row(records) for records in groups.values()]
    if where.rows is not None:
        rows = frozenset(where.rows)
        made = [row for row in made if (row.row_sha, row.row) in rows]
    if statuses is not None:
        made = [row for row in made if row.status in statuses]
    return made[:limit]


def value_of(record: Mapping[str, Any]) -> str | None:
    """The value of a record for somebody who may decide on it: one that is masked is read from the row's cells."""
    if MASKED not in (record["value"] or ""):
        return record["value"]
    cells = {**(record["raw"] or {}), **(record["repair"] or {})}
    if record["column"] is None:  # a line that could not be split
        return str(cells.get(PROBLEM) or "").partition(": ")[2] or None
    return ", ".join(as_text(cells.get(name)) or "" for name in re.split("[,;] ", record["column"]))


def _row(records: Sequence[Any]) -> QuarantinedRow:
    statuses = [found.status for found in records]
    status = next(s for s in ("discarded", "repaired", "open", "resolved") if s in statuses)
    # rules that the row no longer breaks are shown only when none is left
    shown = [found for found in records if found.status != "resolved"] or list(records)
    first = shown[0]
    repair: dict[str, str | None] = {}
    for found in records:
        repair.update(found.repair or {})
    return QuarantinedRow(
        flow=first.flow, partition=first.partition, source=first.source, row=first.row, row_sha=first.row_sha,
        entity_key=first.entity_key, rules=tuple(found.rule for found in shown),
        columns=tuple(found.column or "" for found in shown),
        values=tuple(value_of(found._mapping) or "" for found in shown),
        advice=tuple(found.advice or "" for found in shown), status=status, raw=first.raw or {}, repair=repair,
        reason=first.reason, actor=first.actor, first_seen=min(found.first_seen for found in records),
        updated_at=max(found.updated_at for found in records),
    )  # fmt: skip
