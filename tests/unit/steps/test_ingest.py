"""The first stage: which files a run takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.errors import BatonError
from baton.record import warehouse
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, run_stage
from baton.steps import ingest
from baton.steps.ingest import choose_models, files_of

OWN, HOUR = "2026-11-20T09:00:00.000000", "2026-11-20T09:00:00"


def job(partition: str, *files: str) -> StageJob[Any]:
    return StageJob("shop", "intake", "ingest", partition, "baton.steps.ingest:ingest", files=files)


def commit(partition: str, *files: str) -> None:
    run_stage(
        Slot("intake", "ingest", partition), lambda inputs: StageOutput(pd.DataFrame({"a": [1]}), {"files": len(files)}),
        inputs={}, params={"state": {"files": list(files)}}, models={}, code="test", run_id="test",
    )  # fmt: skip


@pytest.mark.parametrize(("partition", "found"), [(OWN, ["a.pdf"]), (HOUR, [])])
def test_files_on_record_count_for_a_run_of_named_files_alone(home: Path, partition: str, found: list[str]) -> None:
    warehouse.migrate()
    assert files_of(job(partition)) == []
    commit(partition, "a.pdf")
    assert files_of(job(partition)) == found
    assert files_of(job(partition, "b.pdf")) == ["b.pdf"]
    commit(partition)  # the run was repeated without naming them
    assert files_of(job(partition)) == found
    warehouse.engine().dispose()


def test_several_versions_may_be_named_and_each_model_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shelf:
        def require_promoted(self, model: str, version: int) -> None:
            raise AssertionError("a dry run may name any version")

        def download(self, model: str, version: int, consumer: str) -> Path:
            return Path()

    warehouse.migrate()
    monkeypatch.setattr(ingest, "Registry", Shelf)
    monkeypatch.setattr(ingest, "require_consumer", lambda model, flow: None)
    assert choose_models("f", HOUR, ["a", "b"], "a=7,b=3", dry_run=True) == ({"a": 7, "b": 3}, [], True)
    for choice in ("a=7,a=8", "a=7,", "a=7,c=1", "recorded,a=7"):
        with pytest.raises(BatonError, match="allowed are recorded, champion, a=<version>, b=<version>"):
            choose_models("f", HOUR, ["a", "b"], choice, dry_run=True)
    warehouse.engine().dispose()
