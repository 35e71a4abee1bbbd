"""Delivery of a case: what the intake receives, a mail, a PDF, a scan or a text file, with the truth about it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from baton_demo.customer_experience.documents import pdf as simulate_pdf
from baton_demo.customer_experience.documents import sheets as simulate_sheets
from baton_demo.customer_experience.documents.cases import Case, truth
from baton_demo.customer_experience.documents.mail import Attachment, SimulatedMail, write
from baton_demo.customer_experience.documents.pdf import Sheet
from baton_demo.customer_experience.documents.people import INTAKE, US
from baton_demo.customer_experience.documents.writing import Letter, letter, wording

# type -> shares of the forms in which it comes
FORMS: Mapping[str, Mapping[str, float]] = {
    "invoice": {"mail+pdf": 0.75, "pdf": 0.25},
    "reminder": {"mail": 0.64, "mail+copy": 0.2, "mail+pdf": 0.1, "pdf": 0.06},
    "order": {"mail+pdf": 0.72, "pdf": 0.24, "mail": 0.04},
    "contract": {"mail+pdf": 0.7, "pdf": 0.3},
    "complaint": {"mail": 0.87, "text": 0.08, "pdf": 0.05},
    "enquiry": {"mail": 0.9, "text": 0.08, "pdf": 0.02},
    "junk": {"mail": 0.85, "mail+pdf": 0.15},
}
_DEFAULT_INTENT = {"invoice": "pay", "reminder": "pay", "order": "confirm", "contract": "confirm"}
_FILE_NAMES = (
    "{number}.pdf",
    "{word}_{number}.pdf",
    "document.pdf",
    "{word}.pdf",
    "attachment-1.pdf",
    "{number}_{word}.pdf",
)
_ALL = {"issuer", "number", "date", "total", "account", "customer"}
_PRINTED = {
    "invoice": _ALL,
    "reminder": _ALL,
    "order": {"issuer", "date", "total", "customer"},
    "contract": {"issuer", "total", "customer"},
}
FORWARDED = 0.05  # invoices that a colleague passes on: an unknown sender, and nothing wrong


@dataclass
class Arrival:
    """What arrives.

    Attributes:
        form: mail, mail+pdf, mail+copy (of an invoice), pdf, scan or text; or how it is broken (`bad`).
        fields: the true ones (`cases.truth`); pdf: the main PDF's bytes; bad: problem code or "".
        size: bytes, where it is not the content's.
    """

    name: str
    content: bytes | None
    form: str
    intent: str
    reply: int
    fields: Mapping[str, object]
    personal: list[tuple[str, str]] = field(default_factory=list)
    pdf: bytes = b""
    bad: str = ""
    size: int = -1


def deliver(made: Case, key: str, *, risk: str = "", scans: float = 0.0, pdf: bytes = b"", form: str = "") -> Arrival:
    """Write a case's document.

    Args:
        key: unique; Message-ID and boundaries follow from it.
        risk: what is wrong with it; scans: share of PDF-only invoices and letters that are scans, by chance.
        pdf: an earlier delivery's PDF to send again; form: a key of `FORMS`, "" to draw one.
    """
    rng = made.rng
    form = form or _drawn(rng, FORMS[made.kind])
    if risk in ("sender_mismatch", "changed_account", "pressure"):  # these show in a mail only
        form = "mail+pdf" if made.kind == "invoice" else "mail"
    elif form != "text" and made.kind == "invoice" and rng.random() < scans:
        form = "scan"
    if pdf:
        _note_pdf(made, made.kind)
    if form in ("pdf", "scan", "text"):
        return _file(made, key, form, pdf)
    return _mail(made, key, form, risk, pdf)


def _mail(made: Case, key: str, form: str, risk: str, pdf: bytes) -> Arrival:
    rng, kind = made.rng, made.kind
    patterns = risk if risk in ("changed_account", "pressure") else kind
    if patterns not in wording(made.book):  # the newcomers' books have no patterns of fraud
        made.book = made.language
    if kind == "invoice" and not risk and "forwarded" in wording(made.book) and rng.random() < FORWARDED:
        patterns, made.writer = "forwarded", rng.choice(US.contacts)
        made.sender, made.sender_name = made.writer.mail, made.writer.name
    written = _letter(made, patterns, "" if patterns == "forwarded" or made.company is None else made.company.name)
    attachments: list[Attachment] = []
    if form != "mail":
        pdf = pdf or _pdf(made, "invoice" if form == "mail+copy" else kind, written)
        attachments.append(Attachment(_file_name(made, form), pdf))
    html = rng.random() < {"junk": 0.5, "complaint": 0.15, "enquiry": 0.15}.get(kind, 0.25)
    sent = made.received - timedelta(seconds=rng.randint(5, 400))
    mail = SimulatedMail(
        key,
        made.sender,
        made.sender_name,
        INTAKE,
        written.subject,
        written.text,
        sent,
        made.reply_to,
        html,
        attachments,
    )
    name = f"{key[:12]}.eml"
    return Arrival(name, write(mail), form, written.intent, written.reply, truth(made), made.personal, pdf)


def _file(made: Case, key: str, form: str, pdf: bytes) -> Arrival:
    """A document that comes without a mail."""
    rng, kind = made.rng, made.kind
    written = None
    if kind in ("complaint", "enquiry", "reminder", "junk"):
        written = _letter(made, kind, made.company.name if made.company else "")
    if form == "text":
        assert written is not None, f"{kind} does not come as a text file"
        text = f"{written.subject}\n\n{written.text}"
        return Arrival(
            f"message_{key[:8]}.txt", text.encode(), form, written.intent, written.reply, truth(made), made.personal
        )
    content = pdf or _pdf(made, kind, written)
    name = _file_name(made, "pdf")
    if form == "scan":
        stamp = made.received.strftime("%Y%m%d_%H%M%S")
        name, seed = f"scan_{stamp}.pdf", rng.randrange(2**31)
        content = simulate_pdf.scan(content, made.received, seed)
    intent = written.intent if written else _DEFAULT_INTENT[kind]
    reply = written.reply if written else int(kind in ("order", "contract"))
    return Arrival(name, content, form, intent, reply, truth(made), made.personal, content)


def _letter(made: Case, patterns: str, company: str) -> Letter:
    """The text, its slots and persons noted in the case."""
    written = letter(made.rng, patterns, made.book, made.values, made.writer, company)
    made.used |= written.used
    made.personal += written.personal
    return written


def _pdf(made: Case, kind: str, written: Letter | None) -> bytes:
    """The case's PDF."""
    company = made.company
    layout = company.layout if company else made.rng.choice(("letter", "columns", "classic"))
    return simulate_pdf.write(_sheet(made, kind, written), layout)


