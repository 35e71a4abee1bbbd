"""Who scores where a model's champion does not: the rung in force per flow and model, on record until the champion is back.

champion (the version that the run fixed) -> previous (another champion of before) -> rules (a function of the pack)
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record import ledger, warehouse
from baton.record.tables import rungs

AS_FIXED, EARLIER, RULES = DOWN = "champion", "previous", "rules"
NO_VERSION = 0  # of scores that rules made
DEGRADED, RECOVERED = "model_degraded", "model_recovered"


def record(
    conn: Connection, flow: str, model: str, partition: str, rung: str, version: int | None, reason: str
) -> None:
    """Note who scored; the ledger hears of each change, and of a recovery how long it took.

    Args:
        version: that scored; None where rules did.
        reason: why it is not the champion, without values of rows.
    """
    warehouse.take_turns(conn, f"rung {flow} {model}")
    here = [rungs.c.flow == flow, rungs.c.model == model]
    before = conn.execute(sa.select(rungs).where(*here)).first()
    at, about = warehouse.now(), f"{flow}/{model}"
    if rung == AS_FIXED:
        if before is not None:
            conn.execute(rungs.delete().where(*here))
            seconds = (datetime.fromisoformat(at) - datetime.fromisoformat(before.since)).total_seconds()
            said = {"seconds": round(seconds, 3), "rung": before.rung, "partition": partition, "version": version}
            ledger.append(conn, RECOVERED, about, said)
        return
    row = {"flow": flow, "model": model, "rung": rung, "version": version, "reason": reason, "partition": partition}
    since = at if before is None else before.since
    warehouse.upsert(conn, rungs, [{**row, "since": since, "updated_at": at}])
    if before is None or (before.rung, before.version) != (rung, version):
        said = {"rung": rung, "version": version, "reason": reason, "partition": partition}
        ledger.append(conn, DEGRADED, about, said)


def in_force(conn: Connection) -> list[dict[str, Any]]:
    """Models that others stand in for: flow, model, rung, version, reason, partition (the last one), since; oldest first."""
    columns = [rungs.c[name] for name in ("flow", "model", "rung", "version", "reason", "partition", "since")]
    return [dict(row._mapping) for row in conn.execute(sa.select(*columns).order_by(rungs.c.since, rungs.c.model))]
