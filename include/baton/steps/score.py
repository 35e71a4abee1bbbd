"""Scoring stage: one verified model version on one partition; where a flow declares a fallback, the first rung that can."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pydantic import Field, model_validator
from sqlalchemy import Connection

from baton.data import stored
from baton.data.datasets import DatasetRef, read, read_frames
from baton.errors import SpecError
from baton.families import ROW_LOCAL, family
from baton.governance import content
from baton.packs.pack import find_model
from baton.registry.client import Registry
from baton.specs.base import Share
from baton.stages.job import StageJob
from baton.stages.run import reader
from baton.stages.slots import StageOutput, recomputed_after
from baton.stages.step import OnEngine, Read, engine_step
from baton.steps.ladder import LADDER, Climb, joined, record, record_refused
from baton.usage import used
from baton.usage.used import Consumer, Use


class ScoreOptions(OnEngine):
    """Options of `score`."""

    model: str = Field(description="name of the model")
    explain: Share = Field(
        default=0.02,
        description="share of the rows, highest scores first, that get reason codes; of a batch in parts, of each 100,000 rows "
        "or fewer of a part",
    )
    fallback: str = Field(
        default="",
        description="dotted path of a function of the pack that scores where no version can; it gives entity_key, score and "
        "reasons for each row of `data`, of a batch in parts some rows at a time. Empty: a model that does not score stops the flow",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.fallback and self.engine != "local":
            raise ValueError(
                f"option engine: {self.engine} and a fallback exclude each other: the rules would run here"
            )
        return self


def _state(job: StageJob[ScoreOptions]) -> dict[str, Any]:
    """With a fallback: a result that another rung made is not the last word, a repetition tries the champion again; a group's own."""
    return {"after": recomputed_after(job.slot)} if job.options.fallback else {}


@engine_step(
    ScoreOptions,
    fingerprint=_state,
    uses=lambda job: content.read_by_code(job.pack) if job.options.fallback else [],
    join=joined,
)
def score(job: StageJob[ScoreOptions]) -> StageOutput:
    """Score every row with the version recorded for this partition.

    Returns:
        columns entity_key (str), model, version (int), score (of a table: probability or anomaly quantile, 0..1; of
        series: the median forecast), reasons (JSON list of [feature, contribution] or null), `_row`, and what the
        family adds (quantiles of a forecast). With a fallback also source: champion, previous or rules (then version is
        0), and the facts rung, version and perhaps `degraded`; where several tasks score a batch also `ladder`, see `joined`.
    """
    name, began = job.options.model, time.monotonic()
    if job.options.fallback:
        return _with_fallback(job, began)
    version = job.models[name]
    registry, maker = Registry(), family(find_model(name)[1].family)
    data = job.inputs["data"]
    whole: dict[int | None, int | None] = {version: None}
    facts = {"mlflow": registry.version_url(name, version)}
    if job.options.engine == "spark":
        if not maker.row_local:
            raise SpecError(
                f"model {name}, engine: spark: a row's score depends on other rows, so a cluster cannot share them out"
            )
        files = registry.download(name, version, job.flow)
        output = job.connections.cluster(job.options.conn_id)(job, "baton.steps.score:scored", files, facts)
        return replace(output, on_commit=partial(_count, job, began, whole))
    ends = _ends(data, maker.row_local)
    frames = scored(job, reader(job.inputs, ends, at_once=not ends), registry.download(name, version, job.flow))
    counted = partial(_count, job, began, whole)
    return StageOutput(next(frames), facts, counted, frames, ends=ends)


def _count(
    job: StageJob[ScoreOptions], began: float, by: Mapping[int | None, int | None], conn: Connection, commit_id: int
) -> None:
    """Who scored how many rows (None: all); rules have no version and are no asset."""
    who = Consumer(job.pack, job.flow, job.stage, job.partition, job.slot.map_index)
    seconds = (time.monotonic() - began) / max(len(by), 1)
    asset = f"model:{job.options.model}"
    used.record(
        conn, commit_id, who, [Use(asset, str(v), "", n, seconds=seconds) for v, n in by.items() if v is not None]
    )


def scored(job: StageJob[ScoreOptions], read: Read, files: Path) -> Iterator[pd.DataFrame]:
    """Score some rows, and the next, with the verified model in the folder `files`; what it does not look at is not read."""
    name = job.options.model
    _, spec = find_model(name)
    maker = family(spec.family)
    model = maker.load(files)
    for some in read({"data": maker.columns(spec, model)}):
        frame = maker.score(spec, model, some["data"], job.options.explain)
        frame.insert(1, "model", name)
        frame.insert(2, "version", job.models[name])
        yield frame


def _with_fallback(job: StageJob[ScoreOptions], began: float) -> StageOutput:
    name, rules, data = job.options.model, job.options.fallback, job.inputs["data"]
    climb = Climb(job, name, job.models.get(name), job.options.explain, rules)
    facts: dict[str, Any] = {}

    def scored(rows: pd.DataFrame) -> pd.DataFrame:
        frame = climb.score(rows)
        facts.clear()  # what the last rows are scored with is the lowest rung
        facts.update(climb.facts())
        if not job.shared:
            facts.pop(LADDER)
        return frame

    def on_commit(conn: Connection, commit_id: int) -> None:
        _count(job, began, climb.rows, conn, commit_id)
        record_refused(conn, climb, name, job.partition)
        if not job.shared:  # else it is said of all rows when they are named as one: `joined`
            record(job.slot, [climb.facts()], conn, commit_id)

    ends = _ends(data, find_model(name)[1].family in ROW_LOCAL)
    frames = map(scored, read_frames(data, ends=ends) if ends else [read(data)])
    return StageOutput(next(frames), facts, on_commit, frames, ends=ends)


def _ends(data: DatasetRef, row_local: bool) -> Sequence[int]:
    """Where the parts of the scores end; none where the rows are scored at once."""
    return stored.ends(data) if row_local and data.kind == "manifest" else ()
