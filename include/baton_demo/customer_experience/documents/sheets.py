"""Sheets (`pdf.Sheet`) of the invented companies: invoices, reminders, orders, contracts and register scams."""

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from baton_demo.customer_experience.documents.forms import day, money
from baton_demo.customer_experience.documents.pdf import Sheet
from baton_demo.customer_experience.documents.people import US, Company, grouped
from baton_demo.customer_experience.documents.writing import section, wording


class Words:
    """The labels a company prints: its language's, in its variant."""

    def __init__(self, company: Company, book: str) -> None:
        self.words, self.variant = wording("labels")[book], company.variant

    def __call__(self, name: str) -> str:
        variants = self.words[name]
        return str(variants[self.variant % len(variants)])


def invoice(
    company: Company,
    book: str,
    values: Mapping[str, str],
    lines: list[tuple[str, int, int]],
    *,
    issued: date,
    account: str,
) -> Sheet:
    """An invoice.

    Args:
        values: slots of the texts, number, due and name among them.
        lines: description, quantity, unit price in cents.
        account: IBAN as delivered on the sheet.
    """
    words = Words(company, book)
    sheet = _sheet(company, words, "invoice", issued)
    sheet.facts = [
        (words("number"), values["number"]),
        (words("date"), day(issued, company.date, company.language)),
        (words("customer"), company.customer),
        (words("due"), values["due"]),
        (words("contact"), values["name"]),
    ]
    _positions(sheet, company, words, lines)
    sheet.payment = [(words("account"), grouped(account))]
    sheet.footer = [words("thanks"), f"{company.name}, {company.address}"]
    return sheet


def order(company: Company, book: str, values: Mapping[str, str], lines: list[tuple[str, int, int]],
          issued: date, used: set[str]) -> Sheet:  # fmt: skip
    """An order of a buyer."""
    words = Words(company, book)
    sheet = _sheet(company, words, "order", issued)
    sheet.facts = [
        (words("order_number"), values["order"]),
        (words("order_date"), values["date"]),
        (words("customer"), company.customer),
        (words("contact"), values["name"]),
    ]
    _positions(sheet, company, words, lines)
    sheet.footer = section(book, "order", values, used)
    return sheet


def contract(company: Company, book: str, values: Mapping[str, str], fee: int, issued: date, used: set[str]) -> Sheet:
    """A contract over a fee (cents) per year."""
    words = Words(company, book)
    sheet = _sheet(company, words, "contract", issued)
    sheet.facts = [(words("contract_number"), values["doc"]), (words("customer"), company.customer)]
    sheet.paragraphs = section(book, "contract", values, used)
    sheet.sums = [(words("fee"), money(fee, company.money))]
    return sheet


def reminder(company: Company, book: str, values: Mapping[str, str], text: str, issued: date) -> Sheet:
    """A reminder by letter."""
    words = Words(company, book)
    sheet = _sheet(company, words, "reminder", issued)
    sheet.facts = [
        (words("number"), values["number"]),
        (words("date"), values["date"]),
        (words("customer"), company.customer),
        (words("contact"), values["name"]),
    ]
    sheet.paragraphs = text.strip().split("\n\n")
    sheet.sums = [(words("total"), values["total"])]
    sheet.payment = [(words("account"), grouped(company.account))]
    return sheet


def plain_letter(name: str, address: str, subject: str, text: str, issued: date) -> Sheet:
    """A private letter."""
    sheet = Sheet(subject, [name, *address.split(", ", 1)], _us(), _midnight(issued))
    sheet.paragraphs = text.strip().split("\n\n")
    return sheet


def register_scam(rng: random.Random, values: Mapping[str, str], issued: date) -> Sheet:
    """What looks like an invoice and is an offer to be listed in a register nobody reads."""
    sheet = Sheet("INVOICE FORM / REGISTER ENTRY", ["International Trade Register Bureau", "PO Box 7, Orrinvale"], _us(),
                  _midnight(issued))  # fmt: skip
    sheet.facts = [("File no", str(rng.randint(10**6, 10**7))), ("Date", values["date"])]
    sheet.paragraphs = ["Publication of your company data for three years. By payment you accept this offer."]
    sheet.head = ("Description", "Qty", "Price", "Amount")
    sheet.items = [("Entry, basic, with logo", "1", values["total"], values["total"])]
    sheet.sums = [("Amount", values["total"])]
    return sheet


def positions(rng: random.Random, company: Company, book: str, net: int) -> list[tuple[str, int, int]]:
    """Up to six lines (description, quantity, unit price in cents) that make up about `net` cents."""
    goods = wording("labels")[book].get(company.sells) or wording("labels")[company.language][company.sells]
    chosen = rng.sample(goods, rng.randint(1, min(len(goods), 6)))
    weights = [rng.uniform(0.3, 1.0) for _ in chosen]
    lines = []
    for name, weight in zip(chosen, weights, strict=True):
        share = net * weight / sum(weights)
        quantity = rng.choice((1, 1, 2, 3, 4, 5, 8, 10, 12, 20))
        lines.append((name, quantity, max(1, round(share / quantity))))
    return lines


def gross(company: Company, lines: list[tuple[str, int, int]]) -> int:
    """The total in cents."""
    net = sum(quantity * price for _, quantity, price in lines)
    return net + round(net * company.tax)


def _positions(sheet: Sheet, company: Company, words: Words, lines: list[tuple[str, int, int]]) -> None:
    sheet.head = (words("item"), words("quantity"), words("price"), words("amount"))
    sheet.items = [
        (name, str(quantity), money(price, company.money, bare=True), money(quantity * price, company.money, bare=True))
        for name, quantity, price in lines
    ]
    net = sum(quantity * price for _, quantity, price in lines)
    rate = f"{company.tax * 100:.1f}".removesuffix(".0")
    rate = rate if company.language == "en" else rate.replace(".", ",")
    sheet.sums = [
        (words("net"), money(net, company.money)),
        (f"{words('tax')} {rate} %", money(gross(company, lines) - net, company.money)),
        (words("total"), money(gross(company, lines), company.money)),
    ]


def _sheet(company: Company, words: Words, title: str, issued: date) -> Sheet:
    street, city = company.address.rsplit(", ", 1)
    contact = f"{company.contacts[0].phone}, billing@{company.domain}"
    return Sheet(words(title), [company.name, street, city, contact], _us(), _midnight(issued), lead=words("to"))


def _us() -> list[str]:
    return [US.name, *US.address.split(", ")]


def _midnight(issued: date) -> datetime:
    """A PDF's creation time; the hour is not simulated."""
    return datetime(issued.year, issued.month, issued.day, tzinfo=UTC)


def due(issued: date, company: Company) -> date:
    """Payment terms: 14 or 30 days."""
    return issued + timedelta(days=14 if company.variant % 2 else 30)
