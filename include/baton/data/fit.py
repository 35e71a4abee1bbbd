"""Fit text: what may stand in a cell, so that every database, page and terminal can hold it.

Control characters stop some databases (Postgres takes no NUL) and change what a terminal shows; halves of surrogate
pairs are no text at all; text without end fills records and indexes. A cell with such is named, and its row waits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LONGEST_CELL = 100_000  # characters
LONGEST_KEY = 500  # characters: Postgres indexes 2,704 bytes, together with the names of flow, partition and model
LONGEST_ENTITY = 400  # of what becomes a key with something behind it, such as an item's with a week's
LONGEST_NAME = 200  # characters of a column's name
_SHOWN = 500  # characters that are left of a longer text
_ODD = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")  # tab and the ends of lines and pages are common in messages
_AT_ONCE = 4096  # cells


def flaw(text: str, longest: int = LONGEST_CELL) -> str | None:
    """Why a text may not stand in a cell, as `rule: what`; None: it may."""
    if len(text) > longest:
        return f"too_long: has {len(text):,} characters, {longest:,} are allowed"
    if text.isprintable():
        return None
    odd = _ODD.search(text)
    if odd is None:
        return None
    return "encoding: is not UTF-8" if "\ud800" <= odd[0] <= "\udfff" else f"control: holds U+{ord(odd[0]):04X}"


def flaws(cells: pd.Series, longest: int = LONGEST_CELL) -> dict[int, str]:
    """The `flaw` of each cell with text that has one, by its position."""
    found: dict[int, str] = {}
    for start in range(0, len(cells), _AT_ONCE):
        some = cells.iloc[start : start + _AT_ONCE].tolist()
        try:
            text = "".join(filter(None, some))  # an empty cell is None
        except TypeError:
            some = [cell if isinstance(cell, str) else "" for cell in some]
            text = "".join(some)
        short = len(text) <= longest or max(map(len, filter(None, some))) <= longest
        if short and (text.isprintable() or _ODD.search(text) is None):
            continue  # one look at all of them, which takes a tenth of one at each
        told = ((start + n, flaw(cell, longest)) for n, cell in enumerate(some) if cell)
        found |= {position: why for position, why in told if why is not None}
    return found


def fit(text: str, longest: int = LONGEST_CELL) -> str:
    """The text as it can be kept and shown: \ufffd for what is none, its beginning where it is too long."""
    if len(text) > longest:
        text = f"{text[: min(_SHOWN, longest // 2)]}... ({len(text):,} characters)"
    return text if text.isprintable() else _ODD.sub("\ufffd", text)
