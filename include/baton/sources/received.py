"""Records that a database or an interface answers: held while they are few, else on a disk until the stage has them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from baton.data import formats
from baton.data.cells import as_text
from baton.data.identity import with_row_identity
from baton.sources import large

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class LargeRows:
    """More records than are held: kind of their source, place, SHA-256 of all; none of them."""

    format: str
    uri: str
    sha256: str
    spool: IO[bytes]
    delivered: bool = True

    def tables(self, source: str) -> Iterator[pa.Table]:
        """The records in order: see `large.LargeFile.tables`; cells are text, as of a few records."""
        with self._text() as text:
            columns = formats.json_columns(text, source)
        with self._text() as text:
            for frame in formats.json_frames(text, columns, source, large.ROWS):
                yield large.complete(None, with_row_identity(frame, source))

    def _text(self) -> IO[str]:
        text = os.fdopen(os.dup(self.spool.fileno()), encoding="ascii", newline="\n")
        text.seek(0)
        return text


class Received:
    """Takes records page by page."""

    def __init__(self) -> None:
        self.few: list[dict[str, Any]] = []
        self._made, self._count = hashlib.sha256(b"["), 0
        self._spool: IO[bytes] | None = None  # without a name: it is gone however the process ends

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take the next ones."""
        for record in records:
            text = json.dumps(record, sort_keys=True, separators=(",", ":"), default=str)
            self._made.update(f"{',' if self._count else ''}{text}".encode())
            self._count += 1
        self.few += map(dict, records)
        if self._spool is not None or len(self.few) > large.ROWS:
            self._spill()

    def _spill(self) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="baton-received-")  # noqa: SIM115 - until the stage has them
            self._closing = weakref.finalize(self, self._spool.close)
        for record in self.few:
            cells = {str(name): as_text(value) for name, value in record.items()}
            self._spool.write(json.dumps(cells).encode() + b"\n")
        self.few = []

    @property
    def sha256(self) -> str:
        """Over all records in their order, independent of the order of keys."""
        done = self._made.copy()
        done.update(b"]")
        return done.hexdigest()

    def many(self, kind: str, uri: str) -> LargeRows | None:
        """All records, if they are more than is held; else `few` has them."""
        if self._spool is None:
            return None
        self._spool.flush()
        self._closing.detach()
        made = LargeRows(kind, uri, self.sha256, self._spool)
        weakref.finalize(made, self._spool.close)
        return made
