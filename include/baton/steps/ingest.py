"""First stage of a flow: read the partition's source, and fix which model versions this partition uses."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import Field
from sqlalchemy import Connection

from baton.data.identity import with_row_identity
from baton.data.partitions import is_own
from baton.data.parts import give_back
from baton.errors import BatonError, RegistryRefused, ServiceError
from baton.governance.consume import require_consumer
from baton.names import promote_of, train_of
from baton.progress import tell
from baton.record import ledger
from baton.record.used_models import record_models, recorded_models
from baton.record.warehouse import transact, write
from baton.registry.client import CHAMPION, PREVIOUS, Registry, champions
from baton.registry.review import champion_moved
from baton.sources.large import ROWS, LargeFile, identified
from baton.sources.pieces import Pieces
from baton.sources.reading import RawBatch, delivered_file, look, share_out, state_of
from baton.specs.base import Spec
from baton.stages.job import StageJob
from baton.stages.slots import StageOutput, history
from baton.stages.step import Announced, Seen, engine_step
from baton.steps.ladder import PATIENCE


class IngestOptions(Spec):
    """Options of `ingest`."""

    source: str = Field(description="name in the pack's sources.yaml")


def _source_state(job: StageJob[IngestOptions]) -> Seen:
    pack, source, named = job.load_pack(), job.options.source, files_of(job)
    batch = look(pack, source, job.partition, named, job.connections.rows)
    return Seen({**state_of(pack.source(source), batch), **({"files": named} if named else {})}, (batch, named))


def files_of(job: StageJob[Any]) -> list[str]:
    """Files that the trigger form names; of a partition made of such files, those on record, so that it can run again.

    No other partition has files on record: that of an hour is what was delivered in it.
    """
    if job.files:
        return list(job.files)
    known = history(job.slot) if is_own(job.partition) else []
    states = [one.params.get("state", {}) for one in known]
    return next((list(each["files"]) for each in reversed(states) if each.get("files")), [])


def _announce(job: StageJob[IngestOptions]) -> Announced | None:
    """The pieces of a file that was delivered and is large; with them the versions are fixed."""
    shared = share_out(job.load_pack(), job.options.source, job.partition) if not files_of(job) else None
    if shared is None:
        return None
    uri, pieces = shared
    if not job.dry_run:
        transact(lambda conn: _fix(conn, job))
    facts = _facts(job.options.source, "parquet", uri, pieces.sha256)
    return Announced(pieces.rows, {"file": pieces.to_dict()}, {"rows_in": pieces.rows[-1], **facts})


@engine_step(IngestOptions, fingerprint=_source_state, announce=_announce)
def ingest(job: StageJob[IngestOptions]) -> StageOutput:
    """Read one partition of a source as it is; every row gets `_source`, `_row` and `_row_sha`.

    What is too large to be held goes on some rows at a time; a file is hashed once more meanwhile: the rows are those that the state
    describes.

    Files that the trigger form names (`job.files`) are paths below the landing folder: these documents, and no others.

    Raises:
        NoData: nothing was delivered for this partition.
        SourceError: the source cannot be read.
        StaleAttempt: a large file was changed while it was read.
    """
    batch, named = job.seen
    facts = {"rows_in": 0, **_facts(job.options.source, batch.format, batch.uri, batch.sha256)}
    rest: Iterable[pa.Table] = ()
    ends: Sequence[int] = ()
    if isinstance(batch, RawBatch):
        frame = with_row_identity(batch.frame, job.options.source)
        facts["rows_in"] = len(frame)
    else:
        frame, rest = _table_by_table(_counted(batch.tables(job.options.source), facts))
        ends = batch.ends if isinstance(batch, LargeFile) else ()
    if named:  # only how many: names are personal data; the commit has them, logs and XCom do not
        facts["files"] = len(named)

    return StageOutput(frame, facts, lambda conn, _: _fix(conn, job), rest, ends=ends)


class PiecesOptions(IngestOptions):
    """Options of `read_pieces`."""

    file: dict[str, Any] = Field(
        default_factory=dict, description="what `ingest` shared out, see `baton.sources.pieces.Pieces`; no flow says it"
    )


def _pieces_state(job: StageJob[PiecesOptions]) -> dict[str, Any]:
    if job.group is None or not job.options.file:
        raise BatonError(f"{job.flow} {job.partition}: nothing was shared out; `ingest` reads all by itself")
    sha256 = Pieces.from_dict(job.options.file).sha256
    return state_of(job.load_pack().source(job.options.source), LargeFile("parquet", "", sha256))


@engine_step(PiecesOptions, fingerprint=_pieces_state)
def read_pieces(job: StageJob[PiecesOptions]) -> StageOutput:
    """Read some row groups of a large file, as `ingest` would have read all.

    Raises:
        SourceError: the file cannot be read.
        StaleAttempt: it is another than was shared out.
    """
    assert job.group is not None
    source, pieces = job.options.source, Pieces.from_dict(job.options.file)
    uri = delivered_file(job.load_pack(), source, job.partition)
    start, end = job.group.rows
    numbers = pieces.between(start, end)
    facts = {"rows_in": 0, **_facts(source, "parquet", uri, pieces.sha256)}
    found = identified(pieces.read(uri, numbers, ROWS), source, start + 1)
    frame, rest = _table_by_table(_counted(found, facts))
    return StageOutput(frame, facts, rest=rest, ends=[pieces.rows[number] - start for number in numbers])


def _facts(source: str, form: str, uri: str, sha256: str) -> dict[str, Any]:
    return {"source": source, "format": form, "uri": uri, "source_sha256": sha256}


def _fix(conn: Connection, job: StageJob[Any]) -> None:
    """Put the versions that the run chose on record."""
    on_record = record_models(job.flow, job.partition, job.models, job.supersede_models, conn)
    if any(on_record[model] != version for model, version in job.models.items()):
        raise BatonError(
            f"{job.flow} {job.partition}: another run has fixed the versions {on_record} since this one chose "
            f"{dict(job.models)}; the next try follows the record"
        )


def _table_by_table(tables: Iterator[pa.Table]) -> tuple[pd.DataFrame, Iterator[pa.Table]]:
    """No rows, which say the columns, and all rows."""
    first = next(tables)
    return first.slice(0, 0).to_pandas(), chain([first], tables)


def _counted(tables: Iterator[pa.Table], facts: dict[str, Any]) -> Iterator[pa.Table]:
    for table in tables:
        facts["rows_in"] += table.num_rows
        tell("rows read", "rows", facts["rows_in"])
        yield table
        del table
        give_back()


def choose_models(
    flow: str, partition: str, models: list[str], choice: str, *, dry_run: bool = False, fallbacks: Collection[str] = ()
) -> tuple[dict[str, int], list[str], bool]:
    """Decide once per run which version of each model scores this partition.

    Args:
        choice: `recorded` (what this partition used before, else the champion), `champion` (today's
            champions, superseding), or `<model>=<version>` for some of the models, with commas between.
        dry_run: nothing comes of the run, so a version that was never promoted may be named.
        fallbacks: models whose flow declares a fallback: theirs is the version that should score; whether it can is seen when
            it does (`baton.steps.ladder`), and a partition that is repeated tries it again.

    Returns:
        versions by model (none of a model with a fallback that has no champion yet); sentences on what was degraded (a refused champion, a foreign alias); whether to supersede the
        record.

    Raises:
        BatonError: a model has no champion, or the choice names something unknown.
        RegistryRefused: the flow is no consumer of a model; the version named or on record was never promoted, or cannot be
            trusted; or neither the champion nor the previous champion can.
    """
    for model in models:
        _require_consumer(model, flow)
    wanted: dict[str, int] = {}
    for one in choice.split(",") if choice not in {"recorded", "champion"} else ():
        name, _, version = one.partition("=")
        if name not in models or not version.isdigit() or name in wanted:
            allowed = ", ".join(f"{model}=<version>" for model in models)
            raise BatonError(f"model choice {choice!r}: allowed are recorded, champion, {allowed}")
        wanted[name] = int(version)
    recorded = recorded_models(flow, partition) if choice != "champion" else {}
    degraded: list[str] = []
    chosen: dict[str, int] = {}
    laddered = [model for model in models if model in fallbacks and model not in wanted]
    for model in laddered:
        fixed, notes = _fixed(model, recorded.get(model))
        chosen |= {} if fixed is None else {model: fixed}
        degraded += notes
    strict = [model for model in models if model not in laddered]
    registry = Registry() if strict else None
    for model in strict:
        assert registry is not None
        known = wanted.get(model, recorded.get(model))
        if known is not None:
            try:
                if not dry_run:
                    registry.require_promoted(model, known)
                registry.download(model, known, flow)
            except RegistryRefused as refusal:
                _record_refusal(model, known, refusal, None)
                raise
            chosen[model] = known
        else:
            chosen[model], notes = _trusted_champion(registry, model, flow)
            degraded += notes
    return chosen, degraded, choice != "recorded"


def _fixed(model: str, recorded: int | None) -> tuple[int | None, list[str]]:
    """The version that should score, where a ladder answers for it if it cannot; a registry that is down stops nothing."""
    if recorded is not None:
        return recorded, []
    champion = next(iter(champions(model)), None)
    try:
        alias = Registry(retry_seconds=PATIENCE).alias(model, CHAMPION)
    except ServiceError:
        return champion, []
    _, notes = _foreign(model, alias, champion)
    return champion, notes


def _foreign(model: str, alias: int | None, champion: int | None) -> tuple[str | None, list[str]]:
    """What is wrong with an alias that somebody moved, also on the ledger, and the sentence on it."""
    foreign = champion_moved(model, alias, champion)
    if not foreign:
        return None, []
    with write() as conn:
        said = {"alias": CHAMPION, "version": alias, "champion": champion}
        ledger.append(conn, "foreign_alias", model, said)
    return foreign, [f"{foreign}; the version of the ledger scores"]


def _trusted_champion(registry: Registry, model: str, flow: str) -> tuple[int, list[str]]:
    """The ledger's champion if its files verify, else the previous one; what is not as it should be, also on the ledger."""
    champion, aliases = registry.recorded_champion(model), registry.aliases(model)
    foreign, notes = _foreign(model, aliases.get(CHAMPION), champion)
    if champion is None:
        why = f"{foreign}; " if foreign else ""
        raise BatonError(
            f"{why}model {model!r} has no champion yet: trigger {train_of(model)}, then approve in {promote_of(model)}"
        )
    try:
        registry.download(model, champion, flow)
    except RegistryRefused as refusal:
        previous = aliases.get(PREVIOUS)
        _record_refusal(model, champion, refusal, previous)
        if previous is None or previous == champion:
            raise
        registry.require_promoted(model, previous)
        registry.download(model, previous, flow)
        return previous, [*notes, f"{model} version {champion} refused ({refusal}); version {previous} scores instead"]
    return champion, notes


def _require_consumer(model: str, flow: str) -> None:
    """A refusal is on the ledger too: whoever owns the model sees who tried."""
    try:
        require_consumer(model, flow)
    except RegistryRefused as refusal:
        with write() as conn:
            ledger.append(conn, "consume_refused", f"model:{model}", {"flow": flow, "reason": str(refusal)})
        raise


def _record_refusal(model: str, version: int, refusal: RegistryRefused, instead: int | None) -> None:
    with write() as conn:
        ledger.append(conn, "version_refused", f"{model}/{version}", {"reason": str(refusal), "instead": instead})
