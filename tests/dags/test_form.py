"""A run that the trigger form started has the partition that the form named as its key, in the one spelling."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from baton.airflow.operators.runs import flow_params
from baton.airflow.server.form import FORM, FormPartitions

HERE = "2026-11-20T11:00:00"
EMPTY = {"partition_from": None, "partition_to": None, "model": "recorded", "dry_run": False}


def started(body: bytes, path: str = "/api/v2/dags/orders/dagRuns") -> bytes:
    """What Airflow is given of a request for a run."""
    heard: list[bytes] = []

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["body"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    asyncio.run(FormPartitions(airflow)({"type": "http", "method": "POST", "path": path}, receive, receive))  # type: ignore[arg-type]
    return heard[0]


def run(**more: Any) -> bytes:
    return json.dumps({"logical_date": None, "conf": EMPTY, **more}).encode()


def test_the_form_is_known_by_its_fields() -> None:
    assert set(flow_params([])) >= FORM


@pytest.mark.parametrize(
    "asked",
    [
        {"conf": {**EMPTY, "partition_from": HERE}},
        {"conf": {**EMPTY, "partition_from": "2026-11-20T11", "partition_to": "2026-11-20 11:00"}},
        {"conf": {**EMPTY, "partition_to": "2026-11-20T11"}},
        {"partition_key": "2026-11-20T11"},
        {"partition_key": HERE, "conf": {**EMPTY, "partition_from": "2026-11-20T12"}},
    ],
)
def test_a_run_of_one_partition_gets_its_key(asked: dict[str, Any]) -> None:
    found = json.loads(started(run(**asked)))
    assert found == {**json.loads(run(**asked)), "partition_key": HERE}


@pytest.mark.parametrize(
    "body",
    [
        run(),
        run(
            conf={**EMPTY, "partition_from": "2026-11-20T11", "partition_to": "2026-11-20T12"}
        ),  # a range starts its own runs
        run(conf={**EMPTY, "partition_from": "nine o'clock"}),
        run(conf={**EMPTY, "partition_from": f"{HERE}.000000"}),  # that of named files
        run(conf={"partition_from": HERE}),  # perhaps of another DAG, which takes no key
        run(conf=None, partition_key="as you like"),
        b"[1]",
        b"[" * 100_000,
        b"no JSON",
    ],
)
def test_what_names_none_or_several_goes_on_as_it_is(body: bytes) -> None:
    assert started(body) == body


def test_other_addresses_are_left_alone() -> None:
    body = run(partition_key="2026-11-20T11")
    assert started(body, "/api/v2/dags/orders/dagRuns/list") == body
