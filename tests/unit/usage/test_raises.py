"""A limit that a file raises is in force once people agreed, and not before; what lowers it is in force at once."""

from __future__ import annotations

import random
import runpy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from baton.actions import requests
from baton.actions.requests import Request
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, overview
from baton.governance import limits
from baton.record import ledger, migrations, tables, warehouse
from baton.settings import settings
from baton.specs.budgets import SpendingSpec
from baton.usage import budgets, report
from baton.usage.used import Consumer

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
FLOW = STAGE["FLOW"]
WHO = Consumer("shop", FLOW, "advise", STAGE["HOURS"][0])
ANN, BOB = Voter("7", "ann"), Voter("8", "bob")
A_DAY = "a_day: {{flow: {}, period: {}, unit: {}, limit: {}}}\n"


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def room(pack: Path, limit: float | None, unit: str = "calls", period: str = "day", flow: str = FLOW) -> float:
    """How many cases of one unit get through after the file says this; None: it says nothing."""
    (pack / "budgets.yaml").write_text(A_DAY.format(flow, period, unit, limit) if limit is not None else "{}\n")
    return _reserve()


def _reserve(who: Consumer = WHO) -> float:
    hold = budgets.reserve(who, "large", {"large": {"calls": 1, "tokens": 1}}, 1000, 30.0)
    hold.end({})
    return sum(many for _, many in hold.plan)


def asked() -> Request:
    (found,) = requests.still_open()
    return found


def agree(request: Request, *people: Voter) -> str:
    for person in people:
        request = firewall.vote(request.id, person, "approved", request.seen)
    return request.state


def test_a_raise_waits_for_two_people_and_the_limit_of_before_holds(pack: Path) -> None:
    assert (room(pack, 5), room(pack, 9), room(pack, 9)) == (5, 5, 5)
    found = overview.request(asked().id)
    assert found.difference == [("limit", 5.0, 9.0)]
    assert (found.request.kind, found.request.needs, found.request.pack) == ("raise_budget", 2, "rules:shop/budgets")
    (shown,) = report.standing()
    assert shown["limit"] == 5
    assert shown["waits"] == f"9 calls a day is not in force: request {asked().id} waits for 2 people"
    assert agree(asked(), ANN) == "open"
    assert room(pack, 9) == 5
    with pytest.raises(VoteRefused, match="has answered it already; another person is needed"):
        agree(asked(), Voter("ANN"))
    with pytest.raises(VoteRefused, match="is an account of a service"):
        agree(asked(), Voter(f"flow:{FLOW}"))
    assert agree(asked(), BOB) == "approved"
    assert "in force with the next run under it" in report.standing()[0]["waits"]
    assert room(pack, 9) == 9
    (shown,) = report.standing()
    assert (shown["limit"], shown["waits"]) == (9, "")
    newest, first = (entry.payload for entry in ledger.entries(kind="budget_changed"))
    assert (first["limit"], first["before"]) == (5, None), "it never was on record"
    assert (newest["limit"], newest["before"]["limit"]) == (9, 5)
    assert newest["permit"]


def test_lowering_is_in_force_at_once_and_the_permit_of_a_raise_is_good_once(pack: Path) -> None:
    room(pack, 5), room(pack, 9)
    agree(asked(), ANN, BOB)
    assert (room(pack, 9), room(pack, 4)) == (9, 4)
    assert room(pack, 9) == 4, "the same raise again is another one"
    assert asked().state == requests.OPEN


def test_what_the_file_says_by_now_is_what_people_agree_to(pack: Path) -> None:
    room(pack, 5), room(pack, 9)
    first = asked()
    agree(first, ANN)
    (pack / "budgets.yaml").write_text(A_DAY.format(FLOW, "day", "calls", 900))
    with pytest.raises(VoteRefused, match="what it is about or the policy changed since it was asked"):
        agree(first, BOB)
    assert _reserve() == 5
    again = asked()
    assert agree(again, BOB) == "open", "ann's word was for 9"
    assert agree(again, ANN) == "approved"
    assert room(pack, 901) == 5, "between vote and use"
    assert "next run" not in report.standing()[0]["waits"]
    assert room(pack, 900) == 5, "and its votes are gone with it"


