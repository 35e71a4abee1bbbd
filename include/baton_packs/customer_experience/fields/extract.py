"""The fields of a document: parties, numbers, dates and amounts, each with its place in the text and a confidence.

The rules know the words of invoices in four languages and how they are laid out, and no issuer: there are no templates.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

import pandas as pd

from baton_packs.customer_experience.fields.amounts import Amount, find_amounts, main_currency
from baton_packs.customer_experience.fields.dates import Date, choose_dates, find_dates
from baton_packs.customer_experience.fields.issuer import LEAST, find_parties
from baton_packs.customer_experience.fields.labels import Label, find_labels
from baton_packs.customer_experience.fields.names import find_names
from baton_packs.customer_experience.fields.numbers import choose_numbers, find_ibans
from baton_packs.customer_experience.fields.page import Found, Page, Placed
from baton_packs.customer_experience.fields.totals import LARGEST, ONLY, UNREAD, choose_totals

NEEDED = ("issuer", "invoice_number", "date", "total")
BEST = ("issuer", "recipient", "invoice_number", "account_number", "date", "due_date", "total", "customer_number")
LONGEST = 50_000  # characters read, as many as parsing hands on
LETTER = 0.5  # as `LEAST`
TOLD = ("language", "subject", "sender", "sender_name", "media", "attachments")  # as in `About`
PAPER = frozenset(("pdf", "scan"))
BUSINESS = ("invoice", "invoice_number", "order_number", "payable", "customer_number")
LISTED = 12  # amounts listed beside those with a meaning
COUNTRIES = {"GB": "GBP", "CH": "CHF", "PL": "PLN", "SE": "SEK", "NO": "NOK", "DK": "DKK", "CZ": "CZK", "HU": "HUF"}


def extract(parsed: pd.DataFrame) -> pd.DataFrame:
    """One row per parsed document, in its order.

    Args:
        parsed: the frame of `intake.parse`: document_id, text, language, subject, sender, sender_name, attachments.

    Returns:
        document_id; `fields` (JSON list of field, value, text, start, end, confidence, by); the best values issuer,
        recipient, invoice_number, account_number, date and due_date (ISO), total (float, NaN without one), currency
        (ISO code), customer_number, each None if not found; `confidence` (0..1): of the weakest of issuer, number,
        date and total where the document is an invoice, 0 if one of them is missing, 1.0 for other documents;
        and `_source`, `_row`, `_row_sha` if present.
    """
    texts = [str(text)[:LONGEST] if isinstance(text, str) else "" for text in parsed["text"]]
    columns = {name: texts_of(parsed, name) for name in TOLD}
    named = find_names(texts, columns["language"])
    told = (About(*cells) for cells in zip(*columns.values(), named, strict=True))
    rows = [_row(*extract_text(text, about)) for text, about in zip(texts, told, strict=True)]
    kept = ["document_id", *(name for name in ("_source", "_row", "_row_sha") if name in parsed)]
    result = pd.DataFrame(rows, columns=["fields", *BEST, "currency", "confidence"], index=parsed.index)
    result = result.astype({"total": "float64", "confidence": "float64"})
    return pd.concat([parsed[kept[:1]], result, parsed[kept[1:]]], axis=1)


def best_fields(cell: str) -> str:
    """Of a cell `fields`, the surest value of each field that decisions use: JSON list of field, value, start, end, confidence."""
    best = _surest(Found(**each) for each in json.loads(cell))
    shown = ("field", "value", "start", "end", "confidence")
    chosen = [{name: getattr(best[field], name) for name in shown} for field in (*BEST, "currency") if field in best]
    return json.dumps(chosen, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a text beside its words; `attachments` is JSON, `media` and the rest as in the frame *parsed*."""

    language: str = ""
    subject: str = ""
    sender: str = ""
    sender_name: str = ""
    media: str = ""
    attachments: str = ""
    names: Sequence[Found] = ()

    @property
    def paper(self) -> bool:
        """Whether the text, or a part of it, comes from a page as it is printed."""
        try:
            items = json.loads(self.attachments) if self.attachments else []
        except ValueError:
            items = []
        listed = [item.get("media") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return not PAPER.isdisjoint((self.media, *map(str, listed)))


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands on a page, before it is asked what of it is the document's own.

    Attributes:
        masked: places of dates and accounts, which are no amounts.
    """

    labels: list[Label]
    ibans: list[Found]
    dates: list[Date]
    amounts: list[Amount]
    numbers: list[Found]
    masked: list[Placed]

    @classmethod
    def of(cls, page: Page, about: About) -> Self:
        """Read a page: places of dates and accounts are no amounts, and none of these is a number."""
        labels, ibans, dates = find_labels(page), find_ibans(page), find_dates(page, about.language, month_first=False)
        masked: list[Placed] = [*dates, *ibans]
        amounts = find_amounts(page, masked)
        if {amount.currency for amount in amounts if amount.currency} == {"USD"} and not ibans:
            dates = find_dates(page, about.language, month_first=True)  # nothing speaks for another country
        numbers = choose_numbers(page, labels, [*masked, *(amount for amount in amounts if amount.money)])
        if about.subject and not any(number.field == "invoice_number" for number in numbers):
            numbers += _from_subject(about.subject)
        return cls(labels, ibans, dates, amounts, _with_account(numbers, ibans), masked)

    def called(self, *kinds: str) -> bool:
        """Whether a label of one of these kinds stands on the page."""
        return any(label.kind in kinds for label in self.labels)

    def currency(self, text: str, totals: list[Found]) -> str | None:
        """That of the total, else of most amounts, else of the account's country."""
        for amount in self.amounts:
            if totals and amount.currency and amount.start <= totals[0].start < amount.end:
                return amount.currency
        country = COUNTRIES.get(str(self.ibans[0].value)[:2], "EUR") if self.ibans else None
        return main_currency(text, self.amounts) or country


def extract_text(text: str, about: About = About()) -> tuple[list[Found], bool]:
    """All fields of one text, and whether it is an invoice, which needs issuer, number, date and total."""
    page = Page(text)
    if not page.lines:
        return list(about.names), False
    read = Reading.of(page, about)
    number = next((found for found in read.numbers if found.field == "invoice_number"), None)
    totals = choose_totals(page, read.amounts, read.labels, read.masked)
    expected = _is_invoice(read, totals, number, about.paper)
    organisations = [name for name in about.names if name.field == "organisation"]
    least = LEAST if expected or about.paper else LETTER  # anybody may write a letter: its company must be sure
    parties = find_parties(page, read.labels, about.sender, about.sender_name, organisations, least)
    chosen = [*parties, *read.numbers, *choose_dates(page, read.dates, read.labels, number), *totals]
    if not expected:
        unsure = (LARGEST, UNREAD) if read.called(*BUSINESS) else (LARGEST, UNREAD, ONLY)
        chosen = [found for found in chosen if found.by not in unsure]
    currency = read.currency(text, totals)
    if currency and any(found.field == "total" for found in chosen):
        chosen.append(Found("currency", currency, "", -1, -1, 0.9, "amounts"))
    return [*chosen, *read.ibans, *_further_amounts(page, read, chosen), *about.names], expected


def _with_account(numbers: list[Found], ibans: list[Found]) -> list[Found]:
    """The first IBAN is the account; one whose checksum is wrong only where no label announces another."""
    if not ibans:
        return numbers
    account = replace(ibans[0], field="account_number")
    labelled = [number for number in numbers if number.field == "account_number"]
    if account.confidence < 0.7 and labelled:
        return numbers
    return [*(number for number in numbers if number not in labelled), account]


def _further_amounts(page: Page, read: Reading, chosen: list[Found]) -> list[Found]:
    """Amounts of money beside those with a meaning."""
    places = {(found.start, found.end) for found in chosen}
    rest = [a for a in read.amounts if a.money and not any(start <= a.start <= end for start, end in places)]
    return [page.found("amount", amount.value, amount, 0.8, "money") for amount in rest[:LISTED]]


def _from_subject(subject: str) -> list[Found]:
    """The invoice's number where only the mail's subject has it; its place is -1."""
    page = Page(subject.replace("\n", " "))
    found = choose_numbers(page, find_labels(page), []) if page.lines else []
    return [replace(each, start=-1, end=-1, confidence=round(each.confidence * 0.9, 3), by="subject")
            for each in found if each.field == "invoice_number"]  # fmt: skip


def _is_invoice(read: Reading, totals: list[Found], number: Found | None, paper: bool) -> bool:
    """A text that calls something an invoice, with a labelled total; or a PDF that does, with any amount or number."""
    total = any(found.field == "total" and found.by not in (LARGEST, ONLY) for found in totals)
    return read.called("invoice", "invoice_number") and (total or (paper and (number is not None or bool(totals))))


def _surest(found: Iterable[Found]) -> dict[str, Found]:
    """Field -> its surest value, of equal ones the first."""
    best: dict[str, Found] = {}
    for each in found:
        if each.field not in best or best[each.field].confidence < each.confidence:
            best[each.field] = each
    return best


def _row(found: list[Found], expected: bool) -> list[object]:
    best = _surest(found)
    values: list[object] = [best[name].value if name in best else None for name in (*BEST, "currency")]
    if "total" not in best:
        values[BEST.index("total")] = math.nan
    weakest = min((best[name].confidence if name in best else 0.0) for name in NEEDED) if expected else 1.0
    return [json.dumps([asdict(each) for each in found], ensure_ascii=False), *values, weakest]


def texts_of(frame: pd.DataFrame, name: str) -> list[str]:
    """A column of texts, empty where it or a value is missing."""
    if name not in frame:
        return [""] * len(frame)
    return [value if isinstance(value, str) else "" for value in frame[name]]
