"""Peers of effects: address, log-in and secrets stay in Airflow connections.

A connection of type HTTP says: host (with or
without `https://`), schema, port; log-in and password for basic authentication, or a password alone for a bearer
token; extra: `headers` (object) and `verify` (false, or the path of an authority's certificate).

One of type SMTP says, as Airflow's own provider reads it: host, port, login, password; extra: `from_email`,
`disable_ssl` (then STARTTLS), `disable_tls` (then neither), `ssl_context` (none: do not check the certificate); and for
mails in doubt (`baton.effects.smtp`): `repeat`, or `archive` (an IMAP connection), `archive_folder` (default Sent) and
`archive_delay` (seconds until a mail stands there, default 600).
What the provider's form writes besides is taken: fields left empty, `timeout` and `retry_limit`, which do not count here
(a stage has its own timeout, a mail in doubt is not repeated), and `auth_type`, which may only be `basic`.
One of type File (path) or `file` writes mails into extra's `path`, else into BATON_HOME/outbox.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from baton.airflow.connections.readers import imap_server
from baton.effects.mail import is_address
from baton.effects.smtp import ARCHIVE_DELAY, MailServer
from baton.endpoint import Endpoint
from baton.errors import BatonError
from baton.settings import settings

_KNOWN = {"headers", "verify"}
_OF_THE_FORM = {"timeout", "retry_limit", "auth_type"}
_KNOWN_MAIL = {
    "from_email", "disable_ssl", "disable_tls", "ssl_context", "repeat", "archive", "archive_folder", "archive_delay",
}  # fmt: skip


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


def mail_server(conn_id: str) -> MailServer | Path | None:
    """Return where a connection's mails go: a mail server, a folder; None: the connection does not exist.

    Raises:
        BatonError: it is neither of type smtp nor file, or its fields cannot work; never repeats a secret.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    extra: dict[str, Any] = connection.extra_dejson
    if connection.conn_type in ("file", "fs"):
        return Path(extra["path"]) if extra.get("path") else settings().home / "outbox"
    if connection.conn_type != "smtp":
        raise BatonError(f"connection {conn_id}: mails need type smtp or file, this is {connection.conn_type}")
    given = {name for name, value in extra.items() if value not in (None, "")}
    if unknown := sorted(given - _KNOWN_MAIL - _OF_THE_FORM):
        known = ", ".join(sorted(_KNOWN_MAIL))
        raise BatonError(f"connection {conn_id}: extra holds {', '.join(unknown)}; known are {known}")
    if extra.get("auth_type") not in (None, "", "basic"):
        raise BatonError(f"connection {conn_id}: extra.auth_type should be basic: log-in and password")
    flags = {name: _flag(conn_id, name, extra.get(name, False)) for name in ("disable_ssl", "disable_tls", "repeat")}
    sender = extra.get("from_email") or (connection.login if is_address(connection.login) else "") or ""
    if sender and not is_address(sender):
        raise BatonError(f"connection {conn_id}: extra.from_email is no bare address such as desk@example.org")
    tls = "implicit" if not flags["disable_ssl"] else "none" if flags["disable_tls"] else "starttls"
    archive = _archive(conn_id, extra)
    if archive is not None and flags["repeat"]:
        raise BatonError(f"connection {conn_id}: extra holds repeat and archive; they say different things, keep one")
    try:
        return MailServer(
            connection.host or "", connection.port or 0, tls, connection.login or "", connection.password or "", sender,
            verify=extra.get("ssl_context", "default") != "none", repeat=flags["repeat"], archive=archive,
            archive_delay=_seconds(conn_id, "archive_delay", extra.get("archive_delay", ARCHIVE_DELAY)),
        )  # fmt: skip
    except BatonError as error:
        raise BatonError(f"{conn_id}: {error}") from error


def _flag(conn_id: str, name: str, value: object) -> bool:
    """Airflow's form writes booleans, a URI texts."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise BatonError(f"connection {conn_id}: extra.{name} should be true or false")


def _seconds(conn_id: str, name: str, value: object) -> float:
    """Airflow's form writes numbers, a URI texts."""
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise BatonError(f"connection {conn_id}: extra.{name} should be seconds, 0 to 86400")
    return seconds


def _archive(conn_id: str, extra: dict[str, Any]) -> Callable[[str, float], bool | None] | None:
    if "archive" not in extra:
        return None
    server, folder = imap_server(str(extra["archive"])), str(extra.get("archive_folder", "Sent"))

    def search(key: str, timeout: float) -> bool | None:
        from baton.sources.imap import holds

        return holds(server, folder, key, timeout)

    return search
