"""The gate for forecasts: better is promoted, worse and equal are held, doubt and flattery ask for data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast.family import Forecast

COST = {"short": 5.0, "over": 1.0}


def gate(**fields: Any) -> dict[str, Any]:
    return {"resamples": 200, "ceiling": 20.0, "min_cases": 8, **fields}


@pytest.fixture(scope="module")
def models(make_spec: Any, make_history: Any, trained: Any) -> dict[str, Any]:
    """Forecasters of one strongly seasonal history: the season again, and the plain mean."""
    frame = make_history(noise=0.05, promo=0.0, season=0.3)
    stats = "statsforecast.models."
    made: dict[str, Any] = {"frame": frame}
    for name, path in (("season", "SeasonalNaive"), ("mean", "HistoricAverage"), ("theta", "AutoTheta")):
        made[name] = trained(make_spec(candidates=[{"name": name, "estimator": stats + path}]), frame)[0]
    return made


def judge(models: dict[str, Any], make_spec: Any, champion: str | None, challenger: str, **fields: Any) -> Any:
    old = None if champion is None else models[champion]
    return Forecast().judge(make_spec(gate=gate(**fields)), models["frame"], old, models[challenger])


def test_better_is_promoted(models: Any, make_spec: Any) -> None:
    verdict = judge(models, make_spec, "mean", "season", cost=COST)
    assert verdict.decision == "PROMOTE"
    assert verdict.reasons[0].startswith("The challenger is better: MASE")
    first = verdict.table[0]
    assert first["metric"] == "mase"
    assert first["challenger"] < first["champion"]
    assert first["low"] <= first["difference"] <= first["high"] < 0
    assert verdict.rows == 8 * 3
    assert verdict.cost["challenger"]["total"] < verdict.cost["champion"]["total"]
    assert [row["metric"] for row in verdict.table] == ["mase", "pinball", "smape", "wape", "cost"]
    verdict.to_dict()


def test_worse_and_equal_are_held(models: Any, make_spec: Any) -> None:
    worse = judge(models, make_spec, "season", "mean")
    assert worse.decision == "HOLD"
    assert "is not better" in worse.reasons[0]
    tie = judge(models, make_spec, "season", "season", cost=COST)
    assert tie.decision == "HOLD"
    assert tie.table[0]["difference"] == pytest.approx(0.0)
    dearer = judge(models, make_spec, "season", "mean", cost=COST)
    assert dearer.decision == "HOLD"
    assert "orders cost more" in dearer.reasons[0]


def test_too_few_and_too_bad(models: Any, make_spec: Any) -> None:
    few = judge(models, make_spec, "mean", "season", min_cases=25)
    assert few.decision == "MORE_DATA"
    assert "24 (series, origin) pairs; 25 are needed" in few.reasons[0]
    bad = judge(models, make_spec, None, "mean", ceiling=0.5)
    assert bad.decision == "HOLD"
    assert "above the ceiling of 0.5000" in bad.reasons[0]


def test_first_version(models: Any, make_spec: Any) -> None:
    verdict = judge(models, make_spec, None, "season")
    assert verdict.decision == "PROMOTE"
    assert verdict.table[0]["champion"] is None
    priced = judge(models, make_spec, None, "mean", cost=COST)
    assert priced.decision == "HOLD"
    assert "no less than without a model" in priced.reasons[0]
    assert priced.cost["seasonal_naive"]["total"] < priced.cost["challenger"]["total"]


def test_doubt_asks_for_data(models: Any, make_spec: Any) -> None:
    wanted = judge(models, make_spec, "mean", "season", min_gain=1.0)
    gain = -wanted.table[0]["difference"]
    low = -wanted.table[0]["high"]
    between = (gain + low) / 2
    verdict = judge(models, make_spec, "mean", "season", min_gain=between)
    assert low < between < gain
    assert verdict.decision == "MORE_DATA"


def test_a_segment_that_gets_worse(models: Any, make_spec: Any, trained: Any) -> None:
    frame = models["frame"].copy()
    # in one region every season is the opposite of the last one: repeating it is worse than the plain mean
    flat = frame["region"] == "r1"
    t = ((frame["week"] - frame["week"].min()).dt.days // 7).to_numpy()
    opposite = 50 + 20 * np.sin(2 * np.pi * t / 26)
    frame.loc[flat, "units"] = frame["units"].where(frame["units"].isna(), opposite)[flat]
    stats = "statsforecast.models."
    old, new = (
        trained(make_spec(candidates=[{"name": "m", "estimator": stats + path}]), frame)[0]
        for path in ("HistoricAverage", "SeasonalNaive")
    )
    spec = make_spec(gate=gate(segments=["region"], segment_rise=0.1, cost=None))
    verdict = Forecast().judge(spec, frame, old, new)
    assert verdict.decision == "HOLD"
    assert verdict.reasons[0].startswith("In segment region r1 (12 cases) the MASE rises")
    assert [row["slice"] for row in verdict.slices] == ["region r0", "region r1"]
    assert all(row["judged"] for row in verdict.slices)


def test_a_champion_that_knows_the_periods_by_heart(mixed: Any, sales: pd.DataFrame, make_spec: Any) -> None:
    _, model, _ = mixed
    spec = make_spec(data={"known": ["promo"]}, gate=gate())
    verdict = Forecast().judge(spec, sales, model, model)
    assert verdict.decision == "MORE_DATA"
    assert any("Periods that the champion was trained on lie in 3 of 3 origins" in reason for reason in verdict.reasons)


def test_periods_after_the_champions_training_are_judged_alone(make_spec: Any, make_history: Any, trained: Any) -> None:
    frame = make_history(periods=82, noise=0.05)
    spec = make_spec(
        data={"known": ["promo"]}, gate=gate(),
        candidates=[{
            "name": "trees", "estimator": "lightgbm.LGBMRegressor", "params": {"n_estimators": 40},
            "features": {"lags": [1, 13]},
        }],
    )  # fmt: skip
    weeks = sorted(frame["week"].unique())
    early = frame[frame["week"] < weeks[78]]
    early = early.assign(units=early["units"].where(early["week"] < weeks[74]))
    old, new = trained(spec, early)[0], trained(spec, frame)[0]
    verdict = Forecast().judge(spec, frame, old, new)
    assert "Periods that the champion was trained on lie in 1 of 3 origins; they are left out" in " ".join(
        verdict.reasons
    )
    assert verdict.rows == 8 * 2
