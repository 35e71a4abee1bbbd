"""The warehouse: migrations, transactions, locks, bulk writes, records of models."""

import json
import logging
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError, IntegrityError

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.record import migrations, tables, used_models, warehouse
from baton.settings import settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


@pytest.fixture
def migrated(home):
    warehouse.migrate()
    return home


def case(key, **other):
    row = {"entity_key": key, "route": "review", "risk": 0.5, "status": "open", "resolutions": {}, "note": None}
    return {**row, "reasons": [["v1", 0.3]], "opened_at": "t", "updated_at": "t", **other}


def count(table):
    with warehouse.read() as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar()


# --- migrations ---


def test_revisions_build_exactly_the_declared_tables(migrated):
    with warehouse.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), tables.metadata) == []
        assert migrations.current(conn) == migrations.newest()


def test_migrate_again_changes_nothing_and_is_fast(migrated):
    began = time.perf_counter()
    warehouse.migrate()
    assert time.perf_counter() - began < 0.1


def test_two_processes_may_migrate_at_once(home):
    code = "from baton.record import used_models, warehouse; warehouse.migrate(); print(used_models.recorded_models('f', 'p'))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == [b"{}"] * 3


def test_a_warehouse_of_a_newer_baton_is_refused(migrated):
    with warehouse.write() as conn:
        conn.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(BatonError, match=r"9999.*newer Baton"):
        warehouse.migrate()


def test_use_before_migration_says_what_to_do(home):
    with pytest.raises(BatonError, match="baton up"):
        warehouse.meta_get("x")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_databases_that_cannot_work_are_refused(home, monkeypatch, url):
    monkeypatch.setenv("BATON_WAREHOUSE_URL", url)
    settings.cache_clear()
    with pytest.raises(BatonError, match="BATON_WAREHOUSE_URL"):
        warehouse.engine()
    monkeypatch.delenv("BATON_WAREHOUSE_URL")
    settings.cache_clear()


def test_sqlite_is_opened_for_many_processes(migrated):
    with warehouse.read() as conn:
        assert conn.exec_driver_sql("pragma journal_mode").scalar() == "wal"
        assert conn.exec_driver_sql("pragma busy_timeout").scalar() == 30_000
        assert conn.exec_driver_sql("pragma foreign_keys").scalar() == 1


# --- transactions ---


def test_write_commits_at_its_end_and_rolls_back_on_an_error(migrated):
    called = []
    with warehouse.write() as conn:
        warehouse.meta_set("a", "1", conn)
        warehouse.after_commit(conn, lambda: called.append("committed"))
        assert called == []
    assert called == ["committed"]
    with pytest.raises(ZeroDivisionError), warehouse.write() as conn:  # noqa: PT012
        warehouse.meta_set("a", "2", conn)
        warehouse.after_commit(conn, lambda: called.append("never"))
        _ = 1 / 0
    assert warehouse.meta_get("a") == "1"
    assert called == ["committed"]


def test_a_failing_callback_does_not_make_a_commit_look_lost(migrated, caplog):
    with warehouse.write() as conn:
        warehouse.meta_set("a", "1", conn)
        warehouse.after_commit(conn, lambda: 1 / 0)
    assert warehouse.meta_get("a") == "1"
    assert "ZeroDivisionError" in caplog.text


def test_after_commit_needs_a_write_transaction(migrated):
    with warehouse.read() as conn, pytest.raises(BatonError, match="write"):
        warehouse.after_commit(conn, lambda: None)


def test_a_refused_row_does_not_stand_in_the_log(migrated, caplog):
    """A task's log has the error with its causes, and is read by more people than the row may be."""
    secret = "Ann Example <ann@home.example>"
    row = {"flow": "f", "partition": "p", "row_sha": "s", "row": 1, "rule": "r", "source": "s", "value": secret}
    try:
        with warehouse.write() as conn:
            conn.execute(tables.quarantine.insert(), [row])
    except IntegrityError:
        logging.getLogger("task").exception("failed")
    assert "NOT NULL" in caplog.text
    assert "INSERT INTO quarantine" in caplog.text
    assert "ann@home" not in caplog.text


def test_a_connection_whose_transaction_does_not_begin_goes_back(migrated, monkeypatch):
    begun = []
    monkeypatch.setattr(sa.engine.Connection, "begin", lambda conn: begun.append(conn) or 1 / 0)
    with pytest.raises(ZeroDivisionError), warehouse.read():
        pass
    assert [conn.closed for conn in begun] == [True]


def test_several_reads_of_one_block_see_one_state(migrated):
    with warehouse.read() as conn:
        assert warehouse.meta_get("a", conn) is None
        warehouse.meta_set("a", "1")
        assert warehouse.meta_get("a", conn) is None
    assert warehouse.meta_get("a") == "1"


