"""Random sequences of actions on a real firewall and directory, over HTTP; then all are taken back, in whatever order goes.

At the end every address, account and host must be just as it was before the first action. Used by the integration test and by
`make bench NAME=actions`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter
from baton.effects import firewall, outbox
from baton.effects.http import Endpoint
from baton.errors import BatonError
from baton.record import warehouse
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.steps.deliver import DeliverOptions, carry_out
from baton.steps.undo import deliver_undoes
from baton_demo.incident_response.security.server import SecurityHandler, SecurityServer

TOKEN, PARTITION = "token-of-the-sequences", "2026-11-20T09:00:00"
FLOWS = ("incident_response", "transaction_monitoring")
_POLICY = """\
actions:
  block_address: {description: blocks, recovery: reversible, reach: network, undo: unblock_address}
  unblock_address: {description: lets through, recovery: reversible, reach: network, undo: block_address}
  disable_account: {description: disables, recovery: reversible, reach: account, undo: enable_account}
  enable_account: {description: enables, recovery: reversible, reach: account, undo: disable_account}
  isolate_host: {description: isolates, recovery: reversible, reach: host, undo: release_host}
  release_host: {description: releases, recovery: reversible, reach: host, undo: isolate_host}
  rotate_key: {description: rotates, recovery: reversible, reach: account, undo: restore_key}
  restore_key: {description: goes back one key, recovery: irreversible, reach: account}
policy:
  - {name: hosts, actions: [isolate_host, release_host], level: one_approver}
  - {name: others, level: auto}
"""
# kind -> part, targets, where its state is, field, value afterwards (None: one more)
KINDS: dict[str, tuple[str, tuple[str, ...], str, str, Any]] = {
    "block_address": ("firewall", ("203.0.113.7", "203.0.113.8"), "/firewall/state/{}", "blocked", True),
    "unblock_address": ("firewall", ("203.0.113.7", "203.0.113.8"), "/firewall/state/{}", "blocked", False),
    "disable_account": ("directory", ("anna.adler", "svc-backup"), "/directory/accounts/{}", "disabled", True),
    "enable_account": ("directory", ("anna.adler", "svc-backup"), "/directory/accounts/{}", "disabled", False),
    "rotate_key": ("directory", ("anna.adler", "svc-backup"), "/directory/accounts/{}", "key_version", None),
    "isolate_host": ("directory", ("srv-db", "srv-web"), "/directory/hosts/{}", "isolated", True),
    "release_host": ("directory", ("srv-db", "srv-web"), "/directory/hosts/{}", "isolated", False),
}


@dataclass
class Town(Unconnected):
    """The services, as a stage's connections know them, and as we look at them."""

    client: httpx.Client
    url: str

    def http(self, conn_id: str) -> Endpoint:
        return Endpoint(self.url, {"Authorization": f"Bearer {TOKEN}"})

    def value(self, kind: str, target: str) -> Any:
        _, _, path, name, _ = KINDS[kind]
        return self.client.get(path.format(target)).json()[name]

    def state(self) -> dict[str, Any]:
        """All that an action can change."""
        seen = {(kind, target) for kind, what in KINDS.items() for target in what[1]}
        return {f"{KINDS[kind][3]} of {target}": self.value(kind, target) for kind, target in sorted(seen)}


class _Silent(SecurityHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A line for each of thousands of requests says nothing."""


@contextmanager
def services(folder: Path) -> Iterator[Town]:
    """The real services on a free port."""
    server = SecurityServer(0, folder / "security.db", TOKEN, handler=_Silent)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    (folder / "actions.yaml").write_text(_POLICY)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=10) as client:
            yield Town(client, server.url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Sequence:
    """One seeded sequence; `actions` and `sent` count, `problems` say what was not as before."""

    seed: int
    actions: int = 0
    sent: int = 0
    refused_first: int = 0  # undoes that had to wait for a later effect on the same target
    problems: list[str] = field(default_factory=list)


def play(seed: int, town: Town, folder: Path) -> Sequence:
    """Do random things by two flows and three incidents, then take all of them back."""
    rng, done = random.Random(f"undo {seed}"), Sequence(seed)
    partition = f"{PARTITION[:10]}T{seed // 60 % 24:02}:{seed % 60:02}:{seed // 1440:02}"
    _unrest(rng, town, seed)
    before = town.state()
    for step in range(rng.randint(3, 8)):
        plans = [_random(rng, town, f"{seed}-{step}-{number}") for number in range(rng.choice((1, 1, 2, 3)))]
        flows = [rng.choice(FLOWS) for _ in plans]
        for flow, action in zip(flows, plans, strict=True):
            _place(folder, flow, partition, action)
        done.actions += len(plans)
        for flow in rng.sample(FLOWS, 2):
            _agree(flow, partition, "ann")
            _deliver(town, flow, partition)
    found = [one for flow in FLOWS for one in outbox.effects(flow, partition)]
    done.problems += [f"{one.kind} on {one.target} is {one.state}" for one in found if one.state != outbox.SENT]
    done.sent = sum("same_as" not in (one.answer or {}) for one in found)
    _take_all_back(rng, town, partition, [one.key for one in found if one.state == outbox.SENT], done)
    after = town.state()
    done.problems += [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    return done


def _unrest(rng: random.Random, town: Town, seed: int) -> None:
    """Some things are so before anything is done."""
    for kind in rng.sample(sorted(KINDS), 3):
        part, targets, *_ = KINDS[kind]
        target = rng.choice(targets)
        answer = town.client.post(f"/{part}/actions", json={"action": kind, "target": target},
                                  headers={"Idempotency-Key": f"before-{seed}-{kind}"})  # fmt: skip
        answer.raise_for_status()


def _random(rng: random.Random, town: Town, incident: str) -> Action:
    kind = rng.choice(sorted(KINDS))
    _, targets, _, name, value = KINDS[kind]
    target = rng.choice(targets)
    now = town.value(kind, target)
    after = now + 1 if value is None else value
    payload = {"action": kind, "target": target, "incident": incident}
    return Action(kind, incident, target, payload, before={name: now}, after={name: after})


def _place(folder: Path, flow: str, partition: str, action: Action) -> None:
    warehouse.transact(lambda conn: firewall.place(conn, folder, flow, partition, [action], whole=False))


def _agree(flow: str, partition: str, person: str) -> None:
    for one in requests.still_open(flow, partition):
        firewall.vote(one.id, Voter(person), "approved", one.seen)


def _deliver(town: Town, flow: str, partition: str) -> None:
    for part in ("firewall", "directory"):
        mine = [kind for kind, what in KINDS.items() if what[0] == part]
        options = DeliverOptions(
            effect=tuple(mine), conn_id=part, endpoint=f"{part}/actions", receipt="action_id", echoes=("action", "target"),
            pause=0.0,
        )  # fmt: skip
        carry_out(StageJob("", flow, "contain", partition, "", options=options, connections=town), options)


def _take_all_back(rng: random.Random, town: Town, partition: str, left: list[str], done: Sequence) -> None:
    while left:
        rng.shuffle(left)
        standing = list(left)
        for key in standing:
            try:
                undone = firewall.take_back(key, "cy", "the end of the sequence")
            except BatonError as error:
                if "back first" not in str(error):
                    done.problems.append(str(error))
                    return
                done.refused_first += 1
                continue
            left.remove(key)
            if undone.key:
                _agree(undone.flow, partition, "bob")
                deliver_undoes(undone.flow, partition, town)
        if len(left) == len(standing):
            done.problems.append(f"{len(left)} can never be taken back")
            return
