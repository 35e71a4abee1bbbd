"""The outbox: what may be planned again, what may not, and who may try an effect."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baton.effects import attempts, outbox
from baton.effects.outbox import CONFLICT, FAILED, PENDING, SENDING, SENT, UNKNOWN, WITHDRAWN, Enqueued
from baton.errors import BatonError
from baton.record import ledger, tables, warehouse

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "placing.py"))

FLOW, WEEK = "replenishment", "2026-11-16T00:00:00"


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def enqueue(whole: bool = True, partition: str = WEEK, kind: str = "order", **quantities: int) -> Enqueued:
    entries = [(name, {"item": name, "quantity": quantity}) for name, quantity in quantities.items()]
    return warehouse.transact(lambda conn: PLACING["enqueue"](conn, FLOW, partition, kind, entries, whole=whole))


def effect(name: str) -> outbox.Effect:
    return next(found for found in outbox.effects(FLOW, WEEK) if found.entity_key == name)


def bring_to(name: str, state: str) -> None:
    """Take an effect to a state the way `deliver` does."""
    if state == PENDING:
        return
    if state == WITHDRAWN:
        enqueue(whole=True)
        return
    claimed = attempts.claim(effect(name), lease=60)
    assert claimed is not None
    if state != SENDING:
        with warehouse.write() as conn:
            assert attempts.settle(conn, claimed, state, None if state == SENT else "words", None, {})


def state(name: str) -> tuple[str, int]:
    return effect(name).state, effect(name).payload["quantity"]


# --- keys ---


def test_a_key_is_the_same_for_ever_and_fits_a_header_and_a_url() -> None:
    key = outbox.key_of("f", WEEK, "item 7/ä@2026-11-16", "order")
    assert key == outbox.key_of("f", WEEK, "item 7/ä@2026-11-16", "order")
    assert key.startswith("order-2026-11-16-item-7-2026-11-16-")
    assert key.replace("-", "").isalnum()
    assert key.isascii()
    assert len(outbox.key_of("f" * 300, WEEK, "e" * 300, "order")) <= 120


def test_effects_that_differ_in_anything_have_different_keys() -> None:
    whats = [("f", "p", "e", "k"), ("g", "p", "e", "k"), ("f", "q", "e", "k"), ("f", "p", "d", "k"), ("f", "p", "e", "l"),
             ("f", "p", "e e", "k"), ("f", "p", "e-e", "k"), ("fp", "", "e", "k")]  # fmt: skip
    assert len({outbox.key_of(*what) for what in whats}) == len(whats)


# --- plans ---


def test_a_plan_again_changes_nothing_and_another_one_replaces_what_is_not_sent() -> None:
    assert enqueue(a=1, b=2) == Enqueued(2, 0, 0, 0)
    before = effect("a")
    assert enqueue(a=1, b=2) == Enqueued(0, 2, 0, 0)
    assert effect("a") == before
    assert enqueue(a=5, c=3) == Enqueued(1, 0, 1, 1)
    assert {name: state(name) for name in "abc"} == {"a": (PENDING, 5), "b": (WITHDRAWN, 2), "c": (PENDING, 3)}
    assert enqueue(a=5, b=2, c=3) == Enqueued(0, 3, 0, 0)
    assert state("b") == (PENDING, 2)


def test_a_part_of_a_plan_comes_on_top() -> None:
    enqueue(a=1)
    assert enqueue(whole=False, b=2) == Enqueued(1, 0, 0, 0)
    assert {state("a")[0], state("b")[0]} == {PENDING}


def test_partitions_and_kinds_do_not_touch_each_other() -> None:
    enqueue(a=1)
    enqueue(partition="2026-11-23T00:00:00", a=2)
    enqueue(kind="mail", a=3)
    assert [found.payload["quantity"] for found in outbox.effects(FLOW)] == [3, 1, 2]
    assert [found.payload["quantity"] for found in outbox.effects(FLOW, WEEK, "order")] == [1]


@pytest.mark.parametrize("before", [PENDING, FAILED, CONFLICT, WITHDRAWN])
def test_what_the_other_side_does_not_have_may_be_planned_anew(before: str) -> None:
    enqueue(a=1)
    bring_to("a", before)
    enqueue(a=2)
    assert state("a") == (CONFLICT if before == CONFLICT else PENDING, 2)
    enqueue()
    assert state("a") == (WITHDRAWN, 2)


@pytest.mark.parametrize("before", [SENT, SENDING, UNKNOWN])
@pytest.mark.parametrize("plan", [{"a": 2}, {}], ids=["changed", "dropped"])
def test_what_it_has_or_may_have_is_not_and_the_whole_plan_is_refused(before: str, plan: dict[str, int]) -> None:
    enqueue(a=1)
    bring_to("a", before)
    advice = "cancel or change" if before == SENT else "clear the task that delivers"
    with pytest.raises(BatonError, match=advice):
        enqueue(**plan, b=7)
    assert state("a") == (before, 1)
    assert [found.entity_key for found in outbox.effects(FLOW, WEEK)] == ["a"]
    assert enqueue(a=1) == Enqueued(0, 1, 0, 0)


def test_two_effects_for_one_entity_and_bad_kinds_are_refused() -> None:
    with pytest.raises(BatonError, match="two effects `order` for 'a'"), warehouse.write() as conn:
        PLACING["enqueue"](conn, FLOW, WEEK, "order", [("a", {}), ("a", {})])
    for kind in ("", "Order", "order now", "x" * 40):
        with pytest.raises(BatonError, match="effect kind"):
            enqueue(kind=kind)


def test_a_transaction_that_fails_enqueues_nothing() -> None:
    with pytest.raises(ZeroDivisionError), warehouse.write() as conn:  # noqa: PT012
        PLACING["enqueue"](conn, FLOW, WEEK, "order", [("a", {})])
        _ = 1 / 0
    assert outbox.effects(FLOW) == []


# --- attempts ---


def test_an_attempt_belongs_to_one_worker_until_its_lease_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(a=1)
    seen = effect("a")
    first = attempts.claim(seen, lease=60)
    assert first is not None
    assert (first.attempts, first.state, first.held()) == (1, SENDING, True)
    assert attempts.claim(seen, lease=60) is None, "another worker saw it pending too"
    assert attempts.claim(effect("a"), lease=60) is None, "the lease has not ended"
    later = "2999-01-01T00:00:00.000000Z"
    monkeypatch.setattr(warehouse, "now", lambda: later)
    stale = effect("a")
    second = attempts.claim(stale, lease=60)
    assert second is not None
    assert second.attempts == 2
    with warehouse.write() as conn:
        conn.execute(tables.outbox.update().values(lease_until="2026-01-01T00:00:00.000000Z"))
    assert attempts.claim(stale, lease=60) is None, "two workers saw the same lease end"


def test_a_lease_ends_at_the_same_moment_for_who_looks_and_who_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker would see it free, not get it, and look again at once."""
    enqueue(a=1)
    assert attempts.claim(effect("a"), lease=60)
    end = effect("a").lease_until
    monkeypatch.setattr(warehouse, "now", lambda: end)
    assert not effect("a").held()
    assert attempts.claim(effect("a"), lease=60)


