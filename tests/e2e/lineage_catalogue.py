"""A catalogue that speaks OpenLineage: a real endpoint on 127.0.0.1, which keeps what it is told and wants a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "s3cret-catalogue-token"
PATH = "/api/v1/lineage"


class Catalogue(ThreadingHTTPServer):
    """Answers `POST /api/v1/lineage` as the interface of OpenLineage says: 201 once an event is kept."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listener)
        self.heard: list[dict[str, Any]] = []
        self.strangers = 0  # requests without the token
        self.lock = threading.Lock()

    def so_far(self) -> list[dict[str, Any]]:
        """What was heard until now; tasks may go on telling."""
        with self.lock:
            return list(self.heard)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{PATH}"


class _Listener(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Catalogue

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == f"Bearer {TOKEN}"
        with self.server.lock:
            if known and self.path == PATH and self.headers["Content-Type"] == "application/json":
                self.server.heard.append(json.loads(body))
            else:
                self.server.strangers += 1
        self.send_response(201 if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def listening() -> Iterator[Catalogue]:
    """A catalogue that listens until the block ends."""
    catalogue = Catalogue()
    threading.Thread(target=catalogue.serve_forever, daemon=True).start()
    try:
        yield catalogue
    finally:
        catalogue.shutdown()
        catalogue.server_close()
