"""Conversions of cells to a contract's types: each type has one written form, and what does not have it is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from baton.data.cells import as_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


_INT = r"^[+-]?\d{1,19}(\.0*)?$"
_FLOAT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?$"


def convert(cells: pd.Series, kind: str) -> tuple[pd.Series, np.ndarray]:
    """Typed cells and a mask of those that do not convert (their value is then meaningless)."""
    import numpy as np
    import pandas as pd

    if cells.dtype == object or isinstance(cells.dtype, pd.StringDtype | pd.CategoricalDtype | pd.ArrowDtype):
        return _TEXT[kind](cells)
    none_bad = np.zeros(len(cells), dtype=bool)
    numeric, whole = pd.api.types.is_numeric_dtype(cells.dtype), pd.api.types.is_integer_dtype(cells.dtype)
    boolean = pd.api.types.is_bool_dtype(cells.dtype)
    if kind == "float" and numeric and not boolean:
        values = cells.to_numpy("float64", na_value=np.nan) if cells.dtype != "float64" else cells.to_numpy()
        return (cells if cells.dtype == "float64" else _series(values, cells)), np.isinf(values)
    if kind == "int" and whole and cells.dtype != "uint64":
        return (cells if cells.dtype == "int64" else _nullable(cells.astype("Int64"))), none_bad
    if kind == "int" and pd.api.types.is_float_dtype(cells.dtype) and not isinstance(cells.dtype, pd.ArrowDtype):
        values = cells.to_numpy("float64", na_value=np.nan)
        with np.errstate(invalid="ignore"):
            bad = ~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) > 2.0**53))
        return _nullable(cells.astype("float64").mask(bad).astype("Int64")), bad
    if kind == "bool" and boolean:
        return cells, none_bad
    if kind == "timestamp" and pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return _utc(cells)
    return _TEXT[kind](cells.astype(object))


def _series(values: Any, like: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(values, index=like.index, name=like.name)


def _nullable(cells: pd.Series) -> pd.Series:
    return cells if cells.isna().any() else cells.astype("int64")


def _utc(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import pandas as pd

    aware = cells.dt.tz_localize("UTC") if cells.dt.tz is None else cells.dt.tz_convert("UTC")
    if aware.dt.unit == "ns":
        return aware, (cells.isna() & False).to_numpy()
    low, high = (pd.Timestamp(bound.value, unit="ns", tz="UTC") for bound in (pd.Timestamp.min, pd.Timestamp.max))
    outside = (aware < low) | (aware > high)  # nanoseconds reach from 1677 to 2262
    return aware.mask(outside).dt.as_unit("ns"), outside.to_numpy()


def _text(cells: pd.Series) -> Any:
    """An Arrow array of trimmed text; empty cells are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        array = pa.array(cells, type=pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # objects that are not text: SQL decimals, dates, JSON values
        array = pa.array([as_text(cell) for cell in cells.tolist()], type=pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    trimmed = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _matching(text: Any, pattern: str) -> tuple[Any, np.ndarray]:
    """The cells that match, others null; and a mask of those that are not empty and do not match."""
    import pyarrow.compute as pc

    fits = pc.fill_null(pc.match_substring_regex(text, pattern), True)
    return pc.if_else(fits, text, None), ~fits.to_numpy(zero_copy_only=False)


def _text_to_int(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    text, bad = _matching(_text(cells), _INT)
    digits = pc.replace_substring_regex(pc.replace_substring_regex(text, r"\.0*$", ""), r"^\+", "")
    try:
        values = pc.cast(digits, pa.int64())
    except pa.ArrowInvalid:  # 19 digits may exceed 64 bits
        numbers = [None if cell is None else int(cell) for cell in digits.to_pylist()]
        fits = [number is None or -(2**63) <= number < 2**63 for number in numbers]
        bad |= ~_series(fits, cells).to_numpy(dtype=bool)
        values = pa.array([n if ok else None for n, ok in zip(numbers, fits, strict=True)], type=pa.int64())
    whole = values.to_pandas(types_mapper=lambda kind: pd.Int64Dtype())
    return _nullable(_series(whole.array, cells)), bad


def _text_to_float(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    text, bad = _matching(_text(cells), _FLOAT)
    try:
        values = pc.cast(pc.replace_substring_regex(text, r"^\+", ""), pa.float64())
    except pa.ArrowInvalid:  # forms that only Python reads, such as `5.` or 1e999
        values = pa.array([None if cell is None else float(cell) for cell in text.to_pylist()], type=pa.float64())
    numbers = values.to_numpy(zero_copy_only=False)
    return _series(numbers, cells), bad | np.isinf(numbers)


def _text_to_bool(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import pandas as pd
    import pyarrow.compute as pc

    text, bad = _matching(pc.utf8_lower(_text(cells)), r"^(true|false|1|0)$")
    truth = pd.array([None if cell is None else cell in {"true", "1"} for cell in text.to_pylist()], dtype="boolean")
    values = _series(truth, cells)
    return (values if values.isna().any() else values.astype("bool")), bad


def _text_to_time(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import pandas as pd

    text, bad = _matching(_text(cells), _TIME)
    written = _series(text.to_pandas(), cells).astype(object)
    values = pd.to_datetime(written, format="ISO8601", utc=True, errors="coerce")
    return values.dt.as_unit("ns"), bad | (values.isna() & written.notna()).to_numpy()


def _text_to_str(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    import numpy as np
    import pandas as pd

    values = cells.astype(object) if cells.dtype != object else cells
    if pd.api.types.infer_dtype(values, skipna=True) not in {"string", "empty"} or "" in values.tolist():
        texts: Sequence[str | None] = [as_text(cell) or None for cell in values.tolist()]
        values = pd.Series(texts, index=cells.index, name=cells.name, dtype=object)
    return values, np.zeros(len(cells), dtype=bool)


_TEXT: dict[str, Callable[[pd.Series], tuple[pd.Series, np.ndarray]]] = {"int": _text_to_int, "float": _text_to_float}
_TEXT |= {"bool": _text_to_bool, "timestamp": _text_to_time, "str": _text_to_str}
