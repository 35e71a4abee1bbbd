"""Placing, voting, holding up and taking back, in the warehouse; who may is in the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baton.actions import requests, switch
from baton.actions.action import Action, Approval
from baton.actions.votes import Voter, VoteRefused
from baton.effects import attempts, delivery, firewall, outbox, overview
from baton.effects.attempts import Kept
from baton.effects.outbox import FORBIDDEN, PENDING, SENT, UNKNOWN, WAITING, WITHDRAWN
from baton.effects.peer import Outcome
from baton.errors import BatonError
from baton.feedback import cases
from baton.record import ledger, tables, warehouse

FLOW, OTHER, PART = "incident_response", "transaction_monitoring", "2026-11-20T09:00:00"
VIA = {"conn_id": "firewall", "endpoint": "firewall/actions"}
POLICY = """\
actions:
  block: {description: blocks an address, recovery: reversible, reach: network, undo: unblock}
  unblock: {description: lets it through, recovery: reversible, reach: network, undo: block}
  wipe: {description: wipes a host, recovery: irreversible, reach: host}
  mail: {description: mails, recovery: irreversible, reach: record}
policy:
  - {name: mails, actions: [mail], level: auto}
  - {name: wipes, actions: [wipe], level: two_approvers}
  - {name: sure, min_confidence: 0.9, level: notify, cap_per_hour: 2, above_cap: one_approver}
  - {name: rest, level: one_approver}
