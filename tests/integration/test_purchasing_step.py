"""The stage that delivers, with an Airflow connection; and the purchasing service as the process that it is."""

from __future__ import annotations

import io
import json
import logging
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from baton.airflow.connections import peers
from baton.airflow.connections.lookup import AirflowConnections
from baton.data.datasets import read
from baton.effects import delivery, outbox
from baton.effects.http import HttpPeer
from baton.errors import BatonError, SpecError
from baton.feedback.labels import record_labels
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import run as stages
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import Step

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "placing.py"))

SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("purchasing_server.py")))
TOKEN, FLOW, WEEK = SERVER["TOKEN"], "replenishment", "2026-11-16T00:00:00"
OPTIONS = {"effect": "order", "conn_id": "purchasing", "endpoint": "orders", "receipt": "order_id",
           "echoes": ["item", "quantity"], "timeout": 0.5, "rounds": 3, "pause": 0.01}  # fmt: skip
JOB = StageJob("supply_chain", FLOW, "deliver", WEEK, "baton.steps.deliver:deliver", options=OPTIONS,
               connections=AirflowConnections())  # fmt: skip


@pytest.fixture(autouse=True)
def migrated(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PURCHASING", json.dumps({"conn_type": "http", **fields}))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with SERVER["running"](tmp_path / "shop") as server:
        connect(monkeypatch, host="127.0.0.1", port=server.server_port, password=TOKEN)
        yield server


def enqueue(**quantities: int) -> None:
    entries = [(item, {"item": item, "quantity": quantity}) for item, quantity in quantities.items()]
    warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, WEEK, "order", entries))


# --- the stage ---


def test_the_stage_delivers_once_and_a_repetition_sends_nothing(shop: Any) -> None:
    enqueue(a=1, b=2)
    first = stages.run(JOB)
    assert first.facts == {"sent": 2, "already": 0, "adopted": 0, "failed": 0, "unknown": 0}
    frame = read(first.ref).sort_values("entity_key")
    assert frame["entity_key"].tolist() == ["a", "b"]
    assert sorted(frame["receipt"]) == ["PO-000001", "PO-000002"]
    assert set(frame["state"]) == {"sent"}
    second = stages.run(JOB)
    assert (second.facts["sent"], second.facts["already"]) == (0, 2)
    assert second.ref.content_sha256 == first.ref.content_sha256, "later stages have nothing new"
    assert stages.run(JOB).cached
    assert sum(shop.posted.values()) == 2
    enqueue(a=1, b=2, c=3)
    assert stages.run(JOB).facts["sent"] == 1
    assert set(shop.booked().values()) == {1}


def test_the_stage_fails_while_something_is_undelivered_and_goes_on_from_there(shop: Any) -> None:
    enqueue(a=1, b=0, c=3)
    with pytest.raises(BatonError) as undelivered:
        stages.run(JOB)
    assert "of 3 effects `order` 2 are delivered, 1 refused, 0 not yet (b: 422" in str(undelivered.value)
    assert "corrected plan" in str(undelivered.value)
    enqueue(a=1, b=7, c=3)
    shop.posts = ["500_after"]
    facts = stages.run(JOB).facts
    assert (facts["sent"], facts["already"], facts["adopted"]) == (1, 2, 1)
    assert "the answer was lost" in facts["degraded"][0]
    assert set(shop.booked().values()) == {1}


