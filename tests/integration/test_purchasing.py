"""Orders arrive at a real purchasing service exactly once, whatever it, the network and the workers do.

In every test the orders are counted in the service's own file.
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from baton.effects import delivery, outbox
from baton.effects.delivery import Delivery, deliver
from baton.effects.http import HttpPeer
from baton.endpoint import Endpoint
from baton.errors import BatonError
from baton.record import ledger, warehouse

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "placing.py"))
SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("purchasing_server.py")))
TOKEN, FLOW, WEEK = SERVER["TOKEN"], "replenishment", "2026-11-16T00:00:00"
QUICK = {"pause": 0.01, "lease": 0.6}
TIMEOUT = 0.25  # seconds; the mood `timeout_after` takes 5
ECHOES = ("item", "quantity")


@pytest.fixture(autouse=True)
def migrated(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    with SERVER["running"](tmp_path / "shop") as server:
        yield server


def order(number: int, quantity: int = 48) -> tuple[str, dict[str, Any]]:
    return f"item {number}@{WEEK[:10]}", {"item": f"item {number}", "supplier": "north", "quantity": quantity}


def enqueue(*entries: tuple[str, dict[str, Any]], partition: str = WEEK) -> outbox.Enqueued:
    return warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, partition, "order", entries))


def peer(url: str, token: str = TOKEN, echoes: tuple[str, ...] = ECHOES) -> HttpPeer:
    endpoint = Endpoint(url, {"Authorization": f"Bearer {token}"}, verify=False)  # no TLS here: 40 ms less
    return HttpPeer(endpoint, "orders", "order_id", echoes, timeout=TIMEOUT)


def send(shop: Any, partition: str = WEEK, **options: Any) -> Delivery:
    with peer(shop.url, **{name: options.pop(name) for name in ("token", "echoes") if name in options}) as placed:
        return deliver("order", placed, FLOW, partition, **{**QUICK, **options})


def keys(*numbers: int) -> list[str]:
    return [outbox.key_of(FLOW, WEEK, order(number)[0], "order") for number in numbers]


def once(*numbers: int) -> Counter[str]:
    return Counter(keys(*numbers))


def states() -> dict[str, str]:
    return {effect.entity_key.split("@")[0]: effect.state for effect in outbox.effects(FLOW, WEEK)}


# --- one fault at a time ---


@pytest.mark.parametrize("idempotent", [True, False], ids=["heeds_the_key", "would_book_twice"])
@pytest.mark.parametrize("mood", [mood for mood in SERVER["PLACING"] if mood not in ("ok", "refuse", "leak")])
def test_an_order_is_booked_once_whatever_became_of_the_answer(shop: Any, mood: str, idempotent: bool) -> None:
    shop.idempotent, shop.posts = idempotent, [mood]
    enqueue(order(1), order(2), order(3))
    done = send(shop)
    assert (done.sent, done.failed, done.unknown) == (3, 0, 0)
    assert done.adopted == mood.endswith("_after")  # booked and not told: found by asking, not sent again
    assert shop.booked() == once(1, 2, 3)
    assert sum(shop.posted.values()) == (3 if mood.endswith("_after") else 4)
    assert done.degraded, "what did not go smoothly is said"
    again = send(shop)
    assert (again.sent, again.already, again.degraded) == (0, 3, [])
    assert shop.booked() == once(1, 2, 3)


def test_a_smooth_delivery_asks_nothing_and_says_nothing(shop: Any) -> None:
    enqueue(order(1), order(2))
    assert send(shop) == Delivery(2, 0, 0, 0, 0, [], [])
    assert (sum(shop.posted.values()), sum(shop.asked.values())) == (2, 0)
    effect = outbox.effects(FLOW, WEEK)[0]
    assert effect.answer is not None
    assert effect.answer["order_id"] in {"PO-000001", "PO-000002"}
    entries = ledger.entries(kind="action_executed")
    assert {entry.subject for entry in entries} == {f"{FLOW}/{WEEK}/{order(n)[0]}" for n in (1, 2)}
    assert {entry.payload["key"] for entry in entries} == set(keys(1, 2))
    assert ledger.verify().ok


@pytest.mark.parametrize("gets", [["500_before"], ["drop_before"], ["429"], ["500_before", "drop_before", "429"]])
def test_while_the_question_is_not_answered_nothing_is_sent_again(shop: Any, gets: list[str]) -> None:
    shop.idempotent, shop.posts, shop.gets = False, ["drop_after"], list(gets)
    enqueue(order(1))
    assert send(shop).adopted == 1
    assert shop.times == ["POST"] + ["GET"] * (len(gets) + 1)
    assert shop.booked() == once(1)


def test_a_refusal_is_kept_with_the_servers_words_and_stops_no_other_order(shop: Any) -> None:
    enqueue(order(1, quantity=0), order(2))
    done = send(shop)
    assert (done.sent, done.failed, done.unknown) == (1, 1, 0)
    assert "422" in done.problems[0]
    assert "quantity of item 1: a number above 0 is needed, not 0" in done.problems[0]
    assert send(shop).failed == 1
    assert len(ledger.entries(kind="action_refused")) == 1, "said once, not at every retry"
    enqueue(order(1, quantity=12), order(2))  # the plan is corrected
    assert send(shop).sent == 1
    assert shop.booked() == once(1, 2)
    assert shop.orders()[keys(1)[0]]["quantity"] == 12


def test_a_peer_that_is_down_is_not_asked_a_thousand_times(shop: Any) -> None:
    enqueue(*[order(number) for number in range(40)])
    shop.posts = ["500_before"] * 40
    done = send(shop, rounds=2)
    assert (done.sent, done.unknown) == (0, 40)
    assert sum(shop.posted.values()) == 10
    shop.posts.clear()
    assert send(shop).sent == 40
    assert shop.booked() == once(*range(40))


def test_one_poisoned_order_does_not_hold_up_the_others(shop: Any) -> None:
    enqueue(*[order(number) for number in range(12)])
    shop.posts = ["500_before"] * 5
    assert send(shop, rounds=2).sent == 12
    assert shop.booked() == once(*range(12))


def test_nobody_listens(shop: Any) -> None:
    enqueue(order(1))
    with peer("http://127.0.0.1:9") as nobody:
        done = deliver("order", nobody, FLOW, WEEK, rounds=2, **QUICK)
    assert done.unknown == 1
    assert "no connection" in done.problems[0]
    assert states() == {"item 1": "pending"}, "it was certainly not sent, so a new plan may replace it"
    enqueue(order(1, quantity=60))
    assert send(shop).sent == 1
    assert shop.orders()[keys(1)[0]]["quantity"] == 60


def test_a_longer_wait_than_ours_ends_the_call(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SERVER["MoodyHandler"], "misbehave", lambda self, mood, _: self.reply(
        429, {"error": "tomorrow"}, {"Retry-After": "86400"}))  # fmt: skip
    shop.posts = ["429"]
    enqueue(order(1), order(2))
    slept: list[float] = []
    done = send(shop, sleep=slept.append)
    assert (done.sent, done.unknown, slept) == (0, 2, [])
    assert "tomorrow" in str(done.problems)


# --- two plans, two warehouses ---


def test_an_order_that_was_placed_is_never_changed_silently(shop: Any) -> None:
    enqueue(order(1), order(2))
    send(shop)
    assert enqueue(order(1), order(2)) == outbox.Enqueued(0, 2, 0, 0)
    with pytest.raises(BatonError, match=r"item 1@.*sent.*48.*now.*96.*cancel or change them at the other side"):
        enqueue(order(1, quantity=96), order(2), order(3))
    with pytest.raises(BatonError, match=r"item 2@.*now nothing"):
        enqueue(order(1))
    assert states() == {"item 1": "sent", "item 2": "sent"}, "nothing of a refused plan is enqueued"
    assert send(shop).sent == 0
    assert shop.booked() == once(1, 2)


def test_an_order_in_doubt_is_not_replaced_before_its_outcome_is_known(shop: Any) -> None:
    enqueue(order(1))
    shop.posts = ["drop_after"]
    send(shop, rounds=1)
    assert states() == {"item 1": "unknown"}
    with pytest.raises(BatonError, match=r"perhaps sent.*clear the task that delivers"):
        enqueue(order(1, quantity=60))
    assert send(shop).adopted == 1
    assert shop.booked() == once(1)


@pytest.mark.parametrize(
    ("idempotent", "lost"), [(True, False), (True, True), (False, True)],
    ids=["told_by_409", "found_by_asking", "found_at_a_peer_without_keys"],
)  # fmt: skip
def test_another_order_under_the_key_is_a_conflict_for_a_person(shop: Any, idempotent: bool, lost: bool) -> None:
    enqueue(order(1))
    send(shop)
    with warehouse.write() as conn:
        conn.execute(text("delete from outbox"))  # a warehouse restored from before the order
    enqueue(order(1, quantity=60), order(2))
    shop.idempotent, shop.posts = idempotent, ["drop_before"] * 2 if lost else []
    for _ in range(2):
        done = send(shop)
        assert (done.failed, done.unknown) == (1, 0)
        assert "quantity 48 there, 60 here" in done.problems[0]
    assert shop.booked() == once(1, 2)
    assert states() == {"item 1": "conflict", "item 2": "sent"}
    enqueue(order(1), order(2))  # the person lets the order stand
    assert send(shop).adopted == 1
    assert shop.booked() == once(1, 2)


def test_without_fields_to_compare_a_conflict_stays_one(shop: Any) -> None:
    enqueue(order(1))
    send(shop)
    with warehouse.write() as conn:
        conn.execute(text("delete from outbox"))
    enqueue(order(1, quantity=60))
    for _ in range(2):
        assert "409" in send(shop, echoes=()).problems[0]
    assert states() == {"item 1": "conflict"}


# --- crashes and company ---

WORKER = """
import os, signal, sys
from baton.effects import delivery
from baton.effects.http import HttpPeer
from baton.endpoint import Endpoint
url, token, point, lease = sys.argv[1:5]
def fault(name):
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)
delivery.FAULT = fault
peer = HttpPeer(Endpoint(url, {"Authorization": f"Bearer {token}"}), "orders", "order_id", ("item", "quantity"))
print(delivery.deliver("order", peer, "replenishment", "2026-11-16T00:00:00", pause=0.01, lease=float(lease)))
"""


def worker(shop: Any, point: str, lease: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, shop.url, TOKEN, point, str(lease)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ))


@pytest.mark.parametrize("idempotent", [True, False], ids=["heeds_the_key", "would_book_twice"])
@pytest.mark.parametrize("point", ["claimed", "posted", "before_commit", "settled"])
def test_a_killed_worker_leaves_one_order(shop: Any, point: str, idempotent: bool) -> None:
    shop.idempotent = idempotent
    enqueue(order(1), order(2))
    killed = worker(shop, point, lease=0.5)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert Counter(shop.booked().values()) == ({} if point == "claimed" else {1: 1})
    done = send(shop)
    assert (done.sent + done.already, done.failed, done.unknown) == (2, 0, 0)
    assert done.adopted == (point in ("posted", "before_commit"))
    assert shop.booked() == once(1, 2)
    assert len(ledger.entries(kind="action_executed")) == 2


def test_a_worker_leaves_alone_what_another_one_is_sending(shop: Any) -> None:
    enqueue(order(1))
    killed = worker(shop, "posted", lease=60)
    killed.communicate()
    done = send(shop, lease=0.2)
    assert (done.sent, done.unknown) == (0, 1)
    assert "another worker" in done.problems[0]
    assert not shop.asked


def test_threads_at_the_same_partition_post_each_order_once(shop: Any) -> None:
    shop.idempotent = False
    enqueue(*[order(number) for number in range(30)])
    found: list[Delivery] = []
    threads = [threading.Thread(target=lambda: found.append(send(shop, lease=20.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert sum(done.sent for done in found) == 30
    assert all((done.sent + done.already, done.failed, done.unknown) == (30, 0, 0) for done in found)
    assert shop.posted == shop.booked() == once(*range(30))


def test_processes_at_the_same_partition_post_each_order_once(shop: Any) -> None:
    shop.idempotent = False
    enqueue(*[order(number) for number in range(30)])
    workers = [worker(shop, "never", lease=20) for _ in range(3)]
    said = [process.communicate()[0].decode() for process in workers]
    assert all("failed=0, unknown=0" in words for words in said)
    assert shop.posted == shop.booked() == once(*range(30))


def test_a_sleeper_that_lost_its_lease_sends_nothing(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is suspended after its claim; another one takes over; then it wakes."""
    shop.idempotent = False
    enqueue(order(1))
    meanwhile: list[Delivery] = []

    def suspended(point: str) -> None:
        if point == "claimed" and not meanwhile:
            meanwhile.append(Delivery(0, 0, 0, 0, 0, [], []))  # the other worker is not suspended
            meanwhile.append(send(shop, lease=0.4))

    monkeypatch.setattr(delivery, "FAULT", suspended)
    woken = send(shop, lease=0.4)
    assert meanwhile[1].sent == 1
    assert (woken.sent, woken.already, woken.unknown) == (0, 1, 0)
    assert shop.posted == once(1)


