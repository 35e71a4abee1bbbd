"""A small purchasing service, so that orders of the demo and of the tests have somewhere to go.

    python -m baton_demo.supply_chain.purchasing_service --port 8090 --database orders.db --token-file token

Listens on 127.0.0.1 only; every request but /health needs `Authorization: Bearer <token>`.

    POST /orders           header Idempotency-Key, body {"item": ..., "quantity": > 0, ...}
                           201 with order_id; the same again 200 with the same order_id; another body 409; 422
    GET  /orders/{key}     200 or 404
    GET  /orders?after=0   {"orders": [...], "next": number or null}, 500 at most
"""

import argparse
import hmac
import json
import math
import signal
import sqlite3
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HOST = "127.0.0.1"
PAGE = 500
_LARGEST = 64_000  # bytes of a request
_DRAINED = 1 << 20  # bytes of a body that is too large which are read before it is refused
_OWN = ("order_id", "key", "created_at")  # fields of an answer beside those of the order
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, created_at TEXT NOT NULL)
"""
_BY_KEY = "SELECT number, key, body, created_at FROM orders WHERE key = ?"


class RequestRefused(Exception):
    """A request that is not served: status and the reason for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class OrderBook:
    """The orders, one per key, in an SQLite file."""

    def __init__(self, database: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database, check_same_thread=False, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(_SCHEMA)

    def place(self, key: str, order: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Book an order; returns whether it is new, and the order under this key.

        Raises:
            RequestRefused: 409, the key belongs to an order with another content.
        """
        body = json.dumps(order, sort_keys=True)
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._lock:
            statement = "INSERT INTO orders (key, body, created_at) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
            new = self._db.execute(statement, (key, body, at)).rowcount == 1
            row = self._db.execute(_BY_KEY, (key,)).fetchone()
        if json.loads(row[2]) != order:
            raise RequestRefused(409, f"key {key} was used for an order with another content")
        return new, _answer(row)

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the order under a key."""
        with self._lock:
            row = self._db.execute(_BY_KEY, (key,)).fetchone()
        return _answer(row) if row else None

    def page(self, after: int) -> dict[str, Any]:
        """Return up to `PAGE` orders with numbers above `after`, and the number to go on after."""
        statement = "SELECT number, key, body, created_at FROM orders WHERE number > ? ORDER BY number LIMIT ?"
        with self._lock:
            rows = self._db.execute(statement, (after, PAGE)).fetchall()
        return {"orders": [_answer(row) for row in rows], "next": rows[-1][0] if len(rows) == PAGE else None}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _answer(row: tuple[int, str, str, str]) -> dict[str, Any]:
    return {"order_id": f"PO-{row[0]:06d}", "key": row[1], "created_at": row[3], **json.loads(row[2])}


def checked(order: Any) -> dict[str, Any]:
    """Return a valid order.

    Raises:
        RequestRefused: 422 with the field and what it must be.
    """
    if not isinstance(order, dict):
        raise RequestRefused(422, "an order is a JSON object")
    if own := [name for name in _OWN if name in order]:
        raise RequestRefused(422, f"{own[0]} is given by this service, leave it out")
    item, quantity = order.get("item"), order.get("quantity")
    if not isinstance(item, str) or not item.strip():
        raise RequestRefused(422, "item: a text is needed")
    if isinstance(quantity, bool) or not isinstance(quantity, int | float) or not 0 < quantity < math.inf:
        raise RequestRefused(422, f"quantity of {item}: a number above 0 is needed, not {quantity!r}")
    return order


class PurchasingServer(ThreadingHTTPServer):
    """The service; `port` 0 takes any free one, `server_port` tells which."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, port: int, database: Path, token: str, handler: type[BaseHTTPRequestHandler] | None = None
    ) -> None:
        super().__init__((HOST, port), handler or Handler)
        self.token, self.book = token, OrderBook(database)

    def server_close(self) -> None:
        """Close socket and file."""
        super().server_close()
        self.book.close()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PurchasingServer
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # header and body are two packets: 40 ms otherwise

    def do_GET(self) -> None:
        """GET /health, /orders, /orders/{key}."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """POST /orders."""
        self._serve(self._post)

    def _get(self) -> tuple[int, dict[str, Any]]:
        address = urlsplit(self.path)
        if address.path == "/health":
            return 200, {"status": "ok"}
        self._authorised()
        if address.path == "/orders":
            after = parse_qs(address.query).get("after", ["0"])[0]
            if not after.isdecimal() or len(after) > 15:
                raise RequestRefused(422, "after: the number of an order is needed")
            return 200, self.server.book.page(int(after))
        key = unquote(address.path.removeprefix("/orders/"))
        found = self.server.book.find(key) if address.path.startswith("/orders/") else None
        if found is None:
            raise RequestRefused(404, f"nothing at {address.path}")
        return 200, found

    def _post(self) -> tuple[int, dict[str, Any]]:
        body = self._body()  # read first: a connection that is kept needs an empty pipe
        self._authorised()
        if urlsplit(self.path).path != "/orders":
            raise RequestRefused(404, f"nothing at {urlsplit(self.path).path}")
        key = self.headers.get("Idempotency-Key", "")
        if not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
            raise RequestRefused(400, "header Idempotency-Key: 1 to 255 printable ASCII characters are needed")
        try:
            order = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(400, f"the body is no JSON: {error}") from error
        new, held = self.server.book.place(key, checked(order))
        return (201 if new else 200), held

    def _authorised(self) -> None:
        given = self.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, f"Bearer {self.server.token}".encode()):
            raise RequestRefused(401, "a valid token is needed")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise RequestRefused(411, "header Content-Length is needed")
        if int(length) > _LARGEST:
            self.close_connection = True
            # closing on unread bytes resets the connection, and the answer may be lost with it
            self.rfile.read(min(int(length), _DRAINED))
            raise RequestRefused(413, f"an order has {_LARGEST} bytes at most")
        return self.rfile.read(int(length))

    def _serve(self, work: Any) -> None:
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


def main() -> None:
    """Serve until TERM or INT."""
    parser = argparse.ArgumentParser(description="A small purchasing service on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True, help="0: any free one; the first line tells which")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file, created when missing")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the token and nothing else")
    given = parser.parse_args()
    token = given.token_file.read_text(encoding="utf-8").strip() if given.token_file.exists() else ""
    if not token:
        parser.error(
            f"{given.token_file} is missing or empty: write a secret token into it, readable by its owner only"
        )
    server = PurchasingServer(given.port, given.database, token)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(f"purchasing service on http://{HOST}:{server.server_port}\n")
    sys.stdout.flush()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
