"""Models that score the rows of a table, through their whole life: classification and anomaly detection.

The most recent rows, or a fixed share of the recent labelled ones, are held out; candidates are compared on
time-ordered folds of the rest, whose scores calibrate the winner; the gate judges on the held-out rows.
"""

import json
from datetime import timedelta
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from baton.data.identity import row_keys
from baton.data.partitions import HOUR, floor_times
from baton.drift import compare as drift
from baton.drift.performance import calibration, performance
from baton.errors import BatonError, ModelError
from baton.families.base import (
    REFITTED,
    Description,
    Evidence,
    Json,
    Leaderboard,
    OutOfFold,
    Rows,
    Tried,
    Watchable,
    Watched,
    unseen,
)
from baton.families.tabular import gate
from baton.families.tabular.explain import importance
from baton.families.tabular.learner import Learner, Scorer
from baton.families.tabular.metrics import METRICS, cheapest, losses
from baton.families.tabular.selection import balanced, rank, select
from baton.families.verdict import GateVerdict
from baton.specs.tabular import CandidateSpec, TabularSpec

HOLDOUT = "holdout"
EXPLAINED = 50  # rows


class Tabular:
    """The family of a learner; see `baton.families.base.Family` for what each method promises."""

    truth: Literal["labels", "rows"] = "labels"
    row_local = True

    def __init__(self, learner: Learner) -> None:
        """Take the way to learn."""
        self.learner, self.name = learner, learner.name

    def validate(
        self, spec: TabularSpec, candidate: CandidateSpec, frame: pd.DataFrame
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Returns columns row (position in the training part), fold, raw (uncalibrated score); none without labels."""
        rows, _ = split(spec, frame)
        if spec.data.target is None:
            return _no_scores(), {"seconds": 0.0}
        times, money = rows[spec.data.time].to_numpy(), _money(spec, rows)
        board = select(spec.model_copy(update={"candidates": (candidate,)}), _known(spec, rows), times, money)
        found, row = board.oof, board.rows[0]
        assert found is not None
        scores = pd.DataFrame({"row": found.rows, "fold": found.fold, "raw": found.raw[candidate.name]})
        return scores, {"metric": board.metric, **{key: row[key] for key in ("value", "spread", "seconds")}}

    def rank(self, spec: TabularSpec, frame: pd.DataFrame, found: Tried) -> Leaderboard:
        """Without labels there is nothing to rank by: the first candidate it is."""
        if spec.data.target is None:
            return Leaderboard(spec.validation.metric, spec.candidates[0].name)
        rows, _ = split(spec, frame)
        singles = [one.name for one in spec.candidates if one.estimator is not None]
        errors = {name: "could not be fitted; see its task's log" for name in singles if found[name].empty}
        labels = rows[spec.data.target].to_numpy().astype(int)
        return rank(spec, labels, out_of_fold(found), errors, _money(spec, rows))

    def fit(self, spec: TabularSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried) -> Scorer:
        """The winner on the training part; the held-out part stays unseen."""
        return self._fit(spec, split(spec, frame)[0], board, found)

    def _fit(self, spec: TabularSpec, rows: pd.DataFrame, board: Leaderboard, found: Tried) -> Scorer:
        winner = next(one for one in spec.candidates if one.name == board.best)
        oof = out_of_fold(found) if spec.data.target else None
        return self.learner.fit(spec, winner, _known(spec, rows), spec.training.seed, oof)

    def published(
        self, spec: TabularSpec, frame: pd.DataFrame, board: Leaderboard, found: Tried, judged: Scorer
    ) -> Scorer | None:
        """The winner on all rows, calibrated as the judged one; see `Family.published`."""
        rows, holdout = split(spec, frame)
        if not spec.training.refit or holdout.empty:
            return None
        if "_share" in holdout:  # a sample: each counts for the rows that it stands for, as those to learn from do
            holdout = holdout.assign(_weight=holdout["_weight"] / holdout["_share"])
        # behind the others, so that these keep the positions that the out-of-fold scores name
        return self._fit(spec, pd.concat([rows, holdout], ignore_index=True), board, found)

    def evaluate(self, spec: TabularSpec, fitted: Scorer, frame: pd.DataFrame) -> dict[str, float]:
        """Average precision and ROC AUC on the held-out rows."""
        _, holdout = split(spec, frame)
        if not spec.data.target or holdout.empty:
            return {}
        y, score = holdout[spec.data.target].to_numpy().astype(int), fitted.predict(holdout).probability
        values = {name: float(metric(y, score)) for name, metric in METRICS.items()}
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def evidence(self, spec: TabularSpec, fitted: Scorer, frame: pd.DataFrame) -> Evidence:
        """Held-out rows; what is said is the cheapest decision, and without a price as many alerts as there are positives."""
        _, holdout = split(spec, frame)
        if not spec.data.target or holdout.empty:
            return Evidence()
        y, p = holdout[spec.data.target].to_numpy().astype(int), fitted.predict(holdout).probability
        if spec.gate.cost is not None:
            threshold = cheapest(
                y, p, losses(spec.gate.cost, len(y), _money(spec, holdout)), spec.gate.cost.review
            ).threshold
        else:
            threshold = np.sort(p)[::-1][max(0, y.sum() - 1)] if y.any() else np.inf
        alerted = p >= threshold
        names = np.array([f"not {spec.data.target}", spec.data.target], dtype=object)
        cases = pd.DataFrame(
            {"truth": names[y], "said": names[alerted.astype(int)], "probability": np.where(alerted, p, 1 - p)}
        )
        metric = METRICS[spec.validation.metric]
        return Evidence(cases, importance=importance(fitted, holdout, y, metric, spec.training.seed))

    def seen(self, spec: TabularSpec, frame: pd.DataFrame, learnt_from: pd.DataFrame) -> np.ndarray:
        """Rows with the key of one that was learnt from."""
        rows = learnt_from if spec.training.refit else _cut(spec, learnt_from)[0]
        learnt = set(row_keys(rows, spec.data.key))
        return row_keys(frame, spec.data.key).isin(learnt).to_numpy()

    def judge(self, spec: TabularSpec, frame: pd.DataFrame, champion: Scorer | None, challenger: Scorer) -> GateVerdict:
        """Judge on the rows held out when the challenger was trained, but for those that the champion knows."""
        data = spec.data
        if data.target is None:
            raise BatonError(
                f"model {spec.model}: a gate needs labels to judge on; name data.target (it is not trained on)"
            )
        holdout, notes = unseen(split(spec, frame)[1])
        y = holdout[data.target].to_numpy().astype(int)
        scores = [None if model is None else _said(model, holdout) for model in (champion, challenger)]
        assert scores[1] is not None
        money, seed = _money(spec, holdout), spec.training.seed
        return gate.decide(spec.gate, y, scores[0], scores[1], money, holdout, seed=seed, notes=notes)

    def score(self, spec: TabularSpec, fitted: Scorer, data: pd.DataFrame, explain: float) -> pd.DataFrame:
        """Score is a probability or an anomaly quantile; the highest share `explain` of the rows gets reason codes.

        Of a model that declares sentences for them, at least `EXPLAINED` rows: two in a hundred of a small batch are hardly all
        that go against somebody.
        """
        scores = fitted.predict(data).probability
        reasons: np.ndarray = np.full(len(data), None, dtype=object)
        least = EXPLAINED if spec.reasons and explain else 0
        top = min(len(data), max(least, int(np.ceil(explain * len(data)))))
        if top:
            rows = np.argpartition(-scores, top - 1)[:top]
            for row, codes in zip(rows, fitted.explain(data.iloc[rows]), strict=True):
                reasons[row] = json.dumps([[feature, round(float(value), 4)] for feature, value in codes])
        made = pd.DataFrame({"entity_key": data[spec.data.entity].astype(str).to_numpy(), "score": scores})
        return made.assign(reasons=pd.Series(reasons, dtype=object), _row=data["_row"].to_numpy())

    def columns(self, spec: TabularSpec, fitted: Scorer) -> list[str]:
        """What it has learnt from, and the entity."""
        return list(dict.fromkeys([*fitted.features, spec.data.entity, "_row"]))

    def keys(self, spec: TabularSpec, data: pd.DataFrame) -> pd.Series:
        """The entity."""
        return data[spec.data.entity].astype(str)

    def reference(
        self, spec: TabularSpec, fitted: Scorer, frame: pd.DataFrame, metrics: dict[str, float], step: timedelta = HOUR
    ) -> dict[str, Any]:
        """Counts of all rows the version knows, partition by partition, and its scores of held-out rows.

        Scores of rows that it was fitted on are left out: it remembers them, so they are no picture of what it will say. One
        that has learnt all rows is not watched by its scores.
        """
        assert spec.drift is not None
        rows, holdout = split(spec, frame)
        data = pd.concat([rows, holdout], ignore_index=True)
        scores = None if spec.training.refit else np.full(len(data), np.nan)
        if scores is not None and len(holdout):
            scores[len(rows) :] = fitted.predict(holdout).probability
        windows = _windows(data, spec.data.time, step)
        counts = drift.reference(data, fitted.features, scores, windows=windows, min_rows=spec.drift.min_rows)
        return {**counts, "metrics": metrics}

    def watch(self, spec: TabularSpec, reference: Json, window: Watchable) -> Watched:
        """Features and scores against the training rows; the metric once enough labels are in.

        What is held beside some rows are counts, and of each row whose truth is known 16 bytes.
        """
        policy = spec.drift
        assert policy is not None
        counted, labelled, rows, heard = [], [], 0, 0
        for data, scored, truth in window:
            said = data[spec.data.entity].astype(str).map(scored.set_index("entity_key")["score"]).to_numpy()
            counted.append(drift.count(reference, data, said))
            value = scored["entity_key"].map(truth.set_index("entity_key")["value"]).to_numpy(dtype=float)
            known = ~np.isnan(value)
            labelled.append((value[known], scored["score"].to_numpy(dtype=float)[known]))
            rows, heard = rows + len(scored), heard + len(truth)
        table = drift.judged(reference, reduce(add, counted), policy)
        true, score = map(np.concatenate, zip(*labelled, strict=True))
        result = None
        expected = reference.get("metrics", {}).get(policy.performance.metric) if policy.performance else None
        if expected is not None and heard:
            result = performance(true, score, expected, policy.performance, of=rows)
        seen = calibration(score, true) if spec.data.target else []  # else no chances are said
        return Watched(table, result, int(true.sum()), seen)

    def describe(self, spec: TabularSpec, frame: pd.DataFrame) -> Description:
        """Rows and positives of the training part."""
        rows, _ = split(spec, frame)
        target = spec.data.target
        anomaly = spec.family == "anomaly"
        scored = "how unusual a row is, 0 to 1" if anomaly else "a probability of the positive label"
        limits = [
            "Judged on the most recent part of its data only; the drift monitor says when that is past.",
            "A person or a rule decides on a case; the score orders them.",
        ]
        if spec.training.refit:
            limits.append(REFITTED)
        if anomaly:
            limits.append("Trained without labels: unusual does not mean wrong.")
        counts = {"rows": len(rows), "positives": int(rows[target].sum()) if target else None}
        return Description(counts, f"Scores one row per {spec.data.entity}: {scored}.", limits)

    def example(self, spec: TabularSpec, fitted: Scorer, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Medians and most frequent values, and their score."""
        rows, _ = split(spec, frame)
        example = typical_row(rows[fitted.features])
        return example, pd.DataFrame({"score": fitted.predict(example).probability})

    def load(self, folder: Path) -> Scorer:
        """See `baton.families.load`."""
        return self.learner.load(folder)


def split(spec: TabularSpec, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training rows, held-out rows) of checked rows, each in order of time with a fresh index.

    Without held-out recent rows the most recent share of the history is held out; else all of the history trains.

    Raises:
        ModelError: fewer training rows or positives than the spec asks for.
    """
    train, holdout = _cut(spec, frame)
    _require_enough(spec, train)
    return train, holdout


def _cut(spec: TabularSpec, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = frame.sort_values(spec.data.time, kind="stable").reset_index(drop=True)
    part = frame["_part"].astype(object)
    history = (frame["_part"] == "").to_numpy().nonzero()[0]
    if not (part == HOLDOUT).any():
        part.iloc[history[round(len(history) * (1 - spec.training.holdout)) :]] = HOLDOUT
    train, holdout = (pd.DataFrame(frame[(part == HOLDOUT) == held]).reset_index(drop=True) for held in (False, True))
    return train, holdout


def _said(model: Scorer, rows: pd.DataFrame) -> np.ndarray:
    return model.predict(rows).probability if len(rows) else np.empty(0)


def _windows(data: pd.DataFrame, time: str, step: timedelta) -> pd.Series | None:
    """Start of each row's partition; of a history, which has none, the one that it would be in. None without times."""
    if not str(data[time].dtype).startswith("datetime"):
        return None
    own = pd.to_datetime(data["_partition"].replace("", None), utc=True, format="ISO8601")
    return own.fillna(floor_times(pd.to_datetime(data[time], utc=True), step))


def _require_enough(spec: TabularSpec, train: pd.DataFrame) -> None:
    positives = int(train[spec.data.target].sum()) if spec.data.target else 0
    if len(train) < spec.training.min_rows or (spec.data.target and positives < spec.training.min_positives):
        raise ModelError(
            f"model {spec.model}: {len(train)} training rows with {positives} positives; the spec asks for at least "
            f"{spec.training.min_rows} and {spec.training.min_positives}: wait for more labels or lower training.min_*"
        )


def _known(spec: TabularSpec, frame: pd.DataFrame) -> Rows:
    y = frame[spec.data.target].to_numpy() if spec.data.target else None
    weights = frame["_weight"].to_numpy()
    if spec.training.balance is not None and y is not None:
        weights = balanced(frame[spec.training.balance].to_numpy(dtype=object), y, weights)
    return Rows(frame, y, weights, frame["_share"].to_numpy() if "_share" in frame else None)


def _money(spec: TabularSpec, frame: pd.DataFrame) -> np.ndarray | None:
    return frame[spec.data.money].to_numpy() if spec.data.money else None


def out_of_fold(found: Tried) -> OutOfFold:
    """The candidates' scores, made in tasks of their own, side by side again."""
    usable = {name: frame for name, frame in found.items() if not frame.empty}
    if not usable:
        return OutOfFold(np.empty(0, int), np.empty(0, int), {})
    first = next(iter(usable.values()))
    raw = {name: frame["raw"].to_numpy() for name, frame in usable.items()}
    return OutOfFold(first["row"].to_numpy(), first["fold"].to_numpy(), raw)


def _no_scores() -> pd.DataFrame:
    return pd.DataFrame({"row": [0], "fold": [0], "raw": [0.0]})


def typical_row(frame: pd.DataFrame) -> pd.DataFrame:
    """One row of medians and most frequent values: MLflow shows its example to every reader, so it is nobody's row."""
    cells = {
        name: column.median()
        if pd.api.types.is_numeric_dtype(column) and column.dtype != bool
        else column.mode().iloc[0]
        for name, column in frame.items()
    }
    return pd.DataFrame([cells]).astype({name: frame[name].dtype for name in cells if frame[name].dtype.kind == "f"})
