"""Bodies of requests as ASGI hands them over, for what looks at one before Airflow does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def body_of(receive: Receive) -> bytes:
    """All parts of a request's body."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def instead(body: bytes, receive: Receive) -> Receive:
    """Another body in place of the one that was read; after it whatever else the server says."""
    sent = False

    async def given() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return given
