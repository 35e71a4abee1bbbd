"""One business case of the simulated intake: who writes about what; the same facts then stand in mail and PDF."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from baton_demo.customer_experience.documents.forms import day, money
from baton_demo.customer_experience.documents.people import (
    BUYERS,
    NEWCOMERS,
    SUPPLIERS,
    US,
    Company,
    Writer,
    grouped,
    iban,
    person,
)
from baton_demo.customer_experience.documents.sheets import due, gross, positions
from baton_demo.customer_experience.documents.writing import wording

TYPES = ("invoice", "reminder", "order", "contract", "complaint", "enquiry", "junk")
RISKS = ("duplicate", "inflated_amount", "sender_mismatch", "changed_account", "pressure")

_LANGUAGES = {"en": 0.5, "de": 0.26, "fr": 0.12, "nl": 0.12}
_PRIVATE = {  # how private persons write dates and amounts
    "en": (("d Month yyyy", "EUR 1,234.56"), ("dd/mm/yyyy", "€1,234.56")),
    "de": (("dd.mm.yyyy", "1.234,56 €"), ("d. Month yyyy", "1.234,56 EUR")),
    "fr": (("dd/mm/yyyy", "1 234,56 €"), ("d Month yyyy", "1 234,56 EUR")),
    "nl": (("dd-mm-yyyy", "€ 1.234,56"), ("d Month yyyy", "€ 1.234,56")),
}
_SPREAD = 0.35  # of the logarithm of an issuer's amounts
_OLDER = {"invoice": (0, 4), "reminder": (20, 70), "order": (0, 1), "contract": (0, 6),
          "junk": (-20, -3)}  # fmt: skip  # days before receipt
_ABOUT_GOODS = ("invoice", "reminder", "contract")  # of the supplier; the rest is about what we sell
_FIRST_NUMBER = datetime(2024, 1, 1, tzinfo=UTC)
_JUNK_DOMAINS = ("bulk-offers.example", "mail-service-desk.example", "growth-partners.example", "win-today.example")


@dataclass
class Case:
    """The facts of one case.

    Attributes:
        company: that writes; None: a private person or a junk sender.
        book: wording file, also key of the labels; lines: description, quantity, unit price in cents.
        cents: the total; account: the IBAN the document names; customer: number.
        values: texts of all slots; used: names of those that stand in the document; personal: (kind, value) in it.
        sender, sender_name, reply_to: of its mail.
    """

    kind: str
    rng: random.Random
    received: datetime
    company: Company | None
    writer: Writer
    language: str
    book: str
    lines: list[tuple[str, int, int]]
    cents: int
    issued: date
    number: str
    account: str
    customer: str
    currency: str
    values: dict[str, str]
    sender: str
    sender_name: str
    reply_to: str = ""
    used: set[str] = field(default_factory=set)
    personal: list[tuple[str, str]] = field(default_factory=list)

    def again(self, rng: random.Random, received: datetime) -> Case:
        """The same facts, to be delivered once more."""
        return replace(self, rng=rng, received=received, used=set(), personal=[])


class Numbers:
    """Document numbers: they grow with time and none is given twice."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def next(self, form: str, received: datetime) -> str:
        """The next number of a form: `#` a digit, `{y}` the year."""
        count = int((received - _FIRST_NUMBER).total_seconds() // 60)
        digits = re.search("#+", form)
        assert digits is not None, form
        while True:
            written = f"{count % 10 ** len(digits.group()):0{len(digits.group())}d}"
            number = form.replace(digits.group(), written).replace("{y}", str(received.year))
            if number not in self._given:
                self._given.add(number)
                return number
            count += 1


def case(
    rng: random.Random, kind: str, received: datetime, numbers: Numbers, *, new: bool = False, risk: str = ""
) -> Case:
    """Draw the facts of a document of a type, received at a moment (UTC).

    Args:
        new: from a company that comes with the shift; risk: what is wrong with it (`RISKS`), "" for nothing.
    """
    company = _company(rng, kind, new)
    if company is None:
        language = rng.choices(list(_LANGUAGES), weights=list(_LANGUAGES.values()))[0]
        writer = person(rng, language, rng.choice(_JUNK_DOMAINS) if kind == "junk" else "")
        date_form, money_form = rng.choice(_PRIVATE[language])
        form = replace(US, language=language, date=date_form, money=money_form)
    else:
        language, form, writer = company.language, company, rng.choice(company.contacts)
    book = f"new_{language}" if new else language
    lines = positions(rng, form, book, _net(rng, form, risk))
    cents = gross(form, lines)
    low, high = _OLDER.get(kind, (3, 40))
    issued = received.date() - timedelta(days=rng.randint(low, high))
    ours = kind not in ("invoice", "reminder")  # a customer writes about our invoices, a supplier about its own
    number = numbers.next(US.number if ours else form.number, received - timedelta(days=0 if kind == "invoice" else 30))
    account = company.account if company else writer.account
    if risk == "changed_account":
        account = iban(rng.choice((account[:2], "LU", "IE")), rng)
    customer = company.customer if company else writer.number
    item = lines[0][0] if kind in _ABOUT_GOODS else rng.choice(wording("labels")[language]["outdoor"])
    until = due(issued, form) if kind == "invoice" else received.date() + timedelta(days=rng.randint(5, 14))
    order = numbers.next(form.number if kind == "order" else rng.choice(("45########", "S-#######")), received)
    values = {
        "number": number, "date": day(issued, form.date, language), "total": money(cents, form.money),
        "due": day(until, form.date, language), "customer": customer, "order": order, "item": item,
        "city": (company.address if company else writer.address).split()[-1], "days": str(rng.choice((5, 7, 10, 12, 14, 21, 28, 30))), "phone": writer.phone,
        "mail": writer.mail, "address": company.address if company else writer.address, "account": grouped(account),
        "name": writer.name, "issuer": company.name if company else writer.name, "us": US.name,
        "doc": f"{rng.choice(('A', 'V', 'SLA', 'C'))}-{rng.randint(1000, 9999)}/{rng.randint(1, 12)}",
        "quoted": rng.choice(company.contacts if company and not ours else US.contacts).name,
    }  # fmt: skip
    made = Case(kind, rng, received, company, writer, language, book, lines, cents, issued, number, account, customer,
                form.currency, values, writer.mail, writer.name)  # fmt: skip
    if company:
        _company_sender(made, company, risk)
    return made


def truth(made: Case) -> dict[str, object]:
    """The true fields: what stands in the document, None for the rest; nothing for junk."""
    counts = made.used if made.kind != "junk" else set[str]()
    return {
        "issuer": made.company.name if made.company and "issuer" in counts else None,
        "invoice_number": made.number if "number" in counts else None,
        "date": made.issued.isoformat() if "date" in counts else None,
        "total": made.cents / 100 if "total" in counts else None,
        "currency": made.currency if "total" in counts else None,
        "account_number": made.account if "account" in counts else None,
        "customer_number": made.customer if "customer" in counts else None,
    }


def lookalike(domain: str, rng: random.Random) -> str:
    """A domain that a hurried reader takes for the right one."""
    stem = domain.removesuffix(".example")
    changed: Sequence[str] = (stem.replace("l", "1", 1), stem.replace("o", "0", 1), stem.replace("m", "rn", 1),
                              stem.replace("-", "", 1), f"{stem}-billing", stem[:3] + stem[4:])  # fmt: skip
    return rng.choice([one for one in changed if one != stem]) + ".example"


def _company(rng: random.Random, kind: str, new: bool) -> Company | None:
    if kind == "junk":
        return None
    if new:
        return rng.choice(NEWCOMERS)
    if kind == "order":
        return rng.choice(BUYERS)
    if kind in ("complaint", "enquiry"):
        return rng.choice(BUYERS) if rng.random() < 0.25 else None
    return rng.choice(SUPPLIERS)


def _net(rng: random.Random, company: Company, risk: str) -> int:
    """Cents without tax; now and then a large but honest one."""
    factor = rng.lognormvariate(0, _SPREAD)
    if risk == "inflated_amount":
        factor = rng.uniform(5, 20)
    elif rng.random() < 0.02:
        factor *= rng.uniform(2, 3.5)
    return max(500, round(company.typical * factor * 100))


def _company_sender(made: Case, company: Company, risk: str) -> None:
    """A company writes from a person's address or from the one of its accounts department."""
    rng = made.rng
    user = made.writer.mail.split("@")[0]
    if rng.random() < 0.5:
        user, made.sender_name = "billing", company.name
    domain = company.domain
    if risk == "sender_mismatch" or (risk in ("changed_account", "pressure") and rng.random() < 0.5):
        domain = lookalike(domain, rng)
    if risk == "pressure" and rng.random() < 0.4:
        made.reply_to = person(rng, made.language).mail
    made.sender = f"{user}@{domain}"
