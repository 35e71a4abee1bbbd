"""The leaderboard's figure weighs the levels of a hierarchy alike, however many series they have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import utilsforecast.losses as peer

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


def test_every_loss_is_that_of_utilsforecast() -> None:
    """What differs is meant: sMAPE goes to 2, scales are given, pinball is doubled, WAPE keeps its volumes apart."""
    rng, levels = np.random.default_rng(1), (0.1, 0.5, 0.9)
    places = pd.MultiIndex.from_product([["a", "b", "c"], pd.date_range("2026-01-05", periods=4), range(5)])
    rows = places.to_frame(index=False, name=["series", "origin", "step"])
    rows["y"] = rng.poisson(1.5, len(rows)).astype(float)
    rows["forecast"] = np.where(rows["step"] == 0, rows["y"], rng.gamma(2, 1, len(rows)))
    rows["scale"] = np.repeat(rng.uniform(0.5, 2, 12), 5)
    for level in levels:
        rows[f"q{level:g}"] = rows["forecast"] * 2 * level
    by_id, names = {"id_col": "series", "cutoff_col": "origin"}, [f"q{level:g}" for level in levels]
    scaled = rows.assign(**{name: rows[name] / rows["scale"] for name in ("y", "forecast", *names)})
    theirs = {
        "mase": peer.mae(scaled, ["forecast"], **by_id)["forecast"],
        "smape": 2 * peer.smape(rows, ["forecast"], **by_id)["forecast"],
        "wape": peer.wape(rows, ["forecast"], **by_id)["forecast"],
        "pinball": 2
        * peer.mqloss(scaled, {"of": names}, np.array(levels), **by_id).sort_values(["origin", "series"])["of"],
    }
    assert set(theirs) == set(losses.METRICS)
    for metric, expected in theirs.items():
        ours = losses.cases(rows, metric, levels).sort_values(["origin", "series"])
        assert (ours["top"] / ours["bottom"]).tolist() == pytest.approx(expected.tolist(), rel=1e-12), metric
