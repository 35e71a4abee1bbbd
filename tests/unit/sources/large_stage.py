"""A home where few bytes are a large file, and few rows a part of a dataset. Test modules load it by path, because tests are no package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baton.data import parts
from baton.packs.pack import Pack
from baton.record import warehouse
from baton.settings import settings
from baton.sources import large
from baton.specs.source import SourcesSpec
from baton.stages.job import StageJob

HOUR = "2026-11-20T09:00:00"


@contextmanager
def small_limits(home: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, part: int) -> Iterator[Path]:
    """A warehouse; the pack `shop` with the source `orders`, files `rows-{partition}.*` of the landing folder.

    Args:
        at_once: rows that are read at a time.
        part: rows of a part.
    """
    monkeypatch.setenv("BATON_HOME", str(home))
    settings.cache_clear()
    warehouse.migrate()
    for module, name, value in (
        (large, "BYTES", 100),
        (large, "ROWS", at_once),
        (parts, "ROWS", part),
        (parts, "STEP", 1),
    ):
        monkeypatch.setattr(module, name, value)
    (home / "landing").mkdir()
    source = {"kind": "file", "description": "rows", "path": "{landing}/rows-{partition}.*"}
    pack = Pack("shop", "shop", home, sources=SourcesSpec.model_validate({"orders": source}).root)
    monkeypatch.setattr(StageJob, "load_pack", lambda self: pack)
    yield home
    warehouse.engine().dispose()
    settings.cache_clear()
