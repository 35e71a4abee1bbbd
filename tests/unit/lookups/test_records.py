"""What is on record of tools: cached answers by digest, the breaker that all workers share, its changes on the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from baton.lookups import cache
from baton.lookups.breaker import CLOSED, HALF_OPEN, OPEN
from baton.lookups.guard import Guard, standing
from baton.record import ledger, tables, warehouse
from baton.specs.tool import ToolSpec

KEY, NOW = "shop/reputation", datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def tool(**changes: Any) -> ToolSpec:
    given = {
        "name": "reputation",
        "description": "d",
        "conn_id": "c",
        "path": "r/{value}",
        "answer": {"score": "integer"},
    }
    return ToolSpec.model_validate({**given, "breaker": {"failures": 2, "pause_seconds": 3600.0}, **changes})


def rows(table: sa.Table) -> list[Any]:
    with warehouse.read() as conn:
        return list(conn.execute(sa.select(table)))


def kinds() -> list[str]:
    return [entry.kind for entry in ledger.entries()][::-1]


# --- the cache ---


def test_an_answer_is_found_again_with_its_age_also_that_nothing_is_known() -> None:
    cache.keep(KEY, tool(), {"a": {"score": 3}, "b": None}, NOW)
    found = cache.find(KEY, tool(), ["a", "b", "c"], NOW + timedelta(hours=2))
    assert {value: (one.answer, one.age) for value, one in found.items()} == {
        "a": ({"score": 3}, 7200.0),
        "b": (None, 7200.0),
    }
    cache.keep(KEY, tool(), {"a": {"score": 4}}, NOW + timedelta(hours=1))
    assert cache.find(KEY, tool(), ["a"], NOW + timedelta(hours=2))["a"].answer == {"score": 4}


@pytest.mark.parametrize("change", [{"path": "x/{value}"}, {"answer": {"score": "number"}}, {"conn_id": "other"}])
def test_another_question_has_answers_of_its_own(change: dict[str, Any]) -> None:
    cache.keep(KEY, tool(), {"a": {"score": 3}}, NOW)
    assert cache.find(KEY, tool(**change), ["a"], NOW) == {}
    assert cache.find("shop/other", tool(), ["a"], NOW) == {}


def test_personal_values_are_known_by_their_digest_only() -> None:
    cache.keep(KEY, tool(pii=True), {"ada lovelace": {"score": 3}}, NOW)
    assert cache.find(KEY, tool(pii=True), ["ada lovelace"], NOW)["ada lovelace"].answer == {"score": 3}
    (row,) = rows(tables.lookups)
    assert "ada" not in str(tuple(row))
    cache.keep(KEY, tool(), {"10.0.0.1": {"score": 3}}, NOW)
    assert {row.value for row in rows(tables.lookups)} == {None, "10.0.0.1"}


def test_an_answer_past_its_time_stands_in_for_none_and_goes() -> None:
    cache.keep(KEY, tool(ttl_seconds=60, keep_seconds=120), {"a": {"score": 3}}, NOW)
    cache.keep(KEY, tool(), {"b": {"score": 3}}, NOW)
    later = NOW + timedelta(seconds=121)
    assert cache.find(KEY, tool(ttl_seconds=60, keep_seconds=120), ["a"], later) == {}
    assert set(cache.find(KEY, tool(), ["b"], later)) == {"b"}
    assert warehouse.transact(lambda conn: cache.expire(conn, True, later)) == 1
    assert len(rows(tables.lookups)) == 2
    assert warehouse.transact(lambda conn: cache.expire(conn, False, later)) == 1
    assert [row.value for row in rows(tables.lookups)] == ["b"]


def test_a_cached_answer_that_somebody_spoilt_is_none() -> None:
    cache.keep(KEY, tool(), {"a": {"score": 3}}, NOW)
    with warehouse.write() as conn:
        conn.execute(tables.lookups.update().values(answer={"score": "<script>"}))
    assert cache.find(KEY, tool(), ["a"], NOW) == {}


# --- the breaker ---


def fail(guard: Guard, times: int) -> None:
    for _ in range(times):
        leave = guard.leave()
        assert leave is not None
        guard.failed(leave, "no connection")


def due() -> None:
    """Let the pause of the open breaker be over."""
    with warehouse.write() as conn:
        conn.execute(tables.breakers.update().values(retry_at="2026-01-01T00:00:00.000000Z"))


def test_failures_of_several_workers_open_it_for_all_of_them_once() -> None:
    first, second = Guard(KEY, tool()), Guard(KEY, tool())
    fail(first, 1)
    first.settle()
    third = Guard(KEY, tool())
    fail(third, 1)
    assert third.leave() is None
    fail(second, 2)  # was under way meanwhile
    assert second.leave() is None
    assert Guard(KEY, tool()).leave() is None
    assert kinds() == ["breaker_opened"]
    assert ledger.entries()[0].subject == f"tool:{KEY}"
    assert ledger.entries()[0].payload["error"] == "no connection"


def test_one_worker_at_a_time_tries_it_again_and_an_answer_closes_it_for_all() -> None:
    fail(Guard(KEY, tool()), 2)
    due()
    first, second = Guard(KEY, tool()), Guard(KEY, tool())
    assert (first.leave(), second.leave()) == ("probe", None)
    assert second.breaker.state == HALF_OPEN
    first.answered("probe")
    assert first.leave() == "plain"
    assert Guard(KEY, tool()).leave() == "plain"
    assert kinds() == ["breaker_opened", "breaker_closed"]
    closed = ledger.entries()[0].payload
    assert (closed["probes"], closed["error"]) == (1, "no connection")
    assert 0 <= closed["seconds"] < 60


def test_a_probe_that_fails_leaves_it_open_since_it_opened() -> None:
    fail(Guard(KEY, tool()), 2)
    (before,) = rows(tables.breakers)
    due()
    guard = Guard(KEY, tool())
    assert guard.leave() == "probe"
    guard.failed("probe", "no answer within 5 s")
    (row,) = rows(tables.breakers)
    assert (row.state, row.probes, row.opened_at, row.error) == (OPEN, 1, before.opened_at, "no answer within 5 s")
    assert row.retry_at > before.retry_at
    assert kinds() == ["breaker_opened"]
    with warehouse.read() as conn:
        (one,) = standing(conn)
    assert (one["tool"], one["state"], one["since"], one["error"]) == (KEY, OPEN, before.opened_at, row.error)


def test_a_probe_whose_worker_died_is_given_to_another() -> None:
    fail(Guard(KEY, tool()), 2)
    due()
    assert Guard(KEY, tool()).leave() == "probe"
    assert Guard(KEY, tool()).leave() is None
    due()
    assert Guard(KEY, tool()).leave() == "probe"


def test_what_was_under_way_when_it_opened_tells_nothing() -> None:
    guard = Guard(KEY, tool())
    leaves = [guard.leave() for _ in range(4)]
    for leave in leaves[:3]:
        guard.failed("plain", "no connection")
        assert leave == "plain"
    (row,) = rows(tables.breakers)
    assert (row.failures, row.probes) == (2, 0)
    guard.answered("plain")
    assert guard.breaker.state == OPEN
    assert rows(tables.breakers)[0].state == OPEN


def test_a_tool_that_is_well_leaves_no_row() -> None:
    guard = Guard(KEY, tool())
    fail(guard, 1)
    guard.answered("plain")
    guard.settle()
    assert rows(tables.breakers) == []
    with warehouse.read() as conn:
        assert standing(conn) == []
    assert Guard(KEY, tool()).breaker.state == CLOSED
