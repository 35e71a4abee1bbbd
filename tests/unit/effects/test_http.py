"""What an HTTP answer proves, and what of a log-in may show up. No network: the transport answers."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import httpx
import pytest

from baton.effects.http import HttpPeer
from baton.effects.peer import Outcome
from baton.endpoint import Endpoint
from baton.errors import BatonError

PAYLOAD = {"item": "a", "quantity": 48}
HELD = {"order_id": "PO-1", **PAYLOAD}
ECHOES = ("item", "quantity")


def peer(answer: Callable[[httpx.Request], httpx.Response], echoes: tuple[str, ...] = ECHOES, **given: Any) -> HttpPeer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
        return HttpPeer(Endpoint("https://peer/v1", **given), "/orders/", "order_id", echoes, timeout=1)


def always(status: int, body: Any = None, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def raises(error: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error("broken", request=request)

    return answer


@pytest.mark.parametrize(
    ("answer", "placed", "found"),
    [
        (always(201, HELD), "done", "done"),
        (always(200, HELD), "done", "done"),
        (always(200, {**HELD, "quantity": 9}), "conflict", "conflict"),
        (always(200, {"order_id": None}), "unknown", "unknown"),
        (always(200, [HELD]), "unknown", "unknown"),
        (always(204), "unknown", "unknown"),
        (always(302, HELD), "unknown", "unknown"),
        (always(399, {"error": "x"}), "unknown", "unknown"),
        (always(499, {"error": "x"}), "failed", "failed"),
        (always(400, {"error": "x"}), "failed", "failed"),
        (always(401, {"error": "x"}), "failed", "failed"),
        (always(404, {"error": "x"}), "failed", "absent"),
        (always(408), "unknown", "unknown"),
        (always(409), "unknown", "unknown"),
        (always(422, {"error": "x"}), "failed", "failed"),
        (always(425), "unknown", "unknown"),
        (always(429), "later", "unknown"),
        (always(500), "unknown", "unknown"),
        (always(503), "unknown", "unknown"),
        (raises(httpx.ConnectError), "later", "unknown"),
        (raises(httpx.ConnectTimeout), "later", "unknown"),
        (raises(httpx.ReadTimeout), "unknown", "unknown"),
        (raises(httpx.WriteError), "unknown", "unknown"),
        (raises(httpx.RemoteProtocolError), "unknown", "unknown"),
    ],
)
def test_what_an_answer_proves(answer: Any, placed: str, found: str) -> None:
    assert peer(answer).place("k", PAYLOAD).kind == placed
    assert peer(answer).find("k", PAYLOAD).kind == found


def test_requests_carry_key_payload_and_log_in() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=HELD)

    one = peer(answer, auth=("ada", "pass"))
    one.place("a-key", PAYLOAD)
    one.find("a/key?", PAYLOAD)
    assert (seen[0].method, str(seen[0].url)) == ("POST", "https://peer/v1/orders")
    assert seen[0].headers["Idempotency-Key"] == "a-key"
    assert seen[0].read() == b'{"item":"a","quantity":48}'
    assert str(seen[1].url) == "https://peer/v1/orders/a%2Fkey%3F"
    assert {request.headers["Authorization"] for request in seen} == {"Basic " + base64.b64encode(b"ada:pass").decode()}


@pytest.mark.parametrize(
    ("held", "echoes", "kind"),
    [((200, HELD), ECHOES, "done"), ((200, HELD), (), "conflict"), ((200, {**HELD, "item": "b"}), ECHOES, "conflict"),
     ((404, None), ECHOES, "unknown"), ((500, None), ECHOES, "unknown"), ((401, None), ECHOES, "unknown")],
)  # fmt: skip
def test_a_409_is_looked_into(held: tuple[int, Any], echoes: tuple[str, ...], kind: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(409) if request.method == "POST" else httpx.Response(held[0], json=held[1])

    assert peer(answer, echoes).place("k", PAYLOAD).kind == kind


def test_an_answer_without_an_end_proves_nothing() -> None:
    endless = lambda request: httpx.Response(200, content=(b"x" * 100_000 for _ in range(100)))  # noqa: E731
    assert peer(endless).place("k", PAYLOAD) == Outcome("unknown", "200, then an answer without an end")


def test_the_peers_words_are_kept_short() -> None:
    said = peer(always(422, {"detail": "quantity   must\nbe whole " + "x" * 1000})).place("k", PAYLOAD)
    assert said.words.startswith("422 Unprocessable Entity: quantity must be whole x")
    assert len(said.words) == 300
    assert "just text" in peer(lambda request: httpx.Response(422, text="just text")).place("k", PAYLOAD).words


def test_of_an_answer_plain_fields_are_kept() -> None:
    answer = {**HELD, "lines": [1, 2], "note": "x" * 1000, **{f"f{n}": n for n in range(100)}}
    kept = peer(always(200, answer)).place("k", PAYLOAD).answer or {}
    assert kept["order_id"] == "PO-1"
    assert "lines" not in kept
    assert len(kept["note"]) == 300
    assert len(kept) == 50


@pytest.mark.parametrize(
    ("given", "secrets"),
    [
        ({"headers": {"Authorization": "Bearer tok-en"}}, ["Bearer tok-en", "tok-en"]),
        ({"headers": {"X-Api-Key": 'qu"ote'}}, ['qu"ote']),
        ({"auth": ("ada", "pass-word")}, ["pass-word", base64.b64encode(b"ada:pass-word").decode()]),
    ],
)
def test_a_log_in_that_a_peer_repeats_is_removed(given: dict[str, Any], secrets: list[str]) -> None:
    text = " and ".join(secrets)
    refused = peer(always(400, {"error": text}), **given).place("k", PAYLOAD)
    done = peer(always(200, {**HELD, "debug": text, secrets[0]: 1}), **given).place("k", PAYLOAD)
    broken = peer(lambda request: httpx.Response(500, text=text), **given).find("k", PAYLOAD)
    for outcome in (refused, done, broken):
        assert not [secret for secret in secrets if secret in f"{outcome.words} {outcome.answer}"]
    assert "***" in refused.words
    assert done.kind == "done"
    assert not [secret for secret in secrets if secret in repr(Endpoint("https://peer", **given))]


@pytest.mark.parametrize("address", ["", "peer", "ftp://peer", "https://"])
def test_an_address_must_be_one(address: str) -> None:
    with pytest.raises(BatonError, match="is no address"):
        Endpoint(address)


def test_a_log_in_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(BatonError, match="belong into its fields") as refused:
        Endpoint("https://ada:pass-word@peer")
    assert "pass-word" not in str(refused.value)


def test_how_long_a_peer_asks_to_wait() -> None:
    def asks(header: str) -> float | None:
        return peer(always(503, None, **{"Retry-After": header})).place("k", PAYLOAD).wait

    assert peer(always(503)).place("k", PAYLOAD).wait is None
    assert (asks("7"), asks("soon"), asks("-1")) == (7.0, None, None)
    soon = asks(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert soon is not None
    assert 55 < soon <= 60
    assert asks("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert peer(always(429, None, **{"Retry-After": "7"})).place("k", PAYLOAD).wait == 7.0
    assert peer(always(429)).place("k", PAYLOAD).wait == 1.0


def test_an_answer_may_have_a_million_bytes_and_no_more() -> None:
    rest = len(json.dumps({"order_id": "1", "pad": ""}).encode())
    for pad, kind in ((1_000_000 - rest, "done"), (1_000_001 - rest, "unknown")):
        body = json.dumps({"order_id": "1", "pad": "x" * pad}).encode()
        answer = partial(httpx.Response, 200, content=body)
        assert peer(lambda request, answer=answer: answer(), ()).place("k", PAYLOAD).kind == kind  # type: ignore[misc]


def test_fifty_fields_of_an_answer_are_kept_each_up_to_300_characters() -> None:
    held = {"order_id": "1", **{f"f{n:02}": "x" * 301 for n in range(60)}}
    answer = peer(always(200, held), ()).place("k", PAYLOAD).answer
    assert answer is not None
    assert (len(answer), set(map(len, answer.values()))) == (50, {1, 300})


def test_secrets_are_those_of_more_than_three_characters_longest_first() -> None:
    found = Endpoint("https://peer", {"A": "Bearer abcd", "B": "abc"}, ("user", "pass")).secrets()
    assert found == sorted(found, key=len, reverse=True)
    assert set(found) == {"Bearer abcd", "abcd", "pass", "user:pass", "dXNlcjpwYXNz"}


def test_the_clients_own_line_for_each_request_stays_out_of_a_tasks_log() -> None:
    assert logging.getLogger("httpx").level == logging.WARNING


def test_what_was_opened_is_closed_at_the_end() -> None:
    with peer(always(200, HELD)) as opened:
        assert opened.find("k", PAYLOAD).kind == "done"
    with pytest.raises(RuntimeError, match="closed"):
        opened.find("k", PAYLOAD)
