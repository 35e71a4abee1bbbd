"""Bins of a feature, in which values become counts, and the sub-windows of the training period."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError

LEVELS = 50  # categories kept by name; rarer ones share one bin
RARE_SHARE = 0.005  # below this share a category is rare
RARE_KEPT = 1000  # rare categories whose names are kept, so that they are not taken for new ones
MAX_WINDOWS = 64  # sub-windows kept: more would only make the file larger
PART = 32_768  # values counted at a time: they stay in the processor's cache for all edges
RARE, NEW = "__rare__", "__new__"

Array = np.ndarray[Any, np.dtype[Any]]


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A feature's values. Raises BatonError: the column is missing, or a timestamp."""
    if name not in frame.columns:
        raise BatonError(f"drift: column {name!r} is not in the frame; let its contract require it")
    values = frame[name]
    if pd.api.types.is_datetime64_any_dtype(values):
        raise BatonError(f"drift: {name!r} is a timestamp; time always drifts, leave it out of the features")
    return values


def sub_windows(frame: pd.DataFrame, windows: Any, min_rows: int) -> dict[str, Array]:
    """Name -> row positions of each sub-window, in order.

    A small one is joined with its successors until it has `min_rows`, a small last one with its predecessor.

    Raises:
        BatonError: a row has no window.
    """
    if windows is None:
        return {"all": np.arange(len(frame))}
    keys = frame[windows] if isinstance(windows, str) else pd.Series(windows)
    codes, uniques = pd.factorize(keys, sort=True)
    if (codes < 0).any():
        raise BatonError("drift reference: a row has no window; give every row the time it belongs to")
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    joined: dict[str, Array] = {}
    last = ""
    for key, part in zip(uniques, parts, strict=True):
        if last and len(joined[last]) < min_rows:
            joined[last] = np.concatenate([joined[last], part])
        else:
            last = str(key)
            joined[last] = part
    if len(joined) > 1 and len(joined[last]) < min_rows:
        tail = joined.pop(last)
        last = list(joined)[-1]
        joined[last] = np.concatenate([joined[last], tail])
    names = list(joined)
    if len(names) > MAX_WINDOWS:
        names = [names[i] for i in np.linspace(0, len(names) - 1, MAX_WINDOWS).round().astype(int)]
    return {name: joined[name] for name in names}


def layout(values: pd.Series, bins: int) -> dict[str, Any]:
    """Edges of a number's quantile bins, or the levels of a category.

    A number's value that would fill a bin alone (a tie, a constant) gets its own, so that leaving it is seen.
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        shares = values.dropna().astype(str).value_counts(normalize=True)
        levels = list(shares.index[(shares >= RARE_SHARE).to_numpy()][:LEVELS])
        rare = list(shares.index[~shares.index.isin(levels)][:RARE_KEPT])
        return {"kind": "category", "levels": [*levels, RARE, NEW], "rare": rare}
    finite = _numbers(values, str(values.name))
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return {"kind": "number", "edges": []}
    quantiles = np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    cuts, repeats = np.unique(quantiles, return_counts=True)
    below = np.nextafter(cuts[repeats > 1], -np.inf)
    return {"kind": "number", "edges": np.union1d(cuts, below).tolist()}


def bin_counts(values: pd.Series, entry: Mapping[str, Any], name: str) -> Array:
    """Rows per bin, (K,); the last bin is for nulls, infinities lie in the outer bins.

    A number is counted by one comparison per edge over the column: faster than a search per value.

    Raises:
        BatonError: text where the reference has numbers.
    """
    if entry["kind"] == "category":
        levels = entry["levels"]
        codes, uniques = pd.factorize(values.astype(object))  # -1 for null: the last place
        known = dict.fromkeys(entry["rare"], len(levels) - 2) | {v: i for i, v in enumerate(levels[:-2])}
        place = [known.get(str(value), len(levels) - 1) for value in uniques] + [len(levels)]
        return np.bincount(np.array(place)[codes], minlength=len(levels) + 1)
    numbers, edges = _numbers(values, name), entry["edges"]
    nulls = np.count_nonzero(np.isnan(numbers))
    above = np.zeros(len(edges), dtype=np.int64)
    for start in range(0, len(numbers), PART):
        part = numbers[start : start + PART]
        above += np.array([np.count_nonzero(part > edge) for edge in edges], dtype=np.int64)
    return np.append(-np.diff(above, prepend=len(numbers) - nulls, append=0), nulls)


def labels(entry: Mapping[str, Any]) -> list[str]:
    """What each bin holds, for people."""
    if entry["kind"] == "category":
        return [*[level[:40] for level in entry["levels"]], "null"]
    edges = [f"{edge:.4g}" for edge in entry["edges"]]
    return [*[f"≤ {edge}" for edge in edges], f"> {edges[-1]}" if edges else "any", "null"]


def _numbers(values: pd.Series, name: str) -> Array:
    """Contiguous floats, NaN for null."""
    try:
        return np.ascontiguousarray(values.to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise BatonError(f"drift: {name!r} holds text where the reference has numbers: {error}") from error
