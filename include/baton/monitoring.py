"""The monitor: every published partition is a window, judged once per version of its data, in order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from baton.slots import Slot, head

if TYPE_CHECKING:
    import pandas as pd

    from baton.datasets import DatasetRef
    from baton.drift_decision import DriftVerdict, Window
    from baton.slots import StageResult
    from baton.specs import ModelSpec


ABANDONED = timedelta(hours=6)  # a flow's run is ended by Airflow after that long


def judge_windows(model: str, flow: str) -> dict[str, Any]:
    """Judge the windows that are due, look at labels that arrived, decide.

    Args:
        model: whose recorded versions are compared with the data they scored.
        flow: DAG id whose partitions are the windows.

    Returns:
        decision, reasons, features, partition (of the window decided on), newest (window seen), since (onset of the
        drift), the last windows, report (path below the reports folder), for RETRAIN also request (the partition at which it was
        asked for). RETRAIN is returned again, with the same request, until a training has started, so that a
        crash between record and event loses nothing.
    """
    from baton.drift_decision import decide, judgeable
    from baton.packs import find_model

    _, spec = find_model(model)
    assert spec.drift is not None
    states = _states(flow)
    due = judgeable([p for p, s in states.items() if s != "running"], states)
    judged, report = [], None
    for partition in due:
        window, fresh = _window(spec, flow, partition, states[partition])
        judged.append(window)
        report = report if window.status == "pending" else fresh or report
    if not judged:
        waiting = f"{min(states)} is not published yet" if states else "no published partition yet"
        return {"decision": "TOO_FEW", "reasons": [waiting], "windows": [], "features": [], "newest": None}
    newest = judged[-1].partition
    settled = [window for window in judged if window.status != "pending"]
    if not settled:
        waiting = f"nothing of what {judged[0].partition} forecast has happened yet"
        return {"decision": "TOO_FEW", "reasons": [waiting], "windows": [], "features": [], "newest": newest}
    now = settled[-1].partition
    unanswered = _unanswered(model)
    verdict = decide(settled, spec.drift, now=now, retrains=[p for p in _retrains(model) if p != unanswered])
    decision, request = ("RETRAIN", unanswered) if unanswered else _act(spec, verdict)
    return {
        "decision": decision, "reasons": verdict.reasons, "features": verdict.features, "partition": now,
        "newest": newest,
        "since": verdict.onset, "windows": [_brief(w) for w in judged[-12:]], "report": report, "request": request,
    }  # fmt: skip


def _states(flow: str) -> dict[str, str]:
    """Partition -> published | broken | running | abandoned, of every partition that has arrived.

    An abandoned one failed for good on its way: it must not hold up the windows after it for ever.
    """
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table, commits = tables.heads, tables.commits
    query = select(table.c.partition, table.c.stage, commits.c.facts, commits.c.created_at).where(
        table.c.flow == flow, table.c.stage.in_(["ingest", "contract", "publish"]), table.c.commit_id == commits.c.id
    )
    reached: dict[str, dict[str, Any]] = {}
    with read() as conn:
        for row in conn.execute(query):
            reached.setdefault(row.partition, {})[row.stage] = row
    too_old = (datetime.now(UTC) - ABANDONED).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    states = {}
    for partition, stages in reached.items():
        if "contract" in stages and stages["contract"].facts.get("status") == "broken":
            states[partition] = "broken"
        elif "publish" in stages:
            states[partition] = "published"
        else:
            newest = max(row.created_at for row in stages.values())
            states[partition] = "running" if newest > too_old else "abandoned"
    return states


def _window(spec: ModelSpec, flow: str, partition: str, state: str) -> tuple[Window, str | None]:
    """The window's judgement: the one on record if its data and labels are the same, else a new one.

    Version and rows are those that the scores were made with: a run that supersedes the partition may be under way,
    and what is on record for it belongs to the scores to come.
    """
    from baton.datasets import DatasetRef
    from baton.drift_decision import Window, window_from
    from baton.labels import digest, known_labels

    if state != "published":
        return Window(partition, status="broken" if state == "broken" else "missing"), None
    scores = head(Slot(flow, f"score__{spec.model}", partition))
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

    from baton import tables
    from baton.warehouse import read

    table = tables.commits
    with read() as conn:
        row = conn.execute(select(table.c.models, table.c.inputs).where(table.c.id == commit_id)).one()
    return row.models, row.inputs


def _judge(
    spec: ModelSpec, flow: str, partition: str, version: int, scores: StageResult, data: DatasetRef, known: pd.DataFrame
) -> tuple[Window, str | None]:
    from baton.datasets import read
    from baton.drift_decision import Window
    from baton.families import family
    from baton.labels import digest
    from baton.registry import Registry

    stored = Registry().download(spec.model, version) / "reference.json"
    if not stored.exists():  # trained before its spec had a `drift` block: nothing to compare with
        return Window(partition, version, status="missing"), None
    reference = json.loads(stored.read_text(encoding="utf-8"))
    rows, truth = read(data), known.rename(columns={"label": "value"})[["entity_key", "value"]]
    maker = family(spec.family)
    seen = maker.watch(spec, reference, rows, read(scores.ref), truth)
    table, status = seen.table, "too_few" if seen.table.too_few else "judged"
    if maker.truth == "rows" and not seen.truths:
        status = "pending"  # a forecast of which nothing has happened yet
    window = Window(partition, version, status, tuple(table.drifted), len(rows), seen.truths, seen.performance)
    page = _report(spec.model, partition, version, table, window)
    _record(spec.model, flow, window, table, scores.commit_id, digest(known), page)
    return window, page


def _report(model: str, partition: str, version: int, table: Any, window: Window) -> str:
    from baton.drift_report import report_html
    from baton.partitions import safe_name
    from baton.settings import settings

    page = f"drift/{model}/{safe_name(partition)}-v{version}.html"
    path = settings().reports_dir / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        report_html(table, model=model, partition=partition, version=version, window=window), encoding="utf-8"
    )
    return page


def _record(model: str, flow: str, window: Window, table: Any, commit_id: int, labels: str, page: str) -> None:
    from dataclasses import asdict

    from baton import ledger, tables
    from baton.warehouse import now, upsert, write

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

    from baton import tables
    from baton.warehouse import read

    table = tables.drift_windows
    where = (table.c.model == model) & (table.c.partition == partition) & (table.c.version == version)
    with read() as conn:
        return conn.execute(select(table).where(where)).mappings().first()


def _retrains(model: str) -> list[str]:
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table = tables.retrains
    with read() as conn:
        return [row.partition for row in conn.execute(select(table.c.partition).where(table.c.model == model))]


def _unanswered(model: str) -> str | None:
    """The partition of a request that no training has started for: its event was lost, or is on its way."""
    from sqlalchemy import select

    from baton import tables
    from baton.training import last_training
    from baton.warehouse import read

    table = tables.retrains
    query = select(table.c.partition, table.c.requested_at).where(table.c.model == model)
    with read() as conn:
        asked = conn.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    return str(asked.partition) if asked and asked.requested_at > (last_training(model) or "") else None


def _act(spec: ModelSpec, verdict: DriftVerdict) -> tuple[str, str | None]:
    """Record a retraining that is asked for now; returns the decision, and for RETRAIN the partition that names it."""
    from baton import ledger, tables
    from baton.warehouse import now, write

    decision = str(verdict.verdict)
    if decision != "RETRAIN":
        return decision, None
    row = {"model": spec.model, "partition": verdict.partition, "reason": "; ".join(verdict.reasons)}
    with write() as conn:
        conn.execute(tables.retrains.insert().values(**row, requested_at=now()))
        ledger.append(conn, "retraining_requested", f"{spec.model}/{verdict.partition}", {"reasons": verdict.reasons})
    return decision, verdict.partition


def _brief(window: Window) -> dict[str, Any]:
    value = window.performance.value if window.performance else None
    return {
        "partition": window.partition,
        "status": window.status,
        "drifted": list(window.drifted)[:5],
        "metric": value,
    }
