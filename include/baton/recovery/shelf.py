"""Where backups lie: a folder, or a place in an object store. Both keep finished files under names; nobody sees half of one.

One writer at a time. In a folder the system lets go of the lock of a process that died; in an object store the lock is an object,
which counts for a day.
"""

import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from baton.data import objects
from baton.data.objects import StoreError
from baton.errors import BatonError
from baton.files import place, sync_folder

_PIECE = 1 << 20  # bytes at a time
_DEAD = timedelta(days=1)


class FolderShelf:
    """Backups in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._touched: set[Path] = set()

    def place(self, name: str) -> Path:
        """Where a file is, for people."""
        return self._path / name

    def inside(self, home: Path, store: str) -> Path | None:
        """What it would save and lies in: the home."""
        return home if self._path.resolve().is_relative_to(home) else None

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Hold it for one writer; yields a folder for unfinished files, which is empty before and after.

        Raises:
            BatonError: another backup is being written there.
        """
        unfinished = self._path / "unfinished"
        for folder in (self._path / "files", unfinished):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BatonError(f"{self._path}: another backup is being written there; wait for its end") from None
            self._clear(unfinished)
            try:
                yield unfinished
            finally:
                self._clear(unfinished)

    @staticmethod
    def _clear(unfinished: Path) -> None:
        for path in unfinished.iterdir():
            path.unlink()

    def names(self) -> list[str]:
        """Names of the files at its top."""
        return [path.name for path in self._path.iterdir() if path.is_file()] if self._path.is_dir() else []

    def below(self, name: str) -> list[str]:
        """Names of all files in one of its folders."""
        found = (self._path / name).rglob("*")
        return [path.relative_to(self._path).as_posix() for path in found if path.is_file()]

    def size(self, name: str) -> int | None:
        """Bytes of a file, None when it is not there."""
        try:
            return self.place(name).stat().st_size
        except FileNotFoundError:
            return None

    def take(self, path: Path, name: str) -> None:
        """Take over a finished file of the folder `unfinished`."""
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        target = self.place(name)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        path.replace(target)
        self._touched |= {target.parent, target.parent.parent}

    def sync(self) -> None:
        """Have the names of all new files on the disk."""
        for folder in self._touched:
            sync_folder(folder)
        self._touched.clear()

    def create(self, name: str, body: bytes) -> bool:
        """Write a small file whole; False if the name is taken."""
        return place(self.place(name), body)

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a file. Raises FileNotFoundError: it is not there."""
        with self.place(name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.place(name).unlink()


class ObjectShelf:
    """Backups below an address of an object store, by the calls that the dataset store is written with.

    What is not finished lies in a temporary folder of this machine (TMPDIR): the copies of the databases need room there.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._files, self._root = objects.driver(self._address)
        self._sizes: dict[str, int] = {}
        self._lock = b""

    def place(self, name: str) -> str:
        """Where a file is, for people."""
        return f"{self._address}/{name}"

    def inside(self, home: Path, store: str) -> str | None:
        """What it would save and lies in: the store."""
        return store if f"{self._address}/".startswith(f"{store.rstrip('/')}/") else None

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Hold it for one writer; yields a folder for unfinished files.

        Raises:
            BatonError: another backup is being written there, or was a day ago and did not end.
        """
        now = datetime.now(UTC)
        who = {"host": socket.gethostname(), "process": os.getpid(), "at": now.isoformat(), "token": uuid4().hex}
        self._lock = json.dumps(who).encode()
        if not self.create("lock", self._lock):
            other = json.loads(b"".join(self.pieces("lock")))
            if datetime.fromisoformat(other["at"]) > now - _DEAD:
                raise BatonError(
                    f"{self._address}: another backup is being written there, by process {other['process']} of {other['host']} since "
                    f"{other['at']}; wait for its end, or if it died remove {self.place('lock')}, which counts for a day"
                )
            self.remove("lock")
            if not self.create("lock", self._lock):
                raise BatonError(f"{self._address}: another backup has just begun there; wait for its end")
        try:
            with objects.answering(self._address):
                found = self._below("files")
            self._sizes = {name: int(info["size"]) for name, info in found.items()}  # to ask for each costs a request
            with tempfile.TemporaryDirectory(prefix="baton-backup-") as unfinished:
                yield Path(unfinished)
        finally:
            if self._mine():
                self.remove("lock")

    def _mine(self) -> bool:
        try:
            return b"".join(self.pieces("lock")) == self._lock
        except FileNotFoundError:
            return False

    def _below(self, name: str) -> dict[str, dict[str, int]]:
        try:
            found = self._files.find(f"{self._root}/{name}", detail=True)
        except FileNotFoundError:
            return {}
        return {path.removeprefix(f"{self._root}/"): info for path, info in found.items()}

    def names(self) -> list[str]:
        """Names of the files at its top."""
        try:
            with objects.answering(self._address):
                found = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        return [path.rpartition("/")[2] for path in found]

    def below(self, name: str) -> list[str]:
        """Names of all files in one of its folders."""
        with objects.answering(self._address):
            return list(self._below(name))

    def size(self, name: str) -> int | None:
        """Bytes of a file, None when it was not there when this was held, and was not taken since."""
        return self._sizes.get(name)

    def take(self, path: Path, name: str) -> None:
        """Take over a finished file; under a name that says what is in it, so that another's would be the same."""
        with objects.answering(self.place(name)):
            self._files.put_file(str(path), f"{self._root}/{name}")
        self._sizes[name] = path.stat().st_size
        path.unlink()

    def sync(self) -> None:
        """Make sure that nobody else began meanwhile and removed what this backup counts on."""
        if not self._mine():
            raise BatonError(
                f"{self._address}: this backup took longer than a day, and another one began; repeat it, what it copied stays"
            )

    def create(self, name: str, body: bytes) -> bool:
        """Write a small file whole; False if the name is taken."""
        try:
            objects.put(objects.address(name, self._address), memoryview(body))
        except StoreError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
            return False
        return True

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a file. Raises FileNotFoundError: it is not there."""
        with objects.answering(self.place(name)), self._files.open(f"{self._root}/{name}", "rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def remove(self, name: str) -> None:
        """Remove a file."""
        objects.delete(self.place(name))


def at(where: Path | str) -> FolderShelf | ObjectShelf:
    """The shelf at a path, or at an address such as `s3://bucket/folder`.

    Raises:
        StoreError: no driver for this kind of address is installed.
    """
    if "://" not in str(where):
        return FolderShelf(Path(where))
    return FolderShelf(objects.path_of(str(where))) if str(where).startswith("file://") else ObjectShelf(str(where))