def test_a_file_that_takes_it_back_ends_the_question(pack: Path) -> None:
    room(pack, 5), room(pack, 9)
    first = asked()
    a_day_later()
    assert room(pack, 5) == 5
    assert requests.still_open() == []
    assert room(pack, 9) == 5
    second = asked()
    firewall.vote(second.id, ANN, "refused", second.seen)
    assert room(pack, 9) == 5
    assert requests.still_open() == []
    assert "was refused" in report.standing()[0]["waits"]
    room(pack, 5), room(pack, 9)
    assert requests.still_open() == [], "a no is not forgotten for a file of before"
    a_day_later()
    room(pack, 5), room(pack, 9)
    assert asked().id not in (first.id, second.id)


def test_a_worker_with_the_old_file_neither_ends_the_question_nor_undoes_the_answer(pack: Path) -> None:
    room(pack, 5)
    assert (room(pack, 9), room(pack, 5), room(pack, 9)) == (5, 5, 5)
    first = asked()
    assert agree(first, ANN) == "open"
    assert (room(pack, 5), room(pack, 9)) == (5, 5)
    assert agree(first, BOB) == "approved"
    assert (room(pack, 5), room(pack, 9)) == (5, 9)
    assert (room(pack, 5), room(pack, 9)) == (9, 9), "it is what was raised"
    (pack / "budgets.yaml").write_text(A_DAY.format(FLOW, "day", "calls", 5))
    (shown,) = report.standing()
    assert shown["limit"] == 9
    assert "5 calls a day is what people raised it from" in shown["waits"]
    assert requests.still_open() == []
    a_day_later()
    assert (room(pack, 5), report.standing()[0]["waits"]) == (5, "")


def test_a_worker_with_the_old_file_does_not_bring_back_what_people_took_away(pack: Path) -> None:
    room(pack, 5), room(pack, None)
    agree(asked(), ANN, BOB)
    assert (room(pack, None), room(pack, 5)) == (1000, 1000)
    assert (report.standing(), requests.still_open()) == ([], [])
    assert room(pack, 4) == 4, "another one is one"
    room(pack, None)
    agree(asked(), ANN, BOB)
    room(pack, None)
    a_day_later()
    assert (room(pack, None), room(pack, 4)) == (1000, 4)


def a_day_later() -> None:
    """All that was asked or agreed to is a day older."""
    past = warehouse.stamp(datetime.now(UTC) - limits.OVERTAKEN)
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(updated_at=past))
        known = limits.on_record(conn, "shop")
        limits.keep(conn, "shop", {name: replace(one, since=one.since and past) for name, one in known.items()})


def test_who_decides_on_one_flow_does_not_decide_on_the_budget_of_a_pack(pack: Path) -> None:
    for limit in (5, 9):
        (pack / "budgets.yaml").write_text(f"a_day: {{period: day, unit: calls, limit: {limit}}}\n")
        _reserve()
    assert asked().flow == ""


