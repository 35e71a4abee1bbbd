"""The fields of a document: parties, numbers, dates and amounts, each with its place in the text and a confidence.

The rules know the words of invoices in four languages and how they are laid out, and no issuer: there are no templates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baton_packs.customer_experience.fields.amounts import Amount, find_amounts, main_currency
from baton_packs.customer_experience.fields.dates import choose_dates, find_dates
from baton_packs.customer_experience.fields.issuer import LEAST, find_parties
from baton_packs.customer_experience.fields.labels import Label, find_labels
from baton_packs.customer_experience.fields.names import find_names
from baton_packs.customer_experience.fields.numbers import choose_numbers, find_ibans
from baton_packs.customer_experience.fields.page import Found, LineSpan, Page
from baton_packs.customer_experience.fields.totals import LARGEST, ONLY, UNREAD, choose_totals

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("issuer", "invoice_number", "date", "total")
BEST = ("issuer", "recipient", "invoice_number", "account_number", "date", "due_date", "total", "customer_number")
LONGEST = 50_000  # characters read, as many as parsing hands on
LETTER = 0.5  # as `LEAST`
BUSINESS = ("invoice", "invoice_number", "order_number", "payable", "customer_number")
LISTED = 12  # amounts listed beside those with a meaning
COUNTRIES = {"GB": "GBP", "CH": "CHF", "PL": "PLN", "SE": "SEK", "NO": "NOK", "DK": "DKK", "CZ": "CZK", "HU": "HUF"}


def extract(parsed: pd.DataFrame) -> pd.DataFrame:
    """One row per parsed document, in its order.

    Args:
        parsed: the frame of `parsing.parse`: document_id, text, language, subject, sender, sender_name, attachments.

    Returns:
        document_id; `fields` (JSON list of field, value, text, start, end, confidence, by); the best values issuer,
        recipient, invoice_number, account_number, date and due_date (ISO), total (float, NaN without one), currency
        (ISO code), customer_number, each None if not found; `confidence` (0..1): of the weakest of issuer, number,
        date and total where the document is an invoice, 0 if one of them is missing, 1.0 for other documents;
        and `_source`, `_row`, `_row_sha` if present.
    """
    import pandas as pd

    texts = [str(text)[:LONGEST] if isinstance(text, str) else "" for text in parsed["text"]]
    languages = _column(parsed, "language")
    names = find_names(texts, languages)
    columns = zip(texts, languages, _column(parsed, "subject"), _column(parsed, "sender"), _column(parsed, "sender_name"),
                  _column(parsed, "attachments"), _column(parsed, "media"), names, strict=True)  # fmt: skip
    rows = []
    for text, language, subject, sender, sender_name, attachments, media, named in columns:
        found, expected = extract_text(text, language, subject, sender, sender_name, named, media, attachments)
        rows.append(_row(found, expected))
    kept = ["document_id", *(name for name in ("_source", "_row", "_row_sha") if name in parsed)]
    result = pd.DataFrame(rows, columns=["fields", *BEST, "currency", "confidence"], index=parsed.index)
    result["total"] = result["total"].astype("float64")
    result["confidence"] = result["confidence"].astype("float64")
    return pd.concat([parsed[kept[:1]], result, parsed[kept[1:]]], axis=1)


def best_fields(cell: str) -> str:
    """Of a cell `fields`, the surest value of each field that decisions use: JSON list of field, value, start, end, confidence."""
    best: dict[str, dict[str, Any]] = {}
    for each in json.loads(cell):
        if each["field"] not in best or best[each["field"]]["confidence"] < each["confidence"]:
            best[each["field"]] = each
    shown = ("field", "value", "start", "end", "confidence")
    chosen = [{name: best[field][name] for name in shown} for field in (*BEST, "currency") if field in best]
    return json.dumps(chosen, ensure_ascii=False)


def extract_text(
    text: str,
    language: str = "",
    subject: str = "",
    sender: str = "",
    sender_name: str = "",
    names: Sequence[Found] = (),
    media: str = "",
    attachments: str = "",
) -> tuple[list[Found], bool]:
    """All fields of one text, and whether it is an invoice, which needs issuer, number, date and total."""
    page = Page(text)
    if not page.lines:
        return list(names), False
    labels = find_labels(page)
    ibans = find_ibans(page)
    dates = find_dates(page, language, month_first=False)
    masked = [LineSpan(date.start, date.end) for date in dates] + [LineSpan(iban.start, iban.end) for iban in ibans]
    amounts = find_amounts(page, masked)
    if _american(amounts, ibans):
        dates = find_dates(page, language, month_first=True)
    spans = masked + [LineSpan(amount.start, amount.end) for amount in amounts if amount.money]
    numbers = choose_numbers(page, labels, spans)
    if "invoice_number" not in {number.field for number in numbers} and subject:
        numbers += _from_subject(subject)
    accounts = [Found("account_number", i.value, i.text, i.start, i.end, i.confidence, i.by) for i in ibans[:1]]
    if accounts and accounts[0].confidence >= 0.7:
        numbers = [number for number in numbers if number.field != "account_number"]
    else:
        numbers += [account for account in accounts if "account_number" not in {number.field for number in numbers}]
        accounts = []
    number = next((found for found in numbers if found.field == "invoice_number"), None)
    totals = choose_totals(page, amounts, labels, masked)
    organisations = [name for name in names if name.field == "organisation"]
    paper = media in ("pdf", "scan") or any(item.get("media") in ("pdf", "scan") for item in _listed(attachments))
    expected = _is_invoice(labels, totals, number, paper)
    least = LEAST if expected or paper else LETTER  # anybody may write a letter: its company must be sure
    parties = find_parties(page, labels, sender, sender_name, organisations, least)
    chosen = [*parties, *numbers, *accounts, *choose_dates(page, dates, labels, number), *totals]
    if not expected:
        business = any(label.kind in BUSINESS for label in labels)
        chosen = [found for found in chosen if found.by not in (LARGEST, UNREAD) and (business or found.by != ONLY)]
    currency = next(
        (
            amount.currency
            for amount in amounts
            if totals and amount.currency and amount.start <= totals[0].start < amount.end
        ),
        None,
    )
    currency = currency or main_currency(text, amounts) or _of_country(ibans)
    if currency and any(found.field == "total" for found in chosen):
        chosen.append(Found("currency", currency, "", -1, -1, 0.9, "amounts"))
    places = {(found.start, found.end) for found in chosen}
    listed = [Found("amount", a.value, text[a.start : a.end], a.start, a.end, 0.8, "money") for a in amounts if a.money]
    rest = [found for found in listed if not any(s <= found.start <= e for s, e in places)][:LISTED]
    return [*chosen, *ibans, *rest, *names], expected


def _from_subject(subject: str) -> list[Found]:
    """The invoice's number where only the mail's subject has it; its place is -1."""
    page = Page(subject.replace("\n", " "))
    found = choose_numbers(page, find_labels(page), []) if page.lines else []
    return [
        Found(f.field, f.value, f.text, -1, -1, round(f.confidence * 0.9, 3), "subject")
        for f in found
        if f.field == "invoice_number"
    ]


def _american(amounts: list[Amount], ibans: list[Found]) -> bool:
    """Whether amounts are in US dollars and nothing speaks for another country: dates then begin with the month."""
    return {amount.currency for amount in amounts if amount.currency} == {"USD"} and not ibans


def _of_country(ibans: list[Found]) -> str | None:
    """The currency of the account's country."""
    return COUNTRIES.get(str(ibans[0].value)[:2], "EUR") if ibans else None


