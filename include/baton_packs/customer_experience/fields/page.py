"""A document's text as lines and columns, and what is found in it: a value with its place."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

CELL = re.compile(r"\S+(?:[ \t]\S+)*")  # words with single spaces between them
NUMBERLIKE = re.compile(r"(?<![^\s(€$£])[0-9OolI|][0-9OolI|.,'/-]{2,24}(?![^\s)€$£%])")
MISREAD = str.maketrans("OolI|", "00111")
LONGEST = 300  # characters of a line
BELOW = 3  # a value stands at most so many printed lines under its label
NEAR = 14  # and at most so many columns beside it


@dataclass(frozen=True, slots=True)
class Found:
    """One value: `text` is what is printed from `start` to `end` of the document's text (-1 for its subject)."""

    field: str
    value: str | float | None
    text: str
    start: int
    end: int
    confidence: float
    by: str


class Placed(Protocol):
    """What stands at a place of a text."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


AtPlace = TypeVar("AtPlace", bound=Placed)


@dataclass(frozen=True, slots=True)
class LineSpan:
    """A piece of one line."""

    start: int
    end: int


class Page:
    """Lines and columns of a text; `numbers` is the same text with letters misread for digits put right.

    Both texts have the same length, so a place in one is a place in the other.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.numbers = NUMBERLIKE.sub(_digits, text)
        self.lines: list[LineSpan] = []
        start = 0
        for line in text.split("\n"):
            if line and not line.isspace():
                self._add(start, start + len(line))
            start += len(line) + 1
        self._cells: dict[int, list[LineSpan]] = {}
        self._starts = [line.start for line in self.lines]
        self.quoted = frozenset(i for i, line in enumerate(self.lines) if text.startswith((">", "|>"), line.start))

    def _add(self, start: int, end: int) -> None:
        """A line longer than any printed one is a paragraph: it is broken at a space."""
        while end - start > LONGEST:
            space = self.text.rfind(" ", start + LONGEST // 2, start + LONGEST)
            cut = space if space > 0 else start + LONGEST
            self.lines.append(LineSpan(start, cut))
            start = cut
        self.lines.append(LineSpan(start, end))

    def line_at(self, offset: int) -> int:
        """The number of the printed line that holds a place."""
        return max(bisect_right(self._starts, offset) - 1, 0)

    def column(self, offset: int) -> int:
        """The column of a place in its line."""
        return offset - self.lines[self.line_at(offset)].start

    def cells(self, number: int) -> list[LineSpan]:
        """The pieces of a line between which at least two spaces stand."""
        if number not in self._cells:
            line = self.lines[number]
            self._cells[number] = [LineSpan(*match.span()) for match in CELL.finditer(self.text, line.start, line.end)]
        return self._cells[number]

    def of(self, place: Placed) -> str:
        """What is printed there."""
        return self.text[place.start : place.end]

    def by_line(self, placed: Iterable[AtPlace]) -> dict[int, list[AtPlace]]:
        """Number of a printed line -> what begins on it."""
        found: dict[int, list[AtPlace]] = {}
        for one in placed:
            found.setdefault(self.line_at(one.start), []).append(one)
        return found

    def found(self, field: str, value: str | float | None, place: Placed, confidence: float, by: str) -> Found:
        """A value that is printed at a place."""
        return Found(field, value, self.of(place), place.start, place.end, round(confidence, 3), by)


def _digits(match: re.Match[str]) -> str:
    token = match.group()
    digits = sum(c.isdigit() for c in token)
    if digits < 2 or digits * 2 < sum(c.isalnum() for c in token):
        return token
    return token.translate(MISREAD)


def distance(page: Page, label: Placed, value: Placed) -> int:
    """Columns between a label and a value on another line: 0 if they overlap or share an edge or the middle."""
    a, b = page.column(label.start), page.column(label.start) + label.end - label.start
    c, d = page.column(value.start), page.column(value.start) + value.end - value.start
    edges = min(abs(a - c), abs(b - d), abs(a + b - c - d) // 2)
    return min(edges, max(c - b, a - d, 0) + edges // 4)


def beneath(page: Page, label: Placed, values: dict[int, list[AtPlace]]) -> AtPlace | None:
    """The value in the label's column, in the first line under it that has one near; None if there is none.

    `values` are the candidates by line number. As in a table, a value belongs to the label that is nearest.
    """
    number = page.line_at(label.start)
    for line in range(number + 1, min(number + 1 + BELOW, len(page.lines))):
        near = [(distance(page, label, value), value.start, at) for at, value in enumerate(values.get(line, ()))]
        if near and min(near)[0] <= NEAR:
            return values[line][min(near)[2]]
    return None


@lru_cache(maxsize=20_000)
def fold(word: str) -> str:
    """Lower case without accents: `Échéance` -> `echeance`."""
    decomposed = unicodedata.normalize("NFKD", word.lower().replace("ß", "ss"))
    return "".join(c for c in decomposed if not unicodedata.combining(c))
