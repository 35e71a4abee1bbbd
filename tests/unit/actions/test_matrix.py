"""Every reach x level x state of approval: nothing that is forbidden gets through, nothing that is allowed is held up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from baton.record import ledger, warehouse

FAULTS = str(Path(__file__).parents[2] / "faults")


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_no_cell_is_wrongly_allowed_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reversible actions on targets that are shared; `make bench NAME=actions` plays all of them."""
    monkeypatch.syspath_prepend(FAULTS)
    matrix = sys.modules.get("matrix") or __import__("matrix")
    figures = matrix.play(("host",), ("reversible",))
    assert figures.cells == len(matrix.EXPECTED) * 5
    assert figures.wrongly_allowed == []
    assert figures.wrongly_refused == []
    assert figures.twice == []
    assert ledger.verify().ok
