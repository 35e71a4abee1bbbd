"""A stage: one step of a flow on one partition, named by dotted path and run under the slot protocol.

Two kinds of function are stages. A *pack function* is pure: it takes frames by input name and plain
parameters, and returns a frame; it never sees Airflow, MLflow or a path. An *engine step* (marked with
`@engine_step`) takes the whole `StageJob`, because reading a source or publishing needs to know where it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from baton.contracts import check as contracts
from baton.data import typed as parsing
from baton.data.datasets import read
from baton.errors import BatonError, ContractBroken
from baton.packs.pack import load_pack
from baton.stages.digests import code_of
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

if TYPE_CHECKING:
    import pandas as pd

    from baton.data.datasets import DatasetRef
    from baton.packs.pack import Pack

Fingerprint = Callable[["StageJob"], Mapping[str, Any]]


@dataclass(frozen=True)
class StageJob:
    """What one stage run knows.

    Attributes:
        pack: name of the pack whose contracts, sources and models the stage uses.
        flow: DAG id; with `stage`, `partition` and `map_index` it names the slot.
        partition: UTC start of the interval, `%Y-%m-%dT%H:%M:%S`.
        step: dotted path `module:function` of the work.
        inputs: committed datasets of the stages before, by name.
        options: parameters from the DAG file, JSON only.
        models: model versions that this partition uses, resolved once by the first stage.
        run_id: Airflow's run id, for the record only (not part of the digest).
        dry_run: compute under a slot of its own and change no table of the business.
        supersede_models: replace the versions on record for this partition (the form's `champion` choice).
    """

    pack: str
    flow: str
    stage: str
    partition: str
    step: str
    inputs: Mapping[str, DatasetRef] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, int] = field(default_factory=dict)
    run_id: str = ""
    map_index: int = -1
    dry_run: bool = False
    supersede_models: bool = False

    @property
    def slot(self) -> Slot:
        """The slot; a dry run has a flow name of its own, so it can never become a head of the real one."""
        flow = f"{self.flow}~dry" if self.dry_run else self.flow
        return Slot(flow, self.stage, self.partition, self.map_index)

    def load_pack(self) -> Pack:
        """The pack's specs, parsed."""
        return load_pack(self.pack)


def engine_step(fingerprint: Fingerprint | None = None) -> Callable[[Callable], Callable]:
    """Mark a function as an engine step: called with the `StageJob`, returns a `StageOutput`.

    Args:
        fingerprint: what the result depends on besides inputs, options, models and code (a source file's
            hash, a contract's text, repairs); its value becomes part of the input digest.
    """

    def mark(function: Callable) -> Callable:
        function.baton_fingerprint = fingerprint or (lambda job: {})  # type: ignore[attr-defined]
        return function

    return mark


def resolve(path: str) -> Callable:
    """Import `module:function`.

    Raises:
        BatonError: the path is not of that form, or names nothing.
    """
    module_name, _, name = path.partition(":")
    if not name:
        raise BatonError(f"step {path!r}: expected 'package.module:function'")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise BatonError(f"step {path!r} cannot be imported: {error}") from error


def run(job: StageJob) -> StageResult:
    """Run the job's step under the slot protocol: return the head if nothing changed, else compute and commit.

    Raises:
        StaleAttempt: a later attempt owns the slot.
        ContractBroken: the output breaks the contract named by the option `output_contract`.
        BatonError: whatever the step itself raises on purpose.
    """
    function = resolve(job.step)
    fingerprint = getattr(function, "baton_fingerprint", None)
    params: dict[str, Any] = {"options": dict(job.options)}
    if fingerprint is not None:
        params["state"] = dict(fingerprint(job))
    if output_contract := job.options.get("output_contract"):
        params["output_contract"] = job.load_pack().contract(output_contract).model_dump(mode="json")

    def compute(inputs: Mapping[str, DatasetRef]) -> StageOutput:
        output = function(job) if fingerprint is not None else _apply(function, inputs, job.options)
        if output_contract:
            _require_contract(job, output.frame, output_contract)
        return StageOutput(output.frame, output.facts, None if job.dry_run else output.on_commit)

    return run_stage(
        job.slot, compute, inputs=dict(job.inputs), params=params, models=dict(job.models),
        code=code_of(function), run_id=job.run_id,
    )  # fmt: skip


def _apply(function: Callable, inputs: Mapping[str, DatasetRef], options: Mapping[str, Any]) -> StageOutput:
    """Call a pure pack function with frames by input name and the option `params` as keywords."""
    frames = read_inputs(inputs)
    result = function(**frames, **options.get("params", {}))
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


def _require_contract(job: StageJob, frame: pd.DataFrame, name: str) -> None:
    """Check a stage's own output (model output, published result): here a violation is our fault, so it stops.

    Raises:
        ContractBroken: naming contract, rule, row and value of the first violations.
    """
    spec = job.load_pack().contract(name)
    verdict = contracts.check(parsing.adopt(frame, spec, f"{job.flow}/{job.stage}"), spec)
    if verdict.status != "passed":
        first = "; ".join(f"row {v.row} {v.column}={v.value!r} breaks {v.rule}" for v in verdict.violations[:3])
        failures = "; ".join(verdict.aggregate_failures)
        raise ContractBroken(f"output of stage {job.stage} breaks contract {name}: {failures or first}")
