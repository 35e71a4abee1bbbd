"""Large batches: the rows of a file, or what a database or an interface answered, some at a time.

A file is hashed, and once more while it is read: the rows are those of the bytes that were hashed. Records that are received are on
a disk as soon as they are many.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from baton.data import formats
from baton.data.cells import PROBLEM
from baton.data.identity import with_row_identity
from baton.errors import SourceError, StaleAttempt
from baton.sources import pieces
from baton.sources.files import CHUNK, hash_between, opened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


BYTES = 32 << 20
"""Of a file; a larger one is read some rows at a time."""
ROWS = 100_000  # at a time


@dataclass(frozen=True)
class LargeFile:
    """A delivered file of more than `BYTES`: format, place and SHA-256 of its bytes, none of its rows."""

    format: str
    uri: str
    sha256: str
    delivered: bool = True

    @property
    def ends(self) -> Sequence[int]:
        """Numbers of rows after which a part of its dataset ends in any case: see `pieces.ends`."""
        return pieces.ends(self.uri) if self.format == "parquet" else ()

    def tables(self, source: str) -> Iterator[pa.Table]:
        """Its rows in order, at least once: as a smaller file's are read, with `_source`, `_row` and `_row_sha`.

        A text's cells are columns of text; `_problem` is always there, empty where nothing is wrong.

        Raises:
            SourceError: as `formats.read_bytes`; rows before the fault have been passed on.
            StaleAttempt: the file is another than was hashed.
        """
        return identified(self._pieces(), source)

    def _pieces(self) -> Iterator[tuple[pa.Table | None, pd.DataFrame]]:
        if self.format == "parquet":
            with opened(self.uri) as stream:
                yield from formats.parquet_frames(stream, self.uri, ROWS)
            self._require(sha256_of(self.uri))
            return
        columns: list[str] = []
        if self.format == "json":
            with opened(self.uri) as stream, _text(stream) as text:
                columns = formats.json_columns(text, self.uri)
        with opened(self.uri) as stream, _text(hashed := _Hashed(stream)) as text:
            if self.format == "csv":
                frames = formats.csv_frames(text, self.uri, ROWS)
            else:
                frames = formats.json_frames(text, columns, self.uri, ROWS)
            for frame in frames:
                yield None, frame
            self._require(hashed.sha256())

    def _require(self, found: str) -> None:
        if found != self.sha256:
            raise StaleAttempt(f"{self.uri}: changed while it was read; the next try reads it as it is then")


def is_large(uri: str) -> bool:
    """Whether a file has more than `BYTES`. Raises SourceError: it cannot be read."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(uri)
        return (system.size(path) or 0) > BYTES
    except OSError as error:
        raise SourceError(f"{uri}: cannot be read: {error}") from error


def large_file(uri: str, form: str) -> LargeFile | None:
    """The file, if it has more than `BYTES` and can be read some rows at a time; a JSON array cannot.

    Raises:
        SourceError: it cannot be read.
    """
    if not is_large(uri):
        return None
    with opened(uri) as stream:
        head = stream.read(CHUNK)
    if form != "parquet":
        formats.require_text(head, uri, form)
    if form == "json" and head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return None
    return LargeFile(form, uri, sha256_of(uri))


def sha256_of(uri: str) -> str:
    """SHA-256 of a file's bytes, read piece by piece. Raises SourceError: it cannot be read."""
    with opened(uri) as stream:
        return hash_between(stream)


def _text(stream: Any) -> io.TextIOWrapper:
    """As `formats.read_bytes` decodes; ends of lines stay as they are."""
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Hashed(io.BufferedIOBase):
    """A stream that hashes what is read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._made = stream, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size if size > 0 else CHUNK)
        self._made.update(piece)
        return piece

    def read(self, size: int | None = -1, /) -> bytes:
        return self.read1(-1 if size is None else size)

    def sha256(self) -> str:
        while self.read1():
            pass
        return self._made.hexdigest()


def identified(
    found: Iterable[tuple[pa.Table | None, pd.DataFrame]], source: str, first_row: int = 1
) -> Iterator[pa.Table]:
    """Rows as a file has them (None: as text), and as `formats.read_bytes` makes them: complete, see `LargeFile.tables`."""
    rows = first_row
    for table, frame in found:
        known = with_row_identity(frame, source, rows)
        rows += len(known)
        yield complete(table, known)


def complete(table: pa.Table | None, frame: pd.DataFrame) -> pa.Table:
    """The rows with what was added to them, every frame of a file with the same types: those of the file, or text."""
    import pyarrow as pa

    cells: dict[str, Any] = {}
    for name in [*(str(one) for one in frame.columns if one != PROBLEM), PROBLEM]:
        arrived = table.column(name) if table is not None and name in table.column_names else None
        if name not in frame:
            cells[name] = pa.nulls(len(frame), pa.string())
        elif arrived is None:
            cells[name] = pa.array(frame[name], pa.int64() if name == "_row" else pa.string(), from_pandas=True)
        elif pa.types.is_dictionary(arrived.type):
            cells[name] = arrived.cast(arrived.type.value_type)
        elif PROBLEM in frame and (pa.types.is_string(arrived.type) or pa.types.is_large_string(arrived.type)):
            cells[name] = pa.array(frame[name], arrived.type, from_pandas=True)  # made such that it may go on
        else:
            cells[name] = arrived
    return pa.table(cells)
