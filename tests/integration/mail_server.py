"""A real SMTP server with moods, for tests: what it took is in a file, whoever asks and whoever was killed.

drop_before_data  closes the connection at MAIL     drop_after_data  takes the mail, then closes without a reply
drop_in_data      closes while the text comes       slow             takes the mail, replies after the client left
greylist          451 at RCPT                       busy             421 after the text, not taken
refuse            550 at RCPT, repeats the address  refuse_text      554 after the text, repeats it
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session, syntax

LOGIN, PASSWORD = "desk", "pass-w0rd-of-desk"


class Post:
    """Handler with a plan of moods, one for each MAIL; empty: it just takes the mail."""

    def __init__(self, box: Path) -> None:
        self.box, self.mood, self.seen, self.port = box, "", 0, 0
        self.plan: list[str] = []
        self.logins = 0

    def taken(self) -> list[dict[str, Any]]:
        """Everything that was taken, with its envelope."""
        return [json.loads(line) for line in self.box.read_text().splitlines()] if self.box.exists() else []

    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(one["text"].encode(), policy=POLICY) for one in self.taken()]

    def counted(self) -> Counter[str]:
        """How often each outbox key was taken."""
        return Counter(str(mail["Message-ID"])[1:].partition("@")[0] for mail in self.mails())

    async def handle_MAIL(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        self.seen += 1
        self.mood = self.plan.pop(0) if self.plan else ""
        if self.mood == "drop_before_data":
            server.transport.abort()
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if self.mood == "greylist":
            return "451 4.7.1 Greylisted, come back in 5 minutes"
        if self.mood == "refuse" and address.startswith("gone"):
            return f"550 5.1.1 <{address}>: no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        text = cast("bytes", envelope.original_content)
        if self.mood == "refuse_text":
            return "554 5.7.1 rejected because of: " + text.decode()[-60:].replace("\r\n", " ")
        if self.mood == "busy":
            return "421 4.3.2 shutting down"
        with self.box.open("a") as file:
            file.write(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "text": text.decode()}) + "\n")
        if self.mood == "drop_after_data":
            server.transport.abort()
        if self.mood == "slow":
            await asyncio.sleep(1.5)
        return f"250 2.0.0 Ok: queued as {len(self.taken())}"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins += 1
        good = (data.login, data.password) == (LOGIN.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False, message=f"535 5.7.8 bad password {data.password.decode()}")


@contextmanager
def running(folder: Path, *, auth: bool = False, context: ssl.SSLContext | None = None) -> Iterator[Any]:
    """Start one on a free port; `.port` says which. With `context` STARTTLS is required."""
    folder.mkdir(exist_ok=True)
    post = Post(folder / "taken.jsonl")
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "server_hostname": "mail.example"}
    if auth:
        options |= {"authenticator": post.authenticate, "auth_required": True, "auth_require_tls": context is not None}
    if context is not None:
        options |= {"tls_context": context, "require_starttls": True}
    controller = FreePort(post, **options)
    controller.start()
    try:
        post.port = controller.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        yield post
    finally:
        controller.stop(no_assert=True)


class Moody(SMTP):
    """A server that may go away while the text comes."""

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:
        if self.event_handler.mood != "drop_in_data":
            await super().smtp_DATA(arg)
            return
        await self.push("354 go on")
        await self._reader.read(10)
        self.transport.abort()  # type: ignore[union-attr]


class FreePort(Controller):
    """aiosmtpd greets itself to know that it is up, at the port that it was told; here the system chooses it."""

    def factory(self) -> SMTP:
        return Moody(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()
