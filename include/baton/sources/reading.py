"""Reads a partition's rows from where the pack's sources.yaml says they are.

A file delivered for the partition comes first and supersedes the recording (`replay`); so do documents in the
partition's drop folder. SQL and HTTP sources and mailboxes are read by whoever knows connections (`Remote`). Files that
a person names for a run (`named`) stand for whatever a folder source would have read.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.data import formats as readers
from baton.data.partitions import format_key, window
from baton.errors import NoData, SourceError
from baton.packs.demos import has_demo
from baton.settings import settings
from baton.sources.documents import BatchLimits, digest
from baton.sources.files import UNFINISHED, exists, fill, format_of, matching, near, read_bytes
from baton.sources.folder import read_folder, read_named, read_store
from baton.sources.large import LargeFile, is_large, large_file
from baton.sources.pieces import Pieces, cut
from baton.sources.received import LargeRows
from baton.sources.replay import lay_on_calendar, recording_start, replay_slot
from baton.specs.source import FileSource, FolderSource, RecordedSource

if TYPE_CHECKING:
    import pandas as pd

    from baton.packs.pack import Pack
    from baton.specs.source import Source


@dataclass(frozen=True)
class RawBatch:
    """The rows of one partition as the source holds them.

    Attributes:
        frame: one row per record; text formats as text, see `baton.data.typed`.
        format: parquet, csv or json; else the source's kind.
        uri: file, or what else names the place.
        sha256: of the file's bytes, or of the records that were received.
        delivered: False when the rows are a replayed recording.
    """

    frame: pd.DataFrame
    format: str
    uri: str
    sha256: str
    delivered: bool = True


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Remote = Callable[["Pack", "Source", str], RawBatch | LargeRows]  # reads a partition of a source that is no file


def read_partition(
    pack: Pack, source: str, partition: str, named: Sequence[str] = (), remote: Remote | None = None
) -> RawBatch:
    """Reads the rows of one partition.

    Args:
        named: paths of files below the landing folder, for a folder source: these documents and no others.
        remote: reads sources of kind sql, http and mailbox.

    Raises:
        NoData: nothing was delivered for the partition and no recording covers it.
        SourceError: the source cannot be read; names the place and what to do.
        SpecError: the pack has no such source.
    """
    spec: Source = pack.source(source)
    if named and not isinstance(spec, FolderSource):
        raise SourceError(f"source {source}: files are named for a source of kind folder, this is {spec.kind}")
    if isinstance(spec, FolderSource):
        return _read_folder_source(spec, partition, named)
    if isinstance(spec, FileSource):
        return _read_file_source(spec, partition)
    if remote is None:
        raise SourceError(f"source {source}: {spec.kind} is read through an Airflow connection: use it in a DAG")
    found = remote(pack, spec, partition)
    if isinstance(found, LargeRows):
        raise SourceError(
            f"source {source}, partition {partition}: too many rows to be held; a stage (`ingest`) takes them"
        )
    return found


def look(
    pack: Pack, source: str, partition: str, named: Sequence[str], remote: Remote
) -> RawBatch | LargeFile | LargeRows:
    """As `read_partition`, but a batch that is too large to be held is only looked at: its `tables` give the rows."""
    spec: Source = pack.source(source)
    if isinstance(spec, FileSource) and not named:
        uri = _arrived(spec, partition)
        if uri and (large := large_file(uri, format_of(uri, spec.format))):
            return large
    if isinstance(spec, FileSource | FolderSource) or named:
        return read_partition(pack, source, partition, named)
    return remote(pack, spec, partition)


def share_out(pack: Pack, source: str, partition: str) -> tuple[str, Pieces] | None:
    """The file delivered for a partition and how several tasks may read it: a large one of Parquet; None: one task reads it.

    Raises:
        SourceError: it cannot be read.
    """
    spec: Source = pack.source(source)
    if not isinstance(spec, FileSource):
        return None
    uri = _arrived(spec, partition)
    if uri is None or format_of(uri, spec.format) != "parquet" or not is_large(uri):
        return None
    found = cut(uri)
    return (uri, found) if found is not None else None


def delivered_file(pack: Pack, source: str, partition: str) -> str:
    """Where the partition's file is. Raises SourceError: it is there no more."""
    spec: Source = pack.source(source)
    assert isinstance(spec, FileSource)
    wanted, uri = _delivered(spec, partition)
    if uri is None:
        raise SourceError(f"source {source}, partition {partition}: the file {wanted} is gone since it was shared out")
    return uri


def state_of(spec: Source, batch: RawBatch | LargeFile | LargeRows) -> dict[str, Any]:
    """What the rows of a partition depend on, as JSON: equal states mean equal rows."""
    state = {**_meaning(spec), "format": batch.format, "sha256": batch.sha256, "delivered": batch.delivered}
    return state if batch.delivered else {**state, "anchor": format_key(_start(spec))}


def read_history(pack: Pack, source: str, instead: str = "") -> pd.DataFrame:
    """Reads the rows from before the first partition, on the first repetition's place in the calendar.

    Args:
        instead: a file of such rows, read as the history is.

    Raises:
        SourceError: the source has no history, or it cannot be read.
    """
    spec, uri = _history(pack, source)
    uri = instead or uri
    body = read_bytes(uri)
    frame = readers.read_bytes(body, uri, format_of(uri, spec.format))
    return lay_on_calendar(frame, spec, uri, _start(spec) if spec.replay else _EPOCH)


