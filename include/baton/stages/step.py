"""A step: what a stage runs, with the options that it takes and what its result depends on besides its inputs."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from pydantic import Field, ValidationError

from baton.errors import BatonError, SpecError
from baton.specs.base import Spec
from baton.stages.slots import StageOutput

if TYPE_CHECKING:
    import pandas as pd
    from pydantic_core import ErrorDetails

    from baton.governance.content import Named
    from baton.stages.groups import Join
    from baton.stages.job import StageJob


class NoOptions(Spec):
    """Of a step that takes none."""


class OnEngine(Spec):
    """Options of a stage whose rows a cluster may work on."""

    engine: Literal["local", "spark"] = Field(
        default="local",
        description="where the rows are worked on: in the task, or part by part on a cluster (`spark`), which needs a step that "
        "is `row_local`",
    )
    conn_id: str = Field(default="spark", description="of `engine: spark`: the connection to the cluster")


class Keywords(OnEngine):
    """Options of a pure function."""

    params: dict[str, Any] = Field(default_factory=dict, description="keyword arguments besides the frames")


@dataclass(frozen=True)
class Seen:
    """What a fingerprint found out, and what it read for that: the step finds `kept` as `job.seen`, read once.

    The rows are then those that the state describes, whatever arrives in between.
    """

    state: Mapping[str, Any]
    kept: Any


Pure = TypeVar("Pure", bound=Callable[..., Any])
Fingerprint = Callable[["StageJob[Any]"], Mapping[str, Any] | Seen]
Uses = Callable[["StageJob[Any]"], "Collection[Named]"]
ColumnsOf = Mapping[str, "Sequence[str] | None"]
Read = Callable[[ColumnsOf], "Iterator[Mapping[str, pd.DataFrame]]"]
"""Gives the inputs by name, some rows at a time; told which columns of an input are looked at, it reads no others."""


@dataclass(frozen=True)
class Announced:
    """What tasks will do for a stage, each in a group of its own, known before any of it is done.

    Attributes:
        ends: numbers of rows after which a group may end, the last of all.
        told: options that the step of the groups gets beside the stage's own; JSON.
        facts: known of the result already.
    """

    ends: Sequence[int]
    told: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """An engine step: it gets the whole job, because reading a source or publishing needs to know where it is.

    Attributes:
        options: what the stage may be told, checked before anything runs.
        fingerprint: what the result depends on besides inputs, options, models and code (a source file's hash, a
            contract's text, repairs); its value becomes part of the input digest.
        uses: files of the packs that it works by, which people have to have agreed to (`baton.actions.changes`).
        apart: the results of groups are not named as one when all are there: another step takes them, and judges the whole.
        announce: says what tasks may do for it, where its flow has such tasks and there is much to do; None: it does all itself.
        join: of groups, what the stage's whole says and puts on record; None: what they have in common.
    """

    func: Callable[[StageJob[Any]], StageOutput]
    options: type[Spec] = NoOptions
    fingerprint: Fingerprint | None = None
    uses: Uses | None = None
    apart: bool = False
    announce: Callable[[StageJob[Any]], Announced | None] | None = None
    join: Join | None = None

    def look(self, job: StageJob[Any]) -> tuple[StageJob[Any], Mapping[str, Any]]:
        """The job with what the fingerprint read, and the state."""
        found = self.fingerprint(job) if self.fingerprint is not None else {}
        return (replace(job, seen=found.kept), found.state) if isinstance(found, Seen) else (job, found)

    def __call__(self, job: StageJob[Any]) -> StageOutput:
        """Run the step alone, without slot and commit."""
        given, _ = self.look(with_options(job, self.options))
        return self.func(given)


def engine_step(
    options: type[Spec] = NoOptions,
    fingerprint: Fingerprint | None = None,
    uses: Uses | None = None,
    apart: bool = False,
    announce: Callable[[StageJob[Any]], Announced | None] | None = None,
    join: Join | None = None,
) -> Callable[[Callable[[StageJob[Any]], StageOutput]], Step]:
    """Mark a function as an engine step, see `Step`; the class of its options stands in the same module, for `wiring.check`."""
    return lambda func: Step(func, options, fingerprint, uses, apart, announce, join)


@overload
def row_local(function: Pure, /) -> Pure: ...


@overload
def row_local(**columns: Sequence[str]) -> Callable[[Pure], Pure]: ...


def row_local(function: Pure | None = None, /, **columns: Sequence[str]) -> Pure | Callable[[Pure], Pure]:
    """Mark a pure function each row of whose result depends on the same row of every input, and on no other row.

    Where an input comes in parts (`baton.data.parts`), it is called for some rows at a time: its inputs must then have the
    same rows in the same order.

    Args:
        columns: by input, those that the function looks at, `@row_local(orders=["order_id", "amount"])`: of a wide batch no more
            is read. All of an input that is not named.
    """

    for name, wanted in columns.items():
        if isinstance(wanted, str) or not wanted:
            raise TypeError(f"row_local({name}=...): a list of columns, at least one; without it all are read")

    def marked(function: Pure) -> Pure:
        if unknown := columns.keys() - inspect.signature(function).parameters.keys():
            raise TypeError(f"row_local({sorted(unknown)[0]}=...): {function.__qualname__} takes no such input")
        function.row_local, function.columns = True, columns  # type: ignore[attr-defined]
        return function

    return marked if function is None else marked(function)


def with_options(job: StageJob[Any], kind: type[Spec]) -> StageJob[Any]:
    """The job with its options read as `kind`.

    Raises:
        SpecError: an option is missing, unknown or no such value; names those that there are.
    """
    if isinstance(job.options, kind):
        return job
    where = f"stage {job.flow}.{job.stage}, {job.step}"
    try:  # not strictly: a template of Airflow turns numbers into text
        return replace(job, options=kind.model_validate(dict(job.options), strict=False))
    except ValidationError as error:
        problem, takes = _said(error.errors()[0]), ", ".join(kind.model_fields) or "none"
        raise SpecError(f"{where}: {problem}; it takes {takes}") from error


def as_json(job: StageJob[Any]) -> dict[str, Any]:
    """The job's options for its digest.

    Raises:
        SpecError: one holds what JSON cannot: two values would look the same, or differ in every process.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(job.options.model_dump(), allow_nan=False))
    except (TypeError, ValueError) as error:
        where = f"stage {job.flow}.{job.stage}, {job.step}"
        raise SpecError(f"{where}: options must be JSON, with finite numbers: {error}") from error
    return plain


def _said(first: ErrorDetails) -> str:
    name = ".".join(map(str, first["loc"]))
    if not name:  # what a class says of its options together is a sentence of its own
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"unknown option {name}"
    empty = first["type"] == "missing" or first["input"] in ("", None)
    return f"option {name} is missing" if empty else f"option {name}: {first['msg']}"


def resolve(path: str) -> Any:
    """Import `module:function`. Raises BatonError: the path is not of that form, or names nothing."""
    module_name, _, name = path.partition(":")
    if not name:
        raise BatonError(f"step {path!r}: expected 'package.module:function'")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise BatonError(f"step {path!r} cannot be imported: {error}") from error
