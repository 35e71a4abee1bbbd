"""The kill switch: while it is on no effect begins. It is asked in the transaction that lets an effect begin."""

import json
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from baton.errors import BatonError
from baton.record import ledger, warehouse

TURNS = "actions"  # whoever judges, votes, begins an effect or turns the switch holds it to the end of the transaction
_KEY, _ALL = "effects_stopped", "all"


@dataclass(frozen=True)
class Stopped:
    """Who stopped all effects, when and why."""

    by: str
    at: str
    reason: str

    def __str__(self) -> str:
        return f"all effects are stopped since {self.at[:19]} by {self.by} ({self.reason})"


def stopped(conn: Connection | None = None) -> Stopped | None:
    """The switch, None where effects may begin."""
    found = warehouse.meta_get(_KEY, conn)
    return Stopped(**json.loads(found)) if found else None


def stop(by: str, reason: str) -> Stopped:
    """Stop all effects of all flows: when this returns none begins any more; those on their way are asked about, not repeated.

    Raises:
        BatonError: no reason, or they are stopped already.
    """
    if not reason.strip():
        raise BatonError("say why all effects are to stop: it stands on the ledger and on every page")

    def work(conn: Connection) -> Stopped:
        warehouse.take_turns(conn, TURNS)
        if known := stopped(conn):
            raise BatonError(str(known))
        made = Stopped(by, warehouse.now(), reason.strip())
        warehouse.meta_set(_KEY, json.dumps({"by": made.by, "at": made.at, "reason": made.reason}), conn)
        ledger.append(conn, "effects_stopped", _ALL, {"by": by, "reason": made.reason})
        return made

    return warehouse.transact(work)


def start(by: str) -> Stopped:
    """Let effects begin again; returns how they were stopped.

    Raises:
        BatonError: they are not stopped.
    """

    def work(conn: Connection) -> Stopped:
        warehouse.take_turns(conn, TURNS)
        known = stopped(conn)
        if known is None:
            raise BatonError("effects are not stopped: nothing to start")
        warehouse.meta_set(_KEY, "", conn)
        ledger.append(conn, "effects_resumed", _ALL, {"by": by, "stopped_at": known.at, "stopped_by": known.by})
        return known

    return warehouse.transact(work)
