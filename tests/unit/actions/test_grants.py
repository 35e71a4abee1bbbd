"""A duty that an owner gives is in force once a second person agreed; taking it back needs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from baton.actions import promotions, requests
from baton.actions.requests import Request
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, overview
from baton.errors import BatonError, RegistryRefused
from baton.governance import duties
from baton.governance.duties import Grant, Who
from baton.record import ledger, tables, warehouse
from baton.settings import settings

ASSET, OWNER = "model:card_fraud", Who("op", "Olga")
TODAY = datetime.now(UTC).date()
BOB = Voter("8", "bob")


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def grant(person: str = "ann", duty: str = "approve") -> Grant:
    with warehouse.write() as conn:
        return promotions.grant(conn, ASSET, duty, person, OWNER, TODAY + timedelta(30), "she knows it")


def asked() -> Request:
    (one,) = requests.still_open()
    return one


def vote(voter: Voter, answer: str = "approved") -> Request:
    return firewall.vote(asked().id, voter, answer, asked().seen)


def lacks(person: str) -> bool:
    with warehouse.read() as conn:
        return bool(duties.lacks(conn, ASSET, "approve", Who(person)))


def stands(number: int) -> Grant:
    with warehouse.read() as conn:
        return duties.find_grant(conn, number)


def test_it_changes_nothing_before_a_second_person_agrees_and_is_in_force_with_their_vote() -> None:
    made = grant()
    assert (lacks("bob"), lacks("ann")) == (False, False), "it is anybody's as before"
    shown = {name: new for name, _, new in overview.request(asked().id).difference}
    assert (shown["person"], shown["duty"], shown["valid_to"]) == ("ann", "approve", made.valid_to)
    for voter in (Voter("OP"), Voter("7", "Olga"), Voter("9", "Ann"), Voter("service"), Voter("")):
        with pytest.raises(VoteRefused):
            vote(voter)
    assert vote(BOB).state == requests.APPROVED
    assert (lacks("bob"), lacks("ann")) == (True, False)
    assert stands(made.id).agreed_at
    kinds = [entry.kind for entry in reversed(ledger.entries(subject=ASSET))]
    assert kinds == ["grant_given", "grant_agreed"]
    assert len(ledger.entries(kind="permit_used")) == 1
    with pytest.raises(VoteRefused, match="nothing is left to answer"):
        firewall.vote(1, Voter("cy"), "approved", "x")
    with warehouse.write() as conn, pytest.raises(BatonError, match="does not wait for anybody"):
        duties.agree(conn, made.id, ["cy"], 1)


@pytest.mark.parametrize("changed", [{"person": "eve"}, {"duty": "audit"}, {"valid_to": "2999"}, {"given_by": "x"}])
def test_a_grant_that_is_another_by_now_is_not_agreed_to(changed: dict[str, Any]) -> None:
    made = grant()
    with warehouse.write() as conn:
        conn.execute(tables.grants.update().values(changed))
    with pytest.raises(VoteRefused, match="what it is about or the policy changed since it was asked"):
        vote(BOB)
    assert stands(made.id).agreed_at is None
    over = warehouse.now()
    assert (requests.still_open(), stands(made.id).waits(over)) == ([], False), "nobody is asked about it any more"
    assert stands(made.id).ended_by == "request 1: replaced"


def test_a_permit_that_is_not_for_it_rolls_the_vote_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = grant()
    real = promotions.permits.consume

    def used(conn: Any, origin: Any, action: Any, now: str, **more: Any) -> Any:
        real(conn, origin, action, now, **more)
        return real(conn, origin, action, now, **more)

    monkeypatch.setattr(promotions.permits, "consume", used)
    with pytest.raises(RegistryRefused, match="no permit"):
        vote(BOB)
    assert (asked().state, stands(made.id).agreed_at) == (requests.OPEN, None)


def test_whoever_gave_it_takes_it_back_alone_before_and_after() -> None:
    first = grant()
    with warehouse.write() as conn:
        promotions.end_grant(conn, first.id, OWNER, "a mistake")
    assert requests.still_open() == []
    second = grant()
    vote(BOB)
    with warehouse.write() as conn:
        promotions.end_grant(conn, second.id, OWNER, "she left")
    assert [stands(one.id).holds(warehouse.now()) for one in (first, second)] == [False, False]
    assert lacks("ann")


def test_what_is_refused_or_never_answered_is_over() -> None:
    first = grant()
    assert vote(BOB, "refused").state == requests.REFUSED
    second = grant()
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at=warehouse.now()))
    firewall.sweep()
    assert [stands(one.id).ended_by for one in (first, second)] == ["request 1: refused", "request 2: expired"]
    assert not lacks("bob")


def test_where_one_person_runs_it_it_is_in_force_at_once(home: Path) -> None:
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    assert grant().agreed_at
    assert requests.still_open() == []
    assert ledger.entries(kind="grant_given")[0].payload["governance"] == "single"
    assert lacks("bob")
