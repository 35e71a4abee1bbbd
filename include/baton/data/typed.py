"""Typed rows, made of what arrived: every row keeps its identity, every cell converts or its row is quarantined.

Text is never guessed at: a number, truth value or time has one written form, and an empty cell is a null. A row with a
cell that does not convert is a `Violation` of the rule `type`, one with text that may not go on of `control` or `too_long`;
neither is shown to Great Expectations, which would otherwise raise without naming it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from baton.data.cells import BOOKKEEPING, MASKED, PROBLEM, as_text, empty_cells, keys_of
from baton.data.conversions import convert
from baton.data.fit import LONGEST_CELL, LONGEST_ENTITY, LONGEST_KEY, flaws
from baton.data.identity import plain_index, row_shas, with_row_identity

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baton.specs.contract import ContractSpec

_ADVICE = {
    "int": "write a whole number, e.g. 42",
    "float": "write a finite number with a decimal point, e.g. 149.62",
    "bool": "write true or false",
    "timestamp": "write an ISO 8601 time, e.g. 2026-01-31T09:30:00Z (without zone: UTC)",
    "str": "write text",
    "ragged": "compare the row with the header: a cell is missing, or a comma is not quoted",
    "encoding": "save the file as UTF-8, or repair the cell",
    "control": "leave out control characters, or repair the cell",
    "too_long": "shorten the text, or have the sender do it",
    "json": "deliver one JSON object a row, each key once",
}


_DAY_FIRST = re.compile(r"\s*(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?!\d)")


def day_first(value: str | None) -> str:
    """What to write instead of a date such as 31.01.2026; empty for anything else."""
    found = _DAY_FIRST.match(value or "")
    if found is None:
        return ""
    day, month, year = found.groups()
    iso = f"{year}-{int(month):02d}-{int(day):02d}"
    return (
        f"write year-month-day, {iso} if the day stands first, then the time as in {iso}T09:30:00Z; best at the source"
    )


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one row breaks.

    Attributes:
        row: number of the row in its source, from 1.
        row_sha: SHA-256 of the row as it arrived.
        key: value of the contract's key column; None when it is empty or did not convert.
        column: the columns that the rule looks at, joined by ", ".
        value: what stands there, as text; `(masked)` where it is direct personal data, or may be.
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
        frame: the rows whose cells all convert, index 0..n-1: the contract's columns that arrived, and bookkeeping.
        bad: rule `type`, `ragged`, `encoding`, `json`, `control` or `too_long`; several per row are possible.
        bad_rows: number of rows that `bad` names.
        rows_in: all rows, converted or not.
        dropped_columns: arrived, but the contract does not know them; `(masked)` where they may be a first row.
        missing: the contract names them, but they did not arrive.
        absent: no row of a sparse contract has them; their cells are empty.
    """

    frame: pd.DataFrame
    rows_in: int
    bad: list[Violation] = field(default_factory=list)
    bad_rows: int = 0
    dropped_columns: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def adopt(frame: pd.DataFrame, spec: ContractSpec, source: str = "", first_row: int = 1) -> Parsed:
    """Parse a frame that is typed already (a stage's output, Parquet); rows are numbered if they are not yet.

    Unlike `with_row_identity` it does not hash every row: `contracts.check` does that for the bad ones.
    """
    frame = plain_index(frame)
    if "_row" not in frame or "_source" not in frame:
        frame = frame.copy(deep=False)
        frame["_row"] = frame.get("_row", range(first_row, first_row + len(frame)))
        frame["_source"] = frame.get("_source", source)
    return parse(frame, spec)


