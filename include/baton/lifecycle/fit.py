"""The training DAG's later stages: try each candidate in a task of its own, then fit and register the best one."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import Field

from baton.data.datasets import read
from baton.data.partitions import HOUR
from baton.errors import ModelError
from baton.families import family
from baton.families.base import JUDGED, Family, Leaderboard, Preparing
from baton.lifecycle.assemble import ModelOptions
from baton.packs.pack import Pack, find_model
from baton.record import ledger
from baton.record.warehouse import write
from baton.registry.card import card_facts, model_card
from baton.registry.client import CHALLENGER, Registry
from baton.registry.package import Submission
from baton.specs.base import format_duration
from baton.specs.model import Candidate, ModelSpec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput
from baton.stages.step import engine_step
from baton.tracking.runs import ending, run_name

REFUSED = "refused"  # column of a candidate's result that says why there is none


class CandidateOptions(ModelOptions):
    """Options of `candidate`."""

    candidate: str = Field(description="name in the spec")


# parts of a spec that no fit depends on, and those that only the fit of the winner does
_TOLD = {"owner", "description", "gate", "approval", "drift", "schedules", "scoring"}
_OF_THE_WINNER = {"candidates", "reject"}


def _candidate_state(job: StageJob[CandidateOptions]) -> Mapping[str, Any]:
    """The part of the spec that a candidate's trial depends on: of the candidates itself alone."""
    _, spec = find_model(job.options.model)
    one = _of(spec, job.options.candidate).model_dump(mode="json")
    return {"spec": spec.model_dump(mode="json", exclude=_TOLD | _OF_THE_WINNER), "candidate": one}


def _spec_state(job: StageJob[Any]) -> Mapping[str, Any]:
    """The part of the spec that a fitted model depends on: a changed YAML trains anew on the same rows."""
    pack, spec = find_model(job.options.model)
    reference = spec.drift.model_dump(mode="json", include={"min_rows", "segments"}) if spec.drift else None
    if reference is not None:
        reference["step"] = format_duration(_step(pack, spec))
    return {"spec": spec.model_dump(mode="json", exclude=_TOLD), "reference": reference, "since": job.since}


def _of(spec: ModelSpec, name: str) -> Candidate:
    return next(one for one in spec.candidates if one.name == name)


def _prepared_state(job: StageJob[ModelOptions]) -> Mapping[str, Any]:
    """Of the spec, what plays which part."""
    return {"data": find_model(job.options.model)[1].data.model_dump(mode="json")}


@engine_step(ModelOptions, fingerprint=_prepared_state)
def prepare(job: StageJob[ModelOptions]) -> StageOutput:
    """Compute once what several candidates and the winner's fit need of each row: of texts, their vectors."""
    _, spec = find_model(job.options.model)
    return StageOutput(cast("Preparing", family(spec.family)).prepare(spec, read(job.inputs["data"])))


def _family(spec: ModelSpec, job: StageJob[Any]) -> Family:
    """The model's family, with what was prepared for it."""
    maker = family(spec.family)
    return cast("Preparing", maker).prepared(read(job.inputs["prepared"])) if "prepared" in job.inputs else maker


@engine_step(CandidateOptions, fingerprint=_candidate_state)
def candidate(job: StageJob[CandidateOptions]) -> StageOutput:
    """Judge one candidate on training rows that it did not see, tracked as one MLflow run.

    Returns:
        the family's out-of-sample predictions; facts with the validation metric. Of a candidate that cannot be fitted the
        reason, in the column `refused` and the fact `error` (the others go on).
    """
    _, spec = find_model(job.options.model)
    name = job.options.candidate
    one = _of(spec, name)
    ref = job.inputs["data"]
    try:
        predictions, found = _family(spec, job).validate(spec, one, read(ref))
    except ModelError as error:
        return StageOutput(pd.DataFrame({REFUSED: [str(error)]}), {"candidate": name, "error": str(error)})
    if "value" not in found:
        return StageOutput(predictions, {"candidate": name, **found})
    registry = Registry()
    settings = {k: v for k, v in one.model_dump(mode="json", exclude={"name", "params"}).items() if v is not None}
    run = registry.start_run(
        spec.model, run_name(spec.model, job.partition, name), datasets=[ref], params={**settings, **one.params},
        metrics={f"validation_{found['metric']}": found["value"], "validation_spread": found["spread"],
                 "seconds": found["seconds"]},
        tags=_tags(job),
    )  # fmt: skip
    registry.end_run(run)
    return StageOutput(predictions, {"candidate": name, **found, "mlflow": registry.run_url(run)})


