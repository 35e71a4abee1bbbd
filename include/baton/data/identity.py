"""A row's identity: where it came from, its number there, and the hash of what it held when it arrived."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

from baton.data.cells import BOOKKEEPING, PROBLEM, as_texts
from baton.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_SEPARATOR = "\x1f"
_EXACT = 2**53  # integers beyond it have neighbours that are the same float
_BLOCK = 4096  # rows whose cells are put side by side at a time: what fits the cache


def with_row_identity(frame: pd.DataFrame, source: str, first_row: int = 1) -> pd.DataFrame:
    """Give every row `_source`, `_row` (its place in the source, from `first_row`) and `_row_sha`; what is there stays.

    Raises:
        SourceError: two rows have the same number and content, so that a repair could not tell them apart.
    """
    frame = plain_index(frame).copy(deep=False)
    if "_source" not in frame:
        frame["_source"] = source
    if "_row" not in frame:
        frame["_row"] = range(first_row, first_row + len(frame))
    if "_row_sha" not in frame:
        frame["_row_sha"] = row_shas(frame)
    if not frame["_row"].is_unique:
        twice = frame.duplicated(["_row", "_row_sha"])
        if twice.any():
            raise SourceError(
                f"{source}: {int(twice.sum())} rows occur again with the same number and content, the first is row "
                f"{frame['_row'][twice].iloc[0]}: was a file delivered twice under two names?"
            )
    return frame


def row_shas(frame: pd.DataFrame) -> list[str]:
    """SHA-256 of every row's cells (bookkeeping left out), columns in alphabetical order; 64 hex digits each.

    What is wrong with a row (`_problem`) counts for that row alone: those beside it are what they would be without it.
    """
    import numpy as np
    import pandas as pd

    columns = sorted(str(column) for column in frame.columns if column not in BOOKKEEPING and column != PROBLEM)
    header = _SEPARATOR.join(columns).encode()
    binary: list[np.ndarray] = []
    text: list[list[str]] = []
    exact: list[tuple[int, str]] = []  # number of the row, and what of it no float holds
    for column in columns:
        cells = frame[column]
        if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iufb":
            # a number without a sign is hashed as the signed one of the same bits, as it always was
            whole = (cells.astype("int64") if cells.dtype.kind == "u" else cells).to_numpy()
            if whole.dtype == np.int64:
                large = np.flatnonzero((whole > _EXACT) | (whole < -_EXACT)).tolist()
                exact += [(number, f"{column}{_SEPARATOR}{whole[number]}") for number in large]
            values = whole.astype("float64")
            empty = values != values
            binary.append((np.where(empty, np.nan, values) if empty.any() else values).view("int64"))
        elif pd.api.types.is_datetime64_any_dtype(cells.dtype):
            utc = cells.dt.tz_convert("UTC") if cells.dt.tz is not None else cells
            binary.append(utc.to_numpy("datetime64[ns]").view("int64"))
        else:
            text.append(["\x00" if cell is None else cell for cell in as_texts(cells.tolist())])
    words = [_SEPARATOR.join(cells).encode() for cells in zip(*text, strict=True)] if text else []
    if PROBLEM in frame:
        problems = enumerate(frame[PROBLEM].tolist())
        exact += [(number, f"{PROBLEM}{_SEPARATOR}{problem}") for number, problem in problems if problem is not None]
    if exact:
        words = words or [b""] * len(frame)
        for number, said in exact:
            words[number] += f"{_SEPARATOR}{said}".encode()
    started = hashlib.sha256(header).copy
    made: list[str] = []
    for begin in range(0, len(frame), _BLOCK):
        rows = slice(begin, min(begin + _BLOCK, len(frame)))
        blobs = [b""] * (rows.stop - begin)
        if binary:
            side_by_side = np.column_stack([values[rows] for values in binary])
            blobs = side_by_side.view(f"V{8 * len(binary)}").ravel().tolist()
        for row in map(operator.add, blobs, words[rows]) if words else blobs:
            one = started()
            one.update(row)
            made.append(one.hexdigest())
    return made


def row_keys(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """What names each row, as one text: its cells in the key's columns."""
    parts = [frame[name].astype(str) for name in columns]
    return reduce(lambda left, right: left + _SEPARATOR + right, parts)


def plain_index(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0 and frame.index.step == 1
    return frame if plain else frame.reset_index(drop=True)
