"""A peer behind HTTP: `POST {path}` with the header Idempotency-Key places, `GET {path}/{key}` asks.

What an answer proves: 2xx with a JSON object that holds the receipt is done; 429 or a connection that never came
about is certainly not taken; any other 4xx is refused; 409 means that something is there under the key. All the
rest (no answer, half an answer, 5xx, a redirect, a page instead of JSON) proves nothing.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

from baton.effects.peer import Outcome
from baton.endpoint import Endpoint

_MOST = 1_000_000  # bytes of an answer that are read
_WORDS = 300  # characters of it that go into an error
_FIELDS = 50  # of it that are kept
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_IN_DOUBT = {408, 425}  # 4xx that say nothing about the effect


class HttpPeer:
    """A `baton.effects.delivery.Peer` over HTTP; a context manager that holds the connection.

    Args:
        endpoint: host and log-in.
        path: below the base URL, e.g. `orders`.
        receipt: the field of an answer that proves the effect, e.g. `order_id`.
        echoes: fields that the peer returns as they were sent; compared, because it may hold another effect under
            the key (a warehouse that was restored, or two of them).
        timeout: seconds for connection, and for each part of the answer.
    """

    answers = True

    def __init__(
        self, endpoint: Endpoint, path: str, receipt: str, echoes: Sequence[str] = (), timeout: float = 10.0
    ) -> None:
        self.path, self.receipt, self.echoes, self.timeout = path.strip("/"), receipt, tuple(echoes), timeout
        self._secrets = endpoint.secrets()
        wait = httpx.Timeout(timeout, connect=min(timeout, 5.0))
        at: dict[str, Any] = {"base_url": endpoint.base_url, "headers": dict(endpoint.headers), "auth": endpoint.auth}
        self._client = httpx.Client(**at, verify=endpoint.verify, timeout=wait, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Ask what the peer holds under the key."""
        return self._without_secrets(self._find(key, payload))

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Send the effect under the key."""
        outcome, _ = self._request("POST", self.path, {"Idempotency-Key": key}, payload)
        if outcome.kind != "conflict":
            return self._without_secrets(self._compared(outcome, payload))
        held = self._find(key, payload)
        if held.kind == "done" and not held.agreed:
            held = outcome
        elif held.kind not in ("done", "conflict"):  # an earlier request under the key may still be at work
            held = Outcome("unknown", outcome.words)
        return self._without_secrets(held)

    def _find(self, key: str, payload: dict[str, Any]) -> Outcome:
        outcome, status = self._request("GET", f"{self.path}/{quote(key, safe='')}", {}, None)
        if status == 404:
            return Outcome("absent")
        if outcome.kind in ("later", "conflict"):  # not answered
            return Outcome("unknown", outcome.words, wait=outcome.wait)
        return self._compared(outcome, payload)

    def _compared(self, outcome: Outcome, payload: dict[str, Any]) -> Outcome:
        names = [name for name in self.echoes if name in payload]
        if outcome.kind != "done" or not names:
            return outcome
        answer = outcome.answer or {}
        differing = [name for name in names if answer.get(name) != payload[name]]
        other = [f"{name} {answer.get(name)!r} there, {payload[name]!r} here" for name in differing]
        if other:
            words = f"it holds another one under this key ({self.receipt} {answer[self.receipt]}): {'; '.join(other)}"
            return Outcome("conflict", words, answer)
        return Outcome("done", answer=answer, agreed=True)

    def _request(
        self, method: str, path: str, headers: dict[str, str], payload: dict[str, Any] | None
    ) -> tuple[Outcome, int]:
        """Return what the answer proves, and its status (0: none)."""
        deadline, body = time.monotonic() + self.timeout, b""
        try:
            with self._client.stream(method, path, headers=headers, json=payload) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > _MOST or time.monotonic() > deadline:
                        return Outcome("unknown", f"{response.status_code}, then an answer without an end"), 0
        except _NOTHING_SENT as error:
            return Outcome("later", f"no connection: {error}"), 0
        except httpx.HTTPError as error:
            return Outcome("unknown", f"no answer: {type(error).__name__} {error}".strip()), 0
        return self._judged(response, body.decode(errors="replace")), response.status_code

    def _judged(self, response: httpx.Response, text: str) -> Outcome:
        status, wait = response.status_code, _seconds(response.headers.get("Retry-After"))
        words = f"{status} {response.reason_phrase}: {_message(text)}"
        if response.is_success:
            answer = _object(text)
            if answer.get(self.receipt) is None:
                return Outcome("unknown", f"{status} without `{self.receipt}` in the answer: {_message(text)}")
            return Outcome("done", answer=answer)
        if status == 429:
            return Outcome("later", words, wait=wait if wait is not None else 1.0)
        if status == 409:
            return Outcome("conflict", words)
        if 400 <= status < 500 and status not in _IN_DOUBT:
            return Outcome("failed", words)
        return Outcome("unknown", words, wait=wait)

    def _without_secrets(self, outcome: Outcome) -> Outcome:
        """Remove what a peer repeats of our log-in, and of its answer all but plain fields."""

        def clean(value: Any) -> Any:
            if isinstance(value, str):
                for secret in self._secrets:
                    value = value.replace(secret, "***")
                return value[:_WORDS]
            return value

        plain = [(name, value) for name, value in (outcome.answer or {}).items() if not isinstance(value, dict | list)]
        answer = {clean(name): clean(value) for name, value in plain[:_FIELDS]} if outcome.answer else None
        return replace(outcome, words=clean(outcome.words), answer=answer)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(text: str) -> str:
    """Return the peer's own words: the usual fields of an error, else the beginning of the text."""
    found = _object(text)
    words = next((found[name] for name in ("error", "detail", "message") if name in found), text)
    return " ".join(str(words).split())


def _seconds(header: str | None) -> float | None:
    """Return how long Retry-After asks to wait; None when it is missing or no such thing."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
