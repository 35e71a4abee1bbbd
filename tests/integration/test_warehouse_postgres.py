"""Warehouse, ledger and slots on a real Postgres server, started for this module on a unix socket.

Skipped where no Postgres binaries are installed. The server refuses to run as root; then `nobody` runs it.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from baton.data import datasets, objects
from baton.errors import BatonError, StaleAttempt
from baton.record import ledger, migrations, tables, used_models, warehouse
from baton.stages import garbage, slots

HARNESS = Path(__file__).parents[1] / "faults" / "crashes.py"


@pytest.fixture
def home(postgres_home):
    return postgres_home


def case(key):
    row = {"entity_key": key, "route": "review", "risk": 0.5, "status": "open", "resolutions": {}, "note": None}
    return {**row, "reasons": [["v1", 0.3]], "opened_at": "t", "updated_at": "t"}


def stage(slot, version=1, meanwhile=None, on_commit=None):
    def compute(_inputs):
        if meanwhile:
            meanwhile()
        return slots.StageOutput(pd.DataFrame({"n": [version] * 3}), {"nan": float("nan")}, on_commit)

    return slots.run_stage(slot, compute, inputs={}, params={"version": version}, models={}, code="c", run_id="r")


def test_revisions_build_exactly_the_declared_tables(home):
    with warehouse.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), tables.metadata) == []
        assert migrations.current(conn) == migrations.newest()


def test_a_refused_row_does_not_stand_in_the_log(home, caplog):
    """The server quotes it in the error's detail, which hidden parameters do not hide."""
    row = {"flow": "f", "partition": "p", "row_sha": "s", "row": 1, "rule": "r", "source": "s", "value": "ann@home"}
    try:
        with warehouse.write() as conn:
            conn.execute(tables.quarantine.insert(), [row])
    except sa.exc.IntegrityError:
        logging.getLogger("task").exception("failed")
    assert "violates not-null constraint" in caplog.text
    assert "ann@home" not in caplog.text


def test_processes_may_migrate_at_once(home):
    with warehouse.engine().begin() as conn:
        conn.execute(sa.text("drop schema public cascade"))
        conn.execute(sa.text("create schema public"))
    code = "from baton.record import used_models, warehouse; warehouse.migrate(); print(used_models.recorded_models('f', 'p'))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == [b"{}"] * 3


def test_use_before_migration_says_what_to_do(home):
    with warehouse.engine().begin() as conn:
        conn.execute(sa.text("drop table meta"))
    with pytest.raises(BatonError, match="baton up"):
        warehouse.meta_get("x")


def test_rows_are_replaced_upserted_and_recorded(home):
    here = {"flow": "f", "partition": "p"}
    rows = [case(str(number)) for number in range(8000)]
    seconds = []
    for _ in range(3):
        began = time.process_time()
        with warehouse.write() as conn:
            warehouse.bulk_replace(conn, tables.cases, here, rows)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.5
    with warehouse.write() as conn:
        assert warehouse.bulk_replace(conn, tables.cases, here, [case("x")]) == 8000
        row = conn.execute(sa.select(tables.cases)).mappings().one()
        assert row["reasons"] == [["v1", 0.3]]
    assert used_models.record_models("f", "p", {"a": 1}) == {"a": 1}
    assert used_models.record_models("f", "p", {"a": 2, "b": 1}) == {"a": 1, "b": 1}
    assert used_models.record_models("f", "p", {"a": 2}, supersede=True) == {"a": 2, "b": 1}
    warehouse.meta_set("k", "1")
    warehouse.meta_set("k", "2")
    assert warehouse.meta_get("k") == "2"