def parse(frame: pd.DataFrame, spec: ContractSpec, entities: Collection[str] = ()) -> Parsed:
    """Convert every cell to the contract's type; a text that may not go on (`baton.data.fit`) does not convert.

    Args:
        frame: columns of text (CSV, JSON) or typed ones (Parquet, SQL), also mixed, with `_row`.
        spec: the contract; a column that it does not name is dropped and recorded.
        entities: columns that keys are made of later, besides the contract's own.

    Returns:
        int64 (Int64 where empty cells are), float64, bool (boolean where empty cells are), `datetime64[ns,
        UTC]`, or str.
    """
    import numpy as np

    frame = plain_index(frame)
    if "_row" not in frame:
        frame = with_row_identity(frame, "")
    present = [column for column in spec.columns if column in frame]
    absent = [name for name, one in spec.columns.items() if spec.sparse and one.nullable and name not in frame]
    broken = np.zeros(len(frame), dtype=bool)
    typed: dict[str, pd.Series] = {}
    faults: list[tuple[str, str, np.ndarray]] = []
    unfit: dict[str, dict[int, str]] = {}
    longest = dict.fromkeys(spec.key, LONGEST_KEY) | dict.fromkeys(entities, LONGEST_ENTITY)
    for column in [name for name in spec.columns if name in frame or name in absent]:
        kind = spec.columns[column].type
        typed[column], bad = convert(frame[column] if column in frame else empty_cells(len(frame)), kind)
        if bad.any():
            faults.append((column, kind, np.flatnonzero(bad)))
            broken |= bad
        if kind == "str" and (found := flaws(typed[column], longest.get(column, LONGEST_CELL))):
            unfit[column] = found
            broken[list(found)] = True
    unreadable = np.flatnonzero(frame[PROBLEM].notna().to_numpy()) if PROBLEM in frame else np.array([], dtype=int)
    broken[unreadable] = True
    kept = {column: frame[column] for column in BOOKKEEPING if column in frame}
    unknown = [str(c) for c in frame.columns if c not in spec.columns and c not in BOOKKEEPING and c != PROBLEM]
    if not present and spec.personal(spec.columns):  # a file without a header shows its first row as names
        unknown = [MASKED for _ in unknown]
    return Parsed(
        frame=_assemble(frame, kept | typed, broken),
        rows_in=len(frame),
        bad=_violations(frame, spec, faults, unfit, unreadable) if broken.any() else [],
        bad_rows=int(broken.sum()),
        dropped_columns=unknown,
        missing=[column for column in spec.columns if column not in typed],
        absent=absent,
    )


def _assemble(frame: pd.DataFrame, columns: dict[str, pd.Series], broken: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    typed = pd.DataFrame(columns, index=frame.index, copy=False)
    return typed[~broken].reset_index(drop=True) if broken.any() else typed


def _violations(
    frame: pd.DataFrame, spec: ContractSpec, faults: list[tuple[str, str, np.ndarray]],
    unfit: Mapping[str, Mapping[int, str]], unreadable: np.ndarray,
) -> list[Violation]:  # fmt: skip
    import numpy as np

    rows_of = [unreadable, *(rows for _, _, rows in faults), *(np.array(list(found)) for found in unfit.values())]
    positions = np.unique(np.concatenate(rows_of))
    chosen = frame.iloc[positions]
    place = {int(position): number for number, position in enumerate(positions)}
    shas = chosen["_row_sha"].tolist() if "_row_sha" in chosen else row_shas(chosen)
    keys = keys_of(chosen, spec.key)
    numbers = chosen["_row"].tolist()
    # in a row that was not split as it was meant, any cell may be any column's
    shifted = set(unreadable.tolist()) if spec.personal(spec.columns) else set()

    def violation(position: int, rule: str, column: str | None, value: str | None, advice: str) -> Violation:
        at, anywhere = place[position], position in shifted
        hidden = anywhere or (column is not None and spec.personal([column]))
        value, key = MASKED if hidden and value is not None else value, None if anywhere else keys[at]
        return Violation(numbers[at], shas[at], key, rule, column, value, "warning", advice)

    made = []
    for position in unreadable.tolist():
        rule, _, detail = str(frame[PROBLEM].iloc[position]).partition(": ")
        made.append(violation(position, rule, None, detail, _ADVICE.get(rule, "")))
    for column, found in unfit.items():
        for position, why in found.items():
            rule, _, detail = why.partition(": ")
            made.append(violation(position, rule, column, detail, f"{column}: {_ADVICE[rule]}"))
    for column, kind, rows in faults:
        cells = frame[column]
        for position in rows.tolist():
            value = as_text(cells.iloc[position])
            # what it tells to write instead holds the value, which may be somebody's date of birth
            advice = day_first(value) if kind == "timestamp" and not spec.personal([column]) else ""
            made.append(violation(position, "type", column, value, f"{column}: {advice or _ADVICE[kind]}"))
    return sorted(made, key=lambda violation: violation.row)
