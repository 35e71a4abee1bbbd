"""The monitor: every published partition is a window, judged once per version of its data, in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from baton.slots import Slot, head

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from baton.drift_decision import DriftVerdict, Window
    from baton.specs import ModelSpec


def judge_windows(model: str, flow: str) -> dict[str, Any]:
    """Judge the windows that are due, look at labels that arrived, decide.

    Args:
        model: whose recorded versions are compared with the data they scored.
        flow: DAG id whose partitions are the windows.

    Returns:
        decision, reasons, features, partition (of the newest window), since (onset of the drift), windows
        judged now, report (path below the reports folder). RETRAIN is returned again until a training has
        started, so that a crash between record and event loses nothing.
    """
    from baton.drift_decision import decide, judgeable
    from baton.packs import find_model

    _, spec = find_model(model)
    assert spec.drift is not None
    states = _states(flow)
    due = judgeable([p for p, s in states.items() if s != "running"], [], sorted(states))
    judged, report = [], None
    for partition in due:
        window, fresh = _window(spec, flow, partition, states[partition])
        judged.append(window)
        report = fresh or report
    fresh_windows = [_brief(w) for w in judged]
    if not judged:
        return {"decision": "TOO_FEW", "reasons": ["no published partition yet"], "windows": [], "features": []}
    now = judged[-1].partition
    verdict = decide(judged, spec.drift, now=now, retrains=_retrains(model))
    decision = _act(spec, flow, verdict)
    return {
        "decision": decision, "reasons": verdict.reasons, "features": verdict.features, "partition": now,
        "since": verdict.onset, "windows": fresh_windows[-12:], "report": report,
    }  # fmt: skip


def _states(flow: str) -> dict[str, str]:
    """Partition -> published | broken | running, of every partition that has arrived."""
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table = tables.heads
    query = select(table.c.partition, table.c.stage, table.c.commit_id).where(
        table.c.flow == flow, table.c.stage.in_(["ingest", "contract", "publish"]), table.c.commit_id.is_not(None)
    )
    stages: dict[str, set[str]] = {}
    with read() as conn:
        for row in conn.execute(query):
            stages.setdefault(row.partition, set()).add(row.stage)
    states = {}
    for partition, reached in stages.items():
        contract = head(Slot(flow, "contract", partition)) if "contract" in reached else None
        broken = contract is not None and contract.facts.get("status") == "broken"
        states[partition] = "broken" if broken else ("published" if "publish" in reached else "running")
    return states


def _window(spec: ModelSpec, flow: str, partition: str, state: str) -> tuple[Window, str | None]:
    """The window's judgement: the one on record if its data and labels are the same, else a new one."""
    from baton.drift_decision import Window, window_from
    from baton.warehouse import recorded_models

    if state == "broken":
        return Window(partition, status="broken"), None
    version = recorded_models(flow, partition).get(spec.model)
    scores = head(Slot(flow, f"score__{spec.model}", partition))
    contract = head(Slot(flow, "contract", partition))
    if version is None or scores is None or contract is None:
        return Window(partition, status="missing"), None
    labels = _labels(flow, partition)
    record = _on_record(spec.model, partition, version)
    if record and record["commit_id"] == scores.commit_id and (record["performance"] or {}).get("labels") == len(labels):
        return window_from(record["table"]["window"]), None
    return _judge(spec, flow, partition, version, scores, contract, labels)


def _judge(
    spec: ModelSpec, flow: str, partition: str, version: int, scores: Any, contract: Any, labels: pd.Series
) -> tuple[Window, str | None]:
    from baton import drift
    from baton.datasets import read
    from baton.drift_decision import Window, performance
    from baton.registry import Registry

    assert spec.drift is not None
    reference = json.loads((Registry().download(spec.model, version) / "reference.json").read_text())
    rows, scored = read(contract.ref), read(scores.ref, columns=["entity_key", "score"])
    said = rows[spec.data.entity].astype(str).map(scored.set_index("entity_key")["score"]).to_numpy()
    table = drift.compare(reference, rows, spec.drift, said)
    labelled = scored["entity_key"].map(labels)
    positives = int(labelled.fillna(0).sum())
    result, expected = None, reference.get("metrics", {}).get(spec.drift.performance.metric) if spec.drift.performance else None
    if expected is not None and len(labels):
        result = performance(labelled.to_numpy(dtype=float), scored["score"].to_numpy(), expected, spec.drift.performance)
    window = Window(
        partition, version, "too_few" if table.too_few else "judged", tuple(table.drifted), len(rows), positives, result
    )
    page = _report(spec.model, partition, version, table, window)
    _record(spec.model, flow, window, table, scores.commit_id, len(labels), page)
    return window, page


def _labels(flow: str, partition: str) -> pd.Series:
    from baton.labels import known_labels

    return known_labels(flow, [partition]).set_index("entity_key")["label"]


def _report(model: str, partition: str, version: int, table: Any, window: Window) -> str:
    from baton.drift_report import report_html
    from baton.partitions import safe_name
    from baton.settings import settings

    page = f"drift/{model}/{safe_name(partition)}-v{version}.html"
    path = settings().reports_dir / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(table, model=model, partition=partition, version=version, window=window), encoding="utf-8")
    return page


def _record(model: str, flow: str, window: Window, table: Any, commit_id: int, labels: int, page: str) -> None:
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


def _act(spec: ModelSpec, flow: str, verdict: DriftVerdict) -> str:
    """Record a retraining that is asked for now; ask again for one that no training has answered yet."""
    from sqlalchemy import select

    from baton import ledger, tables
    from baton.training import last_training
    from baton.warehouse import now, read, write

    decision = str(verdict.verdict)
    table = tables.retrains
    if decision == "RETRAIN":
        def ask(conn: Connection) -> None:
            row = {"model": spec.model, "partition": verdict.partition, "reason": "; ".join(verdict.reasons), "requested_at": now()}
            conn.execute(table.insert().values(**row))
            ledger.append(conn, "retraining_requested", f"{spec.model}/{verdict.partition}", {"reasons": verdict.reasons})

        with write() as conn:
            ask(conn)
    elif decision == "COOLDOWN":
        with read() as conn:
            query = select(table.c.requested_at).where(table.c.model == spec.model).order_by(table.c.id.desc())
            asked = conn.execute(query).scalar()
        if asked and asked > (last_training(spec.model) or ""):
            return "RETRAIN"
    return decision


def _brief(window: Window) -> dict[str, Any]:
    value = window.performance.value if window.performance else None
    return {"partition": window.partition, "status": window.status, "drifted": list(window.drifted)[:5], "metric": value}