def test_a_worker_that_lost_its_lease_records_nothing() -> None:
    enqueue(a=1)
    first = attempts.claim(effect("a"), lease=-1)
    assert first is not None
    second = attempts.claim(effect("a"), lease=60)
    assert second is not None
    with warehouse.write() as conn:
        assert not attempts.settle(conn, first, FAILED, "too late", None, {})
    assert effect("a") == second
    with warehouse.write() as conn:
        assert attempts.settle(conn, second, SENT, None, {"order_id": "7"}, {})
    with warehouse.write() as conn:
        assert not attempts.settle(conn, second, SENT, None, None, {})
    assert len(ledger.entries(kind="action_executed")) == 1


def test_a_claim_sends_the_payload_of_the_newest_plan() -> None:
    enqueue(a=1)
    seen = effect("a")
    enqueue(a=2)
    claimed = attempts.claim(seen, lease=60)
    assert claimed is not None
    assert claimed.payload["quantity"] == 2


def test_the_ledger_tells_who_what_and_how_often_but_a_repeated_refusal_once() -> None:
    enqueue(a=1)
    for reason in ("no", "no", "never"):
        claimed = attempts.claim(effect("a"), lease=60)
        assert claimed is not None
        with warehouse.write() as conn:
            attempts.settle(conn, claimed, FAILED, reason, None, {})
    claimed = attempts.claim(effect("a"), lease=60)
    assert claimed is not None
    with warehouse.write() as conn:
        attempts.settle(conn, claimed, SENT, None, {"order_id": "7"}, {"adopted": False})
    refused: list[Any] = [entry.payload["reason"] for entry in ledger.entries(kind="action_refused")]
    assert refused == ["never", "no"]
    (entry,) = ledger.entries(f"{FLOW}/{WEEK}/a", "action_executed")
    assert entry.payload == {
        "key": effect("a").key, "effect": "order", "attempts": 4, "payload": outbox.digest([effect("a")]), "adopted": False,
    }  # fmt: skip
    assert effect("a").sent_at is not None
    assert effect("a").error is None


def test_a_digest_depends_on_keys_and_payloads_only() -> None:
    enqueue(a=1, b=2)
    one, two = outbox.effects(FLOW)
    assert outbox.digest([one, two]) == outbox.digest([two, replace(one, state=SENT, attempts=9)])
    assert outbox.digest([one, two]) != outbox.digest([one])
    assert outbox.digest([one]) != outbox.digest([replace(one, payload={"item": "a", "quantity": 9})])
