"""First stage of a flow: read the partition's source, and fix which model versions this partition uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baton.data.identity import with_row_identity
from baton.data.partitions import is_own
from baton.errors import BatonError, RegistryRefused
from baton.record import ledger
from baton.record.used_models import record_models, recorded_models
from baton.record.warehouse import write
from baton.registry.client import Registry
from baton.sources.reading import read_partition, source_state
from baton.stages.job import StageJob, engine_step
from baton.stages.slots import StageOutput, history

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _source_state(job: StageJob) -> Mapping[str, Any]:
    return source_state(job.load_pack(), job.options["source"], job.partition, _files(job))


def _files(job: StageJob) -> list[str]:
    """Files that the trigger form names; of a partition made of such files, those on record, so that it can run again.

    No other partition has files on record: that of an hour is what was delivered in it.
    """
    if named := list(job.options.get("files") or ()):
        return named
    known = history(job.slot) if is_own(job.partition) else []
    options = [one.params.get("options", {}) for one in known]
    return next((list(each["files"]) for each in reversed(options) if each.get("files")), [])


@engine_step(fingerprint=_source_state)
def ingest(job: StageJob) -> StageOutput:
    """Read one partition of a source as it is; every row gets `_source`, `_row` and `_row_sha`.

    Options:
        source: name in the pack's sources.yaml.
        files: paths below the landing folder that the trigger form names: these documents, and no others.

    Raises:
        NoData: nothing was delivered for this partition.
        SourceError: the source cannot be read.
    """
    batch = read_partition(job.load_pack(), job.options["source"], job.partition, files := _files(job))
    frame = with_row_identity(batch.frame, job.options["source"])
    facts: dict[str, Any] = {
        "rows_in": len(frame), "format": batch.format, "uri": batch.uri, "source_sha256": batch.sha256,
    }  # fmt: skip
    if files:  # only how many: their names are personal data; the commit's options have them, logs and XCom do not
        facts["files"] = len(files)

    def on_commit(conn: Connection, commit_id: int) -> None:
        on_record = record_models(job.flow, job.partition, job.models, job.supersede_models, conn)
        if any(on_record[model] != version for model, version in job.models.items()):
            raise BatonError(
                f"{job.flow} {job.partition}: another run has fixed the versions {on_record} since this one chose "
                f"{dict(job.models)}; the next try follows the record"
            )

    return StageOutput(frame, facts, on_commit)


def choose_models(flow: str, partition: str, models: list[str], choice: str) -> tuple[dict[str, int], list[str], bool]:
    """Decide once per run which version of each model scores this partition.

    Args:
        choice: `recorded` (what this partition used before, else the champion), `champion` (today's
            champions, superseding), or `<model>=<version>` for one of the models.

    Returns:
        versions by model; sentences on what was degraded (a refused champion); whether to supersede the record.

    Raises:
        BatonError: a model has no champion, or the choice names something unknown.
        RegistryRefused: neither the champion nor the previous champion can be trusted.
    """
    wanted: dict[str, int] = {}
    if choice not in {"recorded", "champion"}:
        name, _, version = choice.partition("=")
        if name not in models or not version.isdigit():
            allowed = ", ".join(f"{model}=<version>" for model in models)
            raise BatonError(f"model choice {choice!r}: allowed are recorded, champion, {allowed}")
        wanted[name] = int(version)
    recorded = recorded_models(flow, partition) if choice != "champion" else {}
    registry = Registry()
    degraded: list[str] = []
    chosen: dict[str, int] = {}
    for model in models:
        known = wanted.get(model, recorded.get(model))
        if known is not None:
            try:
                registry.download(model, known)
            except RegistryRefused as refusal:
                _record_refusal(model, known, refusal, None)
                raise
            chosen[model] = known
        else:
            chosen[model], note = _trusted_champion(registry, model)
            degraded += [note] if note else []
    return chosen, degraded, choice != "recorded"


def _trusted_champion(registry: Any, model: str) -> tuple[int, str | None]:
    """The champion if its files verify; else the previous champion, saying so in the ledger and the result."""
    champion = registry.alias(model, "champion")
    if champion is None:
        raise BatonError(f"model {model!r} has no champion yet: trigger {model}_train, then approve in {model}_promote")
    try:
        registry.download(model, champion)
    except RegistryRefused as refusal:
        previous = registry.alias(model, "previous_champion")
        _record_refusal(model, champion, refusal, previous)
        if previous is None or previous == champion:
            raise
        registry.download(model, previous)
        return previous, f"{model} version {champion} refused ({refusal}); version {previous} scores instead"
    return champion, None


def _record_refusal(model: str, version: int, refusal: RegistryRefused, instead: int | None) -> None:
    with write() as conn:
        ledger.append(conn, "version_refused", f"{model}/{version}", {"reason": str(refusal), "instead": instead})
