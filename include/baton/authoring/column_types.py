"""Column types: which one each column of some rows has, as a contract would name it; runs of columns in short form."""

import re
from collections.abc import Iterator, Mapping

import pandas as pd

_NUMBERED = re.compile(r"(?P<head>.*?)(?P<number>0|[1-9]\d*)")
_MIN_RUN = 4
_TEXT = {
    "int": r"[+-]?\d{1,18}",
    "float": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "bool": r"(?i)true|false",
    "timestamp": r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?",
}


def column_types(frame: pd.DataFrame) -> dict[str, tuple[str, bool]]:
    """Type and whether empty cells occur, by column; text (from CSV and JSON) is looked at cell by cell.

    Columns that begin with `_` are the engine's own and are left out.
    """
    return {
        str(name): (_type_of(frame[name]), bool(_empty(frame[name]).any()))
        for name in frame.columns
        if not str(name).startswith("_")
    }


def cells_of(cells: pd.Series, kind: str) -> pd.Series:
    """Cells as values of a type that `column_types` found; empty ones are null."""
    empty = _empty(cells)
    if kind == "timestamp":
        return pd.to_datetime(cells.where(~empty), utc=True, format="ISO8601" if cells.dtype == object else None)
    if kind in ("int", "float"):
        return pd.to_numeric(cells.where(~empty))
    if kind == "bool" and cells.dtype == object:
        return cells.where(~empty).map(lambda cell: str(cell).strip().lower() == "true", na_action="ignore")
    return cells.where(~empty)


def in_ranges(columns: Mapping[str, tuple[str, bool]]) -> dict[str, tuple[str, bool]]:
    """Writes neighbours such as v1, v2, .. v28 of one type as `v{1..28}`, from four of them on."""
    short: dict[str, tuple[str, bool]] = {}
    for run in _runs(columns):
        if len(run) < _MIN_RUN:
            short |= {name: columns[name] for name in run}
            continue
        first, last = (_NUMBERED.fullmatch(name) for name in (run[0], run[-1]))
        assert first is not None
        assert last is not None
        short[f"{first['head']}{{{first['number']}..{last['number']}}}"] = columns[run[0]]
    return short


def _runs(columns: Mapping[str, tuple[str, bool]]) -> Iterator[list[str]]:
    run: list[str] = []
    for name in columns:
        if run and columns[run[-1]] == columns[name] and _follows(run[-1], name):
            run.append(name)
            continue
        if run:
            yield run
        run = [name]
    if run:
        yield run


def _follows(one: str, other: str) -> bool:
    before, after = _NUMBERED.fullmatch(one), _NUMBERED.fullmatch(other)
    if before is None or after is None or before["head"] != after["head"]:
        return False
    return int(after["number"]) == int(before["number"]) + 1


def _empty(cells: pd.Series) -> pd.Series:
    blank = cells.astype("string").str.strip().eq("").fillna(value=False) if cells.dtype == object else False
    return cells.isna() | blank


def _type_of(cells: pd.Series) -> str:
    filled = cells[~_empty(cells)]
    if pd.api.types.is_bool_dtype(cells):
        return "bool"
    if pd.api.types.is_integer_dtype(cells):
        return "int"
    if pd.api.types.is_float_dtype(cells):
        return "float"
    if pd.api.types.is_datetime64_any_dtype(cells):
        return "timestamp"
    words = [str(cell).strip() for cell in filled]
    fitting = (kind for kind, pattern in _TEXT.items() if all(re.fullmatch(pattern, word) for word in words))
    return next(fitting, "str") if words else "str"
