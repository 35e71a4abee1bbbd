"""The stage that looks up what people confirmed: earlier rows whose truth is known by now, the newest of every class."""

from collections.abc import Sequence

import pandas as pd
from pydantic import Field

from baton.errors import BatonError
from baton.feedback.known_rows import NothingKnown, known_rows, known_state
from baton.feedback.labels import Bounds
from baton.packs.pack import Pack, find_model
from baton.record.warehouse import now
from baton.specs.base import Seq, Spec
from baton.specs.model import ModelSpec
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, history, partitions
from baton.stages.step import Seen, engine_step


class ConfirmedOptions(Spec):
    """Options of `rows`."""

    model: str = Field(description="whose history, flow and target")
    columns: Seq[str] = Field(description="rows equal in these columns and the target count once, as the newest")
    each: int = Field(ge=1, description="at most so many rows of a class")
    partitions: int = Field(default=200, ge=1, description="at most so many, the newest: each is a file to read")


def model_of(job: StageJob[ConfirmedOptions]) -> tuple[Pack, ModelSpec]:
    pack, spec = find_model(job.options.model)
    if spec.data.target is None:
        raise BatonError(f"model {spec.model} has no target, so there is nothing that people confirm")
    return pack, spec


def _bounds(job: StageJob[ConfirmedOptions], spec: ModelSpec) -> Bounds:
    """Partitions before this one; and labels recorded before it was first looked up, however often that is repeated.

    A label's moment is the clock's, not the data's: were it compared with the partition's end, hours that are caught up
    on or replayed would know nothing.
    """
    recent = spec.training.recent
    newest = (
        partitions(recent.flow, recent.stage, before=job.partition, newest=job.options.partitions) if recent else []
    )
    runs = history(Slot(job.flow, job.stage, job.partition))  # a dry run, too, shows what the run would find
    heard_by = runs[0].facts["heard_by"] if runs else now()
    return Bounds(first=min(newest, default=None), before=job.partition, heard_by=heard_by)


def state(job: StageJob[ConfirmedOptions]) -> Seen:
    """Contents of the history and of the partitions looked back on, and the labels that count."""
    pack, spec = model_of(job)
    bounds = _bounds(job, spec)  # state and rows are as of the same moment
    return Seen({"data": spec.data.model_dump(mode="json"), **known_state(pack, spec, bounds)}, bounds)


@engine_step(ConfirmedOptions, fingerprint=state)
def rows(job: StageJob[ConfirmedOptions]) -> StageOutput:
    """The newest rows of every class whose truth people confirmed, oldest first; no row of this partition or a later one.

    They are the rows that the model learns from (`feedback.known_rows`): the source's history, and rows of the flow's
    partitions that have a label; here a single label in a partition counts too. A repeated partition uses the labels
    that were known when it was first run.

    Inputs: what must be done before (its rows are not read).

    Returns:
        the columns, the target and `partition` ('' for the history); no rows where nothing is known. Facts: rows,
        classes, recent (rows that are not of the history), heard_by.

    Raises:
        BatonError: the model has no target, or a column is not there.
        SourceError: the history cannot be read.
    """
    pack, spec = model_of(job)
    bounds: Bounds = job.seen
    frame = _newest(known(pack, spec, bounds, job.options.columns), spec, list(job.options.columns), job.options.each)
    facts = {"rows": len(frame), "classes": int(frame[spec.data.target].nunique())}
    recent = int((frame["partition"] != "").sum())
    return StageOutput(frame, {**facts, "recent": recent, "heard_by": bounds.heard_by})


def known(pack: Pack, spec: ModelSpec, bounds: Bounds, columns: Sequence[str]) -> pd.DataFrame | None:
    try:
        return known_rows(pack, spec, bounds=bounds, labelled=0.0, columns=(*columns, str(spec.data.target)))
    except NothingKnown:
        return None


def _newest(known: pd.DataFrame | None, spec: ModelSpec, columns: list[str], each: int) -> pd.DataFrame:
    """The last `each` distinct rows of every class, by partition and time."""
    wanted = [*columns, spec.data.target]
    if known is None:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in [*wanted, "partition"]})
    if missing := [name for name in (*wanted, spec.data.time) if name not in known]:
        raise BatonError(
            f"model {spec.model}: the rows with a known truth have no column {', '.join(missing)}; "
            f"they have {', '.join(map(str, known))}"
        )
    at = pd.to_datetime(known[spec.data.time], utc=True, errors="coerce")
    frame = known.assign(_at=at).rename(columns={"_partition": "partition"}).dropna(subset=wanted)
    frame = frame.sort_values(["partition", "_at"], kind="stable").drop_duplicates(wanted, keep="last")
    return frame.groupby(spec.data.target, sort=False).tail(each)[[*wanted, "partition"]].reset_index(drop=True)
