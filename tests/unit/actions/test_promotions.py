"""A version becomes champion by as many people as are needed, none of whom had a part in it, and once."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from baton.actions import promotions, requests
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, overview
from baton.errors import BatonError, RegistryRefused
from baton.record import ledger, tables, warehouse
from baton.settings import settings

APPROVING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "approving.py"))
judged, answer = APPROVING["judged"], APPROVING["answer"]
FAULTS = str(Path(__file__).parents[2] / "faults")
M = "card_fraud"


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def use(version: int = 2, manifest: str = "files", gate: str = "gate") -> dict[str, Any]:
    """What a move records, when the permit lets it."""

    def work(conn: Connection) -> dict[str, Any]:
        told = promotions.permitted(conn, M, version, manifest, gate)
        ledger.append(conn, promotions.ALIAS_MOVED, M, {"alias": "champion", "version": version, **told})
        return told

    return warehouse.transact(work)


def vote(asked: requests.Request, *people: Voter, answer: str = "approved", seen: str = "") -> requests.Request:
    for person in people:
        asked = firewall.vote(asked.id, person, answer, seen or asked.seen)
    return asked


def test_two_people_who_had_no_part_in_it_make_a_champion_once() -> None:
    judged(M, 2)
    asked = promotions.ask(M, 2, {"ann": "started its training", "Dan": "started its promotion"})
    for who, why in (
        (Voter("7", "ann"), "ann started its training; somebody else has to agree"),
        (Voter("DAN"), "DAN started its promotion; somebody else has to agree"),
        (Voter("service"), "service is an account of a service, not a person"),
        (Voter(""), "nobody knows who this is"),
    ):
        with pytest.raises(VoteRefused, match=why):
            vote(asked, who)
    assert vote(asked, Voter("8", "bob")).state == requests.OPEN
    with pytest.raises(VoteRefused, match="bob has answered it already; another person is needed"):
        vote(asked, Voter("bob", "bob", "registry"))  # the same person, as MLflow knows them
    with pytest.raises(RegistryRefused, match="card_fraud version 2 is not approved: there is no permit for it"):
        use()
    assert vote(asked, Voter("9", "cy", "registry")).state == requests.APPROVED
    assert use()["actor"] == "bob, cy"
    with pytest.raises(RegistryRefused, match="champion is version 2, but the gate compared with None; judge again"):
        use()
    kinds = ["action_requested", "action_voted", "action_voted", "permit_issued", "approval", "permit_used"]
    assert [entry.kind for entry in reversed(ledger.entries(subject=f"{M}/2"))] == kinds
    assert promotions.voices(asked.id) == "bob in Airflow, cy in MLflow"


def test_a_permit_is_good_once() -> None:
    judged(M, 2)
    answer(M, 2)
    warehouse.transact(lambda conn: promotions.permitted(conn, M, 2, "files", "gate"))
    with pytest.raises(RegistryRefused, match="its permit was used at "):
        use()


@pytest.mark.parametrize("changed", ["manifest", "gate"])
def test_what_differs_from_what_was_agreed_to_does_not_move(changed: str) -> None:
    judged(M, 2)
    answer(M, 2)
    with pytest.raises(RegistryRefused, match="it is not what its permit was issued for"):
        use(**{changed: "another"})
    assert use()


def test_votes_are_void_when_the_version_is_judged_again() -> None:
    judged(M, 2)
    asked = vote(promotions.ask(M, 2, {}), Voter("ann"))
    judged(M, 2, at="later")
    with pytest.raises(VoteRefused, match="changed since it was asked: it has to be asked anew"):
        vote(asked, Voter("bob"))
    again = promotions.ask(M, 2, {})
    assert again.id != asked.id
    assert vote(again, Voter("bob")).state == requests.OPEN


def test_whoever_starts_it_again_may_not_agree_either_and_voids_what_was_said() -> None:
    judged(M, 2)
    asked = vote(promotions.ask(M, 2, {"ann": "started its training"}), Voter("bob"))
    again = promotions.ask(M, 2, {"bob": "started its promotion"})
    assert again.id != asked.id
    assert again.barred == {"ann": "started its training", "bob": "started its promotion"}
    for who in ("ann", "bob"):
        with pytest.raises(VoteRefused, match="somebody else has to agree"):
            vote(again, Voter(who))


def test_a_refusal_ends_it_and_it_may_be_asked_again() -> None:
    judged(M, 2)
    asked = promotions.ask(M, 2, {"ann": "started its training"})
    assert vote(asked, Voter("ann"), answer="refused").state == requests.REFUSED
    with pytest.raises(RegistryRefused, match="not approved"):
        use()
    assert promotions.ask(M, 2, {}).id != asked.id


def test_what_the_gate_holds_is_not_asked_about() -> None:
    with pytest.raises(RegistryRefused, match="was never judged"):
        promotions.ask(M, 2, {})
    judged(M, 2, decision="HOLD")
    with pytest.raises(RegistryRefused, match="is not approved: the gate says HOLD"):
        promotions.ask(M, 2, {})


@pytest.mark.parametrize("missing", ["manifest", "gate"])
def test_a_verdict_that_cannot_bind_is_not_asked_about(missing: str) -> None:
    """Of an earlier Baton: what two people agreed to would be refused when the champion is moved."""
    judged(M, 2)
    verdict = {"decision": "PROMOTE", "champion_version": None, "manifest": "files", "gate": "gate"}
    del verdict[missing]
    with warehouse.write() as conn:
        conn.execute(tables.approvals.update().values(verdict=verdict))
    with pytest.raises(RegistryRefused, match="version 2 was judged by an earlier Baton: judge again"):
        promotions.ask(M, 2, {})
    assert requests.still_open() == []


def test_where_one_person_runs_it_they_agree_alone_and_the_record_says_so(home: Path) -> None:
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    judged(M, 2)
    asked = vote(promotions.ask(M, 2, {"ann": "started its training"}), Voter("ann"))
    assert (asked.state, asked.rule) == (requests.APPROVED, "governance_single")
    assert "`governance: single`: one person agrees alone; ann started its training" in asked.reasons[-1]
    (home / "governance").unlink()
    settings.cache_clear()
    with pytest.raises(RegistryRefused, match="the policy was changed after its permit was issued"):
        use()  # what was agreed to alone is worth nothing where two are needed


def test_people_see_what_would_change() -> None:
    judged(M, 2)
    found = overview.request(promotions.ask(M, 2, {}).id)
    assert found.difference == [("champion", None, 2)]
    assert found.description == "makes a version the champion: it scores from then on"
    assert [one.partition(" ")[0] for one in found.evidence] == ["verdict", "manifest", "gate"]


def test_a_rollback_takes_one_person_a_reason_and_a_second_look() -> None:
    def back(actor: str, reason: str) -> dict[str, Any]:
        return warehouse.transact(lambda conn: promotions.rolled_back(conn, M, 3, 2, actor, reason))

    for actor, reason, why in (
        ("", "noise", "nobody knows"),
        ("service", "noise", "a service"),
        ("ann", " ", "say why"),
    ):
        with pytest.raises(RegistryRefused, match=why):
            back(actor, reason)
    told = back("ann", "too many false alarms")
    (asked,) = requests.still_open()
    assert (asked.id, asked.kind, asked.needs) == (told["second_look"], "look_again", 1)
    assert asked.reasons[-1] == "ann rolled it back: too many false alarms"
    with pytest.raises(VoteRefused, match="ann asked for it"):
        vote(asked, Voter("ann"))
    assert promotions.unseen() == []
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(opened_at=requests.later(-60 * 24 - 1)))
    assert [one.id for one in promotions.unseen()] == [asked.id]
    assert vote(asked, Voter("bob")).state == requests.APPROVED
    assert promotions.unseen() == []
    assert ledger.entries(kind="permit_issued") == [], "it is done already"


def test_who_may_roll_back_is_the_owners_word_once_they_gave_it() -> None:
    row = {"asset": f"model:{M}", "person": "ann", "duty": "activate", "given_by": "op", "at": warehouse.now()}
    with warehouse.write() as conn:
        good = {"agreed_at": warehouse.now(), "valid_to": "2999-01-01T00:00:00.000000Z"}
        conn.execute(tables.grants.insert().values({**row, **good}))

    def back(actor: str) -> Any:
        return warehouse.transact(lambda conn: promotions.rolled_back(conn, M, 3, 2, actor, "noise"))

    with pytest.raises(BatonError, match=f"bob may not activate model:{M}: that is for op, admin"):
        back("bob")
    assert requests.still_open() == []
    assert back("ann")["second_look"]
    (settings().home / "governance").write_text("single\n")
    settings.cache_clear()
    assert "bob may not activate" in back("bob")["duty"], "done, and said on the ledger and by the command"
    assert "duty" not in back("ann")


def test_who_rolled_back_cannot_end_their_own_second_look_and_no_time_does() -> None:
    warehouse.transact(lambda conn: promotions.rolled_back(conn, M, 3, 2, "ann", "noise"))
    (asked,) = requests.still_open()
    with pytest.raises(VoteRefused, match="Ann asked for it; somebody else has to agree"):
        vote(asked, Voter("7", "Ann"), answer="refused")
    assert asked.expires_at > requests.later(60 * 24 * 365 * 50)
    past = {"opened_at": requests.later(-60 * 24 * 40), "expires_at": requests.later(-60 * 24)}
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(past))
    assert [one.id for one in promotions.unseen()] == [asked.id]
    firewall.sweep()
    assert [(one.id, one.state) for one in promotions.unseen()] == [(asked.id, requests.EXPIRED)]


def test_a_second_look_is_at_what_was_done_whatever_the_policy_says_by_now() -> None:
    warehouse.transact(lambda conn: promotions.rolled_back(conn, M, 3, 2, "ann", "noise"))
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(subject="under the policy of an earlier Baton"))
    (asked,) = requests.still_open()
    assert vote(asked, Voter("bob")).state == requests.APPROVED


def test_a_second_look_may_say_no() -> None:
    warehouse.transact(lambda conn: promotions.rolled_back(conn, M, 3, 2, "ann", "noise"))
    (asked,) = requests.still_open()
    assert vote(asked, Voter("bob"), answer="refused").state == requests.REFUSED
    assert promotions.unseen() == []


def test_no_random_sequence_moves_a_champion_that_people_did_not_agree_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FAULTS)
    from vote_sequences import play

    figures = play(range(25))
    sys.modules.pop("vote_sequences")
    assert (figures.let_through, figures.kept_out) == ([], [])
    assert figures.moves >= 5
