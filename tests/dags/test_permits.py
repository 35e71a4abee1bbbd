"""A run waits for people's answers without a worker, and goes on with what they allowed; undo goes by the same connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter
from baton.airflow.flows import Flow
from baton.airflow.operators.permits import PermitsOperator, PermitsTrigger
from baton.airflow.operators.undo import UndoOperator
from baton.effects import delivery, firewall, outbox
from baton.effects.peer import Outcome
from baton.errors import SpecError
from baton.record import tables, warehouse

FLOW, PART = "contains", "2026-11-20T09:00:00"
RESULT = {"ref": {}, "partition": PART, "models": {}, "facts": {"placed": 1}}
POLICY = """\
actions:
  block: {description: blocks, recovery: reversible, reach: network, undo: unblock}
  unblock: {description: lets through, recovery: reversible, reach: network, undo: block}
policy:
  - {name: all_of_them, level: one_approver}
"""


@pytest.fixture(autouse=True)
def pack(home: Path, tmp_path: Path) -> Iterator[Path]:
    warehouse.migrate()
    (tmp_path / "actions.yaml").write_text(POLICY)
    yield tmp_path
    warehouse.engine().dispose()


def place(pack: Path) -> requests.Request:
    action = Action("block", "i1", "203.0.113.7", {"action": "block", "target": "203.0.113.7"})
    warehouse.transact(lambda conn: firewall.place(conn, pack, FLOW, PART, [action]))
    return requests.still_open(FLOW, PART)[0]


def waiting(**more: Any) -> PermitsOperator:
    return PermitsOperator(task_id="permits", after=RESULT, dag=_dag(), **more)


def _dag() -> Any:
    from airflow.sdk import DAG

    return DAG(FLOW, schedule=None)


def first(trigger: PermitsTrigger) -> dict[str, Any]:
    return dict(asyncio.run(asyncio.wait_for(_next(trigger), 10)).payload)


def test_where_nobody_is_asked_the_run_goes_on_at_once_with_the_stage_before() -> None:
    done = waiting().execute({"params": {}})  # type: ignore[typeddict-item]
    assert done == {**RESULT, "facts": {"waiting": 0, "may_go": 0, "forbidden": 0}}


def test_it_waits_without_a_worker_until_all_are_answered(pack: Path) -> None:
    asked = place(pack)
    assert waiting().execute({"params": {"dry_run": True}})["facts"]["waiting"] == 0  # type: ignore[typeddict-item]
    with pytest.raises(TaskDeferred) as deferred:
        waiting().execute({"params": {}})  # type: ignore[typeddict-item]
    trigger: Any = deferred.value.trigger
    path, arguments = trigger.serialize()
    assert (path, arguments["flow"], arguments["partition"]) == (
        "baton.airflow.operators.permits.PermitsTrigger", FLOW, PART,
    )  # fmt: skip
    quick = {**arguments, "interval": 0.01}
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(_next(PermitsTrigger(**quick)), 0.2))
    with pytest.raises(TaskDeferred) as again:  # an event of another wait
        waiting().execute_complete({}, {"open": 0}, **deferred.value.kwargs)  # type: ignore[typeddict-item,arg-type]
    assert again.value.kwargs == deferred.value.kwargs
    firewall.vote(asked.id, Voter("ann"), "approved", asked.seen)
    assert first(PermitsTrigger(**quick)) == {"open": 0}
    done = waiting().execute_complete({}, {"open": 0})  # type: ignore[typeddict-item]
    assert done == {**RESULT, "facts": {"waiting": 0, "may_go": 1, "forbidden": 0}}


async def _next(trigger: PermitsTrigger) -> Any:
    return await anext(trigger.run())


def test_what_expires_and_what_takes_too_long_ends_the_wait(pack: Path) -> None:
    place(pack)
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert first(PermitsTrigger(FLOW, PART, over, 0.01)) == {"open": 1}
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at="2026-01-01T00:00:00.000000Z"))
    assert first(PermitsTrigger(FLOW, PART, None, 0.01)) == {"open": 0}
    assert [one.state for one in outbox.effects(FLOW, PART)] == ["withdrawn"]


def test_a_request_to_take_something_back_holds_no_run_up(pack: Path) -> None:
    asked = place(pack)
    firewall.vote(asked.id, Voter("ann"), "approved", asked.seen)
    delivery.deliver("block", Taker(), FLOW, PART, via={"conn_id": "firewall"})
    firewall.take_back(outbox.effects(FLOW, PART)[0].key, "ann")
    assert len(requests.still_open(FLOW, PART)) == 1
    assert waiting().execute({"params": {}})["facts"]["waiting"] == 0  # type: ignore[typeddict-item]


class Taker:
    """Takes everything."""

    answers = True

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        return Outcome("absent")

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        return Outcome("done", answer={})


def test_a_flow_delivers_behind_its_permits() -> None:
    with Flow("contains", pack="supply_chain", cron=None, owner="security", doc_md="x") as flow:
        placed = flow.ingest("stock")
        permits = flow.permits("wait", after=placed)
        flow.deliver(
            "send", after=permits, effect=["block", "unblock"], conn_id="firewall", endpoint="actions", receipt="id"
        )
        with pytest.raises(SpecError, match="no result of a stage"):
            flow.permits("wrong", after={"ref": {}})
    assert flow.get_task("send").upstream_task_ids == {"wait"}
    wait = flow.get_task("wait")
    assert (wait.upstream_task_ids, wait.execution_timeout, wait.retries) == ({"ingest"}, None, 3)


def test_the_undo_dag_delivers_nothing_where_nothing_is_to_be_taken_back() -> None:
    operator = UndoOperator(task_id="deliver", flow=FLOW, partition=PART)
    assert operator.execute({}) == {"sent": 0, "already": 0, "waiting": 0, "forbidden": 0}  # type: ignore[typeddict-item]
