"""Values that were read out of a text, shown where they stand: columns that a contract marks with `spans`."""

import json
import re
from collections.abc import Mapping
from typing import Any

AROUND = 40  # characters of the text on either side of a value
LONGEST = 120  # characters shown of a value in its text


def placed_values(
    row: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, Any]],
    source: Mapping[str, Any],
    source_columns: Mapping[str, Mapping[str, Any]],
    unmask: bool,
) -> list[dict[str, Any]]:
    """The values of a decision's columns with `spans`, in their order.

    Args:
        row, columns: the decision, and what its contract says of its columns.
        source, source_columns: the row that was decided on; empty where it is not known.
        unmask: show what a contract marks as direct personal data.

    Returns:
        one entry per value: field, value (a text), confidence (0..1 or None), hidden; before, marked and after (it, and the
        text around it; None where it has no place there), place_hidden.
    """
    found = []
    for name, column in columns.items():
        if not column.get("spans"):
            continue
        hidden = not unmask and column.get("pii") == "direct"
        place_hidden = hidden or (not unmask and source_columns.get(column["spans"], {}).get("pii") == "direct")
        text = None if place_hidden else source.get(column["spans"])
        for one in _listed(row.get(name)):
            confidence = one.get("confidence")
            found.append({
                "field": str(one.get("field", "")), "value": None if hidden else _text(one.get("value")), "hidden": hidden,
                "confidence": float(confidence) if isinstance(confidence, int | float) else None,
                **_excerpt(text, one.get("start"), one.get("end")), "place_hidden": place_hidden,
            })  # fmt: skip
    return found


def _excerpt(text: Any, start: Any, end: Any) -> dict[str, str | None]:
    """The text at a place and on either side of it, in one line."""
    placed = isinstance(text, str) and isinstance(start, int) and isinstance(end, int)
    if not placed or not 0 <= start < end <= len(text):
        return dict.fromkeys(("before", "marked", "after"))
    parts = (text[max(0, start - AROUND) : start], text[start:end], text[end : end + AROUND])
    before, marked, after = (re.sub(r"\s+", " ", part) for part in parts)
    return {
        "before": "…" * (start > AROUND) + before, "marked": marked[:LONGEST] + "…" * (len(marked) > LONGEST),
        "after": after + "…" * (end + AROUND < len(text)),
    }  # fmt: skip


def _text(value: Any) -> str | None:
    """A value as it is read: an amount keeps its cents."""
    if value is None:
        return None
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _listed(cell: Any) -> list[dict[str, Any]]:
    """The cell's entries; none where it is empty or something else than its contract says."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else []
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