"""


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "actions.yaml").write_text(POLICY)
    return tmp_path


class Peer:
    """Answers as told, the last word for ever; notes what it was sent."""

    answers = True

    def __init__(self, *words: Outcome) -> None:
        self.words, self.sent, self.asked = list(words), [], 0

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        self.asked += 1
        return Outcome("done", answer={}, agreed=True) if key in [one[0] for one in self.sent] else Outcome("absent")

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        word = (
            (self.words.pop(0) if len(self.words) > 1 else self.words[0]) if self.words else Outcome("done", answer={})
        )
        if word.kind in ("done", "unknown"):
            self.sent.append((key, payload))
        return word


def block(target: str = "203.0.113.7", entity: str = "i1", **given: Any) -> Action:
    states = {"before": {"blocked": False}, "after": {"blocked": True}}
    payload = {"action": "block", "target": target, "for": entity}
    return Action("block", entity, target, payload, **{"confidence": 0.95, **states, **given})


def place(pack: Path, *actions: Action, flow: str = FLOW, **options: Any) -> firewall.Placement:
    return warehouse.transact(lambda conn: firewall.place(conn, pack, flow, PART, actions, **options))


def send(peer: Peer, flow: str = FLOW, undoing: bool = False, **options: Any) -> delivery.Delivery:
    kinds = ["block", "unblock", "wipe", "mail"]
    return delivery.deliver(kinds, peer, flow, PART, via=VIA, undoing=undoing, sleep=lambda _: None, **options)


def states(flow: str = FLOW) -> dict[str, str]:
    return {f"{one.kind} {one.target}": one.state for one in outbox.effects(flow)}


def agree(*people: str) -> None:
    for one in requests.still_open():
        for person in people:
            firewall.vote(one.id, Voter(person), "approved", one.seen)


def close_the_case() -> None:
    with warehouse.write() as conn:
        conn.execute(tables.cases.insert().values(
            flow=FLOW, entity_key="i1", partition=PART, route="contain", risk=1.0, status="open", opened_at="1", updated_at="1",
            resolutions={"false_positive": {}},
        ))  # fmt: skip
    cases.decide(FLOW, "i1", "false_positive", "bob")


# --- placing ---


def test_each_goes_as_far_as_the_policy_says_and_again_changes_nothing(pack: Path) -> None:
    wipe = Action("wipe", "i1", "srv-db", {})
    odd = Action("format", "i1", "srv-db", {})
    placed = place(pack, block(), block("203.0.113.8", confidence=0.2), wipe, odd)
    assert placed.levels == {"notify": 1, "one_approver": 1, "two_approvers": 1, "forbidden": 1}
    assert (placed.new, len(placed.waiting)) == (4, 2)
    assert placed.forbidden == ["format on srv-db: `format` is no action that the pack declares in actions.yaml"]
    expected = {
        "block 203.0.113.7": PENDING,
        "block 203.0.113.8": WAITING,
        "wipe srv-db": WAITING,
        "format srv-db": FORBIDDEN,
    }
    assert states() == expected
    entries = len(ledger.entries(limit=100))
    again = place(pack, block(), block("203.0.113.8", confidence=0.2), wipe, odd)
    assert (again.new, again.same, again.waiting) == (0, 4, placed.waiting)
    assert len(ledger.entries(limit=100)) == entries
    assert states() == expected
    assert send(peer := Peer()).sent == 1
    assert [payload["target"] for _, payload in peer.sent] == ["203.0.113.7"]


def test_a_plan_that_drops_an_action_withdraws_it_and_its_request(pack: Path) -> None:
    place(pack, block(confidence=0.1), block("203.0.113.8", confidence=0.1))
    (first, second) = requests.still_open()
    place(pack, block(confidence=0.1))
    assert states()["block 203.0.113.8"] == WITHDRAWN
    with pytest.raises(VoteRefused, match=r"is replaced .the plan changed.: nothing is left to answer"):
        firewall.vote(second.id, Voter("ann"), "approved", second.seen)
    assert [one.id for one in requests.still_open()] == [first.id]
    with pytest.raises(BatonError, match="say of which `kinds`"):
        place(pack)
    place(pack, kinds=("block",))
    assert requests.still_open() == []


def test_more_than_the_cap_in_an_hour_need_a_person(pack: Path) -> None:
    placed = place(pack, *[block(f"203.0.113.{n}") for n in range(5)])
    assert placed.levels == {"notify": 2, "one_approver": 3}
    assert place(pack, *[block(f"203.0.113.{n}") for n in range(5)]).levels == {"one_approver": 3}
    assert place(pack, block("198.51.100.1"), flow=OTHER).levels == {"one_approver": 1}, "of all flows together"


def test_the_dry_run_says_what_would_be_asked_and_places_nothing(pack: Path) -> None:
    assert [one.level for one in firewall.foresee(pack, [block(), block(confidence=0.1)])] == ["notify", "one_approver"]
    assert outbox.effects(FLOW) == []


def test_a_reversible_action_says_what_its_undo_is_sent(pack: Path) -> None:
    with pytest.raises(BatonError, match="declared reversible by unblock, and nothing says what that is sent"):
        place(pack, replace(block(), payload={"address": "203.0.113.7"}))
    place(pack, replace(block(), payload={"address": "203.0.113.7"}, undo={"free": "203.0.113.7"}))
    assert outbox.effects(FLOW)[0].undo == {"kind": "unblock", "payload": {"free": "203.0.113.7"}}


# --- people ---


def test_a_reviews_answer_is_a_vote_with_its_channel(pack: Path) -> None:
    said = Approval.of_answer({"answer": "approved", "actor": "Ann Smith", "actor_id": "7"})
    placed = place(pack, block(confidence=0.1, approvals=(said,)))
    assert (placed.waiting, states()) == ([], {"block 203.0.113.7": PENDING})
    (vote,) = ledger.entries(kind="action_voted")
    assert (vote.payload["person"], vote.payload["channel"]) == ("7", "review")
    (asked,) = overview.of_entity(FLOW, "i1")
    assert (asked.level, asked.rule, asked.request) == ("one_approver", "rest", 1)


def test_an_approver_sees_the_difference_the_evidence_and_who_agreed(pack: Path) -> None:
    wipe = Action(
        "wipe", "i1", "srv-db", {}, before={"os": "up", "disk": 1}, after={"os": "gone", "disk": 1}, evidence=("e1",)
    )
    place(pack, wipe)
    firewall.vote(1, Voter("ann", "Ann", "page"), "approved", overview.request(1).request.seen, "it is lost anyway")
    (asked,) = overview.open_requests()
    assert asked.difference == [("os", "up", "gone")]
    assert (asked.evidence, asked.recovery, asked.description) == (["e1"], "irreversible", "wipes a host")
    assert [(one["name"], one["channel"], one["reason"]) for one in asked.votes] == [
        ("Ann", "page", "it is lost anyway")
    ]
    assert asked.request.reasons == ["rule `wipes`: two_approvers"]
    assert overview.open_requests(FLOW, "another") == []


def test_whoever_asked_may_take_it_back_and_a_refusal_holds(pack: Path) -> None:
    place(pack, block(confidence=0.1), requester="ann")
    (asked,) = requests.still_open()
    assert firewall.vote(asked.id, Voter("ann"), "refused", asked.seen, "wrong address").state == "refused"
    placed = place(pack, block(confidence=0.1), requester="ann")
    assert placed.forbidden == ["block on 203.0.113.7: refused by ann: wrong address"]
    assert requests.still_open() == []


def test_a_closed_case_takes_back_what_waits_and_what_was_approved(pack: Path) -> None:
    place(pack, block(confidence=0.1), block("203.0.113.8", confidence=0.1), block("203.0.113.9"))
    (first, _) = requests.still_open()
    firewall.vote(first.id, Voter("ann"), "approved", first.seen)
    close_the_case()
    assert sorted(states().values()) == [PENDING, WITHDRAWN, WITHDRAWN], "what nobody was asked about is no part of it"
    assert send(peer := Peer()).sent == 1
    assert peer.sent[0][1]["target"] == "203.0.113.9"


def test_what_nobody_answered_is_withdrawn_and_may_be_asked_again(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at="2026-01-01T00:00:00.000000Z"))
    assert requests.still_open() == []
    assert [one.id for one in firewall.sweep()] == [1]
    assert firewall.sweep() == []
    assert states() == {"block 203.0.113.7": WITHDRAWN}
    place(pack, block(confidence=0.1))
    assert [one.id for one in requests.still_open()] == [2]


def test_notices_are_what_went_without_asking(pack: Path) -> None:
    place(pack, block(), Action("mail", "i1", "i1", {"to": ["a@example.org"]}))
    send(Peer())
    (notice,) = overview.notices()
    assert (notice.effect.kind, notice.effect.state, notice.level, notice.undo) == ("block", SENT, "notify", "unblock")
    assert notice.undoable


# --- beginning ---


def test_the_switch_stops_what_is_on_its_way_and_asks_about_it_only(pack: Path) -> None:
    place(pack, block())
    peer = Peer(Outcome("unknown", "no answer"), Outcome("done", answer={}))
    send(peer, rounds=1)
    assert states() == {"block 203.0.113.7": UNKNOWN}
    switch.stop("ann", "drill")
    with pytest.raises(BatonError, match=r"all effects are stopped since .* by ann .drill."):
        switch.stop("bob", "again")
    done = send(peer, rounds=1)
    assert (done.sent, done.adopted, peer.asked, len(peer.sent)) == (1, 1, 1, 1), "the other side had it"
    assert switch.start("ann").reason == "drill"
    with pytest.raises(BatonError, match="not stopped"):
        switch.start("ann")
    assert [one.kind for one in ledger.entries(limit=100)].count("effects_stopped") == 1


def test_what_was_in_doubt_and_is_not_there_needs_a_new_permit_if_the_policy_changed(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    agree("ann")
    lost = Peer(Outcome("unknown", "no answer"))
    send(lost, rounds=1)
    lost.sent.clear()  # it never arrived
    (pack / "actions.yaml").write_text(POLICY.replace("{name: rest, level", "{name: rest, answer_minutes: 5, level"))
    done = send(peer := Peer(), rounds=3)
    assert (peer.sent, done.waiting, states()) == ([], 1, {"block 203.0.113.7": WAITING})
    agree("bob")
    assert send(peer).sent == 1


def test_a_used_permit_that_ended_is_good_only_for_what_is_in_doubt(pack: Path) -> None:
    place(pack, block("203.0.113.7", confidence=0.1), block("203.0.113.8", confidence=0.1))
    agree("ann")
    words = {"203.0.113.7": Outcome("unknown", "no answer"), "203.0.113.8": Outcome("failed", "not today")}
    peer = Peer()
    peer.place = lambda key, payload: words[payload["target"]]  # type: ignore[method-assign]
    send(peer, rounds=1)
    assert states() == {"block 203.0.113.7": UNKNOWN, "block 203.0.113.8": "failed"}
    with pytest.MonkeyPatch.context() as patch:
        real = warehouse.now
        patch.setattr(warehouse, "now", lambda: f"{int(real()[:4]) + 1}{real()[4:]}")  # a year later
        done = send(peer := Peer(), rounds=1)
    assert (done.sent, [one[1]["target"] for one in peer.sent]) == (1, ["203.0.113.7"])
    assert states()["block 203.0.113.8"] == WAITING, "what the other side refused is asked about anew"


def test_the_switch_is_looked_at_again_before_anything_is_sent(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(pack, block())
    monkeypatch.setattr(delivery, "FAULT", lambda point: switch.stop("ann", "now") if point == "claimed" else None)
    done = send(peer := Peer(), rounds=1)
    assert (peer.sent, done.unknown, states()) == ([], 1, {"block 203.0.113.7": PENDING})
    assert "stopped" in done.problems[0]


def test_an_effect_from_before_there_was_a_policy_waits_to_be_placed_again(pack: Path) -> None:
    place(pack, block())
    with warehouse.write() as conn:
        conn.execute(tables.outbox.update().values(action=None, target=None))
        conn.execute(tables.permits.delete())
    done = send(peer := Peer())
    assert (peer.sent, done.unknown) == ([], 1)
    assert "run the stage that placed it again" in done.problems[0]


def test_a_policy_that_cannot_be_read_lets_nothing_through(pack: Path) -> None:
    place(pack, block())
    (pack / "actions.yaml").write_text("actions: nonsense\n")
    done = send(peer := Peer())
    assert (peer.sent, done.unknown) == ([], 1)
    assert "actions.yaml:1" in done.problems[0]


# --- one target ---


def test_the_later_of_two_on_a_target_waits_and_is_done_when_it_stands_so(pack: Path) -> None:
    place(pack, block())
    place(pack, block(entity="j9"), flow=OTHER)
    (first,) = outbox.effects(FLOW)
    (second,) = outbox.effects(OTHER)
    held = attempts.claim(first, lease=60)
    assert not isinstance(held, Kept)
    busy = attempts.claim(second, lease=60)
    assert isinstance(busy, Kept)
    assert (busy.why, busy.words) == ("busy", f"block of {first.subject} on 203.0.113.7 is on its way")
    assert held is not None
    with warehouse.write() as conn:
        assert attempts.settle(conn, held, SENT, None, {}, {}, VIA)
    done = send(peer := Peer(), OTHER)
    assert (done.sent, peer.sent) == (1, [])
    (second,) = outbox.effects(OTHER)
    assert (second.state, second.answer) == (SENT, {"same_as": first.key})
    with pytest.raises(BatonError, match=f"take {second.key} back first"):
        firewall.take_back(first.key, "ann")
    undone = firewall.take_back(second.key, "ann")
    assert (undone.key, undone.words) == ("", f"nothing had to be done: it stands by {first.subject}")
    assert firewall.take_back(first.key, "ann").state == WAITING


def test_records_are_of_their_flow_alone(pack: Path) -> None:
    for flow in (FLOW, OTHER):
        place(pack, Action("mail", "i1", "i1", {"to": ["a@example.org"]}), flow=flow)
    peer = Peer()
    assert [send(peer, flow).sent for flow in (FLOW, OTHER)] == [1, 1]
    assert len(peer.sent) == 2


# --- undo ---


def test_an_undo_needs_a_permit_and_another_person(pack: Path) -> None:
    place(pack, block(confidence=0.1, approvals=(Approval("bob"),)))
    send(peer := Peer())
    (effect,) = outbox.effects(FLOW)
    undone = firewall.take_back(effect.key, "ann", "it was our own scanner")
    assert undone.state == WAITING
    (asked,) = overview.open_requests()
    assert asked.difference == [("blocked", True, False)]
    assert asked.request.undoes == effect.key
    with pytest.raises(BatonError, match="ann asked for that already: answer request 2"):
        firewall.take_back(effect.key, "cy")
    with pytest.raises(VoteRefused, match="ann asked for it; somebody else has to agree"):
        firewall.vote(asked.request.id, Voter("ann"), "approved", asked.request.seen)
    firewall.vote(asked.request.id, Voter("cy"), "refused", asked.request.seen, "not yet")
    again = firewall.take_back(effect.key, "cy", "now it is")
    assert again.state == WAITING
    agree("ann")
    assert send(peer).sent == 0, "an ordinary delivery sends no undo"
    assert send(peer, undoing=True).sent == 1
    assert peer.sent[1][1] == {**effect.payload, "action": "unblock"}
    (done,) = ledger.entries(kind="action_undone")
    assert done.payload == {"effect": effect.key, "by": again.key, "asked_by": "cy"}
    assert place(pack, block(confidence=0.1)).same == 1, "the plan is as it was; nothing is done again"
    assert send(peer).sent == 0


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action("wipe", "i1", "srv-db", {}, approvals=(Approval("ann"), Approval("bob"))), "declares no undo"),
        (block(confidence=0.1), "only what was delivered is taken back"),
    ],
)
def test_what_cannot_be_taken_back_says_why(pack: Path, action: Action, words: str) -> None:
    place(pack, action)
    send(Peer())
    with pytest.raises(BatonError, match=words):
        firewall.take_back(outbox.effects(FLOW)[0].key, "ann")
    with pytest.raises(BatonError, match="no effect has the key"):
        firewall.take_back("nothing", "ann")


def test_what_changed_nothing_is_taken_back_by_nothing(pack: Path) -> None:
    place(pack, block(before={"blocked": True}))
    send(peer := Peer())
    undone = firewall.take_back(outbox.effects(FLOW)[0].key, "ann")
    assert (undone.key, undone.words) == ("", "nothing had to be done: the target was so before")
    assert len(peer.sent) == 1
