"""Cells of a row as text, and the columns that the engine adds to every row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BOOKKEEPING = ("_source", "_row", "_row_sha", "_part", "_weight", "_share", "_partition")
"""Columns that the engine adds to rows; they pass every contract and no source may carry them."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEXT = {str, type(None)}
PROBLEM = "_problem"
MASKED = "(masked)"
"""What stands for a value of direct personal data wherever somebody reads who may not decide on the row."""


def keys_of(frame: pd.DataFrame, key: Sequence[str]) -> list[str | None]:
    """Each row's key as text; several columns are joined by `@`, as in `shop 7@2026-11-16`. None: nothing is there."""
    if any(column not in frame for column in key):
        return [None] * len(frame)
    parts = [[as_text(cell) for cell in frame[column].tolist()] for column in key]
    if len(parts) == 1:
        return parts[0]
    return ["@".join(part or "" for part in row) if any(row) else None for row in zip(*parts, strict=True)]


def as_text(value: object) -> str | None:
    """Write one value the way a text file would: None and NaN are empty, times are ISO 8601, booleans true or false."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    if value is None or kind.__name__ == "NAType":
        return None
    if kind is float or kind is int:
        return repr(value) if value == value else None  # NaN differs from itself
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if value != value:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return str(isoformat())
    item = getattr(value, "item", None)  # NumPy scalars print their type in repr
    return as_text(item()) if item is not None else str(value)


def empty_cells(rows: int) -> pd.Series:
    """A column of text in which nothing is."""
    import pandas as pd

    return pd.Series([None] * rows, dtype=object)


def as_texts(values: list[Any]) -> list[str | None]:
    """`as_text` of each value; where all are text or None already, one look at their types takes a tenth of it."""
    return values if set(map(type, values)) <= _TEXT else list(map(as_text, values))


def guarded(cell: str | None) -> str:
    """Keep a spreadsheet from running a cell, also one of the header, as a formula."""
    if not cell:
        return ""
    return f"'{cell}" if cell[0] == "'" or (cell[0] in _FORMULA and not _is_number(cell)) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
