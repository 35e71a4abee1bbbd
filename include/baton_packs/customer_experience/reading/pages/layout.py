"""Pieces of text with a place on a page, to lines as a reader sees them."""

from statistics import median
from typing import NamedTuple

_SAME_LINE = 0.45  # of the height: how far baselines of one line may differ
_TOUCHING = 0.1  # of the height: no space
_COLUMN = 0.8  # of the height: a wider gap separates columns
_WIDEST = 200  # columns of the result


class Piece(NamedTuple):
    """A word or a run of words; x grows to the right, y downwards, in any unit; `base` is the baseline's y."""

    left: float
    right: float
    base: float
    height: float
    text: str
    spaced: bool  # a space comes before it, whatever the gap says


def lines_of(pieces: list[Piece]) -> str:
    """Lines top down; words one space apart, columns at least two and below each other; empty lines between blocks."""
    pieces = [one for one in pieces if one.text.strip()]
    if not pieces:
        return ""
    unit = median([max(one.right - one.left, 0.01) / len(one.text) for one in pieces])
    start = min(one.left for one in pieces)
    unit = max(unit, (max(one.right for one in pieces) - start) / _WIDEST, 0.01)
    rows = _rows(pieces)
    lines, before = [], None
    for row in rows:
        base, height = row[0].base, median([one.height for one in row])
        if before is not None and base - before > 2.0 * height:
            lines.append("")
        lines.append(_line(row, start, unit))
        before = base
    return "\n".join(lines)


def _rows(pieces: list[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for one in sorted(pieces, key=lambda piece: piece.base):
        if rows and one.base - rows[-1][0].base <= _SAME_LINE * min(one.height, rows[-1][0].height):
            rows[-1].append(one)
        else:
            rows.append([one])
    return [sorted(row, key=lambda piece: piece.left) for row in rows]


def _line(row: list[Piece], start: float, unit: float) -> str:
    text, right = " " * int((row[0].left - start) / unit), None
    for one in row:
        if right is not None:
            gap, height = one.left - right, one.height
            if gap > _COLUMN * height:
                text += " " * max(2, int((one.left - start) / unit) - len(text))
            elif one.spaced or gap > _TOUCHING * height:
                text += " "
        text += one.text
        right = one.right if right is None else max(right, one.right)
    return text.rstrip()
