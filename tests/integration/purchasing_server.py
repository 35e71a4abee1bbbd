"""The purchasing service with moods: a real server on 127.0.0.1 that loses answers, refuses, or books twice.

Test modules load it by path, because tests are no package: `SERVER = runpy.run_path(...)`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baton_demo.supply_chain.purchasing_service import Handler, PurchasingServer, RequestRefused

TOKEN = "s3cret-purchasing-token"
PLACING = ("ok", "timeout_after", "500_before", "500_after", "drop_before", "drop_after", "429", "refuse", "page_after",
           "half_after", "redirect_after", "503_wait", "leak")  # fmt: skip
ASKING = ("ok", "500_before", "drop_before", "429")


class Moody(PurchasingServer):
    """Plays `posts` and `gets`, lists of moods, from the front; well-behaved when they are empty.

    With `idempotent` False it heeds no key: every order that arrives is booked once more.
    """

    def __init__(self, database: Path) -> None:
        super().__init__(0, database, TOKEN, MoodyHandler)
        self.database = database
        self.posts: list[str] = []
        self.gets: list[str] = []
        self.posted: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.times: list[str] = []
        self.idempotent = True
        self.slow = threading.Event()  # ends an answer that takes too long when the test is over

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def booked(self) -> Counter[str]:
        """Orders per key, counted in the service's own file."""
        with sqlite3.connect(self.database) as db:
            return Counter(key.split("#")[0] for (key,) in db.execute("SELECT key FROM orders"))

    def orders(self) -> dict[str, dict[str, Any]]:
        with sqlite3.connect(self.database) as db:
            return {key: json.loads(body) for key, body in db.execute("SELECT key, body FROM orders")}


class MoodyHandler(Handler):
    server: Moody

    def do_GET(self) -> None:
        key = self.path.rsplit("/", 1)[-1]
        self.server.asked[key] += 1
        self.server.times.append("GET")
        mood = self.server.gets.pop(0) if self.server.gets else "ok"
        if mood == "ok":
            return super().do_GET()
        return self.misbehave(mood, None)

    def do_POST(self) -> None:
        self.server.posted[self.headers["Idempotency-Key"]] += 1
        self.server.times.append("POST")
        mood = self.server.posts.pop(0) if self.server.posts else "ok"
        try:
            accepted = self._accept() if mood == "ok" or mood.endswith("_after") else self._unread()
        except RequestRefused as refused:
            return self.reply(refused.status, {"error": str(refused)})
        if mood == "ok" and accepted is not None:
            return self.reply(*accepted)
        return self.misbehave(mood, accepted)

    def _accept(self) -> tuple[int, dict[str, Any]]:
        if self.server.idempotent:
            return self._post()
        key = self.headers["Idempotency-Key"]
        copies = self.server.booked()[key]
        self.headers.replace_header("Idempotency-Key", f"{key}#{copies}" if copies else key)
        status, held = self._post()
        return status, {**held, "key": key}

    def _unread(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))

    def misbehave(self, mood: str, accepted: tuple[int, dict[str, Any]] | None) -> None:
        if mood.startswith("timeout"):
            self.server.slow.wait(5)
            self.close_connection = True
        elif mood.startswith("500"):
            self.reply(500, {"error": "the database is on fire"})
        elif mood.startswith("drop"):
            self.close_connection = True
        elif mood == "429":
            self.reply(429, {"error": "slow down"}, {"Retry-After": "0"})
        elif mood == "503_wait":
            self.reply(503, {"error": "maintenance"}, {"Retry-After": "0"})
        elif mood == "refuse":
            self.reply(422, {"error": "quantity: not a multiple of the pack size"})
        elif mood == "leak":
            self.reply(400, {"error": f"bad header {self.headers['Authorization']}"})
        elif mood == "redirect_after":
            self.reply(303, {}, {"Location": "/orders"})
        elif mood == "page_after":
            self._raw(b"<html>log in</html>", 19, "text/html")
        elif mood == "half_after" and accepted is not None:
            body = json.dumps(accepted[1]).encode()
            self._raw(body[:-5], len(body), "application/json")
        else:
            raise AssertionError(mood)

    def _raw(self, body: bytes, length: int, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@contextmanager
def running(folder: Path) -> Iterator[Moody]:
    """A server on a free port, stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Moody(folder / "orders.db")
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up is part of the play
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.slow.set()
        server.shutdown()
        thread.join()
        server.server_close()
