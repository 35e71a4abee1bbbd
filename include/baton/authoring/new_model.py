"""`baton new`: writes a model with its contracts, or a whole pack, as commented YAML that passes lint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baton.authoring.column_types import column_types
from baton.authoring.commented_yaml import commented
from baton.authoring.lint import lint
from baton.authoring.values import CANDIDATES, NewModel, contract_values, model_values
from baton.errors import SpecError
from baton.packs.pack import Pack, load_pack, packs, read_pack
from baton.packs.spec_file import did_you_mean
from baton.sources.reading import sample
from baton.specs.base import Spec
from baton.specs.contract import ContractSpec
from baton.specs.tabular import TabularSpec

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


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
    for flag, column in {"target": asked.target, "entity": entity, "time": time, "money": asked.money}.items():
        if column is not None and column not in columns:
            hint = did_you_mean(column, columns)
            raise SpecError(
                f"--{flag} {column}: no such column in {asked.source}{hint} There are: {', '.join(columns)}"
            )
    training, rows = f"{asked.name}_training", f"{asked.name}_rows"
    values = model_values(asked, pack.source(asked.source), columns, entity, time, training, rows)
    files: dict[str, tuple[type[Spec], dict[str, Any]]] = {f"models/{asked.name}.yaml": (TabularSpec, values)}
    files[f"contracts/{training}.yaml"] = (ContractSpec, contract_values(asked, training, found, entity))
    if asked.scoring:  # rows to score come without the label
        unlabelled = {name: kind for name, kind in found.items() if name != asked.target}
        files[f"contracts/{rows}.yaml"] = (ContractSpec, contract_values(asked, rows, unlabelled, entity))
    head = f"# Made by `baton new model {asked.name}`; behind a # stands the default or an explanation."
    texts = {Path(name): "\n".join([head, *commented(*spec), ""]) for name, spec in files.items()}
    return _write(pack.folder, texts)


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
        raise SpecError(f"model name {asked.name!r}: lower case, digits and underscores, starting with a letter")
    if asked.name in pack.models:
        raise SpecError(f"pack {pack.name} has a model `{asked.name}` already")
    if asked.family not in CANDIDATES:
        hint = did_you_mean(asked.family, CANDIDATES)
        raise SpecError(f"no family `{asked.family}`{hint} There are: {', '.join(CANDIDATES)}")
    if asked.family == "classification" and asked.target is None:
        raise SpecError("a classification model needs --target, its 0/1 label column")
    if not getattr(pack.source(asked.source), "history", None):
        raise SpecError(f"source {asked.source} has no `history`: a first version needs rows from before to learn from")


def _entity(columns: Mapping[str, str]) -> str:
    named = [c for c, kind in columns.items() if kind in ("int", "str") and (c == "id" or c.endswith("_id"))]
    if len(named) != 1:
        raise SpecError(f"which column identifies a row? Give --entity; candidates: {', '.join(named or columns)}")
    return named[0]


def _only(columns: Mapping[str, str], kind: str, flag: str) -> str:
    fitting = [column for column, found in columns.items() if found == kind]
    if len(fitting) != 1:
        raise SpecError(f"give {flag}: {len(fitting)} columns are of type {kind} ({', '.join(fitting) or 'none'})")
    return fitting[0]


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
