"""What a DAG file wires into a step, checked while the file is parsed: paths, option names, frames.

A DAG file is parsed every few seconds and must not import what its steps import, so the step's source is read instead:
the class of its options stands in the same module as the step, and a pure function's parameters are its signature.
Values are checked when the stage runs.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baton.errors import SpecError
from baton.packs.spec_file import did_you_mean

PURE = ("params",)  # options of a pure function


@dataclass(frozen=True)
class _Takes:
    """What a step takes; `None`: anything, or its source does not say.

    Attributes:
        options: names of an engine step's options; of a pure function `PURE`.
        frames: names of a pure function's parameters, and those of them that have no default.
    """

    options: tuple[str, ...] | None
    frames: tuple[str, ...] | None = None
    needed: tuple[str, ...] = ()


def check(task_id: str, step: str, options: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> None:
    """Compare a stage's wiring with its step.

    Args:
        step: dotted path `module:function`.
        inputs: of the stage; None: they are not compared.

    Raises:
        SpecError: there is no such step, or it takes no such option or frame; names what it takes.
    """
    takes, where = _takes(step), f"stage {task_id}, {step}"
    _all_known(where, "option", options, takes.options)
    if takes.frames is None or inputs is None:
        return
    given = [*inputs, *(options.get("params") or {})]
    _all_known(where, "frame or parameter", given, takes.frames)
    if missing := [name for name in takes.needed if name not in given]:
        raise SpecError(f"{where}: it needs {', '.join(missing)}; hand it over as `{missing[0]}=...`")


def _all_known(where: str, what: str, given: Iterable[str], known: tuple[str, ...] | None) -> None:
    for name in given if known is not None else ():
        if name not in (known or ()):
            hint = did_you_mean(name, known or ())
            raise SpecError(f"{where}: no {what} `{name}`{hint} It takes {', '.join(known or ()) or 'none'}.")


@cache
def _takes(step: str) -> _Takes:
    module, _, name = step.partition(":")
    if not name:
        raise SpecError(f"step {step!r}: expected 'package.module:function'")
    body = _body(module)
    if body is None:
        return _Takes(None)
    found = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    if found is None:
        if name in _bound(body):  # made or imported there: its source does not say
            return _Takes(None)
        functions = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        raise SpecError(f"step {step!r}: module {module} has no {name!r}{did_you_mean(name, functions)}")
    for mark in found.decorator_list:
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", getattr(mark.func, "attr", "")) == "engine_step":
            named = [*mark.args[:1], *(word.value for word in mark.keywords if word.arg == "options")]
            return _Takes(tuple(_fields(module, named[0].id)) if named and isinstance(named[0], ast.Name) else ())
    return _Takes(PURE, *_parameters(found.args))


def _parameters(given: ast.arguments) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    plain = [*given.posonlyargs, *given.args]
    needed = [one.arg for one in plain[: len(plain) - len(given.defaults)]]
    needed += [one.arg for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    names = tuple(one.arg for one in (*plain, *given.kwonlyargs))
    return (None if given.kwarg else names), tuple(needed)


def _fields(module: str, name: str) -> Iterator[str]:
    """Names of the fields of an options class, those of its bases first."""
    body = _body(module) or []
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            yield from _fields(node.module, name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id not in ("Spec", "BaseModel"):
                    yield from _fields(module, base.id)
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id


def _bound(body: list[ast.stmt]) -> set[str]:
    """Names that a module assigns or imports at its top."""
    found = {
        node.id for line in body if isinstance(line, ast.Assign) for node in line.targets if isinstance(node, ast.Name)
    }
    imports = [line for line in body if isinstance(line, ast.Import | ast.ImportFrom)]
    return found | {one.asname or one.name for line in imports for one in line.names}


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
