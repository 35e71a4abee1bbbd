"""The main job on the really started Airflow and MLflow: the demo's story, then what warehouse, registry and store hold."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from sqlalchemy import func, select

from baton.console.queries.trace import trace
from baton.data.datasets import DatasetRef, read, verifies
from baton.lineage import telling
from baton.lineage.events import COMMITTED, OF_MODELS
from baton.packs.pack import load_pack
from baton.quarantine.records import accounting
from baton.record import ledger, tables
from baton.record.warehouse import read as connection
from baton.registry.client import Registry
from baton.registry.review import champion_moved
from baton.settings import settings
from baton.stages.slots import Slot, head, history
from baton_demo.financial_crime.accounts import FLOW, MODEL
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]


def count(table: Any, *where: Any) -> int:
    with connection() as conn:
        return int(conn.execute(select(func.count()).select_from(table).where(*where)).scalar() or 0)


def decisions(partition: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = PUBLISHED["rows_of"]("decisions", flow=FLOW, partition=partition)
    return found


def versions(hours: list[str]) -> set[int]:
    """Versions of the model by which these hours are published."""
    every = (PUBLISHED["read_all"]("predictions", "version", flow=FLOW, partition=hour, model=MODEL) for hour in hours)
    return {version for found in every for (version,) in found}


def seen() -> list[int]:
    """How much others see."""
    published = [len(PUBLISHED["rows_of"](kind)) for kind in ("decisions", "predictions")]
    return [*published, *map(count, (tables.cases, tables.quarantine))]


def test_every_row_is_accounted_for_and_published_once(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    total = 0
    for partition in book.hours(33, 48):
        accounts = accounting(FLOW, partition)
        assert accounts["rows_in"] == accounts["published"] + accounts["open"] + accounts["discarded"], partition
        assert accounts["open"] == 0, partition
        published = len(decisions(partition))
        assert published == accounts["published"]
        head_rows = head(Slot(FLOW, "publish", partition))
        assert head_rows is not None
        assert head_rows.ref.rows == published
        total += accounts["rows_in"]
    assert total >= 117_000  # the real rows of hours 33 to 47, and the planted copies of one of them
    every = PUBLISHED["read_all"]("decisions", "entity_key", flow=FLOW)
    assert len(every) == len(set(every))


def test_store_holds_what_the_warehouse_says(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    for partition in book.hours(33, 48):
        for stage in ("ingest", "contract", f"score__{MODEL}", "score__transaction_anomaly", "decide", "publish"):
            result = head(Slot(FLOW, stage, partition))
            assert result is not None, (stage, partition)
            assert verifies(DatasetRef.from_dict(result.ref.to_dict()))
    decided = read(head(Slot(FLOW, "publish", book.hours(33)[0])).ref)  # type: ignore[union-attr]
    rows = [(row["entity_key"], row["route"]) for row in decisions(book.hours(33)[0])]
    assert dict(rows) == dict(zip(decided["entity_key"], decided["route"], strict=True))


def test_two_champions_scored_and_the_registry_agrees(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    registry = Registry()
    aliases = registry.aliases(MODEL)
    assert aliases["champion"] > aliases["previous_champion"]
    for hours, alias in ((book.hours(33, 43), "previous_champion"), (book.hours(43, 48), "champion")):
        assert versions(hours) == {aliases[alias]}
    assert champion_moved(MODEL, registry.alias(MODEL, "champion"), registry.recorded_champion(MODEL)) is None
    version = registry.version(MODEL, aliases["champion"])
    assert version.tags["baton.gate"] == "PROMOTE"
    assert version.tags["baton.dataset"]
    assert "## Gate" in version.description
    assert version.tags["baton.review"] == "approved", "answered in Airflow"
    assert registry.alias(MODEL, "challenger") is None
    other = registry.tags("transaction_anomaly", registry.recorded_champion("transaction_anomaly") or 0)
    assert other["baton.review_says"] == "approved by reviewer in MLflow"


def test_shift_is_found_named_and_answered(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    shifted = set(book.hours(37, 48))
    windows = [w for w in summary["drift"] if w["partition"] not in shifted]
    assert all(not {"v4", "v14"} <= set(w["features"]) for w in windows)
    onset = [w for w in summary["drift"] if w["partition"] in set(book.hours(37, 43))]
    assert all({"v4", "v10", "v12", "v14", "v17"} <= set(w["features"]) for w in onset)
    assert summary["monitor"]["since"] == book.hours(37)[0]
    assert count(tables.retrains, tables.retrains.c.model == MODEL) == 1
    metric = summary["average_precision"]
    assert metric["before the shift"] - metric["after the shift, old champion"] >= 0.3
    assert metric["after the shift, new champion"] >= metric["after the shift, old champion"] + 0.2


def test_unit_error_is_broken_data_and_no_drift(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    cents = book.hours(35)[0]
    results = history(Slot(FLOW, "contract", cents))
    assert [result.facts["status"] for result in results].count("broken") == 1
    assert head(Slot(FLOW, "contract", cents)).facts["status"] == "passed"  # type: ignore[union-attr]
    assert all("amount" not in w["features"] for w in summary["drift"] if w["partition"] == cents)


def test_the_unit_rule_holds_for_every_recorded_hour(demo: Demo) -> None:
    """Not even a quiet hour of the recording comes near the bounds that tell cents from euros."""
    folder = demo.services.settings.data_dir / "financial_crime" / "transactions"
    rules = load_pack("financial_crime").contract("transactions").expectations
    (rule,) = [rule for rule in rules if rule.meta.rule == "amount_unit"]
    low, high = rule.kwargs["min_value"], rule.kwargs["max_value"]
    for hour in range(48):
        median = pd.read_parquet(folder / f"hour={hour:02d}.parquet", columns=["amount"])["amount"].median()
        assert 4 * low < median < high / 4, f"hour {hour}: too close to the bounds"
        assert median * 100 > 6 * high, f"hour {hour}: cents would be close to the bounds"
        assert median / 100 < low / 5, f"hour {hour}: hundreds would be close to the bounds"


def test_planted_rows_were_named_with_key_rule_and_value(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    bad = book.hours(34)[0]
    table = tables.quarantine
    with connection() as conn:
        rows = conn.execute(select(table).where(table.c.flow == FLOW, table.c.partition == bad)).mappings().all()
    rules = {row["rule"] for row in rows}
    assert {"type", "amount_implausible", "key_missing", "key_duplicate"} <= rules
    assert all(row["entity_key"] for row in rows if row["rule"] == "amount_implausible" and "key_missing" not in
               {other["rule"] for other in rows if other["row"] == row["row"]})  # fmt: skip
    assert all(row["value"] for row in rows if row["rule"] in {"type", "amount_implausible"})
    assert {row["status"] for row in rows} <= {"resolved", "discarded"}
    dropped = [result.facts["dropped_columns"] for result in history(Slot(FLOW, "contract", bad))]
    assert dropped[0] == ["terminal_type"]


def test_same_trigger_twice_changes_nothing(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    """A backfill after the promotion repeats a partition with the version on record; asked for, it supersedes, once.

    Today's champion is the one that was promoted, whatever somebody made of the alias.
    """
    hour = book.hours(36)[0]
    before = [result.commit_id for result in history(Slot(FLOW, "publish", hour))]
    book.expect_all(book.run_hours([hour]))
    assert [result.commit_id for result in history(Slot(FLOW, "publish", hour))] == before
    registry = Registry()
    version = registry.recorded_champion(MODEL)
    by_hand = {"name": MODEL, "alias": "champion", "version": str(registry.alias(MODEL, "previous_champion"))}
    registry.rest.post("/registered-models/alias", **by_hand)  # as anybody with the right to edit the model can
    try:
        for _ in range(2):
            book.expect_all(book.run_hours([hour], conf={"model": "champion"}))
    finally:
        registry.rest.post("/registered-models/alias", **{**by_hand, "version": str(version)})
    assert ledger.entries(subject=MODEL, kind="foreign_alias")[0].payload["champion"] == version
    after = [result.commit_id for result in history(Slot(FLOW, "publish", hour))]
    assert len(after) == len(before) + 1
    assert versions([hour]) == {version}


def test_a_persons_decision_survives_a_superseding_run(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    table = tables.cases
    query = select(table).where(table.c.flow == FLOW, table.c.resolution.is_not(None)).order_by(table.c.entity_key)
    with connection() as conn:
        before = [dict(row) for row in conn.execute(query).mappings()]
    assert len(before) == sum(summary["cases_decided"].values())
    labels = tables.labels  # of this flow: the other systems' people answer cases too
    assert count(labels, labels.c.flow == FLOW, labels.c.origin == "analyst") == len(before)
    hour, aliases = before[0]["partition"], Registry().aliases(MODEL)
    published = len(history(Slot(FLOW, "publish", hour)))
    for alias in ("champion", "previous_champion"):  # whichever is on record, the other one supersedes it
        book.expect_all(book.run_hours([hour], conf={"model": f"{MODEL}={aliases[alias]}"}))
    assert len(history(Slot(FLOW, "publish", hour))) > published
    with connection() as conn:
        assert [dict(row) for row in conn.execute(query).mappings()] == before


def test_dry_run_changes_no_table(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    hour = book.hours(33)[0]
    before = seen()
    heads_before = head(Slot(FLOW, "publish", hour))
    book.expect_all(book.run_hours([hour], conf={"dry_run": True, "model": "champion"}))
    assert seen() == before
    assert head(Slot(FLOW, "publish", hour)) == heads_before


def test_trace_tells_the_whole_chain(summary: dict[str, Any], book: FinancialCrimePlaybook) -> None:
    with connection() as conn:
        key = conn.execute(
            select(tables.cases.c.entity_key).where(tables.cases.c.flow == FLOW, tables.cases.c.resolution == "fraud")
        ).scalars().first()  # fmt: skip
    steps = [step.what for step in trace(str(key))]
    for link in ("source", "contract", "score", "version", "gate", "approval", "decision", "case", "label"):
        assert link in steps, steps


def test_ledger_verifies_and_knows_the_milestones(summary: dict[str, Any]) -> None:
    verdict = ledger.verify()
    assert verdict.ok, verdict
    for kind in ("dataset_committed", "contract_verdict", "version_registered", "gate_verdict", "approval",
                 "decisions_published", "labels_arrived", "window_judged", "retraining_requested", "case_decided"):  # fmt: skip
        assert ledger.entries(kind=kind, limit=1), kind


def test_a_catalogue_hears_of_every_commit_and_version(
    summary: dict[str, Any], catalogue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = telling.standing()
    assert told is not None
    assert told.seq > telling.newest() / 2, "tasks tell of what they commit, not this test"
    monkeypatch.setenv("BATON_LINEAGE_URL", catalogue.url)
    settings.cache_clear()
    until = time.monotonic() + 60
    try:
        while (waits := telling.tell(again=True)) and time.monotonic() < until:  # a task may be telling just now
            time.sleep(1)
        told = telling.standing()
    finally:
        monkeypatch.delenv("BATON_LINEAGE_URL")
        settings.cache_clear()
    assert told is not None
    heard = catalogue.so_far()
    assert (waits, told.refused, catalogue.strangers) == ("", 0, 0)
    entries = {one.seq for kind in (COMMITTED, *OF_MODELS) for one in ledger.entries(kind=kind, limit=100_000)}
    ended = [one for one in heard if one.get("eventType") == "COMPLETE"]
    commits = {one["run"]["facets"]["baton_commit"]["entry"]: one["run"]["runId"] for one in ended}
    models = {one["dataset"]["facets"]["baton_model"]["entry"] for one in heard if "dataset" in one}
    first, last = told.first, told.seq
    assert {seq for seq in models | commits.keys() if seq <= last} == {seq for seq in entries if first < seq <= last}
    begun = {one["run"]["runId"] for one in heard if one.get("eventType") == "START"}
    assert begun >= {run for seq, run in commits.items() if seq <= last}
    assert {f"{FLOW}.{stage}" for stage in ("ingest", "contract", f"score__{MODEL}", "decide", "publish")} <= {
        one["job"]["name"] for one in ended
    }


def test_partition_takes_at_most_seven_task_instances(summary: dict[str, Any], demo: Demo) -> None:
    run = next(run for run in demo.airflow.runs(FLOW) if run["state"] == "success")
    # what is skipped as soon as there is one part takes no worker
    flow_tasks = [task for task in demo.airflow.tasks(FLOW, run["dag_run_id"]) if task["state"] != "skipped"]
    monitor = demo.airflow.runs(f"{MODEL}_monitor")[0]
    assert len(flow_tasks) + len(demo.airflow.tasks(f"{MODEL}_monitor", monitor["dag_run_id"])) <= 7


def test_result_page_is_served_behind_log_in(summary: dict[str, Any], demo: Demo, book: FinancialCrimePlaybook) -> None:
    page = head(Slot(FLOW, "contract", book.hours(33)[0])).facts["page"]  # type: ignore[union-attr]
    address = f"{demo.services.airflow_url}/baton/pages/{page}"
    assert httpx.get(address, trust_env=False).status_code == 401
    answer = httpx.get(address, headers={"Authorization": f"Bearer {demo.services.token()}"}, trust_env=False)
    assert answer.status_code == 200
    assert "transactions" in answer.text


def test_no_secret_in_logs_xcom_or_ledger(summary: dict[str, Any], services: Any, demo: Demo) -> None:
    secrets = [
        value for path in services.settings.secrets_dir.glob("*.json")
        for value in _leaves(json.loads(path.read_text())) if len(value) >= 16
    ]  # fmt: skip
    assert secrets
    secrets.append((services.settings.home / "ledger" / "key").read_text())
    for name in ("", "ledger"):  # what services write is for their owner, and so is the folder around it
        assert (services.settings.home / name).stat().st_mode & 0o077 == 0
    written = [path for path in (services.settings.home / "mlflow").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if path.stat().st_mode & 0o077]
    places = [p for p in services.settings.home.rglob("*") if p.suffix in {".log", ".html"} and p.is_file()]
    texts = {str(place): place.read_text(errors="replace") for place in places}
    texts["ledger"] = " ".join(json.dumps(entry.payload) for entry in ledger.entries(limit=100_000))
    run = next(run["dag_run_id"] for run in demo.airflow.runs(FLOW) if run["state"] == "success")
    tasks = [task for task in demo.airflow.tasks(FLOW, run) if task["state"] != "skipped"]  # which has none
    texts["xcom"] = json.dumps([demo.airflow.xcom(FLOW, run, t["task_id"], t["map_index"]) for t in tasks])
    assert "facts" in texts["xcom"]
    for place, text in texts.items():
        assert not any(secret in text for secret in secrets), place


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value


def test_range_of_the_form_starts_one_run_per_partition(
    summary: dict[str, Any], demo: Demo, book: FinancialCrimePlaybook
) -> None:
    first, last = book.hours(33)[0], book.hours(34)[0]
    before = [history(Slot(FLOW, "publish", hour)) for hour in (first, last)]
    run = demo.airflow.trigger(FLOW, conf={"partition_from": first, "partition_to": last})
    book.expect_all(demo.airflow.wait(FLOW, [run], timeout=120))
    started = [row["dag_run_id"] for row in demo.airflow.runs(FLOW) if row["dag_run_id"].startswith(f"range__{run}")]
    assert len(started) == 2
    book.expect_all(demo.airflow.wait(FLOW, started, timeout=120))
    partitions = {demo.airflow.xcom(FLOW, each, "publish")["partition"] for each in started}
    assert partitions == {first, last}
    assert [history(Slot(FLOW, "publish", hour)) for hour in (first, last)] == before
