"""Runs a job under the slot protocol: its step is looked up, told its options, run where nothing committed will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from baton.actions import changes, policy
from baton.contracts import outputs
from baton.data import stored
from baton.data.datasets import read, read_frames
from baton.errors import BatonError, NotAgreed, SpecError
from baton.governance import content
from baton.packs.pack import pack_folder, spec_paths
from baton.stages import answers, groups
from baton.stages.digests import code_of, input_digest
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton.stages.step import Announced, ColumnsOf, Keywords, Read, Step, as_json, resolve, with_options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sqlalchemy.engine import Connection

    from baton.data.datasets import DatasetRef

ENGINE = Path(__file__).parents[1]


def run(job: StageJob[Any]) -> StageResult:
    """Run the job's step under the slot protocol: return the head if nothing changed, else compute and commit.

    A job of a group has the group's rows of its inputs, and commits in the group's slot; the last of them names the whole.

    Raises:
        StaleAttempt: a later attempt owns the slot.
        BatonError: a person's yes among the options is not what they said, or about an earlier version of an input.
        ContractBroken: the output breaks the contract named by `output_contract`.
        NotAgreed: a file of the pack that the stage works by is not the one that people agreed to.
        SpecError: an option is missing or unknown.
        BatonError: whatever the step itself raises on purpose.
    """
    answers.require(job)
    together = groups.shared(job.inputs, job.group) if job.group is not None and job.group.of > 1 else []
    if job.group is not None and together:
        job = replace(job, inputs=together[job.group.number])
    given, found, params, code = _prepared(job)
    each = [params] * len(together)
    if (
        job.group is not None and together and not job.inputs
    ):  # then its rows' place is what tells a group's result from others
        each = [params | {"rows": list(rows)} for rows in pairwise(job.group.edges)]
        params = each[job.group.number]
    agreed, user = changes.Agreed(), f"stage {job.flow}.{job.stage}"
    if not job.dry_run:  # which tries what people have not agreed to yet
        agreed = changes.require(_used(given, found), user, job.flow)

    def compute(inputs: Mapping[str, DatasetRef]) -> StageOutput:
        output = found.func(given) if isinstance(found, Step) else _apply(found, inputs, given)
        if output.made is None:  # else the workers of an engine have checked
            frames = checked(job, chain([output.frame], output.rest), alone=not output.rest, some=bool(together))
            output = replace(output, frame=next(frames), rest=frames)
        if job.dry_run:
            return replace(output, on_commit=None, beside=None)
        also = output.on_commit

        def on_commit(conn: Connection, commit_id: int) -> None:
            agreed.require_unchanged(user)  # files are read again while rows are made, perhaps hours later
            if also is not None:
                also(conn, commit_id)

        return replace(output, on_commit=on_commit)

    def judge(refs: Sequence[DatasetRef]) -> None:
        require_whole(job, refs)
        agreed.require_unchanged(user)

    try:
        result = run_stage(
            job.slot, compute, inputs=job.inputs, params=params, models=job.models, code=code, run_id=job.run_id
        )
        if together and not (isinstance(found, Step) and found.apart):
            digests = [partial(_digest, one, told, job.models, code) for one, told in zip(together, each, strict=True)]
            groups.whole_if_complete(job.slot, result, digests, judge, joined_by(job.step, job.dry_run))
    except NotAgreed:  # if by the firewall, in the commit's transaction: what it asked was rolled back with it
        changes.require(content.table_of(job.pack, policy.FILE.removesuffix(".yaml")), user, job.flow)
        raise
    return result


def _digest(
    inputs: Mapping[str, DatasetRef], params: Mapping[str, Any], models: Mapping[str, int], code: str, head: StageResult
) -> str:
    """What a group's head needs to have, whose task has these inputs."""
    return input_digest(inputs, groups.as_repeated(params, head), models, code)


def joined_by(path: str, dry_run: bool) -> groups.Join:
    """How a stage's step, by its dotted path, joins the facts of its groups; a dry run puts nothing on record."""

    def join(slot: Slot, facts: Sequence[Mapping[str, Any]]) -> groups.Joined:
        found = resolve(path)
        said, on_commit = ((found.join if isinstance(found, Step) else None) or groups.alike)(slot, facts)
        return said, None if dry_run else on_commit

    return join


def announce(job: StageJob[Any]) -> Announced | None:
    """What tasks may do for the job's stage: see `Step.announce`. Raises: as the step does."""
    found = resolve(job.step)
    if not isinstance(found, Step) or found.announce is None:
        return None
    return found.announce(with_options(job, found.options))


def digests(job: StageJob[Any], batches: Sequence[Mapping[str, DatasetRef]]) -> list[str]:
    """The digests that `run` commits the job's results under, were these its inputs, one after the other.

    What they have in common is looked at once: the state that a step names may not depend on its inputs.
    """
    _, _, params, code = _prepared(job)
    return [input_digest(inputs, params, job.models, code) for inputs in batches]


def _prepared(job: StageJob[Any]) -> tuple[StageJob[Any], Any, dict[str, Any], str]:
    """The job as its step gets it, the step, and of what its result depends on the params and the code."""
    found = resolve(job.step)
    given = with_options(job, found.options if isinstance(found, Step) else Keywords)
    params: dict[str, Any] = {"options": as_json(given)}
    if isinstance(found, Step):
        given, state = found.look(given)
        params["state"] = dict(state)
    if job.output_contract:
        params["output_contract"] = job.load_pack().contract(job.output_contract).model_dump(mode="json")
    pack = pack_folder(job.pack)
    without = {path for _, path in spec_paths(pack)} if _ours(found) else ()
    return given, found, params, code_of(_function(found), ENGINE, pack, without=without)