def _is_invoice(labels: list[Label], totals: list[Found], number: Found | None, paper: bool) -> bool:
    """A text that calls something an invoice, with a labelled total; or a PDF that does, with any amount or number."""
    named = any(label.kind in ("invoice", "invoice_number") for label in labels)
    total = any(found.field == "total" and found.by not in (LARGEST, ONLY) for found in totals)
    return named and (total or (paper and (number is not None or bool(totals))))


def _listed(attachments: str) -> list[dict[str, object]]:
    try:
        items = json.loads(attachments) if attachments else []
    except ValueError:
        return []
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _row(found: list[Found], expected: bool) -> list[object]:
    best: dict[str, Found] = {}
    for each in found:
        if each.field not in best or best[each.field].confidence < each.confidence:
            best[each.field] = each
    values: list[object] = [best[name].value if name in best else None for name in BEST]
    values[BEST.index("total")] = best["total"].value if "total" in best else math.nan
    weakest = min((best[name].confidence if name in best else 0.0) for name in NEEDED) if expected else 1.0
    currency = best["currency"].value if "currency" in best else None
    return [json.dumps([asdict(each) for each in found], ensure_ascii=False), *values, currency, weakest]


def _column(frame: pd.DataFrame, name: str) -> list[str]:
    """A column of texts, empty where it or a value is missing."""
    if name not in frame:
        return [""] * len(frame)
    return [value if isinstance(value, str) else "" for value in frame[name]]