def test_a_writer_waits_for_the_lock(migrated):
    inside, order = threading.Event(), []

    def slow():
        with warehouse.write() as conn:
            inside.set()
            time.sleep(0.3)
            warehouse.meta_set("a", "slow", conn)
            order.append("slow")

    other = threading.Thread(target=slow)
    other.start()
    inside.wait()
    warehouse.meta_set("a", "second")
    order.append("second")
    other.join()
    assert order == ["slow", "second"]
    assert warehouse.meta_get("a") == "second"


def test_a_lock_that_stays_is_a_clear_error(migrated, monkeypatch):
    monkeypatch.setattr(warehouse, "LOCK_PATIENCE", 0.3)
    warehouse.engine().dispose()
    sa.event.listen(warehouse.engine(), "connect", lambda raw, _: raw.execute("pragma busy_timeout = 50"))
    blocker = sqlite3.connect(migrated / "warehouse.db", isolation_level=None)
    blocker.execute("begin immediate")
    with pytest.raises(BatonError, match="write lock"):
        warehouse.meta_set("a", "1")
    blocker.execute("rollback")
    warehouse.meta_set("a", "1")
    blocker.close()


def test_a_full_disk_is_a_clear_error_and_commits_nothing(migrated):
    with warehouse.read() as conn:
        pages = conn.exec_driver_sql("pragma page_count").scalar()
    with pytest.raises(BatonError, match="disk is full"), warehouse.write() as conn:  # noqa: PT012
        conn.exec_driver_sql(f"pragma max_page_count = {pages + 2}")
        for number in range(100):
            warehouse.meta_set(f"k{number}", "x" * 4096, conn)
    warehouse.engine().dispose()
    assert count(tables.meta) == 0


@pytest.mark.parametrize(("bad", "done"), [(2, "done"), (4, "done"), (5, None)])
def test_transact_repeats_a_deadlock_victim_four_times(migrated, monkeypatch, bad, done):
    tries, deadlock = [], type("Deadlock", (Exception,), {"pgcode": "40P01"})

    def work(conn):
        tries.append(1)
        warehouse.meta_set("a", str(len(tries)), conn)
        if len(tries) <= bad:
            raise DBAPIError("update", {}, deadlock())
        return "done"

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with nullcontext() if done else pytest.raises(DBAPIError):
        assert warehouse.transact(work) == done
    assert (len(tries), warehouse.meta_get("a")) == (min(bad + 1, 5), str(bad + 1) if done else None)


def test_an_error_of_the_work_is_not_repeated(migrated):
    tries = []

    def work(conn):
        tries.append(1)
        conn.execute(tables.meta.insert(), [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}])

    with pytest.raises(IntegrityError):
        warehouse.transact(work)
    assert len(tries) == 1


def test_a_forked_child_gets_connections_of_its_own(migrated):
    warehouse.meta_set("a", "parent")
    parent = warehouse.engine()

    def child(results):
        results.put((warehouse.engine() is parent, warehouse.meta_get("a")))
        warehouse.meta_set("a", "child")

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=child, args=(results,))
    process.start()
    assert results.get(timeout=20) == (False, "parent")
    process.join()
    assert warehouse.meta_get("a") == "child"


def test_writers_in_many_processes_lose_nothing(migrated):
    code = """
import sys
from baton.record import warehouse
for number in range(25):
    def work(conn):
        warehouse.meta_set("n", str(int(warehouse.meta_get("n", conn) or 0) + 1), conn)
    warehouse.transact(work)
"""
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in started] == [0] * 4
    assert warehouse.meta_get("n") == "100"


# --- rows ---


def test_bulk_replace_replaces_what_is_named_and_nothing_else(migrated):
    here, there = {"flow": "f", "partition": "p"}, {"flow": "f", "partition": "q"}
    with warehouse.write() as conn:
        assert warehouse.bulk_replace(conn, tables.cases, here, [case("a"), case("b")]) == 0
        assert warehouse.bulk_replace(conn, tables.cases, there, [case("d")]) == 0
        assert warehouse.bulk_replace(conn, tables.cases, here, [case("c", risk=np.float64(0.7))]) == 2
        rows = conn.execute(sa.select(tables.cases).order_by(tables.cases.c.entity_key)).mappings().all()
    assert [(row["partition"], row["entity_key"], row["risk"]) for row in rows] == [("p", "c", 0.7), ("q", "d", 0.5)]
    assert rows[0]["reasons"] == [["v1", 0.3]]
    with warehouse.write() as conn:
        assert warehouse.bulk_replace(conn, tables.cases, here, []) == 1
    assert count(tables.cases) == 1


