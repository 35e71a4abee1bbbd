"""`baton lint`: every mistake in a pack's YAML and in its flows by file, line and field, with what is allowed.

First each file for itself (`baton.packs.spec_file`), then what only shows across files: names that refer to
nothing, features that the contract does not have, expectations and arguments that GX does not know, parameters that an
estimator does not take, and what a flow's DAG file wires (`baton.authoring.flow_files`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from baton import names
from baton.authoring import flow_files
from baton.authoring.flow_files import FlowFile, read_flows
from baton.contracts.expectations import COLUMN_ARGUMENTS, known_expectations
from baton.errors import SpecError
from baton.families import parameters
from baton.governance import mistakes
from baton.governance.assets import inventory
from baton.packs.demos import has_demo
from baton.packs.own_checks import own_files, own_problems
from baton.packs.pack import SINGLE, find_pack, pack_folder, packs, read_folder
from baton.packs.spec_file import Problem, SpecFile, did_you_mean
from baton.packs.yaml_marks import Loc
from baton.settings import settings
from baton.sources.files import fill, neighbours
from baton.specs.contract import PLACEHOLDERS, ContractSpec, ExpectationSpec, is_moment
from baton.specs.model import ESTIMATORS, NUMERIC, ModelSpec, NamedColumn
from baton.specs.source import FileSource, RecordedSource
from baton.specs.tabular import TabularSpec

Problems = Iterator[Problem]
Flows = Mapping[str, set[str]] | None  # names of their stages by DAG id; None: there are no DAG files to read


def lint(paths: Sequence[Path | str] = ()) -> list[Problem]:
    """Checks packs and the flows in the project's `dags`: all installed ones, or the given ones.

    Args:
        paths: packs by name or folder (checked with their flows), DAG files and folders of such, or single YAML files
            (checked with their pack, reported alone).

    Returns:
        the mistakes, by file and line, and what this machine lacks (`Problem.note`); empty when all is well.

    Raises:
        SpecError: a path does not exist or is no part of a pack.
    """
    wanted: list[Sequence[Path | str]] = [_scripts(Path(path)) or [path] for path in paths]
    scripts = [Path(path) for group in wanted for path in group if str(path).endswith(".py")]
    others = [path for group in wanted for path in group if not str(path).endswith(".py")]
    named = [_pack_of(path) for path in others] or [(name, pack_folder(name)) for name in packs()]
    ours = [flow for path in sorted((settings().project / "dags").glob("*.py")) for flow in read_flows(path)]
    flows = ours + [flow for path in scripts for flow in read_flows(path)]
    stages = {flow.flow: flow.stages() for flow in flows if flow.flow} if flows else None
    problems: list[Problem] = []
    owners: dict[str, list[SpecFile]] = defaultdict(list)
    folders: dict[str, _Folder] = {}
    for name, path in dict(named).items():
        folders[name] = folder = _Folder.read(name, path)
        for model, file in folder.models.items():
            owners[model].append(file)
    if stages is not None:
        alone = {names.INGEST, names.CONTRACT, names.HISTORY, names.PUBLISH}
        stages |= {names.scoring_of(model): {*alone, names.score_of(model)} for model in owners}
    for folder in folders.values():
        problems += folder.problems(stages)
        problems += folder.governance_problems(flows, stages)
    for flow in flows:
        if flow.pack in folders:
            problems += folders[flow.pack].flow_problems(flow, stages or {})
        elif flow.pack and flow.pack not in packs():
            message = f"no pack `{flow.pack}` is installed{did_you_mean(flow.pack, packs())}"
            problems.append(flow.problem(flow.head.line, "pack", message, packs()))
    for name, files in owners.items():
        for file in files[1:]:
            message = f"`{name}` is the name of another model, in {files[0].path}: the registry has one name"
            problems.append(file.problem(("model",), message))
    chosen = {str(path) for path in [*others, *scripts] if Path(path).is_file()}
    if chosen:
        whole = [
            str(folders[name].path) for path, (name, _) in zip(others, named, strict=False) if str(path) not in chosen
        ]
        problems = [p for p in problems if p.file in chosen or any(p.file.startswith(f"{w}/") for w in whole)]
    return sorted(set(problems))


def _scripts(path: Path) -> list[Path]:
    """The DAG files of a folder that holds nothing else of Baton's."""
    found = sorted(path.glob("*.py")) if path.is_dir() and not (path / "sources.yaml").exists() else []
    return [one for one in found if read_flows(one)]


