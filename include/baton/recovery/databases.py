"""Copies of a database while it is in use, and the way back: SQLite by its own backup interface, Postgres by its tools."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url

from baton.errors import BatonError

_SQLITE = b"SQLite format 3\0"


def kind(url: str) -> str:
    """`sqlite` or `postgresql`. Raises BatonError: another kind."""
    name = make_url(url).get_backend_name()
    if name not in ("sqlite", "postgresql"):
        raise BatonError(f"a database of kind {name} is not backed up: SQLite and Postgres are")
    return name


def file_of(url: str) -> Path:
    """The file of a SQLite database."""
    return Path(str(make_url(url).database)).absolute()


@contextmanager
def dumped(url: str, target: Path) -> Iterator[Connection]:
    """Copy a database into a new file, 0600; yields a connection that sees exactly what is in the copy.

    Raises:
        BatonError: it is not there, or the tool that copies it is missing or fails.
    """
    if kind(url) == "sqlite":
        copy(file_of(url), target)
        made = sa.create_engine(f"sqlite:///{target}", poolclass=sa.NullPool)
        with made.connect() as conn:
            yield conn
        for beside in ("-wal", "-shm"):
            Path(f"{target}{beside}").unlink(missing_ok=True)
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="REPEATABLE READ", hide_parameters=True)
    with engine.connect() as conn:
        seen = conn.scalar(sa.text("select pg_export_snapshot()"))  # the tool sees what this transaction does
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
        run(
            "pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={seen}", f"--file={target}"
        )
        yield conn


def copy(path: Path, target: Path) -> None:
    """Copy a SQLite database while others write to it. Raises BatonError: there is none."""
    if not path.exists():
        raise BatonError(f"there is no database {path}")
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as made,
    ):
        source.backup(made)  # in one go: a copy by pieces begins again whenever somebody writes


def exists(url: str) -> bool:
    """Whether there is a file for a SQLite database; a server's is taken to be there."""
    return kind(url) != "sqlite" or file_of(url).exists()


def load(url: str, dump: Path) -> None:
    """Fill an empty database from a copy, whole or not at all.

    Raises:
        BatonError: the tool is missing or fails, or the copy is one of the other kind.
    """
    with dump.open("rb") as file:
        made = "sqlite" if file.read(len(_SQLITE)) == _SQLITE else "postgresql"
    if made != kind(url):
        raise BatonError(
            f"the backup has a copy from {made} for {make_url(url)!r}: restore into a database of the same kind"
        )
    if made == "sqlite":
        file_of(url).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy(dump, file_of(url))
        return
    run("pg_restore", url, "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(dump))


def require_empty(url: str) -> None:
    """Raises BatonError: the database holds something already."""
    if kind(url) == "sqlite":
        filled = exists(url)
    else:
        engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True)
        with engine.connect() as conn:
            filled = bool(sa.inspect(conn).get_table_names())
    if filled:
        raise BatonError(f"the database {make_url(url)!r} is not empty: a restore writes over nothing")


def run(tool: str, url: str, *options: str) -> None:
    """Run one of Postgres' tools on a database. Raises BatonError: it is missing or fails."""
    program = shutil.which(tool)
    if program is None:
        raise BatonError(f"{tool} is not on PATH: install Postgres' client programs of the server's version or newer")
    parts = make_url(url)
    address = parts.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    secret = {"PGPASSWORD": str(parts.password)} if parts.password else {}  # an argument shows in the list of processes
    done = subprocess.run(  # noqa: S603 - our own arguments
        [program, f"--dbname={address}", *options],
        env={**os.environ, **secret},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BatonError(f"{tool} ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
