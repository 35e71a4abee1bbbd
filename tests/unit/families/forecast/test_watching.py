"""A season is quiet, a level shift is found and named, and nothing is judged on too little."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.errors import BatonError
from baton.families.forecast.family import Forecast


@pytest.fixture(scope="module")
def published(make_spec: Any, make_history: Any, trained: Any) -> dict[str, Any]:
    """Eight weeks of forecasts of strongly seasonal series, with what really happened."""
    whole = make_history(items=8, periods=104, season=0.7, promo=0.0, noise=0.12, future=0)
    weeks = sorted(whole["week"].unique())
    past = whole.assign(units=whole["units"].where(whole["week"] < weeks[96]))
    spec = make_spec(
        horizon=8, drift={"segments": ["region"], "performance": {}},
        candidates=[{"name": "theta", "estimator": "statsforecast.models.AutoTheta"}],
    )  # fmt: skip
    model, _ = trained(spec, past)
    scored = model.forecast(past)
    keys = whole["item"] + "@" + whole["week"].dt.strftime("%Y-%m-%d")
    truth = pd.DataFrame({"entity_key": keys, "value": whole["units"], "item": whole["item"]})
    reference = json.loads(json.dumps(Forecast().reference(spec, model, past, {"mase": 1.0})))
    return {"spec": spec, "scored": scored, "truth": truth, "reference": reference, "frame": past}


def watch(published: dict[str, Any], truth: pd.DataFrame, **fields: Any) -> Any:
    made = {**published, **fields}
    return Forecast().watch(made["spec"], made["reference"], [(made["frame"], made["scored"], truth)])


def raised(published: dict[str, Any], items: list[str], factor: float) -> pd.DataFrame:
    truth = published["truth"]
    at = truth["item"].isin(items)
    return truth.assign(value=truth["value"].where(~at, factor * truth["value"]))


def test_a_season_is_no_drift(published: Any) -> None:
    result = watch(published, published["truth"])
    moved = published["truth"].groupby("entity_key")["value"].first().reindex(published["scored"]["entity_key"])
    assert moved.max() > 2.5 * moved[moved > 0].min()  # the season itself moves by far more than the errors
    assert result.table.drifted == []
    assert result.performance.status in ("held", "open")
    assert result.truths == 64
    shares = {level: below / rows for level, _, below, rows in result.calibration}
    assert set(shares) == {float(level) for level in published["spec"].quantiles}
    assert all(rows == 64 for *_, rows in result.calibration)
    assert list(shares.values()) == sorted(shares.values()), "of a higher quantile more lies below"
    assert not result.table.too_few


def test_a_level_shift_is_found_and_named(published: Any) -> None:
    result = watch(published, raised(published, ["i03"], 1.8))
    assert "i03" in result.table.drifted
    assert not {"i00", "i01", "i02"} & set(result.table.drifted)
    row = next(row for row in result.table.rows if row.feature == "i03")
    assert row.kind == "error"
    assert row.shift > 0.8
    assert row.q_value <= 0.05
    assert row.sentence().startswith("i03: forecast too low by")


def test_a_shift_of_a_segment_and_of_all(published: Any) -> None:
    result = watch(published, raised(published, ["i01", "i03", "i05", "i07"], 1.7))
    assert "region r1" in result.table.drifted
    assert "region r0" not in result.table.drifted
    every = watch(published, raised(published, [f"i{k:02d}" for k in range(8)], 1.7))
    assert {"region r0", "region r1"} <= set(every.table.drifted)
    assert every.performance.status == "dropped"
    assert every.performance.value > 1.4 * every.performance.reference


def test_too_little_is_not_judged(published: Any) -> None:
    few = raised(published, ["i03"], 3.0)
    few = few[few["entity_key"].isin(published["scored"]["entity_key"].iloc[24:28])]
    result = watch(published, few)
    assert result.table.too_few
    assert result.table.drifted == []
    assert result.performance.status == "too_few"
    none = watch(published, few.iloc[:0])
    assert none.table.rows == []
    assert none.truths == 0
    unknown = watch(published, published["truth"].assign(value=np.nan))
    assert unknown.truths == 0


def test_a_model_without_a_policy(published: Any, make_spec: Any) -> None:
    with pytest.raises(BatonError, match="no `drift` block"):
        watch(published, published["truth"], spec=make_spec(drift=None))
