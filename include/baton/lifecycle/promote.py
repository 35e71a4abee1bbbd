"""The promotion DAG's stages: judge the challenger, and move the champion once people agreed; they are asked in between."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from sqlalchemy import select

from baton.actions.action import digest
from baton.actions.promotions import permitted
from baton.data import datasets
from baton.errors import BatonError, RegistryRefused
from baton.families import family
from baton.families.base import JUDGED, SEEN
from baton.lifecycle.assemble import TRAINING_STARTED, ModelOptions, occasions
from baton.names import CONTRACT, REGISTER, train_of
from baton.packs.pack import find_model
from baton.record import ledger, tables
from baton.record.warehouse import now, read, upsert
from baton.registry.card import gate_table
from baton.registry.client import ALIAS_MOVED, CHALLENGER, Registry
from baton.registry.review import MEANS
from baton.specs.model import ModelSpec
from baton.stages.job import StageJob
from baton.stages.slots import Slot, StageOutput, history
from baton.stages.step import engine_step

PROMOTE = "PROMOTE"
_CUT = ("data", "training")  # parts of a spec that say how rows are cut


def version_to_judge(model: str, asked: int = 0) -> int:
    """The version asked for, else the one that the alias `challenger` points at.

    Raises:
        BatonError: there is no challenger.
    """
    registry = Registry()
    version = asked or registry.alias(model, CHALLENGER)
    if not version:
        champion = registry.recorded_champion(model)
        since = f"; version {champion} is champion, and nothing was registered since" if champion else ""
        raise BatonError(f"model {model!r} has no challenger: trigger {train_of(model)} first{since}")
    return version


def is_champion(model: str, version: int) -> bool:
    """True when the version is what scores now."""
    return Registry().recorded_champion(model) == version


def _state(job: StageJob[ModelOptions]) -> Mapping[str, Any]:
    """Judged anew after every move of the champion: an answer from before a rollback must not promote once more."""
    _, spec = find_model(job.options.model)
    moves = [entry.seq for entry in ledger.entries(subject=spec.model, kind=ALIAS_MOVED, limit=1)]
    champion = Registry().recorded_champion(spec.model)
    return {"champion": champion, "moves": moves, "gate": spec.gate.model_dump(mode="json")}


@engine_step(ModelOptions, fingerprint=_state)
def judge(job: StageJob[ModelOptions]) -> StageOutput:
    """Compare challenger and champion on the rows held out when the challenger was trained, those that the champion knows left out.

    Returns:
        the gate's table; facts with decision PROMOTE | HOLD | MORE_DATA, reasons, version, champion and a
        summary in Markdown for the person who approves.
    """
    registry = Registry()
    _, spec = find_model(job.options.model)
    version = int(job.partition.removeprefix("version-"))
    champion = registry.recorded_champion(spec.model)
    verdict = compare(spec, registry, version, champion)
    files = registry.manifest(spec.model, version)  # before the commit: no writer waits for MLflow and for hashing
    facts = {
        "decision": verdict.decision, "means": MEANS[verdict.decision], "reasons": verdict.reasons, "model": spec.model, "version": version,
        "champion": champion, "mlflow": registry.version_url(spec.model, version),
        "summary": _summary(spec, version, champion, verdict),
    }  # fmt: skip

    def on_commit(conn: Any, commit_id: int) -> None:
        judged = {**verdict.to_dict(), "champion_version": champion, "manifest": files, "gate": gate_of(spec)}
        row = {"model": spec.model, "version": version, "verdict": judged, "judged_at": now(), "answer": None, "reviewer": None,
               "channel": None, "answered_at": None, "request": None}  # fmt: skip
        upsert(conn, tables.approvals, [row])
        ledger.append(conn, "gate_verdict", f"{spec.model}/{version}",
                      {k: facts[k] for k in ("decision", "reasons", "champion")})  # fmt: skip

    facts["gate_at"] = registry.record_gate(spec.model, version, verdict)
    return StageOutput(pd.DataFrame(verdict.table), facts, on_commit)


def gate_of(spec: ModelSpec) -> str:
    """SHA-256 over the policy of a model's gate: what people agree to was judged by it."""
    return digest(spec.gate.model_dump(mode="json"))


