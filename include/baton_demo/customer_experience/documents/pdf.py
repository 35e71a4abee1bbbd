"""PDFs of invented companies, written for real: six layouts, scans, and the broken ones.

The same sheet gives the same bytes: creation date fixed, core fonts, nothing drawn at random but a scan's noise, which
is seeded.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fpdf import FPDF

_GREY = (90, 90, 90)


@dataclass
class Sheet:
    """What stands on one document, all of it text as printed.

    Attributes:
        title: such as INVOICE; issuer, recipient: name and address, one line each; facts: label and value.
        paragraphs: above the table; head: of the table's four columns (none: no table).
        items: description, quantity, price, amount; sums: label and value, the last one is the total.
        payment: label and value below; footer: last lines; lead: heading of the recipient.
        created: of the PDF's metadata.
    """

    title: str
    issuer: list[str]
    recipient: list[str]
    created: datetime
    lead: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)
    head: tuple[str, ...] = ()
    items: list[tuple[str, ...]] = field(default_factory=list)
    sums: list[tuple[str, str]] = field(default_factory=list)
    payment: list[tuple[str, str]] = field(default_factory=list)
    footer: list[str] = field(default_factory=list)


def write(sheet: Sheet, layout: str, *, password: str = "") -> bytes:
    """The PDF of a sheet in a layout of `LAYOUTS`; with a password nobody opens it without."""
    pdf = _page(sheet.created)
    if password:
        pdf.set_encryption(owner_password=password + "-owner", user_password=password)
    LAYOUTS[layout](pdf, sheet)
    return bytes(pdf.output())


def scan(content: bytes, created: datetime, seed: int) -> bytes:
    """The first page of a PDF as a scanner delivers it: a grey picture of 150 dpi, a little noisy and askew, no text."""
    import numpy as np
    import pypdfium2
    from PIL import Image

    document = pypdfium2.PdfDocument(content)
    picture = document[0].render(scale=150 / 72, grayscale=True).to_numpy()
    document.close()
    rng = np.random.default_rng(seed)
    grey = Image.fromarray(np.ascontiguousarray(picture.reshape(picture.shape[:2])))
    grey = grey.rotate(float(rng.uniform(-0.35, 0.35)), resample=Image.Resampling.BILINEAR, fillcolor=255)
    noisy = np.asarray(grey, dtype=np.float32) * 0.94 + rng.normal(0, 5, picture.shape[:2]).astype(np.float32) + 8
    out = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=60)
    pdf = _page(created)
    pdf.image(out, x=0, y=0, w=pdf.w, h=pdf.h)
    return bytes(pdf.output())


def truncated(content: bytes) -> bytes:
    """A PDF whose transmission broke off within the first page's data: no reader opens it."""
    return content[: min(len(content) // 3, 400)]


def _page(created: datetime) -> FPDF:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.core_fonts_encoding = "cp1252"  # what readers assume of core fonts; it has the euro sign
    pdf.set_creation_date(created)
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.add_page()
    pdf.set_font("helvetica", size=10)
    return pdf


def _line(pdf: FPDF, text: str, *, size: float = 10, style: str = "", x: float = 0, width: float = 0,
          align: str = "L", height: float = 5) -> None:  # fmt: skip
    """One line at x (0: the margin), then down."""
    pdf.set_font(pdf.font_family, style=style, size=size)
    pdf.set_x(x or pdf.l_margin)
    pdf.cell(width or 90, height, text, align=align, new_x="LMARGIN", new_y="NEXT")


def _text(pdf: FPDF, paragraphs: list[str], size: float = 10) -> None:
    for paragraph in paragraphs:
        pdf.set_font(pdf.font_family, style="", size=size)
        pdf.multi_cell(0, 5, paragraph, align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(2)


def _row(
    pdf: FPDF, cells: tuple[str, ...], widths: tuple[float, ...], *, style: str = "", border: Literal[0, 1] | str = 0
) -> None:
    pdf.set_font(pdf.font_family, style=style, size=9)
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        pdf.cell(width, 6, cell, border=border, align="L" if number == 0 else "R")
    pdf.ln(6)


def _table(
    pdf: FPDF, sheet: Sheet, *, border: Literal[0, 1] | str = "B", widths: tuple[float, ...] = (95, 25, 35, 35)
) -> None:
    if sheet.head:
        _row(pdf, sheet.head, widths, style="B", border=border)
    for item in sheet.items:
        _row(pdf, item, widths, border=0 if border == "B" else border)
    pdf.ln(2)
    for number, (label, value) in enumerate(sheet.sums):
        last = number == len(sheet.sums) - 1
        _row(pdf, ("", label, value), (sum(widths) - 90, 50, 40), style="B" if last else "")
    pdf.ln(4)


def _facts(pdf: FPDF, facts: list[tuple[str, str]], x: float, label: float = 38, joint: str = ":") -> None:
    for name, value in facts:
        pdf.set_x(x)
        pdf.set_font(pdf.font_family, style="", size=9)
        pdf.cell(label, 5, f"{name}{joint}")
        pdf.cell(0, 5, value, new_x="LMARGIN", new_y="NEXT")


def _end(pdf: FPDF, sheet: Sheet) -> None:
    for name, value in sheet.payment:
        _line(pdf, f"{name}: {value}", size=9)
    pdf.ln(2)
    for text in sheet.footer:
        _line(pdf, text, size=8)


def _classic(pdf: FPDF, sheet: Sheet) -> None:
    """Issuer above, recipient left, facts right."""
    _line(pdf, sheet.issuer[0], size=14, style="B")
    for text in sheet.issuer[1:]:
        _line(pdf, text, size=9)
    pdf.ln(8)
    top = pdf.get_y()
    if sheet.lead:
        _line(pdf, sheet.lead, size=8)
    for text in sheet.recipient:
        _line(pdf, text)
    low = pdf.get_y()
    pdf.set_y(top)
    _facts(pdf, sheet.facts, 120)
    pdf.set_y(max(low, pdf.get_y()) + 8)
    _line(pdf, sheet.title, size=16, style="B", height=9)
    pdf.ln(2)
    _text(pdf, sheet.paragraphs)
    _table(pdf, sheet)
    _end(pdf, sheet)


def _banded(pdf: FPDF, sheet: Sheet) -> None:
    """A coloured band with the title; facts as a table of two rows."""
    pdf.set_fill_color(28, 62, 94)
    pdf.rect(0, 0, pdf.w, 24, style="F")
    pdf.set_text_color(255, 255, 255)
    pdf.set_y(8)
    _line(pdf, sheet.title, size=18, style="B")
    pdf.set_y(8)
    _line(pdf, sheet.issuer[0], size=12, x=110, align="R")
    pdf.set_text_color(0, 0, 0)
    pdf.set_y(30)
    _line(pdf, " - ".join(sheet.issuer), size=7)
    pdf.ln(3)
    for text in sheet.recipient:
        _line(pdf, text)
    pdf.ln(5)
    widths = tuple(190 / max(len(sheet.facts), 1) for _ in sheet.facts)
    _row(pdf, tuple(name for name, _ in sheet.facts), widths, style="B", border="TB")
    _row(pdf, tuple(value for _, value in sheet.facts), widths)
    pdf.ln(6)
    _text(pdf, sheet.paragraphs)
    _table(pdf, sheet, border=1)
    _end(pdf, sheet)


def _compact(pdf: FPDF, sheet: Sheet) -> None:
    """A typewriter's list: everything from the left, one fact per line."""
    pdf.set_font("courier")
    _line(pdf, f"*** {sheet.title} ***", size=12, style="B")
    pdf.ln(2)
    for text in sheet.issuer:
        _line(pdf, text, size=9)
    pdf.ln(3)
    for name, value in sheet.facts:
        _line(pdf, f"{name:<22} {value}", size=9)
    pdf.ln(3)
    for number, text in enumerate(sheet.recipient):
        _line(pdf, f"{sheet.lead + ':' if number == 0 else '':<12} {text}", size=9)
    pdf.ln(3)
    _text(pdf, sheet.paragraphs, size=9)
    _table(pdf, sheet, border=0, widths=(90, 20, 38, 38))
    _end(pdf, sheet)


def _letter(pdf: FPDF, sheet: Sheet) -> None:
    """A business letter: return line, window address, facts in a block on the right, title with the number."""
    _line(pdf, sheet.issuer[0], size=15, style="I", x=100, width=95, align="R", height=8)
    for text in sheet.issuer[3:]:
        _line(pdf, text, size=7, x=100, width=95, align="R", height=4)
    pdf.ln(10)
    _line(pdf, ", ".join(sheet.issuer[:3]), size=7, style="U")
    for text in sheet.recipient:
        _line(pdf, text, size=11)
    pdf.ln(6)
    _facts(pdf, sheet.facts[1:], 125, label=34, joint="")
    pdf.ln(8)
    number = " ".join(sheet.facts[0]) if sheet.facts else ""
    _line(pdf, sheet.title, size=13, style="B", height=7)
    _line(pdf, number, size=11, style="B", height=7)
    pdf.ln(3)
    _text(pdf, sheet.paragraphs)
    _table(pdf, sheet, border="T")
    pdf.set_draw_color(*_GREY)
    pdf.line(10, pdf.get_y(), 200, pdf.get_y())
    _end(pdf, sheet)


def _columns(pdf: FPDF, sheet: Sheet) -> None:
    """Times; a narrow column with the facts left, issuer and recipient right; payment in a box."""
    pdf.set_font("times")
    _line(pdf, sheet.title, size=20, align="L", height=11)
    pdf.ln(3)
    top = pdf.get_y()
    for name, value in sheet.facts:
        _line(pdf, name, size=8, style="B", height=4)
        _line(pdf, value, size=10)
    low = pdf.get_y()
    pdf.set_y(top)
    for text in sheet.issuer:
        _line(pdf, text, size=10, x=75)
    pdf.set_y(top)
    for text in sheet.recipient:
        _line(pdf, text, size=10, x=140, width=60)
    pdf.set_y(max(low, pdf.get_y()) + 6)
    _text(pdf, sheet.paragraphs, size=11)
    _table(pdf, sheet, border="B")
    pdf.set_fill_color(235, 235, 230)
    for name, value in sheet.payment:
        pdf.cell(120, 8, f"{name}  {value}", fill=True, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(2)
    for text in sheet.footer:
        _line(pdf, text, size=8)


def _statement(pdf: FPDF, sheet: Sheet) -> None:
    """What came later: sums first, facts in one running line, the table without prices' heads, issuer at the bottom."""
    _line(pdf, sheet.title, size=11, style="B", x=10, height=8)
    _text(pdf, ["  |  ".join(f"{name} {value}" for name, value in sheet.facts)], size=8)
    for name, value in sheet.sums[::-1]:
        _line(pdf, f"{name}  {value}", size=11)
    pdf.ln(3)
    _text(pdf, sheet.paragraphs, size=9)
    for item in sheet.items:
        _line(pdf, "  /  ".join(item), size=9, width=190)
    pdf.ln(3)
    for name, value in sheet.payment:
        _line(pdf, f"{name} {value}", size=9)
    pdf.ln(6)
    _line(pdf, f"{sheet.lead} {', '.join(sheet.recipient)}", size=8, width=190)
    _line(pdf, ", ".join(sheet.issuer), size=8, width=190)
    for text in sheet.footer:
        _line(pdf, text, size=7)


LAYOUTS: dict[str, Callable[[FPDF, Sheet], None]] = {
    "classic": _classic,
    "banded": _banded,
    "compact": _compact,
    "letter": _letter,
    "columns": _columns,
    "statement": _statement,
}
