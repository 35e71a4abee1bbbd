"""A mail as an effect: what its payload may hold, and the message that is made of it.

The same payload under the same key gives the same message, but for its date; its Message-ID is made of the key, so
that a receiver (and an archive) can recognise a repetition. No error repeats an address or a word of the mail.

Programs write the mails that Baton sends, so each says so, to people in a last line and to machines in its header. A payload
can say that a person read or edited the text; nothing that it can say leaves line and header out.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from baton.errors import BatonError

MOST_RECIPIENTS = 5  # an answer goes to those who asked; a list of addresses is something else
MOST_SUBJECT = 250  # characters
MOST_BODY = 100_000  # characters
NOBODY = "noreply@baton.invalid"  # sender where nobody is named: a domain that never exists (RFC 2606)

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")
_FIELDS = {"to", "subject", "body"}
_MAY_SAY = {"written", "language"}

MACHINE, READ, EDITED = (
    "machine",
    "read",
    "edited",
)  # what a person had to do with a text: nothing known, approved it, changed it
_LINES = {
    "en": {
        MACHINE: "This message was written automatically, with the help of AI.",
        READ: "This message was written automatically, with the help of AI; a person has read and approved it.",
        EDITED: "This message was written with the help of AI and edited by a person.",
    },
    "de": {
        MACHINE: "Diese Nachricht wurde automatisch verfasst, mit Hilfe von KI.",
        READ: "Diese Nachricht wurde automatisch verfasst, mit Hilfe von KI; ein Mensch hat sie gelesen und freigegeben.",
        EDITED: "Diese Nachricht wurde mit Hilfe von KI verfasst und von einem Menschen bearbeitet.",
    },
    "fr": {
        MACHINE: "Ce message a été rédigé automatiquement, à l'aide de l'IA.",
        READ: "Ce message a été rédigé automatiquement, à l'aide de l'IA ; une personne l'a lu et approuvé.",
        EDITED: "Ce message a été rédigé à l'aide de l'IA et modifié par une personne.",
    },
    "nl": {
        MACHINE: "Dit bericht is automatisch geschreven, met behulp van AI.",
        READ: "Dit bericht is automatisch geschreven, met behulp van AI; een mens heeft het gelezen en goedgekeurd.",
        EDITED: "Dit bericht is geschreven met behulp van AI en bewerkt door een mens.",
    },
}
# words of the individual Internet-Draft draft-abaris-aicdh (for HTTP; mail has no standard): with a person's part, without one
_MODES = {MACHINE: "machine-generated", READ: "ai-originated", EDITED: "ai-originated"}
_MARKS = {MACHINE: "yes", READ: "yes; approved-by=person", EDITED: "yes; edited-by=person"}


def mail_payload(
    to: Sequence[str], subject: str, body: str, written: str = MACHINE, language: str = ""
) -> dict[str, Any]:
    """Return the payload of a mail for `outbox.enqueue`, checked; there are no copies, no attachments, no threads.

    Args:
        to: 1 to 5 bare addresses, e.g. `ada@example.org`.
        subject: one line, at most 250 characters.
        body: plain text, at most 100,000 characters.
        written: MACHINE; READ or EDITED where a person approved or changed the text.
        language: of the line that says how it was written: en, de, fr, nl; another, or empty: en.

    Raises:
        BatonError: a field breaks a rule; names the field and the rule, never what stands there.
    """
    payload: dict[str, Any] = {"to": list(to), "subject": subject, "body": body}
    payload |= {"written": written} if written != MACHINE else {}
    payload |= {"language": language} if language in _LINES else {}
    if problem := mail_problem(payload):
        raise BatonError(f"mail: {problem}")
    return payload


def mail_problem(payload: dict[str, Any]) -> str | None:
    """Return which rule a payload breaks, None if it is a mail."""
    missing, unknown = sorted(_FIELDS - set(payload)), sorted(set(payload) - _FIELDS - _MAY_SAY)
    if missing or unknown:
        known = ", ".join(sorted(_FIELDS))
        return f"{missing[0]} is missing" if missing else f"{len(unknown)} fields are none of a mail: {known}"
    if payload.get("written", MACHINE) not in tuple(_MARKS):  # any JSON may stand there
        return f"written: should be one of {', '.join(_MARKS)}"
    if payload.get("language", "en") not in tuple(_LINES):
        return f"language: should be one of {', '.join(_LINES)}"
    return _recipients_problem(payload["to"]) or _text_problem(payload["subject"], payload["body"])


def disclosure(payload: dict[str, Any]) -> str:
    """Return the line that tells people how the mail was written; it ends every mail."""
    return _LINES[payload.get("language", "en")][payload.get("written", MACHINE)]


def is_address(text: object) -> bool:
    """True for one bare ASCII address with a domain, e.g. `ada@example.org`; no display name, no quoting."""
    if not isinstance(text, str) or len(text) > 254 or not _ADDRESS.fullmatch(text):
        return False
    return len(text.rpartition("@")[0]) <= 64


def message_id(key: str, sender: str) -> str:
    """Return the Message-ID of the effect with this key: the key is the part before the @."""
    return f"<{key}@{sender.rpartition('@')[2].lower()}>"


def message(key: str, payload: dict[str, Any], sender: str, at: datetime | None = None) -> bytes:
    """Return the mail as it goes out: 7-bit, lines ending in CRLF, none longer than 998.

    Args:
        payload: one that has no `mail_problem`.
        sender: bare address.
        at: its date; None: now.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(payload["to"]), payload["subject"]
    mail["Date"] = format_datetime((at or datetime.now(UTC)).astimezone(UTC))
    # keeps automata (also our own intake) from answering it: RFC 3834
    mail["Auto-Submitted"] = "auto-generated"
    written = payload.get("written", MACHINE)
    mail["X-AI-Generated"], mail["AI-Disclosure"] = _MARKS[written], f"mode={_MODES[written]}"
    body = payload["body"].replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    mail.set_content(f"{body}\n\n{disclosure(payload)}\n", charset="utf-8", cte="quoted-printable")
    # the standard library would write a long one as an encoded word, which no reader takes for an identity
    return f"Message-ID: {message_id(key, sender)}\r\n".encode("ascii") + mail.as_bytes()


