"""Any delivered bytes to one row: kinds, archives, languages, layout, and the batch that goes on."""

from __future__ import annotations

import io
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baton.packs.pack import load_pack
from baton.stages.journal import Journal
from baton_packs.customer_experience.intake.parse import COLUMNS, parse
from baton_packs.customer_experience.reading.document import kind_of, read_document
from baton_packs.customer_experience.reading.pages.layout import Piece, lines_of
from baton_packs.customer_experience.reading.text import archives, languages
from baton_packs.customer_experience.reading.text.charsets import clean
from baton_packs.customer_experience.reading.text.limits import PROBLEMS, ReadingLimits

LETTERS = {
    "en": "Thank you for your message. We have looked into the delay of your order and will send the parts tomorrow.",
    "de": "Vielen Dank für Ihre Nachricht. Wir haben den Verzug Ihrer Bestellung geprüft und senden die Teile morgen.",
    "fr": "Merci pour votre message. Nous avons examiné le retard de votre commande et enverrons les pièces demain.",
    "nl": "Bedankt voor uw bericht. Wij hebben de vertraging van uw bestelling bekeken en sturen de delen morgen op.",
    "es": "Gracias por su mensaje. Hemos revisado el retraso de su pedido y enviaremos las piezas mañana mismo.",
    "it": "Grazie per il suo messaggio. Abbiamo esaminato il ritardo del suo ordine e spediremo i pezzi domani.",
}


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def with_attachment(data: bytes, name: str, body: str = LETTERS["en"]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.example", "b@y.example", "Files"
    message.set_content(body)
    message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"\n%PDF-1.7\n", "x", "pdf"), (b"\x89PNG\r\n\x1a\n", "x.txt", "picture"), (b"PK\x03\x04", "x.docx", "zip"),
        (b"From: a@x.example\nTo: b@y.example\n\nText", "x", "mail"),
        (b"From: a@x.example\nTo: b@y.example\n\nThe file begins with %PDF-1.4, is that right?", "x", "mail"), (b"<!DOCTYPE html><p>x", "x", "html"),
        ("Grüße".encode("utf-16"), "x.txt", "text"), (bytes(range(256)) * 4, "x.txt", "unknown"),
        (b"Total: 5 EUR\nDate: today\n", "x.csv", "text"), (b"\x7fELF\x02\x01\x01" + bytes(50), "x", "unknown"),
    ],
)  # fmt: skip
def test_the_kind_comes_from_the_bytes(data: bytes, name: str, kind: str) -> None:
    assert kind_of(data, name) == kind


def test_the_sources_deliver_what_the_reader_reads() -> None:
    sources = load_pack("customer_experience").sources
    assert {sources[name].max_bytes for name in ("documents", "mailbox")} == {ReadingLimits().document_bytes}


def test_languages() -> None:
    for code, text in LETTERS.items():
        found = languages.detect(text)
        assert (found.code, found.unknown) == (code, False)
        assert found.confidence > 0.5
    for other in (
        "Спасибо за ваше сообщение. Мы проверили задержку вашего заказа и отправим детали завтра утром, как обещали.",
        "Mesajınız için teşekkür ederiz. Siparişinizin gecikmesini inceledik ve parçaları yarın sabah göndereceğiz.",
        "Kiitos viestistäsi. Olemme tutkineet tilauksesi viivästymisen ja lähetämme osat huomenna aamulla postitse.",
    ):
        assert languages.detect(other) == ("", 0.0, True)
    assert not languages.detect("Спасибо").unknown
    assert languages.detect("12.50 / 17") == ("", 0.0, False)
    assert (
        read_document(("Спасибо за ваше сообщение, мы отправим детали завтра. " * 4).encode()).problem
        == "unknown_language"
    )


def test_lines_keep_columns_below_each_other() -> None:
    def piece(column: int, row: int, text: str) -> Piece:
        return Piece(column * 6.0, (column + len(text)) * 6.0, row * 12.0, 10.0, text, True)

    page = [
        piece(30, 1, "12.50"),
        piece(0, 1, "Total"),
        piece(30, 0, "Amount"),
        piece(0, 5, "Thank"),
        piece(6, 5, "you"),
    ]
    lines = lines_of(page).split("\n")
    assert lines == [" " * 30 + "Amount", "Total" + " " * 25 + "12.50", "", "Thank you"]


