"""A pack's own rules in a YAML file: read as the pack's pydantic model, with the line of every mistake."""

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from baton.packs.spec_file import raise_for, read_as
from baton.specs.base import Spec

P = TypeVar("P", bound=Spec)


def read_policy(path: Path, model: type[P]) -> P:
    """The rules of a file; read again only when the file is another.

    Raises:
        SpecError: lists every mistake with file, line, field and what is allowed; also when the file is not there.
    """
    return _read(path, model, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=16)
def _read(path: Path, model: type[P], _stamp: int) -> P:
    policy, _, problems = read_as(model, path)
    raise_for(problems)
    assert policy is not None
    return policy