def test_the_slot_protocol(home):
    slot = slots.Slot("flow", "stage", "2026-01-01T00:00:00")
    first = stage(slot)
    assert (first.cached, first.facts) == (False, {"nan": None})
    assert stage(slot).cached
    with pytest.raises(StaleAttempt):
        stage(slot, 2, meanwhile=lambda: stage(slot, 3))
    assert slots.head(slot).facts == {"nan": None}
    assert datasets.read(slots.head(slot).ref)["n"].tolist() == [3, 3, 3]
    with pytest.raises(ZeroDivisionError):
        stage(slot, 4, on_commit=lambda conn, commit_id: 1 / 0)
    assert len(slots.history(slot)) == len(list(objects.listed())) == 2
    assert garbage.gc(timedelta(0)).uris == []
    assert ledger.verify().ok


def test_gc_waits_for_a_commit_that_is_under_way(home, monkeypatch):
    slot, collected, held = slots.Slot("flow", "stage", "2026-01-01T00:00:00"), [], threading.Event()
    collector = threading.Thread(target=lambda: collected.append(garbage.gc(timedelta(0)).uris))

    def pause(point):
        if point == "before_commit":
            collector.start()
            collector.join(1)  # it has looked by then, and waits
            held.set()
            assert collector.is_alive()

    monkeypatch.setattr(slots, "FAULT", pause)
    result = stage(slot)
    collector.join(30)
    assert (held.is_set(), collected) == (True, [[]])
    assert datasets.verifies(result.ref)


def test_gc_holds_off_a_commit_once_it_has_looked(home, monkeypatch):
    slot, looked, go_on = slots.Slot("flow", "stage", "2026-01-01T00:00:00"), threading.Event(), threading.Event()
    real, collected = garbage.orphaned, []

    def orphaned(conn, slot, fence, dry_run):
        found = real(conn, slot, fence, dry_run)
        looked.set()
        assert go_on.wait(30)
        return found

    monkeypatch.setattr(garbage, "orphaned", orphaned)
    collector = threading.Thread(target=lambda: collected.extend(garbage.gc(timedelta(0)).uris))

    def pause(point):
        if point == "synced":
            collector.start()
            assert looked.wait(30)
            threading.Timer(1, go_on.set).start()

    monkeypatch.setattr(slots, "FAULT", pause)
    with pytest.raises(StaleAttempt):
        stage(slot)
    collector.join(30)
    assert len(collected) == 1
    monkeypatch.setattr(slots, "FAULT", lambda point: None)
    assert datasets.verifies(stage(slot).ref)


def test_concurrent_writers_build_one_chain(home):
    code = """
from baton.record import ledger, warehouse
for number in range(20):
    warehouse.transact(lambda conn: ledger.append(conn, "kind", "subject", {"number": number}))
"""
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0] * 3
    verdict = ledger.verify()
    assert (verdict.ok, verdict.records, verdict.unanchored) == (True, 60, 0)
    with warehouse.write() as conn:
        conn.execute(tables.ledger.delete().where(tables.ledger.c.seq == 7))
    assert ledger.verify().first_broken == 7


def test_a_deadlock_is_repeated_until_both_are_done(home):
    for key in ("a", "b"):
        warehouse.meta_set(key, "0")
    both_hold_one = threading.Barrier(2, timeout=20)
    tries = []

    def swap(first, second):
        def work(conn):
            tries.append(first)
            warehouse.meta_set(first, first, conn)
            if len(tries) <= 2:
                both_hold_one.wait()
            warehouse.meta_set(second, first, conn)

        warehouse.transact(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(tries) == 3
    assert warehouse.meta_get("a") == warehouse.meta_get("b")


def test_a_server_that_restarts_is_waited_for(home, postgres):
    slot = slots.Slot("flow", "stage", "p")
    stage(slot, 1)
    postgres.stop()
    back = threading.Timer(1.5, postgres.start)
    back.start()
    result = stage(slot, 2)
    back.join()
    assert not result.cached
    assert ledger.verify().ok


def test_killed_and_interleaved_attempts_leave_one_verified_head(home, postgres):
    command = [sys.executable, str(HARNESS), "--seeds", "60:70,100:150", "--seconds", "20"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["violations"], summary["scenarios"] >= 10) == ([], True)
