"""Totals: which amount of a document is its total, and which are its net and tax."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from baton_packs.customer_experience.fields.amounts import ABSURD, Amount, unread
from baton_packs.customer_experience.fields.labels import Label
from baton_packs.customer_experience.fields.page import Found, Page, Placed, beneath

# how sure a label alone makes it; what is payable may be less than the total (a part is paid), so gross leads
TRUST = {"gross": 0.8, "payable": 0.78, "total": 0.65, "amount": 0.45}
LARGEST, ONLY = "largest amount", "only amount"  # of a text without a labelled one
UNREAD = "largest amount, the labelled one was not read"
KINDS = (*TRUST, "net", "tax", "part")
TOTALS = ("gross", "payable", "total")  # labels that announce nothing else
GROSS = re.compile(r"\b(?:incl|inkl|ttc|brutto|gross|including|toutes taxes)", re.IGNORECASE)
NET = re.compile(r"\b(?:excl|exkl|zzgl|netto|net|ht|h\.t|before tax|hors|without|ex\.? vat)\b", re.IGNORECASE)
COUNTED = re.compile(r"[ ]?[^\W\d_]")
LETTERS = re.compile(r"[^\W\d_]{3,}")
_PLAIN = (
    "for this invoice the amount due facture incl inkl including vat btw mwst tva ttc eur usd gbp charges price tax total euro euros "
    "dollars inr chf rechnung factuur only and all with your bill payment"
)
PLAIN = frozenset(_PLAIN.split())
CENT = 0.011
LEAST = 0.16  # trust below which a label and an amount have nothing to do with each other
DOUBTFUL = 0.3  # trust at most where the total reads two ways, or may be what was not read: a person looks
MANY = 30  # net sums and taxes that are combined: more is no invoice


def choose_totals(page: Page, amounts: list[Amount], labels: list[Label], masked: Sequence[Placed] = ()) -> list[Found]:
    """The best `total`, `net` and `tax`; without a label the largest amount of money, with little confidence.

    A total gains by net + tax = gross, by the same value under another label and by standing further down; it loses
    where labels of the same rank disagree. Where digits stand beside a total's label that were not read as an amount,
    no other amount is taken for the total with a confidence that passes.

    Args:
        masked: dates and account numbers, which are no amounts.
    """
    by_line, marks = page.by_line(amounts), page.by_line(label for label in labels if label.kind in KINDS)
    unclear = _unclear(page, amounts, marks, masked)
    rated = [found for line in marks for label in marks[line] if label not in unclear
             for found in _rated(page, label, marks[line], by_line)]  # fmt: skip
    nets, taxes = ([found for found in rated if found.field == kind] for kind in ("net", "tax"))
    totals = [found for found in rated if found.field in TRUST]
    if any(found.value for found in totals):
        totals = [found for found in totals if found.value]  # nothing is due any more: the total is what was
    same = Counter(_number(found) for found in totals)
    net_values = sorted({_number(found) for found in nets})[-MANY:]
    sums = {round(n + _number(t), 2) for n in net_values for t in taxes[:MANY] if _number(t)}
    scored = []
    for found in totals:
        value = _number(found)
        score = found.confidence + 0.05 * min(same[value] - 1, 2) + 0.05 * found.start / max(len(page.text), 1)
        score += 0.15 * (round(value, 2) in sums)
        if value > 0 and net_values and net_values[-1] - value > CENT:
            score -= 0.2  # less than the net sum of the same document
        scored.append((score, found))
    result = []
    if scored:
        score, best = max(scored, key=lambda pair: (pair[0], abs(_number(pair[1])), pair[1].start))
        rivals = [s for s, f in scored if abs(_number(f) - _number(best)) > CENT and s > score - 0.06]
        score -= 0.2 * bool(rivals)
        doubtful = unclear or any(amount.start == best.start and not amount.sure for amount in amounts)
        result.append(_as(best, "total", min(score, DOUBTFUL) if doubtful else score))
    elif money := [amount for amount in amounts if amount.money and amount.value]:
        largest = max(money, key=lambda amount: abs(amount.value))
        only = len({abs(amount.value) for amount in money}) == 1
        trust, by = (DOUBTFUL, UNREAD) if unclear else (0.4, ONLY) if only else (0.3, LARGEST)
        trust = trust if largest.sure else min(trust, DOUBTFUL)
        result.append(page.found("total", largest.value, largest, trust, by))
    for kind, candidates in (("net", nets), ("tax", taxes)):
        if candidates:
            result.append(_as(max(candidates, key=lambda found: found.confidence), kind, 0.7))
    return result


def _unclear(page: Page, amounts: list[Amount], marks: dict[int, list[Label]], masked: Sequence[Placed]) -> set[Label]:
    """Labels of a total that are followed on their line, before the next label, by digits that no amount covers."""
    known: list[Placed] = sorted([*amounts, *masked], key=lambda placed: placed.start)
    found = set()
    for line, beside in marks.items():
        for label in beside:
            end = min([other.start for other in beside if other.start > label.start] + [page.lines[line].end])
            counts = label.kind in TOTALS and line not in page.quoted
            if counts and unread(page, known, label.end, end):
                found.add(label)
    return found


def _rated(page: Page, label: Label, beside: list[Label], by_line: dict[int, list[Amount]]) -> list[Found]:
    """The amount that belongs to a label, with how well it does; nothing if none does. `beside`: the line's labels."""
    same = [amount for amount in by_line.get(label.line, ()) if label.end <= amount.start]
    later = [other for other in beside if other.start > label.start]
    for other in later:
        before = [amount for amount in same if amount.start < other.start]
        if before:
            same = before
            break
    by = f"label {label.phrase}"
    kind, trust = label.kind, TRUST.get(label.kind, 0.7)
    if sure := [amount for amount in same if amount.money] or same[:1]:
        # a line of totals ends with the gross one
        chosen = sure[0] if kind == "amount" else sure[-1]
        between = page.text[label.end : chosen.start]
        words = [word for word in LETTERS.findall(between) if word.lower() not in PLAIN]
        if kind == "amount" and (len(between.strip(" :=-")) > 3 or not chosen.money):
            return []
        if kind in ("total", "gross") and NET.search(between):
            kind = "net"
        elif kind in ("total", "amount") and GROSS.search(between):
            kind, trust = "gross", TRUST["gross"]
        if not chosen.money and COUNTED.match(page.text, chosen.end):
            return []  # `payable within 30 days`
        trust -= min(0.12 * len(words), 0.3) + 0.2 * (not chosen.money)
    else:
        found = _under(page, label, by_line.get(label.line + 1, []))
        if found is None:
            return []
        chosen, factor = found
        trust *= factor
    if kind == "part":
        return []
    trust -= 0.3 * (abs(chosen.value) > ABSURD) + 0.25 * (label.line in page.quoted)
    return [page.found(kind, chosen.value, chosen, trust, by)] if trust >= LEAST else []


def _under(page: Page, label: Label, here: list[Amount]) -> tuple[Amount, float] | None:
    """The amount in the lines under a label and how much weaker that bond is."""
    if label.kind == "amount" or label.line + 1 >= len(page.lines):
        return None
    below = page.lines[label.line + 1]
    if len(here) == 1 and not LETTERS.sub("", page.text[below.start : here[0].start]).strip(" :-"):
        return here[0], 0.9 if here[0].money else 0.6
    chosen = beneath(page, label, {label.line + 1: [amount for amount in here if amount.money]})
    return (chosen, 0.5) if chosen else None  # a table's column: perhaps one item of many


def _as(found: Found, field: str, confidence: float) -> Found:
    return replace(found, field=field, confidence=round(min(max(confidence, 0.05), 0.99), 3))


def _number(found: Found) -> float:
    assert isinstance(found.value, float)
    return found.value
