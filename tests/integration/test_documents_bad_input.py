"""Real PDFs and pictures: read, scanned, locked, cut off, blown up; and a reader that hangs, crashes or eats memory."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import time
import zipfile
import zlib
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission, EncryptionMethod
from PIL import Image, ImageDraw, ImageFont

from baton_packs.customer_experience.intake.parse import parse
from baton_packs.customer_experience.reading import process as reading_process
from baton_packs.customer_experience.reading.document import read_document
from baton_packs.customer_experience.reading.pages import ocr, pdf
from baton_packs.customer_experience.reading.text.limits import ReadingLimits

LINES = ("Invoice INV-4711", "Date: 12 March 2026", "Delivery of 40 valves and 12 pumps to the plant in Bremen")


def written(pages: int = 1, password: str | None = None) -> bytes:
    page = FPDF()
    for _ in range(pages):
        page.add_page()
        page.set_font("helvetica", size=11)
        for line in LINES:
            page.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
        page.cell(90, 8, "Total amount due")
        page.cell(40, 8, "1,234.50 EUR", align="R", new_x="LMARGIN", new_y="NEXT")
    if password is not None:
        page.set_encryption("owner", password, EncryptionMethod.AES_256, AccessPermission.all())
    return bytes(page.output())


def picture(width: int = 1654, height: int = 900) -> Image.Image:
    """The same lines as pixels, as a scanner at 200 dpi would deliver them."""
    image = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(32)
    for number, line in enumerate((*LINES, "Total amount due 1,234.50 EUR")):
        ImageDraw.Draw(image).text((120, 100 + 70 * number), line, fill="black", font=font)
    return image


def saved(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def scanned(pages: int = 1) -> bytes:
    page = FPDF()
    for _ in range(pages):
        page.add_page()
        page.image(picture(), w=190)
    return bytes(page.output())


def raw_pdf(content: bytes, extra: str = "") -> bytes:
    """A one-page PDF whose page shows a compressed content stream."""
    stream = zlib.compress(content, 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>" + extra.encode() + b">>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n" % len(stream) + stream + b"\nendstream",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj" % number + one + b"endobj\n"
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(out)


def test_a_text_pdf_keeps_its_lines_and_columns() -> None:
    read = pdf.text_of(written())
    assert (read.pages, read.problem, read.media) == (1, None, "pdf")
    lines = read.text.split("\n")
    assert lines[:3] == list(LINES)
    assert lines[3].startswith("Total amount due    ")
    assert lines[3].endswith("  1,234.50 EUR")


def test_locked_cut_and_broken_pdfs() -> None:
    assert pdf.text_of(written(password="secret")).problem == "encrypted"
    assert pdf.text_of(written(password="")).problem is None  # owner's password only: anyone may read it
    whole = written(3)
    for share in (0.2, 0.5, 0.9, 0.999):
        assert pdf.text_of(whole[: int(len(whole) * share)]).problem == "damaged", share
    assert pdf.text_of(b"%PDF-1.7\n%%EOF").problem == "damaged"


def test_many_pages_are_capped_with_a_note() -> None:
    page = FPDF()
    page.set_font("helvetica", size=11)
    for number in range(2000):
        page.add_page()
        page.cell(0, 8, f"This is the page with the number {number}")
    read = pdf.text_of(bytes(page.output()))
    assert (read.pages, read.problem) == (2000, None)
    assert "number 49" in read.text
    assert "number 50" not in read.text
    assert "only the first 50 of 2000 pages read" in read.notes
    assert read.unread == ("only the first 50 of 2000 pages read",)


def test_text_bombs_are_not_read() -> None:
    bomb = raw_pdf(b"BT /F 1 Tf " + b"(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj " * 10_000 + b"ET")
    assert len(bomb) < 20_000
    assert pdf.text_of(bomb).problem == "bomb"
    unpacked = raw_pdf(b" " * 400_000_000)
    assert len(unpacked) < 500_000
    assert pdf.text_of(unpacked).problem == "bomb"


def test_scans_are_read_by_ocr(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read = pdf.text_of(scanned(2), ocr_pages=1)
        alone = ocr.text_of(saved(picture().rotate(180), "PNG"))
    for text in (read.text, alone.text):
        for expected in ("INV-4711", "12 March 2026", "1,234.50"):
            assert expected in text
    assert (read.pages, read.media, read.ocr_pages, alone.ocr_pages) == (2, "scan", 1, 1)
    assert "1 pages without text layer not read" in read.notes
    assert read.unread == ("1 pages without text layer not read",)
    assert not any("4711" in record.getMessage() for record in caplog.records)


def test_ocr_reads_the_largest_pictures_first_and_does_not_count_those_without_words() -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.example", "b@y.example", "Our invoice"
    message.set_content("Please find our invoice for the delivery of last week attached to this message.")
    logo = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(logo).text((40, 60), "NORWICK TRADING", fill="black", font=ImageFont.load_default(48))
    blank = Image.new("RGB", (2000, 1500), "lightblue")
    for image in (logo, blank, logo, picture()):
        message.add_attachment(saved(image, "PNG"), maintype="image", subtype="png", filename="picture.png")
    read = read_document(message.as_bytes(), limits=ReadingLimits(ocr_pages=1))
    assert "INV-4711" in read.text
    assert "NORWICK" not in read.text
    assert (read.ocr_pages, read.problem) == (1, None)
    assert read.unread == ["attachment 1: 1 of 1 pictures not read", "attachment 3: 1 of 1 pictures not read"]
    assert read_document(message.as_bytes()).unread == []
    # nor are they looked at for ever
    assert read_document(message.as_bytes(), limits=ReadingLimits(ocr_tries=2)).unread


def test_pictures_that_are_bombs_small_or_broken() -> None:
    assert ocr.text_of(saved(Image.new("1", (9000, 9000)), "PNG")).problem == "bomb"
    assert ocr.text_of(saved(Image.new("1", (40, 40)), "PNG")).ocr_pages == 0
    whole = saved(picture(), "JPEG")
    assert ocr.text_of(whole[: len(whole) // 2]).problem == "damaged"
    assert ocr.text_of(b"\x89PNG\r\n\x1a\n" + bytes(50)).problem == "damaged"


def documents(contents: dict[str, bytes]) -> pd.DataFrame:
    return pd.DataFrame([
        {"document_id": f"{n:020x}", "channel": "folder", "name": name, "received_at": pd.Timestamp("2026-03-01", tz="UTC"),
         "content": data, "size": len(data), "problem": None}
        for n, (name, data) in enumerate(contents.items())
    ])  # fmt: skip


def mail_with(data: bytes, name: str) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.example", "b@y.example", "Our invoice"
    message.set_content("Please find our invoice for the delivery of last week attached to this message.")
    message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def test_the_whole_batch() -> None:
    parsed = parse(documents({
        "good.eml": mail_with(written(), "invoice.pdf"), "locked.eml": mail_with(written(password="secret"), "invoice.pdf"),
        "fifty.eml": mail_with(os.urandom(50_000_000), "invoice.pdf"), "scan.pdf": scanned(), "cut.pdf": written()[:700],
    }), workers=1)  # fmt: skip
    assert parsed["problem"].tolist() == [None, "encrypted", "too_large", None, "damaged"]
    assert parsed["media"].tolist() == ["mail", "mail", "mail", "scan", "pdf"]
    assert (parsed["ocr"].tolist(), parsed["pages"][0]) == ([False, False, False, True, False], 1)
    assert parsed["subject"].tolist()[:3] == ["Our invoice"] * 3
    assert "--- attachment: invoice.pdf ---\nInvoice INV-4711" in parsed["text"][0]
    assert "INV-4711" in parsed["text"][3]
    assert set(parsed["language"].tolist()[:2]) == {"en"}
    assert json.loads(parsed["attachments"][1])[0]["problem"] == "encrypted"


def test_a_document_that_takes_too_long_or_too_much_memory_ends_its_process_only() -> None:
    eater = raw_pdf(b"BT /F 1 Tf ET " + b"0 0 m 1 1 l S " * 3_000_000)
    good = written()
    limits = ReadingLimits(seconds=1.5)
    parsed = parse(documents({"a.pdf": good, "slow.pdf": scanned(5), "b.pdf": good}), limits, workers=1)
    assert parsed["problem"].tolist() == [None, "bomb", None]
    assert "reading took longer than 1.5 s" in parsed["notes"][1]
    limits = ReadingLimits(seconds=30.0, memory_bytes=700_000_000)
    parsed = parse(documents({"eater.pdf": eater, "c.pdf": good}), limits, workers=1)
    assert parsed["problem"].tolist() == ["bomb", None]
    assert "bytes of memory" in parsed["notes"][0]


def test_hostile_mails_cost_seconds_and_the_honest_ones_are_read() -> None:
    """Markup that is never closed, small in a zip, in 28 mails of a few kB; each took a minute once."""
    pieces = ["<a ", "</", "<!--", "<?", "<![CDATA[", "<a b='", "<div>"]
    hostile = [
        zipped(piece * (size // len(piece))) for piece in pieces for size in (140_000, 100_000, 30_000, 2_000_000)
    ]
    mails = {f"{n:02}.eml": mail_with(data, "page.zip") for n, data in enumerate(hostile)}
    assert max(map(len, mails.values())) < 9_000
    honest = {f"{n:02}a.eml": mail_with(written(), "invoice.pdf") for n in range(0, 28, 7)}
    began = time.monotonic()
    parsed = parse(documents(dict(sorted({**mails, **honest}.items()))))
    assert time.monotonic() - began < 60
    read = parsed[parsed["name"].isin(honest)]
    assert read["problem"].isna().all()
    assert read["text"].str.contains("INV-4711").all()


def zipped(text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("page.html", text)
        archive.writestr("filler.bin", os.urandom(1_500))  # so that it may unpack to more
    return out.getvalue()


def test_ocr_stops_in_time_and_says_what_it_left() -> None:
    read = read_document(scanned(3), limits=ReadingLimits(ocr_seconds=0.0))
    assert (read.problem, read.unread) == ("empty", ["3 pages without text layer not read"])
    whole = time.process_time() + 1.0
    lines, _, missed = ocr.text_of_pixels(np.asarray(picture()), until=whole)
    assert lines or missed
    assert ocr.text_of_pixels(np.asarray(picture()), until=0.0) == ("", 0.0, 4)


def test_a_crash_is_named_and_the_next_document_is_read() -> None:
    with reading_process.DocumentReader(ReadingLimits()) as reader:
        assert reader.read(b"Hello there", "a.txt", size=11, mailbox=False)["problem"] is None
        assert reader.process is not None
        os.kill(reader.process.pid, signal.SIGSEGV)
        died = reader.read(b"Hello there", "a.txt", size=11, mailbox=False)
        assert (died["problem"], died["notes"]) == ("damaged", [f"reading ended the process ({-signal.SIGSEGV})"])
        assert reader.read(b"Hello there", "a.txt", size=11, mailbox=False)["text"] == "Hello there"


def test_the_process_that_reads_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", "http://user:secret@shop.example")
    with reading_process.DocumentReader(ReadingLimits()) as reader:
        reader.read(b"Hello there", "a.txt", size=11, mailbox=False)
        assert reader.process is not None
        environment = Path(f"/proc/{reader.process.pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc on this system")
        assert b"secret" not in environment.read_bytes()
