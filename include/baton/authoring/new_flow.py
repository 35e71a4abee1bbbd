"""`baton new flow`: a DAG file with its decisions, contracts and late labels, which runs as it is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baton.authoring.files import check_name, cron_of, govern, render, write
from baton.errors import SpecError
from baton.packs.pack import Pack, open_pack
from baton.packs.spec_file import did_you_mean
from baton.specs.contract import ContractSpec
from baton.specs.forecast import ForecastSpec
from baton.specs.model import ModelSpec
from baton.specs.text import TextSpec

LABELS = "labels"  # source that a flow's late truth is read from, unless another is named
_UNTOUCHED = "  # recent: null"  # as `baton new model` leaves it


def new_flow(
    name: str, pack: str | Path, source: str, contract: str, models: list[str], folder: Path, labels: str = LABELS
) -> list[Path]:
    """Writes a flow: <folder>/<name>.py, <name>_labels.py, and in the pack its decisions and the contracts of what it makes.

    Models that learn from no flow yet learn from this one: `training.recent` of a file that `baton new model` wrote.

    Args:
        labels: source with the truth about earlier rows; without one of that name in the pack there is no flow for it.

    Returns:
        the files written or changed.

    Raises:
        SpecError: a name is no snake_case name, is unknown to the pack, or a file exists.
    """
    check_name("flow", name)
    found = open_pack(pack)
    rows, specs = found.contract(contract), [_model(found, model) for model in models]
    if not specs:
        raise SpecError("a flow needs at least one --model that scores its rows")
    if not folder.is_dir():
        raise SpecError(f"{folder} is no folder; say with --folder where the DAG files are")
    series = any(isinstance(spec, ForecastSpec) for spec in specs)
    if series and len(specs) > 1:
        raise SpecError(
            "a flow that forecasts has one model: its series go on alone; write another flow for the others"
        )
    package = found.package or found.folder.resolve().name
    values = {
        "name": name, "pack": found.name, "source": source, "contract": contract, "models": specs, "series": series,
        "cron": cron_of(found.source(source).step), "step": found.source(source).step_text, "steps": f"{package}.{name}_steps",
        "owner": specs[0].owner, "outputs": {spec.model: _output(spec) for spec in specs}, "entity": specs[0].data.entity,
        "targets": _targets(specs), "texts": [spec.model for spec in specs if isinstance(spec, TextSpec)],
        "money": next((one for spec in specs if (one := getattr(spec.data, "money", None))), None), "labels": labels,
    }  # fmt: skip
    files = {folder / f"{name}.py": render("flow.py.j2", **values)}
    files[found.folder / f"{name}_steps.py"] = render(f"{'series' if series else 'rows'}_steps.py.j2", **values)
    contracts = {f"{name}_decisions": "decisions.yaml.j2"} | dict.fromkeys(values["outputs"].values(), "scores.yaml.j2")
    if labels in found.sources and not series:
        files[folder / f"{name}_labels.py"] = render(
            "labels.py.j2",
            **values | {"step": found.source(labels).step_text, "cron": cron_of(found.source(labels).step)},
        )
        contracts[f"{name}_labels"] = "labels.yaml.j2"
    elif labels not in found.sources and labels != LABELS:
        found.source(labels)  # raises: names those that there are
    key = rows.columns[specs[0].data.entity].type if specs[0].data.entity in rows.columns else "str"
    for made, template in contracts.items():
        if made not in found.contracts:
            text = render(template, **values, made=made, key=key, kinds=_kinds(found, specs))
            files[found.folder / "contracts" / f"{made}.yaml"] = text
    written = write(files)
    uses = f"intended_use: Decide with {' and '.join(models)}"
    governed = govern(found.folder, found.name, "flow", name, uses)
    if folder / f"{name}_labels.py" in files:
        governed += govern(
            found.folder, found.name, "flow", f"{name}_labels", "intended_use: Take in what became known later"
        )
    for model in models:
        governed += govern(found.folder, found.name, "model", model, f"intended_use: Score for {name}", name)
    return [*written, *dict.fromkeys(governed), *_learn_from(name, found, models)]


def _model(pack: Pack, name: str) -> ModelSpec:
    if name not in pack.models:
        hint = did_you_mean(name, pack.models) or "."
        raise SpecError(f"pack {pack.name}: no model `{name}`{hint} There are: {', '.join(pack.models) or 'none'}.")
    return pack.models[name]


def _output(spec: ModelSpec) -> str:
    return "forecasts" if isinstance(spec, ForecastSpec) else "text_scores" if isinstance(spec, TextSpec) else "scores"


def _targets(specs: list[ModelSpec]) -> list[str]:
    return list(dict.fromkeys(spec.data.target for spec in specs if spec.data.target))


def _kinds(pack: Pack, specs: list[ModelSpec]) -> Mapping[str, str]:
    """Type of each target, as the contract of its training rows has it."""
    trained: dict[str, ContractSpec] = {
        s.data.target: pack.contract(s.training.contract) for s in specs if s.data.target
    }
    return {target: contract.columns[target].type for target, contract in trained.items()}


def _learn_from(flow: str, pack: Pack, models: list[str]) -> list[Path]:
    changed = []
    for path in (pack.folder / "models" / f"{model}.yaml" for model in models):
        before = path.read_text(encoding="utf-8")
        line: Any = next((line for line in before.splitlines() if line.startswith(_UNTOUCHED)), None)
        if line is not None:
            after = before.replace(line, line.replace(_UNTOUCHED, f"  recent: {{flow: {flow}, stage: contract}}", 1), 1)
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed
