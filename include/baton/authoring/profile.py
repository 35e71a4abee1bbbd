"""What a file of rows seems to be: which column is the key, the time, a target; what is personal; what holds of its values.

Nothing here is certain. Each guess has a reason in words, and each rule says how many of the rows at hand it would reject.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from baton.authoring.column_types import cells_of, column_types
from baton.authoring.roles import IDENTIFIER, WORDS, ColumnKinds, words

FEW_VALUES = 25  # different ones of a column that stands for a choice
_TIME = re.compile(r"(at|time|date|day|week|month|ts)$", re.IGNORECASE)
_TARGET = re.compile(
    r"(^is_|^has_|label|target|class|outcome|churn|fraud|default|return|cancel|late|converted|won|lost|intent|category)",
    re.IGNORECASE,
)
_CELLS = {  # what most cells of a column look like
    "an e-mail address": re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.IGNORECASE),
    "an IBAN": re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?"),
    "a telephone number": re.compile(r"(?:\+|00|0)[\d /()-]{7,18}\d"),
    "an IP address": re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"),
}
_NAMES = {  # what a column's name says
    "somebody's name": re.compile(
        r"(^|_)(first|last|full|sur|given|family|customer|client|user|person|contact)?_?name$", re.IGNORECASE
    ),
    "an address": re.compile(r"(street|address|postcode|zip_?code)", re.IGNORECASE),
    "an e-mail address": re.compile(r"e?_?mail", re.IGNORECASE),
    "a telephone number": re.compile(r"(phone|mobile|telefon)", re.IGNORECASE),
    "a date of birth": re.compile(r"(birth|dob$)", re.IGNORECASE),
    "a bank account": re.compile(r"(iban|account_?(no|nr|number)|card_?(no|nr|number))", re.IGNORECASE),
}
_NUMBER = re.compile(r"(?i)(^|_)(no|nr|number)$")  # what else a key may be called
_QUANTITY = re.compile(r"(?i)(units|sales|quantity|qty|demand|amount|volume|count|revenue|load|visits)")


@dataclass(frozen=True)
class Guess:
    """A column that may play a part, and why."""

    column: str
    why: str


@dataclass(frozen=True)
class Learnt:
    """A rule that the values suggest: an expectation with its arguments, and the share of today's rows that break it."""

    expectation: str
    kwargs: dict[str, Any]
    rule: str
    share: float

    @property
    def words(self) -> str:
        """The rule as a sentence's end."""
        column, low, high = (self.kwargs.get(name) for name in ("column", "min_value", "max_value"))
        if "value_set" in self.kwargs:
            return f"`{column}` is one of {', '.join(map(str, self.kwargs['value_set']))}"
        return f"`{column}` is there" if low is None else f"`{column}` lies between {low:g} and {high:g}"


@dataclass(frozen=True)
class Profile:
    """What the rows seem to be; the guesses of each part are in order, the likeliest first.

    Attributes:
        rows: number of them; columns: name -> (type, whether empty cells occur).
        keys: different in every row; series: with the first of the times, where nothing alone is.
        targets: labels and classes; quantities: what might be forecast.
        personal: column -> what it seems to hold.
        texts: columns to read, rather than to choose from.
    """

    rows: int
    columns: dict[str, tuple[str, bool]]
    keys: list[Guess]
    series: list[Guess]
    times: list[Guess]
    targets: list[Guess]
    quantities: list[Guess]
    personal: dict[str, str]
    texts: list[str] = field(default_factory=list)


def profile(frame: pd.DataFrame) -> Profile:
    """Look at rows, whose cells may be text (CSV) or typed."""
    columns = column_types(frame)
    cells = {name: cells_of(frame[name], kind) for name, (kind, _) in columns.items()}
    personal = {name: what for name, values in cells.items() if (what := _personal(name, values))}
    texts = [name for name, (kind, _) in columns.items() if kind == "str" and words(cells[name]) > WORDS]
    keys, times = _keys(columns, cells, personal), _times(columns, cells)
    series = _series(columns, cells, times[0].column) if times and not keys else []
    taken = {*personal, *texts, *(one.column for one in (*keys, *series, *times))}
    left = {name: cells[name] for name in columns if name not in taken}
    return Profile(
        len(frame), columns, keys, series, times, _targets(columns, left), _quantities(columns, left), personal, texts
    )


def _keys(columns: ColumnKinds, cells: dict[str, pd.Series], personal: dict[str, str]) -> list[Guess]:
    unique = [
        name for name, (kind, gaps) in columns.items()
        if kind in ("int", "str") and not gaps and name not in personal and cells[name].is_unique
    ]  # fmt: skip
    unique = [name for name in unique if columns[name][0] == "int" or words(cells[name]) <= WORDS]
    return sorted(
        (Guess(name, "is different in every row") for name in unique), key=lambda one: not _named_as_key(one.column)
    )


def _named_as_key(name: str) -> bool:
    return bool(IDENTIFIER.search(name) or _NUMBER.search(name))


def _series(columns: ColumnKinds, cells: dict[str, pd.Series], time: str) -> list[Guess]:
    whole = [name for name, (kind, gaps) in columns.items() if kind in ("int", "str") and not gaps and name != time]
    found = [name for name in whole if not pd.DataFrame({"a": cells[name], "b": cells[time]}).duplicated().any()]
    guesses = [Guess(name, f"names {cells[name].nunique():,} series, each once at a time") for name in found]
    return sorted(guesses, key=lambda one: columns[one.column][0] != "str")


def _times(columns: ColumnKinds, cells: dict[str, pd.Series]) -> list[Guess]:
    found = [name for name, (kind, _) in columns.items() if kind == "timestamp"]
    whole = {name: float(cells[name].notna().mean()) for name in found}
    guesses = [
        Guess(name, f"holds times, from {_day(cells[name].min())} to {_day(cells[name].max())}") for name in found
    ]
    return sorted(guesses, key=lambda one: (-whole[one.column], not _TIME.search(one.column)))


def _targets(columns: ColumnKinds, left: dict[str, pd.Series]) -> list[Guess]:
    found = []
    for name, cells in left.items():
        kind, values = columns[name][0], cells.dropna()
        kinds = values.nunique()
        if kind in ("int", "bool") and kinds == 2 and set(values.astype(int)) == {0, 1}:
            found.append((name, f"is 0 or 1, {values.astype(int).mean():.1%} are 1"))
        elif kind == "str" and 2 <= kinds <= max(FEW_VALUES, len(values) // 50) and kinds < len(values) / 3:
            found.append((name, f"is one of {kinds} words"))
    last = list(columns)[-1]
    ordered = sorted(found, key=lambda one: (not _TARGET.search(one[0]), not one[1].startswith("is 0"), one[0] != last))
    return [Guess(name, why) for name, why in ordered]


def _quantities(columns: ColumnKinds, left: dict[str, pd.Series]) -> list[Guess]:
    found = [name for name, cells in left.items() if columns[name][0] in ("int", "float") and cells.nunique() > 2]
    guesses = [Guess(name, f"is a number, {left[name].min():g} to {left[name].max():g}") for name in found]
    return sorted(guesses, key=lambda one: not _QUANTITY.search(one.column))


def _personal(name: str, cells: pd.Series) -> str:
    by_name = next((what for what, pattern in _NAMES.items() if pattern.search(name)), "")
    if cells.dtype != object:
        return by_name if by_name == "a date of birth" else ""
    sample = [str(cell) for cell in cells.dropna().head(500)]
    for what, pattern in _CELLS.items():
        if sample and sum(pattern.fullmatch(cell) is not None for cell in sample) > len(sample) / 2:
            return what
    return by_name if sample else ""


def _day(moment: Any) -> str:
    return "?" if pd.isna(moment) else f"{moment:%Y-%m-%d}"


# --- rules ---


def rules(frame: pd.DataFrame, found: Profile, skip: Iterable[str] = ()) -> list[Learnt]:
    """What a contract may ask of columns, learnt from the values: no gaps, a range, a set of words.

    A range is that of the values and half of its width more on each side, but not below zero where nothing is: what is
    new may be larger than what was. Columns of personal data, texts and `skip` get no rule about their values.
    """
    learnt: list[Learnt] = []
    silent = {
        *skip,
        *found.personal,
        *found.texts,
        *(one.column for one in found.keys),
        *(one.column for one in found.times),
    }
    for name, (kind, gaps) in found.columns.items():
        cells = cells_of(frame[name], kind)
        if name in skip:
            continue
        empty = float(cells.isna().mean())
        if 0 < empty <= 0.01 or (not gaps and name not in silent):
            learnt.append(Learnt("expect_column_values_to_not_be_null", {"column": name}, f"{name}_missing", empty))
        if name in silent:
            continue
        values = cells.dropna()
        if kind in ("int", "float") and values.nunique() > 2:
            low, high = float(values.min()), float(values.max())
            wide = (high - low) / 2
            asked = {
                "min_value": 0.0 if 0 <= low < wide or low == 0 else _round(low - wide),
                "max_value": _round(high + wide),
            }
            outside = float(((cells < asked["min_value"]) | (cells > asked["max_value"])).mean())
            learnt.append(
                Learnt("expect_column_values_to_be_between", {"column": name, **asked}, f"{name}_range", outside)
            )
        elif kind == "str" and 1 < values.nunique() <= FEW_VALUES and values.nunique() < len(values) / 3:
            words = sorted(map(str, values.unique()))
            learnt.append(
                Learnt(
                    "expect_column_values_to_be_in_set", {"column": name, "value_set": words}, f"{name}_unknown", 0.0
                )
            )
    return learnt


def _round(value: float) -> float:
    """Two figures are enough for a bound that is a guess; it is never inside the values for want of the third."""
    return float(f"{value:.3g}")
