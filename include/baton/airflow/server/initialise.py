"""Bring Airflow's metadata database up to date; create pools and the connections of companions.

    python -m baton.airflow.server.initialise '{"purchasing": 8090}'      ports of the companions by name

One process instead of `airflow db migrate`, `airflow pools set` and `airflow connections add`: each imports for seconds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from baton.settings import scoring_slots, settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

POOLS = {
    "training": (max(2, os.cpu_count() or 1), "Model training: as many candidates at a time as there are cores"),
    "scoring": (scoring_slots(), "Scoring of partitions, and what several tasks share of a large one"),
    "agents": (
        1,
        "Stages that ask a language model; give it more slots where the model server answers several at a time",
    ),
}


def initialise(ports: Mapping[str, int] | None = None) -> None:
    """Create or migrate the database, missing pools and connections; what an operator changed stays.

    Args:
        ports: of the running companions by name.
    """
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    with create_session() as session:
        for name, (slots, description) in POOLS.items():
            if Pool.get_pool(name, session=session) is None:
                Pool.create_or_update_pool(name, slots, description, include_deferred=False, session=session)
        _connect(ports or {}, session)


def _connect(ports: Mapping[str, int], session: Session) -> None:
    from airflow.models.connection import Connection
    from sqlalchemy import select

    from baton.services.companions import KEPT, companions

    for one in companions(settings()):
        if one.name not in ports:
            continue
        for conn_id in one.conn_ids:
            known = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
            if known is None:
                known = Connection(conn_id=conn_id, conn_type=one.conn_type, description=KEPT)
                session.add(known)
            elif known.description != KEPT:
                continue  # somebody's own
            fields = one.connection(ports[one.name])
            known.conn_type, known.host = fields["conn_type"], fields["host"]
            known.port, known.schema = fields["port"], fields["schema"]
            known.set_password(fields["password"])
            known.set_extra(fields["extra"])


if __name__ == "__main__":
    initialise(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
