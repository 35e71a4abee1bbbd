"""Dates in English, German, French and Dutch notations, and which of them is the document's and the payment's."""

import datetime as dt
import re
from dataclasses import dataclass

from baton_packs.customer_experience.fields.labels import Label
from baton_packs.customer_experience.fields.page import Found, Page, beneath, fold

NAMES = (
    "january januar janner janvier januari jan", "february februar fevrier februari feb fevr",
    "march marz maerz mars maart mar mrt mrz", "april avril apr avr", "may mai mei", "june juni juin jun",
    "july juli juillet jul juil", "august aout augustus aug", "september septembre sept sep",
    "october oktober octobre oct okt", "november novembre nov", "december dezember decembre dec dez",
)  # fmt: skip
MONTHS = {name: month for month, names in enumerate(NAMES, 1) for name in names.split()}
ISO = re.compile(r"(?<![\d.,/-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\d])")
NUMERIC = re.compile(r"(?<![\d.,/-])(\d{1,2})([./-])\s?(\d{1,2})\2\s?(\d{4}|\d{2})(?![\d/-]|\.\d)")
DAY_FIRST = re.compile(
    r"(?<!\d)(\d{1,2})(?:st|nd|rd|th|er|e)?\.?[\s-]{0,3}(?:of\s)?([^\W\d_]{3,9})\.?,?[\s-]{1,3}'?(\d{4}|\d{2})(?!\d)"
)
MONTH_FIRST = re.compile(
    r"(?<![^\W_])([^\W\d_]{3,9})\.?\s{1,3}(\d{1,2})(?:st|nd|rd|th)?\s?(?:,\s{0,3}|\s{1,3})(\d{4})(?!\d)"
)
CONNECTED = re.compile(r"[ ,(]{1,2}|[\s,;:(-]*(?:du|vom|van|dated|of|from|en date du|d\.d\.|le)[\s:]*", re.IGNORECASE)
ORDERED = re.compile(r"order|commande|bestel|auftrag")  # the only date of an order


@dataclass(frozen=True, slots=True)
class Date:
    """A date and its place; `sure` is 1.0 unless day and month could be exchanged; `value` None if no such day exists."""

    value: dt.date | None
    start: int
    end: int
    sure: float


def find_dates(page: Page, language: str, month_first: bool) -> list[Date]:
    """All dates of a text in order.

    `03/04/2024` is read as the other dates of the text are (one of them may have a 13th or later day), else by
    language: day first, except in an English text with signs of the United States (`month_first`).
    """
    text = page.numbers
    found: list[Date] = []
    for match in ISO.finditer(text):
        found.append(_made(match, int(match[1]), int(match[3]), int(match[4])))
    numeric = list(NUMERIC.finditer(text))
    slashed = [m for m in numeric if m[2] != "."]
    day = sum(int(m[1]) > 12 >= int(m[3]) for m in slashed)
    month = sum(int(m[3]) > 12 >= int(m[1]) for m in slashed)
    swapped = month > day or (month == day == 0 and language in ("en", "") and month_first)
    for match in numeric:
        a, b = int(match[1]), int(match[3])
        exchange = match[2] != "." and ((swapped and a <= 12) or b > 12 >= a)
        settled = a == b or max(a, b) > 12 or match[2] == "." or bool(day or month) or language not in ("en", "")
        found.append(_made(match, _year(match[4]), a if exchange else b, b if exchange else a, 1.0 if settled else 0.6))
    for pattern, d, m in ((DAY_FIRST, 1, 2), (MONTH_FIRST, 2, 1)):
        for match in pattern.finditer(text):
            if fold(match[m]) in MONTHS:
                found.append(_made(match, _year(match[3]), MONTHS[fold(match[m])], int(match[d])))
    found.sort(key=lambda date: (date.start, -date.end))
    return [date for i, date in enumerate(found) if not i or date.start >= found[i - 1].end]


def _year(digits: str) -> int:
    return int(digits) if len(digits) == 4 else 2000 + int(digits) - (100 if int(digits) >= 70 else 0)


def _made(match: re.Match[str], year: int, month: int, day: int, sure: float = 1.0) -> Date:
    try:
        value = dt.date(year, month, day) if 1900 <= year < 2100 else None
    except ValueError:
        value = None
    return Date(value, *match.span(), sure)


def choose_dates(page: Page, dates: list[Date], labels: list[Label], number: Found | None) -> list[Found]:
    """The best `date` and `due_date`, and each `invalid_date` that stands where one of them should.

    A label's date follows it on its line, or stands in its column under it. A date right after the invoice's number
    is the invoice's. Without any label, the first date of the text is taken with little confidence.
    """
    wanted = [label for label in labels if label.kind in ("date", "due_date", "other_date")]
    by_line, at = page.by_line(dates), {date.start: date for date in dates}
    taken: dict[int, tuple[str, float, str]] = {}
    for i, label in enumerate(wanted):
        limit = wanted[i + 1].start if i + 1 < len(wanted) and wanted[i + 1].line == label.line else len(page.text)
        right = [date for date in by_line.get(label.line, ()) if label.end <= date.start < limit]
        value, factor = (right[0], 1.0) if right else (beneath(page, label, by_line), 0.85)
        if value is None:
            continue
        confidence = _trust(page, label, value) * factor
        if value.start not in taken or taken[value.start][1] < confidence:
            taken[value.start] = (label.kind, confidence, f"label {label.phrase}")
    if number and number.start >= 0:
        for date in dates:
            open_ = date.start not in taken or taken[date.start][1] < 0.8
            if open_ and 0 <= date.start - number.end <= 16 and CONNECTED.fullmatch(page.text, number.end, date.start):
                taken[date.start] = ("date", 0.9, "after the number")
    if not any(kind == "date" for kind, _, _ in taken.values()):
        said = {at[start].value for start in taken}  # the due date is often named twice
        free = [date for date in dates if date.value and date.value not in said]
        if free:
            taken[free[0].start] = ("date", 0.4, "first date")
        elif other := [start for start, (kind, _, by) in taken.items() if kind == "other_date" and ORDERED.search(by)]:
            taken[other[0]] = ("date", 0.35, taken[other[0]][2])
    return _best(page, at, taken)


def _trust(page: Page, label: Label, value: Date) -> float:
    """A plain `date` behind another word is the date of something else; words between weaken the bond."""
    trust = 0.95 if label.words > 1 or len(label.phrase) > 6 else 0.8
    before = page.text[page.lines[label.line].start : label.start]
    if label.phrase in ("date", "datum") and before.endswith(" ") and before[-2:] != "  " and before.strip():
        trust = 0.5
    if page.line_at(value.start) == label.line and len(page.text[label.end : value.start].split()) > 4:
        trust -= 0.25
    return trust


def _best(page: Page, at: dict[int, Date], taken: dict[int, tuple[str, float, str]]) -> list[Found]:
    best: dict[str, Found] = {}
    invalid = []
    for start, (kind, confidence, by) in sorted(taken.items()):
        date = at[start]
        if date.value is None:
            invalid.append(page.found("invalid_date", None, date, 0.0, "no such day"))
            continue
        found = page.found(kind, date.value.isoformat(), date, confidence * date.sure, by)
        if kind != "other_date" and (kind not in best or best[kind].confidence < found.confidence):
            best[kind] = found
    return [*best.values(), *invalid]
