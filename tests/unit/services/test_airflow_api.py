"""Calls of Airflow's REST interface: what is repeated, and what is reported at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from baton.errors import ServiceError
from baton.services import airflow_api as orchestrator
from baton.services.airflow_api import Orchestrator

REFUSED = {"detail": {"reason": "Database error", "statement": "hidden", "message": "see the logs"}}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Orchestrator, list[httpx.Request]]]:
    """An orchestrator whose server gives these answers, the last one for ever, and what it was asked."""
    monkeypatch.setattr(orchestrator.time, "sleep", lambda seconds: None)

    def made(*answers: tuple[int, Any]) -> tuple[Orchestrator, list[httpx.Request]]:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            status, body = answers[min(len(asked), len(answers)) - 1]
            return httpx.Response(status, json=body)

        monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
        return Orchestrator("http://airflow", lambda: "token"), asked

    return made


def test_a_request_that_the_database_refused_is_repeated(airflow: Any) -> None:
    one, asked = airflow((500, REFUSED), (500, REFUSED), (200, {"dag_run_id": "r1"}))
    assert one.trigger("flow", "2026-11-20T09:00:00") == "r1"
    assert len(asked) == 3
    assert len({request.content for request in asked}) == 1


@pytest.mark.parametrize(("status", "body"), [
    (500, {"detail": "Internal Server Error"}), (500, ["odd"]), (409, REFUSED), (404, {"detail": "no such DAG"}),
])  # fmt: skip
def test_any_other_error_is_reported_at_once(airflow: Any, status: int, body: Any) -> None:
    one, asked = airflow((status, body))
    with pytest.raises(ServiceError, match=f"Airflow answered {status} to POST /dags/flow/dagRuns"):
        one.trigger("flow")
    assert len(asked) == 1


def test_a_database_that_goes_on_refusing_is_reported(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(orchestrator.time, "monotonic", lambda: float(next(clock)))
    one, asked = airflow((500, REFUSED))
    with pytest.raises(ServiceError, match="Database error"):
        one.trigger("flow")
    assert 2 <= len(asked) <= 5
