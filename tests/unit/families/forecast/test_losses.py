"""The leaderboard's figure weighs the levels of a hierarchy alike, however many series they have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast import losses


def rows_of(errors: dict[tuple[int, str], tuple[float, float]]) -> pd.DataFrame:
    """One period per (level, series) at two origins, each off by that many scales of 2."""
    found = [
        {"level": level, "series": series, "origin": pd.Timestamp("2026-01-05") + pd.Timedelta(weeks=at), "step": 1,
         "y": 10.0, "forecast": 10.0 + 2 * error, "scale": 2.0}
        for (level, series), pair in errors.items() for at, error in enumerate(pair)
    ]  # fmt: skip
    return pd.DataFrame(found)


def test_levels_count_alike() -> None:
    rows = rows_of({(0, "Total"): (4.0, 1.0), (1, "a"): (1.0, 2.0), (1, "b"): (2.0, 2.0), (1, "c"): (3.0, 2.0)})
    assert losses.folds(rows, "mase") == pytest.approx([(4 + 2) / 2, (1 + 2) / 2])
    assert losses.folds(rows.iloc[::-1], "mase") == losses.folds(rows, "mase")  # the earliest origin comes first


@pytest.mark.parametrize("metric", ["mase", "smape", "wape"])
def test_without_a_hierarchy_it_is_the_metric(metric: str) -> None:
    rng = np.random.default_rng(0)
    rows = rows_of({(0, name): tuple(rng.uniform(0, 3, 2)) for name in "abcd"})
    expected = [losses.value(part) for _, part in losses.cases(rows, metric).groupby("origin")]
    assert losses.folds(rows, metric) == pytest.approx(expected)
