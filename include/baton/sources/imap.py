"""One folder of an IMAP mailbox, read only: nothing is marked as seen, moved or deleted (EXAMINE, BODY.PEEK)."""

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from imapclient import IMAPClient
from imapclient.exceptions import ProtocolError

from baton.errors import BatonError, SourceError

logging.getLogger("imapclient").setLevel(logging.WARNING)  # below it the mails themselves are logged

_AT_ONCE = 200  # messages that are described by one command
_NAME = re.compile(r"[ !#-\[\]-~]{1,200}")  # printable ASCII without quote and backslash


@dataclass(frozen=True)
class ImapServer:
    """Address and log-in of a mailbox; the password does not show up in its text form."""

    host: str
    port: int = 0
    login: str = ""
    password: str = field(default="", repr=False)
    ssl: bool = True
    verify: bool = True

    def __post_init__(self) -> None:
        if not self.host or re.search(r"[\s/@]", self.host):
            raise BatonError(
                "connection: set host to the mail server's name, and port, login, password to their fields"
            )


@dataclass(frozen=True)
class Listed:
    """A message of the folder: its number there, when it arrived (UTC), its size in bytes."""

    uid: int
    received_at: datetime
    size: int


class ImapFolder:
    """A folder that is open; a context manager.

    Args:
        name: as the server writes it; other than ASCII in modified UTF-7.
        timeout: seconds for each answer.

    Raises:
        SourceError: from every method: no connection, log-in or folder refused, an answer that is none of IMAP.
    """

    def __init__(self, server: ImapServer, name: str, timeout: float = 30.0) -> None:
        if not _NAME.fullmatch(name):
            raise SourceError("imap: a folder is written in printable ASCII, other letters in modified UTF-7")
        self.server, self.name, self.timeout, self.validity = server, name, timeout, 0

    def __enter__(self) -> Self:
        server, context = self.server, ssl.create_default_context()
        if not server.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self._asking("no connection"):
            self._client = IMAPClient(
                server.host, server.port or None, ssl=server.ssl, ssl_context=context, timeout=self.timeout
            )
        self._client.normalise_times = False  # aware, in the zone that the server wrote
        self._client.folder_encode = False
        try:
            with self._asking("log-in refused"):
                self._client.login(server.login, server.password)
            with self._asking(f'folder {self.name}: EXAMINE "{self.name}"'):
                self.validity = self._client.select_folder(self.name, readonly=True).get(b"UIDVALIDITY", 0)
        except BaseException:
            self._client.shutdown()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._client.__exit__(*raised)

    def between(self, start: datetime, end: datetime) -> list[Listed]:
        """List what arrived from `start` (inclusive) to `end` (exclusive), by arrival.

        The server searches whole days in its own time zone; the exact times are compared here.
        """
        days = ["SINCE", (start - timedelta(days=1)).date(), "BEFORE", (end + timedelta(days=2)).date()]
        found = [one for one in self._listed(self._search(days)) if start <= one.received_at < end]
        return sorted(found, key=lambda one: (one.received_at, one.uid))

    def with_header(self, header: str, text: str) -> list[int]:
        """Return the numbers of the messages that have `text` in a header."""
        return self._search(f'HEADER {header} "{text}"')

    def fetch(self, uid: int) -> bytes:
        """Return a message as it was received."""
        content = self._described([uid], "BODY.PEEK[]").get(uid, {}).get(b"BODY[]")
        if not isinstance(content, bytes):
            raise SourceError(f"imap {self.server.host}: message {uid} of {self.name} is gone")
        return content

    def _search(self, terms: str | list[object]) -> list[int]:
        with self._asking(f"folder {self.name}: UID SEARCH"):
            return sorted(set(self._client.search(terms)))

    def _described(self, uids: list[int], *fields: str) -> dict[int, dict[bytes, object]]:
        with self._asking(f"folder {self.name}: UID FETCH"):
            try:
                return self._client.fetch(uids, fields)
            except ProtocolError:  # an answer that is none describes no message
                return {}

    def _listed(self, uids: list[int]) -> Iterator[Listed]:
        for first in range(0, len(uids), _AT_ONCE):
            asked = uids[first : first + _AT_ONCE]
            found, missing = self._described(asked, "INTERNALDATE", "RFC822.SIZE"), []
            for uid in asked:
                at, size = (found.get(uid, {}).get(name) for name in (b"INTERNALDATE", b"RFC822.SIZE"))
                if isinstance(at, datetime) and isinstance(size, int):
                    # "-0000" is read as no zone at all
                    yield Listed(uid, at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), size)
                else:
                    missing.append(uid)
            if missing and self._search(["UID", ",".join(map(str, missing))]):  # not just deleted meanwhile
                raise SourceError(
                    f"imap {self.server.host}: no date and size for {len(missing)} messages of {self.name}"
                )

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Say of any failure what was asked for: the server's words without what they repeat of the log-in."""
        try:
            yield
        except Exception as error:  # besides OSError and IMAP's own whatever its parser makes of a foreign answer
            raise SourceError(f"imap {self.server.host}, {what}: {self._clean(error)}") from None

    def _clean(self, words: object) -> str:
        text = " ".join(str(words).split())
        for secret in filter(None, (self.server.password, self.server.login)):
            text = text.replace(secret, "***")
        return text[:200]


def holds(server: ImapServer, folder: str, key: str, timeout: float = 30.0) -> bool | None:
    """Say whether a folder holds a mail with this outbox key in its Message-ID; None: not answered."""
    try:
        with ImapFolder(server, folder, timeout) as opened:
            return bool(opened.with_header("Message-ID", f"<{key}@"))
    except SourceError:
        return None
