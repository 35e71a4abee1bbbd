"""A fitted forecaster: parts, the choices the backtest made, and the backtest itself, from which intervals follow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baton.families.base import FORMAT, MODEL_FILE, read_json, write_json
from baton.families.forecast import backtest, intervals, losses, reconcile
from baton.families.forecast.methods import points
from baton.families.forecast.methods.boosting import Global
from baton.families.forecast.methods.local import Local
from baton.families.forecast.methods.points import Forecaster, Points
from baton.families.forecast.panel.periods import label
from baton.families.forecast.panel.series import Panel, need_future, prepare
from baton.families.forecast.panel.setting import Setting
from baton.specs.forecast import ForecasterSpec

FAMILY = "forecast"
EVIDENCE_FILE = "evidence.json"


class FittedForecaster:
    """Forecasts every series of a history frame; see `forecast`."""

    def __init__(
        self,
        name: str,
        setting: Setting,
        parts: Sequence[Forecaster],
        combine: str,
        croston: bool,
        reconciler: str | None,
        last: int,
        rows: pd.DataFrame,
    ) -> None:
        """Take fitted parts.

        Args:
            croston: whether Croston forecasts the intermittent series.
            reconciler: method of `reconcile.METHODS`; None without a hierarchy.
            last: number of the last period that the parts were fitted on.
            rows: the candidate's backtest (with `base` where there is a hierarchy).
        """
        self.name, self.setting, self.parts, self.combine = name, setting, list(parts), combine
        self.croston, self.reconciler, self.last, self.rows = croston, reconciler, last, rows
        self.features = list(setting.known)
        self.intervals = intervals.fit(setting, rows)

    def forecast(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecast the horizon after the frame's last observed period.

        Args:
            frame: a history frame (see `baton.specs.forecast`), with rows of the future if regressors are known.

        Returns:
            the scored frame: entity_key, series, time, step, score, q..., kind, method, dependence, scale; one row per
            series and period ahead, sorted.

        Raises:
            ModelError: see `series.prepare` and `series.need_future`.
        """
        return self.levels(frame, above=False).drop(columns="level")

    def levels(self, frame: pd.DataFrame, *, above: bool = True) -> pd.DataFrame:
        """The scored frame with the levels of the hierarchy in front; see `forecast`."""
        panel = prepare(self.setting, frame)
        need_future(self.setting, panel)
        made, nodes, wide = self._points(panel)
        rows = self._rows(panel, made)
        if above and nodes is not None:
            count = len(wide.ids) - len(panel.ids)
            names = np.full(count, f"sum ({self.reconciler})", dtype=object)
            kinds = np.full(count, "regular", dtype=object)
            sums = Points(nodes, np.full_like(nodes, np.nan), kinds, names)
            tree = reconcile.tree(self.setting, panel)
            rows = pd.concat([self._rows(wide.take(np.arange(count)), sums, tree.level), rows], ignore_index=True)
        return self._scored(rows)

    def points(self, panel: Panel) -> Points:
        """Forecasts of a panel's series after its end, shape (S, horizon)."""
        return self._points(panel)[0]

    def evidence(self) -> pd.DataFrame:
        """The backtest of the series as (series, origin) losses: series, origin, mase, smape, wape top and bottom."""
        rows = self.judged()
        found = None
        for metric in losses.METRICS:
            one = losses.cases(rows, metric, self.setting.quantiles)
            one = one.rename(columns={"top": metric, "bottom": f"{metric}_weight"})
            found = one if found is None else found.merge(one, on=["series", "origin"])
        assert found is not None
        return found

    def judged(self) -> pd.DataFrame:
        """Backtest rows of the series with quantiles, each origin's from the residuals of the other origins."""
        return bottom(intervals.cross(self.setting, self.rows))

    def save(self, folder: Path) -> None:
        """Write model.json, the backtest as JSON, and trees as LightGBM's text."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = [part for part in self.parts if isinstance(part, Global | Local)]
        files = [part.save(folder) if isinstance(part, Global) else [] for part in kept]
        specs = [part.candidate.model_dump(mode="json") for part in kept]
        parts = [{"spec": spec, "files": names} for spec, names in zip(specs, files, strict=True)]
        document = {"format": FORMAT, "family": FAMILY, "name": self.name, "features": self.features}
        document |= {"setting": self.setting.to_json(), "parts": parts, "combine": self.combine}
        document |= {"croston": self.croston, "reconciler": self.reconciler, "last": self.last}
        write_json(folder / MODEL_FILE, document)
        (folder / EVIDENCE_FILE).write_text(json.dumps(_packed(self.rows), allow_nan=False) + "\n", encoding="utf-8")

    def _points(self, panel: Panel) -> tuple[Points, np.ndarray | None, Panel]:
        if self.reconciler is None:
            made = points.forecast(self.setting, panel, self.name, self.parts, self.combine)
            return made.choose(self.croston), None, panel
        above = reconcile.tree(self.setting, panel)
        wide = reconcile.widen(panel, above)
        base = points.forecast(self.setting, wide, self.name, self.parts, self.combine).choose(self.croston)
        errors = reconcile.error_table(self.rows, wide.ids)
        made, nodes = reconcile.spread_points(self.reconciler, self.setting, above, base, errors)
        return made, nodes, wide

    def _rows(self, panel: Panel, made: Points, level: np.ndarray | None = None) -> pd.DataFrame:
        horizon = self.setting.horizon
        deepest = len(self.setting.hierarchy) + 1 if self.setting.hierarchy else 0
        level = np.full(len(panel.ids), deepest) if level is None else level
        when = panel.times(panel.periods + np.arange(horizon), self.setting.frequency)
        said = [f"{m}; {n} missing period bridged" if n else m for m, n in zip(made.method, panel.bridged, strict=True)]
        return pd.DataFrame({
            "series": np.repeat(panel.ids, horizon),
            "level": np.repeat(level, horizon),
            "time": np.tile(when, len(panel.ids)),
            "step": np.tile(np.arange(1, horizon + 1), len(panel.ids)),
            "forecast": made.forecast.ravel(),
            "scale": np.repeat(backtest.scale(self.setting, panel), horizon),
            "kind": np.repeat(made.kind, horizon),
            "method": np.repeat(np.array(said, dtype=object), horizon),
        })  # fmt: skip

    def _scored(self, rows: pd.DataFrame) -> pd.DataFrame:
        made = self.intervals.apply(rows).rename(columns={"forecast": "score"})
        days = {time: label(time, self.setting.frequency) for time in made["time"].unique()}
        made["entity_key"] = made["series"].astype(str) + "@" + made["time"].map(days)
        quantiles = [intervals.column(level) for level in self.setting.quantiles]
        return made[
            ["entity_key", "series", "level", "time", "step", "score", *quantiles, "kind", "method", "dependence", "scale"]
        ]  # fmt: skip


def load(folder: Path) -> FittedForecaster:
    """Restore a saved forecaster; see `baton.families.load`."""
    document = read_json(folder, FAMILY)
    setting = Setting.from_json(document["setting"])
    parts: list[Forecaster] = []
    for one in document["parts"]:
        candidate = ForecasterSpec.model_validate(one["spec"])
        if candidate.estimator == points.GLOBAL:
            parts.append(Global.load(setting, candidate, folder, one["files"]))
        else:
            parts.append(Local(setting, candidate))
    rows = _unpacked(json.loads((folder / EVIDENCE_FILE).read_text(encoding="utf-8")))
    chosen = document["combine"], document["croston"], document["reconciler"], document["last"]
    return FittedForecaster(document["name"], setting, parts, *chosen, rows)


def bottom(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the series themselves."""
    return frame[frame["level"] == frame["level"].max()] if len(frame) else frame


