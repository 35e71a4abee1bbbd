"""Quarantined rows as a file that people edit, in a spreadsheet or an editor, and hand back.

CSV has a line for each row: `_flow`, `_partition`, `_row`, `_row_sha` say which row it is, `_rules` and
`_advice` why it is here, then its cells. JSON has the same as objects with `cells`. Whatever cell differs from
quarantine is a repair.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from baton.data.cells import as_text, guarded
from baton.errors import BatonError
from baton.quarantine.repairs import RepairReport, edit
from baton.quarantine.rows import WAITING, QuarantinedRow, RowKey, Where, list_rows

_KEYS = ("flow", "partition", "row", "row_sha")
_NOTES = ("source", "status", "rules", "advice")
EditedRow = tuple[str, tuple[str, str, RowKey], dict[str, str | None]]


def export(path: Path, where: Where = Where(status=WAITING)) -> int:  # noqa: B008 - it cannot be changed
    """Write quarantined rows, without `where` those that wait, to a new .csv or .json file, mode 0600.

    Returns:
        number of rows.

    Raises:
        BatonError: the file exists (it may hold somebody's edits), has another ending, or there is nothing to write.
    """
    kind = _kind(path)
    rows = list_rows(where)
    if not rows:
        raise BatonError("nothing to export: no row in quarantine matches")
    text = _as_json(rows) if kind == ".json" else None
    try:
        # the file may hold personal data
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BatonError(f"{path} exists and may hold edits: choose another name or delete it") from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        if text is not None:
            file.write(text)
        else:
            _write_csv(file, rows)
    return len(rows)


def repair_file(path: Path, actor: str) -> RepairReport:
    """Take an exported file back: every cell that differs from quarantine is a repair. All of them, or none.

    Raises:
        BatonError: the file cannot be read, names rows or columns that quarantine does not know, edits rows
            that no longer wait, or changes nothing; names them with their place in the file.
    """
    entries = list(_from_json(path) if _kind(path) == ".json" else _from_csv(path))
    if not entries:
        raise BatonError(f"{path}: there are no rows in it")
    there: dict[tuple[str, str, RowKey], QuarantinedRow] = {}
    for flow, partition in sorted({key[:2] for _, key, _ in entries}):
        there |= {(flow, partition, (row.row_sha, row.row)): row for row in list_rows(Where(flow, partition))}
    problems: list[str] = []
    changes: dict[tuple[str, str, RowKey], dict[str, str | None]] = {}
    for place, key, cells in entries:
        row = there.get(key)
        if row is None:
            problems.append(f"{place}: {key[0]} {key[1]} row {key[2][1]} is not in quarantine")
            continue
        if key in changes:
            problems.append(f"{place}: row {key[2][1]} occurs twice in the file")
        now = row.cells
        # a CSV has one set of columns for all rows: an empty cell of a column that this row lacks means nothing
        if unknown := [column for column, value in cells.items() if column not in now and value is not None]:
            problems.append(f"{place}: row {key[2][1]} has no column {', '.join(unknown)}")
        changes[key] = {column: value for column, value in cells.items() if value != now.get(column)}
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise BatonError(f"{path}: nothing was repaired: {'; '.join(problems[:10])}{more}")
    changes = {key: cells for key, cells in changes.items() if cells}
    if not changes:
        raise BatonError(f"{path}: nothing was repaired: no cell differs from what is in quarantine")
    return edit(changes, actor)


def _kind(path: Path) -> str:
    if path.suffix not in {".csv", ".json"}:
        raise BatonError(f"{path}: the name must end in .csv or .json")
    return path.suffix


def _as_json(rows: list[QuarantinedRow]) -> str:
    entries = [{**{name: getattr(row, name) for name in (*_KEYS, *_NOTES)}, "cells": row.cells} for row in rows]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def _write_csv(file: Any, rows: list[QuarantinedRow]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    writer = csv.writer(file)
    writer.writerow([*(f"_{name}" for name in (*_KEYS, *_NOTES)), *map(guarded, columns)])
    for row in rows:
        notes = (row.source, row.status, "; ".join(row.rules), "; ".join(filter(None, row.advice)))
        cells = row.cells
        writer.writerow([
            *(getattr(row, name) for name in _KEYS), *map(guarded, (*notes, *(cells.get(column) for column in columns))),
        ])  # fmt: skip


def _unguarded(cell: str) -> str | None:
    return (cell[1:] if cell.startswith("'") else cell) or None


def _from_csv(path: Path) -> Iterator[EditedRow]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BatonError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    first = text.partition("\n")[0]
    # spreadsheets of many countries write semicolons
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",", strict=True
    )
    missing = [f"_{name}" for name in _KEYS if f"_{name}" not in (reader.fieldnames or [])]
    if missing:
        raise BatonError(f"{path}: columns {', '.join(missing)} are missing; start from `baton quarantine export`")
    notes = {f"_{name}" for name in (*_KEYS, *_NOTES)}
    try:
        for line in reader:
            place = f"line {reader.line_num}"
            if None in line or None in line.values():
                raise BatonError(f"{path}, {place}: the line has another number of cells than the header")
            cells = {
                _unguarded(column) or "": _unguarded(value) for column, value in line.items() if column not in notes
            }
            yield place, _key(path, place, {name: line[f"_{name}"] for name in _KEYS}), cells
    except csv.Error as error:
        raise BatonError(f"{path}, line {reader.line_num}: {error}") from error


def _from_json(path: Path) -> Iterator[EditedRow]:
    try:
        # numbers keep their digits
        entries = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=str)
    except (OSError, ValueError) as error:
        raise BatonError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(entries, list):
        raise BatonError(f"{path}: expected a list of rows; start from `baton quarantine export`")
    for number, entry in enumerate(entries, 1):
        place = f"entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("cells"), dict):
            raise BatonError(f"{path}, {place}: expected an object with `cells`")
        cells = {str(column): as_text(value) or None for column, value in entry["cells"].items()}
        yield place, _key(path, place, entry), cells


def _key(path: Path, place: str, entry: Mapping[str, Any]) -> tuple[str, str, RowKey]:
    values = [str(entry.get(name) or "") for name in _KEYS]
    flow, partition, row, sha = values
    if not all(values) or not row.isdigit():
        raise BatonError(f"{path}, {place}: flow, partition, row and row_sha must stay as they were exported")
    return flow, partition, (sha, int(row))