def history_state(pack: Pack, source: str) -> Mapping[str, Any]:
    """What the history's rows depend on, as JSON.

    Raises:
        SourceError: the source has no history, or it cannot be read.
    """
    spec, uri = _history(pack, source)
    state = {**_meaning(spec), "sha256": hashlib.sha256(read_bytes(uri)).hexdigest()}
    return {**state, "anchor": format_key(_start(spec))} if spec.replay else state


def sample(pack: Pack, source: str) -> pd.DataFrame:
    """Some rows of a source with files, to learn its columns from: history, else recording, else a delivered file.

    Raises:
        SourceError: there are none yet, or the source is no file.
    """
    spec: Source = pack.source(source)
    if not isinstance(spec, FileSource | FolderSource):
        raise SourceError(f"source {source}: the columns of {spec.kind} are not known here; write its contract first")
    places = [fill(spec, spec.history)] if spec.history else []
    places += [fill(spec, spec.replay.path)] if spec.replay else []
    anywhere = {"partition": "*", "date": "*", "hour": "*"}
    uri = next((place for place in places if exists(place)), None)
    if isinstance(spec, FileSource):
        uri = uri or next(iter(sorted(matching(fill(spec, spec.path, anywhere=anywhere)), reverse=True)), None)
    if uri is None:
        wanted = fill(spec, spec.history) if spec.history else spec.path
        how = _remedy(pack.name, f"deliver a file as {wanted}")
        raise SourceError(f"source {source}: no rows yet; {how}{near(wanted)}")
    return lay_on_calendar(readers.read_bytes(read_bytes(uri), uri, format_of(uri, spec.format)), spec, uri, _EPOCH)


def _remedy(pack: str, otherwise: str) -> str:
    return "run `baton data`" if has_demo(pack) else otherwise


def _meaning(source: Source) -> dict[str, Any]:
    """What of a source's spec its rows depend on; neither wording nor the place of BATON_HOME."""
    return {"source": source.model_dump(mode="json", exclude={"name", "description", "history"})}


def _read_file_source(source: FileSource, partition: str) -> RawBatch:
    window(partition, source.step)
    pattern, uri = _delivered(source, partition)
    if uri is None:
        return _replayed(source, partition, f"no file {pattern}{near(pattern)}")
    body, form = read_bytes(uri), format_of(uri, source.format)
    return RawBatch(readers.read_bytes(body, uri, form), form, uri, hashlib.sha256(body).hexdigest())


def _read_folder_source(source: FolderSource, partition: str, named: Sequence[str]) -> RawBatch:
    if not named:  # files that a person names are a partition of their own, whenever it begins
        window(partition, source.step)
    where = f"source {source.name}, partition {partition}"
    limits = BatchLimits(source.max_bytes, source.max_documents, source.max_batch_bytes)
    place = fill(source, source.path, partition)
    try:
        if named:
            place = str(settings().landing_dir)
            frame = read_named(settings().landing_dir, named, where, limits)
        else:
            frame = read_store(place, where, limits) if "://" in place else read_folder(Path(place), where, limits)
    except NoData as nothing:
        if named:
            raise
        return _replayed(source, partition, str(nothing).removeprefix(f"{where}: "))
    return RawBatch(frame, source.kind, place, digest(frame))


def _replayed(source: FileSource | FolderSource, partition: str, why: str) -> RawBatch:
    """What the recording has for the partition; `why` says that nothing was delivered."""
    if source.replay is None:
        raise NoData(f"source {source.name}, partition {partition}: {why}")
    anchor = _start(source)
    try:
        slot = replay_slot(partition, anchor, source.replay.period, source.step)
    except NoData as error:
        raise NoData(f"source {source.name}: {why}, and {error}") from None
    uri = fill(source, source.replay.path, partition, slot.number)
    if not exists(uri):
        folder = uri.rsplit("/", 1)[0]
        if not matching(glob.escape(folder) + "/*"):
            raise SourceError(f"source {source.name}: the recording {folder} is not there; run `baton data`")
        raise NoData(f"source {source.name}, partition {partition}: {why}, and no recording {uri}")
    body, form = read_bytes(uri), format_of(uri, source.format)
    frame = lay_on_calendar(readers.read_bytes(body, uri, form), source, uri, anchor, slot.cycle)
    return RawBatch(frame, form, uri, hashlib.sha256(body).hexdigest(), delivered=False)


def _start(source: Source) -> datetime:
    """Where the source's recording starts on the calendar."""
    assert isinstance(source, RecordedSource)
    assert source.replay is not None
    return recording_start(source.step, source.replay.before)


def _arrived(source: FileSource, partition: str) -> str | None:
    """The file delivered for what must be a partition of the source."""
    window(partition, source.step)
    return _delivered(source, partition)[1]


def _delivered(source: FileSource, partition: str) -> tuple[str, str | None]:
    """Where a delivered file is looked for, and the one that was found."""
    pattern = fill(source, source.path, partition, escape=True)
    found = [uri for uri in matching(pattern) if not uri.lower().endswith(UNFINISHED)]
    if len(found) > 1:
        listed = ", ".join(sorted(found))
        raise SourceError(f"source {source.name}, partition {partition}: several files ({listed}); leave one")
    return fill(source, source.path, partition), found[0] if found else None


def _history(pack: Pack, source: str) -> tuple[FileSource | FolderSource, str]:
    spec: Source = pack.source(source)
    if not isinstance(spec, FileSource | FolderSource) or spec.history is None:
        raise SourceError(f"source {source} of pack {pack.name} has no `history` (a file) to train on")
    uri = fill(spec, spec.history)
    if not exists(uri):
        raise SourceError(
            f"source {source}: the history {uri} is not there; {_remedy(pack.name, 'put it there')}{near(uri)}"
        )
    return spec, uri
