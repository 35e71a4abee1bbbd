"""Header lines of a mail, as people read them."""

import re
from collections.abc import Callable
from email import errors
from email.header import decode_header
from email.utils import getaddresses

from baton_packs.customer_experience.reading.text.charsets import clean, decode

_LONGEST_HEADER = 20_000  # characters of one header line that are interpreted
_LONGEST_NAME = 120
_NOBODY = re.compile(
    r"(?:^|[._+-])(?:no[._-]?reply|do[._-]?not[._-]?(?:reply|respond)|mailer[._-]?daemon|postmaster|bounces?)\d*[+@._-]",
    re.IGNORECASE,
)
_BY_MACHINES = (
    "list-id", "list-unsubscribe", "x-auto-response-suppress", "x-autoreply", "x-autorespond", "x-autoresponse",
)  # fmt: skip
_PRECEDENCE = ("bulk", "junk", "list", "auto_reply", "auto-reply")
_ADDRESS = re.compile(r"[^\s<>\"(),:;@\[\]]{1,128}@[^\s<>\"(),:;@]{1,255}")


def is_automatic(first: Callable[[str], str], sender: str) -> bool:
    """Whether a machine wrote a mail, by its headers (RFC 3834), or by an address that nobody reads.

    Older autoresponders say so in headers of their own, and bounces are multipart/report (RFC 6522).

    Args:
        first: name of a header to its first value, "" without one.
    """
    submitted, precedence = first("auto-submitted").strip().lower(), first("precedence").strip().lower()
    return (
        (submitted != "" and not submitted.startswith("no"))
        or precedence in _PRECEDENCE
        or any(first(name).strip() for name in _BY_MACHINES)
        or first("content-type").strip().lower().startswith("multipart/report")
        or first("return-path").strip() == "<>"
        or bool(_NOBODY.search(sender))
    )


def count_addresses(value: str) -> int:
    """Addresses in a header line."""
    if len(value) > _LONGEST_HEADER:  # cheap: the exact count needs a parse, and it is over any limit
        return value.count(",") + 1
    try:
        exact = sum("@" in address for _, address in getaddresses([value]))
    except RecursionError:  # comments in comments in comments
        exact = 0
    return exact or len(_ADDRESS.findall(value))


def first_address(value: str, notes: list[str]) -> tuple[str, str]:
    """Display name and address of the first mailbox in a header."""
    text = header_text(value, notes)
    found = re.search(rf"<\s*({_ADDRESS.pattern})\s*>", text) or re.search(rf"({_ADDRESS.pattern})", text)
    if found is None:
        return text.strip("<>\"' "), ""
    name = text[: found.start()].strip().strip("\"'").strip() or " ".join(re.findall(r"\(([^()]{1,200})\)", text))
    return name.replace('\\"', '"'), found[1].lower().strip(".")


def header_text(value: str, notes: list[str]) -> str:
    """A header line as people read it: encoded words decoded, on one line."""
    if len(value) > _LONGEST_HEADER:
        notes.append("a header line was cut")
        value = value[:_LONGEST_HEADER]
    if not value.isascii():  # bytes beyond ASCII, kept by the parser as surrogates
        value, note = decode(value.encode("utf-8", "surrogateescape"))
        notes.extend([f"header: {note}"] if note else [])
    try:
        chunks = decode_header(value) if "=?" in value else [(value, None)]
    except (errors.HeaderParseError, ValueError):
        notes.append("header: encoded words cannot be decoded")
        chunks = [(value, None)]
    texts = []
    for chunk, charset in chunks:
        text, note = (chunk, None) if isinstance(chunk, str) else decode(chunk, charset or "ascii")
        notes.extend([f"header: {note}"] if note else [])
        texts.append(text)
    return " ".join(clean("".join(texts)).split())


def safe_name(name: str) -> str:
    """A name to show and to print on one line: no folders, at most 120 characters."""
    return " ".join(clean(name).replace("\\", "/").rsplit("/", 1)[-1].split())[-_LONGEST_NAME:]
