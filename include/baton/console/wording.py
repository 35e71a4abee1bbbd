"""Wording of figures and codes, as people read them: reasons in words, times, partitions, counts."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from baton.jsontext import in_one_line

STRONG = 0.5  # share of all contributions from which one counts as strong
LONGEST = 240  # characters of one detail
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def in_words(reasons: Sequence[Sequence[Any]] | None, category: str | None = None) -> str:
    """Reason codes `[[feature, contribution], ...]` as one sentence; empty without any.

    Contributions are in the model's own unit, so only their sign and their share are put into words.

    Args:
        category: of a text: then the reasons are its likeliest classes with their probabilities.
    """
    if category is not None:
        return ", ".join(f"{name} {float(share):.0%}" for name, share in reasons or [])
    codes = [(str(feature), float(value)) for feature, value in reasons or [] if value]
    total = sum(abs(value) for _, value in codes)
    parts = []
    for verb, sign in (("raise", 1), ("lower", -1)):
        same = [(feature, abs(value)) for feature, value in codes if value * sign > 0]
        names = [f"{feature} strongly" if size >= STRONG * total else feature for feature, size in same]
        if names:
            parts.append(f"{_listed(names)} {verb if len(names) > 1 else verb + 's'} it")
    return ", ".join(parts)


def sentence(reasons: Sequence[str] | None) -> str:
    """A decision's own reasons as one sentence; empty without any."""
    said = "; ".join(text for one in reasons or [] if (text := one.strip().rstrip(".;")))
    start = said[:1].upper() if said.partition(" ")[0].isalpha() else said[:1]  # a code such as card_arrival stays one
    return f"{start}{said[1:]}." if said else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def moment(value: str | datetime | None) -> datetime | None:
    """An ISO text of the warehouse or a partition key (both UTC) as an aware time; None if it is neither."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def when(value: str | datetime | None, now: datetime | None = None) -> str:
    """A time for people: `10:31` today, `21 Nov 10:31` this year, else with the year. Always UTC; pages say so."""
    found = moment(value)
    if found is None:
        return "" if value is None else str(value)
    found, present = found.astimezone(UTC), now or datetime.now(UTC)
    clock = found.strftime("%H:%M")
    if found.date() == present.date():
        return clock
    day = f"{found.day} {found.strftime('%b')}"
    return f"{day} {clock}" if found.year == present.year else f"{day} {found.year} {clock}"


def partition(value: str | None) -> str:
    """A partition for people: `20 Nov 09:00`; other slots (`version-3`) as they are."""
    found = moment(value)
    return (value or "") if found is None else f"{found.day} {found.strftime('%b %H:%M')}"


def day(value: str) -> str:
    """A day for people: `20 Nov`."""
    found = moment(value)
    return value if found is None else f"{found.day} {found.strftime('%b')}"


def ago(value: str | datetime | None, now: datetime | None = None) -> str:
    """How long ago: `40 s`, `12 min`, `5 h`, `3 d`."""
    found = moment(value)
    if found is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - found).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return "" if value is None else f"{int(value):,}"


def money(value: float | None) -> str:
    """An amount with two digits; its currency is the flow's."""
    return "" if value is None else f"{value:,.2f}"


def figure(value: Any) -> str:
    """Any figure of a table: four significant digits, from 10,000 on all digits before the point; text as it is."""
    if value is None:
        return "–"
    if isinstance(value, float) and 10_000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plural(number: int, word: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {word if number == 1 else many or word + 's'}"


def cell(value: Any) -> str:
    """A cell of a row: numbers with at most seven significant digits, yes and no, lists of texts in one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.7g}" if isinstance(value, float) else in_one_line(str(value))


def short(text: str) -> Markup:
    """A text for HTML; of each SHA-256 in it people are shown the first digits, and all of them where they point at it."""
    return Markup(_DIGEST.sub(_abbreviated, str(escape(text))))  # noqa: S704 - escaped just there; digits are harmless


def _abbreviated(digest: re.Match[str]) -> str:
    return f'<abbr title="{digest[0]}">{digest[0][:12]}…</abbr>'


def meaning(description: str) -> str:
    """What a column means, without how its cells are written: `JSON list of sentences: why` is `why` to a person."""
    return re.sub(r"^JSON[^:]*: ", "", description)


def details(payload: Mapping[str, Any]) -> str:
    """A ledger entry's payload on one line, without the hashes and long lists that only machines read."""
    parts = []
    for name, value in payload.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, list):
            text = "; ".join(str(item) for item in value)
        else:
            text = "" if value is None else str(value)
        if text and len(text) <= LONGEST:
            parts.append(f"{name.replace('_', ' ')}: {text}")
    return " · ".join(parts)
