"""Cases: what a flow could not decide alone. A person's decision is never overwritten, and becomes a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baton.errors import BatonError

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

RESOLUTIONS = ("fraud", "legitimate")


def open_cases(conn: Connection, flow: str, partition: str, decisions: pd.DataFrame) -> int:
    """Upsert a case per decision; close as `withdrawn` those open ones of the partition that no longer need a person.

    A case that a person decided stays as it is, whatever the flow says later. Returns the number of decisions.
    """
    from baton import tables
    from baton.warehouse import insert, now

    at, table = now(), tables.cases
    conn.execute(
        table.update()
        .where(table.c.flow == flow, table.c.partition == partition, table.c.status == "open")
        .values(status="withdrawn", updated_at=at)
    )
    rows = [
        {"flow": flow, "entity_key": key, "partition": partition, "route": route, "risk": float(risk),
         "status": "open", "opened_at": at, "updated_at": at}
        for key, route, risk in zip(
            decisions["entity_key"].astype(str), decisions["route"], decisions["risk"], strict=True
        )
    ]  # fmt: skip
    if rows:
        statement = insert(conn, table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.entity_key],
            set_={name: statement.excluded[name] for name in ("partition", "route", "risk", "status", "updated_at")},
            where=table.c.resolution.is_(
                None
            ),  # asked here, not before: a person may decide meanwhile, in any partition
        )
        conn.execute(statement, rows)
    return len(rows)


def decide(flow: str, entity_key: str, resolution: str, actor: str, note: str = "") -> dict[str, Any]:
    """Record a person's decision on a case, and the label that follows from it, in one transaction.

    Raises:
        BatonError: no such case, an unknown resolution, or the case was already decided by somebody.
    """
    from sqlalchemy import select

    from baton import ledger, tables
    from baton.labels import record_labels
    from baton.warehouse import now, write

    if resolution not in RESOLUTIONS:
        raise BatonError(f"resolution {resolution!r}: allowed are {', '.join(RESOLUTIONS)}")
    table = tables.cases
    with write() as conn:
        here = (table.c.flow == flow) & (table.c.entity_key == str(entity_key))
        case = conn.execute(select(table).where(here)).mappings().first()
        if case is None:
            raise BatonError(f"no case {entity_key!r} in flow {flow!r}")
        if case["resolution"] is not None:
            raise BatonError(f"case {entity_key!r} was already decided {case['resolution']} by {case['actor']}")
        values = {"status": "closed", "resolution": resolution, "actor": actor, "note": note, "updated_at": now()}
        changed = conn.execute(table.update().where(here, table.c.resolution.is_(None)).values(**values))
        if changed.rowcount != 1:
            raise BatonError(f"case {entity_key!r} was decided by somebody else at the same moment")
        label = int(resolution == "fraud")
        record_labels(conn, flow, "analyst", actor, [(str(entity_key), case["partition"], label)])
        ledger.append(conn, "case_decided", f"{flow}/{entity_key}",
                      {"resolution": resolution, "actor": actor, "note": note})  # fmt: skip
    return {**case, **values}


def counts(flow: str | None = None) -> dict[str, int]:
    """Number of cases by status."""
    from sqlalchemy import func, select

    from baton import tables
    from baton.warehouse import read

    query = select(tables.cases.c.status, func.count()).group_by(tables.cases.c.status)
    if flow:
        query = query.where(tables.cases.c.flow == flow)
    with read() as conn:
        return {str(row[0]): int(row[1]) for row in conn.execute(query)}