def _sheet(made: Case, kind: str, written: Letter | None) -> Sheet:
    company = made.company
    if kind == "junk":
        return simulate_sheets.register_scam(made.rng, made.values, made.issued)
    if company is None or kind in ("complaint", "enquiry"):
        assert written is not None
        sender = company or made.writer
        return simulate_sheets.plain_letter(sender.name, sender.address, written.subject, written.text, made.issued)
    _note_pdf(made, kind)
    if kind == "invoice":
        return simulate_sheets.invoice(
            company, made.book, made.values, made.lines, issued=made.issued, account=made.account
        )
    if kind == "reminder":
        assert written is not None
        return simulate_sheets.reminder(company, made.book, made.values, written.text, made.issued)
    if kind == "order":
        return simulate_sheets.order(company, made.book, made.values, made.lines, made.issued, made.used)
    return simulate_sheets.contract(company, made.book, made.values, made.cents, made.issued, made.used)


def _note_pdf(made: Case, kind: str) -> None:
    """Note in the case what stands on its company's PDF."""
    assert made.company is not None
    made.used |= _PRINTED[kind]
    for fact in (("name", made.values["name"]), ("phone", made.company.contacts[0].phone)):
        if fact not in made.personal:
            made.personal.append(fact)


def _file_name(made: Case, form: str) -> str:
    kind = "invoice" if form == "mail+copy" else made.kind
    words: Sequence[str] = wording("labels")[made.book].get(kind, ["letter"])
    number = {"order": made.values["order"], "contract": made.values["doc"]}.get(kind, made.number)
    name = made.rng.choice(_FILE_NAMES).format(number=number, word=words[0].title())
    return name.replace("/", "-").replace(" ", "_")


def _drawn(rng: random.Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]
