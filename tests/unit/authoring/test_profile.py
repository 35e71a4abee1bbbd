"""What a file of rows seems to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from baton.authoring.profile import Profile, profile, rules


def sales(as_text: bool) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    count = 300
    frame = pd.DataFrame({
        "order_no": np.arange(1000, 1000 + count),
        "customer_name": [f"Ann Example{n}" for n in range(count)],
        "contact": [f"ann{n % 40}@example.com" for n in range(count)],
        "ordered_at": pd.date_range("2026-01-01", periods=count, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "channel": rng.choice(["web", "shop", "app"], count),
        "price": rng.gamma(2.0, 40.0, count).round(2),
        "temperature": rng.normal(-5, 3, count).round(1),
        "remark": [f"please leave it at the door number {n}" for n in range(count)],
        "express": rng.choice([True, False], count),
        "returned": (rng.random(count) < 0.2).astype(int),
    })  # fmt: skip
    frame.loc[[5, 6], "price"] = np.nan
    if as_text:
        return pd.DataFrame(
            {name: [None if pd.isna(cell) else str(cell) for cell in frame[name]] for name in frame}, dtype=object
        )
    return frame


@pytest.mark.parametrize("as_text", [True, False])
def test_the_parts_of_columns_are_guessed_with_a_reason(as_text: bool) -> None:
    found = profile(sales(as_text))
    assert (found.rows, len(found.columns)) == (300, 10)
    assert (found.keys[0].column, found.keys[0].why) == ("order_no", "is different in every row")
    assert (found.times[0].column, found.times[0].why) == ("ordered_at", "holds times, from 2026-01-01 to 2026-01-13")
    assert [one.column for one in found.targets] == ["returned", "express", "channel"]
    assert found.targets[0].why.startswith("is 0 or 1, ")
    assert found.personal == {"customer_name": "somebody's name", "contact": "an e-mail address"}
    assert found.texts == ["remark"]


def test_rules_are_learnt_and_say_what_they_would_reject_today() -> None:
    frame = sales(as_text=True)
    found = profile(frame)
    learnt = {one.rule: one for one in rules(frame, found, skip=["returned"])}
    assert learnt["price_missing"].share == pytest.approx(2 / 300)
    assert learnt["price_range"].kwargs["min_value"] == 0.0
    assert learnt["price_range"].kwargs["max_value"] > frame["price"].dropna().astype(float).max()
    assert learnt["temperature_range"].kwargs["min_value"] < -10
    assert learnt["channel_unknown"].kwargs["value_set"] == ["app", "shop", "web"]
    assert {one.share for name, one in learnt.items() if name != "price_missing"} == {0.0}
    about = {one.kwargs["column"] for one in learnt.values()}
    assert not about & {"customer_name", "contact", "remark", "returned"}


def test_rows_that_say_little_give_no_guess() -> None:
    found = profile(pd.DataFrame({"a": ["x", "x"], "b": [None, None]}, dtype=object))
    assert found == Profile(2, {"a": ("str", False), "b": ("str", True)}, [], [], [], [], [], {}, [])
    assert [one.rule for one in rules(pd.DataFrame({"a": ["x", "x"], "b": [None, None]}, dtype=object), found)] == [
        "a_missing"
    ]


def test_rows_of_series_are_told_from_rows_of_things() -> None:
    days = pd.date_range("2026-01-01", periods=30).strftime("%Y-%m-%d")
    rows = [{"day": day, "shop": shop, "price": 2.5, "units": n % 7} for shop in "abc" for n, day in enumerate(days)]
    found = profile(pd.DataFrame(rows))
    assert found.keys == []
    assert [(one.column, one.why) for one in found.series] == [("shop", "names 3 series, each once at a time")]
    assert [one.column for one in found.quantities] == ["units"]