def compare(spec: ModelSpec, registry: Any, version: int, champion: int | None) -> Any:
    """The gate's verdict on a version against a champion, on cases that neither has seen.

    Raises:
        BatonError: the rows that the version was trained from are not in the store any more.
    """
    maker = family(spec.family)
    before = maker.load(registry.verified(spec.model, champion)) if champion else None  # the one that scores
    folder = registry.verified(spec.model, version)
    judged = maker.load(folder / JUDGED if (folder / JUDGED).is_dir() else folder)
    frame = _training_rows(spec, registry, version)
    if frame is None:
        raise BatonError(
            f"{spec.model} version {version}: its training dataset {registry.identity(spec.model, version).dataset} is not "
            f"in the store; train again with {train_of(spec.model)}"
        )
    if not champion or maker.truth == "rows":  # a gate of series cuts by the champion's last period
        return maker.judge(spec, frame, before, judged)
    learnt_from = _training_rows(spec, registry, champion)
    if learnt_from is not None:
        known = maker.seen(_spec_of(spec, champion), frame, learnt_from)
        return maker.judge(spec, frame.assign(**{SEEN: known}), before, judged)
    trained = pd.Timestamp(registry.identity(spec.model, champion).created)
    known = (pd.to_datetime(frame[spec.data.time], utc=True) <= trained).to_numpy()
    verdict = maker.judge(spec, frame.assign(**{SEEN: known}), before, judged)
    note = (
        f"What version {champion} was trained from is not in the store any more: it counts as knowing all rows up to "
        f"{trained:%Y-%m-%d %H:%M}."
    )
    return replace(verdict, reasons=[*verdict.reasons, note])


def _training_rows(spec: ModelSpec, registry: Any, version: int) -> pd.DataFrame | None:
    """The checked rows that `version` was trained from, held-out ones included; None: they are gone from the store."""
    sha = registry.identity(spec.model, version).dataset  # signed: a reviewer can edit tags
    for occasion in occasions(spec.model):
        for result in history(Slot(train_of(spec.model), CONTRACT, occasion)):
            if result.ref.content_sha256 == sha:
                return datasets.read(result.ref)
    return None


def _spec_of(spec: ModelSpec, version: int) -> ModelSpec:
    """The spec by which a version was trained, as far as it says which of its rows were held out."""
    for occasion in occasions(spec.model):
        for result in history(Slot(train_of(spec.model), REGISTER, occasion)):
            if result.facts.get("version") == version:
                then = result.params["state"]["spec"]
                parts = {name: type(getattr(spec, name)).model_validate(then[name], strict=False) for name in _CUT}
                return spec.model_copy(update=parts)
    return spec


def _summary(spec: ModelSpec, version: int, champion: int | None, verdict: Any) -> str:
    """The decision card: what is asked, on which evidence."""
    against = f"champion version {champion}" if champion else "no champion yet"
    gate = f"Gate: **{verdict.decision}**, {MEANS[verdict.decision]}."
    head = [f"**{spec.model} version {version}** against {against}", "", gate, ""]
    return "\n".join([*head, *(f"- {reason}" for reason in verdict.reasons), "", *gate_table(verdict.table)])


def had_a_part(model: str, version: int, runs: Collection[str], by: str) -> dict[str, str]:
    """Who cannot approve a version: by name what they did, as far as the record knows it.

    Args:
        runs: of the training that woke the promotion; those that registered the version are added.
        by: who triggered the promotion's run; empty: nobody did.
    """
    registered = ledger.entries(subject=f"{model}/{version}", kind="version_registered")
    told = {*runs, *(entry.payload.get("run") for entry in registered)}
    started = ledger.entries(subject=model, kind=TRAINING_STARTED, limit=10_000)
    found = {entry.payload["by"]: "started its training" for entry in started if entry.payload["run"] in told}
    return found | ({by: "started its promotion"} if by else {})


def _record(job: StageJob[ModelOptions]) -> Mapping[str, Any] | None:
    """Gate verdict and answer on record for the job's version."""
    return record_of(job.options.model, int(job.partition.removeprefix("version-")))


def record_of(model: str, version: int) -> Mapping[str, Any] | None:
    """The row of `approvals` of a version: its verdict, and the answer once there is one."""
    table = tables.approvals
    query = select(table).where(table.c.model == model, table.c.version == version)
    with read() as conn:
        row = conn.execute(query).mappings().first()
    return None if row is None else dict(row)


def _answer_state(job: StageJob[ModelOptions]) -> Mapping[str, Any]:
    """Every answer moves the alias once: the same version can be promoted again after a rollback."""
    record = _record(job) or {}
    return {name: record.get(name) for name in ("answered_at", "request")}


@engine_step(ModelOptions, fingerprint=_answer_state)
def move_champion(job: StageJob[ModelOptions]) -> StageOutput:
    """Point `champion` at the approved version; the one before becomes `previous_champion`.

    Raises:
        RegistryRefused: people have not agreed to exactly this move (`baton.actions.promotions`), or it was made.
    """
    _, spec = find_model(job.options.model)
    model, version = spec.model, int(job.partition.removeprefix("version-"))
    record = _record(job)
    if record is None:
        raise RegistryRefused(f"{model} version {version} is not approved: it was never judged")
    registry = Registry()
    previous = record["verdict"].get("champion_version")
    files = registry.manifest(model, version)
    registry.promote(
        model, version, previous, permit=lambda conn: permitted(conn, model, version, files, gate_of(spec))
    )
    facts = {"model": model, "version": version, "previous": previous, "mlflow": registry.version_url(model, version)}

    return StageOutput(pd.DataFrame([{"model": model, "version": version}]), facts)
