"""A small IMAP server for tests: LOGIN, EXAMINE, UID SEARCH, UID FETCH, LOGOUT over a real socket.

It refuses SELECT and STORE, and remembers every command, so that a test sees that nothing was changed.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LOGIN, PASSWORD = "desk", "pass-w0rd-of-mailbox"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass
class Mailbox:
    """Messages by UID: arrival (aware, in any zone) and bytes; moods change what the server says."""

    messages: dict[int, tuple[datetime, bytes]]
    folder: str = "INBOX"
    mood: str = ""  # drop_at_fetch, wrong_size, garbage, tangle, no_zone
    commands: list[str] = field(default_factory=list)
    port: int = 0

    def found(self, terms: str) -> list[int]:
        if header := re.match(r'HEADER Message-ID "([^"]*)"', terms):
            return [u for u, (_, body) in self.messages.items() if f"Message-ID: {header[1]}".encode() in body]
        if uids := re.match(r"UID ([\d,]+)", terms):
            return [u for u in map(int, uids[1].split(",")) if u in self.messages]
        days = re.match(r"SINCE (\S+) BEFORE (\S+)", terms)
        assert days, terms
        since, before = (_day(one) for one in days.groups())
        return [u for u, (at, _) in self.messages.items() if since <= (at.year, at.month, at.day) < before]


def _day(text: str) -> tuple[int, int, int]:
    day, month, year = text.split("-")
    return int(year), _MONTHS.index(month) + 1, int(day)


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined]
        self.say("* OK [CAPABILITY IMAP4rev1] ready")
        while line := self.rfile.readline().decode():
            tag, command, *rest = line.rstrip("\r\n").split(" ", 2)
            words = rest[0] if rest else ""
            box.commands.append(f"{command.upper()} {words}" if command.upper() != "LOGIN" else "LOGIN")
            if not self.answer(box, tag, command.upper(), words):
                return

    def answer(self, box: Mailbox, tag: str, command: str, words: str) -> bool:
        if command == "CAPABILITY":
            self.say("* CAPABILITY IMAP4rev1")
        elif command == "LOGIN" and words != f'{LOGIN} "{PASSWORD}"':
            self.say(f"{tag} NO [AUTHENTICATIONFAILED] wrong: {words}")
            return True
        elif command == "EXAMINE":
            if words != f'"{box.folder}"':
                self.say(f"{tag} NO no such folder")
                return True
            self.say(f"* {len(box.messages)} EXISTS", "* OK [UIDVALIDITY 7] valid")
        elif command == "UID" and words.startswith("SEARCH "):
            self.say("* SEARCH " + " ".join(map(str, box.found(words.removeprefix("SEARCH ")))))
        elif command == "UID" and words.startswith("FETCH "):
            if box.mood == "drop_at_fetch":
                return False
            self.fetch(box, *words.removeprefix("FETCH ").split(" ", 1))
        elif command == "LOGOUT":
            self.say("* BYE", f"{tag} OK bye")
            return False
        elif command != "LOGIN":
            self.say(f"{tag} BAD not here")
            return True
        self.say(f"{tag} OK done")
        return True

    def fetch(self, box: Mailbox, uids: str, what: str) -> None:
        for number, uid in enumerate(map(int, uids.split(",")), 1):
            at, body = box.messages[uid]
            if what == "(BODY.PEEK[])":
                self.wfile.write(f"* {number} FETCH (UID {uid} BODY[] {{{len(body)}}}\r\n".encode() + body + b")\r\n")
                continue
            assert what == "(INTERNALDATE RFC822.SIZE)", what
            date = f"{at.day:2d}-{_MONTHS[at.month - 1]}-{at:%Y %H:%M:%S %z}"
            if box.mood == "no_zone":
                date = date.replace("+0000", "-0000")
            size = 1 if box.mood == "wrong_size" else len(body)
            said = "?" if box.mood == "garbage" else f'INTERNALDATE "{date}" RFC822.SIZE {size}'
            self.say(f"* {number} FETCH {'(' * 2000 if box.mood == 'tangle' else ''}(UID {uid} {said})")

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@contextmanager
def running(messages: dict[int, tuple[datetime, bytes]], **options: Any) -> Iterator[Mailbox]:
    """Start one on a free port; `.port` says which."""
    box = Mailbox(messages, **options)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Talk) as server:
        server.daemon_threads = True
        server.box, box.port = box, server.server_address[1]  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield box
        server.shutdown()
        thread.join()
