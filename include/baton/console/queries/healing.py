"""What stands in for something that is not well, and what became well again: breakers of tools, rungs of models."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from baton.console.host import Rights
from baton.lookups import guard
from baton.progress import duration
from baton.record import tables
from baton.registry import rungs

HEALED_WITHIN, SHOWN = timedelta(days=1), 10
_HEALED = (guard.BREAKER_CLOSED, rungs.RECOVERED)


def in_force(conn: Connection) -> dict[str, list[dict[str, Any]]]:
    """Breakers that are not closed, and models that others stand in for, the oldest first; see `guard` and `rungs`."""
    return {"breakers": guard.standing(conn), "rungs": rungs.in_force(conn)}


def healing(conn: Connection, rights: Rights, now: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
    """For a person: breakers, rungs and `healed`: what became well in the last day, how long it took, the newest first."""
    found = in_force(conn)
    if not rights.read(None):
        found["breakers"] = []
    found["rungs"] = [one for one in found["rungs"] if rights.read(one["flow"])]
    return {**found, "healed": _healed(conn, rights, now or datetime.now(UTC))}


def _healed(conn: Connection, rights: Rights, now: datetime) -> list[dict[str, Any]]:
    table, since = tables.ledger.c, (now - HEALED_WITHIN).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    query = select(table.at, table.kind, table.subject, table.payload).where(table.kind.in_(_HEALED), table.at >= since)
    healed = []
    for row in conn.execute(query.order_by(table.seq.desc()).limit(10 * SHOWN)):
        if not rights.read(row.subject.partition("/")[0] if row.kind == rungs.RECOVERED else None):
            continue
        seconds = float(json.loads(row.payload)["seconds"])
        healed.append({"what": row.subject, "at": row.at, "seconds": seconds, "took": duration(seconds)})
    return healed[:SHOWN]
