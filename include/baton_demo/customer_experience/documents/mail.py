"""Mails written for real (RFC 5322 bytes), and those that break readers; the same mail always gives the same bytes."""

import base64
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from html import escape

MANY = 10_000  # recipients
BOMB_MEMBERS, BOMB_MEMBER_BYTES = 12, 10_000_000


@dataclass
class Attachment:
    """Attributes: name: file name; media: such as application/pdf."""

    name: str
    content: bytes
    media: str = "application/pdf"


@dataclass
class SimulatedMail:
    """One message.

    Attributes:
        key: unique text; Message-ID and boundaries follow from it.
        sender: address; sender_name: shown; recipient: address; reply_to: address or "".
        html: adds an HTML form of the text.
    """

    key: str
    sender: str
    sender_name: str
    recipient: str
    subject: str
    text: str
    sent: datetime
    reply_to: str = ""
    html: bool = False
    attachments: Sequence[Attachment] = field(default_factory=list)


def write(mail: SimulatedMail) -> bytes:
    """The message as it comes over the wire."""
    message = _headed(mail)
    message.set_content(mail.text, cte="quoted-printable")
    if mail.html:
        message.add_alternative(_html(mail.text), subtype="html", cte="quoted-printable")
    for attachment in mail.attachments:
        kind, subtype = attachment.media.split("/")
        message.add_attachment(attachment.content, maintype=kind, subtype=subtype, filename=attachment.name)
    return _bytes(message, mail.key)


def html_only(mail: SimulatedMail) -> bytes:
    """Without a plain text part; readable."""
    message = _headed(mail)
    message.set_content(_html(mail.text), subtype="html", cte="quoted-printable")
    return _bytes(message, mail.key)


def without_charset(mail: SimulatedMail) -> bytes:
    """Eight-bit text in Windows-1252 that does not say so; readable by guessing."""
    return _raw(mail, "text/plain", "cp1252")


def wrong_charset(mail: SimulatedMail) -> bytes:
    """Windows-1252 text that claims to be UTF-8; readable by guessing."""
    return _raw(mail, 'text/plain; charset="utf-8"', "cp1252")


def to_many(mail: SimulatedMail, recipients: int = MANY) -> bytes:
    """With so many addresses in To. Written by hand: the library needs minutes for such a header."""
    start, text = write(mail).split(b"\r\n\r\n", 1)
    lines = [line for line in start.split(b"\r\n") if not line.lower().startswith(b"to:")]
    addresses = b",\r\n ".join(b"r%05d@list.example" % number for number in range(recipients))
    return b"\r\n".join([*lines, b"To: " + addresses]) + b"\r\n\r\n" + text


@cache
def bomb() -> bytes:
    """A zip of 120 kB that unpacks to 120 MB."""
    out = io.BytesIO()
    zeros = bytes(BOMB_MEMBER_BYTES)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(BOMB_MEMBERS):
            archive.writestr(zipfile.ZipInfo(f"invoice_{number:02d}.pdf"), zeros, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def oversized(mail: SimulatedMail, size: int = 50_000_000) -> bytes:
    """The mail with an attachment of `size` bytes, really; for tests, the stream only names the size."""
    chunk = base64.encodebytes(bytes(range(57)) * 1000).replace(b"\n", b"\r\n")
    boundary = b"=_large"
    lines = write(mail).split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    mine = (b"content-", b"mime-version", b" ", b"\t")
    head = b"\r\n".join(line for line in lines if not line.lower().startswith(mine))
    start = (
        head + b'\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n--' + boundary
        + b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + mail.text.encode()
        + b"\r\n--" + boundary + b"\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64"
        + b'\r\nContent-Disposition: attachment; filename="plans.bin"\r\n\r\n'
    )  # fmt: skip
    return start + chunk * -(-size // 57_000) + b"\r\n--" + boundary + b"--\r\n"


def _headed(mail: SimulatedMail) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    user, domain = mail.sender.split("@")
    message["From"] = Address(mail.sender_name, user, domain)
    message["To"] = mail.recipient
    if mail.reply_to:
        message["Reply-To"] = mail.reply_to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.sent)
    message["Message-ID"] = f"<{mail.key}@{domain}>"
    return message


def _bytes(message: EmailMessage, key: str) -> bytes:
    """Boundaries are drawn at random by the library; ours follow from the key."""
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{key}_{number}")
    return message.as_bytes()


def _raw(mail: SimulatedMail, content_type: str, encoding: str) -> bytes:
    """A message whose text is eight-bit in an encoding it does not name; characters it lacks become question marks."""
    head = _bytes(_headed(mail), mail.key).rstrip(b"\r\n").decode("ascii")
    head += f"\r\nMIME-Version: 1.0\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head.encode() + mail.text.replace("\n", "\r\n").encode(encoding, errors="replace")


def _html(text: str) -> str:
    paragraphs = "".join(f"<p>{escape(part).replace(chr(10), '<br>')}</p>\n" for part in text.split("\n\n"))
    style = "<style>p { font-family: sans-serif; color: #222 }</style>"
    return f"<html><head>{style}</head><body>\n{paragraphs}</body></html>"
