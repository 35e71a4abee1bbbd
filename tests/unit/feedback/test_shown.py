"""What a person was shown stays provable: the ledger's digest is that of the case's row, and of no other."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from baton.feedback import cases
from baton.feedback.shown import digest
from baton.published.rows import in_force
from baton.record import ledger, tables, warehouse

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
SEED = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))["seed"]
FLOW, HOUR = STAGE["FLOW"], STAGE["HOURS"][0]


@pytest.fixture(autouse=True)
def opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with STAGE["warehouse_and_pack"](home, monkeypatch):
        SEED(FLOW, HOUR, commit_id=7, decisions=[{"entity_key": "1", "route": "review"}],
             predictions=[{"entity_key": "1", "model": "m", "score": 0.9, "reasons": '[["amount", 1.0]]'}])  # fmt: skip
        open_case()
        yield


def open_case(title: str = "12 euros", risk: float = 0.5) -> None:
    one = {"entity_key": "1", "route": "review", "risk": risk, "title": title, "reasons": '["too much"]'}
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, HOUR, pd.DataFrame([one]), {"yes": {"late": 1}, "no": {"late": 0}})


def row() -> dict[str, Any]:
    with warehouse.read() as conn:
        return dict(conn.execute(sa.select(tables.cases)).mappings().one())


def decided(seen: int | None) -> dict[str, Any]:
    cases.decide(FLOW, "1", "yes", "Ada", seen=seen, actor_id="7")
    (record,) = ledger.entries(kind="case_decided")
    return dict(record.payload)


def test_the_digest_on_the_ledger_is_that_of_the_row_as_it_was_shown() -> None:
    before = row()
    payload = decided(7)
    there = in_force(FLOW, HOUR)
    assert there is not None
    assert there.decisions is not None
    hashed = there.decisions.content_sha256
    assert payload["seen"] == payload["shown"]["commit"] == 7
    assert payload["shown"]["decisions"] == hashed
    assert payload["shown"]["sha256"] == digest(before, hashed) == digest(row(), hashed)
    open_case("another title", risk=0.9)  # a later run: the answered case stays as it was shown
    assert digest(row(), hashed) == payload["shown"]["sha256"]


@pytest.mark.parametrize("name", ["title", "reasons", "risk", "route", "resolutions", "why", "money", "partition"])
def test_whatever_else_had_been_shown_has_another_digest(name: str) -> None:
    shown = row()
    assert digest({**shown, name: "something else"}, "a") != digest(shown, "a")
    assert digest(shown, "b") != digest(shown, "a")


def test_whoever_does_not_say_what_they_saw_is_on_record_so() -> None:
    payload = decided(None)
    assert payload["seen"] is None
    assert payload["shown"]["commit"] == 7