def test_what_may_go_later_is_tried_anew_when_the_same_run_is_repeated(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(a=1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        connect(monkeypatch, host="127.0.0.1", port=nobody.getsockname()[1], password=TOKEN)
        job = replace(JOB, options={**OPTIONS, "later": True})
        first = stages.run(job)
    assert (first.facts["sent"], first.facts["unknown"]) == (0, 1)
    assert first.facts["degraded"]
    connect(monkeypatch, host="127.0.0.1", port=shop.server_port, password=TOKEN)
    assert stages.run(job).facts["sent"] == 1
    assert set(shop.booked().values()) == {1}
    stages.run(job)
    assert stages.run(job).cached


def test_nothing_to_send_and_a_dry_run_send_nothing(shop: Any) -> None:
    empty = stages.run(JOB)
    assert (empty.ref.rows, empty.facts["sent"]) == (0, 0)
    enqueue(a=1)
    assert stages.run(replace(JOB, dry_run=True)).facts == {"sent": 0, "dry_run": True}
    assert not shop.posted


def test_orders_of_a_stage_that_did_not_commit_do_not_exist(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(_job: StageJob) -> StageOutput:
        return StageOutput(pd.DataFrame({"n": [1]}), {}, lambda conn, commit_id: 1 / (PLACING["enqueue"](
            conn, FLOW, WEEK, "order", [("a", {"item": "a", "quantity": 1})]) is None))  # fmt: skip

    monkeypatch.setattr(stages, "resolve", lambda path: Step(plan))
    with pytest.raises(ZeroDivisionError):
        stages.run(replace(JOB, stage="plan", step="here:plan", options={}))
    assert outbox.effects(FLOW) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [({"effect": None}, "option effect is missing"), ({"receipt": ""}, "option receipt is missing"),
     ({"echos": []}, "unknown option echos")],
)  # fmt: skip
def test_wrong_options_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=rf"replenishment\.deliver, baton\.steps\.deliver:deliver: {message}"):
        stages.run(replace(JOB, options={**OPTIONS, **change}))


def test_the_log_in_stays_in_the_connection(shop: Any, caplog: pytest.LogCaptureFixture, home: Path) -> None:
    """A peer that repeats it in an error does not get it into log, error, ledger, warehouse or store."""
    caplog.set_level(logging.DEBUG)
    enqueue(a=1, b=2)
    shop.posts = ["leak"] * 2
    with pytest.raises(BatonError, match=r"bad header \*\*\*") as undelivered:
        stages.run(JOB)
    stages.run(JOB)
    assert TOKEN not in str(undelivered.value)
    assert TOKEN not in caplog.text
    warehouse.engine().dispose()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert settings().home / "warehouse.db" in files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    assert ledger.entries(kind="action_refused")


def test_a_wrong_token_is_the_servers_refusal(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, host="127.0.0.1", port=shop.server_port, password="wrong")
    enqueue(a=1)
    with pytest.raises(BatonError, match="401 Unauthorized: a valid token is needed"):
        stages.run(JOB)
    connect(monkeypatch, host="127.0.0.1", port=shop.server_port, password=TOKEN)
    assert stages.run(JOB).facts["sent"] == 1


def test_on_postgres_labels_are_quantities_and_workers_do_not_meet(
    postgres: Any, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATON_WAREHOUSE_URL", postgres.url)
    settings.cache_clear()
    warehouse.migrate()
    with warehouse.write() as conn:
        record_labels(conn, "f", "chargeback", "ada", [("1", "p", 1)], "is_fraud")
    with warehouse.read() as conn:
        assert conn.execute(text("select label, pg_typeof(label)::text from labels")).one() == (1.0, "double precision")
        options = {"compare_type": True}
        assert compare_metadata(MigrationContext.configure(conn, opts=options), tables.metadata) == []
    shop.idempotent = False
    enqueue(**{f"item_{number}": 1 for number in range(30)})
    found: list[delivery.Delivery] = []

    def work() -> None:
        endpoint = peers.endpoint("purchasing")
        with HttpPeer(endpoint, "orders", "order_id", timeout=5) as peer:
            found.append(delivery.deliver("order", peer, FLOW, WEEK, pause=0.01))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done.sent for done in found) == 30
    assert set(shop.posted.values()) == set(shop.booked().values()) == {1}
    assert ledger.verify().ok
    warehouse.engine().dispose()


# --- connections ---


def test_a_connection_becomes_an_address_and_a_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, host="https://peer/base/", port=8443, login="ada", password="pass",
            extra={"headers": {"X-Tenant": "north"}, "verify": False})  # fmt: skip
    found = peers.endpoint("purchasing")
    assert (found.base_url, found.auth, found.verify) == ("https://peer:8443/base/", ("ada", "pass"), False)
    assert found.headers == {"X-Tenant": "north"}
    connect(monkeypatch, host="peer", schema="https", password="token")
    found = peers.endpoint("purchasing")
    assert (found.base_url, found.auth, found.verify) == ("https://peer", None, True)
    assert found.headers == {"Authorization": "Bearer token"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "purchasing: .*is no address"), ({"host": "peer", "extra": {"token": "s3cret"}}, "extra holds token"),
     ({"host": "peer", "extra": {"headers": ["s3cret"]}}, "extra.headers must be an object"),
     ({"host": "https://ada:s3cret@peer"}, "purchasing: .*belong into its fields")],
)  # fmt: skip
def test_a_connection_that_cannot_work_is_explained(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    connect(monkeypatch, **fields)
    with pytest.raises(BatonError, match=message) as refused:
        peers.endpoint("purchasing")
    assert "s3cret" not in str(refused.value)


# --- the service as a process ---


@contextmanager
def service(folder: Path, port: int = 0, code: int = 0) -> Iterator[str]:
    arguments = [sys.executable, "-m", "baton_demo.supply_chain.purchasing_service", "--port", str(port)]
    arguments += ["--database", str(folder / "orders.db"), "--token-file", str(folder / "token")]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True)
        assert isinstance(process.stdout, io.TextIOBase)
        try:
            yield process.stdout.readline().strip().rpartition(" ")[2]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == code
            process.stdout.close()