def test_while_people_have_yet_to_answer_nobody_takes_their_turn(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    real, append = warehouse.take_turns, ledger.append
    monkeypatch.setattr(warehouse, "take_turns", lambda conn, name: (taken.append(name), real(conn, name)))
    monkeypatch.setattr(ledger, "append", lambda *given: (taken.append("ledger"), append(*given))[1])
    room(pack, 5), room(pack, 9)
    assert taken == ["budgets", "ledger", "budgets", "actions", "ledger"]
    taken.clear()
    assert room(pack, 9) == 5
    assert taken == ["budgets"]
    taken.clear()
    lower = "b_day: {period: day, unit: calls, limit: 7}\n"
    (pack / "budgets.yaml").write_text(lower + A_DAY.format(FLOW, "day", "calls", 12))
    _reserve()
    assert taken == ["budgets", "actions", "ledger", "ledger"], "one ledger entry may not stand before another's turn"


def test_a_trial_brings_nothing_in_force_and_asks_nobody(pack: Path) -> None:
    def tried() -> float:
        hold = budgets.reserve(WHO, "large", {"large": {"calls": 1}}, 1000, 30.0, trial=True)
        hold.end({})
        return sum(many for _, many in hold.plan)

    (pack / "budgets.yaml").write_text(A_DAY.format(FLOW, "day", "calls", 5))
    assert tried() == 5
    assert ledger.entries() == []
    room(pack, 5)
    (pack / "budgets.yaml").write_text(A_DAY.format(FLOW, "day", "calls", 9))
    assert (tried(), requests.still_open()) == (5, [])
    _reserve()
    agree(asked(), ANN, BOB)
    assert (tried(), ledger.entries(kind="permit_used")) == (5, [])
    assert _reserve() == 9


@pytest.mark.parametrize(
    ("now", "holds"),
    [
        ({"limit": None}, 5),
        ({"limit": 5, "flow": "another_flow"}, 5),
        ({"limit": 5, "unit": "tokens"}, 5),
        ({"limit": 5, "period": "month"}, 5),  # stricter: in force at once
        ({"limit": 4}, 4),
    ],
)
def test_what_may_be_looser_waits(pack: Path, now: dict[str, Any], holds: float) -> None:
    room(pack, 5)
    assert room(pack, **now) == holds
    waits = now.get("period") is None and now["limit"] != 4
    assert bool(requests.still_open()) is waits
    if not waits:
        return
    assert report.standing()[0]["waits"]
    assert [one.spec.limit for one in budgets.of_stage(WHO)] == [5], "also one that the file has no more"
    agree(asked(), ANN, BOB)
    assert _reserve() == (1000 if now["limit"] is None or "flow" in now else 5)
    assert bool(report.standing()) is (now["limit"] is not None)


def test_a_month_made_a_day_waits() -> None:
    month = SpendingSpec(period="month", unit="calls", limit=5)
    day = SpendingSpec(period="day", unit="calls", limit=5)
    assert limits.looser(month, day)
    assert not limits.looser(day, month)
    assert not limits.looser(day.model_copy(update={"flow": "a"}), day), "all that the file is about is more"


def test_the_installation_has_its_limits_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "budgets.yaml"
    monkeypatch.setenv("BATON_BUDGETS", str(path))
    settings.cache_clear()
    path.write_text("all: {period: month, unit: calls, limit: 9}\n")
    assert _reserve() == 9
    monkeypatch.delenv("BATON_BUDGETS")
    settings.cache_clear()
    assert _reserve() == 9
    assert (asked().pack, asked().flow, asked().needs) == ("rules:all/budgets", "", 2), "of no DAG: the right on all"


def test_where_one_person_runs_it_a_raise_is_in_force_and_on_record(home: Path, pack: Path) -> None:
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    assert (room(pack, 5), room(pack, 9), room(pack, None)) == (5, 9, 1000)
    assert requests.still_open() == []
    gone, raised, _ = (entry.payload for entry in ledger.entries(kind="budget_changed"))
    assert (raised["limit"], raised["governance"]) == (9, "single")
    assert (gone["removed"], gone["before"]["limit"]) == (True, 9)


def test_what_was_approved_is_not_in_force_for_another_policy(home: Path, pack: Path) -> None:
    """Agreed to alone, then four eyes."""
    room(pack, 5), room(pack, 9)
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(needs=1))
    agree(asked(), ANN)
    with warehouse.write() as conn:
        conn.execute(tables.permits.update().values(policy="of one"))
    assert room(pack, 9) == 5


