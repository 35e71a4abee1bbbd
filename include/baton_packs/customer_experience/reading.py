"""One delivered document of any kind, to its text and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from baton_packs.customer_experience import archives, html_text, languages, mail, ocr, pdf
from baton_packs.customer_experience.charsets import clean, decode
from baton_packs.customer_experience.limits import (
    EMPTY,
    LIMITS,
    TOO_LARGE,
    UNKNOWN_LANGUAGE,
    UNKNOWN_TYPE,
    Limits,
    worst,
)
from baton_packs.customer_experience.mail_headers import safe_name
from baton_packs.customer_experience.mail_parts import Part

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_SNIFFED = 4096
_NOTES = 30  # notes kept


@dataclass
class Document:
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


@dataclass(frozen=True)
class _Content:
    media: str
    text: str = ""
    pages: int = 0
    ocr_pages: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()


def kind_of(data: bytes, name: str = "", *, mailbox: bool = False) -> str:
    """mail | pdf | picture | zip | html | text | unknown, by the first bytes; the name decides only what bytes leave open."""
    head = data[:_SNIFFED]
    if mailbox:
        return "mail"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(_PICTURES):
        return "picture"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if mail.looks_like_mail(data) or name.lower().endswith(".eml"):
        return "mail"
    text, _ = decode(head)
    odd = sum(one < " " and one not in "\t\n\r\f\x00" for one in text) + 5 * text.count("�")
    if odd > len(text) // 50 or text.count("\x00") > len(text) // 20:
        return "unknown"
    if name.lower().endswith((".htm", ".html")) or text.lstrip()[:200].lower().startswith(("<!doctype html", "<html")):
        return "html"
    return "text"


def read_document(data: bytes, name: str = "", limits: Limits = LIMITS, *, size: int | None = None,
                  mailbox: bool = False) -> Document:  # fmt: skip
    """Read a document. Never raises for what is in it; not bounded in time (see `reading_process`).

    Args:
        size: bytes of the whole document when `data` is only its beginning.
        mailbox: it came as a mail, whatever it looks like.
    """
    size, kind = len(data) if size is None else size, kind_of(data, name, mailbox=mailbox)
    found = Document(media={"picture": "scan", "html": "text", "zip": "unknown"}.get(kind, kind))
    if size > limits.document_bytes:
        _of_mail(found, mail.read(data[: limits.header_bytes], limits)) if kind == "mail" else None
        found.text, found.attachments = "", []
        found.notes.append(f"document of {size:,} bytes, not read")
        found.problem = TOO_LARGE
        return found
    sections: list[str] = []
    problems: list[str | None] = []
    if kind == "mail":
        read = mail.read(data, limits)
        _of_mail(found, read)
        sections.append(read.text)
        problems.append(read.problem)
        for part in read.parts:
            _attach(found, part, sections, problems, limits)
    elif kind == "zip":
        _attach(found, Part(name, "", data, len(data)), sections, problems, limits, counts=True)
    else:
        content = _content(data, kind, limits, limits.ocr_pages)
        found.media, found.pages, found.ocr_pages = content.media, content.pages, content.ocr_pages
        found.notes += content.notes
        sections.append(content.text)
        problems.append(content.problem)
    return _finished(found, sections, problems, limits)


def _of_mail(found: Document, read: mail.Mail) -> None:
    found.sender, found.sender_name, found.reply_to = read.sender, read.sender_name, read.reply_to
    found.automatic = read.automatic
    found.recipients, found.subject = read.recipients, read.subject
    found.notes += read.notes


def _finished(found: Document, sections: list[str], problems: list[str | None], limits: Limits) -> Document:
    text = "\n\n".join(one for one in sections if one.strip()).strip("\n")
    if len(text) > limits.characters:
        found.notes.append(f"text cut after {limits.characters:,} of {len(text):,} characters")
        text = text[: limits.characters]
    found.text = text
    said = [one for one in sections if not one.startswith("--- attachment: ") or "\n" in one]
    if not any(one.strip() for one in said):
        problems.append(EMPTY)
    language = languages.detect(f"{found.subject}\n{text}")
    found.language = language.code
    problems.append(UNKNOWN_LANGUAGE if language.unknown else None)
    found.problem = worst(problems)
    found.notes = list(dict.fromkeys(found.notes))
    if len(found.notes) > _NOTES:
        found.notes[_NOTES:] = [f"{len(found.notes) - _NOTES} more notes"]
    return found


def _attach(found: Document, part: Part, sections: list[str], problems: list[str | None], limits: Limits, *,
            counts: bool = False) -> None:  # fmt: skip
    """Add an attachment's text and entry; one of unknown type is only listed, unless it is the document."""
    name = safe_name(part.name) or f"attachment {len(found.attachments) + 1}"
    kind = "mail" if part.text is not None else kind_of(part.data or b"", name) if part.data is not None else "unknown"
    if kind == "zip":
        _attach_zip(found, name, part, sections, problems, limits, counts=counts)
        return
    if part.text is not None:
        content = _Content("mail", part.text)
    elif part.data is None or part.problem:
        content = _Content("unknown", problem=part.problem)
    elif kind == "mail":  # a mail that was attached as a file
        inner = mail.read(part.data, limits)
        head = f"From: {inner.sender_name} <{inner.sender}>\nSubject: {inner.subject}\n\n"
        content = _Content("mail", head + inner.text, problem=inner.problem, notes=inner.notes)
        if inner.parts:
            content = _Content("mail", content.text, 0, 0, content.problem,
                               (*inner.notes, f"{len(inner.parts)} attachments of an attached mail not read"))  # fmt: skip
    else:
        content = _content(part.data, kind, limits, limits.ocr_pages - found.ocr_pages)
    _enter(found, name, part.size, content)
    if content.problem != UNKNOWN_TYPE or counts:
        problems.append(content.problem)
    if content.text.strip():
        sections.append(f"--- attachment: {name} ---\n{content.text}")


