"""The scenarios of the policy matrix, and a table of which levels may reach the other side in each.

The table is written down by hand and knows nothing of the code. A scenario places, has people answer, and delivers; what
reached the peer is compared with the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from matrix_case import Case, later

from baton.actions import requests, switch
from baton.actions.action import Approval
from baton.actions.votes import Voter, VoteRefused
from baton.effects import delivery, firewall, outbox
from baton.record import tables, warehouse

FREE, ONE = ("auto", "notify"), ("auto", "notify", "one_approver")
ALL = (*ONE, "two_approvers")
ANN, BOB, CY = Voter("ann"), Voter("bob"), Voter("cy")
Scenario = Callable[[Case], None]
EXPECTED: dict[str, tuple[Scenario, tuple[str, ...]]] = {}


def scenario(name: str, allowed: tuple[str, ...]) -> Callable[[Scenario], Scenario]:
    """Note a scenario, and the levels that may get through in it."""

    def noted(function: Scenario) -> Scenario:
        EXPECTED[name] = (function, allowed)
        return function

    return noted


def voted(case: Case, *voters: Voter) -> None:
    """Place, have people answer."""
    case.place()
    case.vote(*voters)


for _name, _who, _allowed in (
    ("nobody answered", (), FREE),
    ("one person approved", (ANN,), ONE),
    ("two people approved", (ANN, BOB), ALL),
    ("one person twice", (ANN, ANN), ONE),
    ("one person in two spellings", (ANN, Voter(" Ann ")), ONE),
    ("a service account", (Voter("service"), Voter("root")), FREE),
    ("the flow itself, and an agent", (Voter("flow:x"), Voter("agent:triage")), FREE),
    ("nobody known", (Voter(""), Voter("unknown")), FREE),
    ("a person and a service account", (ANN, Voter("airflow")), ONE),
):

    def _votes(case: Case, who: tuple[Voter, ...] = _who) -> None:
        voted(case, *who)
        case.deliver()

    scenario(_name, _allowed)(_votes)


@scenario("the requester alone", FREE)
def _requester(case: Case) -> None:
    case.place(requester="ann")
    case.vote(ANN)
    case.deliver()


@scenario("the requester and one other", ONE)
def _requester_and_one(case: Case) -> None:
    case.place(requester="ann")
    case.vote(ANN, BOB)
    case.deliver()


@scenario("the requester in another spelling and one other", ONE)
def _requester_spelt(case: Case) -> None:
    case.place(requester="Ann")
    case.vote(Voter("ANN "), BOB)
    case.deliver()


@scenario("votes on what was seen before", FREE)
def _stale(case: Case) -> None:
    case.place()
    case.vote(ANN, BOB, seen="0" * 64)
    case.deliver()


@scenario("the stage brings one approval", ONE)
def _brought(case: Case) -> None:
    case.place(replace(case.action, approvals=(Approval("ann"),)))
    case.deliver()


@scenario("the stage brings two", ALL)
def _brought_two(case: Case) -> None:
    case.place(replace(case.action, approvals=(Approval("ann"), Approval("bob"))))
    case.deliver()


@scenario("the stage brings the requester's", FREE)
def _brought_own(case: Case) -> None:
    case.place(replace(case.action, approvals=(Approval("ann"),)), requester="ann")
    case.deliver()


@scenario("the payload changed after two approvals", FREE)
def _changed(case: Case) -> None:
    voted(case, ANN, BOB)
    case.place(replace(case.action, payload={**case.action.payload, "more": 1}))
    case.deliver()


@scenario("the payload changed after the approvals that the stage brought, and it brings them again", FREE)
def _changed_and_brought(case: Case) -> None:
    both = (Approval("ann"), Approval("bob"))
    case.place(replace(case.action, approvals=both))
    case.place(replace(case.action, payload={**case.action.payload, "more": 1}, approvals=both))
    case.deliver()


@scenario("the evidence changed after two approvals", FREE)
def _evidence(case: Case) -> None:
    voted(case, ANN, BOB)
    case.place(replace(case.action, evidence=("event 2",)))
    case.deliver()


@scenario("the target changed after two approvals", FREE)
def _target(case: Case) -> None:
    voted(case, ANN, BOB)
    case.place(replace(case.action, target=f"another of {case.flow}"))
    case.deliver()


@scenario("changed there and back after two approvals", FREE)
def _there_and_back(case: Case) -> None:
    voted(case, ANN, BOB)
    case.place(replace(case.action, payload={**case.action.payload, "more": 1}))
    case.place()
    case.deliver()


@scenario("the same placed again after two approvals", ALL)
def _again(case: Case) -> None:
    voted(case, ANN, BOB)
    case.place()
    case.deliver()


@scenario("one approved before the change, one after", ONE)
def _half(case: Case) -> None:
    voted(case, ANN)
    case.place(replace(case.action, payload={**case.action.payload, "more": 1}))
    case.vote(BOB)
    case.deliver()


@scenario("the row was altered behind the firewall's back after two approvals", FREE)
def _tampered(case: Case) -> None:
    voted(case, ANN, BOB)
    table = tables.outbox
    case.set(table, table.c.flow == case.flow, payload={"action": case.kind, "target": "everything"})
    case.deliver()


@scenario("the policy changed after two approvals", FREE)
def _policy(case: Case) -> None:
    voted(case, ANN, BOB)
    rule = f"r_{case.kind}, actions: [{case.kind}], level: {case.level}"
    case.policy(f"{rule}, permit_minutes: 60", f"{rule}, permit_minutes: 61")
    case.deliver()
    case.policy(f"{rule}, permit_minutes: 61", f"{rule}, permit_minutes: 60")


@scenario("the policy forbids it after two approvals", ())
def _policy_forbids(case: Case) -> None:
    voted(case, ANN, BOB)
    rule = f"r_{case.kind}, actions: [{case.kind}], level: "
    case.policy(f"{rule}{case.level},", f"{rule}forbidden,") if case.level != "forbidden" else None
    case.deliver()
    case.policy(f"{rule}forbidden,", f"{rule}{case.level},") if case.level != "forbidden" else None


@scenario("another rule of the policy changed", ALL)
def _policy_elsewhere(case: Case) -> None:
    voted(case, ANN, BOB)
    case.policy("{name: backs, level: auto}", "{name: backs, level: notify}")
    case.deliver()
    case.policy("{name: backs, level: notify}", "{name: backs, level: auto}")


@scenario("the policy changed before the votes", FREE)
def _policy_before(case: Case) -> None:
    case.place()
    with warehouse.read() as conn:
        first = [one.id for one in requests.of_effect(conn, case.key())]
    rule = f"r_{case.kind}, actions: [{case.kind}], level: {case.level}"
    case.policy(f"{rule}, permit_minutes: 60", f"{rule}, permit_minutes: 61")
    case.vote(ANN, BOB, number=first[0]) if first else None
    case.deliver()
    case.policy(f"{rule}, permit_minutes: 61", f"{rule}, permit_minutes: 60")


@scenario("all effects are stopped", ())
def _stopped(case: Case) -> None:
    voted(case, ANN, BOB)
    switch.stop("cy", "test")
    case.deliver()
    switch.start("cy")


@scenario("stopped, and started again", ALL)
def _started(case: Case) -> None:
    voted(case, ANN, BOB)
    switch.stop("cy", "test")
    case.deliver()
    switch.start("cy")
    case.deliver()


@scenario("the request expired before the second vote", FREE)
def _expired(case: Case) -> None:
    case.place()
    with later(1441):
        case.vote(ANN, BOB)
        case.deliver()


@scenario("the permit expired before the effect", FREE)
def _late(case: Case) -> None:
    voted(case, ANN, BOB)
    with later(61):
        case.deliver()


@scenario("just before both expire", ALL)
def _in_time(case: Case) -> None:
    case.place()
    with later(1439):
        case.vote(ANN, BOB)
    with later(1439 + 59):
        case.deliver()


@scenario("refused after one had approved", ONE)
def _refused(case: Case) -> None:
    voted(case, ANN)
    case.vote(CY, answer="refused")
    case.vote(BOB)
    case.place()
    case.deliver()


@scenario("refused before anybody approved, then placed again and approved", FREE)
def _refused_first(case: Case) -> None:
    case.place()
    case.vote(CY, answer="refused")
    case.place()
    case.vote(ANN, BOB)
    case.deliver()


@scenario("the incident was closed before the votes", FREE)
def _closed(case: Case) -> None:
    case.place()
    warehouse.transact(lambda conn: firewall.withdraw(conn, case.flow, "incident", "closed"))
    case.vote(ANN, BOB)
    case.deliver()


@scenario("the incident was closed after two approvals", FREE)
def _closed_after(case: Case) -> None:
    voted(case, ANN, BOB)
    warehouse.transact(lambda conn: firewall.withdraw(conn, case.flow, "incident", "closed"))
    case.deliver()


@scenario("a permit of another effect", FREE)
def _stolen(case: Case) -> None:
    """Two approvals for one effect; its permit is moved to another one, which has none."""
    case.place(replace(case.action, target=f"approved of {case.flow}"))
    case.vote(ANN, BOB)
    donor = case.key()
    warehouse.transact(lambda conn: firewall.place(conn, case.folder, case.flow, "p", [case.action], whole=False))
    mine = outbox.key_of(case.flow, "p", "incident", case.kind, case.action.target)
    table = tables.permits
    case.set(table, table.c.effect == mine, void_at="now")
    case.set(table, table.c.effect == donor, effect=mine)
    case.set(tables.outbox, tables.outbox.c.key == donor, state="withdrawn")
    if case.level != "forbidden":
        case.set(tables.outbox, tables.outbox.c.key == mine, state="pending")
    case.deliver()


@scenario("a waiting row set to pending by hand", FREE)
def _by_hand(case: Case) -> None:
    case.place()
    case.set(tables.outbox, tables.outbox.c.flow == case.flow, state="pending")
    case.deliver()


@scenario("delivered twice over", ALL)
def _twice(case: Case) -> None:
    voted(case, ANN, BOB)
    case.deliver()
    case.place()
    case.deliver()


@scenario("a used permit, its effect set back to pending by hand with another payload", ALL)
def _reused(case: Case) -> None:
    """What was sent may stand; the altered payload goes only where nobody is asked, and under its own judgement."""
    voted(case, ANN, BOB)
    case.deliver()
    if case.level in FREE:
        return
    case.set(tables.outbox, tables.outbox.c.flow == case.flow, state="pending", payload={"altered": True})
    case.deliver()


@scenario("a confidence that is none", ())
def _malformed(case: Case) -> None:
    case.place(replace(case.action, confidence=float("nan")))
    case.vote(ANN, BOB)
    case.deliver()


@scenario("an action that nobody declared", ())
def _undeclared(case: Case) -> None:
    odd = replace(case.action, kind=f"x{case.kind}"[:31])
    case.place(odd)
    case.vote(ANN, BOB)
    delivery.deliver([odd.kind], case.peer, case.flow, "p", rounds=1, sleep=lambda seconds: None)


@scenario("two incidents on one target", ALL)
def _two_incidents(case: Case) -> None:
    """Another flow's effect on the target stands: this one is the same and is not sent again, or, of reach `record`, its own."""
    voted(case, ANN, BOB)
    case.deliver()
    case.place(flow=f"{case.flow}_b")
    with warehouse.read() as conn:
        other = outbox.effects(f"{case.flow}_b", "p", conn=conn)[0]
        found = requests.of_effect(conn, other.key)
    for voter in (ANN, BOB) if found else ():
        try:
            firewall.vote(found[0].id, voter, "approved", found[0].seen)
        except VoteRefused:
            continue
    case.deliver(f"{case.flow}_b")
