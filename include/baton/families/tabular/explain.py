"""Per-row contributions of features: which way, and how strongly, each one moved the score.

Trees of LightGBM: TreeSHAP in log-odds, as LightGBM itself computes it (`pred_contrib`), of many rows faster.
Linear models: coefficient times the standardised value, in log-odds.
Forests: along the path of a row through a tree, each split's change of the node's share of positives belongs to the
    feature it splits on; averaged over the trees. Contributions and the mean share at the roots add up to
    the score exactly (Saabas 2014; Palczewska et al. 2013, "Interpreting random forest classification models").
Histogram boosting: how far log-odds fall when the feature takes its training median (occlusion, one at a time).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from baton.families import shapley
from baton.families.base import Reasons
from baton.families.tabular.calibration import logit
from baton.families.tabular.estimators import EstimatorKind


def contributions(predictor: Any, kind: EstimatorKind, matrix: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return contributions of shape (rows, matrix columns), positive where they raise the score.

    Args:
        matrix: encoded rows, shape (rows, columns).
        baseline: an ordinary row, shape (columns,): the medians of training.
    """
    if kind.name == "boosting":
        return shapley.contributions(predictor, matrix)
    if kind.name == "linear":
        return predictor[0].transform(matrix) * predictor[-1].coef_[0]
    if kind.name == "forest":
        trees = predictor.estimators_
        return np.sum([_path(tree.tree_, matrix) for tree in trees], axis=0) / len(trees)
    if kind.name == "distance":  # the parts of the squared distance, which add up to it
        away = matrix - predictor.location_
        return away * (away @ predictor.get_precision())
    if kind.name == "mixture":  # the same, from the component that the row most likely belongs to
        nearest = predictor.predict(matrix)
        away = matrix - predictor.means_[nearest]
        return away * np.einsum("ij,ijk->ik", away, predictor.precisions_[nearest])
    return _occlusion(predictor, matrix, baseline)


def _path(tree: Any, matrix: np.ndarray) -> np.ndarray:
    """Contributions of one decision tree, shape of `matrix`."""
    rows = np.arange(len(matrix))
    values = matrix.astype(np.float32)  # the type in which the tree compares with its thresholds
    share = tree.value[:, 0, 1] / tree.value[:, 0, :].sum(axis=1)
    result = np.zeros(matrix.shape)
    node = np.zeros(len(matrix), dtype=np.intp)
    active = tree.children_left[node] >= 0
    while active.any():
        at, who = node[active], rows[active]
        feature = tree.feature[at]
        value = values[who, feature]
        left = np.where(np.isnan(value), tree.missing_go_to_left[at] == 1, value <= tree.threshold[at])
        following = np.where(left, tree.children_left[at], tree.children_right[at])
        result[who, feature] += share[following] - share[at]
        node[active] = following
        active = tree.children_left[node] >= 0
    return result


def _occlusion(predictor: Any, matrix: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    full = logit(predictor.predict_proba(matrix)[:, 1])
    result = np.empty(matrix.shape)
    for column in range(matrix.shape[1]):
        without = matrix.copy()
        without[:, column] = baseline[column]
        result[:, column] = full - logit(predictor.predict_proba(without)[:, 1])
    return result


def by_feature(columns: np.ndarray, owners: np.ndarray, features: int) -> np.ndarray:
    """Sum matrix columns that come from the same feature: shape (rows, features)."""
    result = np.zeros((len(columns), features))
    for column, owner in enumerate(owners):
        result[:, owner] += columns[:, column]
    return result


def shares(values: np.ndarray) -> np.ndarray:
    """Scale each row to absolute sum 1, so that members with different units can be averaged."""
    total = np.abs(values).sum(axis=1, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def strongest(values: np.ndarray, features: list[str], top: int) -> list[Reasons]:
    """Name the `top` largest contributions of each row, largest first; equal ones in the order of the features."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return [[(features[i], float(row[i])) for i in picks] for row, picks in zip(values, order, strict=True)]


def importance(
    fitted: Any, rows: pd.DataFrame, y: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], float], seed: int,
    at_most: int = 5000,
) -> dict[str, float]:  # fmt: skip
    """How much of the metric is lost where a feature's cells are dealt anew among the rows, largest first.

    Args:
        fitted: a `Scorer`; rows: n rows that it did not see; y: shape (n,), 0 or 1.
        at_most: of more rows all positives, and others drawn, so many together.
    """
    rng = np.random.default_rng(seed)
    drawn = np.arange(len(y))
    if len(y) > at_most:
        others = np.flatnonzero(y == 0)
        drawn = np.union1d(np.flatnonzero(y)[:at_most], rng.choice(others, min(len(others), at_most), replace=False))
    rows, y = rows.iloc[drawn].reset_index(drop=True), y[drawn]
    whole = metric(y, fitted.predict(rows).probability)
    lost = {}
    for name in fitted.features:
        dealt = rows.assign(**{name: rows[name].to_numpy()[rng.permutation(len(rows))]})
        lost[name] = float(whole - metric(y, fitted.predict(dealt.astype({name: rows[name].dtype})).probability))
    finite = {name: value for name, value in lost.items() if np.isfinite(value)}
    return dict(sorted(finite.items(), key=lambda one: -one[1]))
