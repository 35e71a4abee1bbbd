"""Forests scored fast: the same trees and the same sums as LightGBM's and scikit-learn's own, in other steps.

A boosted model's trees are small and many. Each tree is a word of bits, one a leaf, from left to right. A split that sends a row
right rules out the leaves to its left; when all have spoken, the lowest bit left is the row's leaf (QuickScorer, Lucchese et
al. 2015). What all splits on one feature say of a value is one line of a table, so a row costs one look-up a feature in
place of a branch a node. The tables are arrays made from a loaded booster and gone with it: nothing is compiled or stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import lightgbm
import numpy as np
from scipy.special import expit

ROWS = 20_000  # from here on the tables cost less than they save
LEAVES = 64  # of one tree, at most: the bits of the widest word
BINNED, JUDGED = 1 << 15, 512  # rows at a time: what fits the second and the first cache

Made = TypeVar("Made")


@dataclass(frozen=True)
class Splits:
    """What all splits on one feature say.

    Attributes:
        column: of the matrix.
        thresholds: shape (m,), rising, each once.
        masks: shape (m + 2, trees): the bits that stay where k thresholds lie below the value, k = 0..m; last, of a null.
    """

    column: int
    thresholds: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Tables:
    """A boosted model as tables.

    Attributes:
        values: shape (trees, bits of a word), of each leaf.
    """

    features: list[Splits]
    values: np.ndarray


_KNOWN: WeakKeyDictionary[lightgbm.Booster, dict[Any, Any]] = WeakKeyDictionary()


def kept(booster: lightgbm.Booster, make: Callable[[dict[str, Any]], Made]) -> Made:
    """What is made of a dumped booster, once as long as it lives; what changes it later is not seen."""
    known = _KNOWN.setdefault(booster, {})
    if make not in known:
        known[make] = make(booster.dump_model())
    made: Made = known[make]
    return made


def boosted(booster: lightgbm.Booster, matrix: np.ndarray) -> np.ndarray:
    """`booster.predict(matrix)` on one thread, equal to 1e-12, in about a fifth of its time where rows and trees allow it.

    Args:
        booster: as it was loaded: what changes it later is not seen.
        matrix: float64, shape (rows, columns).
    """
    found, slope = kept(booster, tables) if len(matrix) >= ROWS else (None, 1.0)
    if found is None:
        return np.asarray(booster.predict(matrix, num_threads=1))
    return expit(slope * _sums(found, matrix))


def positives(forest: Any, matrix: np.ndarray) -> np.ndarray:
    """`forest.predict_proba(matrix)[:, 1]` of a fitted forest of scikit-learn's, equal to 1e-12, in about half
    its time where there are many rows.

    Raises:
        ValueError: the matrix holds what the forest does not take.
    """
    forest.estimators_[0].apply(matrix)  # raises; it alone, the others are asked without a check
    narrow = np.ascontiguousarray(matrix, dtype=np.float32)  # the type in which these trees compare
    order = _alike(forest, narrow) if len(matrix) >= ROWS else np.arange(len(matrix))
    narrow = narrow[order]
    total, given, result = np.zeros(len(matrix)), np.empty(len(matrix)), np.empty(len(matrix))
    for tree in forest.estimators_:
        share = tree.tree_.value[:, 0, 1] / tree.tree_.value[:, 0, :].sum(axis=1)
        total += np.take(share, tree.apply(narrow, check_input=False), out=given, mode="clip")
    result[order] = total / len(forest.estimators_)
    return result


def _alike(forest: Any, matrix: np.ndarray) -> np.ndarray:
    """An order of the rows that puts alike ones together: the processor then guesses most turns in a tree right."""
    key = np.zeros(len(matrix), dtype=np.uint16)
    for column in np.argsort(-forest.feature_importances_)[:3]:
        cells = np.ascontiguousarray(matrix[:, column])
        sample = np.sort(cells[:: max(1, len(cells) // 4096)])
        edges = sample[np.linspace(0, len(sample) - 1, 33).astype(int)[1:-1]]
        key = key * np.uint16(32) + np.searchsorted(edges, cells).astype(np.uint16)
    return np.argsort(key, kind="stable")


def tables(model: dict[str, Any]) -> tuple[Tables | None, float]:
    """Tables of a dumped booster and the slope of its link; None where a tree is large or splits in a way of its own."""
    name, _, slope = str(model.get("objective", "")).partition(" sigmoid:")
    trees = model["tree_info"]
    leaves = max((tree["num_leaves"] for tree in trees), default=0)
    if name != "binary" or not slope or not 0 < leaves <= LEAVES or model["average_output"]:
        return None, 1.0
    width = next(bits for bits in (8, 16, 32, 64) if leaves <= bits)
    values = np.zeros((len(trees), width))
    splits: dict[int, list[tuple[float, int, int, bool]]] = {}
    for number, tree in enumerate(trees):
        found: list[float] = []
        if not _walk(tree["tree_structure"], number, found, splits):
            return None, 1.0
        values[number, : len(found)] = found
    return Tables(by_feature(splits, len(trees), width), values), float(slope)


def _walk(node: dict[str, Any], tree: int, leaves: list[float], splits: dict[int, list[Any]]) -> bool:
    """Gather leaves from left to right, and splits as (threshold, tree, bits to the left, null goes left)."""
    if "split_index" not in node:
        leaves.append(node["leaf_value"])
        return "leaf_coeff" not in node  # a linear tree has a line in each leaf
    if not is_plain(node):
        return False
    first = len(leaves)
    if not _walk(node["left_child"], tree, leaves, splits):
        return False
    left = (1 << len(leaves)) - (1 << first)
    splits.setdefault(node["split_feature"], []).append((node["threshold"], tree, left, null_goes_left(node)))
    return _walk(node["right_child"], tree, leaves, splits)


def is_plain(node: dict[str, Any]) -> bool:
    """Whether a split of a dumped tree asks if a number is at most a threshold, or null."""
    return node["decision_type"] == "<=" and node["missing_type"] in ("None", "NaN")


def null_goes_left(node: dict[str, Any]) -> bool:
    """Where a plain split sends a null: without nulls in training LightGBM takes it for a zero."""
    return bool(node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0)


def by_feature(splits: dict[int, list[tuple[float, int, int, bool]]], trees: int, width: int) -> list[Splits]:
    """What all splits on each feature say.

    Args:
        splits: by column, each as threshold, tree, the bits of the tree that go where a row is sent to the right, and whether a null
            is sent left.
        width: bits of a tree's word.
    """
    return [_feature(column, splits[column], trees, width) for column in sorted(splits)]


def _feature(column: int, splits: list[tuple[float, int, int, bool]], trees: int, width: int) -> Splits:
    every = (1 << width) - 1
    thresholds = np.unique([threshold for threshold, *_ in splits])
    masks = np.full((len(thresholds) + 2, trees), every, np.dtype(f"uint{width}"))
    for threshold, tree, left, null_left in splits:
        right_from = int(np.searchsorted(thresholds, threshold)) + 1
        stays = masks.dtype.type(every & ~left)
        masks[right_from, tree] &= stays
        if not null_left:
            masks[-1, tree] &= stays
    np.bitwise_and.accumulate(masks[:-1], axis=0, out=masks[:-1])
    return Splits(column, thresholds, masks)


def _sums(model: Tables, matrix: np.ndarray) -> np.ndarray:
    """The sum of each row's leaves, shape (rows,)."""
    trees, width = model.values.shape
    kind = np.dtype(f"uint{width}")
    lowest = np.empty((JUDGED, trees), kind)
    at, value = np.empty((JUDGED, trees), np.intp), np.empty((JUDGED, trees))
    before, one = np.arange(trees) * width - 1, kind.type(1)
    result = np.empty(len(matrix))
    for rows, kept in answers(model.features, trees, kind, matrix):
        up_to, leaf, given = lowest[: len(kept)], at[: len(kept)], value[: len(kept)]
        np.bitwise_xor(kept, np.subtract(kept, one, out=up_to), out=up_to)  # ones up to the lowest bit
        np.add(np.bitwise_count(up_to), before, out=leaf)
        np.take(model.values, leaf, out=given, mode="clip")
        result[rows] = given.sum(axis=1)
    return result


