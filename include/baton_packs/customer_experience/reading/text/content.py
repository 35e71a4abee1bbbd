"""What was read of one file, whatever kind it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """What is written in a file.

    Attributes:
        media: mail | pdf | scan | text | unknown; a PDF is a scan if OCR looked at a page at least.
        text: of pages, lines with columns two or more spaces apart; an empty line between pages.
        pages: of a PDF, or pictures of a TIFF, read or not.
        ocr_pages: pages on which OCR found words; ocr_tries: those it looked at.
        problem: None or one of `limits.PROBLEMS`.
        notes: sentences without content; unread: those about what was not read.
    """

    media: str = "unknown"
    text: str = ""
    pages: int = 0
    ocr_pages: int = 0
    ocr_tries: int = 0
    problem: str | None = None
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
