"""Today: what stands in for tools and models, and what is well again; nothing where all is well."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from baton.lookups.guard import Guard
from baton.record import warehouse
from baton.registry import rungs
from baton.specs.tool import ToolSpec

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
FLOW, HTML, client = (STAGE[name] for name in ("FLOW", "HTML", "client"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]
HOUR, MODEL = "2026-11-20T09:00:00", "card_fraud"
TOOL = ToolSpec.model_validate({
    "name": "reputation", "description": "d", "conn_id": "c", "path": "r/{value}", "answer": {"score": "integer"},
    "breaker": {"failures": 1},
})  # fmt: skip


@pytest.fixture
def unwell(empty: None) -> None:
    """A tool that was given up, a model that rules stand in for, and one that is well again."""
    Guard("shop/reputation", TOOL).failed("plain", "no answer within 5 s")
    with warehouse.write() as conn:
        for model in (MODEL, "other"):
            rungs.record(conn, FLOW, model, HOUR, rungs.RULES, None, "version 2 does not score: <b>changed</b>")
        rungs.record(conn, FLOW, "other", HOUR, rungs.AS_FIXED, 2, "")


def today(person: str) -> Any:
    return client(person).get("/baton/api/today").json()["healing"]


def test_what_stands_in_is_shown_with_reason_and_since_when(unwell: None) -> None:
    found = today("admin")
    (breaker,), (rung,), (healed,) = found["breakers"], found["rungs"], found["healed"]
    assert (breaker["tool"], breaker["state"], breaker["error"]) == ("shop/reputation", "open", "no answer within 5 s")
    assert (rung["flow"], rung["model"], rung["rung"], rung["partition"]) == (FLOW, MODEL, "rules", HOUR)
    assert healed["what"] == f"{FLOW}/other"
    assert healed["took"] == "0 s"
    for one in (breaker, rung):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(one["since"])).total_seconds()) < 60
    page = client("admin").get("/baton/today", headers=HTML).text
    for words in ("Stand-ins", "shop/reputation", "left in peace", "its rules score", "&lt;b&gt;changed", "well again"):
        assert words in page, words


def test_nobody_sees_what_they_may_not_read(unwell: None) -> None:
    assert today("stranger") == {"breakers": [], "rungs": [], "healed": []}


def test_where_all_is_well_there_is_no_section(empty: None) -> None:
    assert today("admin") == {"breakers": [], "rungs": [], "healed": []}
    assert "Stand-ins" not in client("admin").get("/baton/today", headers=HTML).text
