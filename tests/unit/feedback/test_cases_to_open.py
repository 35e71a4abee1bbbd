"""Decisions that wait for the commit: few are held, many are on the disk and come back in the order of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from baton.data import datasets, stored
from baton.feedback import cases_to_open
from baton.feedback.cases_to_open import CasesToOpen


@pytest.fixture
def rows(home: Path) -> pa.Table:
    """As a dataset has them: texts, numbers with holes, a time."""
    keys = [f"{(number * 7919) % 1000:04}" for number in range(300)]
    some = {"entity_key": keys, "route": ["block"] * 300, "priority": [None, 1, 2] * 100, "risk": [0.5] * 300,
            "title": [None, "a"] * 150, "at": pd.date_range("2026-11-20", periods=300, freq="min", tz="UTC")}  # fmt: skip
    return pa.table(some)


def took(rows: pa.Table) -> CasesToOpen:
    made = CasesToOpen(datasets.write(stored.frame_of(rows), "decisions.parquet"))
    for start in range(0, 300, 50):
        made.add(stored.frame_of(rows.slice(start, 50)).iloc[::2])
    made.settle()
    return made


def test_few_are_held_and_come_as_they_came(rows: pa.Table) -> None:
    (frame,) = took(rows).frames()
    pd.testing.assert_frame_equal(frame.reset_index(drop=True), stored.frame_of(rows).iloc[::2].reset_index(drop=True))


def test_many_wait_on_the_disk_and_come_back_by_key(
    rows: pa.Table, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cases_to_open, "HELD", 30)
    monkeypatch.setattr(cases_to_open, "AT_ONCE", 40)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made: Any = took(rows)
    assert len(list(tmp_path.glob("baton-cases-*/sorted.parquet"))) == 1
    for _ in range(2):  # a commit's transaction may be tried again
        frames = list(made.frames())
        assert [len(one) for one in frames] == [40, 40, 40, 30]
        whole = stored.frame_of(rows).iloc[::2].sort_values("entity_key").reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)
    del made
    assert list(tmp_path.glob("baton-cases-*")) == []


def test_none_is_one_frame_without_rows(rows: pa.Table) -> None:
    made = CasesToOpen(datasets.write(stored.frame_of(rows.slice(0, 0)), "decisions.parquet"))
    made.add(stored.frame_of(rows.slice(0, 0)))
    made.settle()
    assert [len(one) for one in made.frames()] == [0]
