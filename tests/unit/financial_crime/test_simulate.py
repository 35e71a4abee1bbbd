"""The financial-crime simulator: seeded, and its ground truth is exact."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from baton.errors import BatonError
from baton_demo.financial_crime import simulate


@pytest.fixture
def hour() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = 400
    frame = pd.DataFrame({"transaction_id": np.arange(1, rows + 1) + 170_000})
    frame["event_time"] = pd.Timestamp("2026-11-20T10:00:00Z") + pd.to_timedelta(rng.random(rows) * 3600, "s")
    frame["seconds"] = np.sort(rng.integers(0, 3600, rows)).astype(float)
    for i in range(1, 29):
        frame[f"v{i}"] = rng.normal(size=rows)
    frame["amount"] = rng.gamma(1, 40, rows).round(2)
    frame.index = frame.index + 7  # an index of its own must not matter
    return frame


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def test_bad_rows_are_seeded_and_counted(hour: pd.DataFrame) -> None:
    text, truth = simulate.bad_rows(hour, 20)
    again, _ = simulate.bad_rows(hour, 20)
    other, _ = simulate.bad_rows(hour, 21)
    assert text == again
    assert text != other
    assert truth["_row"].is_unique
    assert truth["kind"].value_counts().to_dict() == {
        "wrong type": 6, "negative amount": 4, "missing key": 4, "missing key, negative amount": 1,
        "overwritten key": 4, "key used twice": 7, "delivered twice": 3,
    }  # fmt: skip
    delivered = read(text)
    assert len(delivered) == len(hour) + 3
    assert simulate.UNKNOWN_COLUMN in delivered
    assert simulate.UNKNOWN_COLUMN not in simulate.bad_rows(hour, 20, unknown_column=False)[0]


def test_only_the_named_cells_differ_and_the_repair_restores_the_hour(hour: pd.DataFrame) -> None:
    text, truth = simulate.bad_rows(hour, 20)
    delivered = read(text).drop(columns=simulate.UNKNOWN_COLUMN)
    clean = simulate.as_text(hour)
    changed = (delivered.iloc[: len(hour)] != clean).any(axis=1)
    planted = truth[~truth["kind"].isin(["key used twice", "delivered twice"])]
    assert set(np.flatnonzero(changed) + 1) == set(planted["_row"])
    for row, cells in zip(truth["_row"], truth["repair"], strict=True):
        for column, value in (cells or {}).items():
            delivered.at[row - 1, column] = value
    lost = [row - 1 for row, cells in zip(truth["_row"], truth["repair"], strict=True) if cells is None]
    assert len(lost) == 3
    pd.testing.assert_frame_equal(delivered.drop(index=lost), clean)


def test_every_row_with_a_key_twice_is_in_the_truth(hour: pd.DataFrame) -> None:
    text, truth = simulate.bad_rows(hour, 5)
    keys = read(text)["transaction_id"]
    twice = np.flatnonzero(keys.duplicated(keep=False) & (keys != "")) + 1
    named = truth[[rules == ("key_duplicate",) for rules in truth["rules"]]]
    assert set(twice) == set(named["_row"])


def test_text_reads_back_exactly(hour: pd.DataFrame) -> None:
    text = simulate.as_text(hour)
    for column in ("seconds", "v1", "v28", "amount"):
        assert (text[column].astype(float).to_numpy() == hour[column].to_numpy()).all()
    assert (pd.to_datetime(text["event_time"]).to_numpy() == hour["event_time"].dt.floor("us").to_numpy()).all()


def test_too_small_an_hour(hour: pd.DataFrame) -> None:
    with pytest.raises(BatonError, match="at least 50"):
        simulate.bad_rows(hour.head(20), 1)


def test_cents_and_shift_leave_the_rest(hour: pd.DataFrame) -> None:
    before = hour.copy()
    assert (simulate.cents(hour)["amount"] == (hour["amount"] * 100).round()).all()
    shifted = simulate.shift(hour)
    moved = [c for c in hour if not hour[c].equals(shifted[c])]
    assert moved == list(simulate.REFIT)
    assert list(shifted.columns) == list(hour.columns)
    assert shifted["v14"].mean() == pytest.approx(simulate.REFIT["v14"] - hour["v14"].mean())
    pd.testing.assert_frame_equal(hour, before)
    pd.testing.assert_frame_equal(simulate.shift(shifted), hour, check_exact=False)


def test_analysts_err_at_the_stated_rate() -> None:
    keys = [str(i) for i in range(20_000)]
    truth = pd.Series([i % 2 for i in range(20_000)], index=keys)
    answers = simulate.analysts(keys, truth, seed=3)
    frauds = [answers[k] for k in keys if truth[k]]
    honest = [answers[k] for k in keys if not truth[k]]
    assert frauds.count("legitimate") / len(frauds) == pytest.approx(simulate.MISSED, abs=0.01)
    assert honest.count("fraud") / len(honest) == pytest.approx(simulate.FALSE_ALARM, abs=0.01)
    assert simulate.analysts(keys[:10], truth, seed=3) == {k: answers[k] for k in keys[:10]}
    with pytest.raises(BatonError, match="case 'x'"):
        simulate.analysts(["x"], truth, seed=3)


def test_deliveries_replace_each_other(hour: pd.DataFrame, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from baton.settings import settings

    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        partition = "2026-11-20T10:00:00"
        first = simulate.deliver_text("a,b\n1,2\n", partition)
        assert first.read_text() == "a,b\n1,2\n"
        second = simulate.deliver(hour, partition)
        assert [path.name for path in second.parent.iterdir()] == ["2026-11-20T10-00-00.parquet"]
        assert len(pd.read_parquet(second)) == len(hour)
    finally:
        settings.cache_clear()
