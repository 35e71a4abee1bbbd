"""Attempts to have something done outside without the people whom the policy demands; each is the test of what it met."""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baton.actions import policy, requests
from baton.actions.action import Approval
from baton.actions.votes import Voter, VoteRefused
from baton.effects import delivery, firewall, outbox
from baton.effects.outbox import FORBIDDEN, PENDING, UNKNOWN, WAITING, WITHDRAWN
from baton.effects.peer import Outcome
from baton.errors import BatonError
from baton.record import ledger, tables, warehouse

UNIT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "actions" / "test_firewall.py"))
FLOW, PART, POLICY, VIA = UNIT["FLOW"], UNIT["PART"], UNIT["POLICY"], UNIT["VIA"]
pack, Peer, Action, block, place, send, states, agree, close_the_case = (
    UNIT[name] for name in ("pack", "Peer", "Action", "block", "place", "send", "states", "agree", "close_the_case")
)
DOWN, LOST, NO = Outcome("later", "it is down"), Outcome("unknown", "no answer"), Outcome("failed", "not today")
ONE = "block 203.0.113.7"


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def edit(**values: Any) -> None:
    with warehouse.write() as conn:
        conn.execute(tables.outbox.update().values(**values))


# --- a word that is not for this ---


@pytest.mark.parametrize(("first", "state"), [(DOWN, PENDING), (NO, "failed"), (LOST, UNKNOWN)])
def test_what_was_tried_and_is_not_there_is_not_sent_once_its_incident_was_closed(
    pack: Path, first: Outcome, state: str
) -> None:
    """The permit is used up by the attempt that found the firewall down; it was good for the next attempt all the same."""
    place(pack, block(confidence=0.1))
    agree("ann")
    peer = Peer(first, Outcome("done", answer={}))
    send(peer, rounds=1)
    assert states() == {ONE: state}
    peer.sent.clear()
    close_the_case()
    send(peer, rounds=3)
    assert peer.sent == []
    assert states()[ONE] in (WITHDRAWN, FORBIDDEN)
    with pytest.raises(VoteRefused, match="its case was closed: false_positive"):
        firewall.vote(1, Voter("cy"), "approved", requests.find(warehouse.engine().connect(), 1).seen)


