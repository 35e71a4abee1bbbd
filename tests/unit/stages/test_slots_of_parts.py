"""A result of many parts is committed, found, refused and removed as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import datasets, objects, parts
from baton.errors import StaleAttempt
from baton.record import warehouse
from baton.retention.age import retain
from baton.specs.retention import FlowRetention
from baton.stages import garbage, slots
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

SLOT = Slot("f", "score", "2026-01-01T00:00:00")
NOW = timedelta(seconds=-60)


@pytest.fixture(autouse=True)
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts of one row."""
    monkeypatch.setattr(parts, "ROWS", 1)
    monkeypatch.setattr(parts, "STEP", 1)
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def stage(version: int = 1, meanwhile: Callable[[], object] = lambda: None, slot: Slot = SLOT) -> StageResult:
    def compute(_: Any) -> StageOutput:
        meanwhile()
        return StageOutput(pd.DataFrame({"n": [version] * 3}))

    return run_stage(slot, compute, inputs={}, params={"version": version}, models={}, code="c", run_id="r")


def names() -> list[str]:
    return [item.name.rsplit("/", 1)[1] for item in objects.listed()]


def test_a_result_is_found_again_until_a_part_is_damaged() -> None:
    first = stage()
    assert (first.ref.kind, first.ref.rows, len(names())) == ("manifest", 3, 4)
    assert stage().cached
    objects.delete(next(item.uri for item in objects.listed() if item.name.endswith(".00001.parquet")))
    again = stage()
    assert (again.cached, again.ref.content_sha256) == (False, first.ref.content_sha256)
    assert datasets.read(again.ref)["n"].tolist() == [1, 1, 1]


def test_an_attempt_that_came_too_late_leaves_nothing() -> None:
    with pytest.raises(StaleAttempt):
        stage(1, meanwhile=lambda: stage(2))
    assert len(names()) == 4
    assert datasets.read(slots.head(SLOT).ref)["n"].tolist() == [2, 2, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("deaths", range(1, 5))
def test_gc_removes_the_parts_of_an_attempt_that_died_and_no_others(
    monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    kept = stage()
    seen: list[str] = []

    def dies(point: str) -> None:
        seen.append(point)
        if seen.count("synced") == deaths:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", dies)
        patch.setattr(objects, "delete", lambda uri: None)
        with pytest.raises(KeyboardInterrupt):
            stage(2)
    gone = garbage.gc(NOW)
    assert len(gone.uris) == deaths  # three parts, then the manifest
    assert datasets.verifies(kept.ref)
    assert len(names()) == 4
    assert garbage.gc(NOW).uris == []


def test_what_is_too_old_goes_with_all_its_parts() -> None:
    stage()
    newer = stage(slot=Slot("f", "score", "2099-01-01T00:00:00"))
    policy = {"f": FlowRetention.model_validate({"datasets": "30d"})}
    (removed,) = retain(policy, "ada", dry_run=False)
    assert len(removed.objects) == 4
    assert datasets.verifies(newer.ref)
    assert len(names()) == 4
