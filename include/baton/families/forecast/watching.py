"""Published forecasts against what happened: is the error what the backtest promised, and is it on one side?

A season is in the forecast, so it moves nothing here. Errors are counted in *expected errors*: those that the backtest had
for this series at this step. The mean of such errors is tested per series and per segment with what the backtest knows
of their spread, of the dependence of neighbouring periods, and of that between series of one period; so that few known
periods, or many series with one cause, are not taken for more evidence than they are.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from baton.drift.performance import Performance
from baton.drift.table import DriftRow, DriftTable
from baton.errors import BatonError
from baton.families.forecast import resampling
from baton.families.forecast.model import FittedForecaster, bottom
from baton.families.forecast.panel.series import prepare
from baton.specs.forecast import ForecastSpec

SMALL = 1e-9
CLIP = 6.0  # expected errors; one freak week must not decide alone
FREEDOM = 4  # of the t test at least: the spread is known from the backtest, but its tails are heavy


def reference(spec: ForecastSpec, fitted: FittedForecaster, frame: pd.DataFrame) -> dict[str, Any]:
    """What to expect of the forecaster's errors, as JSON: by step and series, from its backtest.

    Args:
        frame: the history frame, with the columns of `drift.segments`.
    """
    columns = list(spec.drift.segments) if spec.drift is not None else []
    panel = prepare(fitted.setting, frame, columns)
    rows = bottom(fitted.rows)
    live = rows[rows["kind"] != "dead"]
    scaled = ((live["y"] - live["forecast"]) / live["scale"]).to_numpy()
    found = fitted.intervals
    spread = live["series"].map(found.spread).fillna(1.0).to_numpy()
    unit = scaled / np.maximum(found.growth[live["step"].to_numpy() - 1] * spread, SMALL)
    unit = np.clip(unit, -CLIP, CLIP)
    return {
        "format": 1, "metric": "mase", "cases": len(rows),
        "value": float(((rows["y"] - rows["forecast"]).abs() / rows["scale"]).mean()) if len(rows) else 0.0,
        "bias": float(unit.mean()) if len(unit) else 0.0,
        "deviation": float(unit.std()) if len(unit) > 1 else 1.0,
        "steps": [float(v) for v in found.growth],
        "series": {str(name): float(v) for name, v in found.spread.items()},
        "dependence": {"pooled": found.pooled, **{f"series {k}": float(v) for k, v in found.dependence.items()}},
        "together": _together(live, unit),
        "segments": {
            column: {
                str(name): str(value) for name, value in zip(panel.ids, panel.attributes[column], strict=True) if pd.notna(value)
            }
            for column in columns
        },
    }  # fmt: skip


def watch(
    spec: ForecastSpec, reference: Mapping[str, Any], scored: pd.DataFrame, truth: pd.DataFrame
) -> tuple[DriftTable, Performance | None]:
    """Compare published forecasts with the truth known by now.

    Args:
        reference: what `reference` returned.
        scored: rows of scored frames; a period may have been forecast several times.
        truth: entity_key and value (units of the target; null where not known yet).

    Returns:
        one row per series and per value of each segment; the MASE of what is known beside what was expected of just
        these series and steps, None without `drift.performance`.

    Raises:
        BatonError: the model has no drift policy.
    """
    policy = spec.drift
    if policy is None:
        raise BatonError(f"model {spec.model}: it has no `drift` block, so its errors are not watched")
    known = _errors(reference, scored, truth)
    groups = {str(name): at for name, at in known.groupby("series").indices.items()}
    for column, value_of in reference["segments"].items():
        values = known["series"].map(value_of)
        groups |= {f"{column} {value}": at for value, at in known.groupby(values).indices.items()}
    published = scored.groupby("series").size()
    rows = [_row(spec, reference, name, known.iloc[at], published) for name, at in groups.items()]
    enough = len(known) >= policy.min_rows
    if rows:
        q_values = stats.false_discovery_control([row.p_value for row in rows], method="bh")
        rows = [_flagged(row, float(q), spec, enough) for row, q in zip(rows, q_values, strict=True)]
    rows.sort(key=lambda row: (not row.drifted, -row.effect, row.feature))
    table = DriftTable(rows, len(known), int(reference["cases"]), not enough, [])
    return table, _performance(spec, known)


def coverage(scored: pd.DataFrame, truth: pd.DataFrame) -> list[list[float]]:
    """Per quantile: its level, level times the rows with a known truth, how many of these lie at or below it, their number."""
    value = scored["entity_key"].map(truth.drop_duplicates("entity_key").set_index("entity_key")["value"]).astype(float)
    known = value.notna()
    levels = {float(str(name)[1:]): str(name) for name in scored if re.fullmatch(r"q0?\.\d+", str(name))}
    rows = float(known.sum())
    below = {level: float((value[known] <= scored.loc[known, name]).sum()) for level, name in sorted(levels.items())}
    return [[level, level * rows, count, rows] for level, count in below.items()] if rows else []


def _errors(reference: Mapping[str, Any], scored: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One row per known (series, time): `unit`, the error in expected errors; `error` and `expected`, in scales."""
    rows = scored.merge(truth[["entity_key", "value"]].drop_duplicates("entity_key"), on="entity_key", how="inner")
    rows = rows[pd.to_numeric(rows["value"]).notna()]
    step = np.minimum(rows["step"].to_numpy(dtype=int), len(reference["steps"])) - 1
    spread = rows["series"].astype(str).map(reference["series"]).fillna(1.0).to_numpy(dtype=float)
    expected = np.maximum(np.asarray(reference["steps"])[step] * spread, SMALL)
    value, score, scale = rows[["value", "score", "scale"]].to_numpy(dtype=float).T
    error = (value - score) / scale
    unit = np.clip(error / expected, -CLIP, CLIP) - reference["bias"]
    made = rows[["series", "time"]].assign(unit=unit, error=np.abs(error), expected=expected)
    return made.groupby(["series", "time"], sort=True).mean().reset_index()


