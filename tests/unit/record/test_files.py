"""What the record leaves on the disk: who may read it, and what is in it no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from baton.record import anchor, ledger, warehouse


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_the_anchor_is_its_owners_alone(home: Path) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, "decision_taken", "flow/1", {})
    path = anchor.anchor_path()
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_what_was_deleted_is_in_none_of_the_files_afterwards(home: Path) -> None:
    secret = "name of a person " * 20
    with warehouse.write() as conn:
        conn.exec_driver_sql("CREATE TABLE letters (words TEXT)")
        conn.exec_driver_sql("INSERT INTO letters VALUES (?)", (secret,))
    with sqlite3.connect(home / "warehouse.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # out of the log, into the database
    with warehouse.write() as conn:
        conn.exec_driver_sql("DELETE FROM letters")
    held = [path for path in home.iterdir() if path.is_file()]
    assert any(b"name of a person" in path.read_bytes() for path in held), "else this shows nothing"
    warehouse.compact()
    assert not [path.name for path in home.iterdir() if path.is_file() and b"name of a person" in path.read_bytes()]
