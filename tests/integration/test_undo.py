"""Whatever was done to a real firewall and a real directory, taking it all back leaves them as they were."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.effects import firewall, outbox
from baton.effects.outbox import SENT
from baton.errors import BatonError
from baton.record import ledger, warehouse

SEQUENCES: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "faults" / "undo_sequences.py"))


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def test_random_sequences_are_taken_back_to_the_exact_state(tmp_path: Path) -> None:
    with SEQUENCES["services"](tmp_path) as town:
        played = [SEQUENCES["play"](seed, town, tmp_path) for seed in range(6)]
    assert [one.problems for one in played] == [[]] * 6
    assert sum(one.actions for one in played) > 30
    assert sum(one.sent for one in played) < sum(one.actions for one in played), "some targets stood so already"
    assert sum(one.refused_first for one in played) > 0, "a later effect on the target had to go first"
    assert ledger.verify().ok


def test_an_undo_is_sent_once_and_only_once_asked_for(tmp_path: Path) -> None:
    with SEQUENCES["services"](tmp_path) as town:
        payload = {"action": "block_address", "target": "203.0.113.7"}
        action = SEQUENCES["Action"]("block_address", "i1", "203.0.113.7", payload)
        SEQUENCES["_place"](tmp_path, "incident_response", "p", action)
        SEQUENCES["_deliver"](town, "incident_response", "p")
        (effect,) = outbox.effects("incident_response", "p")
        assert (effect.state, effect.undo) == (
            SENT,
            {"kind": "unblock_address", "payload": {**payload, "action": "unblock_address"}},
        )
        undone = firewall.take_back(effect.key, "ann")
        for _ in range(2):
            SEQUENCES["deliver_undoes"]("incident_response", "p", town)
            SEQUENCES["_deliver"](town, "incident_response", "p")
        assert town.value("block_address", "203.0.113.7") is False
        posted = town.client.get("/firewall/actions").json()["actions"]
        assert [one["action"] for one in posted] == ["block_address", "unblock_address"]
        with pytest.raises(BatonError, match="was taken back at"):
            firewall.take_back(effect.key, "ann")
        with pytest.raises(BatonError, match="takes another effect back itself"):
            firewall.take_back(undone.key, "ann")
