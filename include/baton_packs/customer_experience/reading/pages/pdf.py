"""Text of a PDF in reading order; pages without a text layer by OCR."""

from __future__ import annotations

import ctypes
import math
import re
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from baton_packs.customer_experience.reading.pages import ocr
from baton_packs.customer_experience.reading.pages.layout import Piece, lines_of
from baton_packs.customer_experience.reading.text.charsets import clean
from baton_packs.customer_experience.reading.text.content import Content
from baton_packs.customer_experience.reading.text.limits import BOMB, DAMAGED, ENCRYPTED, LIMITS, ReadingLimits

_FEW = 20  # letters; a page with fewer and something drawn on it is looked at by OCR
_TAIL = 4096  # bytes at the end in which a whole file has its end mark
_STREAM = re.compile(rb"stream\r?\n(?=[\x08-\x78][\x01\x5e\x9c\xda])")  # followed by the header of zlib
_BLOCK = 1 << 16
_OCR_DPI = 240
_OCR_PIXELS = 8_000_000  # of a rendered page
_RUN_BREAK = 0.8  # of the height: a gap that ends a run of characters


def text_of(
    data: bytes, limits: ReadingLimits = LIMITS, *, ocr_pages: int | None = None, ocr_tries: int | None = None,
    ocr_until: float = math.inf,
) -> Content:  # fmt: skip
    """Read a PDF. Never raises for what is in the file.

    Bounded in pages, characters and pixels; who needs a bound of time and memory reads it in a process
    (`reading.process`).

    Args:
        ocr_pages: on how many pages OCR may find words; `limits.ocr_pages` by default, 0 for none.
        ocr_tries: at how many it may look; `limits.ocr_tries` by default.
        ocr_until: on the clock `time.process_time`; OCR begins no line after it.
    """
    import pypdfium2

    inflated = _inflated(data, limits.inflated_bytes)
    if inflated > limits.inflated_bytes:
        return Content("pdf", problem=BOMB, notes=(f"PDF unpacks to more than {limits.inflated_bytes:,} bytes",))
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return Content("pdf", problem=_why(error))
    try:
        pages = len(document)
        if not pages:
            return Content("pdf", problem=DAMAGED, notes=("PDF without pages",))
        allowed = limits.ocr_pages if ocr_pages is None else ocr_pages
        tries = limits.ocr_tries if ocr_tries is None else ocr_tries
        return _read(document, pages, data, _Reading(limits, allowed, tries, ocr_until))
    finally:
        document.close()


def _inflated(data: bytes, maximum: int) -> int:
    """Bytes that the deflated streams of a file unpack to, counted up to the maximum; nothing is kept."""
    total = 0
    for found in _STREAM.finditer(data):
        inflater, at = zlib.decompressobj(), found.end()
        block = data[at : at + _BLOCK]
        try:
            while block and not inflater.eof and total <= maximum:
                total += len(inflater.decompress(block, _BLOCK * 16))
                block = inflater.unconsumed_tail
                if not block:
                    at += _BLOCK
                    block = data[at : at + _BLOCK]
        except zlib.error:  # not deflated, or damaged: PDFium will say
            continue
        if total > maximum:
            break
    return total


def _why(error: Any) -> str:
    import pypdfium2.raw as pdfium

    locked = (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
    return ENCRYPTED if getattr(error, "err_code", None) in locked else DAMAGED


def _read(document: Any, pages: int, data: bytes, reading: _Reading) -> Content:
    limits, unread = reading.limits, []
    for number in range(min(pages, limits.pages)):
        reading.page(document, number)
        if reading.problem == BOMB:
            break
        if sum(map(len, reading.texts)) > 2 * limits.characters:
            unread.append(f"only pages 1 to {number + 1} of {pages} read, the text is longer than the limit")
            break
    notes, problem = reading.notes, reading.problem
    if pages > limits.pages:
        unread.append(f"only the first {limits.pages} of {pages} pages read")
    if reading.unreadable:
        notes.append(f"{reading.unreadable} pages cannot be read")
        problem = problem or DAMAGED
    if b"%%EOF" not in data[-_TAIL:]:
        notes.append("the end of the PDF is missing")
        problem = problem or DAMAGED
    scanned = len(reading.confidences)
    if scanned:
        notes.append(f"{scanned} pages read by OCR, mean confidence {sum(reading.confidences) / scanned:.2f}")
    if reading.without:
        unread.append(f"{reading.without} pages without text layer not read")
    if reading.lines:
        unread.append(ocr.LINES.format(reading.lines))
    return Content("scan" if scanned else "pdf", "\n\n".join(reading.texts), pages, reading.written, scanned, problem,
                   (*notes, *unread), tuple(unread))  # fmt: skip


@dataclass
class _Reading:
    """What was found on the pages so far."""

    limits: ReadingLimits
    ocr_pages: int
    ocr_tries: int
    ocr_until: float
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)  # one of each page that OCR looked at
    written: int = 0  # of these, those with words
    problem: str | None = None
    unreadable: int = 0
    without: int = 0  # pages that only OCR could read, over the limit
    lines: int = 0  # of the pages that OCR read, those without time left

    def page(self, document: Any, number: int) -> None:
        import pypdfium2

        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            self.unreadable += 1
            return
        try:
            text, characters = _page_text(page, self.limits.page_characters)
            if characters > self.limits.page_characters:
                self.problem = BOMB
                self.notes.append(f"page {number + 1} has {characters:,} characters")
            elif sum(map(str.isalnum, text)) < _FEW and _is_drawn(page):
                text = self._recognised(page, text)
            self.texts.append(text)
        except (pypdfium2.PdfiumError, ValueError):
            self.unreadable += 1
        finally:
            page.close()

    def _recognised(self, page: Any, text: str) -> str:
        late = time.process_time() >= self.ocr_until
        if late or self.written >= self.ocr_pages or len(self.confidences) >= self.ocr_tries:
            self.without += 1
            return text
        text, confidence, missed = _recognised(page, self.ocr_until)
        self.lines += missed
        self.confidences.append(confidence)
        self.written += bool(text)
        return text