def test_bulk_replace_refuses_what_would_leave_or_delete_too_much(migrated):
    here = {"flow": "f", "partition": "p"}
    with warehouse.write() as conn:
        with pytest.raises(ValueError, match="whole table"):
            warehouse.bulk_replace(conn, tables.cases, {}, [])
        with pytest.raises(ValueError, match="row 1 has partition='q'"):
            warehouse.bulk_replace(conn, tables.cases, here, [case("a"), case("b", partition="q")])
        short = {k: v for k, v in case("b").items() if k != "note"}
        with pytest.raises(ValueError, match=r"row 1 has other columns: {'note'}"):
            warehouse.bulk_replace(conn, tables.cases, here, [case("a"), short])


def test_eight_thousand_rows_are_replaced_in_well_under_a_second(migrated):
    rows = [case(str(number)) for number in range(8000)]
    seconds = []
    for _ in range(3):
        began = time.process_time()  # of this process: other load on the machine does not count
        with warehouse.write() as conn:
            warehouse.bulk_replace(conn, tables.cases, {"flow": "f", "partition": "p"}, rows)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.3
    assert count(tables.cases) == 8000


def test_upsert_updates_only_what_it_is_told_to(migrated):
    label = {
        "target": "late",
        "flow": "f",
        "entity_key": "e",
        "origin": "analyst",
        "partition": "p",
        "label": 0,
        "known_at": "t0",
    }
    with warehouse.write() as conn:
        warehouse.upsert(conn, tables.labels, [label])
        warehouse.upsert(conn, tables.labels, [{**label, "label": 1, "known_at": "t1"}], update=["label"])
        warehouse.upsert(conn, tables.labels, [{**label, "label": 0, "partition": "z"}], update=[])
        warehouse.upsert(conn, tables.labels, [])
        row = conn.execute(sa.select(tables.labels)).mappings().one()
    assert (row["label"], row["known_at"], row["partition"]) == (1, "t0", "p")


def test_the_first_record_of_models_stays_unless_superseded(migrated):
    assert used_models.recorded_models("f", "p") == {}
    assert used_models.record_models("f", "p", {"a": 1, "b": 4}) == {"a": 1, "b": 4}
    assert used_models.record_models("f", "p", {"a": 2, "c": 1}) == {"a": 1, "b": 4, "c": 1}
    assert used_models.record_models("f", "p", {"a": 2}, supersede=True) == {"a": 2, "b": 4, "c": 1}
    assert used_models.record_models("f", "q", {}) == {}
    with pytest.raises(ZeroDivisionError), warehouse.write() as conn:  # noqa: PT012
        used_models.record_models("f", "p", {"a": 9}, True, conn)
        _ = 1 / 0
    assert used_models.recorded_models("f", "p")["a"] == 2


def test_meta_keeps_the_last_value(migrated):
    assert warehouse.meta_get("replay_anchor") is None
    warehouse.meta_set("replay_anchor", "2026-01-01")
    warehouse.meta_set("replay_anchor", "2026-01-02")
    assert warehouse.meta_get("replay_anchor") == "2026-01-02"


def test_now_is_text_whose_order_is_time_order():
    earlier, later = warehouse.now(), warehouse.now()
    assert earlier <= later
    assert len(earlier) == len("2026-11-22T10:00:00.000000Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(earlier)).total_seconds()) < 5


# --- JSON ---


def test_json_takes_what_frames_are_made_of():
    value = {
        "count": np.int64(3),
        "share": np.float32(0.5),
        "array": np.array([1.0, np.nan]),
        "missing": [float("nan"), float("inf"), pd.NaT, pd.NA, None],
        "time": pd.Timestamp("2026-01-01", tz="UTC"),
        "path": Path("a/b"),
        "set": {"b", "a"},
        "flag": np.bool_(True),
        "text": "Zoë",
    }
    assert json.loads(to_json(value)) == {
        "count": 3,
        "share": 0.5,
        "array": [1.0, None],
        "missing": [None] * 5,
        "time": "2026-01-01T00:00:00+00:00",
        "path": "a/b",
        "set": ["a", "b"],
        "flag": True,
        "text": "Zoë",
    }
    with pytest.raises(TypeError, match="object has no place in JSON"):
        to_json({"x": object()})


def test_importing_the_warehouse_stays_light():
    code = (
        "import sys; from baton.record import warehouse, ledger; from baton.stages import slots; from baton.data import datasets;"
        "print({'pandas', 'numpy', 'pyarrow', 'alembic', 'fsspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "set()", done.stderr


def test_a_warehouse_of_a_build_before_the_first_release_is_refused(migrated: Path) -> None:
    with warehouse.write() as conn:
        conn.execute(sa.text("update alembic_version set version_num = '0003'"))
    with pytest.raises(BatonError, match=r"before 0.1.0 \(revision 0003\): start with an empty BATON_HOME"):
        warehouse.migrate()
