"""How differently a model treats declared groups of rows: Fairlearn's metrics per group, and the gap between them.

What is compared is the decision, not the score: a row is alerted or not, at the threshold that would be used. Groups in which the
metric counts few rows are listed and not judged: their rates are noise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from baton.errors import BatonError
from baton.specs.policy import FairnessSpec

MOST_GROUPS = 30
EMPTY = "(empty)"  # a row without a value is of this group, so that nobody is left out; in more brackets where that is a value


def by_groups(
    rule: FairnessSpec, frame: pd.DataFrame, y: np.ndarray, alerted: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Compare the groups of one rule.

    Args:
        frame: n rows with the rule's column.
        y: shape (n,), 0 or 1.
        alerted: decisions of shape (n,) by `challenger` and perhaps `champion`.

    Returns:
        name, column, metric, max_gap; groups: one dict per group with group, counted (rows that the metric counts), judged, and the
        metric of each model; gaps: by model the largest difference between judged groups, None with fewer than two.

    Raises:
        BatonError: the column is absent, or has too many values to be groups.
    """
    from fairlearn import metrics

    if rule.column not in frame.columns:
        raise BatonError(f"gate: fairness {rule.name!r} needs the column {rule.column!r}, which was not handed over")
    groups = _groups(rule, frame[rule.column])
    if (found := groups.nunique()) > MOST_GROUPS:
        raise BatonError(
            f"gate: fairness {rule.name!r}: the column {rule.column!r} has {found} values, at most {MOST_GROUPS} can be groups; "
            "cut a numeric column with `bins`, or name a column of groups"
        )
    counts = {
        "true_positive_rate": y == 1,
        "false_positive_rate": y == 0,
        "selection_rate": np.ones(len(y), dtype=bool),
    }
    counted = pd.Series(counts[rule.metric]).groupby(groups.to_numpy()).sum()
    judged = counted[counted >= rule.min_rows].index
    rates = {
        model: metrics.MetricFrame(
            metrics=getattr(metrics, rule.metric), y_true=y, y_pred=said.astype(int), sensitive_features=groups.to_numpy()
        ).by_group
        for model, said in alerted.items()
    }  # fmt: skip
    rows = [
        {"group": str(group), "counted": int(counted[group]), "judged": group in judged,
         **{model: _rate(values[group], int(counted[group])) for model, values in rates.items()}}
        for group in counted.index
    ]  # fmt: skip
    gaps = {
        model: float(values[judged].max() - values[judged].min()) if len(judged) > 1 else None
        for model, values in rates.items()
    }
    said = {"name": rule.name, "column": rule.column, "metric": rule.metric, "max_gap": rule.max_gap}
    return {**said, "min_rows": rule.min_rows, "groups": rows, "gaps": gaps}


def _groups(rule: FairnessSpec, column: pd.Series) -> pd.Series:
    """The group of each row, as a text."""
    if not rule.bins:
        texts, empty = column.astype(object).map(str), EMPTY
        while (texts == empty).any():
            empty = f"({empty})"
        return texts.where(column.notna(), empty)
    edges = [-np.inf, *rule.bins, np.inf]
    names = [f"below {rule.bins[0]:g}", *(f"{a:g} to {b:g}" for a, b in zip(rule.bins, rule.bins[1:], strict=False))]
    cut = pd.cut(column.astype(float), edges, right=False, labels=[*names, f"{rule.bins[-1]:g} and above"])
    return cut.astype(object).where(cut.notna(), EMPTY).map(str)


def _rate(value: Any, counted: int) -> float | None:
    return float(value) if counted else None