@engine_step(ModelOptions, fingerprint=_spec_state)
def register(job: StageJob[ModelOptions]) -> StageOutput:
    """Fit the best candidate on all training rows, sign it, register it, point `challenger` at it.

    Where the spec says `training.refit` the version scores with the same candidate fitted on the held-out rows too; the one
    without them is in it as well, for figures and gate.

    Returns:
        the leaderboard; facts with model, version, the winner, held-out metrics and the MLflow address.
    """
    pack, spec = find_model(job.options.model)
    maker, frame = _family(spec, job), read(job.inputs["data"])
    found = {one.name: read(job.inputs[one.name]) for one in spec.candidates if one.estimator is not None}
    found, refused = usable(found)
    try:
        board = maker.rank(spec, frame, found)
    except ModelError as error:
        raise ModelError(_said(spec.model, refused, str(error))) from error
    for row in board.rows:
        row["error"] = refused.get(row["candidate"], row.get("error"))
    fitted = maker.fit(spec, frame, board, found)
    metrics, more = maker.evaluate(spec, fitted, frame), maker.published(spec, frame, board, found, fitted)
    trained = Trained(spec, maker, frame, board, more or fitted, metrics, _step(pack, spec), fitted if more else None)
    facts = _hand_over(job, trained)
    facts |= {"winner": board.best, "holdout": trained.metrics, "since": job.since, "refused": refused}
    table = pd.DataFrame(board.rows or [{"candidate": board.best, "value": np.nan}])
    return StageOutput(table.astype({"candidate": str}).drop(columns=["folds"], errors="ignore"), facts)


