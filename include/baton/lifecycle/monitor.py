"""The monitor: every published partition is a window, judged once per version of its data, in order.

A wake-up looks at what the ledger has since the last one, and decides on the windows on record: with nothing new it costs
the same whatever the age of the flow.
"""

from typing import Any

from sqlalchemy import Connection, select

from baton.data.partitions import format_key, parse_key
from baton.drift.decision import DriftVerdict, Window, decide, far_enough, judgeable
from baton.lifecycle import windows
from baton.lifecycle.assemble import last_training
from baton.lifecycle.news import remember, since_last_look
from baton.packs.pack import find_model
from baton.record import ledger, tables
from baton.record.warehouse import now, read, write
from baton.specs.model import ModelSpec

SHOWN = 12  # windows in the result


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
    with read() as conn:
        news = since_last_look(conn, model, flow)
        newest = windows.newest(conn, flow, SHOWN + len(news.first))
        states = windows.states(conn, flow, {*newest, *news.first})
    ready = judgeable([p for p, state in states.items() if state != "running"], states)
    held_up = {p for p in news.first if p in states} - {*ready}
    report = None
    for window, fresh in windows.judge(spec, flow, {p: states[p] for p in ready if p in news.first}):
        report = report if window.status == "pending" else fresh or report
    arrived = [p for p in newest if p not in held_up][-SHOWN:]
    if not arrived:
        waiting = f"{min(states)} is not published yet" if states else "no published partition yet"
        outcome = _too_few(waiting, None)
    else:
        outcome = _decision(spec, {p: states[p] for p in arrived})
    remember(model, flow, news, held_up)
    return {**outcome, "report": report}


def _decision(spec: ModelSpec, arrived: dict[str, str]) -> dict[str, Any]:
    """Decide at the newest of these partitions (and their states) of which something is known."""
    with read() as conn:
        seen = windows.on_record(conn, spec.model, arrived)
        settled = [window for window in seen if window.status != "pending"] or windows.last_settled(conn, spec.model)
        if not settled:
            return _too_few(f"nothing of what {seen[0].partition} forecast has happened yet", seen[-1].partition)
        unanswered = _unanswered(conn, spec.model)
        verdict = verdict_on(conn, spec, settled[-1], unanswered)
    decision, request = ("RETRAIN", unanswered) if unanswered else _act(spec, verdict)
    return {
        "decision": decision, "reasons": verdict.reasons, "features": verdict.features, "partition": verdict.partition,
        "newest": seen[-1].partition, "since": verdict.onset, "windows": [_brief(w) for w in seen], "request": request,
    }  # fmt: skip


def _too_few(waiting: str, newest: str | None) -> dict[str, Any]:
    return {"decision": "TOO_FEW", "reasons": [waiting], "windows": [], "features": [], "newest": newest}


def verdict_on(conn: Connection, spec: ModelSpec, current: Window, unanswered: str | None) -> DriftVerdict:
    """Decide, looking as far back as the decision needs and no further."""
    assert spec.drift is not None
    retrains = [p for p in _retrains(conn, spec, current.partition) if p != unanswered]
    count, since = spec.drift.persistence.n, None
    while True:
        known, edge, whole = [current], current.partition, True
        if current.status == "judged":
            known, edge, whole = windows.history(conn, spec.model, current, count, since)
        verdict = decide(known, spec.drift, now=current.partition, retrains=retrains)
        if whole or far_enough(verdict, known, spec.drift, edge):
            return verdict
        count, since = 8 * count, verdict.onset


def _retrains(conn: Connection, spec: ModelSpec, partition: str) -> list[str]:
    """Partitions at which training was asked for, as far back as cool-down and budget look."""
    assert spec.drift is not None
    table = tables.retrains.c
    back = max(spec.drift.cooldown, spec.drift.budget.per)
    first = format_key(parse_key(partition) - back)
    return list(
        conn.execute(select(table.partition).where(table.model == spec.model, table.partition >= first)).scalars()
    )


def was_asked(model: str, request: str) -> bool:
    """Whether a monitor asked for a training of the model at that partition."""
    table = tables.retrains.c
    query = select(table.id).where(table.model == model, table.partition == request).limit(1)
    with read() as conn:
        return conn.execute(query).first() is not None


def unanswered(model: str) -> str | None:
    """The partition of a request that no training has started for: its event was lost, is on its way, or the training was refused."""
    with read() as conn:
        return _unanswered(conn, model)


def _unanswered(conn: Connection, model: str) -> str | None:
    """The partition of a request that no training has started for: its event was lost, or is on its way."""
    table = tables.retrains
    query = select(table.c.partition, table.c.requested_at).where(table.c.model == model)
    asked = conn.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    return str(asked.partition) if asked and asked.requested_at > (last_training(model, conn) or "") else None


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
