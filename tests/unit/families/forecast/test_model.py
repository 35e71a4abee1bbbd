"""A forecaster says the same after saving, holds no pickle, ignores the order of rows, and uses what is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton import families
from baton.errors import ModelError
from baton.families.forecast.family import Forecast
from baton.families.forecast.methods.local import build
from baton.families.forecast.panel.setting import Setting
from baton.specs.forecast import ForecasterSpec


def test_saved_and_loaded_forecast_alike(mixed: Any, sales: pd.DataFrame, tmp_path: Path) -> None:
    _, model, _ = mixed
    model.save(tmp_path)
    again = families.load(tmp_path)
    pd.testing.assert_frame_equal(model.forecast(sales), again.forecast(sales), check_exact=True)
    pd.testing.assert_frame_equal(model.evidence(), again.evidence(), check_exact=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["evidence.json", "model.json", "trees_0.txt"]
    for path in tmp_path.iterdir():
        path.read_text(encoding="utf-8")  # text only: nothing that could be a pickle
    json.loads((tmp_path / "evidence.json").read_text())
    again.save(tmp_path / "twice")
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_scored_frame(mixed: Any, sales: pd.DataFrame) -> None:
    spec, model, _ = mixed
    scored = model.forecast(sales)
    quantiles = [f"q{level:g}" for level in spec.quantiles]
    assert list(scored) == [
        "entity_key", "series", "time", "step", "score", *quantiles, "kind", "method", "dependence", "scale",
    ]  # fmt: skip
    assert len(scored) == 8 * 4
    assert scored["entity_key"].iloc[0] == "i00@2025-06-30"
    assert (np.diff(scored[quantiles].to_numpy(), axis=1) >= 0).all()
    assert (scored["q0.5"] == scored["score"]).all()
    assert (scored[quantiles].to_numpy() >= 0).all()
    assert scored["dependence"].between(0, 1).all()


def test_training_twice_gives_the_same_model(mixed: Any, sales: pd.DataFrame) -> None:
    spec, model, board = mixed
    family = Forecast()
    found = {one.name: family.validate(spec, one, sales)[0] for one in spec.candidates if one.ensemble is None}
    other = family.fit(spec, sales, type(board)(board.metric, "mix"), found)
    shuffled = sales.sample(frac=1.0, random_state=2)
    pd.testing.assert_frame_equal(model.forecast(sales), other.forecast(shuffled), check_exact=True)


def test_a_promotion_known_in_advance_moves_the_forecast(mixed: Any, sales: pd.DataFrame, make_spec: Any) -> None:
    spec, _, board = mixed
    assert board.best == "trees"
    family = Forecast()
    trees = next(one for one in spec.candidates if one.name == "trees")
    found = {"trees": family.validate(spec, trees, sales)[0]}
    model = family.fit(spec, sales, type(board)(board.metric, "trees"), found)
    ahead = sales["units"].isna()
    on, off = (model.forecast(sales.assign(promo=sales["promo"].where(~ahead, flag)))["score"].sum() for flag in (1, 0))
    assert on > 1.25 * off


@pytest.mark.parametrize(
    "features",
    [
        {"lags": [1, 2], "direct": True},
        {"lags": [1, 13], "differences": [13]},
        {"lags": [1, 13], "scale": "standard", "log": True},
        {"lags": [1, 13], "scale": "none"},
        {"lags": [1, 13], "log": True, "direct": True, "calendar": ["week", "month", "quarter"]},
    ],
)
def test_every_transformation_survives_saving(
    features: dict[str, Any], make_spec: Any, make_history: Any, trained: Any, tmp_path: Path
) -> None:
    candidate = {
        "name": "t",
        "estimator": "lightgbm.LGBMRegressor",
        "params": {"n_estimators": 20},
        "features": features,
    }
    frame = make_history(noise=0.02, promo=0.0)
    model, _ = trained(make_spec(candidates=[candidate], validation={"origins": 2}), frame)
    model.save(tmp_path)
    scored = model.forecast(frame)
    pd.testing.assert_frame_equal(scored, families.load(tmp_path).forecast(frame), check_exact=True)
    # a season of 13 without much noise: last season's values are near
    last = frame[frame["units"].notna()].groupby("item")["units"].apply(lambda v: v.to_numpy()[-13:-9])
    assert np.abs(scored["score"].to_numpy() / np.concatenate(last.to_list()) - 1).mean() < 0.25


def test_the_leaderboard(mixed: Any, sales: pd.DataFrame, make_spec: Any) -> None:
    _, _, board = mixed
    values = [row["value"] for row in board.rows]
    assert values == sorted(values)
    assert len(board.rows) == 4
    assert len(board.rows[0]["folds"]) == 3
    priced = make_spec(data={"known": ["promo"]}, gate={"cost": {"short": 3.0, "over": 1.0}})
    family = Forecast()
    found = {"naive": family.validate(priced, priced.candidates[0], sales)[0], "mean": pd.DataFrame()}
    rows = {row["candidate"]: row for row in family.rank(priced, sales, found).rows}
    assert rows["naive"]["cost"] > 0
    assert "'mean' has no backtest" in rows["mean"]["error"]
    assert rows["mix"]["value"] is None


def test_bad_candidates(make_spec: Any, sales: pd.DataFrame) -> None:
    setting = Setting.of(make_spec())

    def one(**fields: Any) -> ForecasterSpec:
        return ForecasterSpec.model_validate({"name": "c", **fields})

    with pytest.raises(ModelError, match="no argument `colour`"):
        build(setting, one(estimator="statsforecast.models.AutoETS", params={"colour": 1}))
    with pytest.raises(ModelError, match="allow-list"):
        build(setting, one(estimator="statsforecast.models.MSTL", params={"trend_forecaster": "os.system"}))
    assert build(setting, one(estimator="statsforecast.models.MSTL", params={"trend_forecaster": "AutoETS"}))
    spec = make_spec()
    with pytest.raises(ModelError, match="judged from its parts"):
        Forecast().validate(spec, spec.candidates[3], sales)
    long = make_spec(validation={"origins": 30, "step": 4})
    with pytest.raises(ModelError, match="too few for 30 origins"):
        Forecast().validate(long, long.candidates[0], sales)


def test_a_forecast_never_sees_its_own_future(make_spec: Any, sales: pd.DataFrame) -> None:
    spec = make_spec(data={"known": ["promo"]})
    changed = sales.assign(units=sales["units"].where(sales["week"] < "2025-06-02", 5000.0 + sales["units"]))
    for candidate in spec.candidates[:3]:
        before, after = (Forecast().validate(spec, candidate, frame)[0] for frame in (sales, changed))
        early = before["origin"] <= before["origin"].max()
        assert (before["origin"] == pd.Timestamp("2025-06-02")).any()
        pd.testing.assert_series_equal(before.loc[early, "forecast"], after.loc[early, "forecast"], check_exact=True)


def test_what_the_engine_asks(mixed: Any, sales: pd.DataFrame, make_spec: Callable[..., Any]) -> None:
    spec, model, _ = mixed
    family = Forecast()
    scored = family.score(spec, model, sales, 0.1)
    future = sales[sales["units"].isna()].sort_values(["item", "week"])
    assert scored["_row"].tolist() == future["_row"].tolist()
    assert scored["reasons"].isna().all()
    assert family.keys(spec, future).tolist() == scored["entity_key"].tolist()
    metrics = family.evaluate(spec, model, sales)
    assert {"mase", "smape", "wape", "pinball", "coverage80", "coverage95", "bias"} == set(metrics)
    described = family.describe(spec, sales)
    assert described.data["series"] == described.data["regular series"] == 8
    example, said = family.example(spec, model, sales)
    assert len(said) == 4
    assert set(spec.data.known) <= set(example)