def answers(
    features: list[Splits], trees: int, kind: np.dtype[Any], matrix: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """What is left of each tree's word once all features have spoken: rows, and their words of shape (rows, trees).

    The words are overwritten by the next rows'.
    """
    mask, other = np.empty((JUDGED, trees), kind), np.empty((JUDGED, trees), kind)
    for begin in range(0, len(matrix), BINNED):
        lines = [_lines(feature, matrix[begin : begin + BINNED]) for feature in features]
        end = min(begin + BINNED, len(matrix))
        for start in range(begin, end, JUDGED):
            rows = slice(start, min(start + JUDGED, end))
            here = slice(rows.start - begin, rows.stop - begin)
            kept, said = mask[: rows.stop - start], other[: rows.stop - start]
            kept.fill(~kind.type(0))
            for feature, line in zip(features, lines, strict=True):
                np.take(feature.masks, line[here], axis=0, out=said, mode="clip")  # `clip`: without a copy of `out`
                np.bitwise_and(kept, said, out=kept)
            yield rows, kept


def _lines(feature: Splits, matrix: np.ndarray) -> np.ndarray:
    """Which line of the feature's masks speaks of each row."""
    cells = np.ascontiguousarray(matrix[:, feature.column])
    line = np.searchsorted(feature.thresholds, cells)
    line[np.isnan(cells)] = len(feature.thresholds) + 1
    return line
