"""What the stand-in servers share: JSON over HTTP on 127.0.0.1 (or BATON_DEMO_HOST, in a container), a token, keys of effects, errors as {"error": ...}.

A server brings a handler with `do_GET` and `do_POST`, each `self.serve(...)` of a function that returns status and answer.
"""

import hmac
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = os.environ.get("BATON_DEMO_HOST", "127.0.0.1")
LARGEST = 64_000  # bytes of a request
_DRAINED = 1 << 20  # bytes of a body that is too large which are read before it is refused


class RequestRefused(Exception):
    """A request that is not served: status and the reason for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class JsonServer(ThreadingHTTPServer):
    """A server with a token; `port` 0 takes any free one, `server_port` tells which."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, token: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((HOST, port), handler)
        self.token = token

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.server_port}"


class JsonHandler(BaseHTTPRequestHandler):
    """One connection."""

    server: JsonServer
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # header and body are two packets: 40 ms otherwise

    def authorised(self) -> None:
        """Check the token.

        Raises:
            RequestRefused: 401.
        """
        given = self.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, f"Bearer {self.server.token}".encode()):
            raise RequestRefused(401, "a valid token is needed")

    def body(self) -> bytes:
        """Read the request's body; first of all: a connection that is kept needs an empty pipe.

        Raises:
            RequestRefused: 411 or 413.
        """
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise RequestRefused(411, "header Content-Length is needed")
        if int(length) > LARGEST:
            self.close_connection = True
            # closing on unread bytes resets the connection, and the answer may be lost with it
            self.rfile.read(min(int(length), _DRAINED))
            raise RequestRefused(413, f"a request has {LARGEST} bytes at most")
        return self.rfile.read(int(length))

    def key(self) -> str:
        """The key of an effect.

        Raises:
            RequestRefused: 400.
        """
        key = self.headers.get("Idempotency-Key", "")
        if not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
            raise RequestRefused(400, "header Idempotency-Key: 1 to 255 printable ASCII characters are needed")
        return key

    def serve(self, work: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        """Reply with what `work` returns, or with the reason why it is not served."""
        try:
            status, answer = work()
        except RequestRefused as refused:
            status, answer = refused.status, {"error": str(refused)}
        self.reply(status, answer)

    def reply(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        """Send an answer as JSON."""
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **({"Connection": "close"} if self.close_connection else {}),  # else a client sends its next order into it
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def as_json(body: bytes) -> Any:
    """The content of a body.

    Raises:
        RequestRefused: 400.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"the body is no JSON: {error}") from error


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ValueError: it is missing or empty; says what to do.
    """
    token = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not token:
        raise ValueError(f"{path} is missing or empty: write a secret token into it, readable by its owner only")
    return token


def serve_until_ended(server: JsonServer, name: str) -> None:
    """Serve until TERM or INT; the first line on the standard output tells the address."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(f"{name} on {server.url}\n")
    sys.stdout.flush()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()
