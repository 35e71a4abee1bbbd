"""Parts of a mail: the body's text, and what is attached."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from email import errors
from email.message import Message

from baton_packs.customer_experience.reading.mail.headers import header_text, safe_name
from baton_packs.customer_experience.reading.text import html_text
from baton_packs.customer_experience.reading.text.charsets import clean, decode
from baton_packs.customer_experience.reading.text.limits import BOMB, TOO_LARGE, ReadingLimits, worst

_SHOWN = ("from", "to", "date", "subject")  # headers of a forwarded mail
_ENCODINGS = ("", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "uue", "x-uue")
_STUB_LONGEST, _STUB = 1_000, 0.2  # characters of a plain part that may be one, and its share of the HTML's text

# what the parser says about a mail that is only untidy
_UNTIDY = (errors.NonASCIILocalPartDefect, errors.InvalidMultipartContentTransferEncodingDefect)


@dataclass(frozen=True)
class Part:
    """An attachment, or a mail that was forwarded as one.

    Attributes:
        name: safe to show, without folders; "" if it has none.
        kind: content type as declared.
        data: decoded; None when it was not decoded (`problem`) or when `text` stands for it.
        size: bytes, decoded; an estimate when it was not decoded.
        text: of a forwarded mail, else None.
    """

    name: str
    kind: str
    data: bytes | None
    size: int
    text: str | None = None
    problem: str | None = None


@dataclass
class Parts:
    """Collects what the parts of a mail hold; stops at the limits."""

    limits: ReadingLimits
    texts: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    problem: str | None = None
    seen: int = 0

    def walk(self, message: Message, depth: int, *, bodies: bool = True) -> None:
        """Collect a part and what it holds; without `bodies` only what is attached: the text stands elsewhere."""
        self.seen += 1
        if depth > self.limits.depth or self.seen > self.limits.parts:
            if self.problem is None:
                deep = depth > self.limits.depth
                many = f"more than {self.limits.parts} parts"
                self.notes.append(f"parts nested more than {self.limits.depth} deep" if deep else many)
            self.problem = BOMB
            return
        for defect in message.defects:
            if not isinstance(defect, _UNTIDY):
                self.notes.append(f"mail structure: {type(defect).__name__}")
        kind = message.get_content_type()
        payload = message.get_payload()
        if kind == "message/rfc822" and isinstance(payload, list):
            self._forwarded([one for one in payload if isinstance(one, Message)], _name(message, self.notes), depth)
        elif isinstance(payload, list):
            inner = [one for one in payload if isinstance(one, Message)]
            for one, speaks in self._chosen(kind, inner, bodies=bodies):
                self.walk(one, depth + 1, bodies=speaks)
        else:
            self._leaf(message, kind, str(payload or ""), bodies=bodies)

    def _chosen(self, kind: str, inner: list[Message], *, bodies: bool) -> Iterator[tuple[Message, bool]]:
        """Each part, and whether its text counts: of alternatives that of the plain one, unless it is empty or a stub."""
        plain = [one for one in inner if one.get_content_type() == "text/plain" and str(one.get_payload()).strip()]
        if kind != "multipart/alternative" or not bodies or not plain:
            yield from ((one, bodies) for one in inner)
            return
        short = len("".join(map(self._said, plain)))
        stub = short < _STUB_LONGEST and short < _STUB * max((len(self._said(one)) for one in _html(inner)), default=0)
        if stub:
            self.notes.append("the plain text says next to nothing, its HTML is read")
        yield from ((one, (one in plain) != stub) for one in inner)

    def _said(self, message: Message) -> str:
        """The text of one part, read for comparison only."""
        scratch = Parts(self.limits)
        scratch._leaf(message, message.get_content_type(), str(message.get_payload() or ""))
        return "".join(scratch.texts).strip()

    def _forwarded(self, payload: list[Message], name: str, depth: int) -> None:
        inner = Parts(self.limits, seen=self.seen)
        for one in payload:
            inner.walk(one, depth + 1)
        headers = [header for one in payload for header in one.raw_items() if str(header[0]).lower() in _SHOWN]
        head = [f"{title}: {header_text(str(value), inner.notes)}" for title, value in headers]
        text = "\n".join(head[:8]) + "\n\n" + "\n\n".join(inner.texts)
        self.seen = inner.seen
        self.notes += inner.notes
        self.unread += inner.unread
        self.problem = worst((self.problem, inner.problem))
        self.parts.append(Part(name or "forwarded mail", "message/rfc822", None, len(text), text.strip()))
        self.parts += inner.parts

    def _leaf(self, message: Message, kind: str, payload: str, *, bodies: bool = True) -> None:
        name = _name(message, self.notes)
        attached = message.get_content_disposition() == "attachment" or bool(name)
        where = f"part {self.seen}"
        inline = not attached and message.get_content_maintype() == "text"
        if (not attached and not payload.strip()) or (inline and not bodies):
            return
        encoding = str(message.get("Content-Transfer-Encoding", "")).strip().lower()
        size = len(payload) * 3 // 4 if encoding == "base64" else len(payload)
        if size > self.limits.attachment_bytes:
            self.notes.append(f"{where}: about {size:,} bytes, not decoded")
            self.problem = worst((self.problem, TOO_LARGE))
            self.parts.append(Part(name, kind, None, size, problem=TOO_LARGE))
            return
        data = self._decoded(message, where, encoding)
        if attached or message.get_content_maintype() not in ("text", "multipart", "message"):
            self.parts.append(Part(name, kind, data, len(data)))
            return
        text, note = decode(data, _charset(message))
        self.notes.extend([f"{where}: {note}"] if note else [])
        if kind == "text/html":
            text, note = html_text.text_of(clean(text))
            self.unread.extend([f"{where}: {note}"] if note == html_text.CUT else [])
            self.notes.extend([f"{where}: {note}"] if note else [])
        elif "\x00" in text:
            self.notes.append(f"{where}: NUL characters removed")
        self.texts.append(clean(text))

    def _decoded(self, message: Message, where: str, encoding: str) -> bytes:
        before = len(message.defects)
        try:
            data = message.get_payload(decode=True)
        except Exception as error:  # binascii and uu raise several kinds
            self.notes.append(f"{where}: transfer encoding cannot be decoded ({type(error).__name__})")
            data = None
        if not isinstance(data, bytes):
            return str(message.get_payload()).encode("utf-8", "surrogateescape")
        if len(message.defects) > before:
            self.notes.append(f"{where}: {encoding if encoding.isalnum() else 'transfer encoding'} is damaged")
        if encoding not in _ENCODINGS:
            self.notes.append(f"{where}: unknown transfer encoding, taken as it is")
        return data


def _charset(message: Message) -> str | None:
    declared = message.get_param("charset")
    return declared if isinstance(declared, str) else None  # RFC 2231 makes it a tuple; no mailer does


def _name(message: Message, notes: list[str]) -> str:
    """File name of a part without folders and control characters."""
    try:
        name = header_text(str(message.get_filename() or ""), notes)
    except Exception:  # RFC 2231 names with broken character sets raise several kinds
        notes.append("a file name cannot be decoded")
        return "attachment"
    return safe_name(name)


def _html(inner: list[Message]) -> Iterator[Message]:
    """The HTML among alternatives, also where it comes with its pictures (`related`) or attachments (`mixed`)."""
    for one in inner:
        parts = one.get_payload()
        if one.get_content_type() == "text/html":
            yield one
        elif one.get_content_maintype() == "multipart" and isinstance(parts, list):
            yield from (part for part in parts if isinstance(part, Message) and part.get_content_type() == "text/html")
