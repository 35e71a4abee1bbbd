"""A large Parquet file that several tasks read: the dataset is that of one task, to the byte, or nothing is committed."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from baton.data import datasets
from baton.errors import BatonError, SourceError, StaleAttempt
from baton.quarantine.records import accounting
from baton.record.used_models import recorded_models
from baton.sources.pieces import Pieces, cut
from baton.stages import groups
from baton.stages.job import StageJob
from baton.stages.run import announce, run
from baton.stages.slots import Slot, head, history

LARGE = runpy.run_path(str(Path(__file__).with_name("large_stage.py")))
HOUR: str = LARGE["HOUR"]
INGEST, READ = "baton.steps.ingest:ingest", "baton.steps.ingest:read_pieces"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Parts of 10 rows."""
    (tmp_path / "pack").mkdir()
    monkeypatch.setattr("baton.stages.run.pack_folder", lambda name: tmp_path / "pack")
    with LARGE["small_limits"](tmp_path, monkeypatch, at_once=7, part=10):
        yield tmp_path


def delivered(home: Path, rows: int = 53, group: int = 4, seed: int = 1, **written: Any) -> Path:
    """Integers and texts with gaps, in row groups."""
    rng = np.random.default_rng(seed)
    cells: dict[str, Any] = {
        "id": rng.permutation(rows), "n": [None if one < 0.1 else int(one * 2**60) for one in rng.random(rows)],
        "text": [None if one < 0.2 else "nul\0" if one < 0.25 else f"t{one}" for one in rng.random(rows)], "x": rng.normal(size=rows),
    }  # fmt: skip
    path = home / f"landing/rows-{HOUR.replace(':', '-')}.parquet"
    parquet.write_table(pa.table(cells), path, row_group_size=group, **written)
    return path


def job(stage: str = "ingest", **given: Any) -> StageJob[Any]:
    return StageJob("shop", "intake", stage, HOUR, INGEST, {}, {"source": "orders"}, models={"late": 3}, **given)


def shared(most: int, stage: str = "ingest", **given: Any) -> list[StageJob[Any]]:
    told = announce(job(stage, **given))
    assert told is not None
    reading = replace(job(stage, **given), step=READ, options={"source": "orders", **told.told})
    return [replace(reading, group=portion) for portion in groups.portions(told.ends, most)]


@pytest.mark.parametrize("seed", range(6))
def test_the_rows_are_those_of_one_task_to_the_byte(home: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    delivered(
        home, rows=int(rng.integers(25, 60)), group=int(rng.integers(1, 9)), seed=seed, write_statistics=bool(seed % 2)
    )
    alone = run(job())
    for most in (2, 3, 5):
        stage = f"ingest__{most}"
        tasks = shared(most, stage)
        assert len(tasks) == most
        for one in rng.permutation(len(tasks)):
            run(tasks[one])
        whole = head(Slot("intake", stage, HOUR))
        assert whole is not None
        assert whole.ref.content_sha256 == alone.ref.content_sha256
        assert (whole.ref.rows, whole.facts) == (alone.ref.rows, alone.facts)
        assert all(run(one).cached for one in tasks)
    assert recorded_models("intake", HOUR) == {"late": 3}


def test_what_one_task_reads_is_not_announced(home: Path) -> None:
    path = delivered(home, group=60)
    assert announce(job()) is None, "one row group"
    path = delivered(home)
    assert announce(job(files=("a.pdf",))) is None, "files that a person named"
    path.rename(path.with_suffix(".csv"))
    assert announce(job()) is None
    path.with_suffix(".csv").unlink()
    assert announce(job()) is None, "nothing was delivered, which the stage says"


def test_a_dry_run_fixes_no_version(home: Path) -> None:
    delivered(home)
    for one in shared(3, dry_run=True):
        run(one)
    assert recorded_models("intake", HOUR) == {}
    assert head(Slot("intake", "ingest", HOUR)) is None


def test_another_version_on_record_stops_it(home: Path) -> None:
    delivered(home)
    shared(2)
    with pytest.raises(BatonError, match="another run has fixed the versions"):
        announce(replace(job(), models={"late": 4}))


@pytest.mark.parametrize("how", ["byte", "rows", "groups", "footer", "gone"])
def test_a_file_that_changed_since_is_not_read(home: Path, how: str) -> None:
    path = delivered(home, compression="none", use_dictionary=False)
    tasks = shared(2)
    run(tasks[0])
    body = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "rows":
        delivered(home, seed=2, compression="none", use_dictionary=False)
    elif how == "groups":
        delivered(home, group=5, compression="none", use_dictionary=False)
    else:
        at = body.rindex(b"t0.") if how == "byte" else len(body) - 9
        body[at + 3] = body[at + 3] ^ 1
        path.write_bytes(body)
    with pytest.raises((StaleAttempt, SourceError), match=r"shared out|not a readable Parquet"):
        run(tasks[1])
    assert history(Slot("intake", "ingest", HOUR, 1)) == []
    assert head(Slot("intake", "ingest", HOUR)) is None


def test_a_new_delivery_replaces_the_whole(home: Path) -> None:
    delivered(home)
    for one in shared(3):
        run(one)
    before = head(Slot("intake", "ingest", HOUR))
    delivered(home, rows=40, seed=4)
    later = shared(2)
    run(later[1])
    assert head(Slot("intake", "ingest", HOUR)) == before, "not until all are there"
    run(later[0])
    after = head(Slot("intake", "ingest", HOUR))
    assert after is not None
    assert (after.ref.rows, sorted(datasets.read(after.ref)["id"])) == (40, list(range(40)))
    assert accounting("intake", HOUR)["rows_in"] == 40, "what tasks read for it counts once"


def test_pieces_say_which_rows_they_hold_and_go_through_json(home: Path) -> None:
    pieces = cut(str(delivered(home, rows=53, group=4)))
    assert pieces is not None
    assert Pieces.from_dict(pieces.to_dict()) == pieces
    assert pieces.rows == (8, 16, 24, 32, 40, 48, 53), "as many groups as fit a part"
    assert pieces.between(8, 32) == range(1, 4)
    with pytest.raises(ValueError, match="not in tuple"):
        pieces.between(9, 32)
