"""Garbage beside the slots' objects (those: `test_slots`): journals of runs that never ended."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from baton.record import warehouse
from baton.settings import settings
from baton.stages import garbage
from baton.stages.journal import Journal
from baton.stages.slots import Slot


def test_a_journal_goes_when_its_run_has_not_ended_for_a_day(home: Path) -> None:
    warehouse.migrate()
    journal = Journal(Slot("intake", "parse", "2026-01-01T00:00:00").folder, {"code": "1"})
    keys = [journal.key(name) for name in ("letter", "later")]
    for key in keys:
        journal.put(key, {"text": "Dear Baton"})
    (store,) = home.rglob("journal")
    (store / "notes.json").write_text("{}")  # not its name
    yesterday = time.time() - 86_500
    os.utime(store / f"{keys[0]}.json", (yesterday, yesterday))
    planned = garbage.gc(dry_run=True)
    assert [uri.rsplit("/", 1)[1] for uri in planned.uris] == [f"{keys[0]}.json"]
    assert planned.uris[0].startswith(settings().store_url)
    assert garbage.gc() == planned
    assert [journal.get(key) for key in keys] == [None, {"text": "Dear Baton"}]
    assert len(garbage.gc(timedelta(0)).uris) == 1
    assert [file.name for file in store.iterdir()] == ["notes.json"]
    warehouse.engine().dispose()
