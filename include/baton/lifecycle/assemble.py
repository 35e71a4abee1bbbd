"""The training DAG's stages: assemble the rows, fit the candidates side by side, register the best one."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, func, select

from baton.data.identity import with_row_identity
from baton.feedback.known_rows import Recent, known_state, taken_rows
from baton.feedback.labels import Bounds
from baton.governance import content
from baton.names import ASSEMBLE, CONTRACT, train_of
from baton.packs.pack import find_model
from baton.record import ledger, tables
from baton.record.warehouse import meta_get, meta_set, now, read, write
from baton.specs.base import Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step

TRAINING_STARTED = "training_started"


class ModelOptions(Spec):
    """Options of the lifecycle's stages."""

    model: str = Field(description="name of the model")


def _training_state(job: StageJob[ModelOptions]) -> Mapping[str, Any]:
    """What the training rows depend on: the history's bytes, the recent datasets, the labels known by now."""
    pack, spec = find_model(job.options.model)
    asked = {"spec": spec.training.model_dump(mode="json"), "since": job.since, "until": job.until}
    return {**asked, **known_state(pack, spec, Bounds(upto=job.until))}


@engine_step(ModelOptions, fingerprint=_training_state, uses=lambda job: [content.trained_by(job.options.model)])
def assemble(job: StageJob[ModelOptions]) -> StageOutput:
    """Put together what a version learns from and what it is judged on.

    Where truth arrives as labels, a share of the recent rows is held out by a hash of the entity: the same rows
    every time, so that no later version ever trained on them (but for `training.refit`, which the gate knows of). All other
    cuts are the family's, on checked rows.

    What the run's form asks: `since`, the first partition of the regime to be judged on (a drift's onset; labelled rows
    before it train), and `until`: nothing is known after this partition.

    Returns:
        see `taken_rows`; facts: rows_in, recent (rows that are not of the history), and what was not taken of the recent
        rows: older_left_out, sampled (class -> share of its rows to learn from, `holdout`: of those to judge on).
    """
    pack, spec = find_model(job.options.model)
    at_most = spec.training.recent.rows if spec.training.recent else None
    frame, left_out = taken_rows(pack, spec, since=job.since, bounds=Bounds(upto=job.until), at_most=at_most)
    facts = {"rows_in": len(frame), "recent": int((frame["_partition"] != "").sum()), **left_out}
    return StageOutput(with_row_identity(frame, spec.model), facts)


def as_of(model: str, until: str | None = None) -> str:
    """What a training knows: the last partition whose truth is known, or `history` (up to `until`).

    It names the training's slots, so that the same trigger twice finds its own result.
    """
    _, spec = find_model(model)
    refs = Recent.of(spec, Bounds(upto=until)).refs if spec.training.recent else {}
    return max(refs, default=until or "history")


def occasions(model: str) -> list[str]:
    """Names of the trainings of a model whose rows passed their contract, newest first."""
    table = tables.commits
    query = select(table.c.partition).where(table.c.flow == train_of(model), table.c.stage == CONTRACT).distinct()
    with read() as conn:
        return sorted((row.partition for row in conn.execute(query)), reverse=True)


def record_start(model: str, run_id: str = "", by: str = "") -> None:
    """Note that a training began: it answers the monitor's request even if all its stages turn out to be cached.

    Args:
        run_id, by: the run, and the name of the person who triggered it, who cannot approve what comes of it; empty: nobody did.
    """
    with write() as conn:
        meta_set(f"training_started:{model}", now(), conn)
        if by:
            ledger.append(conn, TRAINING_STARTED, model, {"run": run_id, "by": by})


def last_training(model: str, conn: Connection | None = None) -> str | None:
    """When the last training of the model began, or committed its rows; None before the first."""
    if conn is None:
        with read() as own:
            return last_training(model, own)
    flow, heads, rows, checked = train_of(model), tables.heads.c, tables.commits.c, tables.commits.alias().c
    passed = select(checked.id).where(
        checked.flow == flow, checked.partition == rows.partition, checked.stage == CONTRACT
    )
    query = select(func.max(rows.created_at)).where(
        heads.flow == flow, heads.stage == ASSEMBLE, rows.id == heads.commit_id, passed.exists()
    )  # fmt: skip
    known = (conn.execute(query).scalar(), meta_get(f"training_started:{model}", conn))
    return max((moment for moment in known if moment), default=None)
