"""`baton new model`: YAML to start from; what is written passes lint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.authoring import roles
from baton.authoring.column_types import column_types, in_ranges
from baton.authoring.commented import commented
from baton.authoring.files import check_name, cron_of, govern, render, write
from baton.authoring.profile import Learnt
from baton.errors import SpecError
from baton.names import CONTRACT, scoring_of
from baton.packs.pack import Pack, open_pack
from baton.packs.spec_file import did_you_mean
from baton.sources.reading import sample
from baton.specs.forecast import ForecastSpec
from baton.specs.model import ModelSpec
from baton.specs.tabular import TabularSpec
from baton.specs.text import TextSpec

if TYPE_CHECKING:
    import pandas as pd

FAMILIES: dict[str, type[ModelSpec]] = {
    "classification": TabularSpec, "anomaly": TabularSpec, "text": TextSpec, "forecast": ForecastSpec,
}  # fmt: skip
_TARGETS = {
    "classification": "its 0/1 label column", "anomaly": "the 0/1 label column that its gate judges by (nothing is trained on it)",
    "text": "the column with a text's class", "forecast": "the column with the quantity",
}  # fmt: skip
_CANDIDATES = {
    "classification": [
        "- name: logistic",
        "  estimator: sklearn.linear_model.LogisticRegression",
        "  params: {C: 1.0, max_iter: 1000}",
        "  calibration: sigmoid",
        "- name: boosting",
        "  estimator: lightgbm.LGBMClassifier",
        "  params: {n_estimators: 300, learning_rate: 0.05, num_leaves: 15}",
        "  calibration: sigmoid",
        "- {name: average, ensemble: [logistic, boosting]}",
    ],
    "anomaly": [
        "- {name: isolation, estimator: sklearn.ensemble.IsolationForest, params: {n_estimators: 200}}",
        "- {name: components, estimator: sklearn.decomposition.PCA, params: {n_components: 0.9}}",
    ],
    "text": [
        "- {name: words, estimator: sklearn.linear_model.LogisticRegression, params: {C: 10.0, max_iter: 300}}",
        "- {name: words_svm, estimator: sklearn.svm.LinearSVC, params: {C: 0.5}}",
        "- {name: letters, estimator: sklearn.svm.LinearSVC, words: null, letters: [2, 5], params: {C: 0.5}}",
        "- {name: blend, ensemble: [words_svm, letters]}",
        "# by meaning, with a sentence encoder that `baton data PACK` fetches (100 MB); better where texts are short:",
        "# - {name: meaning, estimator: sklearn.svm.LinearSVC, features: embeddings}",
    ],
    "forecast": [
        "- {name: seasonal_naive, estimator: statsforecast.models.SeasonalNaive}",
        "- {name: ets, estimator: statsforecast.models.AutoETS}",
        "- name: boosting  # one model of all series",
        "  estimator: lightgbm.LGBMRegressor",
        "  params: {n_estimators: 150, learning_rate: 0.08, num_leaves: 6, min_child_samples: 5}",
        "  features: {lags: LAGS, rolling: [[1, 4]], scale: mean}",
        "- {name: robust, ensemble: [seasonal_naive, ets, boosting]}",
    ],
}


@dataclass(frozen=True)
class RowNotes:
    """What is known of the rows beyond their types: columns of personal data, rules learnt from the values."""

    personal: tuple[str, ...] = ()
    rules: tuple[Learnt, ...] = ()


@dataclass(frozen=True)
class NewModel:
    """What `baton new model` is asked for; entity, time and text are found out from the rows when None or empty.

    Attributes:
        pack: name of an installed pack, or the folder of any.
        source: source with `history`, the rows with known truth that a first version learns from.
        scoring: with a DAG `<name>_score` of its own; False when a flow scores it.
        rows: with a contract of the rows to score; False where another model's serves.
        about: goes into the contracts.
    """

    name: str
    pack: str | Path
    family: str
    source: str
    target: str | None = None
    entity: str | None = None
    time: str | None = None
    text: tuple[str, ...] = ()
    money: str | None = None
    owner: str = "model-owners"
    scoring: bool = True
    rows: bool = True
    about: RowNotes = RowNotes()


def new_model(asked: NewModel) -> list[Path]:
    """Writes models/<name>.yaml and the contracts of its rows, <name>_training.yaml and <name>_rows.yaml.

    Columns and their types come from rows of the source.

    Returns:
        the files written.

    Raises:
        SpecError: a name is taken or unknown, a column cannot be found out, or none is left as a feature; says what to give.
        SourceError: the source has no rows to look at yet.
    """
    pack = open_pack(asked.pack)
    _check(asked, pack)
    frame = sample(pack, asked.source)
    found = column_types(frame)
    given = {"target": asked.target, "entity": asked.entity, "time": asked.time, "money": asked.money}
    for flag, column in [*given.items(), *(("text", column) for column in asked.text)]:
        if column is not None and column not in found:
            hint = did_you_mean(column, found)
            raise SpecError(f"--{flag} {column}: no such column in {asked.source}{hint} There are: {', '.join(found)}")
    time = asked.time or roles.time(frame, found)
    data, left_out = _data(asked, frame, found, time)
    cron = cron_of(pack.source(asked.source).step)
    text = commented(FAMILIES[asked.family], _values(asked, data, found, frame, cron))
    if left_out:  # said where a reader asks
        text = text.replace(
            "\n  features: ", f"\n  # no features, they only name something: {', '.join(left_out)}\n  features: "
        )
    head = f"# Made by `baton new model {asked.name}`; behind a # stands the default or an explanation.\n"
    texts = {f"models/{asked.name}.yaml": head + text}
    forecast = asked.family == "forecast"
    values: dict[str, Any] = {
        "model": asked.name,
        "owner": asked.owner,
        "source": asked.source,
        "time": time,
        "target": asked.target,
    }
    values["key"] = [data["entity"], time] if forecast else [data["entity"]]
    # rows to score come without the truth, but for series: a forecast starts from what was
    parts = (("training", None), ("rows", None if forecast else asked.target))
    for part, without in parts if asked.rows else parts[:1]:
        kept = {c: found[c] for c in found if c != without}
        more = {"columns": in_ranges(kept), "of_partition": part == "rows", "contract": f"{asked.name}_{part}"}
        more["about"] = asked.about
        more["labelled"] = part == "training" and FAMILIES[asked.family] is TabularSpec
        texts[f"contracts/{asked.name}_{part}.yaml"] = render("contract.yaml.j2", **values, **more)
    written = write({pack.folder / name: text for name, text in texts.items()})
    says = f"intended_use: {json.dumps(f'Say what {asked.target} is')}, consumers: []"
    return [*written, *govern(pack.folder, pack.name, "model", asked.name, says)]


def _check(asked: NewModel, pack: Pack) -> None:
    check_name("model", asked.name)
    if asked.name in pack.models:
        raise SpecError(f"pack {pack.name} has a model `{asked.name}` already")
    if asked.family not in FAMILIES:
        hint = did_you_mean(asked.family, FAMILIES)
        raise SpecError(f"no family `{asked.family}`{hint} There are: {', '.join(FAMILIES)}")
    if asked.target is None:
        raise SpecError(f"a model of the family {asked.family} needs --target, {_TARGETS[asked.family]}")
    if not getattr(pack.source(asked.source), "history", None):
        raise SpecError(f"source {asked.source} has no `history`: a first version needs rows from before to learn from")


def _data(
    asked: NewModel, frame: pd.DataFrame, found: roles.ColumnKinds, time: str
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """The field `data` of the spec, and what was left out of the features because it only names something."""
    if asked.family == "forecast":
        entity = asked.entity or roles.series(frame, found, time, [asked.target])
        found_periods = roles.periods(frame, entity, time)
        parts = {
            "entity": entity,
            "time": time,
            "target": asked.target,
            "frequency": found_periods.frequency,
            "seasons": [found_periods.season],
        }
        return parts | ({"floor": None} if roles.may_be_negative(frame[asked.target]) else {}), []
    entity = asked.entity or roles.entity(frame, found, [asked.target, time])
    parts = {"entity": entity, "time": time, "target": asked.target}
    if asked.family == "text":
        return parts | {"text": list(asked.text) or roles.texts(frame, found, [entity, time, asked.target])}, []
    features, left_out = roles.features(frame, found, [entity, time, asked.target])
    if not features:
        raise SpecError(f"source {asked.source}: no numeric column is left as a feature")
    return parts | {"features": features, "money": asked.money}, left_out


def _values(
    asked: NewModel, data: Mapping[str, Any], found: roles.ColumnKinds, frame: pd.DataFrame, cron: str
) -> dict[str, Any]:  # fmt: skip
    """What the model's YAML says beyond the defaults."""
    forecast, tabular = asked.family == "forecast", FAMILIES[asked.family] is TabularSpec
    training: dict[str, Any] = {"contract": f"{asked.name}_training", "history": {"source": asked.source}}
    training["min_rows"] = min(1000, max(100, len(frame) // 2))
    gate: dict[str, Any] = {"metric": "average_precision", "min_positives": 20, "floor": 0.5}
    if asked.money:
        gate["cost"] = {"missed": asked.money, "review": 5.0}
    drift: dict[str, Any] = {"persistence": {"k": 2, "n": 3}, "cooldown": "6h", "budget": {"retrains": 3, "per": "7d"}}
    values: dict[str, Any] = {
        "model": asked.name, "family": asked.family, "owner": asked.owner, "data": data, "training": training,
        "candidates": _CANDIDATES[asked.family], "approval": {"mode": "either", "timeout": "24h"}, "gate": gate,
        "drift": drift, "schedules": {"train": "0 3 * * 1"} | ({"score": cron} if asked.scoring else {}),
    }  # fmt: skip
    if tabular:
        share = roles.positives(frame[asked.target]) / max(1, len(frame))
        # chance reaches the share of positives; an anomaly model, which has seen no label, promises nothing
        gate["floor"] = 0.0 if asked.family == "anomaly" else min(0.5, round(share + 0.1 * (1 - share), 2))
        training["min_positives"], drift["effect"] = min(50, max(10, roles.positives(frame[asked.target]) // 4)), 0.2
        values["validation"] = {"folds": 3, "scheme": "time", "metric": "average_precision"}
        what = f"How likely {asked.target} is for a row of {asked.source}; say for whom."
        values["description"] = (
            what if asked.family == "classification" else f"How unusual a row of {asked.source} is; say for whom."
        )
    elif forecast:
        seen = roles.periods(frame, data["entity"], data["time"])
        lags = [1, 2] if seen.season == 1 else [1, 2, seen.season]
        values["candidates"] = [line.replace("LAGS", str(lags)) for line in _CANDIDATES["forecast"]]
        values |= {"horizon": seen.horizon, "validation": {"origins": seen.origins, "step": 1, "metric": "mase"}}
        values["gate"] = {"metric": "mase", "ceiling": 1.0, "min_cases": 20}
        values["description"] = (
            f"{asked.target} of each {data['entity']} in the next {seen.horizon} periods; say for whom."
        )
        drift["cooldown"] = "4w" if data["frequency"].startswith("W") else "7d"
        if asked.scoring:  # a forecast starts from all that was; a flow that scores it stands here instead
            training["recent"] = {"flow": scoring_of(asked.name), "stage": CONTRACT}
    else:
        training["min_per_class"] = 8
        values |= {"validation": {"folds": 4, "metric": "accuracy"}, "reject": {"max_false_rejects": 0.04}}
        values["gate"] = {"metric": "accuracy", "min_cases": 50, "floor": 0.5}
        values["description"] = f"Which {asked.target} a text of {asked.source} has, or none for sure; say for whom."
    if asked.scoring:
        values["scoring"] = {"source": asked.source, "contract": f"{asked.name}_rows"}
    return values
