"""Every reach x level x state of approval: nothing that is forbidden gets through, nothing that is allowed is held up."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.record import ledger, warehouse

MATRIX: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "faults" / "matrix.py"))


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_no_cell_is_wrongly_allowed_or_refused() -> None:
    """One reach whose targets are shared; `make bench NAME=actions` plays them all."""
    figures = MATRIX["play"](("host",))
    assert figures.cells == len(MATRIX["EXPECTED"]) * 10
    assert figures.wrongly_allowed == []
    assert figures.wrongly_refused == []
    assert figures.twice == []
    assert ledger.verify().ok
