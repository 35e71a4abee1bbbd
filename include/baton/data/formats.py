"""Files as frames: CSV and JSON become frames of text, Parquet keeps its types; nothing is guessed or lost on the way.

Every row of a text gets `_row`, its number in the file counted from 1 without the header. A row that cannot be read as
its format says (ragged, badly encoded, not an object) stays, with the reason in `_problem`, so that the contract
quarantines it instead of the file failing; only a file that cannot be split into rows at all is a `SourceError`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baton.data.cells import BOOKKEEPING, PROBLEM, as_text
from baton.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json", "parquet")

_MAGIC = {
    b"\x1f\x8b": "gzip: unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"PAR1": "Parquet: set `format: parquet` in sources.yaml",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"%PDF": "a PDF: deliver the rows as CSV or JSON",
}


def read_bytes(data: bytes, name: str, fmt: str) -> pd.DataFrame:
    """Read a file's content; CSV and JSON cells stay text, Parquet keeps its types.

    Args:
        name: what errors call the file.
        fmt: `csv` (comma, header line, UTF-8), `json` (an array of objects, or one object a line) or `parquet`.

    Returns:
        n rows with the file's columns; of a text format also `_row`, and `_problem` if any row has one. A file
        without rows gives an empty frame; the contract judges that.

    Raises:
        SourceError: the content is not of that format, or has a header that cannot name columns.
    """
    if fmt not in FORMATS:
        raise SourceError(f"{name}: format {fmt!r} is not known; allowed are {', '.join(FORMATS)}")
    if fmt == "parquet":
        return _parquet(data, name)
    for magic, advice in _MAGIC.items():
        if data.startswith(magic):
            raise SourceError(f"{name}: this is not {fmt.upper()} but {advice}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # undecodable bytes become lone surrogates here, so that they can be traced to their rows
        text = data.decode("utf-8-sig", errors="surrogateescape")
    return _csv(text, name) if fmt == "csv" else _json(text, name)


def frame_of_records(records: Iterable[object], name: str, first_row: int = 1) -> pd.DataFrame:
    """Turn decoded JSON objects (an HTTP response's records) into a frame of text.

    Args:
        records: mappings from column to value; nested values become JSON text, anything else gets a `_problem`.
        name: the source, for errors.
        first_row: number of the first record.

    Raises:
        SourceError: a record uses a name that the engine reserves.
    """
    rows: list[dict[str, str | None]] = []
    problems: list[str | None] = []
    for record in records:
        if isinstance(record, _Twice):
            problems.append(f"json: key {record.key!r} occurs twice")
            rows.append({})
        elif isinstance(record, Mapping):
            rows.append({str(key): as_text(value) for key, value in record.items()})
            problems.append(None)
        elif isinstance(record, _Unreadable):
            rows.append({})
            problems.append(f"json: {record.reason}: {record.text[:200]}")
        else:
            rows.append({})
            problems.append(f"json: not an object but {as_text(record)}"[:200])
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[row.get(column) for row in rows] for column in columns]
    return _frame(columns, cells, problems, name, first_row)


def _parquet(data: bytes, name: str) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name}: not a readable Parquet file: {error}") from error
    _check_names(table.column_names, name)
    # integers with gaps stay integers: as floats, keys above 2**53 would change
    return table.to_pandas(integer_object_nulls=True)


def _csv(text: str, name: str) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            if cells:  # a blank line is []
                rows.append(cells)  # one by one: an error tells how many came before it
    except csv.Error as error:
        raise SourceError(
            f"{name}, line {reader.line_num}, after row {len(rows)}: {error}; quotes inside a cell are written twice"
        ) from error
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise SourceError(f"{name}, line 1: the header is one cell, {header[0][:80]!r}; separate cells by commas")
    _check_names(header, name)
    width, problems = len(header), [_csv_problem(cells, header) for cells in rows]
    for number, cells in enumerate(rows):
        if len(cells) < width:
            rows[number] = cells + [""] * (width - len(cells))
    columns = [[_clean(cells[position]) or None for cells in rows] for position in range(width)]
    return _frame(header, columns, problems, name)


def _csv_problem(cells: Sequence[str], header: Sequence[str]) -> str | None:
    if len(cells) != len(header):
        rest = f"; beyond the header: {','.join(cells[len(header) :])}" if len(cells) > len(header) else ""
        return _clean(f"ragged: {len(cells)} cells, the header has {len(header)}{rest}"[:500])
    for column, cell in zip(header, cells, strict=True):
        if not cell.isascii() and _clean(cell) is not cell:
            return f"encoding: column {column} is not UTF-8"
    return None


def _clean(cell: str) -> str:
    """Replace what stands for undecodable bytes; the same object comes back when there is none."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return cell.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    return cell


class _Twice:
    """A JSON object with the same key twice: which value is meant is unknown."""

    def __init__(self, key: str) -> None:
        self.key = key


class _Unreadable:
    """A line that is no JSON."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason


def _object(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    keys = [key for key, _ in pairs]
    return _Twice(next(key for key in keys if keys.count(key) > 1))


def _loads(text: str) -> Any:
    # numbers keep the digits that the sender wrote: an amount is not squeezed through a binary float here
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)


def _json(text: str, name: str) -> pd.DataFrame:
    stripped = text.lstrip()
    if stripped.startswith("["):
        try:
            records = _loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SourceError(f"{name}: not a JSON array: {error}") from error
        return _decoded(frame_of_records(records, name))
    records = []
    for line in text.splitlines():
        if line.strip():
            try:
                records.append(_loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                records.append(_Unreadable(line, str(error)))
    if records and all(isinstance(record, _Unreadable) for record in records):
        raise SourceError(f"{name}: neither a JSON array of objects nor one JSON object a line ({records[0].reason})")
    return _decoded(frame_of_records(records, name))


def _decoded(frame: pd.DataFrame) -> pd.DataFrame:
    """Move rows with undecodable bytes to `_problem`."""
    for column in [column for column in frame.columns if column != "_row"]:
        cells = frame[column].tolist()
        clean = [cell if cell is None else _clean(cell) for cell in cells]
        broken = [number for number, cell in enumerate(cells) if cell is not None and clean[number] is not cell]
        if broken:
            frame[column] = clean
            if PROBLEM not in frame:
                frame[PROBLEM] = [None] * len(frame)
            for number in broken:
                frame.at[number, PROBLEM] = frame.at[number, PROBLEM] or f"encoding: column {column} is not UTF-8"
    return frame


def _frame(
    columns: Sequence[str],
    cells: Sequence[Sequence[str | None]],
    problems: Sequence[str | None],
    name: str,
    first_row: int = 1,
) -> pd.DataFrame:
    import pandas as pd

    _check_names(columns, name)
    made: dict[str, Any] = {"_row": range(first_row, first_row + len(problems))}
    made |= {column: pd.Series(list(values), dtype=object) for column, values in zip(columns, cells, strict=True)}
    if any(problems):
        made[PROBLEM] = pd.Series(problems, dtype=object)
    return pd.DataFrame(made)


def _check_names(columns: Sequence[str], name: str) -> None:
    for position, column in enumerate(columns, 1):
        if not column:
            raise SourceError(f"{name}: column {position} has no name")
        if column in BOOKKEEPING or column == PROBLEM:
            raise SourceError(f"{name}: column {position} is called {column!r}, a name that Baton uses; rename it")
        if column in columns[: position - 1]:
            raise SourceError(f"{name}: two columns are called {column!r}")
