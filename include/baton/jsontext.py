"""JSON as the warehouse's columns and the ledger hold it."""

import json
import math
from datetime import date
from pathlib import PurePath
from typing import Any


def to_json(value: Any) -> str:
    """Encode NumPy scalars and arrays, times, paths and sets as plain JSON; NaN, infinities, NaT, NA as null.

    Raises:
        TypeError: a value that JSON cannot hold; names its type.
    """
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no NaN, and Postgres refuses it
        plain = json.loads(json.dumps(value, default=_plain))
        return json.dumps(_finite(plain), ensure_ascii=False, allow_nan=False)


def in_one_line(text: str) -> str:
    """A JSON list of texts, as columns such as `reasons` hold it, for people: `a; b`. Any other text as it is."""
    if not text.startswith("["):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return "; ".join(found) if found and all(isinstance(one, str) for one in found) else text


def _plain(value: Any) -> Any:
    if type(value).__name__ in {"NaTType", "NAType"}:  # pandas' missing values, without importing pandas
        return None
    if isinstance(value, date):  # a datetime is one, a pandas Timestamp too
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, without importing NumPy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON: {value!r:.80}")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
