"""Values that `baton new model` puts into the files: those of a model spec and of its contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baton.authoring.column_types import in_ranges
from baton.errors import SpecError
from baton.specs.contract import expand_range
from baton.specs.source import Source

_CRONS = {"30m": "*/30 * * * *", "1h": "0 * * * *", "1d": "0 0 * * *", "7d": "0 0 * * 1"}
_WIDE = 8  # from so many features on, neighbours are written as a glob

CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "classification": [
        {
            "name": "logistic",
            "estimator": "sklearn.linear_model.LogisticRegression",
            "params": {"C": 1.0, "max_iter": 1000},
            "calibration": "sigmoid",
        },
        {
            "name": "boosting",
            "estimator": "lightgbm.LGBMClassifier",
            "params": {"n_estimators": 300, "learning_rate": 0.05, "num_leaves": 15},
            "calibration": "sigmoid",
        },
        {"name": "average", "ensemble": ["logistic", "boosting"]},
    ],
    "anomaly": [
        {
            "name": "isolation",
            "estimator": "sklearn.ensemble.IsolationForest",
            "params": {"n_estimators": 200},
        },
        {
            "name": "components",
            "estimator": "sklearn.decomposition.PCA",
            "params": {"n_components": 0.9},
        },
    ],
}


@dataclass(frozen=True)
class NewModel:
    """What `baton new model` is asked for; entity and time are found out from the rows when None.

    Attributes:
        pack: name of an installed pack, or the folder of any.
        source: source with `history`, the labelled rows that a first version learns from.
        scoring: with a DAG `<name>_score` of its own; False when a flow scores it.
    """

    name: str
    pack: str | Path
    family: str
    source: str
    target: str | None = None
    entity: str | None = None
    time: str | None = None
    money: str | None = None
    owner: str = "model-owners"
    scoring: bool = True


def model_values(
    asked: NewModel,
    source: Source,
    columns: Mapping[str, str],
    entity: str,
    time: str,
    training: str,
    rows: str,
) -> dict[str, Any]:
    """The model spec as plain values.

    Args:
        columns: type by column of the labelled rows.
        training: name of the contract of those rows.
        rows: name of the contract of the rows to score.

    Raises:
        SpecError: no numeric column is left as a feature.
    """
    never = {entity, time, asked.target}
    features = [name for name, kind in columns.items() if kind in ("int", "float", "bool") and name not in never]
    if not features:
        raise SpecError(f"source {asked.source}: no numeric column is left as a feature")
    label = asked.target or "an anomaly"
    values: dict[str, Any] = {
        "model": asked.name,
        "family": asked.family,
        "owner": asked.owner,
        "description": f"How likely {label} is for a row of {asked.source}; say for whom.",
        "data": {
            "entity": entity,
            "time": time,
            "target": asked.target,
            "features": _in_globs(features, columns),
            "money": asked.money,
        },
        "training": {
            "contract": training,
            "history": {"source": asked.source},
            "min_rows": 1000,
            "min_positives": 50 if asked.target else 0,
        },
        "candidates": CANDIDATES[asked.family],
        "validation": {"folds": 3, "scheme": "time", "metric": "average_precision"},
        "gate": {"metric": "average_precision", "min_positives": 20, "floor": 0.5},
        "approval": {"mode": "either", "timeout": "24h"},
        "drift": {
            "effect": 0.2,
            "persistence": {"k": 2, "n": 3},
            "cooldown": "6h",
            "budget": {"retrains": 3, "per": "7d"},
        },
        "schedules": {"train": "0 3 * * 1"},
    }
    if asked.money:
        values["gate"]["cost"] = {"missed": asked.money, "review": 5.0}
    if asked.scoring:
        values["schedules"]["score"] = _CRONS.get(source.step_text, "@daily")
        values["scoring"] = {"source": asked.source, "contract": rows}
    return values


def contract_values(asked: NewModel, name: str, columns: Mapping[str, tuple[str, bool]], key: str) -> dict[str, Any]:
    """A contract as plain values: the columns as found, and the rules that every table needs.

    Args:
        columns: type and whether there are empty cells, by column.
    """
    rules = [
        _rule(
            "expect_table_row_count_to_be_between",
            "rows_delivered",
            "ask for the delivery again",
            min_value=1,
        ),
        _rule(
            "expect_column_values_to_not_be_null",
            "key_missing",
            "find out the key, or discard the row",
            column=key,
        ),
        _rule("expect_column_values_to_be_unique", "key_duplicate", "correct a row, or discard it", column=key),
    ]
    rules[0]["severity"] = "critical"
    if asked.target in columns:
        in_set = "expect_column_values_to_be_in_set"
        rules.append(_rule(in_set, "label_unknown", "a label is 0 or 1", column=asked.target, value_set=[0, 1]))
    return {
        "contract": name,
        "version": 1,
        "owner": asked.owner,
        "description": f"Rows of {asked.source} for the model {asked.name}; say who delivers them.",
        "key": key,
        "columns": {
            column: {"type": kind, "nullable": True} if gaps else {"type": kind}
            for column, (kind, gaps) in in_ranges(columns).items()
        },
        "tolerated": 0.05,
        "expectations": rules,
    }


def _rule(expectation: str, short: str, advice: str, **kwargs: Any) -> dict[str, Any]:
    return {
        "type": expectation,
        "kwargs": kwargs,
        "severity": "warning",
        "meta": {"rule": short, "advice": advice},
    }


def _in_globs(features: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Writes v1 .. v28 as `v*` where that takes exactly the same columns."""
    if len(features) < _WIDE:
        return list(features)
    short: list[str] = []
    for name in in_ranges(dict.fromkeys(features, ("", False))):
        covered, head = expand_range(name), name.partition("{")[0]
        exact = len(covered) > 1 and covered == [column for column in columns if column.startswith(head)]
        short += [f"{head}*"] if exact else covered
    return short
