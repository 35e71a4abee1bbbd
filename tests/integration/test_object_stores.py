"""The store on S3, on two servers that differ: names are taken once, and a flow's life is the same as in a folder."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baton import quarantine
from baton.cli.doctor import examine
from baton.data import datasets, objects
from baton.data.objects import StoreError
from baton.quarantine.rows import Where
from baton.record import ledger, warehouse
from baton.recovery import index, restore, sealing
from baton.recovery.backup import backup
from baton.recovery.verify import verify
from baton.retention import age
from baton.services.container import xcoms_of
from baton.settings import settings
from baton.specs.retention import FlowRetention
from baton.stages import garbage, slots
from baton.stages.journal import Journal
from baton.stages.slots import Slot

pytest.importorskip("s3fs", reason="the driver comes with the extras `production` and `dev`")

S3: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("object_servers.py")))
SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("quarantine_orders.py")))
FLOW, HOUR = SHOP["FLOW"], SHOP["HOUR"]
raw, balanced, deliver, publish = (SHOP[name] for name in ("raw", "balanced", "deliver", "publish"))


@pytest.fixture(scope="module", params=S3["SERVERS"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with S3["serving"](request.param, tmp_path_factory.mktemp(request.param)) as address:
        yield address


@pytest.fixture
def store(server: str, home: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with S3["used"](server, request.node.originalname):
        warehouse.migrate()
        yield settings().store_url


def test_of_eight_writers_one_wins_though_answers_get_lost(server: str, home: Path) -> None:
    with S3["losing"](server, one_in=3) as (address, lost), S3["used"](address):
        assert S3["race"]() == {"one_winner": 20, "false_losers": 0}
    assert lost[0] >= 50


def test_a_flow_lives_on_it_as_in_a_folder(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert next(one for one in examine() if one.what == "store").ok
    SHOP["as_pack"](monkeypatch)
    cents = raw([{"id": str(n), "amount": str(2000 + n), "kind": "a"} for n in range(1, 31)])
    assert deliver(cents).facts["status"] == "broken"
    quarantine.repair(Where(FLOW, HOUR), {"amount": "amount/100"}, actor="ann")
    good = deliver(cents)
    publish(good)
    assert balanced() == {"rows_in": 30, "published": 30, "open": 0, "discarded": 0}
    assert good.ref.uri.startswith("s3://")
    assert publish(deliver(cents)).cached

    # an attempt that dies leaves an object that no commit names, and what an agent had answered until then
    def dies(point: str) -> None:
        if point == "named":
            raise KeyboardInterrupt

    one = Slot(FLOW, "decide", "2026-01-01T01:00:00")
    journal = Journal(one.folder, "state")
    journal.put(journal.key("case"), {"answer": "yes"})
    assert (journal.problem, journal.get(journal.key("case"))) == ("", {"answer": "yes"})
    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", dies)
        patch.setattr(objects, "delete", lambda uri: None)
        with pytest.raises(KeyboardInterrupt):
            slots.run_stage(
                one, lambda _: slots.StageOutput(raw()), inputs={}, params={}, models={}, code="1", run_id="t"
            )
    assert garbage.gc().uris == []
    gone = garbage.gc(timedelta(seconds=-60))  # whatever the server's clock says
    assert len(gone.uris) == 2
    assert datasets.verifies(good.ref)
    assert journal.get(journal.key("case")) is None

    # an object that went is made anew, and what is too old goes
    objects.delete(good.ref.uri)
    assert not datasets.verifies(good.ref)
    again = deliver(cents)
    assert (again.cached, again.ref.content_sha256) == (False, good.ref.content_sha256)
    retention = {FLOW: FlowRetention.model_validate({"datasets": "30d"})}
    (removed,) = age.retain(retention, "ann", dry_run=False)
    assert len(removed.objects) >= 3
    assert not datasets.verifies(again.ref)
    assert ledger.verify().ok


def test_a_backup_into_it_comes_back_into_another_bucket(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "COST", 2**4)
    SHOP["as_pack"](monkeypatch)
    cents = raw([{"id": str(n), "amount": str(n), "kind": "a"} for n in range(1, 31)])
    publish(deliver(cents))
    shelf = store.replace("/baton/", "/baton/backups-of-")
    first = backup(shelf, "correct horse battery")
    second = backup(shelf, "correct horse battery", keep=1)
    assert second.copied < first.copied
    assert index.names(shelf) == [second.name]
    warehouse.engine().dispose()
    with monkeypatch.context() as patch:  # undone first: else it would put back the store of before
        patch.setenv("BATON_HOME", str(tmp_path / "new"))
        patch.setenv("BATON_STORE_URL", f"{store}-restored")
        settings.cache_clear()
        found = restore.opened(shelf, "correct horse battery")
        assert restore.check(found) == second.parts
        restore.restore(found)
        restore.record(found)
        assert verify(None).faults == []
        assert publish(deliver(cents)).cached
        assert next(objects.listed()).uri.startswith(f"{store}-restored/")
        warehouse.engine().dispose()
    settings.cache_clear()


XCOMS = """
import sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from baton.airflow.server.initialise import initialise
initialise()
bag = DagBag(sys.argv[1])
done = bag.dags["sizes"].test()
assert done.state == "success", {task.task_id: str(task.state) for task in done.get_task_instances()}
with create_session() as session:
    for row in session.query(XComModel).filter(XComModel.key == "return_value"):
        print("XCOM", row.task_id, row.value if len(row.value) < 200 else len(row.value))
"""
SIZES = """
from airflow.sdk import dag, task

@dag
def sizes():
    @task
    def large():
        return ["x" * 1000] * 200

    @task
    def small():
        return ["x"] * 3

    @task
    def count(large, small):
        return [len(large), len(large[199]), len(small)]

    count(large(), small())

sizes()
"""


@pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)
def test_large_xcoms_lie_in_it_and_come_back_in_the_next_task(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sizes.py").write_text(SIZES)
    environment = {**os.environ, **xcoms_of(store), "AIRFLOW_HOME": str(tmp_path / "airflow"),
                   "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", XCOMS, str(tmp_path / "sizes.py")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    told = dict(line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("XCOM "))
    (kept,) = objects.listed()
    assert kept.name.startswith("xcom/sizes/")
    assert kept.size < 20_000, "compressed"
    assert told == {"large": kept.uri, "small": "['x', 'x', 'x']", "count": "[200, 1000, 3]"}
    assert garbage.gc(timedelta(seconds=-60)).uris == [], "a run may still want it"
    monkeypatch.setattr(garbage, "XCOMS", timedelta(seconds=-60))
    assert garbage.gc(timedelta(seconds=-60)).uris == [kept.uri]


@pytest.mark.parametrize("server", ["moto"], indirect=True)  # SeaweedFS makes a bucket for whoever asks
def test_a_store_that_is_not_there_is_said_to_be_so(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3["used"](server), monkeypatch.context() as patch:  # undone first: else it would put back the store of before
        patch.setenv("BATON_STORE_URL", "s3://no-such-bucket/store")
        settings.cache_clear()
        with pytest.raises(StoreError, match="there is no such bucket"):
            list(objects.listed())
        with pytest.raises(StoreError, match=r"cannot be written: .*bucket does not exist"):
            objects.put("x.json", memoryview(b"1"))
