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
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

from baton.data.cells import BOOKKEEPING, PROBLEM, as_text, as_texts
from baton.data.fit import LONGEST_NAME, fit, flaw, flaws
from baton.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

FORMATS = ("csv", "json", "parquet")
_AT_ONCE = 4096  # records that are held as objects
PIECE = 1 << 20  # characters
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
    require_text(data, name, fmt)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # undecodable bytes become lone surrogates here, so that they can be traced to their rows
        text = data.decode("utf-8-sig", errors="surrogateescape")
    return _csv(text, name) if fmt == "csv" else _json(text, name)


def require_text(data: bytes, name: str, fmt: str) -> None:
    """Raises SourceError: by its first bytes a file is something else than CSV or JSON."""
    for magic, advice in _MAGIC.items():
        if data.startswith(magic):
            raise SourceError(f"{name}: this is not {fmt.upper()} but {advice}")


def frame_of_records(
    records: Iterable[object], name: str, first_row: int = 1, columns: Iterable[str] = ()
) -> pd.DataFrame:
    """Turn decoded JSON objects (an HTTP response's records) into a frame of text.

    Args:
        records: mappings from column to value; nested values become JSON text, anything else gets a `_problem`.
        name: the source, for errors.
        first_row: number of the first record.
        columns: those of rows before and behind; what else there is follows them.

    Raises:
        SourceError: a record uses a name that the engine reserves.
    """
    cells: dict[str, list[str | None]] = {column: [] for column in columns}
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
    return _of_parquet(table, frame, name)


def _of_parquet(table: pa.Table, frame: pd.DataFrame, name: str) -> pd.DataFrame:
    import pyarrow as pa

    _check_names(table.column_names, name)
    texts = (pa.string(), pa.large_string(), pa.string_view())
    return _checked(frame, [field.name for field in table.schema if field.type in texts])


def parquet_frames(
    stream: IO[bytes], name: str, at_once: int, groups: range | None = None
) -> Iterator[tuple[pa.Table, pd.DataFrame]]:
    """The rows of a Parquet file, at least once: as the file has them, and as `read_bytes` makes them.

    Args:
        groups: only the rows of these row groups.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream, pre_buffer=False)  # else all that was read is kept until the end
        gaps = [one for one in file.schema_arrow.names if _has_gaps(file, one)]
        nothing = [pa.RecordBatch.from_pylist([], file.schema_arrow)] if not file.metadata.num_rows else []
        wanted = list(groups) if groups is not None else None
        for batch in chain(file.iter_batches(batch_size=at_once, row_groups=wanted), nothing):
            table = pa.Table.from_batches([batch])
            frame = table.to_pandas(integer_object_nulls=True)
            # what a column is must not depend on where the file is cut
            frame = frame.astype({one: object for one in gaps if one in frame and frame[one].dtype.kind in "iub"})
            yield table, _of_parquet(table, frame, name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: not a readable Parquet file: {error}") from error


def _has_gaps(file: parquet.ParquetFile, column: str) -> bool:
    """Whether a column of integers or truth values has an empty cell anywhere."""
    import pyarrow as pa

    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return False
    place = [file.metadata.schema.column(n).path for n in range(file.metadata.num_columns)].index(column)
    groups = [file.metadata.row_group(n).column(place).statistics for n in range(file.metadata.num_row_groups)]
    if all(one is not None and one.has_null_count for one in groups):
        return any(one.null_count for one in groups)
    return any(batch.column(0).null_count for batch in file.iter_batches(columns=[column]))


def _csv(text: str, name: str) -> pd.DataFrame:
    return next(csv_frames(io.StringIO(text, newline=""), name))


def csv_frames(lines: Iterable[str], name: str, at_once: int | None = None) -> Iterator[pd.DataFrame]:
    """The rows of a CSV file in frames as `read_bytes` makes them, at least one.

    Args:
        lines: as the file has them, ends of lines and all.
        at_once: rows of a frame; None: all.
    """
    reader, before = csv.reader(lines, strict=True), 0
    rows: list[list[str]] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(header, name)
        for cells in reader:
            if cells:  # a blank line is []
                rows.append(cells)  # one by one: an error tells how many came before it
            if len(rows) == at_once:
                made, before, rows = _csv_frame(header, rows, name, before + 1), before + len(rows), []
                yield made
    except csv.Error as error:
        raise SourceError(
            f"{name}, line {reader.line_num}, after row {before + len(rows)}: {error}; quotes inside a cell are written twice"
        ) from error
    if rows or not before:
        yield _csv_frame(header, rows, name, before + 1)


def _check_header(header: Sequence[str], name: str) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise SourceError(f"{name}, line 1: the header is one cell, {header[0][:80]!r}; separate cells by commas")
    _check_names(header, name)


def _csv_frame(header: Sequence[str], rows: list[list[str]], name: str, first_row: int) -> pd.DataFrame:
    width, problems = len(header), [_csv_problem(cells, header) for cells in rows]
    for number, cells in enumerate(rows):
        if len(cells) < width:
            rows[number] = cells + [""] * (width - len(cells))
    columns = [[cells[position] or None for cells in rows] for position in range(width)]
    return _frame(header, columns, problems, name, first_row)


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
        return frame_of_records(_objects_of(_lines(io.StringIO(text, newline="\n")), name), name)
    try:
        records = _loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SourceError(f"{name}: not a JSON array: {error}") from error
    return frame_of_records(records, name)


def json_columns(text: IO[str], name: str) -> list[str]:
    """The columns of a file with one JSON object a line, as `read_bytes` finds them; none of a file that is one array.

    Raises:
        SourceError: no line can be read.
    """
    cells: dict[str, list[str | None]] = {}
    for record in _objects_of(_lines(text), name):
        if record.__class__ is not dict or not record.keys() <= cells.keys():
            _row(record, cells, 0)
    return list(cells)


def json_frames(text: IO[str], columns: Sequence[str], name: str, at_once: int) -> Iterator[pd.DataFrame]:
    """The rows of a file with one JSON object a line in frames as `read_bytes` makes them, at least one.

    Args:
        columns: of all rows, see `json_columns`.
    """
    records, before = _objects_of(_lines(text), name), 0
    while (some := list(islice(records, at_once))) or not before:
        yield frame_of_records(some, name, before + 1, columns)
        before += max(len(some), 1)


def _objects_of(lines: Iterable[str], name: str) -> Iterator[Any]:
    """What each line holds that is not empty. Raises SourceError, at its end, if no line could be read."""
    reason, readable = "", False
    for line in lines:
        if line.strip():
            try:
                yield _loads(line)
                readable = True
            except (json.JSONDecodeError, RecursionError) as error:
                reason = reason or str(error)
                yield _Unreadable(line, str(error))
    if reason and not readable:
        raise SourceError(f"{name}: neither a JSON array of objects nor one JSON object a line ({reason})")


def _lines(text: IO[str]) -> Iterator[str]:
    """The lines of a text that keeps its ends of lines, some of them at a time."""
    while piece := text.read(PIECE):
        yield from (piece + text.readline()).splitlines()


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