def _attach_zip(found: Document, name: str, part: Part, sections: list[str], problems: list[str | None],
                limits: Limits, *, counts: bool) -> None:  # fmt: skip
    unpacked = archives.unpack(part.data or b"", limits)
    _enter(found, name, part.size, _Content("unknown", problem=unpacked.problem, notes=unpacked.notes))
    if unpacked.problem != UNKNOWN_TYPE or counts:
        problems.append(unpacked.problem)
    for inner, data in unpacked.members:
        if kind_of(data, inner) == "zip":
            _enter(found, f"{name}/{safe_name(inner)}", len(data), _Content("unknown", problem=UNKNOWN_TYPE))
            found.notes.append("a zip within a zip is not unpacked")
        else:
            _attach(found, Part(inner, "", data, len(data)), sections, problems, limits)


def _enter(found: Document, name: str, size: int, content: _Content) -> None:
    found.attachments.append(
        {"name": name, "media": content.media, "size": size, "pages": content.pages, "problem": content.problem}
    )
    found.pages += content.pages
    found.notes += [f"attachment {len(found.attachments)}: {note}" for note in content.notes]
    found.ocr_pages += content.ocr_pages


def _content(data: bytes, kind: str, limits: Limits, ocr_pages: int) -> _Content:
    if kind == "pdf":
        one = pdf.text_of(data, limits, ocr_pages=ocr_pages)
        return _Content("scan" if one.scanned else "pdf", one.text, one.pages, one.ocr_pages, one.problem, one.notes)
    if kind == "picture":
        picture = ocr.text_of(data, limits, ocr_pages=ocr_pages)
        return _Content("scan", picture.text, picture.pages, picture.read, picture.problem, picture.notes)
    if kind in ("text", "html"):
        text, note = decode(data)
        notes = [note] if note else []
        if kind == "html":
            text, note = html_text.text_of(clean(text))
            notes += [note] if note else []
        if "\x00" in text:
            notes.append("NUL characters removed")
        return _Content("text", clean(text).strip(), notes=tuple(notes))
    return _Content("unknown", problem=UNKNOWN_TYPE)
