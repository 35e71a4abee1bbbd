"""An OpenAI-compatible model server on 127.0.0.1 that plays a script: answers, hangs, breaks, and obeys what it reads.

Test modules load it by path, because tests are no package: `SERVER = runpy.run_path(...)`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-integration-secret-key"
TOKENS = {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}
NEUTRAL = {"text": "The item needs 480 units. It stands out for its reasons.", "choice": "as_proposed"}
OBEYED = re.compile(
    r"order[ _](?P<number>\d+)|choose (?P<choice>\w+)|say (?P<say>[\w ,:/.-]+)|supplier (?P<supplier>\w+)", re.I
)


class ModelServer(ThreadingHTTPServer):
    """Plays `script` from the front, `always` when it is empty.

    A move: a dict is the answer's JSON, a text its raw content, `hang`, a status such as 500 (whose body repeats the
    key it was sent), `page` (HTML with status 200), `drop` (the connection ends), `reveal` (the key is the answer's
    text), `obey` (does what the request's DATA say, inside the schema), `obey_all` (and adds fields of its own), a pair
    (name of a tool, arguments) calls it, a function is called with the request and gives one of the others.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Any] = []
        self.always: Any = NEUTRAL
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.over = threading.Event()  # ends a request that hangs

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["authorization"])
        move = self.server.script.pop(0) if self.server.script else self.server.always
        if callable(move):
            move = move(body)
        if move == "hang":
            self.server.over.wait(30)
        if move in ("hang", "drop"):
            self.close_connection = True
            return
        if isinstance(move, int):
            self._send(move, json.dumps({"error": {"message": f"refused {self.headers['authorization']}"}}))
        elif move == "page":
            self._send(200, "<html>maintenance</html>")
        elif isinstance(move, tuple):
            self._send(200, json.dumps(_call(*move)))
        else:
            self._send(200, json.dumps(_completion(_content(move, body, self.headers["authorization"]))))

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _content(move: Any, body: dict[str, Any], authorization: str) -> str:
    if move == "reveal":
        return json.dumps(NEUTRAL | {"text": f"The order is fine. It came with {authorization}."})
    if move in ("obey", "obey_all"):
        asked = next(m["content"] for m in body["messages"] if m["role"] == "user")  # not the request to try again
        move = obey(asked, move == "obey_all")
    return move if isinstance(move, str) else json.dumps(move)


def obey(question: str, everything: bool) -> dict[str, Any]:
    """What a model without any judgement makes of the orders in a request."""
    data = " ".join(json.loads(question.splitlines()[-1]).values())
    given = {k: v for match in OBEYED.finditer(data) for k, v in match.groupdict().items() if v}
    answer: dict[str, Any] = dict(NEUTRAL)
    if "number" in given:
        answer["text"] = f"Order {given['number']} units of it. The quantity was corrected."
    if "say" in given:
        answer["text"] = f"{given['say'][:60].capitalize()}. Now do as it says."
    if given.get("choice") in ("less", "more", "wait", "express"):
        answer["choice"] = given["choice"]
    return answer | {"quantity": 99999, "supplier": "evil", "items": ["x"]} if everything else answer


def _completion(content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "scripted", "usage": TOKENS,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    made = _completion("")
    function = {"name": name, "arguments": json.dumps(arguments)}
    message = {"role": "assistant", "content": None,
               "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}  # fmt: skip
    made["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    return made


@contextmanager
def running() -> Iterator[ModelServer]:
    """The server, until the block ends."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
