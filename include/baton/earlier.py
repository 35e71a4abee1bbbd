"""The stage that looks back: what a stage of this flow made of the partitions before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baton.slots import StageOutput
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    from baton.datasets import DatasetRef


def _state(job: StageJob) -> Mapping[str, Any]:
    """Contents of the partitions that are looked back on."""
    return {partition: ref.content_sha256 for partition, ref in _refs(job).items()}


def _refs(job: StageJob) -> dict[str, DatasetRef]:
    from baton.slots import Slot, head, partitions

    before = [p for p in sorted(partitions(job.flow, job.options["stage"])) if p < job.partition]
    refs = {}
    for partition in before[-int(job.options.get("partitions", 100)) :]:
        result = head(Slot(job.flow, job.options["stage"], partition))
        if result is not None and result.ref.rows:
            refs[partition] = result.ref
    return refs


@engine_step(fingerprint=_state)
def rows(job: StageJob) -> StageOutput:
    """Rows that a stage of this flow committed for earlier partitions, oldest first.

    Inputs: what must be done before (its rows are not read).

    Options:
        stage: whose rows.
        columns: which of them.
        partitions: at most so many partitions, the newest; default 100.

    Returns:
        the columns and `partition`; no rows where nothing was committed before. Facts: rows, partitions.
    """
    import pandas as pd

    from baton.datasets import read

    columns = list(job.options["columns"])
    parts = [read(ref)[columns].assign(partition=partition) for partition, ref in _refs(job).items()]
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in [*columns, "partition"]})
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    return StageOutput(frame, {"rows": len(frame), "partitions": len(parts)})
