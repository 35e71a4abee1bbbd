"""Duties on assets: given by whoever answers for it, with an end; a vote without the duty does not count, owners' do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from baton.actions import assets
from baton.actions.votes import Voter
from baton.cli.app import app
from baton.cli.state import grants as cli
from baton.errors import BatonError, SpecError
from baton.governance import assets as assets_of_packs
from baton.governance import content, duties
from baton.governance.duties import Grant, Who
from baton.record import ledger, tables, warehouse
from baton.settings import settings

ASSET, OWNER, ANN = "model:card_fraud", Who("op"), Who("7", "ann")
TODAY = datetime.now(UTC).date()


@pytest.fixture(autouse=True)
def made(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def give(person: str = "ann", giver: Who = OWNER, days: int = 30, asset: str = ASSET, duty: Any = "approve") -> Grant:
    with warehouse.write() as conn:
        made = duties.give(conn, asset, duty, person, giver, TODAY + timedelta(days), "she knows it")
        duties.agree(conn, made.id, ["bob"], 1)
        return duties.find_grant(conn, made.id)


def lacks(who: Who, asset: str = ASSET, duty: Any = "approve") -> str:
    with warehouse.read() as conn:
        return duties.lacks(conn, asset, duty, who)


def test_a_duty_is_anybodys_until_it_is_given_and_never_again() -> None:
    assert lacks(Who("bob")) == ""
    grant = give()
    assert "bob may not approve model:card_fraud: that is for op, admin" in lacks(Who("bob"))
    assert [lacks(who) for who in (ANN, Who("ANN"), OWNER, Who("9", "Admin"))] == ["", "", "", ""]
    assert lacks(Who("bob"), duty="modify") == "" == lacks(Who("bob"), "model:demand")
    with warehouse.write() as conn:
        duties.end(conn, grant.id, OWNER, "she left")
    assert [bool(lacks(who)) for who in (ANN, Who("bob"), OWNER)] == [True, True, False], "it opens nothing to others"
    assert [entry.kind for entry in ledger.entries(subject=ASSET)] == ["grant_ended", "grant_agreed", "grant_given"]


def test_a_grant_is_good_until_its_day_is_over() -> None:
    grant = give(days=0)
    assert lacks(ANN) == ""
    assert grant.valid_to == f"{TODAY + timedelta(1)}T00:00:00.000000Z"
    with warehouse.write() as conn:
        conn.execute(tables.grants.update().values(valid_to=warehouse.now()))
    assert lacks(ANN)
    with warehouse.write() as conn, pytest.raises(BatonError, match="is over since"):
        duties.end(conn, grant.id, OWNER, "late")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"giver": Who("bob")}, "its owner op and deputy admin do"),
        ({"giver": Who("")}, "nobody gives and ends no duties"),
        ({"person": "op"}, "gives nothing to themselves"),
        ({"person": "OP "}, "gives nothing to themselves"),
        ({"person": "flow:x"}, "name somebody by what they log in with"),
        ({"person": " "}, "name somebody"),
        ({"days": -1}, "not before today"),
        ({"days": 400}, "ends within 366 days"),
        ({"duty": "rule"}, "there are read, consume"),
        (
            {"duty": "audit"},
            "nothing asks for it, so nothing is given. Of a model there are read, modify, approve, activate",
        ),
        ({"duty": "consume"}, "which flows may use it say `consumers` in governance.yaml"),
        ({"duty": "spend", "asset": "flow:transaction_monitoring"}, "Of a flow there are read, approve, audit"),
        ({"asset": "model:nothing"}, "no model `nothing`"),
    ],
)
def test_what_cannot_be_given_is_said(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BatonError, match=words):
        give(**given)
    with warehouse.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(tables.grants)).scalar() == 0


def test_only_whoever_answers_or_has_it_ends_a_grant() -> None:
    first, second = give(), give("eve")
    with warehouse.write() as conn, pytest.raises(BatonError, match="bob gives and ends no duties"):
        duties.end(conn, first.id, Who("bob"), "")
    with warehouse.write() as conn:
        assert duties.end(conn, first.id, Who("ann"), "I leave").ended_by == "ann"
        duties.end(conn, second.id, Who("admin"), "")
        assert duties.in_force(conn) == []
        assert len(duties.of_asset(conn, ASSET)) == 2


def test_where_nobody_can_be_read_to_answer_only_grants_count() -> None:
    give()
    with warehouse.write() as conn:
        conn.execute(tables.grants.update().values(asset="model:gone"))
    assert lacks(ANN, "model:gone") == ""
    assert "is not to be read" in lacks(OWNER, "model:gone")


def test_every_duty_is_asked_for_somewhere_or_cannot_be_given() -> None:
    named = {kind.rstrip(":") for kind in assets.KINDS}
    assert set(duties.ASKED["approve"]) == {*named, "effect"}, "of what people are asked about"
    assert set(duties.ASKED["modify"]) == {"model", *content.KINDS}
    assert {*duties.DUTIES} - {*duties.ASKED} == {"consume", "spend"}, "include/docs/governance.md says so"


def test_what_is_personal_is_the_owners_from_the_start() -> None:
    flow = "flow:transaction_monitoring"
    assert [bool(lacks(who, flow, "audit")) for who in (Who("bob"), Who(""), OWNER, Who("1", "admin"))] == [
        True, True, False, False,
    ]  # fmt: skip
    assert "is not to be read" in lacks(OWNER, "flow:nobodys", "audit")
    give("bob", asset=flow, duty="audit")
    assert lacks(Who("Bob"), flow, "audit") == ""


def test_nobody_known_is_refused_what_was_given_to_others(home: Path) -> None:
    give("ann", duty="activate")
    with warehouse.read() as conn:
        for who in (Who(""), Who("unknown"), Who("dag_test")):
            with pytest.raises(BatonError, match="may not activate model:card_fraud: that is for op, admin"):
                duties.require(conn, ASSET, "activate", who)
        assert duties.require(conn, ASSET, "activate", ANN) == ""
        (home / "governance").write_text("single\n")
        settings.cache_clear()
        said = duties.require(conn, ASSET, "activate", Who(""))
    assert "nobody may not activate" in said
    assert said.endswith("Allowed all the same: this installation says `governance: single`, one person runs it")


def test_which_assets_are_withheld_is_found_by_an_index() -> None:
    give("ann", duty="read")
    give("ann", asset="flow:transaction_monitoring", duty="read")
    give("bob", asset="flow:transaction_monitoring", duty="read")
    with warehouse.read() as conn:
        found = {who.id: duties.withheld(conn, "read", who) for who in (ANN, OWNER, Who("bob"), Who(""))}
        plan = conn.exec_driver_sql("EXPLAIN QUERY PLAN SELECT DISTINCT asset FROM grants WHERE duty = 'read'").all()
    assert found == {"7": [], "op": [], "bob": [ASSET], "": ["flow:transaction_monitoring", ASSET]}
    assert "ix_grants_duty_asset" in str(plan)


def test_what_is_withheld_costs_one_query_and_a_look_at_each_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    of_kind = [f"contract:financial_crime/{name}" for name in ("transactions", "decisions", "labels")]
    given = [ASSET, "flow:transaction_monitoring", "contract:supply_chain/sales", *of_kind]
    values = {"person": "ann", "duty": "read", "given_by": "op", "at": warehouse.now(), "agreed_at": warehouse.now()}
    with warehouse.write() as conn:
        for asset in [*given, "model:gone", "nonsense"]:
            conn.execute(tables.grants.insert().values(**values, asset=asset, valid_to="2999-01-01T00:00:00.000000Z"))
    loads, queries = list[str](), list[str]()
    load_pack = assets_of_packs.load_pack

    def load(name: str) -> Any:
        loads.append(name)
        if name == "supply_chain":
            raise SpecError("governance.yaml:1: broken")
        return load_pack(name)

    monkeypatch.setattr(assets_of_packs, "load_pack", load)
    with warehouse.read() as conn:
        sa.event.listen(conn, "before_cursor_execute", lambda *said: queries.append(said[2]))
        assert duties.withheld(conn, "read", ANN) == []
        assert loads == []
        theirs = duties.withheld(conn, "read", OWNER)
    assert len(queries) == 3, "one for each, and what is in force of the owner's pack"
    assert sorted(loads) == sorted(set(loads))
    assert theirs == ["contract:supply_chain/sales", "model:gone", "nonsense"], "no others are shut out"


def test_a_command_is_the_log_ins_and_not_the_full_names(monkeypatch: pytest.MonkeyPatch) -> None:
    grant = give("ann")
    monkeypatch.setattr(cli, "person", lambda: Voter("mallory", "op", "command line"))
    days = ["--until", str(TODAY + timedelta(3)), "--reason", "so"]
    for command in (["give", ASSET, "approve", "bob", *days], ["end", str(grant.id), "--reason", "so"]):
        done = CliRunner().invoke(app, ["grants", *command])
        assert done.exit_code == 1
        assert "mallory gives and ends no duties on it" in done.output
    monkeypatch.setattr(cli, "person", lambda: Voter("op", "Olga P.", "command line"))
    assert CliRunner().invoke(app, ["grants", "give", ASSET, "approve", "bob", *days]).exit_code == 0
    with warehouse.read() as conn:
        assert duties.of_asset(conn, ASSET)[0].given_by == "op"
