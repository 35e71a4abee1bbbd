"""Numbers of invoices, orders, customers and accounts: by the labels near them; IBANs by their checksum."""

import re
from bisect import bisect_left
from collections.abc import Sequence

from stdnum.iso7064 import mod_97_10

from baton_packs.customer_experience.fields.labels import Label
from baton_packs.customer_experience.fields.page import NEAR, Found, LineSpan, Page, Placed, beneath, distance

TOKEN = re.compile(r"[^\W_](?:[\w/.\-#]{0,38}\w)?")
SERIES = re.compile(r"[A-Z]{1,4}[ ]\d[\w/.\-]{1,30}\w")  # `KD 88123`
LEAD = re.compile(r"[\s:.#°º№=,)*\-–]{0,80}(?:(?:number|num|no|nr|nummer|is|ist|est|numero)\b[\s:.#°º]{0,6})?(?:\(\w{1,8}\)[\s:]{0,4})?#?\s{0,2}",
                  re.IGNORECASE)  # fmt: skip
PREFIXED = re.compile(r"(?<![\w/-])(?:INV|INVOICE|BILL|RE|RG|RN|FA|FAC|FACT|VF|CN)[-_/#]\d[\w/-]{2,24}", re.IGNORECASE)
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9OIl]{2}(?:[ \u00a0]?[A-Z0-9Il]){11,30}(?![A-Za-z0-9])")
LENGTHS = {"AT": 20, "BE": 16, "CH": 21, "CZ": 24, "DE": 22, "DK": 18, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "IE": 22,
           "IT": 27, "LI": 21, "LU": 20, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "SE": 24, "HU": 28, "GR": 27}  # fmt: skip
KINDS = ("invoice_number", "invoice", "order_number", "customer_number", "account", "reference", "iban")
STRENGTH = {"invoice_number": 0.92, "invoice": 0.72, "order_number": 0.85, "customer_number": 0.88, "account": 0.75,
            "iban": 0.4}  # fmt: skip
FIELD = {"invoice": "invoice_number", "account": "account_number", "iban": "account_number"}


def find_ibans(page: Page) -> list[Found]:
    """International account numbers, with or without spaces.

    One whose checksum is wrong is kept with little confidence if its country and length are those of an IBAN:
    a misread or forged digit is worth seeing.
    """
    found = []
    for match in IBAN.finditer(page.text):
        compact = re.sub(r"\s", "", match.group())
        right = LENGTHS.get(compact[:2])
        end = match.end()
        if right and len(compact) > right:  # the next word (`BIC`) was taken along
            compact = compact[:right]
            end = match.start() + _length(match.group(), right)
        if right and len(compact) < right:
            continue
        tried = (compact, compact[:2] + compact[2:].translate(str.maketrans("OIl", "011")))
        value = next((each for each in tried if iban_valid(each)), None)
        if value or right:
            confidence, by = (0.97 if value == compact else 0.7, "checksum") if value else (0.25, "checksum wrong")
            found.append(page.found("iban", value or compact.upper(), LineSpan(match.start(), end), confidence, by))
    return found


def _length(text: str, characters: int) -> int:
    seen = 0
    for i, c in enumerate(text):
        seen += not c.isspace()
        if seen == characters:
            return i + 1
    return len(text)


