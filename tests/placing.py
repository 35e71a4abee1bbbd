"""Effects for tests that are not about the policy: placed through the action firewall, which lets all of them through."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from baton.actions.action import Action
from baton.effects import firewall
from baton.effects.outbox import Enqueued
from baton.settings import settings

_POLICY = """\
actions:
  order: {description: orders, recovery: reversible_by_others, reach: record}
  cancellation: {description: cancels an order, recovery: irreversible, reach: record}
  mail: {description: mails, recovery: irreversible, reach: record}
policy:
  - {name: all_of_them, level: auto}
"""


def pack() -> Path:
    """A pack whose policy lets everything through."""
    folder = settings().home / "open_pack"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "actions.yaml").exists():
        (folder / "actions.yaml").write_text(_POLICY)
    return folder


def enqueue(
    conn: Connection, flow: str, partition: str, kind: str, entries: Iterable[tuple[str, dict[str, Any]]],
    *, whole: bool = True,
) -> Enqueued:  # fmt: skip
    """Place effects of one kind: (entity_key, payload)."""
    actions = [Action(kind, entity, entity, payload) for entity, payload in entries]
    done = firewall.place(conn, pack(), flow, partition, actions, kinds=(kind,), whole=whole)
    return Enqueued(done.new, done.same, done.replaced, done.withdrawn)