def date_of(mail: bytes) -> datetime | None:
    """Return the date that a mail of ours carries, None if it has none."""
    from email import message_from_bytes

    found = message_from_bytes(mail, policy=SMTP)["Date"]
    return getattr(found, "datetime", None)


def _recipients_problem(to: object) -> str | None:
    if not isinstance(to, list) or not 1 <= len(to) <= MOST_RECIPIENTS:
        count = f"{len(to)} of them" if isinstance(to, list) else "no list"
        return f"to: should be a list of 1 to {MOST_RECIPIENTS} addresses, this is {count}"
    for position, address in enumerate(to, 1):
        if not is_address(address):
            return (
                f"to: number {position} is no bare address such as ada@example.org (ASCII; write a domain as xn--...)"
            )
    if len({address.lower() for address in to}) < len(to):
        return "to: an address stands there twice"
    return None


def _text_problem(subject: object, body: object) -> str | None:
    if not isinstance(subject, str) or not subject.strip() or len(subject) > MOST_SUBJECT:
        return f"subject: should be a text of 1 to {MOST_SUBJECT} characters"
    if len(subject.splitlines()) > 1 or _forbidden(subject):
        return "subject: should be one line without control characters"
    if not isinstance(body, str) or not body.strip() or len(body) > MOST_BODY:
        return f"body: should be a text of 1 to {MOST_BODY} characters"
    if _forbidden(body, allowed="\n\r\t"):
        return "body: holds control characters or half of a surrogate pair; remove them"
    return None


def _forbidden(text: str, allowed: str = "") -> bool:
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in allowed for c in text)
