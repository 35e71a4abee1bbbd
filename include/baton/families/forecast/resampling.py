"""Paired bootstrap over (series, origin) cases that depend on each other both ways.

Errors of one origin share what happened then, errors of one series share its nature. Series and origins are therefore both
drawn with replacement, and a case counts as often as the product says ("pigeonhole bootstrap", Owen 2007): a little
too wide rather than too narrow.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

CHUNK = 4_000_000  # numbers held at a time


@dataclass(frozen=True)
class ResampledFigures:
    """Figures of `resamples` resamples by model, each of shape (resamples,)."""

    by_model: dict[str, np.ndarray]

    def interval(self, confidence: float, model: str, other: str | None = None) -> tuple[float, float]:
        """Percentile interval of a model's figure, or of its difference to another's."""
        values = self.by_model[model] - (0.0 if other is None else self.by_model[other])
        low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)


def draw(cases: pd.DataFrame, models: dict[str, tuple[str, str]], resamples: int, seed: int) -> ResampledFigures:
    """Resample the ratio sum(top) / sum(bottom) of each model.

    Args:
        cases: one row per (series, origin): columns series, origin and those that `models` names.
        models: model -> its columns (top, bottom).
    """
    rng = np.random.default_rng(seed)
    row, rows = pd.factorize(cases["series"], sort=True)
    column, columns = pd.factorize(cases["origin"], sort=True)
    shape = (len(rows), len(columns))
    tables = {name: [_table(cases[one], row, column, shape) for one in pair] for name, pair in models.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in models}
    step = max(1, CHUNK // max(1, shape[0]))
    for begin in range(0, resamples, step):
        size = min(step, resamples - begin)
        by_row = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=size)
        by_column = rng.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), size=size)
        for name, (top, bottom) in tables.items():
            above, below = (((by_row @ table) * by_column).sum(axis=1) for table in (top, bottom))
            with np.errstate(invalid="ignore", divide="ignore"):
                parts[name].append(np.where(below > 0, above / below, np.nan))
    return ResampledFigures({name: np.concatenate(found) for name, found in parts.items()})


def _table(values: pd.Series, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    table = np.zeros(shape)
    np.add.at(table, (row, column), values.to_numpy(dtype=float))
    return table
