"""Flows as their DAG files wire them, read without importing Airflow, and what in them refers to nothing.

A name is compared where the file says it for sure: a constant, a constant of the module, a loop over constants. What
only running the file would tell is left to Airflow, which parses it.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from baton import names
from baton.authoring import wiring
from baton.errors import SpecError
from baton.packs.spec_file import Problem, did_you_mean
from baton.specs.base import format_duration, parse_duration

UNKNOWN = object()  # what an expression gives is not to be told
ANSWER = object()  # a person's, from `flow.review`
_SCORES, _DECISIONS, _STEP = "scores", "decisions", "1h"  # defaults of `Flow` and its verbs
# verb -> its parameters in order, as `baton.airflow.flows.Flow` has them
_VERBS = {
    "ingest": ("source", "also", "shared"), "contract": ("data", "contract", "shared"), "score": ("data", "model", "output_contract", "fallback", "engine", "conn_id"),
    "history": ("data", "model"), "confirmed": ("model", "columns", "each", "after"),
    "publish": ("decisions", "scores", "case_routes", "contract", "resolutions"),
    "publish_truth": ("data", "model", "origin"), "earlier": ("stage", "columns", "after", "partitions"),
    "publish_labels": ("data", "about", "entity", "labels", "origin", "rank"), "publish_scores": ("scores",),
    "stage": ("task_id", "step", "options"), "mapped": ("task_id", "step", "options", "pool", "output_contract"),
    "advise": ("task_id", "agent", "conn_id", "limits", "trigger_rule"), "deliver": ("task_id", "after"),
    "branch": ("task_id", "result", "ways"), "review": ("decisions", "task_id"),
    "look_up": ("task_id", "tool", "data", "column", "lists"),
}  # fmt: skip
_OF_THE_TASK = ("task_id", "step", "options", "pool", "trigger_rule", "output_contract", "outlets", "uses_models")
_NAMED = {
    "score": (names.score_of, "model"), "confirmed": (names.confirmed_of, "model"), "earlier": (names.earlier_of, "stage"),
}  # fmt: skip
_TASKS = (
    "stage",
    "mapped",
    "advise",
    "deliver",
    "branch",
    "review",
    "look_up",
)  # verbs that are told their task's name


@dataclass(frozen=True)
class Call:
    """One verb of a flow: where it stands, its arguments by name; the value is UNKNOWN where the file does not tell."""

    verb: str
    line: int
    given: Mapping[str, Any]

    def word(self, name: str, default: str = "") -> str:
        """An argument that is a text; the default where it is not given, empty where it is not to be told."""
        value = self.given.get(name, default)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class FlowFile:
    """One flow: its file, what `Flow(...)` is told, its verbs in order."""

    path: Path
    head: Call
    calls: list[Call] = field(default_factory=list)

    @property
    def flow(self) -> str:
        """DAG id; empty where it is not to be told."""
        return self.head.word("dag_id")

    @property
    def pack(self) -> str:
        """Name of its pack; empty where it is not to be told."""
        return self.head.word("pack")

    def scores_with(self) -> list[str]:
        """Models of its pack that it scores with, as far as the file tells."""
        own = self.head.given.get("models", ())
        listed = own if isinstance(own, list | tuple) else ()
        scored = [call.word("model") for call in self.calls if call.verb == "score"]
        return list(dict.fromkeys(one for one in [*listed, *scored] if isinstance(one, str) and one))

    def problem(self, line: int, field: str, message: str, allowed: Iterable[str] = ()) -> Problem:
        """A mistake in this file."""
        return Problem(str(self.path), line, field, message, ", ".join(allowed))

    def stages(self) -> set[str]:
        """Names of its tasks that the file tells."""
        found: set[str] = set()
        for call in self.calls:
            if call.verb in _TASKS:
                found.add(call.word("task_id", "review"))
            elif call.verb == "ingest":
                found.add(names.ingest_of(call.word("source")) if "also" in call.given else names.INGEST)
            elif call.verb == "contract":  # of a further source it bears that one's name
                found |= {names.contract_behind(one) for one in found}
            elif call.verb in _NAMED:
                named, argument = _NAMED[call.verb]
                found.add(named(call.word(argument)))
            else:
                found.add(call.verb if call.verb in ("history", "publish_truth") else names.PUBLISH)
        return found


def read_flows(path: Path) -> list[FlowFile]:
    """The flows that a DAG file makes by `with Flow(...) as flow:`; none where it is no Python that can be read."""
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _read(path: Path, _stamp: int) -> list[FlowFile]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return []  # Airflow says what is wrong with the file
    constants: dict[str, Any] = {}
    found = []
    for line in tree.body:
        if isinstance(line, ast.Assign):
            for target, value in _bound(line.targets[0], _value(line.value, constants)):
                constants[target] = value
        if isinstance(line, ast.With):
            made = line.items[0].context_expr
            if isinstance(made, ast.Call) and isinstance(made.func, ast.Name) and made.func.id == "Flow":
                variable = line.items[0].optional_vars
                flow = FlowFile(path, Call("Flow", made.lineno, _given(made, ("dag_id",), constants)))
                if isinstance(variable, ast.Name):
                    env = dict(constants)  # what a line names, later ones know
                    for statement in line.body:
                        flow.calls.extend(_calls(statement, variable.id, env))
                found.append(flow)
    return found


def problems(
    flow: FlowFile,
    models: Iterable[str],
    contracts: Iterable[str],
    sources: Mapping[str, Any],
    flows: Iterable[str],
    tools: Iterable[str] = (),
) -> Iterator[Problem]:
    """What a flow names that its pack does not have, and steps that do not fit.

    Args:
        models, contracts: names in the pack.
        sources: by name; None for one that has mistakes of its own.
        flows: DAG ids of all flows.
        tools: names in the pack.
    """
    own, line = flow.head.given.get("models", ()), flow.head.line
    listed = [one for one in own if isinstance(one, str)] if isinstance(own, list | tuple) else None
    for model in listed or ():
        yield from _known(flow, line, "models", "model", model, models)
    for call in flow.calls:
        if "source" in call.given:
            yield from _source(flow, call, sources)
        if call.verb == "contract" or "contract" in call.given or call.verb == "publish":
            contract = call.word("contract", _DECISIONS if call.verb == "publish" else "")
            yield from _known(flow, call.line, "contract", "contract", contract, contracts)
        if "output_contract" in call.given or call.verb == "score":
            contract = call.word("output_contract", _SCORES if call.verb == "score" else "")
            yield from _known(flow, call.line, "output_contract", "contract", contract, contracts)
        if model := call.word("model"):
            missing = list(_known(flow, call.line, "model", "model", model, models))
            yield from missing
            if call.verb == "score" and not missing and listed is not None and model not in listed:
                message = (
                    f"`{model}` is scored with, but is not among the flow's `models`: its version would not be fixed"
                )
                yield flow.problem(call.line, "model", message, [f"models={[*listed, model]}"])
        if call.verb == "look_up":
            yield from _known(flow, call.line, "tool", "tool", call.word("tool"), tools)
        if call.verb == "publish_labels":
            yield from _known(flow, call.line, "about", "flow", call.word("about"), flows)
        if call.verb == "score" and call.word("fallback"):
            yield from _fallback(flow, call)
        if call.verb in ("stage", "mapped") and call.word("step"):
            yield from _step(flow, call)


def _known(flow: FlowFile, line: int, field: str, what: str, name: str, known: Iterable[str]) -> Iterator[Problem]:
    if name and name not in known:
        there = sorted(known)
        yield flow.problem(line, field, f"no {what} `{name}`{did_you_mean(name, there)}", there or ["none yet"])


def _source(flow: FlowFile, call: Call, sources: Mapping[str, Any]) -> Iterator[Problem]:
    name, step = call.word("source"), flow.head.word("step", _STEP)
    yield from _known(flow, call.line, "source", "source", name, sources)
    source = sources.get(name)
    if source is None or not step:
        return
    try:
        length = parse_duration(step)
    except ValueError as error:
        yield flow.problem(flow.head.line, "step", f"`{step}` {error}")
        return
    if length != source.step:
        message = f"a partition of the flow is {step} long, one of source `{name}` {format_duration(source.step)}"
        yield flow.problem(flow.head.line, "step", message, [f'step="{format_duration(source.step)}"'])


def _step(flow: FlowFile, call: Call) -> Iterator[Problem]:
    options, step = call.given.get("options"), call.word("step")
    inputs = {name: value for name, value in call.given.items() if name not in _OF_THE_TASK}
    try:
        if call.verb == "stage" and (options is None or isinstance(options, dict)) and "**" not in inputs:
            answers = {name: inputs.pop(name) for name, value in list(inputs.items()) if value is ANSWER}
            wiring.check(call.word("task_id"), step, wiring.with_answers(step, options or {}, answers), inputs)
        else:
            wiring.find(step)
    except SpecError as error:
        yield flow.problem(call.line, "step", str(error).rstrip("."))


def _fallback(flow: FlowFile, call: Call) -> Iterator[Problem]:
    try:
        wiring.check(names.score_of(call.word("model")), call.word("fallback"), {}, {"data": UNKNOWN})
    except SpecError as error:
        yield flow.problem(call.line, "fallback", str(error).rstrip("."))


def _calls(node: ast.AST, flow: str, env: dict[str, Any]) -> Iterator[Call]:
    """Calls of the flow's verbs below a node, inner ones first; loops over what is known are walked through."""
    if isinstance(node, ast.For):
        yield from _calls(node.iter, flow, env)
        for inner in _each([(node.target, node.iter)], env):
            for statement in node.body:
                yield from _calls(statement, flow, inner)
        return
    if isinstance(node, ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for inner in _each([(one.target, one.iter) for one in node.generators], env):
            for part in parts:
                yield from _calls(part, flow, inner)
        return
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, flow, env)
    if isinstance(node, ast.Assign):
        env.update(_bound(node.targets[0], _value(node.value, env)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of, verb = node.func.value, node.func.attr
        if isinstance(of, ast.Name) and of.id == flow and verb in _VERBS:
            yield Call(verb, node.lineno, _given(node, _VERBS[verb], env))


def _each(loops: Sequence[tuple[ast.expr, ast.expr]], env: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The names in the body of nested loops, pass by pass; one pass with unknown names where a loop is not to be told."""
    if not loops:
        yield env
        return
    (target, over), *rest = loops
    values = _value(over, env)
    for value in values if isinstance(values, list | tuple | dict) else [UNKNOWN]:
        yield from _each(rest, {**env, **dict(_bound(target, value))})


def _bound(target: ast.expr, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple):
        parts = value if isinstance(value, list | tuple) and len(value) == len(target.elts) else None
        for position, one in enumerate(target.elts):
            yield from _bound(one, UNKNOWN if parts is None else parts[position])


def _given(call: ast.Call, positional: Sequence[str], env: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name; `**` is there when some are not to be told."""
    given = {name: _value(value, env) for name, value in zip(positional, call.args, strict=False)}
    for word in call.keywords:
        value = _value(word.value, env)
        if word.arg is not None:
            given[word.arg] = value
        elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
            given |= value
        else:
            given["**"] = UNKNOWN
    return given


def _value(node: ast.expr, env: Mapping[str, Any]) -> Any:
    """What an expression of constants and known names gives; UNKNOWN for the rest, also inside lists and dicts."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return env.get(name, UNKNOWN)
        case ast.Call(func=ast.Attribute(attr="review")):
            return ANSWER
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if not any(isinstance(p, ast.Starred) for p in parts):
            return [_value(part, env) for part in parts]
        case ast.Dict(keys=keys, values=values) if all(keys):
            written = [_value(key, env) for key in keys if key is not None]
            if all(isinstance(key, str) for key in written):
                return dict(zip(written, (_value(value, env) for value in values), strict=True))
        case ast.JoinedStr(values=parts):
            told = [_value(p.value if isinstance(p, ast.FormattedValue) else p, env) for p in parts]
            if all(isinstance(part, str) for part in told):
                return "".join(told)
    return UNKNOWN
