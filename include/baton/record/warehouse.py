"""The warehouse: one database (SQLite or Postgres) for what a run leaves behind besides datasets.

`read()` and `write()` are the only doors. A write is one transaction; on SQLite it takes the write lock at
its start (`BEGIN IMMEDIATE`): it waits there, and cannot fail on a lock later.
"""

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record.migrations import upgrade
from baton.record.tables import meta
from baton.settings import settings

log = logging.getLogger(__name__)
T = TypeVar("T")

LOCK_PATIENCE = 60.0  # seconds that a writer waits for its turn, or for a database that restarts
_BUSY_TIMEOUT_MS = 30_000
AT_ONCE = 500  # values in one statement: both databases bound their number
_WRITE = "baton_write"
_CALLBACKS = "baton_after_commit"
_IDENTITY = "warehouse_id"
_QUOTED = re.compile(r"\n(DETAIL|CONTEXT):.*", re.DOTALL)
_ENGINES: dict[tuple[int, str], Engine] = {}


def now() -> str:
    """Return the present time as the text that all tables use, e.g. `2026-11-22T10:00:00.000000Z`."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment in UTC as the text that all tables use: it sorts by time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- connections ---


def engine() -> Engine:
    """Return this process's engine for `settings().warehouse_url`; a forked child gets one of its own."""
    key = (os.getpid(), settings().warehouse_url)
    if key not in _ENGINES:
        _ENGINES[key] = _connect(key[1])
    return _ENGINES[key]


def _connect(address: str) -> Engine:
    url = make_url(address)
    kind = url.get_backend_name()
    if kind == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise BatonError("BATON_WAREHOUSE_URL: the SQLite warehouse must be a file, every task opens it anew")
        path = os.path.abspath(str(url.database))  # noqa: PTH100 - keeps a symbolic link as the user wrote it
        os.makedirs(os.path.dirname(path), exist_ok=True, mode=0o700)  # noqa: PTH103, PTH120
        made = sa.create_engine(url, json_serializer=to_json, hide_parameters=True)
        sa.event.listen(made, "connect", _prepare_sqlite)
        sa.event.listen(made, "begin", _begin_sqlite)
        return made
    if kind == "postgresql":
        made = sa.create_engine(url, json_serializer=to_json, pool_pre_ping=True, hide_parameters=True)
        sa.event.listen(made, "handle_error", _without_rows)
        return made
    raise BatonError(f"BATON_WAREHOUSE_URL: {kind} is not supported; use sqlite:///file or postgresql+psycopg2://...")


def _without_rows(context: Any) -> None:
    """Postgres quotes the row that it refuses; an error ends in logs, where no row belongs."""
    for error in (context.original_exception, context.sqlalchemy_exception):
        if getattr(error, "args", ()):
            error.args = (_QUOTED.sub("", str(error.args[0])),)


def _prepare_sqlite(raw: Any, _record: Any) -> None:
    raw.isolation_level = None  # the driver must not open transactions by itself: _begin_sqlite does
    raw.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    raw.execute("PRAGMA foreign_keys = ON")
    if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # this statement ignores the busy timeout
        _patiently(lambda: raw.execute("PRAGMA journal_mode = WAL"))


def _begin_sqlite(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get(_WRITE) else "BEGIN")


def _close_idle_connections() -> None:
    for (pid, _), made in _ENGINES.items():
        if pid == os.getpid():
            made.dispose()


# SQLite's locks belong to a process: a connection carried over a fork would believe that it still holds them
os.register_at_fork(before=_close_idle_connections)


def _is_lock(error: Exception) -> bool:
    text = str(getattr(error, "orig", error)).lower()
    return any(f"database{what} is locked" in text for what in ("", " table", " schema"))


def _is_away(error: Exception) -> bool:
    """True for a Postgres server that restarts or cannot be reached; a wrong password is no such error."""
    text = str(getattr(error, "orig", error)).lower()
    signs = ("is the server running", "starting up", "shutting down", "not yet accepting", "recovery mode")
    return any(sign in text for sign in signs) or bool(getattr(error, "connection_invalidated", False))


