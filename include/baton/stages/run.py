"""Runs a job under the slot protocol: its step is looked up, told its options, run where nothing committed will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.contracts import check as contracts
from baton.contracts.parts import Judging
from baton.data import stored
from baton.data import typed as parsing
from baton.data.datasets import read, read_frames
from baton.errors import BatonError, ContractBroken
from baton.packs.pack import pack_folder, spec_paths
from baton.stages import answers, groups
from baton.stages.digests import code_of, input_digest
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput, StageResult, run_stage
from baton.stages.step import Keywords, Step, as_json, resolve, with_options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from baton.contracts.check import ContractVerdict
    from baton.data.datasets import DatasetRef
    from baton.data.typed import Violation

ENGINE = Path(__file__).parents[1]


def run(job: StageJob[Any]) -> StageResult:
    """Run the job's step under the slot protocol: return the head if nothing changed, else compute and commit.

    A job of a group has the group's rows of its inputs, and commits in the group's slot; the last of them names the whole.

    Raises:
        StaleAttempt: a later attempt owns the slot.
        BatonError: a person's yes among the options is not what they said, or about an earlier version of an input.
        ContractBroken: the output breaks the contract named by `output_contract`.
        SpecError: an option is missing or unknown.
        BatonError: whatever the step itself raises on purpose.
    """
    answers.require(job)
    together = groups.shared(job.inputs, job.group) if job.group is not None and job.group.of > 1 else []
    if job.group is not None and together:
        job = replace(job, inputs=together[job.group.number])
    found = resolve(job.step)
    given = with_options(job, found.options if isinstance(found, Step) else Keywords)
    params: dict[str, Any] = {"options": as_json(given)}
    if isinstance(found, Step):
        given, state = found.look(given)
        params["state"] = dict(state)
    if job.output_contract:
        params["output_contract"] = job.load_pack().contract(job.output_contract).model_dump(mode="json")

    def compute(inputs: Mapping[str, DatasetRef]) -> StageOutput:
        output = found.func(given) if isinstance(found, Step) else _apply(found, inputs, given.options)
        frame, rest = output.frame, output.rest
        if job.output_contract and rest:
            frames = _checked(job, chain([frame], rest))
            frame, rest = next(frames), frames
        elif job.output_contract:
            _require_contract(job, frame)
        output = replace(output, frame=frame, rest=rest)
        return replace(output, on_commit=None, beside=None) if job.dry_run else output

    function = found.func if isinstance(found, Step) else found
    pack = pack_folder(job.pack)
    # the engine's own steps say in their state what they take of a spec; a pack's function may read any of it
    ours = function.__module__.startswith("baton.")
    code = code_of(function, ENGINE, pack, without={path for _, path in spec_paths(pack)} if ours else ())
    result = run_stage(
        job.slot, compute, inputs=job.inputs, params=params, models=job.models, code=code, run_id=job.run_id
    )
    if together:
        groups.whole_if_complete(job.slot, [input_digest(one, params, job.models, code) for one in together])
    return result


def _apply(function: Callable[..., Any], inputs: Mapping[str, DatasetRef], options: Keywords) -> StageOutput:
    """Call a pure pack function with frames by input name and the option `params` as keywords."""
    if getattr(function, "row_local", False) and any(ref.kind == "manifest" for ref in inputs.values()):
        return _some_rows_at_a_time(function, inputs, options)
    result = function(**read_inputs(inputs), **options.params)
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

    def frames() -> Iterator[pd.DataFrame]:
        for some in zip(*(read_frames(ref, ends=ends) for ref in inputs.values()), strict=True):
            made = function(**dict(zip(inputs, some, strict=True)), **options.params)
            if isinstance(made, StageOutput) or len(made) != len(some[0]):
                raise BatonError(
                    f"{function.__qualname__} is row_local: it returns a frame with one row for each of its inputs'"
                )
            yield made

    all_frames = frames()
    return StageOutput(next(all_frames), rest=all_frames, ends=ends)


def _checked(job: StageJob[Any], frames: Iterable[pd.DataFrame | pa.Table]) -> Iterator[pd.DataFrame | pa.Table]:
    """As `_require_contract`, of rows that come frame by frame: what no frame can know is judged of them all.

    Raises:
        ContractBroken: at the end, before anything is committed.
    """
    import pandas as pd

    spec, suspect, before = job.load_pack().contract(job.output_contract), None, 0
    with Judging(spec) as judging:
        for number, frame in enumerate(frames):
            rows = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
            parsed = parsing.adopt(rows, spec, f"{job.flow}/{job.stage}", before + 1)
            before += len(rows)
            suspect = (number, parsed) if not judging.add(parsed) and suspect is None else suspect
            yield frame
        verdict = judging.verdict()
    if verdict.status != "passed":
        raise _broken(job, verdict, judging.violations(*suspect) if suspect is not None else [])


def read_inputs(inputs: Mapping[str, DatasetRef]) -> dict[str, pd.DataFrame]:
    """The inputs' rows by name; the parts of a mapped stage (`name.0`, `name.1`, ...) are one frame again."""
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for name, ref in inputs.items():
        parts.setdefault(name.partition(".")[0], []).append(read(ref))
    return {name: many[0] if len(many) == 1 else pd.concat(many, ignore_index=True) for name, many in parts.items()}


def _require_contract(job: StageJob[Any], frame: pd.DataFrame) -> None:
    """Check a stage's own output (model output, published result): here a violation is our fault, so it stops.

    Raises:
        ContractBroken: naming contract, rule, row and value of the first violations.
    """
    spec = job.load_pack().contract(job.output_contract)
    verdict = contracts.check(parsing.adopt(frame, spec, f"{job.flow}/{job.stage}"), spec)
    if verdict.status != "passed":
        raise _broken(job, verdict, verdict.violations)


def _broken(job: StageJob[Any], verdict: ContractVerdict, violations: Sequence[Violation]) -> ContractBroken:
    first = "; ".join(f"row {v.row} {v.column}={v.value!r} breaks {v.rule}" for v in violations[:3])
    told = "; ".join(verdict.aggregate_failures) or first or f"{verdict.rows_bad:,} rows share what only one may have"
    return ContractBroken(f"output of stage {job.stage} breaks contract {job.output_contract}: {told}")