def iban_valid(value: str) -> bool:
    """Whether an IBAN without spaces has the length of its country and the right check digits (ISO 13616)."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", value) or LENGTHS.get(value[:2], len(value)) != len(value):
        return False
    return mod_97_10.is_valid(value[4:] + value[:4])


def choose_numbers(page: Page, labels: list[Label], masked: Sequence[Placed]) -> list[Found]:
    """The best number of each kind. `masked` are places of dates, amounts and IBANs, which are none of these."""
    mine = [label for label in labels if label.kind in KINDS]
    by_line = page.by_line(labels)
    starts = sorted((span.start, span.end) for span in masked)
    best: dict[str, Found] = {}
    tokens: dict[int, list[LineSpan]] = {}
    for label in mine:
        found = _right(page, label, starts) or _below(page, label, by_line, starts, tokens)
        if found and (found.field not in best or best[found.field].confidence < found.confidence):
            best[found.field] = found
    if "invoice_number" not in best and (match := PREFIXED.search(page.text)):
        best["invoice_number"] = Found("invoice_number", match.group(), match.group(), *match.span(), 0.5, "prefix")
    return [found for kind, found in best.items() if kind != "reference"]


def _right(page: Page, label: Label, masked: list[tuple[int, int]]) -> Found | None:
    """The number right after a label."""
    lead = LEAD.match(page.text, label.end, page.lines[label.line].end)
    begin = lead.end() if lead else label.end
    end = page.lines[label.line].end
    match = SERIES.match(page.text, begin, end) or TOKEN.match(page.text, begin, end)
    if match is None or not usable(page, LineSpan(*match.span()), masked):
        return None
    return _make(page, label, LineSpan(*match.span()), 1.0)


def _below(
    page: Page,
    label: Label,
    by_line: dict[int, list[Label]],
    masked: list[tuple[int, int]],
    tokens: dict[int, list[LineSpan]],
) -> Found | None:
    """The number in a label's column, if the rest of the label's cell is empty."""
    cell = next((cell for cell in page.cells(label.line) if cell.start <= label.start < cell.end), None)
    rest = page.text[label.end : cell.end] if cell else ""
    if label.kind == "reference" or (rest.strip(" :.#°º") and len(rest.split()) > 3):
        return None  # three words at most may be the next column's label, close by
    for line in range(label.line + 1, min(label.line + 4, len(page.lines))):
        if line not in tokens:
            span = page.lines[line]
            found = (LineSpan(*match.span()) for match in TOKEN.finditer(page.text, span.start, span.end))
            tokens[line] = [value for value in found if usable(page, value, masked)]
    value = beneath(page, label, tokens)
    if value is None:
        return None
    # a value belongs to the label that is nearest: those of the lines between, and those beside this one
    limit = distance(page, label, value)
    between = range(label.line, page.line_at(value.start))
    rivals = (other for line in between for other in by_line.get(line, ()) if other.start != label.start)
    for other in rivals:
        away = distance(page, other, value)
        if away < limit or (other.line > label.line and away <= NEAR):
            return None
    beside = (other.end for other in by_line.get(page.line_at(value.start), ()) if other.end <= value.start)
    if not all(any(map(str.isdigit, page.text[end : value.start])) for end in beside):
        return None  # that line's own label announces it
    return _make(page, label, value, 0.8)


def usable(page: Page, value: LineSpan, masked: list[tuple[int, int]]) -> bool:
    """Whether a word may be somebody's number: it has a digit, and is no part of a date, an amount or an address."""
    text = page.of(value)
    digits = sum(c.isdigit() for c in text)
    marked = "#" in page.text[max(value.start - 2, 0) : value.start]
    if not digits or (not marked and (digits < 2 or len(text) < 3 or digits * 4 < len(text))):
        return False
    after = page.text[value.end : value.end + 1]
    before = page.text[max(value.start - 1, 0) : value.start]
    if "@" in (before, after) or after == "%" or text.lower().startswith(("www.", "http")):
        return False
    i = bisect_left(masked, (value.end, 0))
    return not any(value.start < end for _, end in masked[max(i - 2, 0) : i])


def _make(page: Page, label: Label, value: LineSpan, factor: float) -> Found | None:
    text = page.of(value)
    if label.kind == "iban" and len(text) < 12:
        return None  # hidden by stars
    field = FIELD.get(label.kind, label.kind)
    confidence = STRENGTH.get(label.kind, 0.5) * factor - 0.25 * (label.line in page.quoted)
    if len(text) < 4:
        confidence -= 0.2
    return page.found(field, text, value, max(confidence, 0.05), f"label {label.phrase}")
