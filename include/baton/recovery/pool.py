"""The files of backups, each once under its SHA-256: what a backup has in common with an earlier one is not copied again."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from baton.errors import BatonError
from baton.files import sync_folder
from baton.recovery.index import Filed

_PIECE = 1 << 20  # bytes at a time


class Pool:
    """Files below `folder/files`, and a place for those that are not finished.

    Attributes:
        copied: bytes that were written since it was opened.
    """

    def __init__(self, folder: Path) -> None:
        self._files, self.unfinished = folder / "files", folder / "unfinished"
        self._touched: set[Path] = set()
        self.copied = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the pool for one writer; leaves nothing unfinished, neither its own nor what an interrupted one left.

        Raises:
            BatonError: another backup is being written there.
        """
        for folder in (self._files, self.unfinished):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._files.parent / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BatonError(
                    f"{self._files.parent}: another backup is being written there; wait for its end"
                ) from None
            self._clear()
            try:
                yield
            finally:
                self._clear()

    def _clear(self) -> None:
        for path in self.unfinished.iterdir():
            path.unlink()

    def size(self, sha256: str) -> int | None:
        """Bytes of a file, None when it is not there."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

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
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        target = self._path(part.sha256)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        path.replace(target)
        self._touched |= {target.parent, self._files}
        self.copied += part.size
        return part

    def sync(self) -> None:
        """Have the names of all new files on the disk."""
        for folder in self._touched:
            sync_folder(folder)
        self._touched.clear()

    def forget(self, named: Collection[str]) -> None:
        """Remove all files but those of these SHA-256."""
        for path in list(self._files.rglob("*")):
            if path.is_file() and path.name not in named:
                path.unlink()

    def pieces(self, name: str, part: Filed) -> Iterator[bytes]:
        """The bytes of a file; its end is reached only when they are those that the index names.

        Args:
            name: what the file is, for the message.

        Raises:
            BatonError: it is missing or was changed.
        """
        path, digest = self._path(part.sha256), hashlib.sha256()
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    yield piece
        except FileNotFoundError:
            raise BatonError(f"{name}: its file {path} is missing from the backup; take another backup") from None
        if digest.hexdigest() != part.sha256:
            raise BatonError(f"{name}: its file {path} was changed after the backup; delete it and take another backup")

    def _path(self, sha256: str) -> Path:
        return self._files / sha256[:2] / sha256
