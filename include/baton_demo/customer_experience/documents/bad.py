"""Documents that a reader stumbles over: broken, dangerous, or readable only with care."""

import random
from datetime import datetime

from baton_demo.customer_experience.documents import pdf as simulate_pdf
from baton_demo.customer_experience.documents import sheets as simulate_sheets
from baton_demo.customer_experience.documents.cases import Case, Numbers, case, truth
from baton_demo.customer_experience.documents.delivery import Arrival
from baton_demo.customer_experience.documents.mail import (
    Attachment,
    SimulatedMail,
    bomb,
    html_only,
    to_many,
    without_charset,
    write,
    wrong_charset,
)
from baton_demo.customer_experience.documents.people import INTAKE
from baton_demo.customer_experience.documents.writing import letter, wording

# form -> the problem a parser has to name; "" where it has to read the document all the same
KINDS = {
    "encrypted": "encrypted",
    "truncated": "damaged",
    "zip_bomb": "bomb",
    "oversized": "too_large",
    "no_charset": "",
    "wrong_charset": "",
    "html_only": "",
    "many_recipients": "too_many_recipients",
    "empty": "empty",
    "foreign": "unknown_language",
}
OVERSIZED = 52_428_800  # bytes that the source did not carry
_NOTHING = {"issuer": None, "invoice_number": None, "date": None, "total": None, "currency": None,
            "account_number": None, "customer_number": None}  # fmt: skip
_WRITERS = {"no_charset": without_charset, "wrong_charset": wrong_charset, "html_only": html_only}


def broken(form: str, key: str, seed: str, received: datetime, numbers: Numbers) -> tuple[str, Arrival]:
    """A document of a form of `KINDS`: its type, and the delivery. Where nothing can be read no field is true."""
    rng = random.Random(seed)
    bad = KINDS[form]
    if form in _WRITERS:
        return _odd(form, key, rng, received, numbers)
    if form in ("encrypted", "truncated"):
        made = case(rng, "invoice", received, numbers)
        content = _invoice(made, password="sesame-" + key[:6] if form == "encrypted" else "")
        content = simulate_pdf.truncated(content) if form == "truncated" else content
        return "invoice", Arrival(f"{made.number.replace('/', '-')}.pdf", content, form, "pay", 0, _NOTHING, bad=bad)
    if form == "oversized":
        name = f"plans_{rng.randint(100, 999)}.pdf"
        return "order", Arrival(name, None, form, "confirm", 1, _NOTHING, bad=bad, size=OVERSIZED)
    kind = {"zip_bomb": "invoice", "foreign": "enquiry"}.get(form, "junk")
    mail, intent, reply = _mail(form, kind, key, rng, received, numbers)
    content = to_many(mail) if form == "many_recipients" else write(mail)
    return kind, Arrival(f"{key[:12]}.eml", content, form, intent, reply, _NOTHING, bad=bad)


def _odd(form: str, key: str, rng: random.Random, received: datetime, numbers: Numbers) -> tuple[str, Arrival]:
    """A complaint or enquiry that arrives whole, in a form some readers get wrong."""
    kind, written = rng.choice(("complaint", "enquiry")), None
    while written is None or written.text.isascii():  # a wrong charset has to show
        made = case(rng, kind, received, numbers)
        written = letter(rng, kind, made.book, made.values, made.writer, made.company.name if made.company else "")
    made.used |= written.used
    mail = _plain(made, key, written.subject, written.text)
    fields = truth(made)
    return kind, Arrival(
        f"{key[:12]}.eml", _WRITERS[form](mail), form, written.intent, written.reply, fields, written.personal
    )


def _mail(
    form: str, kind: str, key: str, rng: random.Random, received: datetime, numbers: Numbers
) -> tuple[SimulatedMail, str, int]:
    made = case(rng, kind, received, numbers)
    if form == "foreign":
        subject, text = rng.choice(wording("sections")["other"])
        return _plain(made, key, subject, f"{text}\n"), "ask", 1
    if form == "empty":
        return _plain(made, key, rng.choice(("", "Re:", "Document")), "\n"), "none", 0
    written = letter(rng, kind, made.book, made.values, made.writer, "")
    mail = _plain(made, key, written.subject, written.text)
    if form == "zip_bomb":
        mail.attachments = [Attachment("invoices.zip", bomb(), "application/zip")]
    return mail, written.intent, written.reply


def _plain(made: Case, key: str, subject: str, text: str) -> SimulatedMail:
    return SimulatedMail(key, made.sender, made.sender_name, INTAKE, subject, text, made.received)


def _invoice(made: Case, password: str) -> bytes:
    assert made.company is not None
    sheet = simulate_sheets.invoice(
        made.company, made.book, made.values, made.lines, issued=made.issued, account=made.account
    )
    return simulate_pdf.write(sheet, made.company.layout, password=password)
