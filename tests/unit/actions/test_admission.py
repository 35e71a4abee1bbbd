"""What lets an effect begin: what the ledger, the permit and the sentences say of it."""

from __future__ import annotations

import pwd
import runpy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from baton.actions import admission, requests, votes
from baton.actions.action import Action, Approval
from baton.effects import firewall, outbox, overview
from baton.effects.outbox import PENDING, SENT, WAITING
from baton.record import ledger, tables, warehouse

UNIT: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_firewall.py")))
FLOW, PART, POLICY = UNIT["FLOW"], UNIT["PART"], UNIT["POLICY"]
pack, Peer, block, place, send, states, agree = (
    UNIT[name] for name in ("pack", "Peer", "block", "place", "send", "states", "agree")
)


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def permits() -> list[Any]:
    with warehouse.read() as conn:
        return list(conn.execute(sa.select(tables.permits).order_by(tables.permits.c.id)))


def minutes(permit: Any) -> float:
    ends, starts = (datetime.fromisoformat(at) for at in (permit.expires_at, permit.issued_at))
    return (ends - starts) / timedelta(minutes=1)


def yes(name: str, at: str | None = None) -> Approval:
    return Approval(name, name, "review", at=at or warehouse.now())


@pytest.mark.parametrize(
    ("name", "shell", "why"),
    [
        ("ann", "/bin/bash", ""),
        ("www-data", "/usr/sbin/nologin", "www-data is an account of a service"),
        ("games", "/bin/false", "games is an account of a service"),
    ],
)
def test_an_account_that_nobody_logs_in_to_is_no_person(
    name: str, shell: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever may start a process in a container is as many people as it has accounts."""
    mine = pwd.struct_passwd((name, "x", 33, 33, "", "/", shell))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: mine)
    assert votes.flaw(votes.account(), "").startswith(why)
    assert bool(votes.flaw(votes.account(), "")) is bool(why)


def test_an_action_keeps_what_the_warehouse_will_give_back() -> None:
    action = Action("block", 7, 12, {"since": datetime(2026, 1, 2, tzinfo=UTC), "ports": (1, 2)}, before={1: None})  # type: ignore[arg-type]
    assert (action.entity_key, action.target) == ("7", "12")
    assert (action.payload["ports"], action.before) == ([1, 2], {"1": None})
    assert isinstance(action.payload["since"], str)


def test_a_request_is_open_until_its_end_and_not_at_it(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    (asked,) = requests.still_open()
    just_before = (datetime.fromisoformat(asked.expires_at) - timedelta(microseconds=1)).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ"
    )
    assert asked.is_open(just_before)
    assert not asked.is_open(asked.expires_at)


def test_what_a_vote_names_covers_the_action_and_all_of_its_difference(pack: Path) -> None:
    def seen(**changed: Any) -> str:
        place(pack, replace(block(confidence=0.1, before={"blocked": False}, after={"blocked": True}), **changed))
        return requests.still_open()[-1].seen

    known = seen()
    assert seen() == known, "the same is not asked about anew"
    for changed in (
        {"before": {"blocked": None}},
        {"after": None},
        {"asset_class": "lab"},
        {"evidence": ("x",)},
        {"payload": {"action": "block"}},
    ):
        assert seen(**changed) not in (known, ""), changed
    (now,) = requests.still_open()
    with warehouse.write() as conn:
        requests.explain(conn, now.id, "ann: because")
        assert requests.find(conn, now.id).seen == now.seen, "why it is asked decides nothing"


def test_what_people_agreed_to_is_on_the_ledger_with_their_names(pack: Path) -> None:
    place(pack, Action("wipe", "i1", "srv-db", {}))
    agree("ann", "bob")
    (entry,) = ledger.entries(kind="permit_issued")
    assert entry.payload["by"] == ["ann", "bob"]
    assert (entry.payload["effect"], entry.payload["level"]) == (outbox.effects(FLOW)[0].key, "two_approvers")
    assert entry.payload["permit"] == permits()[-1].id


def test_a_permit_whose_rule_went_while_it_was_agreed_to_lives_a_minute(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    (asked,), (effect,) = requests.still_open(), outbox.effects(FLOW)
    (pack / "actions.yaml").write_text(POLICY.replace("name: rest", "name: others"))
    with warehouse.write() as conn:
        admission.grant(conn, effect.origin(), effect.judged(), asked, "of before")
    (permit,) = permits()
    assert minutes(permit) == pytest.approx(1.0, abs=0.01)


def test_a_word_that_does_not_count_is_said(pack: Path) -> None:
    place(pack, block(confidence=0.1, approvals=[yes("ann")]), requester="ann")
    (effect,) = outbox.effects(FLOW)
    assert effect.state == WAITING
    assert "ann asked for it" in (effect.error or "")


def test_a_word_on_a_request_that_ended_counts_for_none_that_was_asked_later(pack: Path) -> None:
    place(pack, block(confidence=0.1))
    said = warehouse.now()
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at="2026-01-01T00:00:00.000000Z"))
    firewall.sweep()
    place(pack, block(confidence=0.1, approvals=[yes("ann", said)]))
    assert states() == {"block 203.0.113.7": WAITING}
    place(pack, block(confidence=0.1, approvals=[yes("ann")]))
    assert states() == {"block 203.0.113.7": PENDING}, "a word that was given since"


def test_only_what_has_an_undo_and_was_sent_can_be_undone(pack: Path) -> None:
    place(pack, block(), Action("mail", "i1", "m1", {"to": ["a@example.org"]}))
    assert [one.undoable for one in overview.newest(5)] == [False, False], "nothing was sent"
    send(Peer())
    assert {one.effect.kind: one.undoable for one in overview.newest(5)} == {"block": True, "mail": False}
    assert {one.effect.state for one in overview.newest(5)} == {SENT}


def test_notices_are_counted_by_flow(pack: Path) -> None:
    place(pack, block(), block("203.0.113.8"))
    place(pack, block("203.0.113.9", confidence=0.1), flow="transaction_monitoring")
    assert overview.notice_counts() == {FLOW: 2}