class Crash(BaseException):
    """Ends a worker on the spot; nothing may catch it."""


@pytest.mark.parametrize("block", range(5))
def test_any_order_of_faults_crashes_and_new_plans_books_each_order_once(
    shop: Any, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """25 seeded scenarios per block: at the end everything planned is booked once, and as it was planned."""
    for seed in range(block * 25, block * 25 + 25):
        rng, partition = random.Random(seed), f"seed-{seed}"
        shop.idempotent = rng.random() < 0.5
        shop.posts = rng.choices([mood for mood in SERVER["PLACING"] if mood != "timeout_after"], k=rng.randint(0, 8))
        shop.gets = rng.choices(SERVER["ASKING"], k=rng.randint(0, 4))
        crashes = rng.random() * 0.3

        def fault(_point: str, rng: random.Random = rng, crashes: float = crashes) -> None:
            if rng.random() < crashes:
                raise Crash

        plan = [order(number, rng.randint(1, 3)) for number in range(rng.randint(1, 4))]
        enqueue(*plan, partition=partition)
        for _ in range(rng.randint(1, 5)):
            monkeypatch.setattr(delivery, "FAULT", fault)
            with contextlib.suppress(Crash):
                send(shop, partition, rounds=3, pause=0.0, lease=0.1)
            monkeypatch.setattr(delivery, "FAULT", lambda _: None)
            if rng.random() < 0.4:
                wish = [order(number, rng.randint(1, 3)) for number in range(rng.randint(0, 4))]
                try:
                    enqueue(*wish, partition=partition)
                    plan = wish
                except BatonError:
                    assert any(e.state in ("sent", "sending", "unknown") for e in outbox.effects(FLOW, partition))
        shop.posts, shop.gets = [], []
        done = send(shop, partition, rounds=20, pause=0.0, lease=2.0)
        assert (done.failed, done.unknown) == (0, 0), (seed, done)
        planned = {outbox.key_of(FLOW, partition, entity, "order"): payload for entity, payload in plan}
        mine = {e.key for e in outbox.effects(FLOW, partition)}
        booked = {key: count for key, count in shop.booked().items() if key in mine}
        assert booked == dict.fromkeys(planned, 1), seed
        assert {key: body for key, body in shop.orders().items() if key in mine} == planned, seed
        executed = Counter(entry.payload["key"] for entry in ledger.entries(f"{FLOW}/{partition}/", "action_executed"))
        assert executed == Counter(planned.keys()), seed
