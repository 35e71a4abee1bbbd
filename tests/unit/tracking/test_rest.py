"""The REST connection: patient with a server that is away, clear about everything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from baton.errors import ServiceError
from baton.tracking import rest as registry_rest
from baton.tracking.rest import Credentials, Rest, RestError, artifact_root, credentials

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping passes time at once."""
    now = [0.0]
    monkeypatch.setattr(registry_rest.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(registry_rest.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def rest(handler: Handler, retry_seconds: float = 60) -> Rest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(handler)))
        return Rest("http://127.0.0.1:1", Credentials("baton", "secret"), retry_seconds)


def failing(times: int, problem: Handler) -> tuple[Handler, list[int]]:
    calls = [0]

    def handler(request: httpx.Request) -> httpx.Response:
        calls[0] += 1
        return problem(request) if calls[0] <= times else httpx.Response(200, json={"ok": True})

    return handler, calls


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.mark.parametrize(
    "problem",
    [
        refuse,
        lambda request: httpx.Response(503),
        lambda request: httpx.Response(429),
        lambda request: httpx.Response(500, text="(sqlite3.OperationalError) database is locked"),
    ],
)
def test_waits_for_a_server_that_restarts(clock: list[float], problem: Handler) -> None:
    handler, calls = failing(6, problem)
    assert rest(handler).get("/x") == {"ok": True}
    assert calls == [7]


def test_gives_up_after_the_bound_with_what_to_do(clock: list[float]) -> None:
    handler, _ = failing(10**6, refuse)
    with pytest.raises(ServiceError, match=r"did not answer within 60 s \(connection refused\).*baton up"):
        rest(handler).get("/x")
    assert 50 <= clock[0] <= 60


def test_an_answer_is_an_answer(clock: list[float]) -> None:
    body = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"}
    handler, calls = failing(9, lambda request: httpx.Response(404, json=body))
    with pytest.raises(RestError, match="no such model") as caught:
        rest(handler).get("/x")
    assert caught.value.code == "RESOURCE_DOES_NOT_EXIST"
    assert calls == [1]


@pytest.mark.parametrize(("status", "says"), [(401, "not accepted"), (403, "no permission")])
def test_log_in_and_rights(clock: list[float], status: int, says: str) -> None:
    with pytest.raises(RestError, match=says) as caught:
        rest(lambda request: httpx.Response(status, text="denied")).post("/x", a=1)
    assert "secret" not in str(caught.value) or "secrets/mlflow.json" in str(caught.value)


def test_credentials_come_from_the_home_then_from_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    with pytest.raises(ServiceError, match="baton up"):
        credentials(tmp_path, "service")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "worker")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
    assert credentials(tmp_path, "service") == Credentials("worker", "pw")
    with pytest.raises(ServiceError):
        credentials(tmp_path, "admin")
    (tmp_path / "secrets").mkdir()
    service = {"username": "baton", "password": "x"}
    (tmp_path / "secrets" / "mlflow.json").write_text(json.dumps({"service": service}))
    assert credentials(tmp_path, "service") == Credentials("baton", "x")


def test_artifacts_must_be_served_by_the_server() -> None:
    assert artifact_root("mlflow-artifacts:/1/models/m-1/artifacts") == "1/models/m-1/artifacts"
    with pytest.raises(ServiceError, match="--artifacts-destination"):
        artifact_root("s3://bucket/1")