def client(url: str, token: str = "t0ken") -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})


def test_the_service_keeps_its_promises_across_a_restart(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    key, order = {"Idempotency-Key": "k 1"}, {"item": "a", "quantity": 48}
    with service(tmp_path) as url, client(url) as shop:
        assert url.startswith("http://127.0.0.1:")
        first = shop.post("/orders", json=order, headers=key)
        again = shop.post("/orders", json=dict(reversed(order.items())), headers=key)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json() == shop.get("/orders/k%201").json()
        assert first.json() == {
            "order_id": "PO-000001",
            "key": "k 1",
            **order,
            "created_at": first.json()["created_at"],
        }
        assert shop.post("/orders", json={**order, "quantity": 49}, headers=key).status_code == 409
    with service(tmp_path, port=int(url.rpartition(":")[2])) as url, client(url) as shop:
        assert shop.post("/orders", json=order, headers=key).json() == first.json()
        assert shop.get("/orders").json() == {"orders": [first.json()], "next": None}
        assert shop.get("/orders", params={"after": 1}).json() == {"orders": [], "next": None}
    assert "t0ken" not in (tmp_path / "log").read_text()


def test_the_service_refuses_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    with service(tmp_path) as url, client(url) as shop, client(url, "wrong") as stranger:
        assert stranger.get("/health").json() == {"status": "ok"}
        for answer in (stranger.get("/orders"), stranger.get("/orders/k"), stranger.post("/orders", json={}),
                       httpx.get(f"{url}/orders")):  # fmt: skip
            assert answer.status_code == 401
        key = {"Idempotency-Key": "k"}
        good = {"item": "a", "quantity": 1}
        bad = [({**good, "quantity": quantity}, 422) for quantity in (0, -1, "7", True, None, float("inf"))]
        bad += [
            ({"quantity": 1}, 422),
            ({"item": " ", "quantity": 1}, 422),
            ([], 422),
            ({**good, "order_id": "x"}, 422),
        ]
        for body, status in bad:
            content = json.dumps(body)
            assert shop.post("/orders", content=content, headers=key).status_code == status, body
        for content in ("", "{", "[" * 30_000, b"\xff"):
            assert shop.post("/orders", content=content, headers=key).status_code == 400
        large = shop.post("/orders", content="x" * 70_000, headers=key)
        assert (large.status_code, large.headers["connection"]) == (413, "close")
        assert shop.post("/orders", json=good).status_code == 400
        assert shop.post("/orders", json=good, headers={"Idempotency-Key": "k" * 256}).status_code == 400
        assert shop.post("/elsewhere", json=good, headers=key).status_code == 404
        assert shop.get("/orders/k").status_code == 404
        assert shop.get("/orders", params={"after": "x"}).status_code == 422
        assert shop.get("/orders").json()["orders"] == []


def test_the_service_is_not_reachable_from_outside_and_needs_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" \n")
    with service(tmp_path, code=2) as said:
        assert said == ""
    assert "missing or empty" in (tmp_path / "log").read_text()
    (tmp_path / "token").write_text("t0ken")
    with service(tmp_path) as url:
        port = int(url.rpartition(":")[2])
        with socket.socket() as outside:  # a free port on another address of this machine is still free
            outside.bind(("127.0.0.2", port))
