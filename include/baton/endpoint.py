"""Where something is that speaks HTTP, and how to log in there: a peer of effects, a tool that is asked."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from baton.errors import BatonError

if logging.getLogger("httpx").level == logging.NOTSET:  # a line for each request would bury the task's own log
    logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Endpoint:
    """Where a peer is and how to log in there; no part that is secret shows up in its text form.

    Attributes:
        base_url: address up to the path, `https://host:port/base`.
        headers: sent with every request.
        auth: user and password, None without.
        verify: check the server's certificate; a path names an own authority.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    verify: bool | str = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.username or parts.password:  # it would be in every log
            raise BatonError(f"connection to {parts.hostname}: user and password belong into its fields, not its host")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BatonError(f"connection: {self.base_url!r} is no address; set host (and schema, port)")

    def secrets(self) -> list[str]:
        """Texts that must not be repeated anywhere, longest first."""
        found = {word for value in self.headers.values() for word in (value, value.split(" ", 1)[-1])}
        if self.auth:
            pair = ":".join(self.auth)
            found |= {self.auth[1], pair, base64.b64encode(pair.encode()).decode()}
        return sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True)
