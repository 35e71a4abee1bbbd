"""Cases: what a flow could not decide alone. A person's decision is never overwritten, and becomes a label."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from baton.errors import BatonError

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection


class UnknownResolution(BatonError):
    """The case cannot be answered like that; the message lists what it can."""


Resolutions = Mapping[str, Mapping[str, Any]]  # what may be answered -> what is then true: target -> value


def open_cases(
    conn: Connection, flow: str, partition: str, decisions: pd.DataFrame, resolutions: Resolutions | None = None,
    routes: Collection[str] | None = None,
) -> int:  # fmt: skip
    """Upsert a case per decision; close as `withdrawn` those open ones of the partition that no longer need a person.

    A case that a person decided stays as it is, whatever the flow says later. Returns the number of decisions.

    Args:
        decisions: columns entity_key, route, risk; perhaps queue (whose work it is), priority (1 is first) and
            resolutions (JSON: what this very case may be answered).
        resolutions: what every case may be answered, where a decision brings nothing of its own.
        routes: only cases of these routes are closed as withdrawn: the others were opened by another stage of the
            flow. None: all.

    Raises:
        BatonError: a case would have no answer.
    """
    from baton import tables
    from baton.warehouse import insert, now

    at, table = now(), tables.cases
    mine = [table.c.flow == flow, table.c.partition == partition, table.c.status == "open"]
    mine += [] if routes is None else [table.c.route.in_(routes)]
    conn.execute(table.update().where(*mine).values(status="withdrawn", updated_at=at))
    rows = [
        {"flow": flow, "entity_key": str(one["entity_key"]), "partition": partition, "route": one["route"],
         "queue": one.get("queue") or None, "priority": int(one["priority"]) if one.get("priority") else None,
         "risk": float(one["risk"]), "resolutions": _answers(flow, one, resolutions), "status": "open", "opened_at": at,
         "updated_at": at}
        for one in decisions.to_dict("records")
    ]  # fmt: skip
    if rows:
        statement = insert(conn, table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.flow, table.c.entity_key],
            set_={name: statement.excluded[name] for name in _FROM_THE_RUN},
            where=table.c.resolution.is_(
                None
            ),  # asked here, not before: a person may decide meanwhile, in any partition
        )
        conn.execute(statement, rows)
    return len(rows)


_FROM_THE_RUN = ("partition", "route", "queue", "priority", "risk", "resolutions", "status", "updated_at")


def _answers(flow: str, decision: Mapping[Any, Any], default: Resolutions | None) -> Resolutions:
    own = decision.get("resolutions")
    found: Resolutions = json.loads(own) if isinstance(own, str) else default or {}
    if not found:
        raise BatonError(f"flow {flow}: a case needs `resolutions`: what a person may answer, and what is then true")
    return found


def decide(flow: str, entity_key: str, resolution: str, actor: str, note: str = "") -> dict[str, Any]:
    """Record a person's decision on a case, and the labels that follow from it, in one transaction.

    Raises:
        BatonError: no such case, an unknown resolution, or the case was already decided by somebody.
    """
    from sqlalchemy import select

    from baton import ledger, tables
    from baton.labels import record_labels
    from baton.warehouse import now, write

    table = tables.cases
    with write() as conn:
        here = (table.c.flow == flow) & (table.c.entity_key == str(entity_key))
        case = conn.execute(select(table).where(here)).mappings().first()
        if case is None:
            raise BatonError(f"no case {entity_key!r} in flow {flow!r}")
        if resolution not in case["resolutions"]:
            raise UnknownResolution(f"resolution {resolution!r}: allowed are {', '.join(case['resolutions'])}")
        if case["resolution"] is not None:
            raise BatonError(f"case {entity_key!r} was already decided {case['resolution']} by {case['actor']}")
        values = {"status": "closed", "resolution": resolution, "actor": actor, "note": note, "updated_at": now()}
        changed = conn.execute(table.update().where(here, table.c.resolution.is_(None)).values(**values))
        if changed.rowcount != 1:
            raise BatonError(f"case {entity_key!r} was decided by somebody else at the same moment")
        for target, value in case["resolutions"][resolution].items():
            record_labels(conn, flow, "analyst", actor, [(str(entity_key), case["partition"], value)], target)
        ledger.append(conn, "case_decided", f"{flow}/{entity_key}",
                      {"resolution": resolution, "actor": actor, "note": note})  # fmt: skip
    return {**case, **values}


def decided(flow: str) -> set[str]:
    """Entities whose case a person has decided."""
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table = tables.cases
    with read() as conn:
        query = select(table.c.entity_key).where(table.c.flow == flow, table.c.resolution.is_not(None))
        return set(conn.execute(query).scalars())


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
