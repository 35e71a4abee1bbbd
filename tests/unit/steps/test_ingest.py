"""The first stage: which files a run takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.record import warehouse
from baton.sources.reading import RawBatch
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, run_stage
from baton.steps import ingest as ingestion

OWN, HOUR = "2026-11-20T09:00:00.000000", "2026-11-20T09:00:00"


def job(partition: str, *files: str) -> StageJob:
    return StageJob(
        "shop",
        "intake",
        "ingest",
        partition,
        "baton.steps.ingest:ingest",
        options={"source": "intake", "files": list(files)},
    )


def commit(partition: str, *files: str) -> None:
    run_stage(
        Slot("intake", "ingest", partition), lambda inputs: StageOutput(pd.DataFrame({"a": [1]}), {"files": len(files)}),
        inputs={}, params={"options": {"files": list(files)}}, models={}, code="test", run_id="test",
    )  # fmt: skip


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[StageJob], list[str]]:
    """Runs the stage; returns the files that it asks the source for."""
    asked: list[list[str]] = []

    def read(pack: Any, source: str, partition: str, named: Sequence[str]) -> RawBatch:
        asked.append(list(named))
        return RawBatch(pd.DataFrame({"a": [1]}), "folder", "landing", "0" * 64)

    def run(one: StageJob) -> list[str]:
        assert ingestion.ingest(one).facts.get("files", 0) == len(asked[-1])
        return asked[-1]

    monkeypatch.setattr(ingestion, "read_partition", read)
    monkeypatch.setattr(StageJob, "load_pack", lambda self: None)
    return run


@pytest.mark.parametrize(("partition", "found"), [(OWN, ["a.pdf"]), (HOUR, [])])
def test_files_on_record_count_for_a_run_of_named_files_alone(
    home: Path, taken: Callable[[StageJob], list[str]], partition: str, found: list[str]
) -> None:
    warehouse.migrate()
    assert taken(job(partition)) == []
    commit(partition, "a.pdf")
    assert taken(job(partition)) == found
    assert taken(job(partition, "b.pdf")) == ["b.pdf"]
    commit(partition)  # the run was repeated without naming them
    assert taken(job(partition)) == found
    warehouse.engine().dispose()
