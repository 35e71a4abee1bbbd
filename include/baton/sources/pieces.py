"""Pieces: a large Parquet file that several tasks read, each some of its row groups.

Who shares the file out reads it once, and notes its hash and that of each piece's bytes. Who reads a piece hashes these bytes and what
the file says of itself once more: so the rows are those of the file that was shared out, and no task hashes what others read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

from baton.data import formats, parts
from baton.errors import SourceError, StaleAttempt
from baton.sources.files import hash_between, opened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData


_ADDED = 100  # bytes that a row's identity takes


@dataclass(frozen=True)
class Pieces:
    """Where a file may be cut, and what its pieces are.

    Attributes:
        sha256: of the file.
        rows, groups: numbers of rows, and of row groups, after which a piece ends.
        edges: where each piece's bytes begin; the last of all is where what the file says of itself does.
        hashes: SHA-256 of each piece's bytes, and of those behind them all.
    """

    sha256: str
    rows: tuple[int, ...]
    groups: tuple[int, ...]
    edges: tuple[int, ...]
    hashes: tuple[str, ...]

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Pieces:
        """Build from `to_dict`'s result. Raises TypeError: a field is missing or unknown."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in said.items() if name != "sha256"}
        return cls(sha256=said["sha256"], **lists)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, small enough for XCom: some hundred bytes a piece."""
        return {name: value if name == "sha256" else list(value) for name, value in asdict(self).items()}

    def between(self, start: int, end: int) -> range:
        """Numbers of the pieces that hold these rows. Raises ValueError: a piece holds others, too."""
        before = (0, *self.rows)
        return range(before.index(start), before.index(end))

    def read(self, uri: str, numbers: range, at_once: int) -> Iterator[tuple[pa.Table, pd.DataFrame]]:
        """The rows of some pieces, see `formats.parquet_frames`; they may be used once the last was read.

        Raises:
            SourceError: the file cannot be read.
            StaleAttempt: it is another than was shared out.
        """
        first = 0 if numbers.start == 0 else self.groups[numbers.start - 1]
        with opened(uri) as stream:
            if _cuts(_about(stream, uri)) != (self.rows, self.groups, self.edges):
                raise _changed(uri)
            stream.seek(0)
            wanted = range(first, self.groups[numbers.stop - 1])
            yield from formats.parquet_frames(stream, uri, at_once, wanted)
            for number in (*numbers, len(self.rows)):
                end = self.edges[number + 1] if number < len(self.rows) else None
                if hash_between(stream, self.edges[number], end) != self.hashes[number]:
                    raise _changed(uri)


def ends(uri: str) -> Sequence[int]:
    """Numbers of rows after which a part of a Parquet file's dataset ends, however many tasks read it; none of a single piece.

    Raises:
        SourceError: it cannot be read.
    """
    with opened(uri) as stream:
        rows, _, _ = _cuts(_about(stream, uri))
    return rows if len(rows) > 1 else ()


def cut(uri: str) -> Pieces | None:
    """The pieces of a Parquet file, which is read once; None: it has only one.

    Raises:
        SourceError: it cannot be read.
    """
    with opened(uri) as stream:
        rows, groups, edges = _cuts(_about(stream, uri))
        if len(rows) < 2:
            return None
        whole, hashes = hashlib.sha256(), []
        for start, end in pairwise([*edges, None]):
            assert start is not None
            hashes.append(hash_between(stream, start, end, whole))
    return Pieces(whole.hexdigest(), rows, groups, edges, tuple(hashes))


def _about(stream: IO[bytes], uri: str) -> FileMetaData:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(stream, pre_buffer=False).metadata
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{uri}: not a readable Parquet file: {error}") from error


def _cuts(about: FileMetaData) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Rows and row groups after which pieces end, and where their bytes begin: as many groups to a piece as fit one part.

    One piece where the file's groups do not lie in their order, so that bytes between two places are not those of the groups between.
    """
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    places = [parts.bytes_of_group(group) for group in groups]
    behind = max((end for _, end in places), default=0)
    ordered = all(end <= then for (_, end), (then, _) in pairwise(places))
    rows, ends, edges = 0, [], [0]
    held_rows = held_bytes = 0
    for number, group in enumerate(groups):
        size = group.total_byte_size + _ADDED * group.num_rows
        full = held_rows + group.num_rows > parts.ROWS or held_bytes + size > parts.BYTES
        if held_rows and full and ordered:
            ends.append((rows, number))
            edges.append(places[number][0])
            held_rows = held_bytes = 0
        rows, held_rows, held_bytes = rows + group.num_rows, held_rows + group.num_rows, held_bytes + size
    ends.append((rows, len(groups)))
    return tuple(at for at, _ in ends), tuple(number for _, number in ends), (*edges, behind)


def _changed(uri: str) -> StaleAttempt:
    return StaleAttempt(
        f"{uri}: changed since it was shared out; clear the task `ingest`, which reads it as it is then"
    )
