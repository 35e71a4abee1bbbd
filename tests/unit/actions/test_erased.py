"""What is erased of an entity is erased of the requests about it, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, outbox
from baton.record import tables, warehouse
from baton.retention.evidence import Removal, blank

FLOW = "incident_response"
POLICY = """\
actions:
  block: {description: blocks an address, recovery: reversible, reach: network, undo: unblock}
  unblock: {description: lets it through, recovery: reversible, reach: network, undo: block}
policy:
  - {name: all, level: one_approver}
"""


def test_what_is_erased_of_an_entity_is_erased_of_its_requests_too(home: Path, tmp_path: Path) -> None:
    warehouse.migrate()
    (tmp_path / "actions.yaml").write_text(POLICY)
    payload = {"action": "block", "target": "203.0.113.7"}
    action = Action("block", "i1", "203.0.113.7", payload, evidence=("mail of ada@example.org",))
    warehouse.transact(lambda conn: firewall.place(conn, tmp_path, FLOW, "2026-11-20T09:00:00", [action]))
    (asked,) = requests.still_open()
    removal = Removal(FLOW)
    warehouse.transact(lambda conn: blank(conn, [tables.outbox.c.entity_key == "i1"], removal, dry_run=False))
    with warehouse.read() as conn:
        kept = requests.find(conn, asked.id)
    assert (kept.state, kept.action, kept.target, kept.reasons) == ("withdrawn", {}, "", [])
    (effect,) = outbox.effects(FLOW)
    assert (effect.state, effect.payload, effect.action, effect.undo, effect.target) == (
        outbox.WITHDRAWN,
        {},
        None,
        None,
        None,
    )
    with pytest.raises(VoteRefused, match=r"is withdrawn .content removed."):
        firewall.vote(asked.id, Voter("ann"), "approved", asked.seen)
    assert removal.rows == {"outbox": 1}