@pytest.mark.parametrize("point", ["claimed", "asked"])
def test_an_incident_that_is_closed_between_claim_and_sending_stops_it(
    pack: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Asking a slow peer what it has takes many seconds: time enough to close the case."""
    place(pack, block(confidence=0.1))
    agree("ann")
    send(peer := Peer(LOST, Outcome("done", answer={})), rounds=1)
    peer.sent.clear()
    closed: list[str] = []

    def at(now: str) -> None:
        if now == point and not closed:
            closed.append(now)
            close_the_case()

    monkeypatch.setattr(delivery, "FAULT", at)
    send(peer, rounds=3)
    assert (peer.sent, states()) == ([], {ONE: FORBIDDEN})


def test_a_refusal_holds_though_the_policy_is_turned_back_to_the_one_that_was_agreed_to(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    agree("ann")
    peer = Peer(LOST, Outcome("done", answer={}))
    send(peer, rounds=1)
    peer.sent.clear()  # it never arrived
    (pack / "actions.yaml").write_text(POLICY.replace("{name: rest, level", "{name: rest, answer_minutes: 5, level"))
    send(Peer(LOST), rounds=1)
    (asked,) = requests.still_open()
    firewall.vote(asked.id, Voter("bob"), "refused", asked.seen, "not any more")
    (pack / "actions.yaml").write_text(POLICY)
    send(peer, rounds=3)
    assert peer.sent == []


def test_a_word_from_a_clock_that_is_ahead_does_not_count_for_what_was_asked_after_it(pack: Path) -> None:
    said = Approval("ann", at="2999-01-01T00:00:00.000000Z")
    place(pack, block(confidence=0.1, approvals=(said,)))
    assert states() == {ONE: PENDING}, "nothing was asked before"
    changed = replace(
        block(confidence=0.1, approvals=(said,)), payload={"action": "block", "target": "203.0.113.7", "for": "ever"}
    )
    place(pack, changed)
    assert states() == {ONE: WAITING}


def test_votes_for_another_target_evidence_or_payload_count_for_nothing(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    agree("ann")
    for change in ({"target": "203.0.113.99"}, {"payload": {"action": "block", "target": "0.0.0.0/0"}}):
        with warehouse.read() as conn:
            before = dict(conn.execute(tables.outbox.select()).mappings().one())
        edit(**change)  # somebody with a hand in the database
        send(peer := Peer(), rounds=1)
        assert (peer.sent, list(states().values())) == ([], [WAITING]), change
        edit(**{name: before[name] for name in ("target", "payload", "state")})
    with warehouse.read() as conn:
        told = dict(conn.execute(tables.outbox.select()).mappings().one()["action"])
    edit(action={**told, "evidence": ["another"]})
    send(peer := Peer(), rounds=1)
    assert peer.sent == []


def test_a_row_that_says_it_is_ready_is_judged_all_the_same(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    edit(state=PENDING)
    send(peer := Peer(), rounds=1)
    assert (peer.sent, states()) == ([], {ONE: WAITING})


def test_a_permit_is_not_good_for_a_second_delivery_nor_for_another_effect(pack: Path) -> None:
    place(pack, block(confidence=0.1), block("203.0.113.8", confidence=0.1))
    (first, second) = requests.still_open()
    firewall.vote(first.id, Voter("ann"), "approved", first.seen)
    with warehouse.write() as conn:
        conn.execute(tables.permits.update().values(effect=second.effect))
    edit(state=PENDING)
    send(peer := Peer(), rounds=1)
    assert peer.sent == []
    assert set(states().values()) == {WAITING}


def test_the_same_answer_again_does_not_agree_to_what_was_withdrawn(pack: Path) -> None:
    said = Approval("ann", at=warehouse.now())
    place(pack, block(confidence=0.1, approvals=(said,)))
    close_the_case()
    place(pack, block(confidence=0.1, approvals=(said,)))
    assert states() == {ONE: WAITING}


def test_a_word_lives_no_longer_than_its_permit_though_the_plan_drops_the_action_and_wants_it_again(pack: Path) -> None:
    said = Approval("ann", at=warehouse.now())
    place(pack, block(confidence=0.1, approvals=(said,)))
    send(Peer(DOWN), rounds=1)
    place(pack, kinds=("block",))
    place(pack, block(confidence=0.1, approvals=(said,)))
    assert states() == {ONE: WAITING}


# --- the policy while it is read ---


def test_a_policy_that_is_swapped_while_it_is_read_is_not_kept_for_the_old_one(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strict is hashed, lax is read: from then on lax would be what strict says, in this process, for ever."""
    path, lax = pack / "actions.yaml", POLICY.replace("{name: rest, level: one_approver}", "{name: rest, level: auto}")
    path.write_text(POLICY + "# strict\n")
    real = policy.read_as

    def swapped(model: Any, at: Path) -> Any:
        path.write_text(lax)
        try:
            return real(model, at)
        finally:
            path.write_text(lax)

    with monkeypatch.context() as patch:
        patch.setattr(policy, "read_as", swapped)
        with pytest.raises(BatonError, match="was changed while it was read"):
            policy.load(pack)
    path.write_text(POLICY + "# strict\n")
    assert [one.level for one in firewall.foresee(pack, [block(confidence=0.1)])] == ["one_approver"]


# --- taking back as a way round ---


def test_undo_is_no_way_round_the_policy(pack: Path) -> None:
    (pack / "actions.yaml").write_text(
        POLICY.replace("policy:\n", "policy:\n  - {name: never, actions: [unblock], level: forbidden}\n")
    )
    place(pack, block())
    send(peer := Peer())
    (effect,) = outbox.effects(FLOW)
    assert firewall.take_back(effect.key, "ann").state == FORBIDDEN
    assert send(peer, undoing=True).sent == 0
    assert len(peer.sent) == 1
    with pytest.raises(BatonError, match="nobody knows who asks for it"):
        firewall.take_back(effect.key, "")


def test_what_takes_back_is_not_taken_back_itself_nor_delivered_without_a_word(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    agree("ann")
    send(peer := Peer())
    (effect,) = outbox.effects(FLOW)
    undone = firewall.take_back(effect.key, "ann")
    assert send(peer, undoing=True).sent == 0
    edit(state=PENDING)
    send(peer, undoing=True)
    assert len(peer.sent) == 1
    with pytest.raises(VoteRefused, match="asked for it"):
        agree(" Ann ")
    agree("bob")
    assert send(peer, undoing=True).sent == 1
    with pytest.raises(BatonError, match="it takes another effect back itself"):
        firewall.take_back(undone.key, "cy")


# --- processes at once ---

RACE = """
import sys, time
from pathlib import Path
from baton.actions.action import Action
from baton.effects import attempts, firewall, outbox
from baton.record import warehouse
pack, mine, start = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
for number in range(5):
    target = f"198.51.{mine}.{number}"
    payload = {"action": "block", "target": target}
    action = Action("block", "i1", target, payload, confidence=0.95)
    warehouse.transact(lambda conn: firewall.place(conn, pack, f"flow_{mine}", "2026-11-20T09:00:00", [action], whole=False))
for effect in outbox.effects("shared"):
    attempts.claim(effect, lease=60)
"""


def test_two_processes_neither_exceed_the_cap_nor_use_a_permit_twice(pack: Path) -> None:
    place(pack, block(confidence=0.1), flow="shared")
    agree("ann")
    start = str(time.time() + 2.0)
    started = [
        subprocess.Popen([sys.executable, "-c", RACE, str(pack), str(number), start], stderr=subprocess.PIPE, text=True)
        for number in (1, 2)
    ]
    assert [one.communicate(timeout=60)[1] for one in started] == ["", ""]
    found = [one for flow in ("flow_1", "flow_2") for one in outbox.effects(flow)]
    assert Counter(one.state for one in found) == {PENDING: 2, WAITING: 8}
    assert [one.attempts for one in outbox.effects("shared")] == [1]
    assert len(ledger.entries(kind="permit_used", limit=100)) == 1
