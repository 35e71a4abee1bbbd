"""The page Usage: what a month used, for those who may read about the flow, and how budgets stand; a line on Today."""

from __future__ import annotations

import runpy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from baton.console.queries.assets import listing
from baton.errors import SpecError
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.usage import budgets, report
from baton.usage.used import Consumer

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
FLOW, HTML, client = (STAGE[name] for name in ("FLOW", "HTML", "client"))
no_registry, empty = STAGE["no_registry"], STAGE["empty"]
TODAY = datetime.now(UTC).date()


def row(day: date, number: int, asset: str = "agent:clerk", flow: str = FLOW, **amounts: Any) -> dict[str, Any]:
    used = {"rows": 5, "calls": 2, "tokens_in": 200, "tokens_out": 100, "seconds": 1.5, "cost": 0.5, **amounts}
    place = {
        "version": "1",
        "model": "",
        "pack": "shop",
        "flow": flow,
        "stage": "advise",
        "partition": f"{day}T00:00:00",
    }
    return {**place, "commit_id": number, "asset": asset, "day": str(day), "at": f"{day}T00:00:00.000000Z", **used}


def put(*rows: dict[str, Any]) -> None:
    with warehouse.write() as conn:
        conn.execute(tables.usage.insert(), list(rows))


@pytest.fixture
def a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "budgets.yaml").write_text(
        f"calm: {{flow: {FLOW}, period: month, unit: cost, limit: 100}}\ntight: {{period: day, unit: calls, limit: 2.5}}\n"
    )
    monkeypatch.setenv("BATON_BUDGETS", str(tmp_path / "budgets.yaml"))
    settings.cache_clear()


def test_a_month_in_sums_plots_and_budgets(empty: Any, a_budget: None) -> None:
    put(
        row(TODAY, 1),
        row(TODAY, 2, "model:card_fraud", cost=None, calls=0, rows=900),
        row(TODAY, 3, flow="hidden_flow"),
    )
    found = client("admin").get("/baton/usage").raise_for_status().json()
    assert [(one["asset"], one["rows"], one["cost"]) for one in found["models"][:2]] == [
        ("agent:clerk", 10, 1.0),
        ("model:card_fraud", 900, None),
    ]
    assert [one["flow"] for one in found["flows"]] == [FLOW, "hidden_flow"]
    assert (found["days"][-1]["day"], found["days"][-1]["rows"]) == (
        str(TODAY),
        {"agent:clerk": 10, "model:card_fraud": 900},
    )
    page = client("admin").get("/baton/usage", headers=HTML).text
    for words in ("calm", "100 cost a month", "model:card_fraud", "rows over", "dollars over", "160 %"):
        assert words in page
    assert client("admin").get("/baton/usage?month=May").status_code == 422


def test_today_says_what_is_nearly_used_up_and_what_is(empty: Any, a_budget: None) -> None:
    assert client("admin").get("/baton/api/today").json()["budgets"] == []
    put(row(TODAY, 1))
    (one,) = client("admin").get("/baton/api/today").json()["budgets"]
    assert (one["name"], one["scope"], one["share"], one["turned_away"]) == ("tight", "all packs", 0.8, 0)
    with warehouse.write() as conn:
        ledger.append(conn, budgets.DEGRADED, f"{FLOW}/x", {"budget": "all/tight", "cases": 3})
    page = client("admin").get("/baton/today", headers=HTML).text
    assert "80 % of 2.5 calls a day are used" in page
    assert "it is exhausted: 3 cases had no room" in page


def test_today_stands_where_a_file_is_broken(empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_BUDGETS", str(tmp_path / "gone.yaml"))
    settings.cache_clear()
    found = client("admin").get("/baton/api/today").raise_for_status().json()
    (said,) = found["problems"]
    assert "gone.yaml" in said
    assert found["budgets"] == []
    assert said.partition("\n")[0][:40] in client("admin").get("/baton/today", headers=HTML).text
    assert "gone.yaml" not in client("stranger").get("/baton/today", headers=HTML).text

    def broken(*_: Any) -> Any:
        raise SpecError("shop/pack.yaml:3: no such field")

    monkeypatch.setattr(listing, "rows", broken)
    assert client("admin").get("/baton/api/today").json()["problems"] == ["shop/pack.yaml:3: no such field", said]


def test_usage_stands_where_the_file_of_budgets_is_gone(
    empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(row(TODAY, 1))
    monkeypatch.setenv("BATON_BUDGETS", str(tmp_path / "gone.yaml"))
    settings.cache_clear()
    found = client("admin").get("/baton/usage").raise_for_status().json()
    assert found["models"][0]["rows"] == 5
    (said,) = found["problems"]
    assert said.startswith(
        f"BATON_BUDGETS names {tmp_path / 'gone.yaml'}, which cannot be read (No such file or directory)"
    )
    assert "write the file there, or take the setting away" in said
    page = client("admin").get("/baton/usage", headers=HTML).text
    assert "BATON_BUDGETS names" in page
    assert "No budget is declared" not in page, "nobody knows what the file would say"
    assert "gone.yaml" not in client("stranger").get("/baton/usage", headers=HTML).text
    with pytest.raises(SpecError, match=r"gone\.yaml"):  # and a stage asks nobody
        budgets.of_stage(Consumer("financial_crime", FLOW, "advise", f"{TODAY}T00:00:00"))


def test_only_what_may_be_read_is_summed(empty: Any, a_budget: None) -> None:
    put(row(TODAY, 1), row(TODAY, 2, flow="hidden_flow"))
    seen = report.month(lambda flow: flow == FLOW, TODAY, TODAY)
    assert [one["rows"] for one in seen["models"]] == [5]
    assert [one["name"] for one in report.standing(lambda flow: flow == FLOW)] == ["calm"], (
        "one of all packs is for those who may read all"
    )


def test_a_forecast_goes_by_the_last_whole_days() -> None:
    today = date(2026, 11, 20)
    days = {str(today - timedelta(days=number)): 2.0 for number in range(1, 10)} | {str(today): 0.5}
    assert report.forecast(days, today) == {"so_far": 18.5, "a_day": 2.0, "end": 18.5 + 1.5 + 10 * 2.0}
    assert report.forecast({str(today): 5.0}, today) is None, "no whole day yet"
    assert report.forecast({}, today) is None
    young = report.forecast({str(today - timedelta(days=2)): 4.0}, today)
    assert young is not None
    assert young["a_day"] == 2.0, "of the two days since the first one"