def _function(found: Step | Callable[..., Any]) -> Callable[..., Any]:
    return found.func if isinstance(found, Step) else found


def _ours(found: Step | Callable[..., Any]) -> bool:
    """Whether it is a step of the engine: these say what they take of a pack; a pack's function may read any of it."""
    return _function(found).__module__.startswith("baton.")


def _used(job: StageJob[Any], found: Step | Callable[..., Any]) -> list[content.Named]:
    """The files of packs that the stage works by, as far as people agree to them."""
    used: list[content.Named] = [(job.pack, "contract", job.output_contract)] if job.output_contract else []
    if isinstance(found, Step) and found.uses is not None:
        used += found.uses(job)
    return used if _ours(found) else [*used, *content.read_by_code(job.pack)]


def _apply(function: Callable[..., Any], inputs: Mapping[str, DatasetRef], job: StageJob[Keywords]) -> StageOutput:
    """Call a pure pack function with frames by input name and the option `params` as keywords."""
    local = getattr(function, "row_local", False)
    if job.options.engine == "spark":
        if not local:
            raise SpecError(
                f"stage {job.flow}.{job.stage}, engine: spark: {job.step} is not marked `@row_local`; a cluster's workers see "
                "some rows each, so it must not look at others"
            )
        return job.connections.cluster(job.options.conn_id)(job, "baton.engines.worker:pure", None, {})
    if local and any(ref.kind == "manifest" for ref in inputs.values()):
        return _some_rows_at_a_time(function, inputs, job.options)
    result = function(**read_inputs(inputs, getattr(function, "columns", {})), **job.options.params)
    return result if isinstance(result, StageOutput) else StageOutput(result)


def _some_rows_at_a_time(
    function: Callable[..., Any], inputs: Mapping[str, DatasetRef], options: Keywords
) -> StageOutput:
    """Call a function that is `row_local` again and again, while what it made of the rows before is written.

    Its parts end where those of the first input do: so the result is the same however many tasks made it.

    Raises:
        BatonError: the inputs have not the same number of rows, or it returns more than a frame.
    """
    many = {name: ref.rows for name, ref in inputs.items()}
    if len(set(many.values())) > 1 or any("." in name for name in inputs):
        raise BatonError(
            f"{function.__qualname__} is row_local: its inputs need the same rows in the same order, they have {many}"
        )

    ends = stored.ends(next(iter(inputs.values())))
    frames = one_by_one(function, reader(inputs, ends, at_once=False), options)
    return StageOutput(next(frames), rest=frames, ends=ends)


def side_by_side(
    inputs: Mapping[str, DatasetRef], ends: Sequence[int], columns: ColumnsOf
) -> Iterator[dict[str, pd.DataFrame]]:
    """The same rows of inputs that have as many in the same order, and the next, and so on: see `Read`, `read_frames`."""
    read = (read_frames(ref, ends=ends, columns=columns.get(name)) for name, ref in inputs.items())
    for some in zip(*read, strict=True):
        yield dict(zip(inputs, some, strict=True))


def reader(inputs: Mapping[str, DatasetRef], ends: Sequence[int], *, at_once: bool) -> Read:
    """Gives all rows of the inputs at once, or some at a time as `side_by_side` does."""
    return (lambda columns: iter([read_inputs(inputs, columns)])) if at_once else partial(side_by_side, inputs, ends)


def one_by_one(function: Callable[..., Any], read: Read, options: Keywords) -> Iterator[pd.DataFrame]:
    """What a function that is `row_local` makes of some rows of its inputs, and of the next, and so on.

    Raises:
        BatonError: it returns more than a frame, or a frame of another number of rows.
    """
    for some in read(getattr(function, "columns", {})):
        made = function(**some, **options.params)
        if isinstance(made, StageOutput) or len(made) != len(next(iter(some.values()))):
            raise BatonError(
                f"{function.__qualname__} is row_local: it returns a frame with one row for each of its inputs'"
            )
        yield made


def checked(
    job: StageJob[Any], frames: Iterable[pd.DataFrame | pa.Table], *, alone: bool, some: bool
) -> Iterator[pd.DataFrame | pa.Table]:
    """Pass a stage's output on, judged by its contract, if it has one: see `outputs`.

    Args:
        alone: all of it is one frame, which is judged before it is passed on.
        some: others have other rows of it; all together are judged by `require_whole`.

    Raises:
        ContractBroken: before anything is committed.
    """
    spec = job.load_pack().contract(job.output_contract) if job.output_contract else None
    if spec is None:
        yield from frames
    elif alone and not some:
        for frame in frames:
            outputs.require(spec, f"{job.flow}/{job.stage}", frame)
            yield frame
    else:
        yield from outputs.checked(spec, f"{job.flow}/{job.stage}", frames, "rows" if some else None)


def require_whole(job: StageJob[Any], refs: Sequence[DatasetRef]) -> None:
    """Judge what the rows of a stage's groups, or of a cluster's parts, can break only together: see `outputs.require_whole`."""
    if job.output_contract:
        spec = job.load_pack().contract(job.output_contract)
        outputs.require_whole(spec, f"{job.flow}/{job.stage}", refs)


def read_inputs(inputs: Mapping[str, DatasetRef], columns: ColumnsOf = MappingProxyType({})) -> dict[str, pd.DataFrame]:
    """The inputs' rows by name; the parts of a mapped stage (`name.0`, `name.1`, ...) are one frame again.

    Args:
        columns: by name of an input, those that are read; default all.
    """
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for name, ref in inputs.items():
        known = name.partition(".")[0]
        parts.setdefault(known, []).append(read(ref, columns.get(known)))
    return {name: many[0] if len(many) == 1 else pd.concat(many, ignore_index=True) for name, many in parts.items()}
