"""Limits of one document: what it may cost, and the names of what can be wrong with it."""

from collections.abc import Iterable
from dataclasses import dataclass

BOMB = "bomb"  # costs far more to read than its size says
TOO_LARGE = "too_large"
TOO_MANY_RECIPIENTS = "too_many_recipients"
ENCRYPTED = "encrypted"
DAMAGED = "damaged"
UNKNOWN_TYPE = "unknown_type"
EMPTY = "empty"
UNKNOWN_LANGUAGE = "unknown_language"
NOT_READ = "not_read"  # the batch had no time or no room left for it

# the first that applies names the document: danger before defect, defect before content
PROBLEMS = (BOMB, TOO_LARGE, TOO_MANY_RECIPIENTS, ENCRYPTED, DAMAGED, UNKNOWN_TYPE, EMPTY, UNKNOWN_LANGUAGE, NOT_READ)


def worst(problems: Iterable[str | None]) -> str | None:
    """The most serious of some problems; None when there is none."""
    found = set(problems)
    return next((one for one in PROBLEMS if one in found), None)


@dataclass(frozen=True)
class ReadingLimits:
    """Bounds of one document.

    Attributes:
        document_bytes: as delivered; base64 makes an attachment a third longer.
        attachment_bytes: one attachment, decoded.
        header_bytes: all header lines of a mail.
        recipients: To, Cc and Bcc together.
        depth: containers within each other (multiparts, forwarded mails).
        parts: of one mail, containers included.
        zip_members, zip_bytes: what is unpacked of a zip at most.
        inflated_bytes: what the compressed streams of a PDF may unpack to; a scanned colour page at 300 dpi needs 25 MB.
        pages: read of a PDF; the rest is named as unread.
        page_characters: a PDF page with more is a bomb.
        ocr_pages: pages and pictures read by OCR, those without a word not counted; the rest is named as unread.
        ocr_tries: pages and pictures that OCR looks at, with words or without.
        pixels: of a picture; more is a bomb.
        characters: of the document's text; the rest is cut and named as unread.
        ocr_seconds: processor time from which on OCR reads no further line of it; the rest is named as unread.
        seconds: processor time of the process that reads it; it may wait for a busy machine twice as long again.
        memory_bytes: of that process.
    """

    document_bytes: int = 40_000_000
    attachment_bytes: int = 25_000_000
    header_bytes: int = 256_000
    recipients: int = 100
    depth: int = 20
    parts: int = 500
    zip_members: int = 50
    zip_bytes: int = 50_000_000
    inflated_bytes: int = 300_000_000
    pages: int = 50
    page_characters: int = 200_000
    ocr_pages: int = 5
    ocr_tries: int = 20
    pixels: int = 50_000_000
    characters: int = 50_000
    ocr_seconds: float = 8.0
    seconds: float = 10.0
    memory_bytes: int = 2_000_000_000


LIMITS = ReadingLimits()


ATTACHMENT = "--- attachment:"
