"""One folder of an IMAP mailbox, read only: nothing is marked as seen, moved or deleted (EXAMINE, BODY.PEEK)."""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from baton.errors import BatonError, SourceError

_AT_ONCE = 200  # messages that are described by one command
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = re.compile(rb'INTERNALDATE "([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
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

    def __enter__(self) -> ImapFolder:
        server = self.server
        try:
            self._client = self._connect()
        except (OSError, imaplib.IMAP4.error) as error:
            raise SourceError(f"imap {server.host}: no connection: {self._clean(error)}") from None
        try:
            try:
                self._client.login(server.login, server.password)
            except (OSError, imaplib.IMAP4.error) as error:
                raise SourceError(f"imap {server.host}: log-in refused: {self._clean(error)}") from None
            self._asked("EXAMINE", f'"{self.name}"')
            found = self._client.response("UIDVALIDITY")[1]
            self.validity = int(found[-1]) if found and isinstance(found[-1], bytes) and found[-1].isdigit() else 0
        except BaseException:
            self._client.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._client.logout()
        except (OSError, imaplib.IMAP4.error):
            self._client.shutdown()

    def between(self, start: datetime, end: datetime) -> list[Listed]:
        """List what arrived from `start` (inclusive) to `end` (exclusive), by arrival.

        The server searches whole days in its own time zone; the exact times are compared here.
        """
        since, before = start - timedelta(days=1), end + timedelta(days=2)
        uids = self._search("SINCE", _day(since), "BEFORE", _day(before))
        found = [one for one in self._listed(uids) if start <= one.received_at < end]
        return sorted(found, key=lambda one: (one.received_at, one.uid))

    def with_header(self, header: str, text: str) -> list[int]:
        """Return the numbers of the messages that have `text` in a header."""
        return self._search("HEADER", header, f'"{text}"')

    def fetch(self, uid: int) -> bytes:
        """Return a message as it was received."""
        for part in self._asked("UID", "FETCH", str(uid), "(BODY.PEEK[])"):
            if isinstance(part, tuple) and re.search(rb"BODY\[\]", part[0]):
                return part[1]
        raise SourceError(f"imap {self.server.host}: message {uid} of {self.name} is gone")

    def _connect(self) -> imaplib.IMAP4:
        server = self.server
        if not server.ssl:
            return imaplib.IMAP4(server.host, server.port or 143, timeout=self.timeout)
        context = ssl.create_default_context()
        if not server.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return imaplib.IMAP4_SSL(server.host, server.port or 993, ssl_context=context, timeout=self.timeout)

    def _search(self, *terms: str) -> list[int]:
        lines = [line for line in self._asked("UID", "SEARCH", *terms) if isinstance(line, bytes)]
        return sorted({int(word) for line in lines for word in line.split() if word.isdigit()})

    def _listed(self, uids: Sequence[int]) -> Iterator[Listed]:
        for first in range(0, len(uids), _AT_ONCE):
            asked = set(uids[first : first + _AT_ONCE])
            for line in self._asked("UID", "FETCH", ",".join(map(str, sorted(asked))), "(INTERNALDATE RFC822.SIZE)"):
                if not isinstance(line, bytes):
                    continue
                uid, size = re.search(rb"UID (\d+)", line), re.search(rb"RFC822\.SIZE (\d+)", line)
                at = _moment(line)
                if uid and size and at and int(uid[1]) in asked:
                    asked.discard(int(uid[1]))
                    yield Listed(int(uid[1]), at, int(size[1]))
            if asked and self._search("UID", ",".join(map(str, sorted(asked)))):  # not just deleted meanwhile
                raise SourceError(f"imap {self.server.host}: no date and size for {len(asked)} messages of {self.name}")

    def _asked(self, command: str, *arguments: str) -> list[bytes | tuple[bytes, bytes] | None]:
        what = f"imap {self.server.host}, folder {self.name}: {' '.join((command, *arguments[:1]))}"
        try:
            if command == "EXAMINE":
                kind, answer = self._client.select(arguments[0], readonly=True)
            else:
                kind, answer = self._client.uid(*arguments)
        except (OSError, imaplib.IMAP4.error) as error:
            raise SourceError(f"{what}: {self._clean(error)}") from None
        if kind != "OK":
            raise SourceError(
                f"{what}: {self._clean(b' '.join(one for one in answer if isinstance(one, bytes)).decode('utf-8', 'replace'))}"
            )
        return list(answer)

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


def _day(moment: datetime) -> str:
    return f"{moment.day}-{_MONTHS[moment.month - 1]}-{moment.year}"


def _moment(line: bytes) -> datetime | None:
    """Return the arrival that a FETCH answer holds; month names do not depend on the locale."""
    found = _DATE.search(line)
    if not found or (month := found[2].decode().title()) not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[number]) for number in (1, 3, 4, 5, 6))
    ahead = timedelta(hours=int(found[8]), minutes=int(found[9])) * (-1 if found[7] == b"-" else 1)
    try:
        there = datetime(year, _MONTHS.index(month) + 1, day, hour, minute, second, tzinfo=timezone(ahead))
    except ValueError:
        return None
    return there.astimezone(UTC)