def usable(tried: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """What the candidates' stages returned, without rows for one that could not be fitted; why each of those could not."""
    refused = {name: str(frame[REFUSED].iloc[0]) for name, frame in tried.items() if list(frame.columns) == [REFUSED]}
    return {name: frame.iloc[:0] if name in refused else frame for name, frame in tried.items()}, refused


def _said(model: str, refused: Mapping[str, str], error: str) -> str:
    reasons = "; ".join(f"{name}: {why.removeprefix(f'candidate {name!r} ')}" for name, why in refused.items())
    return f"model {model}: no candidate could be fitted: {reasons}" if refused else error


@dataclass(frozen=True)
class Trained:
    """A fitted winner with what it was made from.

    Attributes:
        metrics: of the judged model.
        step: length of the partitions that it will score.
        judged: the model that is judged, where it is another than the one that scores.
    """

    spec: ModelSpec
    family: Family
    frame: pd.DataFrame
    board: Leaderboard
    fitted: Any
    metrics: dict[str, float]
    step: timedelta
    judged: Any | None = None

    def save(self, folder: Path) -> None:
        """The model's files and, where its spec wants drift to be watched, the reference."""
        self.fitted.save(folder)
        if self.judged is not None:
            self.judged.save(folder / JUDGED)
        if self.spec.drift is not None:
            reference = self.family.reference(self.spec, self.fitted, self.frame, self.metrics, self.step)
            (folder / "reference.json").write_text(json.dumps(reference), encoding="utf-8")

    def fingerprint(self, dataset: str) -> str:
        """What a version was made from, so that a try after a crash finds what the one before registered."""
        return hashlib.sha256(f"{dataset} {self.board.best} {self.spec.model_dump_json()}".encode()).hexdigest()


def _step(pack: Pack, spec: ModelSpec) -> timedelta:
    """Length of a partition: that of the source whose history is learnt from; rows of a flow bring their own."""
    return pack.source(spec.training.history.source).step if spec.training.history else HOUR


def _period(spec: ModelSpec, frame: pd.DataFrame) -> dict[str, str]:
    """Which time the rows are from, and what of them was kept back to judge."""
    times = pd.to_datetime(frame[spec.data.time], utc=True)
    found = {"period": f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}"}
    held, recent = (getattr(spec.training, name, None) for name in ("holdout", "recent_holdout"))
    if held is None:
        return found
    of_flow = f"; of a flow's labelled rows {recent:.0%}, by a hash" if spec.training.recent is not None else ""
    return found | {"kept back to judge": f"the most recent {held:.0%} of the history{of_flow}"}


def _tags(job: StageJob[Any]) -> dict[str, str]:
    """The way back from MLflow to the Airflow run."""
    return {"airflow.dag_id": job.flow, "airflow.run_id": job.run_id, "airflow.task_id": job.stage,
            "baton.occasion": job.partition}  # fmt: skip


def _hand_over(job: StageJob[Any], trained: Trained) -> dict[str, Any]:
    """Register the fitted winner and point `challenger` at it; a version that an earlier try registered is taken."""
    registry, dataset, model = Registry(), job.inputs["data"].content_sha256, trained.spec.model
    version = _registered_before(registry, model, trained.fingerprint(dataset), dataset)
    if version is None:
        version = _register(registry, job, trained)
    if registry.recorded_champion(model) != version:  # unchanged rows give the champion again
        registry.set_alias(model, CHALLENGER, version)
    subject = f"{model}/{version}"
    if not ledger.entries(subject=subject, kind="version_registered", limit=1):
        with write() as conn:
            ledger.append(conn, "version_registered", subject,
                          {"winner": trained.board.best, "metrics": trained.metrics, "dataset": dataset,
                           "run": job.run_id})  # fmt: skip
    return {"model": model, "version": version, "mlflow": registry.version_url(model, version)}


def _registered_before(registry: Registry, model: str, fingerprint: str, dataset: str) -> int | None:
    """The version of that fingerprint whose signed identity names this dataset (tags alone can be edited)."""
    for known in registry.versions(model):
        if (
            known.tags.get("baton.fingerprint") == fingerprint
            and registry.identity(model, known.version).dataset == dataset
        ):
            return known.version
    return None


def _register(registry: Registry, job: StageJob[Any], trained: Trained) -> int:
    """Save model and drift reference into one folder and make it a signed version with its card."""
    spec, board, fitted, ref = trained.spec, trained.board, trained.fitted, job.inputs["data"]
    params = {"winner": board.best, "features": len(fitted.features)}
    name = run_name(spec.model, job.partition)
    run = registry.start_run(spec.model, name, datasets=[ref], tags=_tags(job), params=params)
    described = trained.family.describe(spec, trained.frame)
    contract = find_model(spec.model)[0].contract(spec.training.contract)
    # which dataset that was, the run says; an address of 180 characters helps nobody here
    known = {**described.data, **_period(spec, trained.frame), "sha256": ref.content_sha256[:16]}
    meanings = {name: column.description for name, column in contract.columns.items() if column.description}
    leaderboard = [{k: v for k, v in row.items() if k not in {"folds", "seconds"}} for row in board.rows]
    with ending(registry, run):
        facts: dict[str, Any] = {"occasion": job.partition, "data": known, "limits": described.limits}
        facts |= {
            "metrics": trained.metrics,
            "meanings": meanings,
            "features": fitted.features,
            "leaderboard": leaderboard,
        }
        card = model_card(card_facts(spec, board.best, described.use, **facts))
        example, output = trained.family.example(spec, fitted, trained.frame)
        tags = _tags(job) | {"baton.winner": board.best, "baton.fingerprint": trained.fingerprint(ref.content_sha256)}
        about = f"{spec.description.strip()} Owner: {spec.owner}."
        with tempfile.TemporaryDirectory(prefix="baton-model-") as scratch:
            folder = Path(scratch)
            trained.save(folder)
            given = Submission(spec.model, folder, run, spec.family, example, card, output)
            version = registry.register(replace(given, metrics=trained.metrics, tags=tags, dataset=ref, about=about))
        if leaderboard:
            registry.log_table(run, "leaderboard.json", leaderboard)
    return version
