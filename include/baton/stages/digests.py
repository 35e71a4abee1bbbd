"""Digests: what determines a stage's result, as one hash; the same digest means the same rows."""

import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from importlib import metadata
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


def code_of(func: Callable[..., Any]) -> str:
    """Return a text that changes with a function's code: package versions, dotted name, hash of its source.

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
    return f"{' '.join(versions)} {plain.__module__}:{plain.__qualname__} {source_hash}"


def _distribution(func: Callable[..., Any]) -> list[str]:
    """The distribution of a pack that was installed on its own, where it has the name of its package."""
    top = func.__module__.partition(".")[0]
    try:
        return [metadata.metadata(top)["Name"]]
    except metadata.PackageNotFoundError:
        return []
