"""Last stages of a flow: what other systems and people see, replaced in the transaction of the head update."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import Field
from sqlalchemy import Connection

from baton.data.datasets import DatasetRef, read, read_batches, read_frames
from baton.data.fit import LONGEST_KEY, flaws
from baton.errors import BatonError
from baton.feedback import cases, labels
from baton.feedback.cases_to_open import CasesToOpen
from baton.published.writing import Publication
from baton.record import ledger
from baton.specs.base import Seq, Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import NoOptions, engine_step


class PublishOptions(Spec):
    """Options of `publish`."""

    case_routes: Seq[str] = Field(default=(), description="routes that open a case, e.g. [review, block]")
    resolutions: dict[str, dict[str, Any]] | None = Field(
        default=None,
        description="what a case may be answered, and what is then true: {fraud: {is_fraud: 1}}; not needed where the "
        "decisions have a column of that name",
    )


class LabelOptions(Spec):
    """Options of `publish_labels`."""

    about: str = Field(description="DAG id of the flow whose entities are labelled")
    entity: str = Field(description="column of their keys")
    labels: Seq[str] = Field(description="columns, each named as the models' target; an empty cell is not known")
    origin: str = Field(description="where the truth comes from, e.g. chargeback")
    rank: int = Field(default=0, ge=0, description="where two origins disagree the higher rank is the truth")


@engine_step(PublishOptions)
def publish(job: StageJob[PublishOptions]) -> StageOutput:
    """Publish a partition's decisions and the scores behind them; open cases for what needs a person.

    Inputs: `decisions` (entity_key, risk, route, money, reasons) and any number of score datasets.

    Returns:
        the decisions; facts with counts and money by route and the model versions. What is published of the partition is
        replaced whole in the same transaction as the head, and the table `cases` changes: a case that a person decided
        keeps the decision.

    Raises:
        BatonError: an entity is there twice, or under a key that cannot be kept.
    """
    given = job.inputs["decisions"]
    scores = [ref for name, ref in sorted(job.inputs.items()) if name != "decisions"]
    routes, money = defaultdict[str, int](int), defaultdict[str, float](float)
    decided, asking = _source(given), CasesToOpen(given)
    for frame in decided():
        for route, count in frame["route"].value_counts().items():
            routes[str(route)] += int(count)
        for route, much in frame.groupby("route")["money"].sum().items():
            money[str(route)] += float(much)
        asking.add(frame[frame["route"].isin(job.options.case_routes)])
    asking.settle()
    used = _used(job, scores)
    sums = {route: round(much, 2) for route, much in money.items()}
    facts = {"published": given.rows, "routes": dict(routes), "money": sums, "models": used}
    rows = max(given.rows, sum(ref.rows for ref in scores))
    publication = Publication(job.flow, job.partition, used, rows, decided, partial(_batches, scores))

    def on_commit(conn: Connection, commit_id: int) -> None:
        publication.enforce(conn, commit_id)
        cases.open_cases(conn, job.flow, job.partition, asking.frames(), job.options.resolutions)
        said = {"commit": commit_id, "routes": facts["routes"], "models": used, **publication.told}
        ledger.append(conn, "decisions_published", f"{job.flow}/{job.partition}", said)

    frames = iter(decided())
    return StageOutput(next(frames), facts, on_commit, frames, publication.write)


def _source(ref: DatasetRef) -> Callable[[], Iterator[pd.DataFrame]]:
    """Rows to go over several times, at least one frame each time: one object is held, of parts some rows at a time.

    Raises:
        BatonError: a key is none that every warehouse can hold: the contract that let it pass has another key.
    """
    if ref.kind == "manifest" and ref.rows:
        return partial(_in_parts, ref)
    frame = read(ref)
    _keys(frame["entity_key"])
    return lambda: iter([frame])


def _in_parts(ref: DatasetRef) -> Iterator[pd.DataFrame]:
    start = 0
    for frame in read_frames(ref):
        _keys(frame["entity_key"], start)
        yield frame
        start += len(frame)


def _batches(refs: list[DatasetRef]) -> Iterator[pa.Table]:
    """Rows of several datasets, one after the other; see `_source`."""
    for ref in refs:
        start = 0
        for batch in read_batches(ref):
            _keys(batch.column("entity_key").to_pandas(), start)
            start += batch.num_rows
            yield pa.Table.from_batches([batch])


def _each(sources: list[Callable[[], Iterator[pd.DataFrame]]]) -> Iterator[pd.DataFrame]:
    for frames in sources:
        yield from frames()


def _keys(cells: pd.Series, start: int = 0) -> pd.Series:
    """Entities' keys as text; `start`: number of rows before them.

    Raises:
        BatonError: one is none that every warehouse can hold: the contract that let it pass has another key.
    """
    keys = cells.astype(str)
    for position, why in flaws(keys, LONGEST_KEY).items():
        raise BatonError(
            f"row {start + position + 1} of what is published cannot be kept under its key: {why}; check the column by a "
            "contract whose key it is"
        )
    return keys


def _used(job: StageJob[Any], scores: list[DatasetRef]) -> dict[str, int]:
    """Versions by model: those that the run fixed, but for a model of which they scored no row: whoever scored the first one (0: its rules)."""
    import pyarrow.compute as pc

    found: dict[str, int] = {}
    for ref in scores:
        for batch in read_batches(ref, ["model", "version"]):
            if not len(batch):
                continue
            model, versions = str(batch.column(0)[0]), batch.column(1)
            found.setdefault(model, int(versions[0].as_py()))
            if (fixed := job.models.get(model)) is None or pc.any(pc.equal(versions, fixed)).as_py():
                found[model] = found[model] if fixed is None else fixed
                break  # mostly at once
    return {**job.models, **found}


@engine_step()
def publish_predictions(job: StageJob[NoOptions]) -> StageOutput:
    """Publish scores alone (`<model>_score`, flows without routes): no decisions, no cases. Inputs: score datasets."""
    scores = [ref for _, ref in sorted(job.inputs.items())]
    used = _used(job, scores)
    facts = {"published": max(ref.rows for ref in scores), "models": used}
    rows, sources = sum(ref.rows for ref in scores), [_source(ref) for ref in scores]
    publication = Publication(job.flow, job.partition, used, rows, predictions=partial(_batches, scores))

    def on_commit(conn: Connection, commit_id: int) -> None:
        publication.enforce(conn, commit_id)
        said = {"commit": commit_id, **facts, **publication.told}
        ledger.append(conn, "predictions_published", f"{job.flow}/{job.partition}", said)

    if any(ref.kind == "manifest" for ref in scores):  # of one model, or of several that say the same columns
        frames = _each(sources)
        return StageOutput(next(frames), facts, on_commit, frames, publication.write)
    together = pd.concat(list(_each(sources)), ignore_index=True)
    return StageOutput(together, facts, on_commit, beside=publication.write)


@engine_step(LabelOptions)
def publish_labels(job: StageJob[LabelOptions]) -> StageOutput:
    """Publish labels of this partition's entities, which arrive later than these; a repeated delivery replaces them.

    A label is 0 or 1, or a category.

    Returns:
        the rows; facts: published (rows), labels and positives (counts by column), origin.
    """
    rows, options = read(job.inputs["data"]), job.options
    known = {name: rows[rows[name].notna()].set_index(options.entity)[name] for name in options.labels}
    facts: dict[str, Any] = {"published": len(rows), "labels": {name: len(truths) for name, truths in known.items()}}
    facts["origin"] = options.origin
    facts["positives"] = {name: int(rows.sum()) for name, rows in known.items() if pd.api.types.is_numeric_dtype(rows)}

    def on_commit(conn: Connection, commit_id: int) -> None:
        for name, truths in known.items():
            said = {"commit": commit_id, "target": name, "origin": options.origin, "published": len(truths)}
            replace_labels(conn, job, options.about, truths, said, options.rank)

    return StageOutput(rows, facts, on_commit)


def replace_labels(
    conn: Connection, job: StageJob[Any], about: str, truths: pd.Series, facts: dict[str, Any], rank: int = 0
) -> None:
    """Replace what this job's partition said before about the entities of the flow `about`; with a ledger record.

    Args:
        truths: shape (n,), values by entity.
        facts: for the ledger; `origin` says where the truth comes from, `target` what it is of.
    """
    values = truths.astype(float) if pd.api.types.is_numeric_dtype(truths) else truths.astype(str)
    known: list[Any] = values.tolist()
    rows = list(zip(_keys(values.index.to_series()), known, strict=True))
    partitions = labels.replace_labels(
        conn, about, job.partition, job.flow, facts["target"], facts["origin"], rows, rank
    )
    ledger.append(conn, labels.ARRIVED, about, {**facts, "partitions": sorted(partitions)})
