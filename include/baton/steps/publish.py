"""Last stages of a flow: what other systems and people see, replaced in the transaction of the head update."""

import json
import re
from typing import Any

import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from baton.data.datasets import read
from baton.data.fit import LONGEST_KEY, flaws
from baton.errors import BatonError
from baton.feedback import cases, labels
from baton.record import ledger, tables
from baton.record.warehouse import bulk_replace, now
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
        the decisions; facts with counts and money by route and the model versions. The tables `decisions`,
        `predictions` and `cases` change in the same transaction as the head: a partition is replaced whole,
        a case that a person decided keeps the decision.
    """
    decisions = read(job.inputs["decisions"])
    scores = [read(ref) for name, ref in sorted(job.inputs.items()) if name != "decisions"]
    routes = {str(k): int(v) for k, v in decisions["route"].value_counts().items()}
    money = {str(k): round(float(v), 2) for k, v in decisions.groupby("route")["money"].sum().items()}
    used = _used(job, scores)
    facts = {"published": len(decisions), "routes": routes, "money": money, "models": used}

    def on_commit(conn: Connection, commit_id: int) -> None:
        where, at = {"flow": job.flow, "partition": job.partition}, now()
        bulk_replace(conn, tables.decisions, where, _decision_rows(job, decisions, used, commit_id, at))
        bulk_replace(conn, tables.predictions, where, _prediction_rows(job, scores, commit_id, at))
        opened = decisions[decisions["route"].isin(job.options.case_routes)]
        cases.open_cases(conn, job.flow, job.partition, opened, job.options.resolutions)
        ledger.append(conn, "decisions_published", f"{job.flow}/{job.partition}",
                      {"commit": commit_id, "routes": routes, "models": used})  # fmt: skip

    return StageOutput(decisions, facts, on_commit)


def _keys(cells: pd.Series) -> pd.Series:
    """Entities' keys as text.

    Raises:
        BatonError: one is none that every warehouse can hold: the contract that let it pass has another key.
    """
    keys = cells.astype(str)
    for position, why in flaws(keys, LONGEST_KEY).items():
        raise BatonError(
            f"row {position + 1} of what is published cannot be kept under its key: {why}; check the column by a contract "
            "whose key it is"
        )
    return keys


def _used(job: StageJob[Any], scores: list[pd.DataFrame]) -> dict[str, int]:
    """Versions by model: those that the run fixed, but for what another rung of a model's ladder scored (0: its rules)."""
    found = {str(frame["model"].iloc[0]): int(frame["version"].iloc[0]) for frame in scores if len(frame)}
    return {**job.models, **found}


def _decision_rows(
    job: StageJob[Any], frame: pd.DataFrame, used: dict[str, int], commit_id: int, at: Any
) -> list[dict[str, Any]]:
    shared = {"flow": job.flow, "partition": job.partition, "commit_id": commit_id, "decided_at": at}
    shared["models"] = used
    return [
        {**shared, "entity_key": key, "risk": risk, "route": route, "money": money}
        for key, risk, route, money in zip(
            _keys(frame["entity_key"]), frame["risk"].astype(float), frame["route"].astype(str),
            frame["money"].astype(float), strict=True,
        )
    ]  # fmt: skip


def _prediction_rows(job: StageJob[Any], scores: list[pd.DataFrame], commit_id: int, at: Any) -> list[dict[str, Any]]:
    shared = {"flow": job.flow, "partition": job.partition, "commit_id": commit_id, "scored_at": at}
    return [
        {**shared, "entity_key": key, "model": model, "version": int(version), "score": score,
         "category": category, "accepted": accepted, "strangeness": strangeness, "quantiles": quantiles,
         "reasons": json.loads(reasons) if isinstance(reasons, str) else None}
        for frame in scores
        for key, model, version, score, category, accepted, strangeness, reasons, quantiles in zip(
            _keys(frame["entity_key"]), frame["model"], frame["version"], frame["score"].astype(float),
            frame["category"] if "category" in frame else [None] * len(frame),
            _numbers(frame, "accepted", int), _numbers(frame, "strangeness", float), frame["reasons"].tolist(),
            _quantiles(frame), strict=True,
        )
    ]  # fmt: skip


def _numbers(frame: pd.DataFrame, name: str, kind: type[int] | type[float]) -> list[Any]:
    """A column that not every family gives; null where there is nothing."""
    if name not in frame:
        return [None] * len(frame)
    return [None if pd.isna(one) else kind(one) for one in frame[name].tolist()]


def _quantiles(frame: pd.DataFrame) -> list[dict[str, float] | None]:
    """Quantiles of a forecast by level, from its columns `q0.1`, `q0.9`; null for a plain score."""
    columns = [name for name in frame if re.fullmatch(r"q0?\.\d+", str(name))]
    if not columns:
        return [None] * len(frame)
    return [
        {str(name).removeprefix("q"): float(value) for name, value in row.items()}
        for row in frame[columns].to_dict("records")
    ]


@engine_step()
def publish_predictions(job: StageJob[NoOptions]) -> StageOutput:
    """Publish scores alone (`<model>_score`, flows without routes): no decisions, no cases. Inputs: score datasets."""
    scores = [read(ref) for _, ref in sorted(job.inputs.items())]
    facts = {"published": max(map(len, scores)), "models": _used(job, scores)}

    def on_commit(conn: Connection, commit_id: int) -> None:
        where = {"flow": job.flow, "partition": job.partition}
        bulk_replace(conn, tables.predictions, where, _prediction_rows(job, scores, commit_id, now()))
        ledger.append(conn, "predictions_published", f"{job.flow}/{job.partition}", {"commit": commit_id, **facts})

    return StageOutput(pd.concat(scores, ignore_index=True), facts, on_commit)


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
