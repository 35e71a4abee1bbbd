"""Cost per series of the whole forecast lifecycle: backtest, fit, intervals, forecast, from 300 to 30,000 series.

    python tests/bench/bench_forecast_speed.py [seed]

Weekly series of three years with a season, promotions and a share of new, intermittent and dead ones; a cheap candidate
(the season again), so that what is measured is Baton's own work. Peak memory is the process's so far.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.families.forecast.family import Forecast
from baton.specs.forecast import ForecastSpec

SIZES = (300, 1_000, 3_000, 10_000, 30_000)
PERIODS, HORIZON = 156, 8


def spec(seed: int) -> ForecastSpec:
    """The season again, four origins."""
    return ForecastSpec.model_validate({
        "model": "speed", "family": "forecast", "owner": "bench", "description": "units per week", "horizon": HORIZON,
        "data": {"entity": "item", "time": "week", "target": "units", "frequency": "W-MON", "seasons": [52]},
        "training": {"contract": "sales", "history": {"source": "drawn"}, "seed": seed},
        "candidates": [{"name": "season", "estimator": "statsforecast.models.SeasonalNaive"}],
        "validation": {"origins": 4, "step": 4},
    })  # fmt: skip


def sales(series: int, seed: int) -> pd.DataFrame:
    """Rows of `series` series; of 20 one is new, two are intermittent, one is dead."""
    rng = np.random.default_rng(seed)
    t = np.arange(PERIODS)
    level = np.exp(rng.normal(3, 1, (series, 1)))
    mean = level * (1 + 0.3 * np.sin(2 * np.pi * t / 52 + rng.uniform(0, 6, (series, 1))))
    units = rng.poisson(mean).astype(float)
    kind = np.arange(series) % 20
    units[(kind == 1) | (kind == 2)] *= rng.random((int(((kind == 1) | (kind == 2)).sum()), PERIODS)) < 0.4
    units[kind == 3, -40:] = 0
    item, column = np.divmod(np.arange(series * PERIODS), PERIODS)
    frame = pd.DataFrame({
        "item": np.char.add("i", np.char.zfill(np.arange(series).astype(str), 5)).astype(object)[item],
        "week": pd.date_range("2023-01-02", periods=PERIODS, freq="W-MON").to_numpy()[column],
        "units": units.ravel(),
    })  # fmt: skip
    return frame[~((kind[item] == 4) & (column < PERIODS - 5))]


def once(series: int, seed: int) -> dict[str, float]:
    """Seconds of each step."""
    chosen, frame, family = spec(seed), sales(series, seed), Forecast()
    marks = [time.perf_counter()]
    found = {"season": family.validate(chosen, chosen.candidates[0], frame)[0]}
    marks.append(time.perf_counter())
    board = family.rank(chosen, frame, found)
    model = family.fit(chosen, frame, board, found)
    marks.append(time.perf_counter())
    scored = model.forecast(frame)
    marks.append(time.perf_counter())
    assert len(scored) == series * HORIZON
    steps = dict(zip(("backtest", "rank_and_fit", "forecast"), np.diff(marks).tolist(), strict=True))
    return steps | {"total": marks[-1] - marks[0]}


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Seconds per 1,000 series by size; the largest must not cost more than 1.5 times the cheapest."""
    load = os.getloadavg()[0]
    once(50, seed)  # imports and caches
    table = {size: once(size, seed) for size in SIZES}
    per_thousand = {size: 1000 * steps["total"] / size for size, steps in table.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = pd.DataFrame(table).T.assign(per_1000=pd.Series(per_thousand)).round(3).to_string()
    out.mkdir(parents=True, exist_ok=True)
    (out / "forecast_speed.txt").write_text(
        f"seconds by number of series\n{text}\npeak {peak:.0f} MB\n", encoding="utf-8"
    )
    sys.stderr.write(text + "\n")
    versions = {name: version(name) for name in ("statsforecast", "numpy", "pandas")}
    common = {
        "seed": seed, "load": load, "peer": None, "peer_value": None, "ratio": None,
        "versions": versions | {"python": platform.python_version()},
    }  # fmt: skip
    growth = per_thousand[SIZES[-1]] / per_thousand[SIZES[1]]
    return [
        {
            "name": "forecast_cost_per_series_30000_against_1000", "value": growth, "unit": "x", "target": 1.5,
            "larger_is_better": False, "table": {str(size): steps for size, steps in table.items()}, **common,
        },
        {
            "name": "forecast_seconds_30000_series", "value": table[SIZES[-1]]["total"], "unit": "s", "target": None,
            "larger_is_better": False, **common,
        },
        {
            "name": "forecast_peak_memory_30000_series", "value": peak, "unit": "MB", "target": None,
            "larger_is_better": False, **common,
        },
    ]  # fmt: skip


if __name__ == "__main__":
    results = run(
        int(sys.argv[1]) if len(sys.argv) > 1 else 7, Path(sys.argv[2] if len(sys.argv) > 2 else ".baton/bench")
    )
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
