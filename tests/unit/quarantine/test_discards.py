"""More than a share of a partition is given up by two people, however it is cut into pieces; up to that by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from baton.actions import requests
from baton.actions.requests import Request
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, overview
from baton.errors import BatonError
from baton.quarantine import repairs
from baton.quarantine.discards import Asker, DiscardWaits
from baton.quarantine.rows import Where, counts, list_rows
from baton.record import ledger, tables, warehouse
from baton.settings import settings

FLOW, OTHER, HOUR = "shop_flow", "other_flow", "2026-11-20T09:00:00"
ANN, BOB = Voter("7", "ann"), Voter("8", "bob")


pytestmark = pytest.mark.usefixtures("hundred")


@pytest.fixture
def hundred(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two flows of one source: of a hundred rows, forty wait in each."""
    warehouse.migrate()
    same = {"rule": "type", "source": "orders", "status": "open", "partition": HOUR, "raw": {"amount": "x"}}
    same |= {"first_seen": warehouse.now(), "updated_at": warehouse.now()}
    with warehouse.write() as conn:
        for flow in (FLOW, OTHER):
            rows = [{**same, "flow": flow, "row_sha": f"s{row}", "row": row} for row in range(1, 41)]
            conn.execute(tables.quarantine.insert(), rows)
            commit = {"flow": flow, "stage": "contract", "partition": HOUR, "facts": {"rows_in": 100}}
            _head(conn, commit)
    monkeypatch.setattr("baton.actions.votes.account", lambda: Voter("ann", "ann", "command line"))
    yield
    warehouse.engine().dispose()


def _head(conn: Connection, commit: dict[str, object]) -> None:
    """A commit of the stage, with what else a row has to have."""
    values: dict[str, object] = {}
    for column in tables.commits.columns:
        if column.name in commit:
            values[column.name] = commit[column.name]
        elif not column.nullable and column.name != "id":
            kind = str(column.type)
            values[column.name] = {} if "JSON" in kind else 0 if "INT" in kind or "FLOAT" in kind else "x"
    number = conn.execute(tables.commits.insert().values(values).returning(tables.commits.c.id)).scalar_one()
    head: dict[str, object] = {"commit_id": number}
    for column in tables.heads.columns:
        if column.name not in head:
            text = "x" if "INT" not in str(column.type) else -1
            head[column.name] = commit.get(column.name, text)
    conn.execute(tables.heads.insert().values(head))


def discard(*rows: int, flow: str = FLOW, reason: str = "sent twice", actor: Asker = "ann") -> int:
    keys = tuple((f"s{row}", row) for row in rows)
    return repairs.discard(Where(flow, HOUR, rows=keys), reason, actor)


def asked() -> Request:
    (one,) = requests.still_open()
    return one


def gone() -> int:
    return counts()["discarded"]


def test_up_to_the_share_one_person_is_enough() -> None:
    assert discard(1, 2, 3, 4, 5) == 5
    assert requests.still_open() == []


def test_above_it_another_person_agrees_and_the_same_again_does_it_once() -> None:
    with pytest.raises(DiscardWaits, match=r"nothing was discarded: shop_flow .*: 6.0% of its rows .* request 1 waits"):
        discard(*range(1, 7))
    assert gone() == 0
    found = overview.request(asked().id)
    assert (found.request.kind, found.request.needs, found.request.pack) == ("discard_rows", 1, f"flow:{FLOW}")
    assert {name: (old, new) for name, old, new in found.difference}["discarded"] == (0, 6)
    for person in (ANN, Voter("Ann"), Voter("flow:shop_flow")):
        with pytest.raises(VoteRefused):
            firewall.vote(asked().id, person, "approved", asked().seen)
    with pytest.raises(DiscardWaits, match="request 1 waits"):
        discard(*range(1, 7))
    firewall.vote(1, BOB, "approved", asked().seen)
    assert discard(*range(1, 7)) == 6
    (entry,) = ledger.entries(kind="rows_discarded")
    assert (entry.payload["share"], entry.payload["request"], bool(entry.payload["permit"])) == (0.06, 1, True)
    with pytest.raises(BatonError, match="no row in quarantine"):
        discard(*range(1, 7))
    with pytest.raises(DiscardWaits):
        discard(7)
    assert asked().id == 2, "a permit is good once"


def test_who_says_another_name_is_known_by_their_account() -> None:
    with pytest.raises(DiscardWaits):
        discard(*range(1, 7), actor="cy")
    for person in (ANN, Voter("9", "cy")):
        with pytest.raises(VoteRefused, match="somebody else has to agree"):
            firewall.vote(asked().id, person, "approved", asked().seen)


def test_who_logged_in_is_barred_by_id_and_name_and_the_account_of_the_server_is_not() -> None:
    with pytest.raises(DiscardWaits, match="request 1 waits for another person"):
        discard(*range(1, 7), actor=Voter("8", "bob"))
    assert (asked().requester, sorted(asked().barred or {})) == ("bob", ["8", "bob"])
    for person in (Voter("8", "b"), Voter("9", "Bob")):
        with pytest.raises(VoteRefused, match="somebody else has to agree"):
            firewall.vote(asked().id, person, "approved", asked().seen)
    firewall.vote(asked().id, ANN, "approved", asked().seen)
    assert discard(*range(1, 7), actor=Voter("8", "bob")) == 6
    (entry,) = ledger.entries(kind="rows_discarded")
    assert {name: entry.payload[name] for name in ("actor", "person", "channel")} == {
        "actor": "bob",
        "person": "8",
        "channel": "airflow",
    }


