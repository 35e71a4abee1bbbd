"""The slot protocol: computed once, committed once, and only by the attempt that owns the slot."""

import errno
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from baton.data import datasets, objects
from baton.data.datasets import DatasetRef
from baton.data.objects import StoreError
from baton.errors import StaleAttempt
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import garbage, slots
from baton.stages.slots import Slot, StageOutput, run_stage

SLOT = Slot("flow", "stage", "2026-01-01T00:00:00")
REF = DatasetRef("file:///x.parquet", 1, "f" * 16, "a" * 64, "p")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    warehouse.migrate()
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()


class Work:
    """A stage function that counts its calls and can have something happen while it runs."""

    def __init__(self, rows=3, facts=None, meanwhile=None, on_commit=None):
        self.rows, self.facts, self.meanwhile, self.on_commit = rows, facts or {}, meanwhile, on_commit
        self.calls = 0

    def __call__(self, inputs):
        self.calls += 1
        self.inputs = inputs
        if self.meanwhile:
            self.meanwhile()
        return StageOutput(pd.DataFrame({"n": range(self.rows)}), self.facts, self.on_commit)


def stage(work, slot=SLOT, params=None, inputs=None, models=None, code="c"):
    return run_stage(slot, work, inputs=inputs or {}, params=params or {}, models=models or {}, code=code, run_id="run")


def publish(conn, commit_id):
    row = {"commit_id": commit_id, "models": {}, "entities": 1, "at": "t"}
    warehouse.bulk_replace(conn, tables.published, {"flow": SLOT.flow, "partition": SLOT.partition}, [row])


def published():
    with warehouse.read() as conn:
        return [row.commit_id for row in conn.execute(sa.select(tables.published.c.commit_id))]


def fence(slot=SLOT):
    with warehouse.read() as conn:
        return conn.execute(sa.select(tables.heads.c.fence).where(tables.heads.c.flow == slot.flow)).scalar()


def files():
    return sorted(item.uri for item in objects.listed())


# --- the usual course ---


def test_a_first_run_computes_and_commits(home):
    work = Work(facts={"rows_in": np.int64(3), "metric": float("nan")}, on_commit=publish)
    result = stage(work, params={"a": 1}, inputs={"data": REF}, models={"m": 4})
    assert (result.cached, result.ref.rows, result.facts) == (False, 3, {"rows_in": 3, "metric": None})
    assert work.inputs == {"data": REF}
    assert datasets.read(result.ref)["n"].tolist() == [0, 1, 2]
    assert files() == [result.ref.uri]
    assert published() == [result.commit_id]
    with warehouse.read() as conn:
        row = conn.execute(sa.select(tables.commits)).mappings().one()
    assert (row["fence"], row["run_id"], row["models"], row["params"]) == (1, "run", {"m": 4}, {"a": 1})
    assert DatasetRef.from_dict(row["inputs"]["data"]) == REF
    entry = ledger.entries(kind="dataset_committed")[0]
    assert entry.subject == "flow/stage/2026-01-01T00:00:00"
    assert entry.payload["sha256"] == result.ref.content_sha256
    assert entry.payload["inputs"] == {"data": REF.content_sha256}


def test_the_same_digest_runs_nothing_and_returns_the_same(home):
    work = Work(facts={"metric": float("nan")}, on_commit=publish)
    first = stage(work)
    again = stage(work)
    assert work.calls == 1
    assert again.cached
    assert (again.ref, again.facts, again.commit_id) == (first.ref, first.facts, first.commit_id)
    assert fence() == 1
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    "change", [{"params": {"x": 1}}, {"inputs": {"d": REF}}, {"models": {"m": 1}}, {"code": "d"}], ids=str
)
def test_another_digest_supersedes_and_keeps_the_old_version(home, change):
    work = Work(on_commit=publish)
    old, new = stage(work), stage(work, **change)
    assert not new.cached
    assert slots.head(SLOT).commit_id == new.commit_id
    assert [result.commit_id for result in slots.history(SLOT)] == [old.commit_id, new.commit_id]
    assert published() == [new.commit_id]
    assert datasets.verifies(old.ref)
    back = stage(work)  # the old digest again is a new version: the head tells what holds now
    assert not back.cached
    assert published() == [back.commit_id]


def test_slots_do_not_touch_each_other(home):
    others = [
        Slot("flow", "other", SLOT.partition),
        Slot("flow", "stage", "2026-01-01T01:00:00"),
        Slot("flow", "stage", SLOT.partition, 0),
        Slot("flow", "stage", SLOT.partition, 1),
    ]
    results = {slot: stage(Work(), slot) for slot in (SLOT, *others)}
    assert not any(result.cached for result in results.values())
    assert len(files()) == 5
    for slot, result in results.items():
        assert slots.head(slot).ref == result.ref
    assert slots.head(Slot("none", "stage", "p")) is None
    assert slots.history(Slot("none", "stage", "p")) == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")], ids=["gone", "changed"])
