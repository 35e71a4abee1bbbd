"""From what arrived to typed rows: every row keeps its identity, every cell converts or its row is quarantined.

Text is never guessed at: a number, truth value or time has one written form, and an empty cell is a null. A row with a
cell that does not convert is a `Violation` of the rule `type` and is not shown to Great Expectations, which
would otherwise raise without naming it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from baton.errors import SourceError
from baton.readers import BOOKKEEPING, PROBLEM, as_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.specs import ContractSpec

__all__ = ["Parsed", "Violation", "adopt", "parse", "row_shas", "with_row_identity"]

_ADVICE = {
    "int": "write a whole number, e.g. 42",
    "float": "write a finite number with a decimal point, e.g. 149.62",
    "bool": "write true or false",
    "timestamp": "write an ISO 8601 time, e.g. 2026-01-31T09:30:00Z (without zone: UTC)",
    "str": "write text",
    "ragged": "compare the row with the header: a cell is missing, or a comma is not quoted",
    "encoding": "save the file as UTF-8, or repair the cell",
    "json": "deliver one JSON object a row, each key once",
}
_INT = r"^[+-]?\d{1,19}(\.0*)?$"
_FLOAT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?$"
_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one row breaks.

    Attributes:
        row: number of the row in its source, from 1.
        row_sha: SHA-256 of the row as it arrived.
        key: value of the contract's key column; None when it is empty or did not convert.
        column: the columns that the rule looks at, joined by ", ".
        value: what stands there, as text.
        severity: critical or warning.
    """

    row: int
    row_sha: str
    key: str | None
    rule: str
    column: str | None
    value: str | None
    severity: str
    advice: str