def _row(
    spec: ForecastSpec, reference: Mapping[str, Any], name: str, known: pd.DataFrame, published: pd.Series
) -> DriftRow:
    assert spec.drift is not None
    series = known["series"].unique()
    bias = float(known["unit"].mean())
    error = max(float(reference["deviation"]), SMALL) * np.sqrt(_variance_factor(reference, known))
    statistic = bias / error
    p_value = float(2 * stats.t.sf(abs(statistic), max(FREEDOM, len(known) - 1)))
    above = float((known["unit"] > 0).mean())
    return DriftRow(
        feature=name, kind="error", effect=abs(bias), threshold=spec.drift.effect, psi=0.0, shift=bias,
        spread=float(known["error"].sum() / known["expected"].sum()),
        nulls=max(0.0, 1.0 - len(known) / max(1, int(published.reindex(series).sum()))), new_levels=0.0,
        statistic=statistic, p_value=p_value, q_value=1.0, drifted=False, expected=[0.5, 0.5],
        observed=[1.0 - above, above], labels=["below the forecast", "above the forecast"],
    )  # fmt: skip


def _variance_factor(reference: Mapping[str, Any], known: pd.DataFrame) -> float:
    """Variance of the mean of these errors over that of one: neighbours in time and in space are no new evidence."""
    pooled = reference["dependence"]["pooled"]
    rho = float(np.mean([reference["dependence"].get(f"series {name}", pooled) for name in known["series"].unique()]))
    times, together = known["time"].nunique(), float(reference["together"])
    width = len(known) / times
    across = (1 + (width - 1) * together) / width
    lag = np.arange(1, times)
    along = (1 + 2 * float(((1 - lag / times) * rho**lag).sum())) / times
    return across * along


def _flagged(row: DriftRow, q_value: float, spec: ForecastSpec, enough: bool) -> DriftRow:
    assert spec.drift is not None
    clear = q_value <= spec.drift.fdr and row.p_value <= spec.drift.p_value and row.effect > row.threshold
    return DriftRow(**{**vars(row), "q_value": q_value, "drifted": bool(enough and clear)})


def _together(rows: pd.DataFrame, unit: np.ndarray) -> float:
    """Correlation of the errors of different series in one period, 0..1."""
    table = rows[["origin", "step"]].assign(unit=unit - unit.mean() if len(unit) else unit)
    table["power"] = table["unit"] ** 2
    cells = table.groupby(["origin", "step"]).agg(sum=("unit", "sum"), size=("unit", "size"), power=("power", "sum"))
    pairs = float((cells["size"] * (cells["size"] - 1)).sum())
    if pairs <= 0 or cells["power"].sum() <= 0:
        return 0.0
    product = float((cells["sum"] ** 2 - cells["power"]).sum()) / pairs
    return float(np.clip(product / (cells["power"].sum() / cells["size"].sum()), 0.0, 1.0))


def _performance(spec: ForecastSpec, known: pd.DataFrame) -> Performance | None:
    policy = spec.drift.performance if spec.drift is not None else None
    if policy is None:
        return None
    cases = len(known)
    expected = float(known["expected"].mean()) if cases else 0.0
    if cases < policy.min_cases:
        return Performance(policy.metric, None, None, None, expected, 0, cases, "too_few")
    table = known.rename(columns={"time": "origin"}).assign(one=1.0)
    draws = resampling.draw(table, {"known": ("error", "one")}, 400, spec.training.seed)
    low, high = draws.interval(0.9, "known")
    bound = expected * (1 + policy.max_rise)
    status = "dropped" if low > bound else "held" if high <= bound else "open"
    return Performance(policy.metric, float(known["error"].mean()), low, high, expected, 0, cases, status)
