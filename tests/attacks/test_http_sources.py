"""A hostile server behind an HTTP source or an agent: it redirects, links out of the base path, and never stops talking."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import BaseModel

from baton.agents.calls import CallBudget, Limits, call
from baton.airflow.connections.models import ConnectedModel
from baton.airflow.connections.readers import read_http
from baton.errors import SourceError
from baton.specs.source import HttpSource

HOUR, SECRET = "2026-11-20T09:00:00", "key-of-the-connection"


class Server(ThreadingHTTPServer):
    """Answers what it was told to; keeps every request: (path, headers, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.headers, self.body = 200, {}, b"[]"  # type: tuple[int, dict[str, str], bytes]
        self.endless = False
        self.sent = 0
        self.seen: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        taken = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append((self.path, dict(self.headers), taken))
        self.send_response(self.server.status)
        for name, value in {"Content-Type": "application/json", **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)
        while self.server.endless and self.server.sent < 200_000_000:
            try:
                self.server.sent += self.wfile.write(b" " * 100_000)
            except OSError:  # the reader has had enough
                return

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server that the connection `api` names, below /v1, with a log-in in a header of its own."""
    with server() as one:
        extra = json.dumps({"X-Api-Key": SECRET})
        connection = {"conn_type": "http", "host": f"http://127.0.0.1:{one.server_port}/v1", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps(connection))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield one


@pytest.fixture
def stranger() -> Iterator[Server]:
    with server() as one:
        yield one


def api(**fields: Any) -> HttpSource:
    return HttpSource.model_validate(
        {"kind": "http", "name": "payments", "description": "x", "conn_id": "api", "endpoint": "rows",
         "retry": {"attempts": 3, "wait": "1s"}, **fields}
    )  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_log_in(peer: Server, stranger: Server, status: int) -> None:
    stranger.body = b'[{"id": 1, "amount": 666}]'
    peer.status, peer.headers = status, {"Location": f"http://127.0.0.1:{stranger.server_port}/v1/rows?token=t0ken"}
    with pytest.raises(SourceError, match=rf"page 1: {status}.*redirect to 127.0.0.1:{stranger.server_port}") as said:
        read_http(None, api(), HOUR)  # type: ignore[arg-type]
    assert not stranger.seen
    assert len(peer.seen) == 1
    assert "t0ken" not in str(said.value)


def test_a_connection_cannot_ask_for_redirects_either(
    peer: Server, stranger: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"http://127.0.0.1:{peer.server_port}/v1"
    extra = json.dumps({"X-Api-Key": SECRET, "allow_redirects": True})
    monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps({"conn_type": "http", "host": host, "extra": extra}))
    peer.status, peer.headers = 302, {"Location": f"http://127.0.0.1:{stranger.server_port}/v1/rows"}
    with pytest.raises(SourceError, match="redirect"):
        read_http(None, api(), HOUR)  # type: ignore[arg-type]
    assert not stranger.seen


@pytest.mark.parametrize("link", ["/v1/%2e%2e/admin", "%2e%2e/admin", "/v1/%252e%252e/admin"])
def test_a_link_does_not_leave_the_base_path(peer: Server, link: str) -> None:
    peer.body = json.dumps({"rows": [{"id": 1}], "next": link}).encode()
    source = api(records="rows", paging={"by": "link", "next": "next"})
    with pytest.raises(SourceError, match="not followed"):
        read_http(None, source, HOUR)  # type: ignore[arg-type]
    assert [path for path, _, _ in peer.seen] == ["/v1/rows"]


def test_an_endless_answer_is_cut_off_and_said(peer: Server) -> None:
    peer.endless = True
    with pytest.raises(SourceError, match=r"page 1: more than 1,000,000 bytes.*max_batch_bytes"):
        read_http(None, api(max_batch_bytes=1_000_000), HOUR)  # type: ignore[arg-type]
    assert len(peer.seen) == 1
    assert peer.sent < 50_000_000


def test_the_cap_counts_all_pages_of_a_partition(peer: Server) -> None:
    peer.body = json.dumps([{"id": 1, "note": "x" * 1000}] * 10).encode()
    source = api(max_batch_bytes=50_000, paging={"by": "page", "param": "page"})
    with pytest.raises(SourceError, match=r"page 5: more than 50,000 bytes"):
        read_http(None, source, HOUR)  # type: ignore[arg-type]
    assert len(peer.seen) == 5


class Reply(BaseModel):
    text: str


def test_a_model_server_cannot_send_an_agents_letters_on(
    peer: Server, stranger: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = json.dumps({"model": "openai-chat:m"})
    host = f"http://127.0.0.1:{peer.server_port}/v1"
    connection = {"conn_type": "pydanticai", "host": host, "password": SECRET, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AGENT", json.dumps(connection))
    peer.status, peer.headers = 307, {"Location": f"http://127.0.0.1:{stranger.server_port}/v1/chat/completions"}
    model = ConnectedModel("agent")
    agent = model.agent(Reply, "Answer.", 0)
    said = call(model, agent, "a letter", Limits(), CallBudget(10.0, 10.0, 8_000))
    assert said.kind == "failed"
    assert peer.seen
    assert not stranger.seen
