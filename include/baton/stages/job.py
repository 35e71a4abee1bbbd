"""A stage: one step of a flow on one partition, named by dotted path and run under the slot protocol.

Two kinds of function are stages. A *pack function* is pure: it takes frames by input name and plain
parameters, and returns a frame; it never sees Airflow, MLflow or a path. An *engine step* (marked with
`@engine_step`) takes the whole `StageJob`, because reading a source or publishing needs to know where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from baton.contracts import check as contracts
from baton.data import typed as parsing
from baton.data.datasets import read
from baton.errors import ContractBroken
from baton.packs.pack import load_pack
from baton.stages.connections import Connections, Unconnected
from baton.stages.digests import code_of
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton.stages.step import Keywords, Step, resolve, with_options

if TYPE_CHECKING:
    import pandas as pd

    from baton.data.datasets import DatasetRef
    from baton.packs.pack import Pack

O = TypeVar("O")  # noqa: E741 - the options that a step declares


@dataclass(frozen=True)
class StageJob(Generic[O]):
    """What one stage run knows.

    Attributes:
        pack: name of the pack whose contracts, sources and models the stage uses.
        flow: DAG id; with `stage`, `partition` and `map_index` it names the slot.
        partition: UTC start of the interval, `%Y-%m-%dT%H:%M:%S`; of a training or promotion, what it is about.
        step: dotted path `module:function` of the work.
        inputs: committed datasets of the stages before, by name.
        options: JSON from the DAG file; the step finds the class that it declares.
        output_contract: the stage's own output is checked against it; empty: it is not.
        models: model versions that this partition uses, resolved once by the first stage.
        files: documents that the run's form names; a source of kind folder reads these and no others.
        since, until: partitions that a training's form names.
        run_id: Airflow's run id, for the record only (not part of the digest).
        dry_run: compute under a slot of its own and change no table of the business.
        supersede_models: replace the versions on record for this partition (the form's `champion` choice).
        connections: models, peers and remote sources by the name of a connection.
        seen: what the step's fingerprint read, see `Seen`.
    """

    pack: str
    flow: str
    stage: str
    partition: str
    step: str
    inputs: Mapping[str, DatasetRef] = field(default_factory=dict)
    options: O = field(default_factory=dict)  # type: ignore[assignment]
    output_contract: str = ""
    models: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    run_id: str = ""
    map_index: int = -1
    dry_run: bool = False
    supersede_models: bool = False
    connections: Connections = field(default_factory=Unconnected, repr=False, compare=False)
    seen: Any = field(default=None, repr=False, compare=False)

    @property
    def slot(self) -> Slot:
        """The slot; a dry run has a flow name of its own, so it can never become a head of the real one."""
        flow = f"{self.flow}~dry" if self.dry_run else self.flow
        return Slot(flow, self.stage, self.partition, self.map_index)

    def load_pack(self) -> Pack:
        """The pack's specs, parsed."""
        return load_pack(self.pack)


def run(job: StageJob[Any]) -> StageResult:
    """Run the job's step under the slot protocol: return the head if nothing changed, else compute and commit.

    Raises:
        StaleAttempt: a later attempt owns the slot.
        ContractBroken: the output breaks the contract named by `output_contract`.
        SpecError: an option is missing or unknown.
        BatonError: whatever the step itself raises on purpose.
    """
    found = resolve(job.step)
    given = with_options(job, found.options if isinstance(found, Step) else Keywords)
    params: dict[str, Any] = {"options": given.options.model_dump(mode="json")}
    if isinstance(found, Step):
        given, state = found.look(given)
        params["state"] = dict(state)
    if job.output_contract:
        params["output_contract"] = job.load_pack().contract(job.output_contract).model_dump(mode="json")

    def compute(inputs: Mapping[str, DatasetRef]) -> StageOutput:
        output = found.func(given) if isinstance(found, Step) else _apply(found, inputs, given.options)
        if job.output_contract:
            _require_contract(job, output.frame)
        return StageOutput(output.frame, output.facts, None if job.dry_run else output.on_commit)

    code = code_of(found.func if isinstance(found, Step) else found)
    return run_stage(
        job.slot, compute, inputs=job.inputs, params=params, models=job.models, code=code, run_id=job.run_id
    )


def _apply(function: Callable[..., Any], inputs: Mapping[str, DatasetRef], options: Keywords) -> StageOutput:
    """Call a pure pack function with frames by input name and the option `params` as keywords."""
    result = function(**read_inputs(inputs), **options.params)
    return result if isinstance(result, StageOutput) else StageOutput(result)


def read_inputs(inputs: Mapping[str, DatasetRef]) -> dict[str, pd.DataFrame]:
    """The inputs' rows by name; the parts of a mapped stage (`name.0`, `name.1`, ...) are one frame again."""
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for name, ref in inputs.items():
        parts.setdefault(name.partition(".")[0], []).append(read(ref))
    return {
        name: frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True) for name, frames in parts.items()
    }


def _require_contract(job: StageJob[Any], frame: pd.DataFrame) -> None:
    """Check a stage's own output (model output, published result): here a violation is our fault, so it stops.

    Raises:
        ContractBroken: naming contract, rule, row and value of the first violations.
    """
    spec = job.load_pack().contract(job.output_contract)
    verdict = contracts.check(parsing.adopt(frame, spec, f"{job.flow}/{job.stage}"), spec)
    if verdict.status != "passed":
        first = "; ".join(f"row {v.row} {v.column}={v.value!r} breaks {v.rule}" for v in verdict.violations[:3])
        failures = "; ".join(verdict.aggregate_failures)
        raise ContractBroken(f"output of stage {job.stage} breaks contract {job.output_contract}: {failures or first}")
