"""Mails as they really come: wrong character sets, HTML only, too deep, too many, broken."""

from __future__ import annotations

import base64
import time
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baton_packs.customer_experience.reading.mail import message as mail
from baton_packs.customer_experience.reading.mail.headers import count_addresses
from baton_packs.customer_experience.reading.text import html_text
from baton_packs.customer_experience.reading.text.charsets import clean, decode
from baton_packs.customer_experience.reading.text.limits import (
    BOMB,
    DAMAGED,
    TOO_LARGE,
    TOO_MANY_RECIPIENTS,
    ReadingLimits,
)

HEAD = b"From: Jo Miller <Jo@Example.org>\r\nTo: a@b.example, c@d.example\r\nSubject: Order 12\r\n"

HEADERS = ("jo@example.org", "Jo Miller", 2, "Order 12")


def built() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Zoë Müller <zoe@example.org>", "desk@example.com", "Grüße"
    message["Reply-To"] = "other@elsewhere.example"
    message.set_content("Plain body.\n")
    return message


def test_headers_body_and_attachment() -> None:
    message = built()
    message.add_alternative("<p>Rich body.</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4 x", maintype="application", subtype="pdf", filename="../../etc/Rechnung 7.pdf")
    read = mail.read(message.as_bytes())
    assert (read.sender, read.sender_name, read.reply_to) == (
        "zoe@example.org",
        "Zoë Müller",
        "other@elsewhere.example",
    )
    assert (read.subject, read.text, read.recipients, read.problem) == ("Grüße", "Plain body.", 1, None)
    assert [(one.name, one.data, one.size) for one in read.parts] == [("Rechnung 7.pdf", b"%PDF-1.4 x", 10)]


def alternatives(plain: str, html: str, container: str) -> bytes:
    """A mail of plain text and of HTML that comes in one container with a picture and a PDF, as mail programs write it."""
    message = built()
    message.set_content(plain)
    message.make_alternative()
    rich = EmailMessage()
    rich.set_content(html, subtype="html")
    rich.make_related() if container == "related" else rich.make_mixed()
    for kind, name in (("image/png", "logo.png"), ("application/pdf", "invoice.pdf")):
        part = EmailMessage()
        part.set_content(b"bytes", *kind.split("/"), filename=name, disposition="inline")
        rich.attach(part)
    message.attach(rich)
    return message.as_bytes()


@pytest.mark.parametrize("container", ["related", "mixed"])
def test_what_comes_with_the_html_of_a_plain_mail_is_kept(container: str) -> None:
    read = mail.read(alternatives("Please find our invoice.\n", "<p>Please find our <b>invoice</b>.</p>", container))
    assert (read.text, read.problem) == ("Please find our invoice.", None)
    assert [(one.name, one.data) for one in read.parts] == [("logo.png", b"bytes"), ("invoice.pdf", b"bytes")]


@pytest.mark.parametrize("container", ["related", "mixed"])
def test_a_plain_text_that_only_points_to_the_html_is_not_the_letter(container: str) -> None:
    html = f"<p>We dispute invoice 4711.</p><p>{'The goods came damaged. ' * 20}</p>"
    read = mail.read(alternatives("See the HTML version.\n", html, container))
    assert "We dispute invoice 4711." in read.text
    assert "See the HTML version." not in read.text
    assert any("plain text says next to nothing" in note for note in read.notes)
    assert len(read.parts) == 2


@pytest.mark.parametrize(
    ("header", "body", "text", "noted"),
    [
        (b"", "Grüße aus Köln".encode(), "Grüße aus Köln", "no character set declared, read as utf-8"),
        (b"", "Grüße aus Köln".encode("cp1252"), "Grüße aus Köln", "no character set declared, read as cp1252"),
        (
            b"iso-8859-1",
            "Grüße aus Köln".encode(),
            "Grüße aus Köln",
            "declared character set iso-8859-1, read as utf-8",
        ),
        (b"utf-8", "Preis 5 €".encode("cp1252"), "Preis 5 €", "declared character set utf-8, read as cp1252"),
        (b"us-ascii", "déjà".encode(), "déjà", "declared character set us-ascii, read as utf-8"),
        (b"x-nothing", b"plain", "plain", "declared character set x-nothing, read as utf-8"),
        (b"punycode", b"plain", "plain", "declared character set punycode, read as utf-8"),
        (b"zlib", b"plain", "plain", "declared character set zlib, read as utf-8"),
        (b"iso-8859-1", "Preis 5 €".encode("cp1252"), "Preis 5 €", None),
        (b"gb2312", "你好".encode("gb2312"), "你好", None),
        (b"iso-8859-1", b"only ascii", "only ascii", None),
        (b"", b"only ascii", "only ascii", None),
        (b"utf-8", b"with\x00nul", "withnul", None),
        (b"koi8-r", "Grüße aus Köln".encode(), "Grüße aus Köln", "declared character set koi8-r, read as utf-8"),
        (b"iso-8859-2", "Grüße aus Köln".encode(), "Grüße aus Köln", "declared character set iso-8859-2, read as"),
        (b"windows-1251", "Preis 5 €".encode(), "Preis 5 €", "declared character set windows-1251, read as utf-8"),
        (b"gbk", "déjà vu".encode(), "déjà vu", "declared character set gbk, read as utf-8"),
        (b"cp500", b"Invoice 4711", "Invoice 4711", "declared character set cp500, read as utf-8"),
        (b"koi8-r", "Заказ".encode("koi8-r"), "Заказ", None),
        (b"utf-16", b"Please pay invoice 4711", "Please pay invoice 4711", "declared character set utf-16, read as"),
        (b"utf-16le", "Grüße an alle".encode("cp1252"), "Grüße an alle", "character set utf-16le, read as cp1252"),
        (b"utf-16be", "Grüße an alle".encode("utf-16-le"), "Grüße an alle", None),
        (b"utf-16", "Grüße an alle".encode("utf-16-be"), "Grüße an alle", None),
        (b"utf-16", "Grüße an alle".encode("utf-16"), "Grüße an alle", None),
    ],
)
def test_character_sets(header: bytes, body: bytes, text: str, noted: str | None) -> None:
    declared = b"; charset=" + header if header else b""
    read = mail.read(
        HEAD + b"Content-Type: text/plain" + declared + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
    )
    assert read.text == text
    assert (
        any(noted in note for note in read.notes) if noted else not any("character set" in note for note in read.notes)
    )


def test_headers_with_encoded_words_raw_bytes_and_nonsense() -> None:
    read = mail.read(
        "From: =?utf-8?b?WsO2w6s=?= <z@x.example>\nSubject: Grüße =?utf-8?b?!!!?= =?nope?q?a=FC?=\n\nText".encode()
    )
    assert read.sender_name == "Zöë"
    assert "Grüße" in read.subject
    assert any("header" in note for note in read.notes)
    assert mail.read(b"From: a@x.example\nFrom: b@y.example\n\nText").notes[0].startswith("2 From headers")


def test_html_only_becomes_text_without_scripts_styles_or_loading() -> None:
    markup = (
        "<html><head><title>T</title><style>p {color: red}</style></head><body><script>steal()</script>"
        "<p>Dear&nbsp;Sir,</p><table><tr><td>Total</td><td>5&euro;</td></tr></table>"
        "<img src='http://tracker.example/x.png'>Bye<br>now</body></html>"
    )
    message = built()
    message.set_content(markup, subtype="html")
    text = mail.read(message.as_bytes()).text
    assert [line for line in text.split("\n") if line] == ["Dear Sir,", "Total  5€", "Bye", "now"]
    assert not any(word in text for word in ("steal", "color", "tracker"))
    assert "unclosed" in html_text.text_of("<p>unclosed <b>text <![CDATA[ x")[0]