@dataclass(frozen=True)
class Parsed:
    """Rows under a contract's types.

    Attributes:
        frame: the rows whose cells all convert, index 0..n-1: the contract's columns that arrived, and
            bookkeeping.
        bad: rule `type`, `ragged`, `encoding` or `json`; several per row are possible.
        bad_rows: number of rows that `bad` names.
        rows_in: all rows, converted or not.
        dropped_columns: arrived, but the contract does not know them.
        missing: the contract names them, but they did not arrive.
    """

    frame: pd.DataFrame
    rows_in: int
    bad: list[Violation] = field(default_factory=list)
    bad_rows: int = 0
    dropped_columns: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def with_row_identity(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Give every row `_source`, `_row` (its place in the source, from 1) and `_row_sha`; what is there stays.

    Raises:
        SourceError: two rows have the same number and content, so that a repair could not tell them apart.
    """
    frame = _plain_index(frame).copy(deep=False)
    if "_source" not in frame:
        frame["_source"] = source
    if "_row" not in frame:
        frame["_row"] = range(1, len(frame) + 1)
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
    """SHA-256 of every row's cells (bookkeeping left out), columns in alphabetical order; 64 hex digits each."""
    import numpy as np
    import pandas as pd

    columns = sorted(str(column) for column in frame.columns if column not in BOOKKEEPING)
    header = _SEPARATOR.join(columns).encode()
    binary: list[np.ndarray] = []
    text: list[list[str]] = []
    for column in columns:
        cells = frame[column]
        if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "iufb":
            values = cells.to_numpy("float64" if cells.dtype.kind == "f" else "int64")
            binary.append(np.where(values != values, np.nan, values).view("int64"))
        elif pd.api.types.is_datetime64_any_dtype(cells.dtype):
            utc = cells.dt.tz_convert("UTC") if cells.dt.tz is not None else cells
            binary.append(utc.to_numpy("datetime64[ns]").view("int64"))
        else:
            text.append(["\x00" if (cell := as_text(value)) is None else cell for value in cells.tolist()])
    blob = np.column_stack(binary).tobytes() if binary else b""
    width = 8 * len(binary)
    words = [_SEPARATOR.join(cells).encode() for cells in zip(*text, strict=True)] if text else [b""] * len(frame)
    start = hashlib.sha256(header)

    def digest(number: int, word: bytes) -> str:
        made = start.copy()
        made.update(blob[number * width : (number + 1) * width])
        made.update(word)
        return made.hexdigest()

    return [digest(number, word) for number, word in enumerate(words)]


def adopt(frame: pd.DataFrame, spec: ContractSpec, source: str = "") -> Parsed:
    """Parse a frame that is typed already (a stage's output, Parquet); rows are numbered if they are not yet.

    Unlike `with_row_identity` it does not hash every row: `contracts.check` does that for the bad ones.
    """
    frame = _plain_index(frame)
    if "_row" not in frame or "_source" not in frame:
        frame = frame.copy(deep=False)
        frame["_row"] = frame.get("_row", range(1, len(frame) + 1))
        frame["_source"] = frame.get("_source", source)
    return parse(frame, spec)


def parse(frame: pd.DataFrame, spec: ContractSpec) -> Parsed:
    """Convert every cell to the contract's type.

    Args:
        frame: columns of text (CSV, JSON) or typed ones (Parquet, SQL), also mixed, with `_row`.
        spec: the contract; a column that it does not name is dropped and recorded.

    Returns:
        int64 (Int64 where empty cells are), float64, bool (boolean where empty cells are), `datetime64[ns,
        UTC]`, or str.
    """
    import numpy as np

    frame = _plain_index(frame)
    if "_row" not in frame:
        frame = with_row_identity(frame, "")
    present = [column for column in spec.columns if column in frame]
    broken = np.zeros(len(frame), dtype=bool)
    typed: dict[str, pd.Series] = {}
    faults: list[tuple[str, str, np.ndarray]] = []
    for column in present:
        kind = spec.columns[column].type
        typed[column], bad = _convert(frame[column], kind)
        if bad.any():
            faults.append((column, kind, np.flatnonzero(bad)))
            broken |= bad
    unreadable = np.flatnonzero(frame[PROBLEM].notna().to_numpy()) if PROBLEM in frame else np.array([], dtype=int)
    broken[unreadable] = True
    kept = {column: frame[column] for column in BOOKKEEPING if column in frame}
    return Parsed(
        frame=_assemble(frame, kept | typed, broken),
        rows_in=len(frame),
        bad=_violations(frame, spec, faults, unreadable) if broken.any() else [],
        bad_rows=int(broken.sum()),
        dropped_columns=[
            str(c) for c in frame.columns if c not in spec.columns and c not in BOOKKEEPING and c != PROBLEM
        ],
        missing=[column for column in spec.columns if column not in frame],
    )


def _plain_index(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    plain = isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0 and frame.index.step == 1
    return frame if plain else frame.reset_index(drop=True)


def _assemble(frame: pd.DataFrame, columns: dict[str, pd.Series], broken: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    typed = pd.DataFrame(columns, index=frame.index, copy=False)
    return typed[~broken].reset_index(drop=True) if broken.any() else typed


def _violations(
    frame: pd.DataFrame, spec: ContractSpec, faults: list[tuple[str, str, np.ndarray]], unreadable: np.ndarray
) -> list[Violation]:
    import numpy as np

    positions = np.unique(np.concatenate([unreadable, *(rows for _, _, rows in faults)]))
    chosen = frame.iloc[positions]
    place = {int(position): number for number, position in enumerate(positions)}
    shas = chosen["_row_sha"].tolist() if "_row_sha" in chosen else row_shas(chosen)
    keys = [as_text(key) for key in chosen[spec.key].tolist()] if spec.key in chosen else [None] * len(chosen)
    numbers = chosen["_row"].tolist()

    def violation(position: int, rule: str, column: str | None, value: str | None, advice: str) -> Violation:
        at = place[position]
        return Violation(numbers[at], shas[at], keys[at], rule, column, value, "warning", advice)

    made = []
    for position in unreadable.tolist():
        rule, _, detail = str(frame[PROBLEM].iloc[position]).partition(": ")
        made.append(violation(position, rule, None, detail, _ADVICE.get(rule, "")))
    for column, kind, rows in faults:
        cells = frame[column]
        for position in rows.tolist():
            value = as_text(cells.iloc[position])
            made.append(violation(position, "type", column, value, f"{column}: {_ADVICE[kind]}"))
    return sorted(made, key=lambda violation: violation.row)


def _convert(cells: pd.Series, kind: str) -> tuple[pd.Series, np.ndarray]:
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
        array = pa.array(cells, type=pa.string(), from_pandas=True)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
    ):  # objects that are not text: SQL decimals, dates, JSON values
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


_TEXT: dict[str, Callable[[pd.Series], tuple[pd.Series, np.ndarray]]] = {
    "int": _text_to_int,
    "float": _text_to_float,
    "bool": _text_to_bool,
    "timestamp": _text_to_time,
    "str": _text_to_str,
}
