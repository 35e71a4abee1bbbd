"""The stage that looks back: what a stage of this flow made of the partitions before."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field

from baton.data.datasets import DatasetRef, read
from baton.names import CONTRACT, INGEST, PUBLISH
from baton.progress import told
from baton.specs.base import Seq, Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput, heads_of, partitions
from baton.stages.step import engine_step

NAMED = 5  # partitions in a sentence


class EarlierOptions(Spec):
    """Options of `rows`."""

    stage: str = Field(description="whose rows")
    columns: Seq[str] = Field(description="which of them")
    partitions: int = Field(default=100, ge=1, description="at most so many partitions, the newest")


def state(job: StageJob[EarlierOptions]) -> Mapping[str, Any]:
    """Contents of the partitions that are looked back on; None where one is not there yet."""
    found: dict[str, Any] = {partition: ref.content_sha256 for partition, ref in refs(job).items()}
    return found | dict.fromkeys(_pending(job))


def _pending(job: StageJob[EarlierOptions]) -> list[str]:
    """Earlier partitions that are ingested, but on whose stage somebody still works, or works no more.

    Hours of a range run side by side, so an hour may look back before the one before it is through. An hour of which
    nothing passed its contract, and one that is published, have nothing to come.
    """
    before = partitions(job.flow, INGEST, before=job.partition, newest=job.options.partitions)
    done = {*heads_of(job.flow, job.options.stage, before), *heads_of(job.flow, PUBLISH, before)}
    checked = heads_of(job.flow, CONTRACT, [p for p in before if p not in done])
    return [p for p in before if p not in done and (p not in checked or checked[p].ref.rows)]


def refs(job: StageJob[EarlierOptions]) -> dict[str, DatasetRef]:
    before = partitions(job.flow, job.options.stage, before=job.partition, newest=job.options.partitions)
    return {p: result.ref for p, result in heads_of(job.flow, job.options.stage, before).items() if result.ref.rows}


@engine_step(EarlierOptions, fingerprint=state)
def rows(job: StageJob[EarlierOptions]) -> StageOutput:
    """Rows that a stage of this flow committed for earlier partitions, oldest first.

    Inputs: what must be done before (its rows are not read).

    Returns:
        the columns and `partition`; no rows where nothing was committed before. Facts: rows, partitions; `degraded` if
        earlier partitions are on their way and not among them; `missing`, if an older version of the stage did not write
        a column: column -> partitions where it is null.
    """
    columns = list(job.options.columns)
    parts, missing = [], Counter[str]()
    for partition, ref in told(refs(job).items(), "earlier rows", "partitions"):
        part = read(ref)
        missing.update(name for name in columns if name not in part)
        parts.append(part.reindex(columns=columns).assign(partition=partition))
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in [*columns, "partition"]})
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    facts: dict[str, Any] = {"rows": len(frame), "partitions": len(parts)}
    if missing:
        facts["missing"] = dict(missing)
    if pending := _pending(job):
        more = ", ..." if len(pending) > NAMED else ""
        facts["degraded"] = [
            f"not looked back on: {len(pending)} earlier partitions are read, but their {job.options.stage} is not "
            f"done yet ({', '.join(pending[-NAMED:])}{more}); run this one again when it is"
        ]
    return StageOutput(frame, facts)
