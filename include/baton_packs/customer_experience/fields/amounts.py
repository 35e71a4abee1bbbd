"""Amounts of money in the notations of English, German, French and Dutch texts."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from baton_packs.customer_experience.fields.page import Page, Placed

SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "₹": "INR", "¥": "JPY", "us$": "USD", "rs": "INR", "rs.": "INR", "euro": "EUR",
           "euros": "EUR", "dollars": "USD", "pounds": "GBP", "c$": "CAD", "a$": "AUD", "hk$": "HKD", "fr.": "CHF",
           "sfr.": "CHF", "zł": "PLN", "kč": "CZK", "inr": "INR"}  # fmt: skip
CODES = ("EUR", "USD", "GBP", "INR", "CHF", "JPY", "SEK", "NOK", "DKK", "PLN", "CZK", "CAD", "AUD", "HKD",
         "SGD", "NZD", "HUF", "KWD", "BHD", "OMR", "TND", "JOD")  # fmt: skip
THREE_DECIMALS = frozenset(("KWD", "BHD", "OMR", "TND", "JOD"))
CURRENCY = rf"(?:(?:{'|'.join(CODES)})(?:[ ]?[$€£₹¥])?|(?:US|HK|C|A)?\$|[€£₹¥]|Rs\.?|Euros?\b|S?Fr\.|zł|Kč)"
AMOUNT = re.compile(
    rf"(?<![\w.,/:#])(?P<open>\(?)(?P<sign>[-−–]?)[ ]?(?P<before>{CURRENCY})?[ \u00a0]{{0,3}}(?P<sign2>[-−–]?)[ ]?"
    r"(?P<number>\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3}){1,6}(?:[.,]\d{1,2})?(?!\d)"
    r"|\d{1,2}(?:,\d\d){1,6},\d{3}(?:\.\d{1,2})?(?!\d)"  # India: lakhs and crores
    r"|\d{1,18}(?:[.,]\d{1,3})?(?!\d))"
    r"(?P<dash>,-{1,2}|,—)?(?P<sign3>-(?!\w))?(?P<close>\)?)"
    rf"[ \u00a0\u202f]{{0,2}}(?P<after>{CURRENCY}(?!\w))?(?![\w%]|[.,:/]\d|[ ]%)",
    re.IGNORECASE,
)
WORDS = re.compile(rf"(?<!\w)(?:{'|'.join(CODES)}|US dollars?|euros?|pounds sterling|Swiss francs?)(?!\w)", re.I)
NAMED = {"us dollar": "USD", "us dollars": "USD", "pounds sterling": "GBP", "swiss franc": "CHF", "swiss francs": "CHF",
         "euro": "EUR", "euros": "EUR"}  # fmt: skip
ABSURD = 1e9  # a larger amount is more likely a number that is none
_GROUPED = re.compile(r"\d+(?:[.,'’]\d+)+(?![\d.,'’]*[ ]?%)")


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount and its place; `money` if decimals or a currency say that it is one, `sure` if it reads one way only."""

    value: float
    currency: str | None
    start: int
    end: int
    money: bool
    sure: bool = True


def read_number(text: str, decimals: int = 2) -> tuple[float | None, bool]:
    """`1.234,56`, `1,234.56`, `1 234,56`, `1'234.56`, `1234` -> the number, None if it is none; and whether it is sure.

    Of two different marks the last is the decimal one. A single one before exactly three digits parts thousands, unless
    nothing but a 0 or more than three digits stand before it, or the currency has three `decimals`. The same mark again
    parts thousands, but before one or two digits it can only be meant as the decimal one: somebody mistyped.
    """
    groups = re.split(r"[.,\s'’]", text)
    marks = ["'" if mark in "'’" else mark if mark in ".," else " " for mark in re.findall(r"[.,\s'’]", text)]
    tail, decimal, sure = groups[-1], False, True
    if marks and marks[-1] in ".,":
        if marks[-1] in marks[:-1]:
            decimal = len(tail) != 3
            sure = not decimal and len(set(marks)) == 1
        elif len(marks) > 1:
            decimal, sure = True, len(tail) != 3 or decimals == 3  # nobody prints three decimals of a euro
        else:
            whole = groups[0].startswith("0") or len(groups[0]) > 3
            decimal = len(tail) != 3 or whole or decimals == 3
            sure = len(tail) != 3 or decimals != 3 or marks[-1] == "."
    digits = "".join(groups[:-1]) + ("." if decimal else "") + tail
    try:
        return float(digits), sure
    except ValueError:
        return None, False


def find_amounts(page: Page, masked: Sequence[Placed]) -> list[Amount]:
    """All amounts of a text in order, outside the `masked` places (dates, account numbers)."""
    text = page.numbers
    named = set(WORDS.findall(text))
    usual = 3 if named and named <= THREE_DECIMALS else 2  # of amounts without a currency of their own
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
        code = _code(match["before"], match["after"])
        decimals = usual if code is None else 3 if code in THREE_DECIMALS else 2
        value, sure = read_number(match["number"], decimals)
        if value is None:
            continue
        signs = match["sign"] or match["sign2"] or match["sign3"]
        negative = bool(signs or (match["open"] and match["close"]))  # bookkeepers put what is owed in brackets
        money = bool(code or match["dash"] or re.search(rf"[.,]\d{{2,{decimals}}}$", match["number"]))
        printed = match.group()
        start = match.start() + len(printed) - len(printed.lstrip())
        end = match.start() + len(printed.rstrip())
        found.append(Amount(-value if negative else value, code, start, end, money, sure))
    return found


def _code(*tokens: str | None) -> str | None:
    """The currency that is printed beside an amount: a code says more than a sign (`CAD $150.00`, `$150.00 CAD`)."""
    printed = [token.strip() for token in tokens if token]
    codes = [token[:3].upper() for token in printed if token[:3].upper() in CODES]
    signs = [SYMBOLS.get(token.lower(), token.upper()) for token in printed]
    return next(iter([*codes, *signs]), None)


def main_currency(text: str, amounts: list[Amount]) -> str | None:
    """The currency that most amounts carry, or that the text names; None if neither says one."""
    counted = Counter(amount.currency for amount in amounts if amount.currency)
    if not counted:
        counted = Counter(NAMED.get(word.lower(), word.upper()) for word in WORDS.findall(text))
    return counted.most_common(1)[0][0] if counted else None


def unread(page: Page, known: Sequence[Placed], start: int, end: int) -> bool:
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