def test_a_damaged_object_is_built_anew(home, damage):
    work = Work()
    first = stage(work)
    damage(objects.path_of(first.ref.uri))
    second = stage(work)
    assert (work.calls, second.cached) == (2, False)
    assert second.ref.uri != first.ref.uri
    assert second.ref.content_sha256 == first.ref.content_sha256
    assert datasets.verifies(second.ref)


# --- attempts that overlap ---


def test_a_late_attempt_is_refused_and_leaves_nothing(home):
    replacement = Work(rows=5, on_commit=publish)
    late = Work(meanwhile=lambda: stage(replacement, params={"late data": True}), on_commit=publish)
    with pytest.raises(StaleAttempt, match="attempt 1 came too late"):
        stage(late)
    assert slots.head(SLOT).ref.rows == 5
    assert published() == [slots.head(SLOT).commit_id]
    assert files() == [slots.head(SLOT).ref.uri]
    assert len(ledger.entries()) == 1
    assert ledger.verify().ok


def test_a_late_attempt_with_the_same_digest_takes_its_replacements_result(home):
    replacement = Work(on_commit=publish)
    late = Work(meanwhile=lambda: stage(replacement), on_commit=publish)
    result = stage(late)
    assert result.cached
    assert len(slots.history(SLOT)) == 1
    assert files() == [result.ref.uri]


def test_a_late_attempt_is_refused_while_its_replacement_still_runs(home):
    def overtaken():
        with pytest.raises(StaleAttempt):
            stage(Work(meanwhile=inner))

    def inner():
        with warehouse.write() as conn:  # a third attempt has raised the fence and is at work
            conn.execute(tables.heads.update().values(fence=tables.heads.c.fence + 1))

    overtaken()
    assert slots.head(SLOT) is None
    assert files() == []


def test_a_twin_that_commits_before_the_fence_is_not_computed_again(home, monkeypatch):
    twin, work = Work(), Work()

    def at(point):
        if point == "looked":
            monkeypatch.setattr(slots, "FAULT", lambda _point: None)
            stage(twin)

    monkeypatch.setattr(slots, "FAULT", at)
    result = stage(work)
    assert (twin.calls, work.calls, result.cached) == (1, 0, True)
    assert len(slots.history(SLOT)) == 1


# --- failures ---


def test_an_error_in_the_stage_commits_nothing(home):
    with pytest.raises(ZeroDivisionError):
        stage(Work(meanwhile=lambda: 1 / 0))
    assert (slots.head(SLOT), files(), ledger.entries()) == (None, [], [])
    assert stage(Work()).commit_id


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_on_commit_rolls_everything_back(home, error):
    def broken(conn, commit_id):
        publish(conn, commit_id)
        raise error("no")

    with pytest.raises(error):
        stage(Work(on_commit=broken))
    assert (slots.head(SLOT), files(), ledger.entries(), published()) == (None, [], [], [])


def test_a_commit_of_unknown_outcome_keeps_its_object(home, monkeypatch):
    real = warehouse.transact

    def lose_the_answer(work):
        result = real(work)
        if work.__name__ == "work":  # the commit went through, the connection broke before the answer
            raise ConnectionError("lost")
        return result

    monkeypatch.setattr(warehouse, "transact", lose_the_answer)
    work = Work(on_commit=publish)
    with pytest.raises(ConnectionError):
        stage(work)
    monkeypatch.undo()
    monkeypatch.setenv("BATON_HOME", str(home))
    again = stage(work)
    assert (again.cached, work.calls) == (True, 1)
    assert datasets.verifies(again.ref)


def test_a_full_disk_commits_nothing(home, monkeypatch):
    def full(descriptor, body):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(objects.os, "write", full)
        with pytest.raises(StoreError, match="disk is full"):
            stage(Work(on_commit=publish))
    assert (slots.head(SLOT), files(), published()) == (None, [], [])
    assert stage(Work()).ref.rows == 3


def test_facts_that_json_cannot_hold_are_refused_before_a_byte_is_written(home):
    with pytest.raises(TypeError, match="object"):
        stage(Work(facts={"x": object()}))
    assert files() == []


def test_two_warehouses_may_share_a_store(home, monkeypatch):
    old = stage(Work())
    monkeypatch.setenv("BATON_WAREHOUSE_URL", f"sqlite:///{home}/new.db")
    settings.cache_clear()
    warehouse.migrate()
    new = stage(Work())
    assert (new.cached, len(files())) == (False, 2)
    assert garbage.gc(timedelta(0)).uris == []
    assert datasets.verifies(old.ref)


