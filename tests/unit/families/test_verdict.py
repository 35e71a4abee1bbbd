"""One rule of gain for the gates of all families: the interval's lower end must reach `min_gain`, and 0 is no gain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.families.forecast.family import Forecast
from baton.families.forecast.model import FittedForecaster
from baton.families.tabular import gate
from baton.families.text import judging
from baton.specs.forecast import ForecastSpec
from baton.specs.policy import GateSpec
from baton.specs.text import TextSpec

LIFE = {"owner": "tests", "description": "a toy", "training": {"contract": "c", "history": {"source": "s"}}}
KINDS = np.repeat(np.array(["a", "b", "c"], dtype=object), 60)

Judge = Callable[..., Any]


def tabular(better: int, **policy: Any) -> Any:
    """Fifty positives above all negatives but for ten of the champion's, of which the challenger puts `better` right."""
    y = np.repeat([1, 0], [50, 150])
    champion = np.where(y == 1, 0.9, np.linspace(0.1, 0.6, 200))
    champion[:10] = 0.3
    challenger = champion.copy()
    challenger[:better] = 0.9
    return gate.decide(GateSpec.model_validate({"resamples": 200, "floor": 0.1, **policy}), y, champion, challenger)


def text(better: int, **policy: Any) -> Any:
    """A hundred and eighty texts, ten of them wrong, of which the challenger puts `better` right."""
    spec = TextSpec.model_validate({
        **LIFE, "model": "kind", "family": "text", "candidates": [{"name": "t", "estimator": "sklearn.svm.LinearSVC"}],
        "data": {"entity": "id", "time": "at", "text": ["body"], "target": "kind"},
        "gate": {"resamples": 200, **policy},
    })  # fmt: skip
    champion, challenger = KINDS.copy(), KINDS.copy()
    champion[:10] = "c"
    challenger[better:10] = "c"
    return judging.judge(spec, KINDS, champion, challenger)


def forecast(better: int, **policy: Any) -> Any:
    """The mean of each series, of which the challenger puts the forecasts of `better` (series, origin) pairs right."""
    spec, frame, champion = mean_of_weeks()
    spec = spec.model_copy(update={"gate": spec.gate.model_copy(update={"resamples": 200, "ceiling": 20.0, **policy})})
    challenger: Any = copy.copy(champion)
    rows = champion.judged()
    pairs = rows[["series", "origin"]].drop_duplicates().sample(better, random_state=0)
    right = rows.merge(pairs, how="left", indicator=True)["_merge"].to_numpy() == "both"
    challenger.judged = lambda: rows.assign(forecast=np.where(right, rows["y"], rows["forecast"]))
    return Forecast().judge(spec, frame, champion, challenger)


@cache
def mean_of_weeks() -> tuple[ForecastSpec, pd.DataFrame, FittedForecaster]:
    spec = ForecastSpec.model_validate({
        **LIFE, "model": "demand", "family": "forecast", "horizon": 2,
        "candidates": [{"name": "mean", "estimator": "statsforecast.models.HistoricAverage"}],
        "data": {"entity": "item", "time": "week", "target": "units", "frequency": "W-MON", "seasons": [13]},
        "validation": {"origins": 6, "step": 2},
    })  # fmt: skip
    weeks = pd.date_range("2024-01-01", periods=60, freq="W-MON")
    rng = np.random.default_rng(0)
    parts = [pd.DataFrame({"item": f"i{i}", "week": weeks, "units": 50 + rng.normal(0, 9, 60)}) for i in range(8)]
    frame = pd.concat(parts, ignore_index=True)
    frame["_row"] = np.arange(len(frame))
    family = Forecast()
    found = {"mean": family.validate(spec, spec.candidates[0], frame)[0]}
    return spec, frame, family.fit(spec, frame, family.rank(spec, frame, found), found)


GATES = pytest.mark.parametrize("judge", [tabular, text, forecast])


@GATES
def test_the_lower_end_of_the_gain_must_reach_min_gain(judge: Judge) -> None:
    row = judge(10).table[0]
    low = row["low"] if row["difference"] > 0 else -row["high"]
    assert low > 0
    assert judge(10, min_gain=low).decision == "PROMOTE"
    doubt = judge(10, min_gain=float(np.nextafter(low, 1)))
    assert doubt.decision == "MORE_DATA"
    assert f"the gain's lower end must reach {low:+.4f}" in doubt.reasons[0]


@GATES
def test_an_interval_that_begins_at_nothing_shows_no_gain(judge: Judge) -> None:
    verdict = judge(1)  # one case is absent from a third of the resamples
    row = verdict.table[0]
    assert row["low" if row["difference"] > 0 else "high"] == pytest.approx(0.0, abs=1e-12)
    assert verdict.decision == "MORE_DATA"
    assert "the gain's lower end must lie above 0" in verdict.reasons[0]


@GATES
def test_a_small_loss_may_be_tolerated_on_purpose(judge: Judge) -> None:
    assert judge(1, min_gain=-0.01).decision == "PROMOTE"
    assert judge(0, min_gain=-0.01).decision == "HOLD"  # a tie keeps the champion all the same
