"""`baton new`: writes a model with its contracts, or a whole pack, as commented YAML that passes lint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baton.column_types import column_types, in_ranges
from baton.commented_yaml import commented
from baton.errors import SpecError
from baton.lint import lint
from baton.packs import Pack, load_pack, packs, read_pack
from baton.sources import sample
from baton.spec_files import did_you_mean
from baton.specs import ContractSpec, ModelSpec, expand_range
from baton.specs_base import format_duration

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CRONS = {"30m": "*/30 * * * *", "1h": "0 * * * *", "1d": "0 0 * * *", "7d": "0 0 * * 1"}

CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "classification": [
        {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression",
         "params": {"C": 1.0, "max_iter": 1000}, "calibration": "sigmoid"},
        {"name": "boosting", "estimator": "lightgbm.LGBMClassifier",
         "params": {"n_estimators": 300, "learning_rate": 0.05, "num_leaves": 15}, "calibration": "sigmoid"},
        {"name": "average", "ensemble": ["logistic", "boosting"]},
    ],
    "anomaly": [
        {"name": "isolation", "estimator": "sklearn.ensemble.IsolationForest", "params": {"n_estimators": 200}},
        {"name": "components", "estimator": "sklearn.decomposition.PCA", "params": {"n_components": 0.9}},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class NewModel:
    """What `baton new model` is asked for; None is found out from the rows of the source."""

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


def new_model(asked: NewModel) -> list[Path]:
    """Writes models/<name>.yaml and the contracts of its rows, <name>_training.yaml and <name>_rows.yaml.

    Columns and their types come from rows of the source.

    Returns:
        the files written.

    Raises:
        SpecError: a name is taken or unknown, or a column cannot be found out; says what to give.
        SourceError: the source has no rows to look at yet.
    """
    pack = _open(asked.pack)
    _check_names(asked, pack)
    found = column_types(sample(pack, asked.source))
    columns = {name: kind for name, (kind, _) in found.items()}
    entity = asked.entity or _entity(columns)
    time = asked.time or _only(columns, "timestamp", "--time")
    for flag, column in (
        ("--target", asked.target),
        ("--entity", entity),
        ("--time", time),
        ("--money", asked.money),
    ):
        if column is not None and column not in columns:
            hint = did_you_mean(column, columns)
            raise SpecError(f"{flag} {column}: the source {asked.source} has no such column{hint} It has: "
                            + ", ".join(columns))  # fmt: skip
    rows = {name: kind for name, kind in found.items() if name != asked.target}
    training = f"{asked.name}_training"
    contract = f"{asked.name}_rows" if asked.scoring else None
    files = {Path("contracts") / f"{training}.yaml": _contract(asked, training, found, entity)}
    if contract is not None:
        files[Path("contracts") / f"{contract}.yaml"] = _contract(asked, contract, rows, entity)
    values = _model(asked, pack, columns, entity, time, training, contract)
    head = f"# Made by `baton new model {asked.name}`. What is behind a # is the default.\n"
    files[Path("models") / f"{asked.name}.yaml"] = head + "\n".join(commented(ModelSpec, values)) + "\n"
    return _write(pack.folder, files)


def new_pack(name: str, into: Path) -> list[Path]:
    """Writes a pack that can be installed: <into>/<name>/ with pyproject.toml and the package baton_<name>.

    Raises:
        SpecError: the name is no Python name, is taken, or the folder exists.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"pack name {name!r}: lower case, digits and underscores, starting with a letter")
    if name in packs():
        raise SpecError(f"a pack `{name}` is installed already")
    root = into / name
    if root.exists():
        raise SpecError(f"{root} exists already")
    package = Path(f"baton_{name}")
    texts = Path(__file__).parent / "templates" / "pack"
    files = {
        Path(target): (texts / source).read_text(encoding="utf-8").replace("{{ name }}", name)
        for target, source in {
            "pyproject.toml": "pyproject.toml.txt",
            str(package / "__init__.py"): "init.py.txt",
            str(package / "sources.yaml"): "sources.yaml.txt",
            str(package / "steps.py"): "steps.py.txt",
            str(package / "README.md"): "README.md.txt",
        }.items()
    }
    written = []
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        written.append(root / path)
    for part in ("models", "contracts"):
        (root / package / part).mkdir()
    return written


def _open(pack: str | Path) -> Pack:
    if isinstance(pack, Path):
        if not pack.is_dir():
            raise SpecError(f"{pack}: no such folder")
        return read_pack(pack.name, pack)
    return load_pack(pack)


def _check_names(asked: NewModel, pack: Pack) -> None:
    if not _NAME.fullmatch(asked.name):
        raise SpecError(
            f"model name {asked.name!r}: lower case, digits and underscores, starting with a letter"
        )
    if asked.name in pack.models:
        raise SpecError(f"pack {pack.name} has a model `{asked.name}` already")
    if asked.family not in CANDIDATES:
        hint = did_you_mean(asked.family, CANDIDATES)
        raise SpecError(f"no family `{asked.family}`{hint} There are: {', '.join(CANDIDATES)}")
    if asked.family == "classification" and asked.target is None:
        raise SpecError("a classification model needs --target, its 0/1 label column")
    if not getattr(pack.source(asked.source), "history", None):
        raise SpecError(
            f"source {asked.source} has no `history`: a first version needs rows from before to learn from"
        )


