"""Stages of flows on series: the history that a forecast starts from, and the truth that judges earlier forecasts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from baton.contracts import check as contracts
from baton.data import identity
from baton.data import typed as parsing
from baton.data.datasets import read
from baton.errors import BatonError
from baton.families import family
from baton.feedback.known_rows import known_rows, known_state
from baton.feedback.labels import Bounds
from baton.governance import content
from baton.packs.pack import find_model
from baton.specs.base import Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step
from baton.steps.publish import replace_labels


class HistoryOptions(Spec):
    """Options of `history`."""

    model: str = Field(description="whose history and recent partitions are read")


class TruthOptions(Spec):
    """Options of `publish_truth`."""

    model: str = Field(description="whose target it is")
    origin: str = Field(description="where the truth comes from, e.g. sales")


def _known_state(job: StageJob[HistoryOptions]) -> Mapping[str, Any]:
    """What the series depend on besides this partition: the history's bytes, the partitions before, the contract."""
    pack, spec = find_model(job.options.model)
    return {
        "spec": spec.training.model_dump(mode="json"),
        "contract": pack.contract(spec.training.contract).model_dump(mode="json"),
        **known_state(pack, spec, Bounds(before=job.partition)),
    }


@engine_step(HistoryOptions, fingerprint=_known_state, uses=lambda job: [content.trained_by(job.options.model)])
def history(job: StageJob[HistoryOptions]) -> StageOutput:
    """Every series up to this partition, and behind it what is known in advance of the periods to come.

    Inputs: `data`, this partition's checked rows; `plan` (optional), rows of the future without target.

    Returns:
        rows in the training contract's columns, the target null in rows of the future; facts with the number of
        rows, of rows of the future, and of rows of the history that the contract leaves out.

    Raises:
        BatonError: the history breaks its contract.
    """
    pack, spec = find_model(job.options.model)
    contract = pack.contract(spec.training.contract)
    # this partition's rows are those that were handed over: a dry run's are no head
    before = known_rows(pack, spec, bounds=Bounds(before=job.partition))
    columns = list(contract.columns)
    raw = identity.with_row_identity(before.reindex(columns=columns), spec.model)
    parsed = parsing.parse(raw, contract)
    verdict = contracts.check(parsed, contract)
    if verdict.status == "broken":
        raise BatonError(f"the history of {spec.model} breaks its contract: {'; '.join(verdict.aggregate_failures)}")
    parts = [contracts.good_rows(parsed, verdict), read(job.inputs["data"])]
    if "plan" in job.inputs:
        plan = read(job.inputs["plan"])
        last = parts[1][spec.data.time].max()
        parts.append(plan[plan[spec.data.time] > last].assign(**{spec.data.target: None}))
    frame = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    frame[spec.data.target] = frame[spec.data.target].astype("float64")
    future = int(frame[spec.data.target].isna().sum())
    facts = {"rows": len(frame), "future": future, "left_out": len(raw) - len(parts[0])}
    return StageOutput(identity.with_row_identity(frame, spec.model), facts)


@engine_step(TruthOptions)
def publish_truth(job: StageJob[TruthOptions]) -> StageOutput:
    """Publish what this partition's rows say about earlier forecasts; a repeated delivery replaces it."""
    _, spec = find_model(job.options.model)
    data = read(job.inputs["data"])
    keys = family(spec.family).keys(spec, data)
    truth = pd.DataFrame({"entity_key": keys, "value": data[spec.data.target].astype(float)})
    facts = {"published": len(truth), "origin": job.options.origin, "target": spec.data.target}

    def on_commit(conn: Connection, commit_id: int) -> None:
        replace_labels(conn, job, job.flow, truth.set_index("entity_key")["value"], {"commit": commit_id, **facts})

    return StageOutput(truth, facts, on_commit)
