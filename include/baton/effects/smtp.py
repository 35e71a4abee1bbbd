"""A peer behind SMTP. A mail server cannot be asked what it took, so the doubt is kept as small as it can be.

Up to the first byte of the text nothing was sent: such a failure is tried again. The server's reply after the text
decides: 2xx took it, 4xx and 5xx did not. Without that reply (connection lost, time over, worker killed) the mail is
**in doubt**, and what then happens is the connection's choice:

    (default)          at most once: it stays `unknown` and a person decides, see `baton.effects.delivery.decide`
    repeat: true       at least once, with the same Message-ID: for servers that drop a repetition
    archive: <conn_id> ask: an IMAP folder that holds every mail sent is searched for the Message-ID; such a folder may
                       be late, so what it lacks counts as not sent only `archive_delay` seconds after the attempt

One mail goes to all its recipients or to none: a server that refuses one of them gets no text.
What a server says before it knows the mail is repeated in errors; after that only its codes are, for it may quote.
"""

import re
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from baton.effects.mail import NOBODY, mail_problem, message, message_id
from baton.effects.peer import Outcome
from baton.errors import BatonError

ARCHIVE_DELAY = 600.0  # seconds
_WORDS = 200  # characters of a server's greeting or refusal that are kept
_LONG = 3600.0  # seconds: nothing gets better within this call, e.g. a wrong password
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # RFC 3463
_MEANING = {
    "x.1": "about an address", "x.2": "about the recipient's mailbox", "x.3": "about the mail system",
    "x.4": "about the network or routing", "x.5": "about the protocol", "x.6": "about the content",
    "x.7": "about security or policy",
}  # fmt: skip


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in; secrets do not show up in its text form.

    Attributes:
        tls: `implicit`, `starttls` (required then) or `none`.
        sender: bare address that all mails come from; empty: the stage's option.
        verify: check the server's certificate.
        repeat: send again what is in doubt, under the same Message-ID.
        archive: searches a folder of sent mail for a Message-ID's key: True, False, or None (not answered).
        archive_delay: seconds that a mail may take to stand there.
    """

    host: str
    port: int = 0
    tls: str = "implicit"
    login: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""
    verify: bool = True
    repeat: bool = False
    archive: Callable[[str, float], bool | None] | None = field(default=None, repr=False)
    archive_delay: float = ARCHIVE_DELAY

    def __post_init__(self) -> None:
        if not self.host or re.search(r"[\s/@]", self.host):
            raise BatonError(
                "connection: set host to the mail server's name, and port, login, password to their fields"
            )


class SmtpPeer:
    """A `baton.effects.delivery.Peer` over SMTP; a context manager that keeps one connection for all mails.

    Args:
        timeout: seconds for each reply. An attempt takes at most five times as long.
    """

    name = "smtp"

    def __init__(self, server: MailServer, sender: str = NOBODY, timeout: float = 30.0) -> None:
        self.server, self.sender, self.timeout = server, server.sender or sender, timeout
        self.answers = server.repeat or server.archive is not None
        self._client: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            try:
                self._client.quit()
            except (smtplib.SMTPException, OSError):
                self._client.close()

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Search the archive; without one, see the module's text."""
        identity = message_id(key, self.sender)
        if self.server.archive is not None:
            there = self.server.archive(key, self.timeout)
            if there is None:
                return Outcome("unknown", "in doubt, and the archive of sent mail does not answer")
            if there:
                return Outcome("done", answer={"message_id": identity, "peer": self.name})
            return Outcome("absent", grace=self.server.archive_delay)
        if self.server.repeat:
            return Outcome("absent")
        return self._in_doubt(identity, "an attempt ended before the server's reply")

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        """Hand the mail in."""
        if problem := mail_problem(payload):
            return Outcome("failed", problem)
        text, reused, deadline = message(key, payload, self.sender), self._client, time.monotonic() + 2 * self.timeout
        outcome = self._announce(payload["to"], deadline)
        if outcome is not None and reused is not None and self._client is None:  # closed while it was idle
            outcome = self._announce(payload["to"], deadline)
        if outcome is not None:
            return outcome
        return self._hand_over(text, {"message_id": message_id(key, self.sender), "peer": self.name})

    def _announce(self, to: list[str], deadline: float) -> Outcome | None:
        """Connect if need be, name sender and recipients, ask for DATA; None when the text may come."""
        try:
            if self._client is None:
                self._client = self._connect()
            client, steps = self._client, [("the sender", lambda: client.mail(self.sender))]
            for number, address in enumerate(to, 1):
                steps.append((f"recipient {number} of {len(to)}", lambda address=address: client.rcpt(address)))  # type: ignore[misc]
            for what, step in [*steps, ("DATA", lambda: client.docmd("DATA"))]:
                if time.monotonic() > deadline:
                    self._drop()
                    return Outcome("later", f"the server is slow: at {what} the time was over; nothing was sent")
                code, words = step()
                if code != (354 if what == "DATA" else 250) and not (what != "DATA" and code == 251):
                    return self._refused(what, code, words)
        except smtplib.SMTPAuthenticationError as error:
            self._drop()
            said = self._clean(f"{error.smtp_code} {_text(error.smtp_error)}")
            return Outcome("later", f"log-in refused ({said}): correct login and password", wait=_LONG)
        except ssl.SSLCertVerificationError as error:
            self._drop()
            return Outcome("later", f"certificate of {self.server.host}: {error.verify_message}", wait=_LONG)
        except smtplib.SMTPNotSupportedError as error:
            self._drop()
            return Outcome("later", f"{error}; see disable_ssl, disable_tls and login of the connection", wait=_LONG)
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            return Outcome("later", self._clean(f"no connection: {type(error).__name__} {error}".strip()))
        return None

    def _hand_over(self, text: bytes, answer: dict[str, Any]) -> Outcome:
        """Send the text; from here on only the server's reply proves anything."""
        client = self._client
        assert client is not None
        try:
            client.send(re.sub(rb"(?m)^\.", b"..", text))
            client.send(b"" if text.endswith(b"\r\n") else b"\r\n")
            client.send(b".\r\n")
            code, words = client.getreply()
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            return self._in_doubt(answer["message_id"], f"no reply after the text ({type(error).__name__})")
        if 200 <= code < 300:
            return Outcome("done", answer={**answer, "reply": self._clean(f"{code} {_text(words)}")})
        if 400 <= code < 600:
            return self._refused("the text", code, words)
        self._drop()
        return self._in_doubt(answer["message_id"], f"reply {code} after the text is none that SMTP knows")

    def _in_doubt(self, identity: str, why: str) -> Outcome:
        if self.answers:
            return Outcome("unknown", why)
        todo = f"look for Message-ID {identity} in its log or at a recipient's, then say so with `baton outbox settle`"
        return Outcome("unknown", f"in doubt, {why}: the server cannot be asked and nothing is sent twice; {todo}")

    def _refused(self, what: str, code: int, words: bytes) -> Outcome:
        if code == 421 or not 400 <= code < 600 or not self._reset():
            self._drop()
        detail = _ENHANCED.match(_text(words))
        meaning = _MEANING.get(f"x.{detail.group().split('.')[1]}", "") if detail else ""
        said = " ".join(part for part in (str(code), detail.group() if detail else "", meaning) if part)
        if 500 <= code < 600:
            return Outcome("failed", f"{what}: refused, {said}; nothing was sent")
        return Outcome("later", f"{what}: not now, {said}; nothing was sent")

    def _connect(self) -> smtplib.SMTP:
        server = self.server
        context = ssl.create_default_context()
        if not server.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client: smtplib.SMTP
        if server.tls == "implicit":
            client = smtplib.SMTP_SSL(server.host, server.port or 465, timeout=self.timeout, context=context)
        else:
            client = smtplib.SMTP(server.host, server.port or (587 if server.login else 25), timeout=self.timeout)
        try:
            if server.tls == "starttls":
                client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
            if server.login:
                client.login(server.login, server.password)
        except BaseException:
            client.close()
            raise
        return client

    def _reset(self) -> bool:
        try:
            assert self._client is not None
            return self._client.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            return False

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _clean(self, words: str) -> str:
        """Words without what is secret and without addresses, short."""
        for secret in filter(None, (self.server.password, self.server.login)):
            words = words.replace(secret, "***")
        return re.sub(r"\S+@\S+", "***", " ".join(words.split()))[:_WORDS]


def _text(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
