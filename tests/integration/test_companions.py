"""Companions: servers that a pack brings, and the Airflow connections that lead to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baton.airflow.server.initialise import initialise
from baton.services.companions import KEPT, Companion, companions, token_file
from baton.settings import settings


@pytest.fixture
def home(workbench: Any) -> Path:
    """The running services' home instead of one for this test alone."""
    return workbench.home


def connection(conn_id: str = "purchasing") -> Any:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
        if found is not None:
            session.expunge(found)
        return found


def test_the_connection_follows_the_port_and_carries_the_token(home: Path) -> None:
    (purchasing,) = (one for one in companions(settings()) if one.name == "purchasing")
    assert purchasing.token_file.stat().st_mode & 0o777 == 0o600
    assert "{port}" not in " ".join(purchasing.on(8123))
    for port in (8123, 8124):
        initialise({"purchasing": port})
        found = connection()
        assert (found.host, found.port, found.conn_type, found.description) == ("127.0.0.1", port, "http", KEPT)
        assert found.password == purchasing.token_file.read_text()


def test_a_connection_to_a_model_is_one_address_with_its_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Companion(
        "model-server",
        ["serve"],
        token_file(home, "model-server"),
        "some_agent",
        "pydanticai",
        "/v1",
        {"model": "openai-chat:x"},
    )
    monkeypatch.setattr("baton.services.companions.companions", lambda given: [model])
    for port in (8123, 8124):
        initialise({"model-server": port})
        found = connection("some_agent")
        assert (found.conn_type, found.host, found.port) == ("pydanticai", f"http://127.0.0.1:{port}/v1", None)
        assert found.extra_dejson == {"model": "openai-chat:x"}
        assert found.password == model.token_file.read_text()
    assert model.token_file.stat().st_mode & 0o777 == 0o600
    assert token_file(home, "model-server").read_text() == found.password, "made once"
    assert connection("model-server") is None


def test_a_server_that_stands_for_several_gets_a_connection_for_each(home: Path) -> None:
    from baton_demo.incident_response.companions import CONNECTIONS

    for port in (8123, 8124):
        initialise({"security": port})
        found = [connection(conn_id) for conn_id in CONNECTIONS]
        assert {(one.host, one.port, one.conn_type) for one in found} == {("127.0.0.1", port, "http")}
        assert {one.password for one in found} == {(home / "secrets/security.token").read_text()}
    assert connection("security") is None


def test_a_connection_that_somebody_made_their_own_is_left_alone(home: Path) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    initialise({"purchasing": 8123})
    with create_session() as session:
        found = session.scalar(select(Connection).where(Connection.conn_id == "purchasing"))
        found.description, found.host = "the real one", "purchasing.example"
    initialise({"purchasing": 8125})
    assert (connection().host, connection().port) == ("purchasing.example", 8123)