@pytest.mark.parametrize("few", [0, 500])
def test_single_rows_are_found_however_many_they_are(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baton.quarantine.rows.FEW", few)
    assert discard(3, 4) == 2
    assert [row.row for row in list_rows(Where(FLOW, status="discarded"))] == [3, 4]


@pytest.mark.parametrize("account", ["baton", "root", ""])
def test_from_an_account_of_several_people_two_agree_so_that_whoever_asked_is_not_the_only_one(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baton.actions.votes.account", lambda: Voter(account, account, "command line"))
    with pytest.raises(DiscardWaits, match=r"request 1 waits for two people: .* nobody can tell who of them asks"):
        discard(*range(1, 7), actor=account)
    assert firewall.vote(asked().id, ANN, "approved", asked().seen).state == requests.OPEN
    with pytest.raises(DiscardWaits, match="request 1 waits"):
        discard(*range(1, 7), actor=account)
    with pytest.raises(VoteRefused, match="another person is needed"):
        firewall.vote(asked().id, Voter("7", "Ann"), "approved", asked().seen)
    assert gone() == 0
    assert firewall.vote(asked().id, BOB, "approved", asked().seen).state == requests.APPROVED
    assert discard(*range(1, 7), actor=account) == 6


def test_many_small_ones_are_one() -> None:
    for row in range(1, 6):
        assert discard(row) == 1
    with pytest.raises(DiscardWaits, match=r"6.0% of its rows"):
        discard(6)
    assert gone() == 5


def _more(source: str, rows: range, status: str = "open") -> None:
    same = {"rule": "type", "source": source, "status": status, "partition": HOUR, "raw": {"amount": "x"}, "flow": FLOW}
    same |= {"first_seen": warehouse.now(), "updated_at": warehouse.now()}
    with warehouse.write() as conn:
        conn.execute(tables.quarantine.insert(), [{**same, "row_sha": f"s{row}", "row": row} for row in rows])


def test_rows_of_earlier_deliveries_do_not_make_the_share_smaller() -> None:
    _more("orders", range(1000, 1300), "resolved")
    with pytest.raises(DiscardWaits, match=r"6.0% of its rows"):
        discard(*range(1, 7))


@pytest.mark.parametrize("stage", ["contract__stock", "ingest__stock"])
def test_each_source_of_a_flow_is_counted_by_itself(stage: str) -> None:
    with warehouse.write() as conn:
        _head(conn, {"flow": FLOW, "stage": stage, "partition": HOUR, "facts": {"rows_in": 20}})
    _more("stock", range(500, 510))
    assert discard(500, 1, 2, 3, 4, 5) == 6, "a twentieth of each"
    with pytest.raises(DiscardWaits, match=r"10.0% of its rows"):
        discard(501)


def test_two_flows_of_one_source_are_one() -> None:
    assert discard(1, 2, 3) == 3
    assert discard(1, 2, 3, flow=OTHER) == 3, "the same rows"
    with pytest.raises(DiscardWaits, match=r"other_flow .*: 6.0% of its rows"):
        discard(4, 5, 6, flow=OTHER)
    with pytest.raises(DiscardWaits, match=r"other_flow .*shop_flow "):
        repairs.discard(Where(partition=HOUR), "all", "ann")
    assert gone() == 6


@pytest.mark.parametrize("meanwhile", ["repaired", "more", "fewer", "reason"])
def test_what_differs_from_what_was_agreed_to_is_asked_anew(meanwhile: str) -> None:
    with pytest.raises(DiscardWaits):
        discard(*range(1, 11))
    firewall.vote(asked().id, BOB, "approved", asked().seen)
    if meanwhile == "repaired":
        repairs.repair(Where(FLOW, HOUR, row=1), {"amount": "'1'"}, "cy")
    elif meanwhile == "fewer":
        discard(20)
    rows = range(1, 12) if meanwhile == "more" else range(1, 11)
    with pytest.raises(DiscardWaits, match="request 2 waits"):
        discard(*rows, reason="another" if meanwhile == "reason" else "sent twice")
    assert asked().id == 2


def test_of_two_partitions_none_is_done_before_both_are_agreed_to() -> None:
    with pytest.raises(DiscardWaits):
        repairs.discard(Where(partition=HOUR), "all", "ann")
    first, second = requests.still_open()
    firewall.vote(first.id, BOB, "approved", first.seen)
    with pytest.raises(DiscardWaits, match="request 2 waits"):
        repairs.discard(Where(partition=HOUR), "all", "ann")
    assert gone() == 0
    firewall.vote(second.id, BOB, "approved", second.seen)
    assert repairs.discard(Where(partition=HOUR), "all", "ann") == 80


def test_what_was_refused_stays() -> None:
    with pytest.raises(DiscardWaits):
        discard(*range(1, 7))
    firewall.vote(asked().id, BOB, "refused", asked().seen, "they are orders")
    with pytest.raises(DiscardWaits, match="request 1: refused by bob: they are orders"):
        discard(*range(1, 7))


def test_where_one_person_runs_it_it_is_done_and_said(home: Path) -> None:
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    assert discard(*range(1, 11)) == 10
    (entry,) = ledger.entries(kind="rows_discarded")
    assert (entry.payload["share"], entry.payload["governance"]) == (0.1, "single")
