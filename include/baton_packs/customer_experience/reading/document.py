"""Reading of one delivered document of any kind: its text, and what is wrong with it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from baton_packs.customer_experience.reading.mail import message as mail
from baton_packs.customer_experience.reading.mail.headers import safe_name
from baton_packs.customer_experience.reading.mail.parts import Part
from baton_packs.customer_experience.reading.pages import ocr, pdf
from baton_packs.customer_experience.reading.text import archives, html_text, languages
from baton_packs.customer_experience.reading.text.charsets import clean, decode
from baton_packs.customer_experience.reading.text.content import Content
from baton_packs.customer_experience.reading.text.limits import (
    ATTACHMENT,
    EMPTY,
    LIMITS,
    TOO_LARGE,
    UNKNOWN_LANGUAGE,
    UNKNOWN_TYPE,
    ReadingLimits,
    worst,
)

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_SNIFFED = 4096
_NOTES = 30  # notes kept
_SMALL = 20_000  # bytes; a smaller picture in a format that is not read is a logo
_SIGNATURES = (
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "application/pgp-signature",
    "application/pgp-keys",
)


@dataclass
class ParsedDocument:
    """What a document says; the columns of the frame *parsed* that come from its content."""

    media: str = "unknown"
    sender: str = ""
    sender_name: str = ""
    reply_to: str = ""
    recipients: int = 0
    subject: str = ""
    automatic: bool = False
    text: str = ""
    attachments: list[dict[str, Any]] = field(default_factory=list)
    pages: int = 0
    ocr_pages: int = 0
    language: str = ""
    problem: str | None = None
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def kind_of(data: bytes, name: str = "", *, mailbox: bool = False) -> str:
    """mail | pdf | picture | zip | html | text | unknown, by the first bytes; the name decides only what bytes leave open."""
    head = data[:_SNIFFED]
    if mailbox:
        return "mail"
    if mail.looks_like_mail(data):  # it may quote the first line of a PDF
        return "mail"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(_PICTURES):
        return "picture"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if name.lower().endswith(".eml"):
        return "mail"
    text, _ = decode(head)
    odd = sum(one < " " and one not in "\t\n\r\f\x00" for one in text) + 5 * text.count("�")
    if odd > len(text) // 50 or text.count("\x00") > len(text) // 20:
        return "unknown"
    if name.lower().endswith((".htm", ".html")) or text.lstrip()[:200].lower().startswith(("<!doctype html", "<html")):
        return "html"
    return "text"


def read_document(data: bytes, name: str = "", limits: ReadingLimits = LIMITS, *, size: int | None = None,
                  mailbox: bool = False) -> ParsedDocument:  # fmt: skip
    """Read a document. Never raises for what is in it; not bounded in time (see `reading.process`).

    Args:
        size: bytes of the whole document when `data` is only its beginning.
        mailbox: it came as a mail, whatever it looks like.
    """
    size, kind = len(data) if size is None else size, kind_of(data, name, mailbox=mailbox)
    found = ParsedDocument(media={"picture": "scan", "html": "text", "zip": "unknown"}.get(kind, kind))
    reading = _Reading(found, limits, limits.ocr_pages, limits.ocr_tries, time.process_time() + limits.ocr_seconds)
    if size > limits.document_bytes:
        if kind == "mail":
            reading.headers(mail.read(data[: limits.header_bytes], limits))
        found.notes.append(f"document of {size:,} bytes, not read")
        found.problem = TOO_LARGE
        return found
    if kind == "mail":
        read = mail.read(data, limits)
        reading.headers(read)
        reading.add(Content("mail", read.text, problem=read.problem, unread=read.unread), read.problem)
        reading.attach_all(read.parts)
    elif kind == "zip":
        reading.attach_zip(safe_name(name), Part(name, "", data, len(data)))
    else:
        content = reading.content(data, kind)
        found.media = content.media
        reading.add(content, content.problem)
    return reading.finished()


@dataclass
class _Reading:
    """A document while it is read.

    Attributes:
        found: what it says so far.
        ocr_pages: pages and pictures that OCR may still read; ocr_tries: those that it may still look at; ocr_until: the
            processor time at which it stops.
        sections: texts of the body and of each attachment, in order.
        problems: of the body and of each attachment.
    """

    found: ParsedDocument
    limits: ReadingLimits
    ocr_pages: int
    ocr_tries: int
    ocr_until: float
    sections: list[str] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)

    def headers(self, read: mail.Mail) -> None:
        """Take who wrote a mail, and what about."""
        for name in ("sender", "sender_name", "reply_to", "recipients", "subject", "automatic"):
            setattr(self.found, name, getattr(read, name))
        self.found.notes += read.notes

    def add(self, content: Content, problem: str | None, where: str = "", title: str = "") -> None:
        """Add the body, or an attachment: `where` begins its notes, `title` its text."""
        self.found.pages += content.pages
        self.found.ocr_pages += content.ocr_pages
        self.found.notes += [where + note for note in content.notes]
        self.found.unread += [where + what for what in content.unread]
        self.problems.append(problem)
        if content.text.strip():
            self.sections.append(title + content.text)

    def enter(self, name: str, size: int, content: Content, problem: str | None) -> None:
        """Add an attachment."""
        shown = {"media": content.media, "size": size, "pages": content.pages, "problem": content.problem}
        self.found.attachments.append({"name": name, **shown})
        self.add(content, problem, f"attachment {len(self.found.attachments)}: ", f"{ATTACHMENT} {name} ---\n")

    def attach_all(self, parts: Sequence[Part], *, nested: bool = False) -> None:
        """Add attachments in their order; OCR goes to the PDFs and the largest pictures first, whatever their order."""
        kinds = [_kind(part) for part in parts]
        areas = {
            at: ocr.area_of(part.data) if kind == "picture" else math.inf
            for at, (part, kind) in enumerate(zip(parts, kinds, strict=True))
            if kind in ("picture", "pdf") and part.data is not None
        }
        first = sorted(areas, key=lambda at: -areas[at])
        early = {at: self.content(parts[at].data or b"", kinds[at]) for at in first}
        for at, (part, kind) in enumerate(zip(parts, kinds, strict=True)):
            name = safe_name(part.name) or f"attachment {len(self.found.attachments) + 1}"
            if kind == "zip" and not nested:
                self.attach_zip(name, part)
            elif kind == "attached mail":
                self._attach_mail(name, part, nested=nested)
            else:
                content = early.get(at) or self._other(part, name, kind)
                self.enter(name, part.size, content, content.problem if content.problem != UNKNOWN_TYPE else None)

    def _other(self, part: Part, name: str, kind: str) -> Content:
        """A forwarded mail, a text, or what cannot be read; a signature or a small picture says nothing that is missed."""
        if part.text is not None:
            return Content("mail", part.text)
        if part.data is None or part.problem:
            return Content(problem=part.problem)
        if kind == "zip":
            what = "a zip within a zip"
            return Content(problem=UNKNOWN_TYPE, notes=(f"{what} is not unpacked",), unread=(what,))
        content = self.content(part.data, kind)
        declared = part.kind.lower()
        picture = declared.startswith("image/") or name.lower().endswith((".gif", ".webp", ".bmp"))
        logo = picture and part.size < _SMALL
        if content.problem != UNKNOWN_TYPE or logo or declared in _SIGNATURES or name.lower().endswith(".p7s"):
            return content
        return replace(content, unread=("a kind of file that is not read",))

    def _attach_mail(self, name: str, part: Part, *, nested: bool) -> None:
        """A mail that was attached as a file, with its own attachments; those of a mail within it are not read."""
        inner = mail.read(part.data or b"", self.limits)
        text = f"From: {inner.sender_name} <{inner.sender}>\nSubject: {inner.subject}\n\n{inner.text}"
        left = (f"{len(inner.parts)} attachments of an attached mail not read",) if nested and inner.parts else ()
        content = Content("mail", text, problem=inner.problem, notes=inner.notes + left, unread=inner.unread + left)
        self.enter(name, part.size, content, content.problem)
        if not nested:
            self.attach_all(inner.parts, nested=True)

    def attach_zip(self, name: str, part: Part) -> None:
        """The members of a zip file as attachments."""
        unpacked = archives.unpack(part.data or b"", self.limits)
        unknown = unpacked.problem == UNKNOWN_TYPE
        unread = ("a kind of file that is not read",) if unknown else ()
        whole = self.found.media == "unknown"  # the zip is the document, not an attachment of one
        content = Content(problem=unpacked.problem, notes=unpacked.notes, unread=unread)
        self.enter(name, part.size, content, unpacked.problem if whole or not unknown else None)
        members = [Part(inner, "", data, len(data)) for inner, data in unpacked.members]
        self.attach_all(members, nested=True)
        if whole and unpacked.members and all(_kind(one) in ("zip", "unknown") for one in members):
            self.problems.append(UNKNOWN_TYPE)

    def content(self, data: bytes, kind: str) -> Content:
        """Read one file; what OCR does for it is taken from what it may still do."""
        if kind in ("pdf", "picture"):
            reader = pdf.text_of if kind == "pdf" else ocr.text_of
            left = {"ocr_pages": self.ocr_pages, "ocr_tries": self.ocr_tries}
            found = reader(data, self.limits, ocr_until=self.ocr_until, **left)
            self.ocr_pages, self.ocr_tries = self.ocr_pages - found.ocr_pages, self.ocr_tries - found.ocr_tries
            return found
        if kind not in ("text", "html"):
            return Content(problem=UNKNOWN_TYPE)
        text, note = decode(data)
        notes = [note] if note else []
        if kind == "html":
            text, note = html_text.text_of(clean(text))
            notes += [note] if note else []
        if "\x00" in text:
            notes.append("NUL characters removed")
        unread = tuple(each for each in notes if each == html_text.CUT)
        return Content("text", clean(text).strip(), notes=tuple(notes), unread=unread)

    def finished(self) -> ParsedDocument:
        """The document, its sections as one text, with its language and its worst problem."""
        found, limits = self.found, self.limits
        text = "\n\n".join(self.sections).strip("\n")
        if len(text) > limits.characters:
            cut = f"text cut after {limits.characters:,} of {len(text):,} characters"
            found.notes.append(cut)
            found.unread.append(cut)
            text = text[: limits.characters]
        found.text = text
        language = languages.detect(f"{found.subject}\n{text}")
        found.language = language.code
        own = (UNKNOWN_LANGUAGE if language.unknown else None, None if self.sections else EMPTY)
        found.problem = worst((*self.problems, *own))
        found.notes = list(dict.fromkeys(found.notes))
        if len(found.notes) > _NOTES:
            found.notes[_NOTES:] = [f"{len(found.notes) - _NOTES} more notes"]
        found.unread = list(dict.fromkeys(found.unread))[:_NOTES]
        return found


def _kind(part: Part) -> str:
    """As `kind_of`; `attached mail` is one that came as a file."""
    if part.text is not None:
        return "mail"
    if part.data is None or part.problem:
        return "unknown"
    kind = kind_of(part.data, safe_name(part.name))
    return "attached mail" if kind == "mail" else kind
