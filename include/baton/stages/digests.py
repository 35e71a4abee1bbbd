"""Digests: what determines a stage's result, as one hash; the same digest means the same rows.

Code is the function and its *build*: every file of the engine and of the flow's pack. Which of them a function reaches
cannot be known (it may name modules by text, or read the pack's policies and templates), and a result that a correction
did not reach surprises more than one that is computed again. For the engine's own steps the pack's specs are left
out: what they take of these is among their parameters, and a new owner or alert changes no row.
"""

import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from baton.data.datasets import DatasetRef

DISTRIBUTION = "baton-orchestra"


def input_digest(
    inputs: Mapping[str, DatasetRef], params: Mapping[str, Any], models: Mapping[str, int | str], code: str
) -> str:
    """Return the SHA-256 over everything that determines a stage's result.

    Raises:
        TypeError: a parameter that JSON cannot hold: its text would not be the same in another process.
    """
    parts = {
        "inputs": {name: ref.content_sha256 for name, ref in inputs.items()},
        "params": dict(params),
        "models": {name: str(version) for name, version in models.items()},
        "code": code,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def code_of(func: Callable[..., Any], *folders: Path, without: Collection[Path] = ()) -> str:
    """Return a text that changes with a function's code: package versions, dotted name, hash of its source and its build.

    Args:
        folders: of the packages whose files it may reach, see `build_of`.
        without: files of these that count in another way.

    Raises:
        TypeError: the function's source is not at hand (built in, or typed into a prompt).
    """
    plain = inspect.unwrap(func)
    while hasattr(plain, "func"):  # functools.partial: its arguments belong into the stage's parameters
        plain = inspect.unwrap(plain.func)
    try:
        source = textwrap.dedent(inspect.getsource(plain))
    except (OSError, TypeError) as error:
        raise TypeError(f"{plain!r} has no source file, so a change of it could not be noticed") from error
    versions = [f"{name}=={metadata.version(name)}" for name in sorted({DISTRIBUTION, *_distribution(plain)})]
    source_hash = hashlib.sha256(source.encode()).hexdigest()[:16]
    builds = "".join(f" {build_of(folder, without)}" for folder in folders)
    return f"{' '.join(versions)} {plain.__module__}:{plain.__qualname__} {source_hash}{builds}"


def build_of(folder: Path, without: Collection[Path] = ()) -> str:
    """Return a hash over the names and contents of a package's files, the same on every machine.

    Left out: what Python compiled, what begins with a dot, README.md. A file is read once a process, and again when its
    time or size changed.
    """
    made = hashlib.sha256()
    for at, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if name != "__pycache__" and not name.startswith("."))
        for name in sorted(names):
            path = Path(at, name)
            if not (name.startswith(".") or name.endswith(".pyc") or name == "README.md" or path in without):
                about = path.stat()
                content = _content_of(path, about.st_mtime_ns, about.st_size)
                made.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return made.hexdigest()[:16]


@lru_cache(maxsize=4096)
def _content_of(path: Path, _changed_at: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _distribution(func: Callable[..., Any]) -> list[str]:
    """The distribution of a pack that was installed on its own, where it has the name of its package."""
    top = func.__module__.partition(".")[0]
    try:
        return [metadata.metadata(top)["Name"]]
    except metadata.PackageNotFoundError:
        return []
