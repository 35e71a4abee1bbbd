"""What a DAG file wires into a step, checked while the file is parsed: paths, option names, frames.

A DAG file is parsed every few seconds and must not import what its steps import, so the step's source is read instead:
the class of its options stands in the same module as the step, and a pure function's parameters are its signature.
Values are checked when the stage runs.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baton.errors import SpecError
from baton.packs.spec_file import did_you_mean

ENGINES = ("local", "spark")  # of `baton.stages.step.OnEngine`, which is too heavy here
PURE = ("params", "engine", "conn_id")  # options of a pure function


@dataclass(frozen=True)
class _Takes:
    """What a step takes; None where its source does not say for sure: then nothing is compared.

    Attributes:
        options: names of an engine step's options, of a pure function `PURE`; `needed` of them have no default.
        frames: names of a pure function's parameters; `wanted` of them have no default.
        row_local: whether it is a pure function marked so, see `stages.step`.
    """

    options: tuple[str, ...] | None = None
    needed: tuple[str, ...] = ()
    frames: tuple[str, ...] | None = None
    wanted: tuple[str, ...] = ()
    row_local: bool = False


def check(task_id: str, step: str, options: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> None:
    """Compare a stage's wiring with its step.

    Args:
        step: dotted path `module:function`.
        inputs: of the stage; None: they are not compared.

    Raises:
        SpecError: there is no such step, it takes no such option or frame, or one is missing; names what it takes.
    """
    takes, where, params = _takes(step), f"stage {task_id}, {step}", options.get("params") or {}
    if takes.options == PURE and (lost := [name for name in options if name in (takes.frames or ())]):
        raise SpecError(f"{where}: no option `{lost[0]}`: give `{lost[0]}` by its name, or in {{'params': {{...}}}}")
    if takes.options is not None:
        _all_known(where, "option", options, takes.options)
        _none_missing(where, options, takes.needed)
    if takes.options == PURE and (engine := options.get("engine", ENGINES[0])) != ENGINES[0]:
        require_engine(where, engine)
        if not takes.row_local:
            raise SpecError(
                f"{where}: engine: {engine} needs a function that is marked `@row_local` (`baton.stages.step`): a cluster's "
                "workers see some rows each"
            )
    if takes.frames is not None and inputs is not None and isinstance(params, Mapping):
        given = [*inputs, *params]
        _all_known(where, "frame or parameter", given, takes.frames)
        _none_missing(where, given, takes.wanted)


def require_engine(where: str, engine: str) -> None:
    """Make sure that there is such an engine. Raises SpecError: there is none; names those that there are."""
    if engine not in ENGINES:
        raise SpecError(
            f"{where}: no engine `{engine}`{did_you_mean(engine, ENGINES) or '.'} There are {', '.join(ENGINES)}."
        )


def with_answers(step: str, options: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's options with people's answers among them, where the step looks: a pure function's are its parameters."""
    if answers and _takes(step).options == PURE:
        return {**options, "params": {**(options.get("params") or {}), **answers}}
    return {**options, **answers}


def is_row_local(step: str) -> bool:
    """Whether a stage's rows may be shared by several tasks: its step is a pure function marked `@row_local`."""
    return _takes(step).row_local


def find(step: str) -> None:
    """Make sure that there is such a step. Raises SpecError: there is none; names what its module has."""
    _takes(step)


def _all_known(where: str, what: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or "."
            raise SpecError(f"{where}: no {what} `{name}`{hint} It takes {', '.join(known) or 'none'}.")


def _none_missing(where: str, given: Iterable[str], needed: tuple[str, ...]) -> None:
    if missing := [name for name in needed if name not in given]:
        raise SpecError(f"{where}: it needs {', '.join(missing)}")


@cache
def _takes(step: str) -> _Takes:
    module, _, name = step.partition(":")
    if not name:
        raise SpecError(f"step {step!r}: expected 'package.module:function'")
    body = _body(module)
    if body is None:
        return _Takes()
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not found:
        if _may_be_bound(body, name):
            return _Takes()
        functions = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        raise SpecError(f"step {step!r}: module {module} has no {name!r}{did_you_mean(name, functions)}")
    function = found[-1]
    if not function.decorator_list or _marked_row_local(function, body):
        return replace(_of_pure(function.args), row_local=bool(function.decorator_list))
    mark = function.decorator_list[0]
    plain = isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "engine_step"
    if len(function.decorator_list) > 1 or not plain or _imported(body, "engine_step") is None:
        return _Takes()
    assert isinstance(mark, ast.Call)
    named = [*mark.args[:1], *(word.value for word in mark.keywords if word.arg == "options")]
    if not named:
        return _Takes(())
    fields = _fields(module, named[0].id) if isinstance(named[0], ast.Name) else None
    return _Takes() if fields is None else _Takes(tuple(fields), tuple(name for name, must in fields.items() if must))


def _marked_row_local(function: ast.FunctionDef, body: list[ast.stmt]) -> bool:
    mark = function.decorator_list[0]
    mark = mark.func if isinstance(mark, ast.Call) else mark
    named = len(function.decorator_list) == 1 and isinstance(mark, ast.Name) and mark.id == "row_local"
    return named and _imported(body, "row_local") is not None


def _of_pure(given: ast.arguments) -> _Takes:
    if given.posonlyargs:
        return _Takes(PURE)
    must = [one.arg for one in given.args[: len(given.args) - len(given.defaults)]]
    must += [one.arg for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    names = tuple(one.arg for one in (*given.args, *given.kwonlyargs))
    return _Takes(PURE, frames=None if given.kwarg else names, wanted=tuple(must))


def _fields(module: str, name: str) -> dict[str, bool] | None:
    """Fields of an options class, those of its bases first -> whether they have no default; None: not to be told."""
    body = _body(module) or []
    made = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    if not made:
        elsewhere = _imported(body, name)
        return _fields(*elsewhere) if elsewhere is not None else None
    found: dict[str, bool] = {}
    for base in made[-1].bases:
        if isinstance(base, ast.Name) and base.id in ("Spec", "BaseModel"):
            continue
        more = _fields(module, base.id) if isinstance(base, ast.Name) else None
        if more is None:
            return None
        found |= more
    lines = [line for line in made[-1].body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)]
    return found | {line.target.id: _must(line.value) for line in lines if isinstance(line.target, ast.Name)}


def _must(value: ast.expr | None) -> bool:
    """Whether a field has no default."""
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Field":
        return not value.args and not {"default", "default_factory"} & {word.arg for word in value.keywords}
    return value is None


def _imported(body: list[ast.stmt], name: str) -> tuple[str, str] | None:
    """Module and name there of what a module imports under this name at its top; None: it does not, or relatively."""
    for line in body:
        if isinstance(line, ast.ImportFrom) and line.module and not line.level:
            for one in line.names:
                if (one.asname or one.name) == name:
                    return line.module, one.name
    return None


def _may_be_bound(body: list[ast.stmt], name: str) -> bool:
    """Whether a module may hold the name though no function of it stands at its top."""
    nodes = [node for line in body for node in ast.walk(line)]
    names = {getattr(n, "name", None) or getattr(n, "id", None) or getattr(n, "asname", None) for n in nodes}
    return bool({name, "*", "__getattr__"} & names)


@cache
def _body(module: str) -> list[ast.stmt] | None:
    """The statements of a module, read without importing it; None where it has no source file."""
    try:
        spec = find_spec(module)
    except ImportError as error:
        raise SpecError(f"module {module}: {error}") from error
    if spec is None:
        raise SpecError(f"there is no module {module}: is the pack installed, and the path right?")
    if not spec.origin or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