def _is_conflict(error: Exception) -> bool:
    """True when Postgres gave up this transaction (serialization failure, deadlock): repeat it."""
    return getattr(getattr(error, "orig", None), "pgcode", None) in {"40001", "40P01"}


def _patiently(attempt: Callable[[], T]) -> T:
    """Run `attempt` until no lock and no restarting server is in its way, `LOCK_PATIENCE` seconds at most."""
    deadline = time.monotonic() + LOCK_PATIENCE
    pause = 0.05
    while True:
        try:
            return attempt()
        except Exception as error:
            if not (_is_lock(error) or _is_away(error)) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 1.0)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OperationalError, ProgrammingError) as error:
        text, code = str(error.orig), getattr(error.orig, "pgcode", None)
        place = f"the warehouse {engine().url!r}"
        if "no such table" in text or code == "42P01":
            raise BatonError(
                f"{place} lacks a table ({text.splitlines()[0]}); "
                "start `baton up` once, or call baton.record.warehouse.migrate(): both create and upgrade its tables"
            ) from error
        if "disk is full" in text or code == "53100":
            raise BatonError(f"{place}: its disk is full; nothing was committed, free space and retry") from error
        if _is_lock(error):
            raise BatonError(
                f"{place}: another process has held its write lock for {LOCK_PATIENCE:.0f} s; nothing was "
                "committed, find out which process that is (fuser on the file names it) and retry"
            ) from error
        raise


def _require_place() -> None:
    url = make_url(settings().warehouse_url)
    if url.get_backend_name() == "sqlite" and url.database and not os.path.exists(url.database):  # noqa: PTH110
        raise BatonError(
            f"there is no warehouse {url.database}: nothing has run here yet; `baton up` starts, or set BATON_HOME"
        )


@contextmanager
def read() -> Iterator[Connection]:
    """Open a connection for reading: one transaction, so that several queries see the same state on SQLite.

    Raises:
        BatonError: there is no warehouse yet, or it has not been migrated; nothing is created by looking.
    """
    _require_place()
    with _explained():
        conn = _patiently(lambda: _begun(engine().connect()))
        try:
            yield conn
        finally:
            conn.close()


@contextmanager
def write() -> Iterator[Connection]:
    """Open one write transaction: committed when the block ends, rolled back when it raises.

    Waits up to `LOCK_PATIENCE` seconds for other writers. Functions given to `after_commit` run afterwards.

    Raises:
        BatonError: the warehouse has not been migrated, stays locked, or its disk is full.
    """
    with _explained():
        callbacks: list[Callable[[], None]] = []
        options = {_WRITE: True, _CALLBACKS: callbacks}
        conn = _patiently(lambda: _begun(engine().connect().execution_options(**options)))
        try:
            yield conn
            conn.commit()
        finally:
            conn.close()  # rolls back what is not committed
    for callback in callbacks:
        try:
            callback()
        except Exception:  # the caller must not take for lost what is committed
            log.exception("after a commit")


def compact() -> None:
    """Have the database's files forget what was deleted; SQLite keeps deleted rows in free pages and in its log.

    Raises:
        BatonError: another process holds the database.
    """
    with _explained():
        conn = engine().raw_connection()
        try:
            statements = ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
            if engine().dialect.name == "postgresql":
                statements = statements[:1]
                driver: Any = conn.driver_connection
                driver.autocommit = (
                    True  # VACUUM runs in no transaction; SQLite's connections here open none themselves
                )
            cursor = conn.cursor()
            for statement in statements:
                _patiently(partial(cursor.execute, statement))
        finally:
            conn.invalidate()


def among(conn: Connection, query: sa.Select[Any], column: Any, values: Collection[Any]) -> Iterator[Any]:
    """The rows of a query whose column has one of the values, which may be any number: a statement takes `AT_ONCE`."""
    given = list(values)
    for start in range(0, len(given), AT_ONCE):
        yield from conn.execute(query.where(column.in_(given[start : start + AT_ONCE])))


def _begun(conn: Connection) -> Connection:
    try:
        conn.begin()
    except BaseException:
        conn.close()
        raise
    return conn


