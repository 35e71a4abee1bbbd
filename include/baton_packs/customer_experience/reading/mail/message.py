"""A mail as it was delivered, to its sender, text and attachments. Standard library only; never raises for its input."""

import re
from dataclasses import dataclass, replace
from email import policy
from email.parser import BytesHeaderParser, BytesParser
from typing import Any

from baton_packs.customer_experience.reading.mail.headers import (
    count_addresses,
    first_address,
    header_text,
    is_automatic,
)
from baton_packs.customer_experience.reading.mail.parts import Part, Parts
from baton_packs.customer_experience.reading.text.limits import (
    BOMB,
    DAMAGED,
    LIMITS,
    TOO_LARGE,
    TOO_MANY_RECIPIENTS,
    ReadingLimits,
    worst,
)

_FIRST_LINES = re.compile(rb"(?:From [^\n]*\n)?(?:[!-9;-~]{1,76}:[^\n]*\n(?:[ \t][^\n]*\n)*){2}")
_KNOWN_HEADERS = re.compile(
    rb"^(?:from|to|subject|received|date|message-id|return-path|mime-version|delivered-to):",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Mail:
    """What is in a mail.

    Attributes:
        sender, reply_to: addresses in lower case, "" if there is none.
        recipients: addresses in To, Cc and Bcc.
        automatic: a machine wrote it (RFC 3834, mailing lists, bounces): an answer would start a loop.
        text: of the body; HTML as text.
        problem: None, `too_large`, `too_many_recipients`, `bomb` or `damaged`.
        notes: sentences without content; unread: those about parts of the text that were not read.
    """

    sender: str = ""
    sender_name: str = ""
    reply_to: str = ""
    recipients: int = 0
    subject: str = ""
    automatic: bool = False
    text: str = ""
    parts: tuple[Part, ...] = ()
    problem: str | None = None
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def looks_like_mail(data: bytes) -> bool:
    """Whether bytes begin with the headers of a mail."""
    head = data[:8192].replace(b"\r\n", b"\n").lstrip()
    return bool(_FIRST_LINES.match(head)) and len({one.lower() for one in _KNOWN_HEADERS.findall(head)}) >= 2


def read(data: bytes, limits: ReadingLimits = LIMITS) -> Mail:
    """Read a mail; of one that is over a limit, its headers only."""
    header_bytes = _header_bytes(data)
    if len(data) > limits.document_bytes or header_bytes > limits.header_bytes:
        known = _headers(data[: limits.header_bytes], limits, header_bytes)
        what = "headers" if header_bytes > limits.header_bytes else "mail"
        note = f"{what} of {max(header_bytes, 0) if what == 'headers' else len(data):,} bytes, body not read"
        return _mail(known, TOO_LARGE, (note,))
    known = _headers(data[:header_bytes], limits, header_bytes)
    try:
        message = BytesParser(policy=policy.compat32).parsebytes(data)
        found = Parts(limits)
        found.walk(message, 0)
    except RecursionError:
        return _mail(known, BOMB, ("parts nested too deeply, body not read",))
    except Exception as error:  # the parser promises not to raise; a mail that makes it is damaged
        return _mail(known, DAMAGED, (f"mail cannot be read: {type(error).__name__}",))
    text = "\n\n".join(one for one in found.texts if one.strip()).strip()
    notes = tuple(dict.fromkeys(found.notes))
    return _mail(known, found.problem, notes, text=text, parts=tuple(found.parts), unread=tuple(found.unread))


def _mail(known: Mail, problem: str | None, notes: tuple[str, ...], **found: Any) -> Mail:
    """A mail whose headers are known, with what was found besides."""
    return replace(known, problem=worst((problem, known.problem)), notes=known.notes + notes, **found)


def _header_bytes(data: bytes) -> int:
    found = re.search(rb"\r?\n\r?\n", data)
    return len(data) if found is None else found.end()


def _headers(block: bytes, limits: ReadingLimits, whole: int) -> Mail:
    """Sender, subject and the number of recipients."""
    notes: list[str] = []
    try:
        raw = list(BytesHeaderParser(policy=policy.compat32).parsebytes(block).raw_items())
    except Exception as error:  # as above
        return Mail(problem=DAMAGED, notes=(f"headers cannot be read: {type(error).__name__}",))
    by_name: dict[str, list[str]] = {}
    for name, value in raw:
        by_name.setdefault(str(name).lower(), []).append(str(value))
    if len(by_name.get("from", [])) > 1:
        notes.append(f"{len(by_name['from'])} From headers, the first is taken")

    def first(name: str) -> str:
        return (by_name.get(name) or [""])[0]

    sender_name, sender = first_address(first("from"), notes)
    recipients = sum(count_addresses(value) for name in ("to", "cc", "bcc") for value in by_name.get(name, []))
    if whole > len(block):  # headers were cut: what is left counts, and so does the rest of a long list
        notes.append("recipients counted in the part of the headers that was read")
    return Mail(
        sender, sender_name, first_address(first("reply-to"), notes)[1], recipients,
        header_text(first("subject"), notes), is_automatic(first, sender), problem=TOO_MANY_RECIPIENTS if recipients > limits.recipients else None,
        notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip
