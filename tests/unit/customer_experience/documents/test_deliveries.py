"""The documents simulator: same bytes for a seed, its truth really in the documents, broken ones as broken as they say."""

from __future__ import annotations

import email
import email.policy
import io
import json
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from functools import cache

import pandas as pd
import pypdfium2
import pytest

from baton.errors import BatonError
from baton_demo.customer_experience.documents import bad as simulate_bad
from baton_demo.customer_experience.documents import cases as simulate_cases
from baton_demo.customer_experience.documents import deliveries as simulate
from baton_demo.customer_experience.documents import mail as simulate_mail
from baton_demo.customer_experience.documents import people as simulate_people
from baton_demo.customer_experience.documents.forms import day, money
from baton_demo.customer_experience.documents.people import BUYERS, NEWCOMERS, SUPPLIERS, US
from baton_demo.customer_experience.documents.writing import wording

START, STEP = datetime(2026, 3, 2, tzinfo=UTC), timedelta(minutes=30)


@cache
def simulated() -> pd.DataFrame:
    """Ordinary, risky and broken documents with their truth."""
    frame, truth = simulate.documents(220, 11, START, STEP, bad=10, risky=0.3, scans=0.0, shift=START + 150 * STEP)
    assert frame["document_id"].tolist() == truth["document_id"].tolist()
    return frame.merge(truth, on="document_id")