def _pack_of(path: Path | str) -> tuple[str, Path]:
    if str(path) in packs():
        return find_pack(path)
    path = Path(path)
    if not path.exists():
        raise SpecError(f"{path}: does not exist, and no pack of that name is installed{did_you_mean(path, packs())}")
    folder = path if path.is_dir() else path.parent
    return find_pack(folder.parent if folder.name in ("models", "contracts") else folder)


@dataclass
class _Folder:
    """One pack's files by kind and name; a file with mistakes exists, so that one mistake stays one line."""

    name: str
    path: Path
    files: list[SpecFile]
    models: dict[str, SpecFile] = field(default_factory=dict)
    contracts: dict[str, SpecFile] = field(default_factory=dict)
    sources: SpecFile | None = None
    tools: SpecFile | None = None
    actions: SpecFile | None = None
    governance: SpecFile | None = None

    @classmethod
    def read(cls, name: str, path: Path) -> Self:
        folder = cls(name, path, read_folder(path))
        for file in folder.files:
            if file.kind == "model":
                folder.models[file.path.stem] = file
            elif file.kind == "contract":
                folder.contracts[file.path.stem] = file
            elif file.kind in ("sources", "tools", "actions", "governance"):
                setattr(folder, file.kind, file)
        return folder

    def problems(self, flows: Flows) -> Problems:
        for file in self.files:
            yield from file.problems
        read = own_files(self.name, self.path)
        for stray in sorted([*self.path.rglob("*.yml"), *self.path.glob("*.yaml")]):
            single = [f"{kind}.yaml" for kind in SINGLE]
            if (stray.suffix == ".yml" or stray.name not in single) and stray not in read:
                where = f"models/NAME.yaml, contracts/NAME.yaml, {', '.join(single)}"
                yield Problem(str(stray), 1, "", "is read by nobody: rename or move it", where)
        for file in self.contracts.values():
            if isinstance(file.spec, ContractSpec):
                yield from _contract_problems(file, file.spec)
        if self.sources is not None and self.sources.spec is not None:
            yield from _source_problems(self.sources)
        for file in self.models.values():
            if isinstance(file.spec, ModelSpec):
                yield from self._model_problems(file, file.spec)
                yield from _recent_problems(file, file.spec, flows)
        for file in self.files:
            if file.kind == "budgets" and file.spec is not None and flows is not None:
                yield from _budget_problems(file, flows)
        yield from self._missing_histories()
        yield from own_problems(self.name, self.path)

    def governance_problems(self, flows: Sequence[FlowFile], stages: Flows) -> Problems:
        """What `governance.yaml` says of what is not there, and of whom it says nothing; `flows` may be of any pack."""
        uses = {one.flow: one.scores_with() for one in flows if one.flow and one.pack == self.name}
        sources = self.sources.marked.data if self.sources is not None else {}
        declared = self.actions.marked.data if self.actions is not None else {}
        effects = declared.get("actions") if isinstance(declared, dict) else ()
        named = [one if isinstance(one, dict) else () for one in (sources, effects)]  # also of a file with mistakes
        has = inventory(self.path, self.models, self.contracts, *named)
        yield from mistakes.problems(self.path, self.governance, has, uses if stages is not None else None, stages)

    def flow_problems(self, flow: FlowFile, flows: Mapping[str, Any]) -> Problems:
        """What a flow of this pack names that the pack does not have."""
        read = self.sources.spec.root if self.sources is not None and self.sources.spec is not None else {}
        stated = self.sources.marked.data if self.sources is not None else {}
        sources = {name: read.get(name) for name in stated} if isinstance(stated, dict) else read
        tools = self.tools.marked.data if self.tools is not None else {}
        yield from flow_files.problems(
            flow, self.models, self.contracts, sources, flows, tools if isinstance(tools, dict) else {}
        )
        yield from self._fallback_problems(flow)

    def _fallback_problems(self, flow: FlowFile) -> Problems:
        """Scores of a fallback have version 0, which the contract of the scores must take, or the fallback is none."""
        for call in flow.calls:
            contract = self._contract(call.word("output_contract", "scores")) if call.word("fallback") else None
            if contract is None:
                continue
            for one in contract.expectations:
                low = one.kwargs.get("min_value")
                if one.kwargs.get("column") == "version" and isinstance(low, int | float) and low > 0:
                    message = f"`{one.meta.rule}` of contract {contract.contract} refuses version 0, which scores of a fallback have"
                    yield flow.problem(call.line, "fallback", message, ["min_value: 0"])

    def _missing_histories(self) -> Problems:
        """Rows that a model learns from and that this machine does not have; no mistake of whoever wrote the YAML."""
        if self.sources is None or self.sources.spec is None or has_demo(self.name):
            return
        specs = [file.spec for file in self.models.values() if isinstance(file.spec, ModelSpec)]
        for name in sorted({spec.training.history.source for spec in specs if spec.training.history is not None}):
            source = self.sources.spec.root.get(name)
            if isinstance(source, RecordedSource) and source.history is not None:
                place = fill(source.model_copy(update={"folder": str(self.path)}), source.history)
                if "://" not in place and not Path(place).exists():
                    near = neighbours(place)
                    message = f"there is no {place}: put the rows to learn from there"
                    hint = did_you_mean(Path(place).name, near)
                    yield replace(
                        self.sources.problem((name, "history"), message + hint, ", ".join(near[:10])), note=True
                    )

    def _model_problems(self, file: SpecFile, spec: ModelSpec) -> Problems:
        yield from self._references(file, spec)
        training = self._contract(spec.training.contract)
        if training is not None:
            yield from _column_problems(file, spec, training, with_target=True)
        if spec.scoring is not None and spec.scoring.contract != spec.training.contract:
            scoring = self._contract(spec.scoring.contract)
            if scoring is not None:
                yield from _column_problems(file, spec, scoring, with_target=False)
        yield from _parameter_problems(file, spec)

    def _contract(self, name: str) -> ContractSpec | None:
        file = self.contracts.get(name)
        return file.spec if file is not None else None

    def _references(self, file: SpecFile, spec: ModelSpec) -> Problems:
        """Contracts and sources that a model names must be in its pack."""
        contracts: list[tuple[Loc, str | None]] = [(("training", "contract"), spec.training.contract)]
        sources: list[tuple[Loc, str]] = []
        if spec.training.history is not None:
            sources.append((("training", "history", "source"), spec.training.history.source))
        if spec.scoring is not None:
            sources.append((("scoring", "source"), spec.scoring.source))
            contracts += [(("scoring", part), getattr(spec.scoring, part)) for part in ("contract", "output")]
        for loc, contract in contracts:
            if contract is not None and contract not in self.contracts:
                yield _unknown(file, loc, "contract", contract, self.contracts)
        if self.sources is None and sources:
            yield file.problem(sources[0][0], "the pack has no sources.yaml")
        elif self.sources is not None and self.sources.spec is not None:
            known = self.sources.spec.root
            for loc, source in sources:
                if source not in known:
                    yield _unknown(file, loc, "source", source, known)
                elif loc[1] == "history" and not getattr(known[source], "history", None):
                    with_history = [name for name, s in known.items() if getattr(s, "history", None)]
                    message = f"source `{source}` has no `history` to train on"
                    yield file.problem(loc, message, ", ".join(with_history))


