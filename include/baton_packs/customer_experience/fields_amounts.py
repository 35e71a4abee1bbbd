"""Amounts of money in the notations of English, German, French and Dutch texts."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

from baton_packs.customer_experience.fields_layout import Page, Span

SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "₹": "INR", "¥": "JPY", "us$": "USD", "rs": "INR", "rs.": "INR", "euro": "EUR",
           "euros": "EUR", "dollars": "USD", "pounds": "GBP", "c$": "CAD", "a$": "AUD", "hk$": "HKD", "fr.": "CHF",
           "sfr.": "CHF", "zł": "PLN", "kč": "CZK", "inr": "INR"}  # fmt: skip
CODES = (
    "EUR",
    "USD",
    "GBP",
    "INR",
    "CHF",
    "JPY",
    "SEK",
    "NOK",
    "DKK",
    "PLN",
    "CZK",
    "CAD",
    "AUD",
    "HKD",
    "SGD",
    "NZD",
    "HUF",
)
CURRENCY = rf"(?:{'|'.join(CODES)}|(?:US|HK|C|A)?\$|[€£₹¥]|Rs\.?|Euros?\b|S?Fr\.|zł|Kč)"
AMOUNT = re.compile(
    rf"(?<![\w.,/:#])(?P<open>\(?)(?P<sign>[-−–]?)[ ]?(?P<before>{CURRENCY})?[ \u00a0]{{0,3}}(?P<sign2>[-−–]?)[ ]?"
    r"(?P<number>\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3}){1,6}(?:[.,]\d{1,2})?(?!\d)"
    r"|\d{1,2}(?:,\d\d){1,6},\d{3}(?:\.\d{1,2})?(?!\d)"  # India: lakhs and crores
    r"|\d{1,18}(?:[.,]\d{1,2})?(?!\d))"
    r"(?P<dash>,-{1,2}|,—)?(?P<sign3>-(?!\w))?(?P<close>\)?)"
    rf"[ \u00a0\u202f]{{0,2}}(?P<after>{CURRENCY}(?!\w))?(?![\w%]|[.,:/]\d|[ ]%)",
    re.IGNORECASE,
)
WORDS = re.compile(
    rf"(?<!\w)(?:{'|'.join(CODES)}|US dollars?|euros?|pounds sterling|Swiss francs?)(?!\w)", re.IGNORECASE
)
NAMED = {"us dollar": "USD", "us dollars": "USD", "pounds sterling": "GBP", "swiss franc": "CHF", "swiss francs": "CHF",
         "euro": "EUR", "euros": "EUR"}  # fmt: skip
ABSURD = 1e9  # a larger amount is more likely a number that is none
_GROUPED = re.compile(r"\d+(?:[.,'’]\d+)+(?![\d.,'’]*[ ]?%)")


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount and its place; `money` if decimals or a currency say that it is one."""

    value: float
    currency: str | None
    start: int
    end: int
    money: bool


def parse_number(text: str) -> float | None:
    """`1.234,56`, `1,234.56`, `1 234,56`, `1'234.56`, `1234` -> the number; None if it is none.

    One separator before exactly three digits parts thousands: amounts are not printed with three decimals.
    """
    plain = re.sub(r"[\s'’]", "", text)
    marks = [c for c in plain if c in ".,"]
    if marks:
        head, _, tail = plain.rpartition(marks[-1])
        decimal = len(tail) != 3 and (len(marks) == 1 or marks[-1] not in marks[:-1])
        digits = re.sub(r"[.,]", "", head)
        plain = f"{digits}.{tail}" if decimal else digits + tail
    try:
        return float(plain)
    except ValueError:
        return None


def find_amounts(page: Page, masked: list[Span]) -> list[Amount]:
    """All amounts of a text in order, outside the `masked` places (dates, account numbers)."""
    text = page.numbers
    if masked:
        parts, last = [], 0
        for span in sorted(masked, key=lambda s: s.start):
            if span.start < last:
                continue
            parts += [text[last : span.start], "x" * (span.end - span.start)]
            last = span.end
        text = "".join([*parts, text[last:]])
    found = []
    for match in AMOUNT.finditer(text):
        value = parse_number(match["number"])
        if value is None:
            continue
        currency = match["before"] or match["after"]
        signs = match["sign"] or match["sign2"] or match["sign3"]
        negative = bool(signs or (match["open"] and match["close"]))  # bookkeepers put what is owed in brackets
        money = bool(currency or match["dash"] or re.search(r"[.,]\d\d$", match["number"]))
        code = _code(currency) if currency else None
        start, end = match.span()
        printed = match.group()
        start += len(printed) - len(printed.lstrip())
        found.append(
            Amount(-value if negative else value, code, start, end - len(printed) + len(printed.rstrip()), money)
        )
    return found


def _code(token: str) -> str:
    low = token.strip().lower()
    return SYMBOLS.get(low, token.strip().upper())


def main_currency(text: str, amounts: list[Amount]) -> str | None:
    """The currency that most amounts carry, or that the text names; None if neither says one."""
    counted = Counter(amount.currency for amount in amounts if amount.currency)
    if not counted:
        counted = Counter(NAMED.get(word.lower(), word.upper()) for word in WORDS.findall(text))
    return counted.most_common(1)[0][0] if counted else None


def unread(page: Page, known: list[Span], start: int, end: int) -> bool:
    """Whether digits with marks between them, as an amount has, stand between two places and are nothing that is `known`.

    Args:
        known: amounts, dates and account numbers, by their start.
    """
    begins = [span.start for span in known]
    for match in _GROUPED.finditer(page.numbers, start, end):
        i = bisect_right(begins, match.start())
        if not any(span.end > match.start() for span in known[max(i - 2, 0) : i]):
            return True
    return False
