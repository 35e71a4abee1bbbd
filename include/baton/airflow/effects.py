"""Peers of effects: address, log-in and secrets stay in Airflow connections.

Importing this module registers the connections with `baton.effects`. A connection of type HTTP says: host (with or
without `https://`), schema, port; log-in and password for basic authentication, or a password alone for a bearer
token; extra: `headers` (object) and `verify` (false, or the path of an authority's certificate).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import BaseHook

from baton.effects import register_connections
from baton.effects_http import Endpoint
from baton.errors import BatonError

_KNOWN = {"headers", "verify"}


def endpoint(conn_id: str) -> Endpoint:
    """Return address and log-in of an HTTP connection.

    Raises:
        BatonError: it has no host, or its extra holds something unknown; never repeats a value of it.
        AirflowNotFoundException: there is no such connection.
    """
    connection = BaseHook.get_connection(conn_id)
    extra: dict[str, Any] = connection.extra_dejson
    if unknown := sorted(set(extra) - _KNOWN):
        raise BatonError(
            f"connection {conn_id}: extra holds {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}"
        )
    headers = extra.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BatonError(f"connection {conn_id}: extra.headers must be an object of texts")
    host = connection.host or ""
    address = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if connection.port:
        parts = urlsplit(address)
        address = urlunsplit(parts._replace(netloc=f"{parts.netloc}:{connection.port}"))
    login, password = connection.login or "", connection.password or ""
    if password and not login:
        headers = {**headers, "Authorization": f"Bearer {password}"}
    try:
        return Endpoint(address, headers, (login, password) if login else None, extra.get("verify", True))
    except BatonError as error:
        raise BatonError(f"{conn_id}: {error}") from error


register_connections(endpoint)