def _recent_problems(file: SpecFile, spec: ModelSpec, flows: Flows) -> Problems:
    """The flow whose rows a model learns from, and the stage that made them."""
    recent = spec.training.recent
    if recent is None or flows is None:
        return
    if recent.flow not in flows:
        yield _unknown(file, ("training", "recent", "flow"), "flow", recent.flow, sorted(flows))
    elif recent.stage not in flows[recent.flow]:
        what, known = f"stage of flow {recent.flow} is called", sorted(flows[recent.flow])
        yield _unknown(file, ("training", "recent", "stage"), what, recent.stage, known)


def _unknown(file: SpecFile, loc: Loc, what: str, name: str, known: Iterable[str]) -> Problem:
    return file.problem(loc, f"no {what} `{name}`{did_you_mean(name, known)}", ", ".join(known) or "none yet")


def _column_problems(file: SpecFile, spec: ModelSpec, contract: ContractSpec, *, with_target: bool) -> Problems:
    """Columns that a model names must be in the contract of its rows, with a type that fits their part."""
    named = [(loc, name, types) for loc, name, types in spec.named_columns(training=with_target)]
    if isinstance(spec, TabularSpec):
        yield from _feature_problems(file, spec, contract, named)
    for loc, name, types in named:
        if name is None:
            continue
        if name not in contract.columns:
            message = f"contract {contract.contract} has no column `{name}`{did_you_mean(name, contract.columns)}"
            yield file.problem(loc, message, _columns_of(contract, types))
        elif contract.columns[name].type not in types:
            message = f"column `{name}` is {contract.columns[name].type} in contract {contract.contract}"
            yield file.problem(loc, message, " or ".join(types))


def _feature_problems(file: SpecFile, spec: TabularSpec, contract: ContractSpec, named: list[NamedColumn]) -> Problems:
    """Writes feature globs out; what they match is added to `named`. A text may be a feature where it is named, a category."""
    if spec.data.target is None:
        message = (
            "without labels its gate has nothing to judge by, so no version is ever promoted; nothing is trained on it"
        )
        yield file.problem(("data", "target"), message, "the 0/1 label column of the training rows")
    for position, pattern in enumerate(spec.data.features):
        one = spec.data.model_copy(update={"features": (pattern,)})
        try:
            columns = spec.model_copy(update={"data": one}).features(contract)
        except ValueError:
            message = f"`{pattern}` matches no column of contract {contract.contract}"
            hint = did_you_mean(pattern, contract.columns)
            yield file.problem(("data", "features", position), message + hint, _columns_of(contract, NUMERIC))
            continue
        kinds = (*NUMERIC, "str") if pattern in contract.columns else NUMERIC
        named += [(("data", "features", position), column, kinds) for column in columns]
        if spec.data.target in columns:
            yield file.problem(("data", "features", position), f"`{spec.data.target}` is the target itself")
        if silent := spec.unexplained(columns):
            yield file.problem(
                ("reasons",), f"no sentence is about the feature `{silent[0]}`", "a reason whose features match it"
            )


def _columns_of(contract: ContractSpec, types: Sequence[str]) -> str:
    fitting = [name for name, column in contract.columns.items() if column.type in types]
    return ", ".join(fitting[:40]) + (", ..." if len(fitting) > 40 else "")


def _parameter_problems(file: SpecFile, spec: ModelSpec) -> Problems:
    """What an estimator would refuse of its arguments, or ignore."""
    for position, candidate in enumerate(spec.candidates):
        if candidate.estimator is None:
            continue
        loc: Loc = ("candidates", position, "params")
        yield from _argument_problems(file, loc, candidate.estimator, candidate.params)
        trend = candidate.params.get("trend_forecaster")  # another estimator, by name or with its own params
        if isinstance(trend, str | dict):
            inner: dict[str, Any] = {"estimator": trend} if isinstance(trend, str) else trend
            path = str(inner.get("estimator"))
            path = path if "." in path else f"statsforecast.models.{path}"
            if spec.family not in ESTIMATORS.get(path, ()) or not path.startswith("statsforecast"):
                allowed = [known for known in ESTIMATORS if known.startswith("statsforecast")]
                message = f"`{path}` is no one-series model of the allow-list{did_you_mean(path, allowed)}"
                yield file.problem((*loc, "trend_forecaster"), message, ", ".join(allowed))
            else:
                yield from _argument_problems(file, (*loc, "trend_forecaster"), path, inner.get("params") or {})


