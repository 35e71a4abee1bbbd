"""Who stands in for a champion: on record while it does, on the ledger when that changes."""

from __future__ import annotations

from pathlib import Path

from baton.record import ledger, warehouse
from baton.registry import rungs


def stand(partition: str, rung: str, version: int | None, model: str = "m") -> None:
    with warehouse.write() as conn:
        rungs.record(conn, "flow", model, partition, rung, version, "it cannot be loaded")


def test_a_stand_in_is_shown_until_the_champion_is_back(home: Path) -> None:
    warehouse.migrate()
    stand("p1", rungs.EARLIER, 3)
    stand("p2", rungs.EARLIER, 3)
    stand("p1", rungs.AS_FIXED, 7, model="other")
    with warehouse.read() as conn:
        (shown,) = rungs.in_force(conn)
    assert (shown["flow"], shown["model"], shown["rung"], shown["version"]) == ("flow", "m", rungs.EARLIER, 3)
    assert (shown["partition"], shown["reason"]) == ("p2", "it cannot be loaded")
    stand("p3", rungs.RULES, None)
    stand("p4", rungs.AS_FIXED, 7)
    with warehouse.read() as conn:
        assert rungs.in_force(conn) == []
    said = [(entry.kind, entry.payload["rung"], entry.payload["partition"]) for entry in ledger.entries()][::-1]
    assert said == [
        (rungs.DEGRADED, rungs.EARLIER, "p1"),
        (rungs.DEGRADED, rungs.RULES, "p3"),
        (rungs.RECOVERED, rungs.RULES, "p4"),
    ]
    warehouse.engine().dispose()
