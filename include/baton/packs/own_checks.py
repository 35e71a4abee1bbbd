"""What a pack checks of itself: files of its own kinds, that the engine does not know.

A pack may have a module `checks` with `READ`, globs of the files that it reads, and `problems(folder)`, what is wrong with them.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from baton.packs.pack import package_of, packs
from baton.packs.spec_file import Problem

CHECKS = "checks"


def own_files(name: str, folder: Path) -> set[Path]:
    """Files of a pack's folder that the pack itself reads."""
    module = _module(name, folder)
    return {path for pattern in getattr(module, "READ", ()) for path in folder.glob(pattern)}


def own_problems(name: str, folder: Path) -> list[Problem]:
    """What a pack finds wrong with its own files; a note where its check cannot run."""
    if not (folder / f"{CHECKS}.py").is_file():
        return []
    module = _module(name, folder)
    if module is None:
        message = "is not run: the pack is not installed"
        return [Problem(str(folder / f"{CHECKS}.py"), 1, "", message, "pip install --no-deps -e", note=True)]
    return list(module.problems(folder))


def _module(name: str, folder: Path) -> Any:
    """The pack's `checks`; None: it has none, or the pack is not installed."""
    if name not in packs() or not (folder / f"{CHECKS}.py").is_file():
        return None
    return import_module(f"{package_of(name)}.{CHECKS}")