def read_mail(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def read_pdf(content: bytes) -> str:
    document = pypdfium2.PdfDocument(content)
    text = "\n".join(page.get_textpage().get_text_range() for page in document)
    document.close()
    return text


def text_of(name: str, content: bytes) -> str:
    if name.endswith(".pdf"):
        return read_pdf(content)
    if name.endswith(".txt"):
        return content.decode()
    message = read_mail(content)
    body = message.get_body(("plain",))
    assert body is not None
    attached = [read_pdf(part.get_content()) for part in message.iter_attachments()]
    return "\n".join([str(message["Subject"]), body.get_content(), *attached])


def squeezed(text: str) -> str:
    return re.sub(r"\s|\n> ", "", text)


def written(truth: object) -> set[str]:
    """All forms in which the simulated companies write an ISO date or an amount."""
    partners = (*SUPPLIERS, *NEWCOMERS, *BUYERS)
    if isinstance(truth, float):
        forms = {one.money for one in partners} | {"€1,234.56"}
        return {squeezed(money(round(truth * 100), form, bare=True)) for form in forms}
    when = date.fromisoformat(str(truth))
    forms = {one.date for one in partners}
    return {squeezed(day(when, form, language)) for form in forms for language in ("en", "de", "fr", "nl")}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, truth = simulate.documents(15, 3, START, STEP, bad=10, scans=0.2)
    again, known = simulate.documents(15, 3, START.replace(tzinfo=None), STEP, bad=10, scans=0.2)
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(truth, known)
    other, _ = simulate.documents(15, 4, START, STEP)
    assert not set(first["content"].dropna()) & set(other["content"].dropna())
    assert first["document_id"].is_unique
    assert first["document_id"].str.fullmatch("[0-9a-f]{20}").all()
    assert first["received_at"].diff().dropna().eq(STEP).all()


def test_account_numbers_have_a_right_checksum() -> None:
    accounts = {one.account for one in (*SUPPLIERS, *NEWCOMERS, *BUYERS, US)}
    accounts |= {person.account for one in SUPPLIERS for person in one.contacts}
    accounts |= set(simulated()["account_number"].dropna())
    for account in accounts:
        rest = "".join(str(int(letter, 36)) for letter in account[4:] + account[:4])
        assert int(rest) % 97 == 1, account
    assert len(accounts) > 60


def test_what_the_truth_says_stands_in_the_document() -> None:
    looked_at = 0
    for row in simulated().query("bad == '' and form not in ('no_charset', 'wrong_charset', 'html_only')").itertuples():
        text = squeezed(text_of(row.name, row.content))
        for field in ("issuer", "invoice_number", "account_number", "customer_number"):
            value = getattr(row, field)
            if value is not None:
                assert squeezed(value) in text, (row.document_id, field, value)
                looked_at += 1
        if row.date is not None:
            assert any(form in text for form in written(row.date)), (row.document_id, row.date)
        if row.total == row.total:
            assert any(form in text for form in written(row.total)), (row.document_id, row.total)
        for kind, value in json.loads(row.personal):
            assert squeezed(value) in text, (row.document_id, kind, value)
    assert looked_at > 400


def test_ordinary_invoices_name_every_field() -> None:
    invoices = simulated().query("type == 'invoice' and bad == ''")
    fields = ["issuer", "invoice_number", "date", "total", "currency", "account_number", "customer_number"]
    assert invoices[fields].notna().all(axis=None)
    assert simulated().query("type == 'junk'")[fields].isna().all(axis=None)


def test_risks_are_what_they_say() -> None:
    rows = simulated()
    invoices = rows[(rows["type"] == "invoice") & (rows["bad"] == "")]
    honest = {one.name: one for one in SUPPLIERS}
    assert set(rows["risk_kind"]) == {"", *simulate_cases.RISKS}
    assert (rows["risky"] == (rows["risk_kind"] != "")).all()
    for row in invoices[invoices["risky"] == 1].itertuples():
        earlier = invoices[
            (invoices["invoice_number"] == row.invoice_number) & (invoices["received_at"] < row.received_at)
        ]
        assert (len(earlier) > 0) == (row.risk_kind == "duplicate")
        if row.risk_kind == "duplicate":
            assert (earlier["total"] == row.total).all()
        if row.issuer not in honest:  # a duplicate of a newcomer's
            continue
        company = honest[row.issuer]
        assert (row.account_number != company.account) == (row.risk_kind == "changed_account")
        assert (row.total / company.typical > 4.5) == (row.risk_kind == "inflated_amount")
        if row.risk_kind == "sender_mismatch":
            sender = read_mail(row.content)["From"].addresses[0]
            assert sender.domain != company.domain


def test_shares_follow_the_mix() -> None:
    mix = {"invoice": 0, "contract": 0, "order": 0, "complaint": 0.2, "enquiry": 0.2, "junk": 0.6, "reminder": 0}
    _, truth = simulate.documents(120, 5, START, STEP, mix=mix)
    assert set(truth["type"]) == {"complaint", "enquiry", "junk"}
    assert 0.5 < (truth["type"] == "junk").mean() < 0.7
    assert truth["risky"].sum() == 0  # without invoices nothing to forge
    assert sum(simulate.MIX.values()) == pytest.approx(1)


def test_broken_documents_are_broken_as_announced() -> None:
    rows = simulated()
    broken = rows[rows["form"].isin(simulate_bad.KINDS)].set_index("form")
    assert broken["bad"].to_dict() == simulate_bad.KINDS
    content = broken["content"]
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(content["encrypted"])
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(content["truncated"])
    zipped = next(read_mail(content["zip_bomb"]).iter_attachments()).get_content()
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        assert sum(member.file_size for member in archive.infolist()) > 500 * len(zipped)
    assert content["oversized"] is None
    assert broken.loc["oversized", "problem"] == "too_large"
    assert broken.loc["oversized", "size"] > 50_000_000
    assert content["many_recipients"].count(b"@list.example") == simulate_mail.MANY
    assert not read_mail(content["empty"]).get_content().strip()
    assert b"charset" not in content["no_charset"].lower()
    assert b'charset="utf-8"' in content["wrong_charset"]
    with pytest.raises(UnicodeDecodeError):
        content["wrong_charset"].decode("utf-8")
    assert read_mail(content["html_only"]).get_content_type() == "text/html"


def test_an_oversized_mail_is_really_large_and_a_mail() -> None:
    mail = simulate_mail.SimulatedMail("k", "a@x.example", "A", "b@y.example", "Plans", "attached\n", START)
    content = simulate_mail.oversized(mail, 1_000_000)
    attachment = next(read_mail(content).iter_attachments()).get_content()
    assert len(attachment) >= 1_000_000


def test_scans_have_no_text() -> None:
    only = dict.fromkeys(simulate_cases.TYPES, 0) | {"invoice": 1}
    frame, truth = simulate.documents(1, 2, START, STEP, mix=only, risky=0, scans=1)
    assert truth["form"].tolist() == ["scan"]
    assert not read_pdf(frame["content"][0]).strip()
    image = next(pypdfium2.PdfDocument(frame["content"][0])[0].get_objects())
    assert image.get_px_size()[1] == pytest.approx(297 / 25.4 * 150, abs=2)  # A4 at 150 dpi


def test_newcomers_write_after_the_shift_only() -> None:
    rows = simulated()
    names = [one.name for one in NEWCOMERS]
    before = rows["received_at"] < START + 150 * STEP
    assert not rows.loc[before, "issuer"].isin(names).any()
    assert rows.loc[~before, "issuer"].isin(names).sum() > 10


def test_wording_is_varied_and_every_slot_known() -> None:
    for kind in ("reminder", "complaint", "enquiry", "junk"):
        assert len(wording("en")[kind]) >= 25
    intents = {"pay", "dispute", "confirm", "change_details", "cancel", "ask", "complain", "none"}
    slots = {"number", "date", "total", "due", "customer", "order", "item", "city", "days", "phone", "mail", "address",
             "account", "name", "issuer", "us", "doc", "quoted"}  # fmt: skip
    for book in ("en", "de", "fr", "nl", "new_en", "new_de"):
        for kind, patterns in wording(book).items():
            for pattern in patterns if kind not in ("greetings", "closings", "fillers", "quote") else ():
                intent, reply, subject, text = pattern
                assert intent in intents
                assert reply in (0, 1)
                assert set(re.findall(r"\{(\w+)\}", subject + text)) <= slots, pattern


def test_amounts_and_dates_in_every_form() -> None:
    assert [money(123456789, form) for form in ("£1,234.56", "1.234,56 €", "CHF 1'234.56")] == [
        "£1,234,567.89", "1.234.567,89 €", "CHF 1'234'567.89"]  # fmt: skip
    assert money(5, "€ 1.234,56", bare=True) == "0,05"
    assert day(date(2026, 12, 3), "d. Month yyyy", "de") == "3. Dezember 2026"
    assert day(date(2026, 12, 3), "dd/mm/yyyy", "fr") == "03/12/2026"
    assert simulate_people.grouped("DE02500") == "DE02 500"


@pytest.mark.parametrize(
    "wrong", [{"mix": {"letter": 1}}, {"mix": {"junk": -1}}, {"bad": -1}, {"risky": 1.5}, {"scans": -0.1}]
)
def test_wrong_arguments_are_named(wrong: dict) -> None:
    with pytest.raises(BatonError, match="documents: "):
        simulate.documents(1, 1, START, STEP, **wrong)
