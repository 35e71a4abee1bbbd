"""Looking back: rows of earlier partitions only, and anew when one of them changes."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.stages.run import run
from baton.stages.slots import partitions
from baton.steps import earlier

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, job = STAGE["commit"], STAGE["job"]


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def looked_back(hour: int, **options: Any) -> Any:
    return run(
        job("earlier", "baton.steps.earlier:rows", hour, options={"stage": "extract", "columns": ["a"], **options})
    )


def found(result: Any) -> list[Any]:
    from baton.data.datasets import read

    return list(read(result.ref)["a"])


def test_only_what_came_before_counts_and_it_follows_corrections() -> None:
    for hour in range(4):
        commit("extract", hour, pd.DataFrame({"a": [hour, 10 + hour], "secret": "x"}))
    assert found(looked_back(2)) == [0, 10, 1, 11]
    assert found(looked_back(3, partitions=1)) == [2, 12]
    assert looked_back(2).cached
    commit("extract", 1, pd.DataFrame({"a": [99], "secret": "x"}))
    again = looked_back(2)
    assert not again.cached
    assert found(again) == [0, 10, 99]


def test_before_the_first_partition_there_is_an_empty_frame_of_the_columns() -> None:
    result = looked_back(0)
    assert result.facts == {"rows": 0, "partitions": 0}
    assert found(result) == []


def test_an_earlier_hour_that_is_on_its_way_is_named_and_looked_at_when_it_is_there() -> None:
    frame = pd.DataFrame({"a": [1]})
    for hour in range(3):
        commit("ingest", hour, frame)
    commit("extract", 0, frame)
    commit("contract", 1, frame)
    early = looked_back(3)
    assert found(early) == [1]
    (sentence,) = early.facts["degraded"]
    assert (
        "2 earlier partitions are read, but their extract is not done yet (2026-11-20T10:00:00, 2026-11-20T11"
        in sentence
    )
    commit("contract", 2, frame.head(0))  # nothing of it could be read
    commit("extract", 1, pd.DataFrame({"a": [2]}))
    late = looked_back(3)
    assert not late.cached
    assert (found(late), "degraded" in late.facts) == ([1, 2], False)
    commit("ingest", 3, frame)
    assert looked_back(3).cached  # its own hour and later ones are none of its business


def test_a_column_that_older_partitions_lack_is_null_there_and_said() -> None:
    for hour, frame in enumerate(({"a": [1, 2]}, {"a": [3], "b": ["x"]})):
        commit("extract", hour, pd.DataFrame(frame))
    result = looked_back(2, columns=["a", "b"])
    from baton.data.datasets import read

    rows = read(result.ref)
    assert rows["a"].tolist() == [1, 2, 3]
    assert rows["b"].isna().tolist() == [True, True, False]
    assert result.facts == {"rows": 3, "partitions": 2, "missing": {"b": 1}}


def test_looking_back_costs_the_same_after_ten_times_as_many_partitions() -> None:
    sent = []
    for many in (50, 500):
        hours = STAGE["grown"](many, ("ingest", "extract"))
        now = replace(job("earlier", "baton.steps.earlier:rows", options={}), partition="2027")
        asked = replace(now, options=earlier.EarlierOptions(stage="extract", columns=("a",), partitions=20))
        with STAGE["statements"]() as seen:
            assert earlier.state(asked) == {}
        assert partitions("shop_flow", "extract", newest=20) == hours[-20:]
        sent.append(len(seen))
    assert sent[0] == sent[1] <= 12
