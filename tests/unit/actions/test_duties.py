"""A vote without the duty to approve does not count once the duty was given to somebody; owner and deputy have it by nature."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baton.actions import requests, votes
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall
from baton.record import tables, warehouse

UNIT: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_firewall.py")))
pack, place, agree = (UNIT[name] for name in ("pack", "place", "agree"))


@pytest.fixture(autouse=True)
def migrated(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def given(asset: str, person: str, until: str = "2999-01-01T00:00:00.000000Z", **more: str) -> None:
    values = {
        "asset": asset,
        "person": person,
        "duty": "approve",
        "given_by": "op",
        "at": warehouse.now(),
        "agreed_at": warehouse.now(),
        "valid_to": until,
    }
    with warehouse.write() as conn:
        conn.execute(tables.grants.insert().values({**values, **more}))


def test_a_vote_without_the_duty_does_not_count(pack: Path) -> None:
    place(pack, Action("wipe", "i1", "srv-db", {}))
    (asked,) = requests.still_open()
    asset = votes.asset_of(asked)
    assert asset == f"effect:{pack}/wipe"
    given(asset, "ann")
    given(asset, "bob", until=warehouse.now())
    given(asset, "eve", ended_at=warehouse.now())
    for person in ("bob", "eve", "carl"):
        with pytest.raises(VoteRefused, match=f"{person} has no grant to approve"):
            agree(person)
    agree("ANN")
    assert [one.state for one in requests.still_open()] == ["open"], "one of two"
    given(asset, "carl")
    agree("carl")
    assert requests.still_open() == []


def test_on_the_command_line_a_full_name_is_nobodys_log_in(pack: Path) -> None:
    """The account's full name is what whoever has it may write there (`chfn`)."""
    place(pack, Action("wipe", "i1", "srv-db", {}))
    (asked,) = requests.still_open()
    given(votes.asset_of(asked), "ann")
    with pytest.raises(VoteRefused, match="mallory has no grant to approve"):
        firewall.vote(asked.id, Voter("mallory", "ann", "command line"), "approved", asked.seen)
    assert firewall.vote(asked.id, Voter("ann", "Ann Smith", "command line"), "approved", asked.seen)


def test_nobody_needs_a_duty_to_say_no(pack: Path) -> None:
    place(pack, Action("wipe", "i1", "srv-db", {}))
    (asked,) = requests.still_open()
    given(votes.asset_of(asked), "ann")
    assert firewall.vote(asked.id, votes.Voter("carl"), "refused", asked.seen).state == "refused"
