"""Selection among a spec's candidates without a look at the holdout: folds in time order, or folds of whole kinds.

The rows are sorted by time. The first 40 % only train; the rest is cut into `folds` parts of equal size. Fold k is
judged by models trained on everything before it. Rows of one instant never sit on both sides of a cut.
Size is counted in training weight: after a drift the few recent rows weigh more, so the last cut falls among them and
candidates are judged on the new world by models that have seen some of it.
Where what comes next is of kinds that nobody has seen (attacks), validation by time promises too much: with the scheme `kinds`
each fold judges positive rows of kinds that its models had none of, beside negatives that they had not.
The scores of the folds serve twice: for the leaderboard, and as out-of-fold scores for calibration.
"""

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import ModelError
from baton.families.base import Leaderboard, OutOfFold, Rows, parts_of, ranked
from baton.families.tabular import classification
from baton.families.tabular.anomaly import Anomaly
from baton.families.tabular.classification import Classification
from baton.families.tabular.learner import Learner, feature_columns
from baton.families.tabular.metrics import METRICS, cheapest, losses
from baton.progress import told
from baton.specs.tabular import CandidateSpec, TabularSpec

FIRST_TRAINING = 0.4


def time_folds(t: np.ndarray, folds: int, weights: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, judge) positions of each fold; see the module's description.

    Args:
        t: shape (n,), event times or anything sortable.
        folds: number of folds.
        weights: shape (n,), training weights, not negative; None for equal ones.

    Raises:
        ModelError: too few distinct times for that many folds.
    """
    order = np.argsort(t, kind="stable")
    ordered = np.asarray(t)[order]
    size = np.cumsum(np.ones(len(order)) if weights is None else np.asarray(weights, dtype=float)[order])
    edges = [0]
    if len(order):
        cuts = np.linspace(FIRST_TRAINING, 1.0, folds + 1)[:-1] * size[-1]
        at = np.minimum(np.searchsorted(size, cuts, side="right"), len(order) - 1)
        # a cut falls on the first row of its instant; the last one is the end
        edges = [int(edge) for edge in np.searchsorted(ordered, ordered[at], side="left")] + [len(order)]
    if edges[0] == 0 or any(later <= earlier for earlier, later in pairwise(edges)):
        raise ModelError(f"{len(order)} rows hold too few distinct times for {folds} time-ordered folds")
    return [(order[:a], order[a:b]) for a, b in pairwise(edges)]


def kind_folds(kinds: np.ndarray, y: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, judge) positions of each fold: whole kinds of positives, and a share of all other rows at random.

    The kinds are dealt by size, largest first, forth and back, so that each fold has large and small ones; of fewer kinds than
    folds each is one.

    Args:
        kinds: shape (n,), kind of each positive row; null where it is not known. Of negatives it is not looked at.
        y: shape (n,), 0 or 1.

    Raises:
        ModelError: fewer than two kinds.
    """
    known = (y == 1) & ~pd.isna(kinds)
    names, counts = np.unique(kinds[known].astype(str), return_counts=True)
    if len(names) < 2:
        raise ModelError(
            f"{len(names)} kinds of positive rows: folds of kinds need two; name another column, or scheme: time"
        )
    folds = min(folds, len(names))
    ordered = names[np.lexsort((names, -counts))]
    dealt = [*range(folds), *reversed(range(folds))]
    fold_of = {name: dealt[position % len(dealt)] for position, name in enumerate(ordered)}
    fold = np.random.default_rng(seed).integers(0, folds, len(y))
    fold[known] = [fold_of[str(kind)] for kind in kinds[known]]
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def balanced(kinds: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weights, shape (n,), in which the positives of a kind weigh as the square root of their number; their sum stays.

    Positives of no known kind are a kind of their own.
    """
    made = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float).copy()
    at = np.flatnonzero(y == 1)
    if not len(at):
        return made
    names = np.where(pd.isna(kinds[at]), "", kinds[at].astype(str))
    _, number, counts = np.unique(names, return_inverse=True, return_counts=True)
    lighter = made[at] / np.sqrt(counts[number])
    made[at] = lighter * (made[at].sum() / lighter.sum())
    return made


def select(spec: TabularSpec, rows: Rows, t: np.ndarray, money: np.ndarray | None = None) -> Leaderboard:
    """Rank the spec's candidates on folds of the training part, by time or by kinds.

    Args:
        rows: training rows (never the holdout); without labels only for a single candidate. Their weights also set the
            folds' sizes, the judging is unweighted.
        t: shape (n,), event times.
        money: shape (n,), amounts in currency units, for the cost column.

    Raises:
        ModelError: no candidate could be judged; the message holds every candidate's reason.
    """
    if rows.y is None:
        if len(spec.candidates) != 1:
            raise ModelError(f"model {spec.model}: without labels there is no way to choose; give one candidate")
        return Leaderboard(spec.validation.metric, spec.candidates[0].name)
    labels = np.asarray(rows.y).astype(int)
    validation = spec.validation
    if validation.kinds is not None:
        kinds = rows.frame[validation.kinds].to_numpy(dtype=object)
        folds = kind_folds(kinds, labels, validation.folds, spec.training.seed)
    else:
        folds = time_folds(t, validation.folds, rows.weights)
    oof, seconds, errors = _out_of_fold(spec, replace(rows, y=labels), folds)
    board = rank(spec, labels, oof, errors, money)
    for row in board.rows:
        row["seconds"] = round(seconds.get(row["candidate"], 0.0), 2)
    return board


def rank(
    spec: TabularSpec, labels: np.ndarray, oof: OutOfFold, errors: dict[str, str], money: np.ndarray | None
) -> Leaderboard:
    """Rank candidates, ensembles included, by out-of-fold scores that may come from several processes.

    Args:
        labels: shape (n,), 0 or 1, of the whole training frame.
        oof: raw scores of every single candidate on the same rows and folds.
        errors: candidate to the reason why it has no scores.
        money: shape (n,).

    Raises:
        ModelError: no candidate could be judged.
    """

    def judge(candidate: CandidateSpec) -> dict[str, Any]:
        parts = parts_of(spec.candidates, candidate)
        if failed := [part.name for part in parts if part.name in errors]:
            raise ModelError(errors[failed[0]])
        return _judge(spec, labels, oof, classification.blend(candidate, parts, oof, labels), money)

    return ranked(spec.validation.metric, spec.candidates, judge, errors=False, oof=oof)


def _out_of_fold(
    spec: TabularSpec, rows: Rows, folds: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[OutOfFold, dict[str, float], dict[str, str]]:
    maker = learner(spec.family)
    features = feature_columns(spec, rows.frame)
    known = rows if maker.supervised else Rows(rows.frame, None, rows.weights)  # labels judge, they never teach it
    judged = np.concatenate([judge for _, judge in folds])
    number = np.concatenate([np.full(len(judge), k) for k, (_, judge) in enumerate(folds)])
    raw: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    for candidate in (c for c in spec.candidates if not c.ensemble):
        started = time.perf_counter()
        parts = []
        try:
            for learn, judge in told(folds, f"candidate {candidate.name}", "folds"):
                model = maker.fit_raw(candidate, features, known.take(learn), spec.training.seed)
                parts.append(model.raw(rows.frame.iloc[judge]))
            raw[candidate.name] = np.concatenate(parts)
        except ModelError as error:
            errors[candidate.name] = str(error)
        seconds[candidate.name] = time.perf_counter() - started
    return OutOfFold(judged, number, raw), seconds, errors


def _judge(
    spec: TabularSpec, y: np.ndarray, oof: OutOfFold, score: np.ndarray, money: np.ndarray | None
) -> dict[str, Any]:
    values, costs = [], []
    for k in np.unique(oof.fold):
        at = oof.rows[oof.fold == k]
        labels, judged = y[at], score[oof.fold == k]
        if not np.isfinite(judged).all():
            raise ModelError(f"its scores of fold {k + 1} are not finite")
        value = METRICS[spec.validation.metric](labels, judged)
        if np.isfinite(value):  # a fold without positives judges nobody
            values.append(value)
        if spec.gate.cost is not None:
            loss = losses(spec.gate.cost, len(at), None if money is None else np.asarray(money)[at])
            costs.append(cheapest(labels, judged, loss, spec.gate.cost.review).total / len(at))
    if not values:
        raise ModelError("no validation fold holds both classes")
    figures = {"value": float(np.mean(values)), "spread": float(np.std(values)), "folds": [float(v) for v in values]}
    return {**figures, "cost": float(np.mean(costs)) if costs else None}


def learner(name: str) -> Learner:
    """Return the way to learn of a family of tables.

    Raises:
        ModelError: no such way; the message lists those there are.
    """
    if name == "classification":
        return Classification()
    if name == "anomaly":
        return Anomaly()
    raise ModelError(f"learner {name!r} does not exist; there are: anomaly, classification")
