"""Airflow's connections and variables as one JSON line on standard output, or from standard input back into its database.

    python -m baton.airflow.server.carried out      for `baton backup`, which seals it
    python -m baton.airflow.server.carried in       for `baton restore`; makes the database first

Pipes, because their values are secrets: on no disk and in no list of processes. In the database they are encrypted with the
installation's Fernet key, as always.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from baton.airflow.server.initialise import initialise

_FIELDS = ("conn_type", "description", "host", "schema", "login", "password", "port", "extra")


def out() -> dict[str, Any]:
    """Connections and variables by name, decrypted."""
    from airflow.models.connection import Connection
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        connections = session.scalars(select(Connection)).all()
        variables = session.scalars(select(Variable)).all()
        return {
            "connections": {one.conn_id: {name: getattr(one, name) for name in _FIELDS} for one in connections},
            "variables": {one.key: {"value": one.val, "description": one.description} for one in variables},
        }


def take_in(given: dict[str, Any]) -> None:
    """Write them into Airflow's database; what has the same name there is replaced."""
    from airflow.models.connection import Connection
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id.in_(given["connections"])))
        session.execute(delete(Variable).where(Variable.key.in_(given["variables"])))
        for name, fields in given["connections"].items():
            session.add(Connection(conn_id=name, **fields))
        for name, fields in given["variables"].items():
            session.add(Variable(key=name, val=fields["value"], description=fields["description"]))


if __name__ == "__main__":
    if sys.argv[1:] == ["out"]:
        print(json.dumps(out()))  # noqa: T201 - what it is for
    else:
        initialise()
        take_in(json.loads(sys.stdin.read()))
