"""The files of backups, each once under its SHA-256: what a backup has in common with an earlier one is not copied again."""

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from baton.errors import BatonError
from baton.recovery import shelf
from baton.recovery.index import Filed

_PIECE = 1 << 20  # bytes at a time
_FOLDER = "files"


class Pool:
    """Files of a shelf, and while it is held for writing a folder of this machine for those that are not finished.

    Attributes:
        copied: bytes that were written since it was opened.
    """

    def __init__(self, where: Path | str) -> None:
        self._shelf = shelf.at(where)
        self.copied = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the pool for one writer; leaves nothing unfinished, neither its own nor what an interrupted one left.

        Raises:
            BatonError: another backup is being written there.
        """
        with self._shelf.held() as self.unfinished:
            yield

    def size(self, sha256: str) -> int | None:
        """Bytes of a file, None when it is not there."""
        return self._shelf.size(_name(sha256))

    def keep(self, source: BinaryIO) -> Filed:
        """Copy a file from a stream; returns what it is."""
        descriptor, name = tempfile.mkstemp(dir=self.unfinished)  # 0600
        digest, size = hashlib.sha256(), 0
        with os.fdopen(descriptor, "wb") as file:
            while piece := source.read(_PIECE):
                digest.update(piece)
                size += file.write(piece)
        return self._adopt(Path(name), Filed(digest.hexdigest(), size))

    def keep_file(self, path: Path) -> Filed:
        """Take over a finished file of the folder `unfinished`."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._adopt(path, Filed(digest, path.stat().st_size))

    def _adopt(self, path: Path, part: Filed) -> Filed:
        if self.size(part.sha256) == part.size:
            path.unlink()
            return part
        self._shelf.take(path, _name(part.sha256))
        self.copied += part.size
        return part

    def sync(self) -> None:
        """Have all new files where they stay; raises BatonError: another writer came between."""
        self._shelf.sync()

    def forget(self, named: Collection[str]) -> None:
        """Remove all files but those of these SHA-256."""
        for name in self._shelf.below(_FOLDER):
            if name.rpartition("/")[2] not in named:
                self._shelf.remove(name)

    def pieces(self, name: str, part: Filed) -> Iterator[bytes]:
        """The bytes of a file; its end is reached only when they are those that the index names.

        Args:
            name: what the file is, for the message.

        Raises:
            BatonError: it is missing or was changed.
        """
        file, digest = _name(part.sha256), hashlib.sha256()
        try:
            for piece in self._shelf.pieces(file):
                digest.update(piece)
                yield piece
        except FileNotFoundError:
            raise BatonError(
                f"{name}: its file {self._shelf.place(file)} is missing from the backup; take another backup"
            ) from None
        if digest.hexdigest() != part.sha256:
            raise BatonError(
                f"{name}: its file {self._shelf.place(file)} was changed after the backup; delete it and take another backup"
            )


def _name(sha256: str) -> str:
    return f"{_FOLDER}/{sha256[:2]}/{sha256}"
