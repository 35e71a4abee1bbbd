"""Notifications reach the log always, and mail and chat through real local servers once their connections exist."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from baton.airflow.notify import send

TEXT = "Baton: task failed: <b>transaction_monitoring.contract</b>"


class Mailbox(socketserver.StreamRequestHandler):
    """Enough of SMTP to take one mail."""

    mails: list[str] = []  # noqa: RUF012 - emptied by each test

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline():
            verb = line.decode().strip().upper()
            if verb == "DATA":
                self._say("354 go on")
                body = []
                while (text := self.rfile.readline().decode()) != ".\r\n":
                    body.append(text)
                type(self).mails.append("".join(body))
                self._say("250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Chat(BaseHTTPRequestHandler):
    """An incoming webhook."""

    messages: list[Any] = []  # noqa: RUF012 - emptied by each test

    def do_POST(self) -> None:
        type(self).messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]  # type: ignore[misc,index]
    finally:
        server.shutdown()
        server.server_close()


def test_without_connections_the_log_is_the_channel(caplog: pytest.LogCaptureFixture) -> None:
    assert send(TEXT) == ["log"]
    assert TEXT in caplog.text


def test_mail_and_chat_are_reached_through_their_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    Mailbox.mails, Chat.messages = [], []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mail_server, chat_server = (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox),
        HTTPServer(("127.0.0.1", 0), Chat),
    )
    with serving(mail_server) as mail, serving(chat_server) as chat:
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": mail,
                "extra": {"disable_ssl": True, "disable_tls": True, "to": "team@example.org", "from_email": "baton@example.org"}}  # fmt: skip
        hook = {"conn_type": "http", "host": "127.0.0.1", "port": chat, "schema": "http"}
        monkeypatch.setenv("AIRFLOW_CONN_BATON_SMTP", json.dumps(smtp))
        monkeypatch.setenv("AIRFLOW_CONN_BATON_SLACK", json.dumps(hook))
        assert send(TEXT) == ["log", "baton_smtp", "baton_slack"]
    assert "team@example.org" in Mailbox.mails[0]
    assert Chat.messages == [{"text": TEXT}]


def test_a_channel_that_fails_never_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hook = {"conn_type": "http", "host": "127.0.0.1", "port": 9, "schema": "http"}
    monkeypatch.setenv("AIRFLOW_CONN_BATON_SLACK", json.dumps(hook))
    assert send(TEXT) == ["log"]
    assert "notification through baton_slack failed" in caplog.text
