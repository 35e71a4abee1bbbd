"""Reading of one delivered document of any kind: its text, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from baton_packs.customer_experience.reading.mail import message as mail
from baton_packs.customer_experience.reading.mail.headers import safe_name
from baton_packs.customer_experience.reading.mail.parts import Part
from baton_packs.customer_experience.reading.pages import ocr, pdf
from baton_packs.customer_experience.reading.text import archives, html_text, languages
from baton_packs.customer_experience.reading.text.charsets import clean, decode
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


@dataclass(frozen=True)
class _Content:
    media: str
    text: str = ""
    pages: int = 0
    ocr_pages: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass
class _Budget:
    """What OCR may still do for a document: pages with words, and pages it looks at."""

    pages: int
    tries: int


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
    if size > limits.document_bytes:
        _of_mail(found, mail.read(data[: limits.header_bytes], limits)) if kind == "mail" else None
        found.text, found.attachments = "", []
        found.notes.append(f"document of {size:,} bytes, not read")
        found.problem = TOO_LARGE
        return found
    sections: list[str] = []
    problems: list[str | None] = []
    budget = _Budget(limits.ocr_pages, limits.ocr_tries)
    if kind == "mail":
        read = mail.read(data, limits)
        _of_mail(found, read)
        sections.append(read.text)
        problems.append(read.problem)
        found.unread += read.unread
        _attach_all(found, read.parts, sections, problems, limits, budget)
    elif kind == "zip":
        _attach_zip(found, safe_name(name), Part(name, "", data, len(data)), sections, problems, limits, budget)
    else:
        content = _content(data, kind, limits, budget)
        found.media, found.pages, found.ocr_pages = content.media, content.pages, content.ocr_pages
        found.notes += content.notes
        found.unread += content.unread
        sections.append(content.text)
        problems.append(content.problem)
    return _finished(found, sections, problems, limits)


def _of_mail(found: ParsedDocument, read: mail.Mail) -> None:
    found.sender, found.sender_name, found.reply_to = read.sender, read.sender_name, read.reply_to
    found.automatic = read.automatic
    found.recipients, found.subject = read.recipients, read.subject
    found.notes += read.notes


def _finished(
    found: ParsedDocument, sections: list[str], problems: list[str | None], limits: ReadingLimits
) -> ParsedDocument:
    text = "\n\n".join(one for one in sections if one.strip()).strip("\n")
    if len(text) > limits.characters:
        cut = f"text cut after {limits.characters:,} of {len(text):,} characters"
        found.notes.append(cut)
        found.unread.append(cut)
        text = text[: limits.characters]
    found.text = text
    if not any(one.strip() for one in sections):
        problems.append(EMPTY)
    language = languages.detect(f"{found.subject}\n{text}")
    found.language = language.code
    problems.append(UNKNOWN_LANGUAGE if language.unknown else None)
    found.problem = worst(problems)
    found.notes = list(dict.fromkeys(found.notes))
    if len(found.notes) > _NOTES:
        found.notes[_NOTES:] = [f"{len(found.notes) - _NOTES} more notes"]
    found.unread = list(dict.fromkeys(found.unread))[:_NOTES]
    return found


def _attach_all(found: ParsedDocument, parts: Sequence[Part], sections: list[str], problems: list[str | None],
                limits: ReadingLimits, budget: _Budget, *, nested: bool = False) -> None:  # fmt: skip
    """Add attachments in their order; OCR goes to the PDFs and the largest pictures first, whatever their order."""
    kinds = [_kind(part) for part in parts]
    areas = {
        at: ocr.area_of(part.data) if kind == "picture" else math.inf
        for at, (part, kind) in enumerate(zip(parts, kinds, strict=True))
        if kind in ("picture", "pdf") and part.data is not None
    }
    early = {
        at: _content(parts[at].data or b"", kinds[at], limits, budget)
        for at in sorted(areas, key=lambda at: -areas[at])
    }
    for at, (part, kind) in enumerate(zip(parts, kinds, strict=True)):
        name = safe_name(part.name) or f"attachment {len(found.attachments) + 1}"
        if kind == "zip" and not nested:
            _attach_zip(found, name, part, sections, problems, limits, budget)
        elif kind == "attached mail":
            _attach_mail(found, name, part, sections, problems, limits, budget, nested=nested)
        else:
            content = early.get(at) or _other(part, name, kind, limits, budget)
            _enter(found, name, part.size, content)
            problems.append(content.problem if content.problem != UNKNOWN_TYPE else None)
            if content.text.strip():
                sections.append(f"{ATTACHMENT} {name} ---\n{content.text}")


def _kind(part: Part) -> str:
    """As `kind_of`; `attached mail` is one that came as a file."""
    if part.text is not None:
        return "mail"
    if part.data is None or part.problem:
        return "unknown"
    kind = kind_of(part.data, safe_name(part.name))
    return "attached mail" if kind == "mail" else kind


def _other(part: Part, name: str, kind: str, limits: ReadingLimits, budget: _Budget) -> _Content:
    """A forwarded mail, a text, or what cannot be read; a signature or a small picture says nothing that is missed."""
    if part.text is not None:
        return _Content("mail", part.text)
    if part.data is None or part.problem:
        return _Content("unknown", problem=part.problem)
    if kind == "zip":
        return _Content("unknown", problem=UNKNOWN_TYPE, notes=("a zip within a zip is not unpacked",),
                        unread=("a zip within a zip",))  # fmt: skip
    content = _content(part.data, kind, limits, budget)
    declared = part.kind.lower()
    logo = part.size < _SMALL and (declared.startswith("image/") or name.lower().endswith((".gif", ".webp", ".bmp")))
    if content.problem != UNKNOWN_TYPE or logo or declared in _SIGNATURES or name.lower().endswith(".p7s"):
        return content
    return replace(content, unread=("a kind of file that is not read",))


def _attach_mail(found: ParsedDocument, name: str, part: Part, sections: list[str], problems: list[str | None],
                 limits: ReadingLimits, budget: _Budget, *, nested: bool) -> None:  # fmt: skip
    """A mail that was attached as a file, with its own attachments; those of a mail within it are not read."""
    inner = mail.read(part.data or b"", limits)
    text = f"From: {inner.sender_name} <{inner.sender}>\nSubject: {inner.subject}\n\n{inner.text}"
    left = (f"{len(inner.parts)} attachments of an attached mail not read",) if nested and inner.parts else ()
    content = _Content("mail", text, problem=inner.problem, notes=inner.notes + left, unread=inner.unread + left)
    _enter(found, name, part.size, content)
    problems.append(content.problem)
    sections.append(f"{ATTACHMENT} {name} ---\n{content.text}")
    if not nested:
        _attach_all(found, inner.parts, sections, problems, limits, budget, nested=True)


def _attach_zip(found: ParsedDocument, name: str, part: Part, sections: list[str], problems: list[str | None],
                limits: ReadingLimits, budget: _Budget) -> None:  # fmt: skip
    unpacked = archives.unpack(part.data or b"", limits)
    unknown = unpacked.problem == UNKNOWN_TYPE
    unread = ("a kind of file that is not read",) if unknown else ()
    whole = found.media == "unknown"  # the zip is the document, not an attachment of one
    _enter(found, name, part.size, _Content("unknown", problem=unpacked.problem, notes=unpacked.notes, unread=unread))
    problems.append(unpacked.problem if whole or not unknown else None)
    members = [Part(inner, "", data, len(data)) for inner, data in unpacked.members]
    _attach_all(found, members, sections, problems, limits, budget, nested=True)
    if whole and unpacked.members and all(_kind(one) in ("zip", "unknown") for one in members):
        problems.append(UNKNOWN_TYPE)


def _enter(found: ParsedDocument, name: str, size: int, content: _Content) -> None:
    found.attachments.append(
        {"name": name, "media": content.media, "size": size, "pages": content.pages, "problem": content.problem}
    )
    found.pages += content.pages
    found.notes += [f"attachment {len(found.attachments)}: {note}" for note in content.notes]
    found.unread += [f"attachment {len(found.attachments)}: {what}" for what in content.unread]
    found.ocr_pages += content.ocr_pages


def _content(data: bytes, kind: str, limits: ReadingLimits, budget: _Budget) -> _Content:
    given = {"ocr_pages": budget.pages, "ocr_tries": budget.tries}
    if kind == "pdf":
        one = pdf.text_of(data, limits, **given)
        budget.pages, budget.tries = budget.pages - one.ocr_pages, budget.tries - one.ocr_tries
        media = "scan" if one.scanned else "pdf"
        return _Content(media, one.text, one.pages, one.ocr_pages, one.problem, one.notes, one.unread)
    if kind == "picture":
        picture = ocr.text_of(data, limits, **given)
        budget.pages, budget.tries = budget.pages - picture.read, budget.tries - picture.tried
        return _Content(
            "scan", picture.text, picture.pages, picture.read, picture.problem, picture.notes, picture.unread
        )
    if kind in ("text", "html"):
        text, note = decode(data)
        notes = [note] if note else []
        if kind == "html":
            text, note = html_text.text_of(clean(text))
            notes += [note] if note else []
        if "\x00" in text:
            notes.append("NUL characters removed")
        return _Content(
            "text",
            clean(text).strip(),
            notes=tuple(notes),
            unread=tuple(each for each in notes if each == html_text.CUT),
        )
    return _Content("unknown", problem=UNKNOWN_TYPE)
