"""What a stage is unless somebody says otherwise: names, defaults of a job, no connections, whose code counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.errors import BatonError, SourceError
from baton.packs.pack import load_pack
from baton.record import warehouse
from baton.stages import claims, slots
from baton.stages.connections import Unconnected
from baton.stages.digests import build_of
from baton.stages.job import StageJob
from baton.stages.run import ENGINE
from baton.stages.slots import Slot, StageOutput, run_stage


def test_a_slot_names_its_part_from_the_first_one_on() -> None:
    assert str(Slot("flow", "stage", "p")) == "flow/stage/p"
    assert str(Slot("flow", "stage", "p", 0)) == "flow/stage[0]/p"
    assert str(Slot("flow", "stage", "p", 1)) == "flow/stage[1]/p"


def test_a_job_changes_the_tables_and_keeps_the_versions_on_record() -> None:
    job: StageJob[Any] = StageJob("pack", "flow", "stage", "p", "module:step")
    assert (job.dry_run, job.supersede_models, job.map_index) == (False, False, -1)


@pytest.mark.parametrize("kind", ["model", "http", "mail"])
def test_nothing_is_connected_outside_a_task(kind: str) -> None:
    with pytest.raises(BatonError, match="connection elsewhere: connections are known inside an Airflow task only"):
        getattr(Unconnected(), kind)("elsewhere")


def test_a_source_that_is_no_file_is_read_in_a_dag() -> None:
    pack = load_pack("financial_crime")
    with pytest.raises(SourceError, match="transactions: file is read through an Airflow connection"):
        Unconnected().rows(pack, pack.sources["transactions"], "p")


def test_the_whole_engine_is_part_of_the_code_that_a_digest_knows() -> None:
    assert {"stages", "effects", "record"} <= {path.name for path in ENGINE.iterdir()}
    assert ENGINE.name == "baton"


def test_a_build_is_named_by_sixteen_characters(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("x = 1\n")
    assert len(build_of(tmp_path)) == 16


def test_the_heads_of_many_partitions_are_the_present_version_of_each(home: Path) -> None:
    warehouse.migrate()
    for partition, rows, code in (("b", 2, "c"), ("a", 1, "c"), ("c", 3, "c"), ("a", 7, "corrected")):
        made = StageOutput(pd.DataFrame({"n": range(rows)}))
        slot = Slot("flow", "stage", partition)
        run_stage(slot, lambda _, made=made: made, inputs={}, params={}, models={}, code=code, run_id="run")
    found = slots.heads_of("flow", "stage", ["b", "a", "never"])
    assert {partition: result.ref.rows for partition, result in found.items()} == {"a": 7, "b": 2}
    assert list(found) == ["a", "b"]
    warehouse.engine().dispose()


def test_a_claim_names_a_key_by_128_bits() -> None:
    assert len(claims.mark("host", "dc-01")) == 32
    assert claims.mark("a", "b") != claims.mark("a,b")
