"""Windows of a monitor: which partitions there are, what each was judged to be, and where that is recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from baton.data import datasets
from baton.data.datasets import DatasetRef
from baton.data.pages import store_page
from baton.data.partitions import safe_name
from baton.drift.decision import Window, window_from
from baton.drift.report import report_html
from baton.families import family
from baton.feedback.labels import digest, known_labels
from baton.names import CONTRACT, INGEST, PUBLISH, score_of
from baton.record import ledger, tables
from baton.record.warehouse import now, read, upsert, write
from baton.registry.client import Registry
from baton.stages.slots import Slot, head

if TYPE_CHECKING:
    import pandas as pd

    from baton.specs.model import ModelSpec
    from baton.stages.slots import StageResult


ABANDONED = timedelta(hours=6)  # a flow's run is ended by Airflow after that long


def states(flow: str) -> dict[str, str]:
    """Partition -> published | broken | running | abandoned, of every partition that has arrived.

    An abandoned one failed for good on its way: it must not hold up the windows after it for ever.
    """
    from sqlalchemy import select

    table, commits = tables.heads, tables.commits
    query = select(table.c.partition, table.c.stage, commits.c.facts, commits.c.created_at).where(
        table.c.flow == flow, table.c.stage.in_([INGEST, CONTRACT, PUBLISH]), table.c.commit_id == commits.c.id
    )
    reached: dict[str, dict[str, Any]] = {}
    with read() as conn:
        for row in conn.execute(query):
            reached.setdefault(row.partition, {})[row.stage] = row
    too_old = (datetime.now(UTC) - ABANDONED).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    states = {}
    for partition, stages in reached.items():
        if CONTRACT in stages and stages[CONTRACT].facts.get("status") == "broken":
            states[partition] = "broken"
        elif PUBLISH in stages:
            states[partition] = "published"
        else:
            newest = max(row.created_at for row in stages.values())
            states[partition] = "running" if newest > too_old else "abandoned"
    return states


def window(spec: ModelSpec, flow: str, partition: str, state: str) -> tuple[Window, str | None]:
    """The window's judgement: the one on record if its data and labels are the same, else a new one.

    Version and rows are those that the scores were made with: a run that supersedes the partition may be under way,
    and what is on record for it belongs to the scores to come.
    """
    if state != "published":
        return Window(partition, status="broken" if state == "broken" else "missing"), None
    scores = head(Slot(flow, score_of(spec.model), partition))
    if scores is None:
        return Window(partition, status="missing"), None
    models, inputs = _made_with(scores.commit_id)
    version = int(models[spec.model])
    known = known_labels(flow, spec.data.target, predicted_in=partition)
    record = _on_record(spec.model, partition, version)
    judged = (record["commit_id"], (record["performance"] or {}).get("labels")) if record else None
    if record and judged == (scores.commit_id, digest(known)):
        return window_from(record["table"]["window"]), None
    return _judge(spec, flow, partition, version, scores, DatasetRef.from_dict(inputs["data"]), known)


def _made_with(commit_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model versions and inputs of a commit."""
    from sqlalchemy import select

    table = tables.commits
    with read() as conn:
        row = conn.execute(select(table.c.models, table.c.inputs).where(table.c.id == commit_id)).one()
    return row.models, row.inputs


def _judge(
    spec: ModelSpec, flow: str, partition: str, version: int, scores: StageResult, data: DatasetRef, known: pd.DataFrame
) -> tuple[Window, str | None]:
    stored = Registry().download(spec.model, version) / "reference.json"
    if not stored.exists():  # trained before its spec had a `drift` block: nothing to compare with
        return Window(partition, version, status="missing"), None
    reference = json.loads(stored.read_text(encoding="utf-8"))
    rows, truth = datasets.read(data), known.rename(columns={"label": "value"})[["entity_key", "value"]]
    maker = family(spec.family)
    seen = maker.watch(spec, reference, rows, datasets.read(scores.ref), truth)
    table, status = seen.table, "too_few" if seen.table.too_few else "judged"
    if maker.truth == "rows" and not seen.truths:
        status = "pending"  # a forecast of which nothing has happened yet
    window = Window(partition, version, status, tuple(table.drifted), len(rows), seen.truths, seen.performance)
    page = _report(spec.model, partition, version, table, window)
    _record(spec.model, flow, window, table, scores.commit_id, digest(known), page)
    return window, page


def _report(model: str, partition: str, version: int, table: Any, window: Window) -> str:
    page = f"drift/{model}/{safe_name(partition)}-v{version}.html"
    return store_page(page, report_html(table, model=model, partition=partition, version=version, window=window))


def _record(model: str, flow: str, window: Window, table: Any, commit_id: int, labels: str, page: str) -> None:
    from dataclasses import asdict

    verdict = "too_few" if table.too_few else ("drifted" if table.drifted else "stable")
    row = {
        "model": model, "flow": flow, "partition": window.partition, "version": window.version, "verdict": verdict,
        "table": {**table.to_dict(), "window": asdict(window), "page": page}, "features": list(window.drifted),
        "performance": {**(window.performance.to_dict() if window.performance else {}), "labels": labels},
        "commit_id": commit_id, "judged_at": now(),
    }  # fmt: skip
    with write() as conn:
        upsert(conn, tables.drift_windows, [row])
        ledger.append(conn, "window_judged", f"{model}/{window.partition}",
                      {"version": window.version, "verdict": verdict, "features": list(window.drifted)})  # fmt: skip


def _on_record(model: str, partition: str, version: int) -> Any:
    from sqlalchemy import select

    table = tables.drift_windows
    where = (table.c.model == model) & (table.c.partition == partition) & (table.c.version == version)
    with read() as conn:
        return conn.execute(select(table).where(where)).mappings().first()