def test_a_transaction_that_fails_uses_no_permit(pack: Path) -> None:
    room(pack, 5), room(pack, 9)
    agree(asked(), ANN, BOB)
    with pytest.raises(TypeError):
        budgets.reserve(WHO, "large", {"large": {}}, 1, "x")  # type: ignore[arg-type]
    assert _reserve() == 9


def test_an_answer_that_waits_is_in_the_result(pack: Path) -> None:
    room(pack, 5), room(pack, 9)
    hold = budgets.reserve(WHO, "large", {"large": {"calls": 1}}, 1, 30.0)
    assert hold.waits == [f"budget a_day: 9 calls a day is not in force: request {asked().id} waits for 2 people"]


def test_limits_of_an_earlier_baton_are_in_force_after_the_revision(pack: Path) -> None:
    with warehouse.engine().connect().execution_options(baton_write=True) as conn, conn.begin():
        config = migrations.configured(conn)
        command.downgrade(config, "1010")
        for name in ("a_day", "gone"):
            warehouse.meta_set(f"budget:shop/{name}", '{"limit": 5.0, "unit": "calls", "period": "day"}', conn)
        command.upgrade(config, "head")
    assert room(pack, 9) == 5
    assert sorted(one.entity_key for one in requests.still_open()) == ["shop/a_day", "shop/gone"]
    with warehouse.read() as conn:
        assert warehouse.meta_get("budget:shop/a_day", conn) is None


def test_no_random_sequence_raises_a_limit_that_two_people_did_not_agree_to(pack: Path) -> None:
    """Beside the real mechanism runs a book of a few lines: the limit in force, what it was raised from, and who said yes to which
    change of it."""
    rng, raised, refused = random.Random("raises"), 0, 0
    held = 0
    who = [
        (ANN, "ann"),
        (Voter("ANN"), "ann"),
        (BOB, "bob"),
        (Voter("bob"), "bob"),
        (Voter("service"), None),
        (Voter(""), None),
    ]
    for sequence in range(8):
        who_now = Consumer("shop", FLOW, "advise", f"{sequence}")
        limit, yes = _settled_at(pack, 5), set[str]()
        said, asked_about, before = 5.0, 5.0, None
        for _ in range(45):
            act = rng.choices(["file", "vote", "run"], [1, 6, 3])[0]
            if act == "file":
                said = rng.choice([4.0, 5.0, 9.0, 9.0, 12.0, before or 9.0])
                (pack / "budgets.yaml").write_text(A_DAY.format(FLOW, "day", "calls", said))
            elif act == "vote" and (waiting := requests.still_open()):
                voter, name = rng.choice(who)
                try:
                    firewall.vote(waiting[0].id, voter, "approved", waiting[0].seen)
                except VoteRefused:
                    refused += 1
                    if said != asked_about and not requests.still_open():
                        yes = set()
                else:
                    assert name is not None
                    assert said == asked_about, "a word on what the file does not say any more"
                    yes.add(name)
            elif act == "run":
                if said in (limit, before):  # perhaps of a worker with the old file: nothing is undone
                    held += said == before
                    assert _reserve(who_now) == limit, (sequence, said, limit, before)
                    continue
                may = said < limit or (said == asked_about and len(yes) >= 2)
                got = _reserve(who_now)
                assert got == (said if may else limit), (sequence, said, limit, yes)
                raised += may and said > limit
                if may or said != asked_about:
                    yes = set()
                if got != limit:
                    before = limit if got > limit else None
                limit, asked_about = got, said
    assert (raised > 1, refused > 10, held > 1) == (True, True, True), (raised, refused, held)


def _settled_at(pack: Path, limit: float) -> float:
    """Start from a limit that is in force, with nothing asked: there is none, then this one."""
    with warehouse.write() as conn:
        limits.keep(conn, "shop", {})
        conn.execute(tables.requests.update().where(tables.requests.c.state == "open").values(state="withdrawn"))
        conn.execute(tables.permits.update().values(void_at=warehouse.now()))
    return room(pack, limit)
