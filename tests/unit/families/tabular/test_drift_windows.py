"""What a partition is compared with are parts of the training that are as long as itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.partitions import floor_times
from baton.drift.compare import compare
from baton.families.tabular.family import Tabular
from baton.families.tabular.learner import Scores
from baton.families.tabular.selection import learner
from baton.specs.tabular import TabularSpec

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = pd.Timestamp("2026-03-02", tz="UTC")  # a Monday


class Flat:
    """A model that says the same of every row."""

    name, features = "flat", ["amount", "night"]

    def predict(self, frame: pd.DataFrame) -> Any:
        return Scores(np.full(len(frame), 0.5), np.full(len(frame), 0.5))


SPEC = TabularSpec.model_validate({
    "model": "toy", "family": "classification", "owner": "tests", "description": "a toy",
    "data": {"entity": "id", "time": "t", "target": "y", "features": ["amount", "night"]},
    "training": {"contract": "toy", "history": {"source": "toy"}, "min_rows": 1, "min_positives": 0},
    "candidates": [{"name": "one", "estimator": "sklearn.linear_model.LogisticRegression"}],
    "validation": {}, "gate": {}, "drift": {"min_rows": 20},
})  # fmt: skip


def rows(first: pd.Timestamp, length: timedelta, number: int, rng: Any) -> pd.DataFrame:
    """So many rows spread over a time: by night amounts are small, and marked."""
    times = (first + pd.to_timedelta(rng.uniform(0, length.total_seconds(), number), unit="s")).sort_values()
    night = times.hour < 6
    frame = pd.DataFrame({"id": np.arange(number), "t": times, "night": night.astype(int), "_part": "", "_weight": 1.0})
    return frame.assign(amount=rng.normal(np.where(night, 20.0, 60.0), 9.0), y=0, _partition="")


@pytest.mark.parametrize(
    ("step", "known", "size"), [(HOUR, 14 * DAY, 150), (DAY, 42 * DAY, 600), (7 * DAY, 20 * 7 * DAY, 600)]
)
def test_a_quiet_partition_is_never_drifted_however_long_it_is(step: timedelta, known: timedelta, size: int) -> None:
    rng = np.random.default_rng(5)
    past = rows(START, known, size * (known // step), rng)
    reference = Tabular(learner("classification")).reference(SPEC, Flat(), past, {}, step)
    to_come = rows(START + known, 200 * step, 200 * size, rng)
    windows = [data for _, data in to_come.groupby(floor_times(to_come["t"], step))]
    drifted = [bool(compare(reference, data, SPEC.drift).drifted) for data in windows]
    assert (len(drifted), sum(drifted)) == (200, 0)


def test_rows_of_a_flow_are_cut_as_the_flow_cut_them() -> None:
    """A day may start at any hour; a history has no partitions, its rows fall on the grid."""
    frame = rows(START, 6 * DAY, 1200, np.random.default_rng(5))
    frame = frame[(frame["t"] < START + 3 * DAY) | (frame["t"] >= START + 3 * DAY + 3 * HOUR)].copy()
    later = frame["t"] >= START + 3 * DAY
    at = START + timedelta(hours=3) + (frame["t"] - START - timedelta(hours=3)) // DAY * DAY
    frame.loc[later, "_partition"] = at[later].dt.strftime("%Y-%m-%dT%H:%M:%S")
    found = Tabular(learner("classification")).reference(SPEC, Flat(), frame, {}, DAY)["windows"]
    expected = ["2026-03-02 00", "2026-03-03 00", "2026-03-04 00", "2026-03-05 03", "2026-03-06 03", "2026-03-07 03"]
    assert [name[:13] for name in found if name[:13] in expected] == expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (HOUR, "2026-03-04 13:00"),
        (DAY, "2026-03-04 00:00"),
        (7 * DAY, "2026-03-02 00:00"),
        (3 * HOUR, "2026-03-04 12:00"),
    ],
)
def test_times_fall_where_their_partition_starts(step: timedelta, expected: str) -> None:
    times = pd.Series(pd.to_datetime(["2026-03-04T13:59:59Z"]))
    assert floor_times(times, step).iloc[0] == pd.Timestamp(expected, tz="UTC")
