"""`baton new`: writes a model with its contracts, a flow, or a whole pack from templates; models pass lint."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baton.authoring.column_types import column_types, in_ranges
from baton.authoring.lint import lint
from baton.errors import SpecError
from baton.packs.pack import Pack, load_pack, packs, read_pack
from baton.packs.spec_file import did_you_mean
from baton.sources.reading import sample
from baton.specs.contract import expand_range

FAMILIES = ("classification", "anomaly")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CRONS = {"30m": "*/30 * * * *", "1h": "0 * * * *", "1d": "0 0 * * *", "7d": "0 0 * * 1"}
_WIDE = 8  # from so many features on, neighbours are written as a glob


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


def new_model(asked: NewModel) -> list[Path]:
    """Writes models/<name>.yaml and the contracts of its rows, <name>_training.yaml and <name>_rows.yaml.

    Columns and their types come from rows of the source.

    Returns:
        the files written.

    Raises:
        SpecError: a name is taken or unknown, a column cannot be found out, or none is left as a feature; says what to give.
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
    never = {entity, time, asked.target}
    features = [name for name, kind in columns.items() if kind in ("int", "float", "bool") and name not in never]
    if not features:
        raise SpecError(f"source {asked.source}: no numeric column is left as a feature")
    cron = _CRONS.get(pack.source(asked.source).step_text, "@daily")
    values = asdict(asked) | {"model": asked.name, "entity": entity, "time": time, "cron": cron}
    texts = {f"models/{asked.name}.yaml": _text("tabular.yaml.j2", **values, features=_in_globs(features, columns))}
    # rows to score come without the label
    for part, without in (("training", None), ("rows", asked.target))[: 1 + asked.scoring]:
        kept, name = {c: found[c] for c in found if c != without}, f"{asked.name}_{part}"
        more = {"contract": name, "columns": in_ranges(kept), "labelled": asked.target in kept}
        texts[f"contracts/{name}.yaml"] = _text("contract.yaml.j2", **values, **more)
    return _write(pack.folder, texts)


def new_flow(name: str, pack: str, source: str, contract: str, models: list[str], folder: Path) -> Path:
    """Writes `<folder>/<name>.py`, a readable flow in one file.

    Raises:
        SpecError: a name is no snake_case name, is unknown to the pack, or the file exists.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"flow name {name!r}: lower case, digits and underscores, starting with a letter")
    found = load_pack(pack)
    step = found.source(source).step_text
    found.contract(contract)
    for model in models:
        if model not in found.models:
            raise SpecError(f"pack {pack}: no model `{model}`. There are: {', '.join(found.models) or 'none'}.")
    path = folder / f"{name}.py"
    if path.exists():
        raise SpecError(f"{path} exists already")
    if not folder.is_dir():
        raise SpecError(f"{folder} is no folder; say with --folder where the DAG files are")
    values = {"cron": _CRONS.get(step, "0 * * * *"), "step": step, "contract": contract, "models": models}
    owner = found.models[models[0]].owner if models else "data-engineering"
    text = _text("flow.py.j2", name=name, pack=pack, source=source, owner=owner, **values)
    path.write_text(text, encoding="utf-8")
    return path


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
    package = f"baton_{name}"
    written = []
    for file in ("pyproject.toml", "__init__.py", "sources.yaml", "steps.py", "README.md"):
        path = root / file if file == "pyproject.toml" else root / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(f"pack/{file.replace('__', '')}.txt", name=name), encoding="utf-8")
        written.append(path)
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
    if asked.family not in FAMILIES:
        hint = did_you_mean(asked.family, FAMILIES)
        raise SpecError(f"no family `{asked.family}`{hint} There are: {', '.join(FAMILIES)}")
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


def _text(template: str, **values: Any) -> str:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    files = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)  # noqa: S701 - no HTML
    files.filters["yaml"] = _inline
    return files.get_template(template).render(values)


def _inline(value: Any) -> str:
    """One value on one line, as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
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
