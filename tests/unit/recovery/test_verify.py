"""`verify`: a fault in ledger, dataset or model is named; what is well is not looked at again with `new`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import datasets, objects
from baton.errors import RegistryRefused
from baton.record import anchor, ledger, warehouse
from baton.recovery.verify import StateCheck, verify
from baton.registry.client import ALIAS_MOVED, CHAMPION
from baton.registry.identity import ModelVersion
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

HOURS = [f"2026-11-20T{hour:02d}:00:00" for hour in range(6)]


def commit(hour: int, rows: int = 3, flow: str = "shop", of: int = -1) -> StageResult:
    frame = pd.DataFrame({"n": range(rows)})
    return run_stage(
        Slot(flow, "ingest", HOURS[hour], of), lambda _: StageOutput(frame), inputs={}, params={"rows": rows}, models={},
        code="c", run_id="r",
    )  # fmt: skip


def promoted(model: str, version: int) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, ALIAS_MOVED, model, {"alias": CHAMPION, "version": version, "before": None, "actor": "a", "reason": "r"})  # fmt: skip


@dataclass
class Shelf:
    """A registry: model -> number of versions; which of them are broken; which were looked at."""

    held: dict[str, int] = field(default_factory=dict)
    broken: set[tuple[str, int]] = field(default_factory=set)
    checked: list[tuple[str, int]] = field(default_factory=list)

    def models(self) -> list[str]:
        return sorted(self.held)

    def versions(self, model: str) -> list[ModelVersion]:
        return [ModelVersion(model, number, "run", "m-1", "", {}) for number in range(1, self.held[model] + 1)]

    def check(self, known: ModelVersion) -> Any:
        self.checked.append((known.model, known.version))
        if (known.model, known.version) in self.broken:
            raise RegistryRefused(
                f"{known.model} version {known.version}: tree.txt: bytes are not those that were signed"
            )


def places(found: StateCheck) -> list[tuple[str, str]]:
    return [(fault.what, fault.where) for fault in found.faults]


@pytest.fixture
def shelf(home: Path) -> Shelf:
    warehouse.migrate()
    commit(0), commit(1), commit(1, rows=4)
    promoted("late", 1)
    return Shelf({"late": 2})


def test_all_as_written(shelf: Shelf) -> None:
    found = verify(shelf)
    assert (found.faults, found.entries, found.datasets, found.versions, found.new) == ([], 4, 2, 2, False)


def test_every_fault_is_named_with_what_to_do(shelf: Shelf) -> None:
    gone, bad = commit(2), commit(3)
    objects.delete(gone.ref.uri)
    path = objects.path_of(bad.ref.uri)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    shelf.broken.add(("late", 2))
    promoted("early", 5)
    found = verify(shelf)
    assert places(found) == [
        ("dataset", f"shop/ingest/{HOURS[2]}"), ("dataset", f"shop/ingest/{HOURS[3]}"), ("model", "late version 2"),
        ("model", "early version 5"),
    ]  # fmt: skip
    says = [fault.says for fault in found.faults]
    assert "is missing; run its stage again" in says[0]
    assert "committed was" in says[1]
    assert "tree.txt" in says[2]
    assert "backup" in says[2]
    assert "the registry does not have it" in says[3]


def test_a_broken_ledger_is_a_fault_beside_the_others(shelf: Shelf) -> None:
    anchor.anchor_path().write_bytes(b"")
    objects.delete(commit(2).ref.uri)
    assert [what for what, _ in places(verify(shelf))] == ["ledger", "dataset"]


def test_without_a_registry_a_champion_is_missing(shelf: Shelf) -> None:
    assert places(verify(None)) == [("model", "late version 1")]


def test_a_champion_that_was_deleted_is_missed_whatever_came_after(shelf: Shelf) -> None:
    shelf.versions = lambda model: [ModelVersion(model, 2, "run", "m-2", "", {})]  # type: ignore[method-assign]
    assert places(verify(shelf)) == [("model", "late version 1")]


def test_new_looks_at_what_came_since(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baton.recovery.verify.AGAIN", 0)
    verify(shelf)
    ledger.remember(ledger.verify(), "somebody")  # the ledger's own check forgets nothing
    shelf.checked.clear()
    shelf.held["late"] = 3
    commit(2)
    found = verify(shelf, new=True)
    assert (found.entries, found.datasets, found.versions, found.new) == (1, 1, 1, True)
    assert shelf.checked == [("late", 3)]


def test_what_failed_is_looked_at_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baton.recovery.verify.AGAIN", 0)
    ref = commit(2).ref
    objects.delete(ref.uri)
    assert verify(shelf).faults
    assert places(verify(shelf, new=True)) == [("dataset", f"shop/ingest/{HOURS[2]}")]


def test_a_head_that_moved_while_it_was_looked_at_is_no_fault(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    verifies = datasets.verifies

    def replaced(ref: datasets.DatasetRef) -> bool:
        if ref.partition == HOURS[0] and ref.rows == 3:
            commit(0, rows=5)
            objects.delete(ref.uri)
        return verifies(ref)

    monkeypatch.setattr(datasets, "verifies", replaced)
    assert verify(shelf).faults == []
