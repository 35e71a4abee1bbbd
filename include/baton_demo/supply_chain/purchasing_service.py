"""A small purchasing service, so that orders of the demo and of the tests have somewhere to go.

    python -m baton_demo.supply_chain.purchasing_service --port 8090 --database orders.db --token-file token

Listens on 127.0.0.1 only; every request but /health needs `Authorization: Bearer <token>`.

    POST /orders           header Idempotency-Key, body {"item": ..., "quantity": > 0, ...}
                           201 with order_id; the same again 200 with the same order_id; another body 409; 422
    GET  /orders/{key}     200 or 404
    GET  /orders?after=0   {"orders": [...], "next": number or null}, 500 at most
"""

import argparse
import json
import math
import sqlite3
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from baton_demo.json_service import JsonHandler, JsonServer, RequestRefused, as_json, read_token, serve_until_ended

PAGE = 500
_OWN = ("order_id", "key", "created_at")  # fields of an answer beside those of the order
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, created_at TEXT NOT NULL)
"""
_BY_KEY = "SELECT number, key, body, created_at FROM orders WHERE key = ?"


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


class PurchasingServer(JsonServer):
    """The service; `port` 0 takes any free one, `server_port` tells which."""

    def __init__(
        self, port: int, database: Path, token: str, handler: type[BaseHTTPRequestHandler] | None = None
    ) -> None:
        super().__init__(port, token, handler or Handler)
        self.book = OrderBook(database)

    def server_close(self) -> None:
        """Close socket and file."""
        super().server_close()
        self.book.close()


class Handler(JsonHandler):
    """One connection."""

    server: PurchasingServer

    def do_GET(self) -> None:
        """GET /health, /orders, /orders/{key}."""
        self.serve(self._get)

    def do_POST(self) -> None:
        """POST /orders."""
        self.serve(self._post)

    def _get(self) -> tuple[int, dict[str, Any]]:
        address = urlsplit(self.path)
        if address.path == "/health":
            return 200, {"status": "ok"}
        self.authorised()
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
        body = self.body()
        self.authorised()
        if urlsplit(self.path).path != "/orders":
            raise RequestRefused(404, f"nothing at {urlsplit(self.path).path}")
        key = self.key()
        new, held = self.server.book.place(key, checked(as_json(body)))
        return (201 if new else 200), held


def main() -> None:
    """Serve until TERM or INT."""
    parser = argparse.ArgumentParser(description="A small purchasing service on 127.0.0.1.")
    parser.add_argument("--port", type=int, required=True, help="0: any free one; the first line tells which")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file, created when missing")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the token and nothing else")
    given = parser.parse_args()
    try:
        token = read_token(given.token_file)
    except ValueError as error:
        parser.error(str(error))
    serve_until_ended(PurchasingServer(given.port, given.database, token), "purchasing service")


if __name__ == "__main__":
    main()
