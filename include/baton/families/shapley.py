"""Shapley values of small boosted trees, fast: LightGBM's own `pred_contrib`, the same sums in other steps.

A tree of at most nine leaves has at most eight splits, so what all of them say of a row is one byte. For each byte it is
computed once how the tree shares its value out among the features that it splits on (path-dependent TreeSHAP, Lundberg et al. 2020): where
the way to a leaf asks m features, one of them is worth, over all sets S of the others, the mean of what it adds to S in all orders; a
feature that is not in S lets through the share of the training rows that went that way. Then a row costs one look-up for a tree and a
feature of it, in place of a walk through the tree for each of its leaves.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import factorial
from typing import Any

import lightgbm
import numpy as np

from baton.families import trees
from baton.families.trees import Splits

ROWS = 1000  # from here on the tables cost less than they save, though they are made once for a booster
_BYTES = np.arange(256)
_ZERO, _MOST = float(np.float32(1e-35)), 1e300  # what is as near to zero is zero to LightGBM, and nothing is farther

# from the root: split, column, to the left, share of the node's rows that go there
Way = list[tuple[int, int, bool, float]]


@dataclass(frozen=True)
class Shares:
    """A boosted model's shares as tables.

    Attributes:
        splits: what they say of a row: bit n of a tree's byte is 1 where its split n sends the row to the left.
        trees: how many.
        columns: of the matrix, by its number: the trees that split on it, shape (t,), and its share of each of their values,
            shape (t, 256), by the tree's byte.
    """

    splits: list[Splits]
    trees: int
    columns: dict[int, tuple[np.ndarray, np.ndarray]]


def contributions(booster: lightgbm.Booster, matrix: np.ndarray) -> np.ndarray:
    """`booster.predict(matrix, pred_contrib=True)` without the last column, on one thread, equal to 1e-9.

    Args:
        booster: of one class; as it was loaded: what changes it later is not seen.
        matrix: float64, shape (rows, columns), finite or null.
    """
    # LightGBM says what is wrong with another number of columns; a repetition, of as many rows, says the same
    many = len(matrix) >= ROWS and matrix.shape[1] == booster.num_feature()
    found = trees.kept(booster, shares) if many else None
    if found is None:
        return np.asarray(booster.predict(matrix, pred_contrib=True, num_threads=1))[:, :-1]
    result, cells = np.zeros(matrix.shape), np.clip(np.where(np.abs(matrix) <= _ZERO, 0.0, matrix), -_MOST, _MOST)
    for rows, said in trees.answers(found.splits, found.trees, np.dtype(np.uint8), cells):
        for column, (which, table) in found.columns.items():
            at = said[:, which] + (np.arange(len(which)) * 256)
            result[rows, column] = np.take(table, at).sum(axis=1)
    return result


def shares(model: dict[str, Any]) -> Shares | None:
    """Tables of a dumped booster; None where a tree has more than nine leaves or splits in a way of its own."""
    if (
        model["average_output"]
        or model["num_tree_per_iteration"] != 1
        or any(tree["num_leaves"] > 9 for tree in model["tree_info"])
    ):
        return None
    splits: dict[int, list[tuple[float, int, int, bool]]] = {}
    columns: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for number, tree in enumerate(model["tree_info"]):
        leaves: list[tuple[float, Way]] = []
        if not _walk(tree["tree_structure"], number, [], leaves, splits):
            return None
        mine: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(256))
        for value, way in leaves:
            _share_out(value, way, mine)
        for column, table in mine.items():
            columns[column].append((number, table))
    many = len(model["tree_info"])
    made = {
        column: (np.array([number for number, _ in some]), np.stack([table for _, table in some]))
        for column, some in sorted(columns.items())
    }
    return Shares(trees.by_feature(splits, many, 8), many, made)


def _walk(
    node: dict[str, Any], tree: int, way: Way, leaves: list[tuple[float, Way]], splits: dict[int, list[Any]]
) -> bool:
    """Gather each leaf's value and way, and splits as (threshold, tree, its bit, null goes left); False: not of this kind."""
    if "split_index" not in node:
        leaves.append((node["leaf_value"], way))
        return "leaf_coeff" not in node
    if not trees.is_plain(node):
        return False
    split, column = node["split_index"], node["split_feature"]
    splits.setdefault(column, []).append((node["threshold"], tree, 1 << split, trees.null_goes_left(node)))
    return all(
        _walk(child, tree, [*way, (split, column, left, _rows(child) / _rows(node))], leaves, splits)
        for left, child in ((True, node["left_child"]), (False, node["right_child"]))
    )


def _rows(node: dict[str, Any]) -> int:
    return int(node["internal_count"] if "split_index" in node else node["leaf_count"])


def _share_out(value: float, way: Way, mine: dict[int, np.ndarray]) -> None:
    """Add what each feature on the way to a leaf has of the leaf's value, by the tree's byte."""
    asked: dict[int, np.ndarray] = defaultdict(lambda: np.ones(256, bool))  # whether a row passes all splits on it
    known: dict[int, float] = defaultdict(lambda: 1.0)  # share of the rows that do
    for split, column, left, share in way:
        asked[column] &= (_BYTES >> split & 1) == left
        known[column] *= share
    m = len(asked)
    for column in asked:
        # polynomial: its coefficient of degree s is the sum over the sets of s others that are known
        sums = np.zeros((m, 256))
        sums[0] = value
        for degree, other in enumerate((one for one in asked if one != column), 1):
            sums[1 : degree + 1] = sums[1 : degree + 1] * known[other] + sums[:degree] * asked[other]
            sums[0] *= known[other]
        orders = np.array([factorial(s) * factorial(m - s - 1) / factorial(m) for s in range(m)])
        mine[column] += orders @ sums * (asked[column] - known[column])
