"""Replenishment on the really started Airflow, MLflow and purchasing service: the demo's weeks, then what they left."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from baton.data.datasets import read
from baton.effects import outbox
from baton.feedback import adjustments
from baton.record import ledger, tables
from baton.record.used_models import recorded_models
from baton.record.warehouse import read as connection
from baton.registry.client import Registry
from baton.services.supervisor import Services
from baton.stages.slots import Slot, head
from baton_demo.story import Demo
from baton_demo.supply_chain import story
from baton_demo.supply_chain.playbook import FLOW, MODEL
from baton_packs.supply_chain.steps import EFFECT

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def told(demo: Demo) -> dict[str, Any]:
    """The story; it stops at the first thing that is not as told."""
    from baton.packs.demos import prepare_data

    prepare_data("supply_chain")
    return story.play(demo)


@pytest.fixture(scope="module")
def weeks(told: dict[str, Any]) -> list[str]:
    """Partitions that were played."""
    return [row["partition"] for row in told["weeks"]]


def purchased(services: Services) -> list[dict[str, Any]]:
    """All orders at the purchasing service, asked with the token of its connection."""
    home = services.settings.home
    token = (home / "secrets/purchasing.token").read_text().strip()
    assert "purchasing" in services.sessions(), "the purchasing service must run"
    address = json.loads(services.settings.services_file.read_text())["purchasing"]["url"]
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        answer = httpx.get(f"{address}/orders?after={after}", trust_env=False,
                           headers={"Authorization": f"Bearer {token}"}).raise_for_status().json()  # fmt: skip
        found += answer["orders"]
        after = answer["next"]
    return found


def test_every_decided_order_is_at_the_purchasing_service_exactly_once(
    told: dict[str, Any], weeks: list[str], services: Services
) -> None:
    booked = purchased(services)
    assert len({row["key"] for row in booked}) == len(booked)
    wanted = {}
    for partition in weeks:
        for effect in outbox.effects(FLOW, partition, EFFECT):
            assert effect.state == outbox.SENT, effect
            wanted[effect.key] = (effect.payload["item"], effect.payload["quantity"], effect.payload["week"])
    assert {row["key"]: (row["item"], row["quantity"], row["week"]) for row in booked} == wanted
    assert len(wanted) > 50
    assert len({(item, week) for item, _, week in wanted.values()}) == len(wanted)  # one order per item and week


def test_a_week_repeated_by_hand_orders_nothing_again(
    told: dict[str, Any], weeks: list[str], demo: Demo, services: Services
) -> None:
    before = purchased(services)
    run = demo.airflow.trigger(FLOW, weeks[-1])
    assert demo.airflow.wait(FLOW, [run], timeout=200) == {run: "success"}
    assert purchased(services) == before


def test_planted_rows_were_quarantined_bridged_and_repaired(told: dict[str, Any], weeks: list[str]) -> None:
    assert told["quarantined"]["repaired"] == 2
    with connection() as conn:
        table = tables.quarantine
        rows = conn.execute(select(table).where(table.c.flow == FLOW, table.c.partition == weeks[1])).mappings().all()
    assert {"sales_negative", "week_twice"} <= {row["rule"] for row in rows}
    assert {row["status"] for row in rows} <= {"resolved", "discarded"}


def test_forecasts_are_published_with_their_distribution_and_met_by_truth(weeks: list[str]) -> None:
    with connection() as conn:
        truth = conn.execute(select(tables.labels).where(tables.labels.c.flow == FLOW)).mappings().all()
    rows = PUBLISHED["rows_of"]("predictions", flow=FLOW, partition=weeks[0])
    assert len(rows) == 7 * 4
    for row in rows:
        levels = [row["quantiles"][level] for level in sorted(row["quantiles"], key=float)]
        assert levels == sorted(levels)
        assert levels[0] <= row["score"] <= levels[-1]
    assert {row["entity_key"] for row in rows} & {row["entity_key"] for row in truth}


def test_the_changed_market_was_noticed_learnt_and_pays(told: dict[str, Any], weeks: list[str]) -> None:
    assert told["monitor"]["decision"] == "RETRAIN"
    quiet = [row for row in told["drift"] if row["partition"] < weeks[0]]
    assert not any(row["features"] for row in quiet)
    before, after = told["cost"]["version 1"], told["cost"]["version 2"]
    assert after["cost"] < before["cost"]
    assert after["coverage80"] > before["coverage80"]
    assert Registry().alias(MODEL, "champion") == 2
    assert recorded_models(FLOW, weeks[-1]) == {MODEL: 2}
    assert recorded_models(FLOW, weeks[0]) == {MODEL: 1}


def test_people_saw_the_large_orders_and_their_changes_are_on_record(told: dict[str, Any], weeks: list[str]) -> None:
    assert told["changed"], "some order must have been above the limit"
    known = adjustments.known(FLOW, field="quantity")
    sent = {
        (e.partition[:10], e.entity_key): e.payload["quantity"] for p in weeks for e in outbox.effects(FLOW, p, EFFECT)
    }
    for change in told["changed"]:
        assert change["decided"] < change["proposed"]
        assert sent[change["week"], change["item"]] == change["decided"]
        row = known[(known["partition"].str[:10] == change["week"]) & (known["entity_key"] == change["item"])]
        assert row["decided"].tolist() == [change["decided"]]
        assert row["actor"].tolist() == ["admin"]
    assert ledger.entries(kind="orders_reviewed", limit=1)


def test_the_report_is_small_linked_and_self_contained(
    told: dict[str, Any], weeks: list[str], services: Services
) -> None:
    result = head(Slot(FLOW, "report", weeks[-1]))
    assert result is not None
    page = (services.settings.reports_dir / result.facts["report"]).read_text(encoding="utf-8")
    assert 50_000 < len(page.encode()) < 600_000
    assert "<script" not in page
    assert "dept_95" in page
    assert result.facts["mlflow"].startswith(services.mlflow_url)
    address = f"{services.airflow_url}/baton/pages/{result.facts['report']}"
    assert httpx.get(address, trust_env=False).status_code in (401, 403)  # behind Airflow's log-in


def test_no_secret_of_the_purchasing_api_leaves_its_connection(weeks: list[str], services: Services) -> None:
    token = (services.settings.home / "secrets/purchasing.token").read_text().strip()
    for folder in ("airflow/logs", "logs", "reports"):
        for path in (services.settings.home / folder).rglob("*"):
            if path.is_file():
                assert token not in path.read_text(encoding="utf-8", errors="ignore"), path
    rows = [read(head(Slot(FLOW, stage, weeks[-1])).ref) for stage in ("order", "send")]  # type: ignore[union-attr]
    assert token not in json.dumps([row.astype(str).to_dict("records") for row in rows])
    assert ledger.verify().ok
