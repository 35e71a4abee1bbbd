"""The forecast family: what training, gate and monitoring ask of it."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from baton.data.partitions import HOUR
from baton.errors import ModelError
from baton.families.base import Description, Evidence, Json, Leaderboard, Tried, Watchable, Watched, parts_of, ranked
from baton.families.forecast import backtest, intervals, losses, orders, reconcile
from baton.families.forecast.judging import judge
from baton.families.forecast.methods.boosting import needed
from baton.families.forecast.methods.kinds import classify
from baton.families.forecast.methods.points import fit_part, left_out
from baton.families.forecast.model import FAMILY, FittedForecaster, bottom, load
from baton.families.forecast.panel.periods import label, plain_times
from baton.families.forecast.panel.series import Panel, prepare
from baton.families.forecast.panel.setting import Setting
from baton.families.forecast.watching import coverage, reference, watch
from baton.families.verdict import GateVerdict
from baton.specs.forecast import ForecasterSpec, ForecastSpec

NAMED = 100  # series that are listed by name


class Forecast:
    """One-series models, global models and ensembles of them, with conformal intervals and reconciliation."""

    name = FAMILY
    truth: Literal["labels", "rows"] = "rows"
    row_local = False

    def validate(
        self, spec: ForecastSpec, candidate: ForecasterSpec, frame: pd.DataFrame
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Backtest one candidate that is no ensemble.

        Returns:
            the backtest frame (`backtest.COLUMNS`), of all levels where there is a hierarchy, before reconciliation;
            facts: metric, value, spread (over origins), seconds; left_out: series too short to learn from, with their
            periods, where there are some (the first hundred).

        Raises:
            ModelError: an ensemble, unusable history, or a candidate that cannot be fitted.
        """
        if candidate.ensemble is not None:
            raise ModelError(f"candidate {candidate.name!r}: an ensemble is judged from its parts, see `rank`")
        started = time.perf_counter()
        setting = Setting.of(spec)
        panel, level = _wide(setting, prepare(setting, frame))
        rows = backtest.run(setting, spec.validation, panel, candidate, level)
        value, spread, _ = _value(spec, setting, backtest.choose(rows)[0])
        seconds = round(time.perf_counter() - started, 2)
        facts = {"metric": spec.validation.metric, "value": value, "spread": spread, "seconds": seconds}
        short = dict(list(left_out(setting, candidate, panel).items())[:NAMED])
        return rows, facts | ({"left_out": short} if short else {})

    def rank(self, spec: ForecastSpec, frame: pd.DataFrame, found: Tried) -> Leaderboard:
        """Rank all candidates by their backtests, ensembles combined here, reconciled where there is a hierarchy.

        Args:
            found: candidate -> the frame `validate` returned; one that failed is absent or empty.

        Raises:
            ModelError: no candidate could be judged.
        """
        setting = Setting.of(spec)
        panel = prepare(setting, frame, _price_columns(spec))
        prices = orders.prices(spec.gate.cost, panel) if spec.gate.cost is not None else None

        def figures(candidate: ForecasterSpec) -> dict[str, Any]:
            judged = self.chosen(spec, setting, panel, candidate, found)[0]
            value, spread, folds = _value(spec, setting, judged)
            cost = None
            if spec.gate.cost is not None and prices is not None:
                with_quantiles = bottom(intervals.cross(setting, judged))
                cost = float(orders.order_cost(spec.gate.cost, setting, with_quantiles, prices)["cost"].mean())
            return {"value": value, "spread": spread, "folds": folds, "cost": cost}

        return ranked(spec.validation.metric, spec.candidates, figures, errors=True)

    def chosen(
        self, spec: ForecastSpec, setting: Setting, panel: Panel, candidate: ForecasterSpec, found: Tried
    ) -> tuple[pd.DataFrame, bool, str | None]:
        """A candidate's backtest with all choices made: rows, whether Croston serves, method of reconciliation."""
        parts = parts_of(spec.candidates, candidate)
        if missing := [part.name for part in parts if part.name not in found or found[part.name].empty]:
            raise ModelError(f"candidate {candidate.name!r}: {missing[0]!r} has no backtest")
        rows = found[parts[0].name]
        if len(parts) > 1:
            rows = backtest.combine(candidate.name, [found[part.name] for part in parts], candidate.combine)
        rows, croston = backtest.choose(rows)
        if not setting.hierarchy:
            return rows, croston, None
        rows, method, _ = reconcile.backtest(setting, reconcile.tree(setting, panel), panel.ids, rows)
        return rows, croston, method

    def fit(self, spec: ForecastSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried) -> FittedForecaster:
        """Fit the best candidate on all rows of the past."""
        setting = Setting.of(spec)
        panel = prepare(setting, frame)
        candidate = next(c for c in spec.candidates if c.name == board.best)
        rows, croston, method = self.chosen(spec, setting, panel, candidate, found)
        wide = _wide(setting, panel)[0]
        parts = [fit_part(setting, part, wide) for part in parts_of(spec.candidates, candidate)]
        last = panel.first + panel.periods - 1
        return FittedForecaster(candidate.name, setting, parts, candidate.combine, croston, method, last, rows)

    def published(
        self, spec: ForecastSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried, judged: FittedForecaster
    ) -> None:
        """Nothing else: `fit` takes all periods, and the backtest judges by models that did not."""

    def evaluate(self, spec: ForecastSpec, fitted: FittedForecaster, frame: pd.DataFrame) -> dict[str, float]:
        """Figures of the backtest: all metrics, coverage80, coverage95 (where the quantiles hold their edges), bias.

        Bias is the mean of (forecast - target) / scale: above 0 the forecasts are too high.
        """
        rows = fitted.judged()
        found = {m: losses.value(losses.cases(rows, m, fitted.setting.quantiles)) for m in losses.METRICS}
        for percent in (80, 95):
            share = losses.coverage(rows, percent / 100)
            if share is not None:
                found[f"coverage{percent}"] = share
        found["bias"] = float(((rows["forecast"] - rows["y"]) / rows["scale"]).mean())
        return found

    def evidence(self, spec: ForecastSpec, fitted: FittedForecaster, frame: pd.DataFrame) -> Evidence:
        """The winner's backtest."""
        rows, setting = fitted.judged(), fitted.setting
        written = {at: label(at, setting.frequency) for at in rows["time"].unique()}
        kept = rows[["series", "origin", "step", "time", "y", "forecast"]].assign(label=rows["time"].map(written))
        edges = {name: rows[q] for name, q in (("low", "q0.1"), ("high", "q0.9")) if q in rows}
        return Evidence(series=kept.assign(**edges).reset_index(drop=True))

    def seen(self, spec: ForecastSpec, frame: pd.DataFrame, learnt_from: pd.DataFrame) -> np.ndarray:
        """None by this way: a forecaster knows its last period, and the gate cuts there; see `judging`."""
        return np.zeros(len(frame), dtype=bool)

    def judge(
        self, spec: ForecastSpec, frame: pd.DataFrame, champion: FittedForecaster | None, challenger: FittedForecaster
    ) -> GateVerdict:
        """See `judging.judge`."""
        return judge(spec, frame, champion, challenger)

    def score(self, spec: ForecastSpec, fitted: FittedForecaster, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        """The scored frame (see `FittedForecaster.forecast`); a forecast has no reason codes.

        `_row` is that of the row of the future, or of the series' last row where the future has none.
        """
        scored = fitted.forecast(data)
        panel_rows = data.assign(_id=data[spec.data.entity].astype(str), _time=plain_times(data[spec.data.time]))
        own = panel_rows.drop_duplicates(["_id", "_time"]).set_index(["_id", "_time"])["_row"]
        last = panel_rows.sort_values("_time", kind="stable").groupby("_id")["_row"].last()
        exact = own.reindex(pd.MultiIndex.from_arrays([scored["series"], scored["time"]]))
        row = np.where(exact.notna(), exact.to_numpy(dtype=float), scored["series"].map(last).to_numpy(dtype=float))
        return scored.assign(reasons=pd.Series(None, index=scored.index, dtype=object), _row=row.astype(np.int64))

    def columns(self, spec: ForecastSpec, fitted: FittedForecaster) -> None:
        """All: a series is forecast from what the history stage put together for it."""

    def keys(self, spec: ForecastSpec, data: pd.DataFrame) -> pd.Series:
        """`series@period` of each row."""
        when = plain_times(data[spec.data.time])
        labels = {time: label(time, spec.data.frequency) for time in when.unique()}
        return data[spec.data.entity].astype(str) + "@" + when.map(labels)

    def reference(
        self, spec: ForecastSpec, fitted: FittedForecaster, frame: pd.DataFrame, metrics: dict[str, float],
        step: timedelta = HOUR,
    ) -> dict[str, Any]:  # fmt: skip
        """See `watching.reference`; forecasts are compared series by series, not by windows of time."""
        return {**reference(spec, fitted, frame), "metrics": metrics}

    def watch(self, spec: ForecastSpec, reference: Json, window: Watchable) -> Watched:
        """See `watching.watch`; what counts for a retraining are the known (series, period) pairs."""
        ((_, scored, truth),) = window
        table, performance = watch(spec, reference, scored, truth)
        return Watched(table, performance, table.n, coverage(scored, truth))

    def describe(self, spec: ForecastSpec, frame: pd.DataFrame) -> Description:
        """Series by kind, and periods."""
        setting = Setting.of(spec)
        panel = prepare(setting, frame)
        names, counts = np.unique(classify(setting, panel).astype(str), return_counts=True)
        ends = [label(at, setting.frequency) for at in panel.times(np.array([0, panel.periods - 1]), setting.frequency)]
        data = {"series": len(panel.ids), "periods": panel.periods, "first period": ends[0], "last period": ends[1]}
        data |= {f"{name} series": int(count) for name, count in zip(names, counts, strict=True)}
        limits = [
            "Intervals say how far targets lay from forecasts in the backtest; a change that it never saw is not in them.",
            "A series that begins or has stopped is forecast by a simple rule, which the columns kind and method name.",
        ]
        for one in spec.candidates:
            if short := left_out(setting, one, panel):
                listed = ", ".join(f"{name} ({periods})" for name, periods in list(short.items())[:NAMED])
                limits.append(
                    f"{one.name} does not learn from series of fewer than {needed(one)} periods, and does not forecast them: "
                    f"{listed}{f' and {len(short) - NAMED} more' if len(short) > NAMED else ''}."
                )
        if spec.data.known:
            limits.append(f"It believes what it is told of the future: {', '.join(spec.data.known)}.")
        use = (
            f"Forecasts {spec.data.target} of each {spec.data.entity} for the next {spec.horizon} periods "
            f"({spec.data.frequency}): the median and {len(spec.quantiles)} quantiles."
        )
        return Description(data, use, limits)

    def example(
        self, spec: ForecastSpec, fitted: FittedForecaster, frame: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """A made-up constant series long enough for every method, and its forecast."""
        setting = fitted.setting
        past = max(setting.min_periods, 2 * max(setting.seasons) + setting.horizon)
        panel = prepare(setting, frame)
        times = panel.times(panel.periods - past + np.arange(past + setting.horizon), setting.frequency)
        level = float(np.nanmedian(panel.y))
        target = np.where(np.arange(len(times)) < past, level, np.nan)
        example = pd.DataFrame({setting.entity: "example", setting.time: times, setting.target: target})
        for at, name in enumerate(setting.known):
            example[name] = float(np.nanmedian(panel.known[:, :, at]))
        for name in setting.hierarchy:
            example[name] = "example"
        return example, fitted.forecast(example)[["score"]]

    def load(self, folder: Path) -> FittedForecaster:
        """Restore a saved forecaster."""
        return load(folder)


def _wide(setting: Setting, panel: Panel) -> tuple[Panel, np.ndarray | None]:
    """The panel with the levels above its series, and the level of each row; as it is without a hierarchy."""
    if not setting.hierarchy:
        return panel, None
    above = reconcile.tree(setting, panel)
    return reconcile.widen(panel, above), reconcile.levels(above, len(panel.ids))


def _value(spec: ForecastSpec, setting: Setting, rows: pd.DataFrame) -> tuple[float, float, list[float]]:
    """The leaderboard's metric, a mean over the levels of a hierarchy: mean and spread over origins, and each origin's."""
    metric = spec.validation.metric
    rows = intervals.cross(setting, rows) if metric == "pinball" else rows
    folds = losses.folds(rows, metric, setting.quantiles)
    return float(np.mean(folds)), float(np.std(folds)), folds


def _price_columns(spec: ForecastSpec) -> list[str]:
    cost = spec.gate.cost
    return [] if cost is None else [source for source in (cost.short, cost.over) if isinstance(source, str)]
