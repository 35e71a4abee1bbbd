"""The warehouse's schema, version by version, run by Alembic from Python: no alembic.ini.

A new revision is the next file in `versions/`: `000N_what.py` with `revision = "000N"` and the one before as
`down_revision`. A test compares the tables of `baton.record.tables` with what the revisions build.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from baton.errors import BatonError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent
_FIRST = "1001"
_ADVISORY_LOCK = 0x6261746F6E  # "baton"


def newest() -> str:
    """Return the last revision in `versions/`."""
    return max(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def current(conn: Connection) -> str | None:
    """Return the revision of a database, None for one without tables."""
    if not sa.inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(sa.text("select version_num from alembic_version")).scalar()


def upgrade(engine: Engine, carry: Callable[[Connection], None] | None = None) -> None:
    """Bring a database to the newest revision in one transaction; several processes may try at once.

    Args:
        carry: takes rows out of tables that go into the store, which this room does not know.

    Raises:
        BatonError: a newer Baton upgraded the database, or a build before the first release made it.
    """
    with engine.connect() as conn:
        have = current(conn)
    if have == newest():  # the usual case, without importing Alembic
        return
    if have is not None and have > newest():
        raise BatonError(f"the warehouse is at revision {have}, this Baton knows {newest()}: install the newer Baton")
    if have is not None and have < _FIRST:
        raise BatonError(f"the warehouse is of a build before 0.1.0 (revision {have}): start with an empty BATON_HOME")
    from alembic import command

    with engine.connect().execution_options(baton_write=True) as conn, conn.begin():
        if conn.dialect.name == "postgresql":
            conn.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        command.upgrade(configured(conn, carry), "head")


def configured(conn: Connection, carry: Callable[[Connection], None] | None = None) -> Config:
    """What Alembic's commands take to work on a connection, which must be in a transaction that writes; `carry`: see `upgrade`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes |= {"connection": conn, "carry": carry}
    return config