def _packed(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns as JSON: texts as codes, times as nanoseconds, NaN as null. Floats keep every bit."""
    document: dict[str, Any] = {}
    for name, values in frame.items():
        kind = np.asarray(values).dtype.kind
        if kind == "O":
            code, words = pd.factorize(values)
            document[str(name)] = {"words": list(map(str, words)), "code": code.tolist()}
        elif kind == "M":
            code, times = pd.factorize(values)
            numbers = np.asarray(times, dtype="datetime64[ns]").astype(np.int64)
            document[str(name)] = {"times": numbers.tolist(), "code": code.tolist()}
        elif kind == "f":
            document[str(name)] = {"floats": [None if v != v else v for v in values.tolist()]}
        else:
            document[str(name)] = {"integers": values.tolist()}
    return document


def _unpacked(document: dict[str, Any]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, packed in document.items():
        if "words" in packed:
            columns[name] = np.array(packed["words"], dtype=object)[np.array(packed["code"], dtype=int)]
        elif "times" in packed:
            columns[name] = np.array(packed["times"], dtype="datetime64[ns]")[np.array(packed["code"], dtype=int)]
        elif "floats" in packed:
            columns[name] = np.array([np.nan if v is None else v for v in packed["floats"]], dtype=float)
        else:
            columns[name] = np.array(packed["integers"], dtype=int)
    return pd.DataFrame(columns)