@pytest.mark.parametrize(
    "piece",
    ["<a ", "</", "<!--", "<?", "<!", "<", "&", "<![CDATA[", "<a b='", '<a b="', "<div>", "<b><p>", "<table><tr><td>", "</p>",
     "<svg>", "<body a=1>", "<!DOCTYPE ", "<script>", "<script><!--", "<title>", "<style", "<p>x", "\n", "-->", "<select>"],
)  # fmt: skip
def test_markup_costs_no_more_than_its_length(piece: str) -> None:
    began = time.process_time()
    for markup in (piece * (200_000 // len(piece)), "<div>" * 10_000 + piece * (100_000 // len(piece))):
        html_text.text_of(markup)
    assert time.process_time() - began < 1.5, "0.1 s as a rule; with html.parser minutes"


def test_markup_beyond_its_limits_is_cut_and_said() -> None:
    text, note = html_text.text_of("<p>first" + "<i>x</i>" * 100_000 + "last")
    assert (text.startswith("first"), "last" in text, note) == (True, False, html_text.CUT)
    read = mail.read(HEAD + b"Content-Type: text/html\r\n\r\n" + b"<b>Dear Sirs</b>" * 50_000)
    assert (read.text.startswith("Dear Sirs"), read.unread) == (True, ("part 1: HTML cut",))


@given(st.lists(st.sampled_from(["<", ">", "</", "<a ", "x", "'", '"', "=", "<!--", "-->", "&", "é", "\ud7ff", "]]>"])))
def test_any_markup_is_read(pieces: list[str]) -> None:
    html_text.text_of("".join(pieces))


def test_limits_name_their_problem() -> None:
    many = b"From: a@x.example\nTo: " + b", ".join(b"u%d@x.example" % n for n in range(10_000)) + b"\n\nText"
    read = mail.read(many)
    assert (read.problem, read.recipients, read.sender) == ("too_many_recipients", 10_000, "a@x.example")
    assert mail.read(HEAD + b"Bcc: " + b"u@x.example," * 99 + b"\n\nText").problem == "too_many_recipients"
    long = mail.read(HEAD + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\nText")
    assert (long.problem, long.subject, long.text) == ("too_large", "Order 12", "")
    big = mail.read(HEAD + b"\r\n" + b"x" * 2000, ReadingLimits(document_bytes=1000))
    assert (big.problem, big.sender) == ("too_large", "jo@example.org")


def test_comments_within_comments_in_a_list_of_recipients() -> None:
    value = "a@x.example " + "(" * 5_000 + ")" * 5_000 + ", b@x.example"
    assert count_addresses(value) == 2
    assert mail.read(b"From: a@x.example\nTo: " + value.encode() + b"\n\nText").problem is None


def test_a_large_attachment_is_not_decoded() -> None:
    message = built()
    message.add_attachment(b"x" * 60_000, maintype="application", subtype="pdf", filename="big.pdf")
    read = mail.read(message.as_bytes(), ReadingLimits(attachment_bytes=50_000))
    assert (read.problem, read.parts[0].data, read.parts[0].problem) == ("too_large", None, "too_large")
    assert read.text == "Plain body."


@pytest.mark.parametrize("depth", [50, 3000])
def test_nested_mails(depth: int) -> None:
    data = HEAD + b"\r\nInnermost"
    for _ in range(depth):
        data = HEAD + b"Content-Type: message/rfc822\r\n\r\n" + data
    read = mail.read(data)
    assert (read.problem, read.subject) == ("bomb", "Order 12")
    assert "Innermost" not in read.text


def test_a_forwarded_mail_is_text_with_its_attachments() -> None:
    inner, outer = built(), built()
    inner.add_attachment(b"a,b", maintype="text", subtype="csv", filename="list.csv")
    outer.add_attachment(inner)
    read = mail.read(outer.as_bytes())
    assert [one.kind for one in read.parts] == ["message/rfc822", "text/csv"]
    assert "Subject: Grüße" in str(read.parts[0].text)
    assert "Plain body." in str(read.parts[0].text)


def test_damaged_encodings_and_structure_are_noted() -> None:
    bad = HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8gd29ybGQ!!\r\n"
    assert any("base64 is damaged" in note for note in mail.read(bad).notes)
    cut = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nHello\r\n'
    read = mail.read(cut)
    assert read.text == "Hello"
    assert any("CloseBoundaryNotFound" in note for note in read.notes)
    assert "Hello" in mail.read(HEAD + b"Content-Type: multipart/mixed\r\n\r\nHello").text


def test_what_a_mail_looks_like() -> None:
    assert mail.looks_like_mail(HEAD + b"\r\nText")
    assert mail.looks_like_mail(b"From x Thu Jan 1\nReturn-Path: <a@x.example>\nDelivered-To: b\n\nText")
    assert not mail.looks_like_mail(b"Total: 5\nDate of invoice: 3 May\n")
    assert not mail.looks_like_mail(b"Dear Sir,\nFrom: the shop\nTo: you\n")


def test_text_is_clean_for_every_store() -> None:
    assert clean("a\x00b\r\nc\rd\x1be\ud83d\ude00\ud800") == "ab\nc\nde😀�"
    assert decode("Grüße, wie geht es".encode("utf-16-le"))[0] == "Grüße, wie geht es"
    assert decode(b"\xff\xfea")[0]


def _whole(read: mail.Mail) -> None:
    """What a reader hands on, however broken the bytes: text that every store takes, addresses that are some, a reason."""
    read.text.encode()
    said = (read.text, read.subject, read.sender, read.sender_name, read.reply_to)
    assert list(said) == [clean(text) for text in said]
    assert not [text for text in said[1:] if "\n" in text]
    assert all(address == address.lower() and "@" in address for address in (read.sender, read.reply_to) if address)
    assert read.problem in (None, BOMB, DAMAGED, TOO_LARGE, TOO_MANY_RECIPIENTS)
    assert all(part.data is None or len(part.data) == part.size for part in read.parts)
    assert set(read.unread) <= set(read.notes)
    assert "\x00" not in read.text + read.subject + read.sender + read.sender_name
    assert all(len(note) < 200 for note in read.notes)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_never_raise(data: bytes) -> None:
    _whole(mail.read(data))
    _whole(mail.read(b"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + data + b"\n--x--"))
    read = mail.read(HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(data))
    _whole(read)
    assert (read.sender, read.sender_name, read.recipients, read.subject) == HEADERS, "a body changes no header"
    assert read.text == clean(decode(data)[0]).strip()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_mails_never_raise(data: st.DataObject) -> None:
    message = built()
    message.add_alternative("<p>Rich &amp; body.</p>", subtype="html")
    message.add_attachment(base64.b64encode(b"x" * 30), maintype="image", subtype="png", filename="é.png")
    whole = bytearray(message.as_bytes())
    intact, body = mail.read(bytes(whole)), whole.index(b"\n\n") + 2
    first = data.draw(st.sampled_from([0, body]))  # where it may break
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(first, len(whole) - 1))
        cut = data.draw(st.integers(0, 20))
        whole[place : place + cut] = data.draw(st.binary(max_size=6))
    read = mail.read(bytes(whole))
    _whole(read)
    assert read.text or read.parts or read.notes or read.problem, "what is lost is not lost without a word"
    if first == body:
        known = ("sender", "sender_name", "reply_to", "recipients", "subject", "automatic")
        assert [getattr(read, name) for name in known] == [getattr(intact, name) for name in known]


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied", "Precedence: bulk", "Precedence: auto_reply", "X-Autoreply: yes", "X-Autorespond: Out",
        "X-Auto-Response-Suppress: All", "List-Id: <news.example.org>", "Return-Path: <>",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x", "From: no_reply@example.org",
        "From: do_not_reply@example.org", "From: DoNotReply@example.org", "From: donotreply2@example.org",
        "From: shop-noreply@example.org", "From: MAILER-DAEMON@example.org", "From: bounces+7=a@example.org",
    ],
)  # fmt: skip
def test_machines_are_known_by_their_headers(header: str) -> None:
    sender = "" if header.startswith("From") else "From: ann@example.org\r\n"
    assert mail.read(f"{sender}{header}\r\nSubject: Hello\r\n\r\nHello.\r\n".encode()).automatic


@pytest.mark.parametrize(
    "header", ["Auto-Submitted: no", "Precedence: first-class", "Content-Type: text/plain", "X-Other: yes"]
)
@pytest.mark.parametrize("sender", ["ann@example.org", "noreplyman@example.org", "ann@noreply.example.org"])
def test_people_are_not_taken_for_machines(header: str, sender: str) -> None:
    assert not mail.read(f"From: {sender}\r\n{header}\r\nSubject: Hello\r\n\r\nHello.\r\n".encode()).automatic