def test_zips() -> None:
    read = read_document(
        with_attachment(zipped({"a/note.txt": b"Total 12 EUR", "b.zip": zipped({"c": b"x"})}), "all.zip")
    )
    assert read.problem is None
    assert "--- attachment: note.txt ---\nTotal 12 EUR" in read.text
    assert [one["problem"] for one in read.attachments] == [None, None, "unknown_type"]
    bomb = zipped({"zeros": bytes(30_000_000)})
    assert archives.unpack(bomb).problem == "bomb"
    assert read_document(with_attachment(bomb, "b.zip")).problem == "bomb"
    assert read_document(bomb, "b.zip").problem == "bomb"
    assert archives.unpack(zipped({str(n): b"x" for n in range(60)})).problem == "bomb"
    assert archives.unpack(bomb[: len(bomb) // 2]).problem == "damaged"
    assert archives.unpack(zipped({"[Content_Types].xml": b"x"})).problem == "unknown_type"
    small = zipped({"a.html": b"<a " * 200_000})
    assert len(small) < 2_000
    assert archives.unpack(small).problem == "bomb", "a tiny file may not become a large one, either"
    locked = bytearray(zipped({"a": b"x"}))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        locked[locked.index(mark) + (6 if mark == b"PK\x03\x04" else 8)] |= 1
    assert archives.unpack(bytes(locked)).problem == "encrypted"


def test_a_zip_that_lies_about_its_size_is_cut() -> None:
    """The declared size is made small; what comes out is counted."""
    data = bytearray(zipped({"zeros": bytes(3_000_000)}))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + place
        data[at : at + 4] = (1000).to_bytes(4, "little")
    unpacked = archives.unpack(bytes(data))
    assert unpacked.problem in ("bomb", "damaged")
    assert sum(len(content) for _, content in unpacked.members) <= 1000


def test_attachments_of_unknown_type_are_listed_and_harmless() -> None:
    read = read_document(with_attachment(bytes(range(256)), "tool.exe"))
    assert (read.problem, read.attachments[0]["problem"], read.language) == (None, "unknown_type", "en")
    assert read_document(with_attachment(bytes(range(256)), "tool.exe", body=" \n")).problem == "empty"
    assert read_document(with_attachment(b"Total 12 EUR", "a.txt", body="")).problem is None


def test_what_is_not_read_of_a_document_is_named() -> None:
    office = zipped({"[Content_Types].xml": b"x", "word/document.xml": b"x"})
    assert read_document(with_attachment(office, "order.docx")).unread == [
        "attachment 1: a kind of file that is not read"
    ]
    assert read_document(with_attachment(bytes(range(256)) * 200, "photo.heic")).unread
    assert read_document(with_attachment(zipped({"a.txt": b"Total 12 EUR", "b.docx": office}), "all.zip")).unread == [
        "attachment 3: a zip within a zip"
    ]
    for harmless in ("smime.p7s", "logo.gif"):
        assert read_document(with_attachment(b"GIF89a" + bytes(range(256)), harmless)).unread == []
    assert read_document(with_attachment(b"Total 12 EUR", "a.txt")).unread == []


def test_a_mail_attached_as_a_file_is_read_with_its_attachments() -> None:
    inner = with_attachment(b"Total 12 EUR", "bill.txt", body=LETTERS["de"])
    read = read_document(with_attachment(inner, "forwarded.eml"))
    assert "--- attachment: bill.txt ---\nTotal 12 EUR" in read.text
    assert ([one["name"] for one in read.attachments], read.unread) == (["forwarded.eml", "bill.txt"], [])
    deep = read_document(with_attachment(with_attachment(inner, "second.eml"), "first.eml"))
    assert deep.unread == ["attachment 2: 1 attachments of an attached mail not read"]


@pytest.mark.parametrize("inner", ["b.zip", "tool.exe"])
def test_a_zip_of_nothing_that_can_be_read_is_of_unknown_type(inner: str) -> None:
    content = zipped({"c": b"x"}) if inner == "b.zip" else bytes(range(256))
    assert read_document(zipped({inner: content}), "a.zip").problem == "unknown_type"
    assert read_document(zipped({inner: content, "note.txt": LETTERS["en"].encode()}), "a.zip").problem is None


def test_long_texts_are_cut_with_a_note() -> None:
    read = read_document(b"word " * 40_000)
    assert len(read.text) == 50_000
    assert any("text cut after 50,000" in note for note in read.notes)
    assert read.unread == ["text cut after 50,000 of 199,999 characters"]


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    first = {
        "channel": "folder",
        "received_at": pd.Timestamp("2026-03-01", tz="UTC"),
        "problem": None,
        "_source": "drop",
    }
    return pd.DataFrame([
        {"document_id": f"{n:020x}", "size": len(row["content"] or b""), "_row": n, "_row_sha": "0"} | first | row  # type: ignore[arg-type]
        for n, row in enumerate(rows)
    ])  # fmt: skip


def test_one_bad_document_never_stops_the_batch() -> None:
    documents = frame([
        {"name": "a.eml", "content": with_attachment(b"Total 12 EUR", "a.txt")},
        {"name": "b.pdf", "content": b"%PDF-1.7 rubbish"},
        {"name": "c.txt", "content": None, "problem": "too_large", "size": 50_000_000},
        {"name": "d.txt", "content": b""},
        {"name": "e.txt", "content": b" \n\t "},
        {"name": "f", "content": b"no headers at all", "channel": "mailbox"},
        {"name": "g.eml", "content": b"From: a@x.example\nTo: b@y.example\nSubject: S\n\n" + b"x" * 30_000},
    ])  # fmt: skip
    parsed = parse(documents, ReadingLimits(document_bytes=20_000), workers=1)
    assert list(parsed.columns) == [*COLUMNS, "_row", "_row_sha", "_source"]
    assert parsed["problem"].tolist() == [None, "damaged", "too_large", "empty", "empty", None, "too_large"]
    assert parsed["document_id"].tolist() == documents["document_id"].tolist()
    assert parsed["media"].tolist()[:2] == ["mail", "pdf"]
    assert (parsed["media"][5], parsed["text"][5]) == ("mail", "no headers at all")
    assert (parsed["sender"][0], parsed["recipients"][0], parsed["subject"][6]) == ("a@x.example", 1, "S")
    assert json.loads(parsed["attachments"][0])[0] == {
        "name": "a.txt",
        "media": "text",
        "size": 12,
        "pages": 0,
        "problem": None,
    }
    assert all(isinstance(json.loads(notes), list) for notes in [*parsed["notes"], *parsed["unread"]])
    assert parsed["received_at"].dtype == documents["received_at"].dtype
    assert parse(documents.iloc[:0]).columns.tolist() == parsed.columns.tolist()


def test_a_document_whose_turn_comes_too_late_is_not_read_and_a_retry_goes_on(home: Path) -> None:
    documents = frame([{"name": f"{n}.txt", "content": f"{LETTERS['en']} {n}".encode()} for n in range(3)])
    journal = Journal("flow/parse/hour/-1", {"code": "1"})
    first = parse(documents.iloc[:2], journal=journal)
    late = parse(documents, seconds=0.0, journal=journal)
    assert late["problem"].tolist() == [None, None, "not_read"]
    assert late["text"].tolist()[:2] == first["text"].tolist()
    assert json.loads(late["notes"][2]) == ["the time for reading the batch was used up before its turn"]
    assert parse(documents, journal=Journal("flow/parse/hour/-1", {"code": "2"}), seconds=0.0)["problem"].notna().all()
    rules = [one.meta.rule for one in load_pack("customer_experience").contract("documents").expectations]
    assert set(PROBLEMS) <= set(rules), "each problem has a rule that names it"


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"%PDF-1.4\n", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<html>"]),
)
def test_random_documents_never_raise(data: bytes, start: bytes) -> None:
    read = read_document(start + data)
    read.text.encode()
    assert (read.text, read.subject) == (clean(read.text), clean(read.subject))
    assert json.loads(json.dumps(read.attachments)) == read.attachments
    assert read.text.strip() or read.problem, "nothing was read, and it does not say why"
    assert read.language in (*languages.LANGUAGES, "")
    of_kind = {"mail": ["mail"], "pdf": ["pdf", "scan"], "picture": ["scan"], "text": ["text"], "html": ["text"]}
    assert read.media in of_kind.get(kind_of(start + data), ["unknown"])
    assert all(isinstance(note, str) and len(note) < 200 for note in read.notes)
    assert read_document(start + data) == read
