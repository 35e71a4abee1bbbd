"""Finds and reads the files of a file source, on a disk or an object store (fsspec)."""

import difflib
import glob
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from baton.data.partitions import parse_key, safe_name
from baton.errors import SourceError
from baton.settings import settings
from baton.specs.source import Format, RecordedSource

ENDINGS: dict[str, Format] = {"parquet": "parquet", "csv": "csv", "json": "json", "jsonl": "json", "ndjson": "json"}
# what senders and browsers call a file that is still being written
CHUNK = 1 << 20  # bytes of a file that are read at a time
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")


def fill(
    source: RecordedSource,
    template: str,
    partition: str = "",
    slot: int = 0,
    *,
    escape: bool = False,
    anywhere: Mapping[str, str] | None = None,
) -> str:
    """Fills in a path's placeholders.

    Args:
        escape: leave only the template's own `*` as wildcards.
        anywhere: wildcards for placeholders, to look for the files of any partition.

    Raises:
        SourceError: a placeholder has no value without a partition.
    """
    here = settings()
    values: dict[str, Any] = {"landing": here.landing_dir, "data": here.data_dir, "pack": source.folder}
    if partition:
        start = parse_key(partition)
        values |= {"partition": safe_name(partition), "date": f"{start:%Y-%m-%d}", "hour": f"{start:%H}"}
    if escape or anywhere:
        values = {name: glob.escape(str(value)) for name, value in values.items()} | dict(anywhere or {})
    try:
        return template.format(**values, slot=slot)
    except (KeyError, ValueError) as error:
        raise SourceError(f"source {source.name}: placeholder in `{template}` has no value here: {error}") from error


def format_of(uri: str, default: Format) -> Format:
    """The format that a file's ending says. Raises SourceError: the ending stands for no format that is read here."""
    name = uri.rsplit("/", 1)[-1]
    ending = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if ending and ending not in ENDINGS:
        raise SourceError(f"{uri}: .{ending} is no known format; allowed are {', '.join(ENDINGS)}")
    return ENDINGS.get(ending, default)


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """A file to read from. Raises SourceError: it cannot be read, also later on."""
    import fsspec

    try:
        with fsspec.open(uri, "rb") as stream:
            yield stream
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error}") from error


def hash_between(stream: IO[bytes], start: int = 0, end: int | None = None, also: Any = None) -> str:
    """SHA-256 of a file's bytes from one place to another (None: its end), read piece by piece; the hash `also` takes them, too."""
    made, left = hashlib.sha256(), (1 << 62) if end is None else end - start
    stream.seek(start)
    while left and (piece := stream.read(min(CHUNK, left))):
        made.update(piece)
        left -= len(piece)
        if also is not None:
            also.update(piece)
    return made.hexdigest()


def read_bytes(uri: str) -> bytes:
    """All bytes of a file. Raises SourceError: it is not there or may not be read."""
    import fsspec

    try:
        with fsspec.open(uri, "rb") as stream:
            content: bytes = stream.read()
            return content
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error}") from error


def exists(uri: str) -> bool:
    """Whether there is such a file."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(uri)
    return bool(system.exists(path))


def matching(pattern: str) -> list[str]:
    """Files that match, with their scheme; newest listing, never a cached one."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(pattern)
    system.invalidate_cache()
    return [str(system.unstrip_protocol(name)) for name in system.glob(path) if system.isfile(name)]


def near(uri: str) -> str:
    """Names the file in the same folder that is meant, to judge by its name, where one is not there; empty without any."""
    wanted = Path(uri).name.partition(".*")[0]
    numbers = re.sub(r"\D", "", wanted)
    same = [name for name in neighbours(uri) if _same(numbers, re.sub(r"\D", "", name))]
    close = difflib.get_close_matches(wanted, same, n=1, cutoff=0.6)
    return f" (there is {close[0]})" if close else ""


def _same(one: str, other: str) -> bool:
    """Whether two names have the same numbers; one may stop at the day. Others are files of other partitions."""
    return one == other or (min(len(one), len(other)) >= 8 and (one.startswith(other) or other.startswith(one)))


def neighbours(uri: str) -> list[str]:
    """Names of the files in the same folder of this machine, sorted; none elsewhere, or where there is no such folder."""
    folder = Path(uri).parent
    return [] if "://" in uri or not folder.is_dir() else sorted(one.name for one in folder.iterdir() if one.is_file())