def transact(work: Callable[[Connection], T]) -> T:
    """Run `work(conn)` as one write transaction; repeated when the database asks for that (deadlock victim).

    `work` must be repeatable: no effect but what it does through `conn`.
    """
    for attempt in range(4):
        try:
            with write() as conn:
                return work(conn)
        except DBAPIError as error:
            if not _is_conflict(error):
                raise
            time.sleep(0.05 * 2**attempt)
    with write() as conn:
        return work(conn)


def after_commit(conn: Connection, callback: Callable[[], None]) -> None:
    """Have `callback` called once the transaction of `conn` is committed; never when it is rolled back.

    Raises:
        BatonError: `conn` does not come from `write()` or `transact()`.
    """
    callbacks = conn.get_execution_options().get(_CALLBACKS)
    if callbacks is None:
        raise BatonError("this needs a connection of baton.record.warehouse.write(), which knows when it is committed")
    callbacks.append(callback)


def take_turns(conn: Connection, name: str) -> None:
    """Wait until no other transaction holds `name`, and hold it to the end of this one.

    For what is looked up and then written: on Postgres two transactions would both look before the other commits. On
    SQLite writers take turns anyway. Call it before anything else, so that no two wait for each other.
    """
    if conn.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def migrate(carry: Callable[[Connection], None] | None = None) -> None:
    """Create the tables, or bring them to this version; safe when several processes do it at once.

    Args:
        carry: takes rows into the store that tables held before (`baton.published.carrying`); None: there are none.
    """
    upgrade(engine(), carry)


# --- rows ---


def insert(conn: Connection, table: sa.Table) -> Any:
    """The dialect's INSERT, which has `on_conflict_do_*` on both databases."""
    return (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(table)


def bulk_replace(conn: Connection, table: sa.Table, where: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """Replace all rows of `table` that equal `where` by `rows`; returns how many were there before.

    Args:
        where: column -> value, at least one; also filled into rows that do not name these columns.
        rows: all with the same columns.

    Raises:
        ValueError: an empty `where`, a row outside `where`, or rows with different columns.
    """
    if not where:
        raise ValueError(f"{table.name}: `where` is empty, this would replace the whole table")
    filled = [{**where, **row} for row in rows]
    if filled:
        columns = filled[0].keys()
        for number, row in enumerate(filled):
            if row.keys() != columns:
                raise ValueError(f"{table.name}: row {number} has other columns: {set(row) ^ set(columns)}")
            for column, value in where.items():
                if row[column] != value:
                    raise ValueError(f"{table.name}: row {number} has {column}={row[column]!r}, not {value!r}")
    gone = conn.execute(table.delete().where(*(table.c[column] == value for column, value in where.items())))
    if filled:
        conn.execute(table.insert(), filled)
    return int(gone.rowcount)


def upsert(
    conn: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], update: Sequence[str] | None = None
) -> None:
    """Insert `rows`; where the primary key is there already, set the columns `update` to the new values.

    Args:
        update: default all columns given outside the key; empty: keep the row that is there.
    """
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    chosen = [name for name in rows[0] if name not in keys] if update is None else list(update)
    statement = insert(conn, table)
    if chosen:
        statement = statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in chosen}
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    conn.execute(statement, [dict(row) for row in rows])


def meta_get(key: str, conn: Connection | None = None) -> str | None:
    """Return the value of `key` in `meta`, None when it was never set."""
    query = sa.select(meta.c.value).where(meta.c.key == key)
    if conn is not None:
        return conn.execute(query).scalar()
    with read() as own:
        return own.execute(query).scalar()


def meta_set(key: str, value: str, conn: Connection | None = None) -> None:
    """Set `key` in `meta`, in the caller's transaction if `conn` is given."""
    if conn is not None:
        upsert(conn, meta, [{"key": key, "value": value}])
    else:
        transact(lambda own: upsert(own, meta, [{"key": key, "value": value}]))


def identity(conn: Connection) -> str:
    """Return 12 hex digits that name this warehouse, chosen at random in its first write transaction.

    They are part of the names of its objects: a store may outlive its warehouse, or serve two of them.
    """
    known = meta_get(_IDENTITY, conn)
    if known is None:
        upsert(conn, meta, [{"key": _IDENTITY, "value": uuid4().hex[:12]}], update=[])
        known = meta_get(_IDENTITY, conn)  # another writer may have been first
    return str(known)
