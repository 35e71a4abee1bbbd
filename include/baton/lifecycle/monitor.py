"""The monitor: every published partition is a window, judged once per version of its data, in order."""

from typing import Any

from baton.drift.decision import DriftVerdict, Window, decide, judgeable
from baton.lifecycle import windows
from baton.lifecycle.assemble import last_training
from baton.packs.pack import find_model
from baton.record import ledger, tables
from baton.record.warehouse import now, read, write
from baton.specs.model import ModelSpec


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
    _, spec = find_model(model)
    assert spec.drift is not None
    states = windows.states(flow)
    due = judgeable([p for p, s in states.items() if s != "running"], states)
    judged, report = [], None
    for partition in due:
        window, fresh = windows.window(spec, flow, partition, states[partition])
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


def _retrains(model: str) -> list[str]:
    from sqlalchemy import select

    table = tables.retrains
    with read() as conn:
        return [row.partition for row in conn.execute(select(table.c.partition).where(table.c.model == model))]


def _unanswered(model: str) -> str | None:
    """The partition of a request that no training has started for: its event was lost, or is on its way."""
    from sqlalchemy import select

    table = tables.retrains
    query = select(table.c.partition, table.c.requested_at).where(table.c.model == model)
    with read() as conn:
        asked = conn.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    return str(asked.partition) if asked and asked.requested_at > (last_training(model) or "") else None


def _act(spec: ModelSpec, verdict: DriftVerdict) -> tuple[str, str | None]:
    """Record a retraining that is asked for now; returns the decision, and for RETRAIN the partition that names it."""
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
