"""Reads a partition's rows from where the pack's sources.yaml says they are.

A file delivered for the partition comes first and supersedes the recording (`replay`). SQL and HTTP sources
need Airflow connections: their readers are registered by the Airflow layer with `register_reader`.
"""

from __future__ import annotations

import glob
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.errors import NoData, SourceError
from baton.partitions import ReplaySlot, format_key, parse_key, replay_anchor, replay_slot, safe_name, window
from baton.settings import settings
from baton.specs import FileSource, Format

if TYPE_CHECKING:
    import pandas as pd

    from baton.packs import Pack, Source

ENDINGS: dict[str, Format] = {
    "parquet": "parquet",
    "csv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
}
UNFINISHED = ("tmp", "part", "partial", "filepart")  # what senders call a file that is still being written


@dataclass(frozen=True)
class RawBatch:
    """The rows of one partition as the source holds them.

    Attributes:
        frame: one row per record; text formats as text, see `baton.parsing`.
        format: parquet, csv or json; sql or http for the other kinds.
        uri: file, or what else names the place.
        sha256: of the file's bytes, or of the records that were received.
        delivered: False when the rows are a replayed recording.
    """

    frame: pd.DataFrame
    format: str
    uri: str
    sha256: str
    delivered: bool = True


Reader = Callable[["Pack", "Source", str], RawBatch]
_READERS: dict[str, Reader] = {}
# A stage asks for the state (to decide whether to run) and then for the rows: one reading serves both, and
# the rows are the ones that the state describes.
_ahead: dict[tuple[str, str, str], RawBatch] = {}


def register_reader(kind: str, reader: Reader) -> None:
    """Says how sources of a kind (sql, http) are read; the last one registered counts."""
    _READERS[kind] = reader


def read_partition(pack: Pack, source: str, partition: str) -> RawBatch:
    """Reads the rows of one partition.

    Raises:
        NoData: nothing was delivered for the partition and no recording covers it.
        SourceError: the source cannot be read; names the place and what to do.
        SpecError: the pack has no such source.
    """
    return _ahead.pop((pack.name, source, partition), None) or _read(pack, source, partition)


def source_state(pack: Pack, source: str, partition: str) -> Mapping[str, Any]:
    """What the rows of a partition depend on, as JSON: equal states mean equal rows.

    Raises:
        as `read_partition`.
    """
    spec = pack.source(source)
    batch = _read(pack, source, partition)
    _ahead.clear()
    _ahead[pack.name, source, partition] = batch
    state: dict[str, Any] = {"source": spec.model_dump(mode="json"), "uri": batch.uri, "sha256": batch.sha256}
    if isinstance(spec, FileSource) and not batch.delivered:
        state["anchor"] = format_key(replay_anchor())
    return state


def read_history(pack: Pack, source: str) -> pd.DataFrame:
    """Reads the rows from before the first partition, on the first repetition's place in the calendar.

    Raises:
        SourceError: the source has no history, or it cannot be read.
    """
    spec, uri = _history(pack, source)
    body = _bytes(uri)
    frame = _parse(uri, body, _format_of(uri, spec.format))
    return lay_on_calendar(frame, spec, ReplaySlot(0, 0), uri)


def history_state(pack: Pack, source: str) -> Mapping[str, Any]:
    """What the history's rows depend on, as JSON.

    Raises:
        SourceError: the source has no history, or it cannot be read.
    """
    spec, uri = _history(pack, source)
    state = {"source": spec.model_dump(mode="json"), "sha256": hashlib.sha256(_bytes(uri)).hexdigest()}
    return {**state, "anchor": format_key(replay_anchor())} if spec.replay else state


def lay_on_calendar(frame: pd.DataFrame, source: FileSource, slot: ReplaySlot, uri: str) -> pd.DataFrame:
    """Gives recorded rows the calendar time and the keys of one repetition of the recording.

    time = anchor + cycle * period + clock (seconds since its start); key += cycle * keys_per_period.

    Raises:
        SourceError: a column that the replay needs is missing or does not hold numbers.
    """
    import pandas as pd

    replay = source.replay
    if replay is None:
        return frame
    missing = [column for column in (replay.clock, replay.key) if column and column not in frame]
    if missing:
        raise SourceError(
            f"source {source.name}: {uri} has no column {' and '.join(missing)} (replay.clock, .key)"
        )
    frame = frame.copy(deep=False)
    try:
        if replay.key:
            frame[replay.key] = pd.to_numeric(frame[replay.key]) + slot.cycle * replay.keys_per_period
        if replay.clock and replay.time:
            start = pd.Timestamp(replay_anchor() + slot.cycle * replay.period)
            times = start + pd.to_timedelta(pd.to_numeric(frame[replay.clock]), unit="s")
            frame = frame.drop(columns=replay.time, errors="ignore")
            frame.insert(1, replay.time, times)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"source {source.name}: {uri}: replay.clock or .key is no number: {error}"
        ) from error
    return frame