def _page_text(page: Any, maximum: int) -> tuple[str, int]:
    """Text of a page, and how many characters it has; text only up to the maximum."""
    textpage = page.get_textpage()
    try:
        characters = textpage.count_chars()
        if not 0 < characters <= maximum:
            return "", characters
        groups = _pieces(textpage.raw, characters)
    finally:
        textpage.close()
    # text in another direction (a note along the margin) comes after the main text, laid out by itself
    texts = [lines_of(group) for group in sorted(groups, key=len, reverse=True)]
    return clean("\n\n".join(text for text in texts if text)), characters


def _pieces(textpage: Any, characters: int) -> list[list[Piece]]:
    """Runs of characters without a space, by the direction of writing, in coordinates of that direction."""
    import pypdfium2.raw as pdfium

    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    groups: dict[int, list[Piece]] = defaultdict(list)
    run: _Run | None = None
    spaced = False
    for index in range(characters):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        if code in (0, 9, 10, 13, 32, 0xA0) or not pdfium.FPDFText_GetLooseCharBox(textpage, index, box):
            spaced = True
            continue
        pdfium.FPDFText_GetCharOrigin(textpage, index, x, y)
        quarter = round(pdfium.FPDFText_GetCharAngle(textpage, index) / (math.pi / 2)) % 4
        left, right, base, height = _turned(quarter, box, x.value, y.value)
        text = "-" if code in (2, 0xFFFE, 0xFFFF) else chr(code)  # how PDFium marks the hyphen at a line's end
        if run is None or spaced or not run.goes_on(quarter, left, base, height):
            if run is not None:
                groups[run.quarter].append(run.piece())
            run = _Run(quarter, left, right, base, height, [text], spaced)
        else:
            run.texts.append(text)
            run.right = max(run.right, right)
        spaced = False
    if run is not None:
        groups[run.quarter].append(run.piece())
    return list(groups.values())


def _turned(quarter: int, box: Any, x: float, y: float) -> tuple[float, float, float, float]:
    """Left, right, baseline (growing downwards) and height of a character, as if it were written upright."""
    if quarter == 0:
        return box.left, box.right, -y, box.top - box.bottom
    if quarter == 2:
        return -box.right, -box.left, y, box.top - box.bottom
    if quarter == 1:
        return box.bottom, box.top, x, box.right - box.left
    return -box.top, -box.bottom, -x, box.right - box.left


@dataclass
class _Run:
    quarter: int
    left: float
    right: float
    base: float
    height: float
    texts: list[str]
    spaced: bool

    def goes_on(self, quarter: int, left: float, base: float, height: float) -> bool:
        near = max(height, self.height, 0.1)
        level = quarter == self.quarter and abs(base - self.base) < 0.3 * near
        return level and -near < left - self.right < _RUN_BREAK * near

    def piece(self) -> Piece:
        return Piece(self.left, self.right, self.base, max(self.height, 0.1), "".join(self.texts), self.spaced)


def _is_drawn(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    return bool(pdfium.FPDFPage_CountObjects(page.raw) > 0)


def _recognised(page: Any, until: float) -> tuple[str, float, int]:
    width, height = page.get_size()
    scale = min(_OCR_DPI / 72, math.sqrt(_OCR_PIXELS / max(width * height, 1.0)))
    bitmap = page.render(scale=scale, grayscale=False)
    try:
        return ocr.text_of_pixels(bitmap.to_numpy(), until)
    finally:
        bitmap.close()
