"""`baton usage` and `baton budgets`: sums by what is asked for, in bounds of days; how each budget stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.cli.app import app
from baton.record import tables, warehouse
from baton.settings import settings


@pytest.fixture(autouse=True)
def used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "budgets.yaml").write_text(
        "a_month: {period: month, unit: tokens, limit: 1000, ladder: [small, template]}\n"
    )
    monkeypatch.setenv("BATON_BUDGETS", str(home / "budgets.yaml"))
    settings.cache_clear()
    warehouse.migrate()
    row = {"model": "", "pack": "shop", "flow": "orders", "stage": "s", "partition": "p", "version": "1"}
    row |= {"rows": 5, "calls": 0, "tokens_in": 0, "tokens_out": 0, "seconds": 2.0, "cost": None}
    agent = {"asset": "agent:clerk", "calls": 3, "tokens_in": 300, "tokens_out": 200, "cost": 0.25}
    rows = [
        {**row, "asset": "model:late", "commit_id": 1, "day": "2025-11-19", "at": "2025-11-19"},
        {**row, **agent, "commit_id": 2, "day": "2025-11-20", "at": "2025-11-20", "flow": "replies"},
        {**row, **agent, "commit_id": 3, "day": warehouse.now()[:10], "at": warehouse.now(), "flow": "replies"},
    ]
    with warehouse.write() as conn:
        conn.execute(tables.usage.insert(), rows)
        spent = {"spent": {"tokens": 40}, "held": {}, "until": "2026", "fence": 1, "map_index": -1}
        place = {"pack": "shop", "flow": "replies", "stage": "s", "partition": "p", "at": warehouse.now()}
        conn.execute(tables.reservations.insert().values(**spent, **place))


def said(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_usage_is_summed_by_what_is_asked_for() -> None:
    assert [(one["asset"], one["uses"], one["calls"], one["cost"]) for one in said("usage")] == [
        ("agent:clerk", 2, 6, 0.5),
        ("model:late", 1, 0, None),
    ]
    assert [one["flow"] for one in said("usage", "--by", "flow")] == ["replies", "orders"]
    assert [one["day"] for one in said("usage", "--by", "day", "--to", "2025-11-20")] == ["2025-11-19", "2025-11-20"]
    (one,) = said("usage", "--by", "pack", "--from", "2025-11-20", "--to", "2025-11-20")
    assert (one["pack"], one["tokens_in"], one["seconds"]) == ("shop", 300, 2.0)
    shown = CliRunner().invoke(app, ["usage"]).output
    assert "attempts that committed nothing: 40 tokens" in shown
    assert CliRunner().invoke(app, ["usage", "--from", "May"]).exit_code == 2


def test_budgets_say_how_they_stand() -> None:
    one = next(one for one in said("budgets") if one["name"] == "a_month")  # the packs have theirs
    assert (one["name"], one["scope"], one["used"], one["held"]) == ("a_month", "all packs", 540, 0)
    shown = CliRunner().invoke(app, ["budgets"], env={"COLUMNS": "200"}).output
    assert "small > template" in shown