def _read(pack: Pack, source: str, partition: str) -> RawBatch:
    spec = pack.source(source)
    if isinstance(spec, FileSource):
        return _read_file_source(spec, partition)
    reader = _READERS.get(spec.kind)
    if reader is None:
        raise SourceError(
            f"source {source}: {spec.kind} is read through an Airflow connection: use it in a DAG"
        )
    return reader(pack, spec, partition)


def _read_file_source(source: FileSource, partition: str) -> RawBatch:
    window(partition, source.step)
    pattern, uri = _delivered(source, partition)
    if uri is not None:
        body, form = _bytes(uri), _format_of(uri, source.format)
        return RawBatch(_parse(uri, body, form), form, uri, hashlib.sha256(body).hexdigest())
    if source.replay is None:
        raise NoData(f"source {source.name}, partition {partition}: no file {pattern}")
    try:
        slot = replay_slot(partition, replay_anchor(), source.replay.period, source.step)
    except NoData as error:
        raise NoData(f"source {source.name}: no file {pattern}, and {error}") from None
    uri = _fill(source, source.replay.path, partition, slot.number)
    if not _exists(uri):
        folder = uri.rsplit("/", 1)[0]
        if not _glob(glob.escape(folder) + "/*"):
            raise SourceError(f"source {source.name}: the recording {folder} is not there; run `baton data`")
        raise NoData(
            f"source {source.name}, partition {partition}: no file {pattern}, and no recording {uri}"
        )
    body, form = _bytes(uri), _format_of(uri, source.format)
    frame = lay_on_calendar(_parse(uri, body, form), source, slot, uri)
    return RawBatch(frame, form, uri, hashlib.sha256(body).hexdigest(), delivered=False)


def _delivered(source: FileSource, partition: str) -> tuple[str, str | None]:
    """Where a delivered file is looked for, and the one that was found."""
    pattern = _fill(source, source.path, partition, escape=True)
    found = [uri for uri in _glob(pattern) if uri.rsplit(".", 1)[-1].lower() not in UNFINISHED]
    if len(found) > 1:
        listed = ", ".join(sorted(found))
        raise SourceError(f"source {source.name}, partition {partition}: several files ({listed}); leave one")
    return _fill(source, source.path, partition), found[0] if found else None


def _history(pack: Pack, source: str) -> tuple[FileSource, str]:
    spec = pack.source(source)
    if not isinstance(spec, FileSource) or spec.history is None:
        raise SourceError(f"source {source} of pack {pack.name} has no `history` (a file) to train on")
    uri = _fill(spec, spec.history)
    if not _exists(uri):
        raise SourceError(f"source {source}: the history {uri} is not there; run `baton data`")
    return spec, uri


def _fill(
    source: FileSource, template: str, partition: str = "", slot: int = 0, *, escape: bool = False
) -> str:
    """Fills in a path's placeholders; with `escape`, only the template's own `*` remain wildcards."""
    here = settings()
    values: dict[str, Any] = {"landing": here.landing_dir, "data": here.data_dir, "pack": source.folder}
    if partition:
        start = parse_key(partition)
        values |= {"partition": safe_name(partition), "date": f"{start:%Y-%m-%d}", "hour": f"{start:%H}"}
    if escape:
        values = {name: glob.escape(str(value)) for name, value in values.items()}
    try:
        return template.format(**values, slot=slot)
    except (KeyError, ValueError) as error:
        raise SourceError(
            f"source {source.name}: placeholder in `{template}` has no value here: {error}"
        ) from error


def _format_of(uri: str, default: Format) -> Format:
    name = uri.rsplit("/", 1)[-1]
    ending = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if ending and ending not in ENDINGS:
        raise SourceError(f"{uri}: .{ending} is no known format; allowed are {', '.join(ENDINGS)}")
    return ENDINGS.get(ending, default)


def _parse(uri: str, body: bytes, form: Format) -> pd.DataFrame:
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(BytesIO(body))
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{uri}: is no Parquet file that can be read: {error}") from error
        # integers with gaps stay integers: as floats, keys above 2**53 would change
        return table.to_pandas(integer_object_nulls=True)
    from baton.parsing import read_file

    with tempfile.TemporaryDirectory(
        prefix="baton-source-"
    ) as folder:  # the bytes that were hashed, wherever from
        path = Path(folder) / uri.rsplit("/", 1)[-1]
        path.write_bytes(body)
        return read_file(path, form)


def _bytes(uri: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(uri, "rb") as stream:
            content: bytes = stream.read()
            return content
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error}") from error


def _exists(uri: str) -> bool:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(uri)
    return bool(system.exists(path))


def _glob(pattern: str) -> list[str]:
    """Files that match, with their scheme; newest listing, never a cached one."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(pattern)
    system.invalidate_cache()
    return [str(system.unstrip_protocol(name)) for name in system.glob(path) if system.isfile(name)]