def _entity(columns: Mapping[str, str]) -> str:
    named = [c for c, kind in columns.items() if kind in ("int", "str") and (c == "id" or c.endswith("_id"))]
    if len(named) != 1:
        raise SpecError(
            f"which column identifies a row? Give --entity; candidates: {', '.join(named or columns)}"
        )
    return named[0]


def _only(columns: Mapping[str, str], kind: str, flag: str) -> str:
    fitting = [column for column, found in columns.items() if found == kind]
    if len(fitting) != 1:
        raise SpecError(
            f"give {flag}: {len(fitting)} columns are of type {kind} ({', '.join(fitting) or 'none'})"
        )
    return fitting[0]


def _model(
    asked: NewModel,
    pack: Pack,
    columns: Mapping[str, str],
    entity: str,
    time: str,
    training: str,
    contract: str | None,
) -> dict[str, Any]:
    source = pack.source(asked.source)
    never = {entity, time, asked.target}
    features = [
        name for name, kind in columns.items() if kind in ("int", "float", "bool") and name not in never
    ]
    if not features:
        raise SpecError(f"source {asked.source}: no numeric column is left as a feature")
    label = asked.target or "an anomaly"
    values: dict[str, Any] = {
        "model": asked.name,
        "family": asked.family,
        "owner": asked.owner,
        "description": f"Says of each row of {asked.source} how likely {label} is (write more).",
        "data": {
            "entity": entity,
            "time": time,
            "target": asked.target,
            "features": features,
            "money": asked.money,
        },
        "training": {"contract": training, "min_rows": 1000, "min_positives": 50 if asked.target else 0},
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
    if contract is not None:
        values["schedules"]["score"] = _CRONS.get(format_duration(source.step), "@daily")
        values["scoring"] = {"source": asked.source, "contract": contract}
    return values


def _in_globs(features: list[str], columns: Mapping[str, str]) -> list[str]:
    """Writes v1..v28 as `v*`, where that takes exactly the same columns."""
    short: list[str] = []
    for name in in_ranges({feature: ("", False) for feature in features}):
        head, ranged, _ = name.partition("{")
        covered = expand_range(name) if ranged else []
        short += (
            [f"{head}*"] if covered == [c for c in columns if c.startswith(head)] != [] else covered or [name]
        )
    return short


def _contract(asked: NewModel, name: str, columns: Mapping[str, tuple[str, bool]], key: str) -> str:
    def rule(kind: str, short: str, advice: str, severity: str = "warning", **kwargs: Any) -> dict[str, Any]:
        return {
            "type": kind,
            "kwargs": kwargs,
            "severity": severity,
            "meta": {"rule": short, "advice": advice},
        }

    rules = [
        rule("expect_table_row_count_to_be_between", "rows_delivered", "ask for the delivery again", "critical",
             min_value=1),
        rule("expect_column_values_to_not_be_null", "key_missing", "find out the key, or discard the row", column=key),
        rule("expect_column_values_to_be_unique", "key_duplicate", "correct one of the rows, or discard it", column=key),
    ]  # fmt: skip
    if asked.target in columns:
        rules.append(rule("expect_column_values_to_be_in_set", "label_unknown", "a label is 0 or 1", column=asked.target,
                          value_set=[0, 1]))  # fmt: skip
    values = {
        "contract": name,
        "version": 1,
        "owner": asked.owner,
        "description": f"Rows of {asked.source} for the model {asked.name} (say who delivers them)",
        "key": key,
        "columns": {
            column: {"type": kind, **({"nullable": True} if gaps else {})}
            for column, (kind, gaps) in in_ranges(columns).items()
        },
        "tolerated": 0.05,
        "expectations": rules,
    }
    head = f"# Made by `baton new model {asked.name}` from rows of {asked.source}: add what you know of the columns.\n"
    return head + "\n".join(commented(ContractSpec, values)) + "\n"


def _write(folder: Path, files: Mapping[Path, str]) -> list[Path]:
    """Writes new files into a pack; nothing is left behind when they do not pass lint."""
    paths = {folder / name: text for name, text in files.items()}
    taken = [str(path) for path in paths if path.exists()]
    if taken:
        raise SpecError(f"{', '.join(taken)}: exists already")
    try:
        for path, text in paths.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        problems = lint(list(paths))
    except BaseException:
        _remove(paths)
        raise
    if problems:
        _remove(paths)
        raise SpecError("what was asked for does not pass lint:\n" + "\n".join(map(str, problems)))
    return list(paths)


def _remove(paths: Mapping[Path, str]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