def _argument_problems(file: SpecFile, loc: Loc, path: str, params: Mapping[str, Any]) -> Problems:
    for argument, message, allowed in parameters.mistakes(path, params):
        hint = did_you_mean(argument, allowed.split(", ")) if "no argument" in message else ""
        yield file.problem((*loc, argument) if argument in params else loc, message + hint, allowed)


def _budget_problems(file: SpecFile, flows: Mapping[str, set[str]]) -> Problems:
    """A budget of a flow that is none limits nothing."""
    for name, budget in file.spec.root.items():
        if budget.flow is not None and budget.flow not in flows:
            message = f"no flow `{budget.flow}` has a DAG file{did_you_mean(budget.flow, flows)}"
            yield file.problem((name, "flow"), message, ", ".join(sorted(flows)))


def _source_problems(file: SpecFile) -> Problems:
    """A path that does not name the partition would deliver the same rows to each."""
    for name, source in file.spec.root.items():
        if not isinstance(source, FileSource):
            continue
        if not re.search(r"\{(partition|date|hour)", source.path):
            yield file.problem((name, "path"), "names no partition: each would read the same file", "{partition}")
        if source.replay is not None and "{slot" not in source.replay.path:
            message = "names no slot: each partition would replay the same file"
            yield file.problem((name, "replay", "path"), message, "{slot} or, with two digits, {slot:02d}")


def _contract_problems(file: SpecFile, spec: ContractSpec) -> Problems:
    known = known_expectations()
    for position, expectation in enumerate(spec.expectations):
        loc: Loc = ("expectations", position)
        if expectation.type not in known:
            hint = did_you_mean(expectation.type, known)
            message = f"GX has no expectation `{expectation.type}`{hint}"
            yield file.problem((*loc, "type"), message, "see the expectation gallery of Great Expectations")
            continue
        offered = known[expectation.type]
        if offered.arguments is not None:
            for argument in expectation.kwargs:
                if argument not in offered.arguments:
                    hint = did_you_mean(argument, offered.arguments)
                    message, allowed = (f"no argument of {expectation.type}{hint}", ", ".join(offered.arguments))
                    yield file.problem((*loc, "kwargs", argument), message, allowed)
        for argument, value in expectation.kwargs.items():
            if isinstance(value, str) and re.fullmatch(r"\{[a-z_0-9+-]+\}", value) and not is_moment(value):
                message = f"`{value}` is no placeholder{did_you_mean(value, PLACEHOLDERS)}"
                yield file.problem((*loc, "kwargs", argument), message, ", ".join(PLACEHOLDERS))
        for argument in offered.required or ():
            if argument not in expectation.kwargs:
                yield file.problem((*loc, "kwargs"), f"{expectation.type} needs `{argument}`")
        yield from _value_problems(file, spec, expectation, (*loc, "kwargs"))


def _value_problems(file: SpecFile, spec: ContractSpec, expectation: ExpectationSpec, loc: Loc) -> Problems:
    """Columns that do not exist, a pattern that is none, limits the wrong way round."""
    kwargs: Mapping[str, Any] = expectation.kwargs
    for argument in COLUMN_ARGUMENTS:
        named = kwargs.get(argument, ())
        for column in [named] if isinstance(named, str) else named:
            if column not in spec.columns:
                hint = did_you_mean(column, spec.columns)
                yield file.problem((*loc, argument), f"no column `{column}`{hint}", ", ".join(spec.columns))
    patterns = kwargs.get("regex_list") or [kwargs.get("regex")]
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        try:
            re.compile(pattern or "")
        except (re.error, TypeError) as error:
            yield file.problem((*loc, "regex"), f"`{pattern}` is no regular expression: {error}")
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield file.problem((*loc, "min_value"), f"{low} lies above max_value {high}: every row would break it")