def test_a_warehouse_restored_from_a_backup_overwrites_nothing(home):
    with warehouse.write() as conn:
        identity = warehouse.identity(conn)
        assert warehouse.identity(conn) == identity
    later = stage(Work())
    with warehouse.write() as conn:
        for table in (tables.heads, tables.commits):
            conn.execute(table.delete())
    assert garbage.gc(timedelta(0)).uris == []
    with pytest.raises(StoreError, match="restored from a backup"):
        stage(Work())
    assert datasets.verifies(later.ref)


# --- garbage ---


def crash_at(monkeypatch, point):
    class Crash(BaseException):
        pass

    def die(at):
        if at == point:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", die)
        # a killed process cleans nothing up
        patch.setattr(objects, "delete", lambda uri: None)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)
        with pytest.raises(Crash):
            stage(Work(), params={"crash": point})


def test_gc_removes_what_no_commit_names_and_nothing_else(home, monkeypatch):
    old, new = stage(Work()), stage(Work(), params={"x": 1})
    for point in ("writing", "synced", "before_commit"):
        crash_at(monkeypatch, point)
    foreign = settings().store_url + "/notes/mine.parquet"
    objects.path_of(foreign).parent.mkdir()
    objects.path_of(foreign).write_bytes(b"mine")
    assert len(files()) == 6
    assert garbage.gc().uris == []  # none is a day old
    planned = garbage.gc(timedelta(0), dry_run=True)
    assert (len(planned.uris), len(files())) == (3, 6)
    done = garbage.gc(timedelta(0))
    assert (done, planned.size > 0) == (planned, True)
    assert files() == sorted([old.ref.uri, new.ref.uri, foreign])
    assert slots.head(SLOT).commit_id == new.commit_id


def test_gc_goes_by_age(home, monkeypatch):
    crash_at(monkeypatch, "synced")
    path = objects.path_of(files()[0])
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 86_500))
    assert len(garbage.gc().uris) == 1


def test_gc_knows_its_objects_under_another_spelling_of_the_store(home, monkeypatch):
    result = stage(Work())
    (home.parent / "link").symlink_to(home)
    monkeypatch.setenv("BATON_STORE_URL", f"file://{home.parent}/link/store/")
    settings.cache_clear()
    assert len(files()) == 1
    assert garbage.gc(timedelta(0)).uris == []
    assert datasets.verifies(result.ref)


def test_gc_fences_an_attempt_off_before_its_object_goes(home, monkeypatch):
    def at(point):
        if point == "synced":
            assert len(garbage.gc(timedelta(0)).uris) == 1

    monkeypatch.setattr(slots, "FAULT", at)
    with pytest.raises(StaleAttempt):
        stage(Work())
    monkeypatch.setattr(slots, "FAULT", lambda point: None)
    assert datasets.verifies(stage(Work()).ref)


def test_gc_raises_the_fence_of_an_attempt_that_could_still_commit_and_no_other(home, monkeypatch):
    crash_at(monkeypatch, "synced")
    garbage.gc(timedelta(0), dry_run=True)
    assert fence() == 1, "a dry run changes nothing"
    garbage.gc(timedelta(0))
    assert fence() == 2
    crash_at(monkeypatch, "written")
    stage(Work())  # it has taken the slot since
    assert fence() == 4
    assert len(garbage.gc(timedelta(0)).uris) == 1
    assert fence() == 4


def test_gc_leaves_alone_an_object_whose_slot_or_attempt_it_does_not_know(home, monkeypatch):
    crash_at(monkeypatch, "synced")
    with warehouse.write() as conn:
        conn.execute(tables.heads.update().values(fence=0))  # as after a backup was restored
    assert garbage.gc(timedelta(0)).uris == []
    with warehouse.write() as conn:
        conn.execute(tables.heads.delete())
    assert garbage.gc(timedelta(0)).uris == []
    assert len(files()) == 1


def test_a_stages_partitions_are_those_with_a_result(home):
    for slot in (
        Slot("flow", "stage", "b"),
        Slot("flow", "stage", "a"),
        Slot("flow", "other", "c"),
        Slot("g", "stage", "d"),
    ):
        stage(Work(), slot)
    with pytest.raises(ZeroDivisionError):
        stage(Work(meanwhile=lambda: 1 / 0), Slot("flow", "stage", "e"))
    assert slots.partitions("flow", "stage") == ["a", "b"]


def test_a_few_crashes_with_sigkill(tmp_path):
    """The quick part of tests/faults/test_crashes.py."""
    harness = Path(__file__).parents[2] / "faults" / "crashes.py"
    command = [sys.executable, str(harness), "--seeds", "66:70,104:108", "--seconds", "8", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["violations"] == []
