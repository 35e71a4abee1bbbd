"""Forms: writes come from our own pages, same origin and a token in every form, unless the caller sent a bearer token.

A browser attaches the log-in cookie by itself, also to a form on somebody else's page. Three things stand against that:
Airflow sets the cookie `SameSite=Lax`; a request must say that it comes from our own origin (`Sec-Fetch-Site`, `Origin`:
headers that no page can forge); and a form carries a token bound to the person. A JSON body needs no token, because a
foreign page cannot send one without asking first (CORS). A caller with `Authorization: Bearer` uses no cookie at all.
"""

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import HTTPException, Request

from baton.console.host import Host, Person

VALID_SECONDS = 12 * 3600
MAX_BODY = 96 * 1024  # a case's text and a note, each character written in twelve
MAX_REASON = 500  # characters of why somebody does something
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def token_for(host: Host, person: Person, now: float | None = None) -> str:
    """A token for this person's forms, valid for half a day: `<expiry>.<signature>`."""
    expires = int((time.time() if now is None else now) + VALID_SECONDS)
    return f"{expires}.{_signature(host, person, expires)}"


def _signature(host: Host, person: Person, expires: int) -> str:
    text = f"baton-console\0{person.name}\0{expires}"
    return hmac.new(host.secret, text.encode(), hashlib.sha256).hexdigest()


def token_holds(host: Host, person: Person, token: str) -> bool:
    """Whether the token was made for this person and is not too old."""
    expiry, _, signature = token.partition(".")
    if not expiry.isdecimal() or len(expiry) > 12 or int(expiry) < time.time():
        return False
    return hmac.compare_digest(signature.encode(), _signature(host, person, int(expiry)).encode())


async def checked_body(request: Request, host: Host, person: Person) -> dict[str, Any]:
    """The body's fields, after the request proved to come from our own page or from a bearer of a token.

    Raises:
        HTTPException: 403 another origin, or a missing or old form token; 413, 415, 422 an unusable body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, JSON):
        raise HTTPException(415, f"send {JSON} or {FORM}")
    body = await _limited(request)
    fields = _json(body) if kind == JSON else dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return fields
    _require_own_origin(request, host)
    if kind == FORM and not token_holds(host, person, str(fields.get("token", ""))):
        raise HTTPException(403, "this form is too old or was made for somebody else: reload the page and try again")
    return fields


async def _limited(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} bytes")
    return body


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise HTTPException(422, f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise HTTPException(422, "the body must be a JSON object")
    return fields


def _require_own_origin(request: Request, host: Host) -> None:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        raise HTTPException(403, "this request comes from another site")
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}", host.origin}
    if origin is not None and site is None and _origin(origin) not in own:
        raise HTTPException(403, f"this request comes from {origin}, not from this site")
    if site is None and origin is None:
        raise HTTPException(403, "the request does not say which site it comes from; API clients send a bearer token")


def _origin(value: str) -> str:
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.netloc}"
