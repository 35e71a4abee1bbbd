"""Files as frames: CSV and JSON become frames of text, Parquet keeps its types; nothing is guessed or lost on the way.

Every row of a text gets `_row`, its number in the file counted from 1 without the header. A row that cannot be read as
its format says (ragged, badly encoded, not an object), or with text that may not go on (`baton.data.fit`), stays, with the
reason in `_problem`, so that the contract quarantines it instead of the file failing; only a file that cannot be split
into rows at all is a `SourceError`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from baton.data.cells import BOOKKEEPING, PROBLEM, as_text, as_texts
from baton.data.fit import LONGEST_NAME, fit, flaw, flaws
from baton.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json", "parquet")
_AT_ONCE = 4096  # records that are held as objects
_PIECE = 1 << 20  # characters
csv.field_size_limit(2**31 - 1)  # a longer cell costs its own row, not the file

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
    cells: dict[str, list[str | None]] = {}
    problems: list[str | None] = []
    coming: Iterator[Any] = iter(records)
    while some := list(islice(coming, _AT_ONCE)):
        before = len(problems)
        for position, record in enumerate(some):
            problem = None
            if record.__class__ is not dict or not record.keys() <= cells.keys():
                some[position], problem = _row(record, cells, before)
            problems.append(problem)
        for column, known in cells.items():
            known += as_texts([row.get(column) for row in some])
    return _frame(list(cells), list(cells.values()), problems, name, first_row)


def _row(record: object, cells: dict[str, list[str | None]], before: int) -> tuple[dict[str, Any], str | None]:
    """A record by column, and why it is none; a column not seen yet is empty in the `before` rows."""
    if isinstance(record, _Twice):
        return {}, f"json: key {fit(record.key, LONGEST_NAME)!r} occurs twice"
    if isinstance(record, _Unreadable):
        return {}, f"json: {record.reason}: {fit(record.text[:200])}"
    if not isinstance(record, Mapping):
        return {}, fit(f"json: not an object but {as_text(record)}"[:200])
    row = {str(key): value for key, value in record.items()}
    strange = next((key for key in row if key not in cells and _strange(key)), None)
    if strange is not None:
        return {}, f"json: key {fit(strange, LONGEST_NAME)!r} cannot name a column"
    for key in row:
        cells.setdefault(key, [None] * before)
    return row, None


def _parquet(data: bytes, name: str) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        # integers with gaps stay integers: as floats, keys above 2**53 would change
        frame = table.to_pandas(integer_object_nulls=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: not a readable Parquet file: {error}") from error
    _check_names(table.column_names, name)
    texts = (pa.string(), pa.large_string(), pa.string_view())
    return _checked(frame, [field.name for field in table.schema if field.type in texts])


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
    columns = [[cells[position] or None for cells in rows] for position in range(width)]
    return _frame(header, columns, problems, name)


def _csv_problem(cells: Sequence[str], header: Sequence[str]) -> str | None:
    if len(cells) == len(header):
        return None
    rest = f"; beyond the header: {','.join(cells[len(header) :])}" if len(cells) > len(header) else ""
    return fit(f"ragged: {len(cells)} cells, the header has {len(header)}{rest}"[:500])


class _Twice:
    """A JSON object with the same key twice: which value is meant is unknown."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:  # what stands in the cell of one inside a record: the same in every process
        return f"key {self.key!r} occurs twice"


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


# numbers keep the digits that the sender wrote: an amount is not squeezed through a binary float here
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)


def _loads(text: str) -> Any:
    if text.startswith("\ufeff"):
        json.loads(text)  # says so
    return _DECODER.decode(text)


def _json(text: str, name: str) -> pd.DataFrame:
    if not text.lstrip().startswith("["):
        return frame_of_records(_objects_of(text, name), name)
    try:
        records = _loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(f"{name}: not a JSON array: {error}") from error
    return frame_of_records(records, name)


def _objects_of(text: str, name: str) -> Iterator[Any]:
    """What each line holds that is not empty. Raises SourceError, at its end, if no line could be read."""
    reason, readable = "", False
    for line in _lines(text):
        if line.strip():
            try:
                yield _loads(line)
                readable = True
            except (json.JSONDecodeError, RecursionError) as error:
                reason = reason or str(error)
                yield _Unreadable(line, str(error))
    if reason and not readable:
        raise SourceError(f"{name}: neither a JSON array of objects nor one JSON object a line ({reason})")


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, of which no second copy is made at once."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        yield from text[start:end].splitlines()
        start = end


def _checked(frame: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """Name rows with text that may not go on in `_problem`, and make it such that it may; `texts`: columns of text."""
    for column in texts:
        found = flaws(frame[column])
        if not found:
            continue
        cells = frame[column].tolist()
        problems = frame[PROBLEM].tolist() if PROBLEM in frame else [None] * len(frame)
        for number, why in found.items():
            rule, _, what = why.partition(": ")
            cells[number] = fit(cells[number])
            problems[number] = problems[number] or f"{rule}: column {column} {what}"
        frame[column], frame[PROBLEM] = _objects(cells), _objects(problems)
    return frame


def _objects(values: Sequence[Any]) -> pd.Series:
    import numpy as np
    import pandas as pd

    return pd.Series(np.fromiter(values, dtype=object, count=len(values)), dtype=object)


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
    made |= {column: _objects(values) for column, values in zip(columns, cells, strict=True)}
    if any(problems):
        made[PROBLEM] = _objects(problems)
    return _checked(pd.DataFrame(made), columns)


def _check_names(columns: Sequence[str], name: str) -> None:
    for position, column in enumerate(columns, 1):
        if not column:
            raise SourceError(f"{name}: column {position} has no name")
        if _strange(column):
            shown = fit(column, LONGEST_NAME)
            raise SourceError(
                f"{name}: column {position} is called {shown!r}, which is too long or holds control characters"
            )
        if column in BOOKKEEPING or column == PROBLEM:
            raise SourceError(f"{name}: column {position} is called {column!r}, a name that Baton uses; rename it")
        if column in columns[: position - 1]:
            raise SourceError(f"{name}: two columns are called {column!r}")


def _strange(column: str) -> bool:
    return flaw(column, LONGEST_NAME) is not None
