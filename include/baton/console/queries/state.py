"""The state of the models, of what stands in for them, and of the record: drift, champions, stand-ins, ledger."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Connection, func, select

from baton.console.host import Rights
from baton.console.queries.lineage import first_row
from baton.console.queries.work import newest_verdicts, verdict_of
from baton.lookups import guard
from baton.names import promote_of
from baton.packs.pack import pack_folder, packs
from baton.progress import duration
from baton.record import ledger, tables
from baton.record.warehouse import stamp
from baton.registry import rungs
from baton.registry.guard import ALIAS_REVERTED
from baton.registry.review import champion_moved

WINDOWS = 48  # partitions in a sparkline: two days by the hour
TOP_FEATURES = 5
CHAMPION = "champion"
HEALED_WITHIN, SHOWN = timedelta(days=1), 10
REPEATED = 10  # partitions that one sentence names
_HEALED = (guard.BREAKER_CLOSED, rungs.RECOVERED)
_SHIFT = ("feature", "effect", "threshold", "shift", "spread")
_MEASURED = ("metric", "value", "low", "high", "reference", "positives", "status")


def drift(conn: Connection, rights: Rights) -> list[dict[str, Any]]:
    """The newest window of each model, what drifted in it, and the labelled metric over the windows before."""
    table, asked = tables.drift_windows, tables.retrains
    found = []
    for model in each_value(conn, table.c.model):
        # a partition may be judged for several versions; the last judgement counts
        row = first_row(conn, table, table.c.partition.desc(), table.c.judged_at.desc(), model=model)
        if row is None or not rights.read(row["flow"]):
            continue
        retrain = first_row(conn, asked, asked.c.partition.desc(), asked.c.id.desc(), model=model)
        drifted = [entry for entry in row["table"].get("rows", []) if entry.get("drifted")][:TOP_FEATURES]
        measured = [{key: entry.get(key) for key in _SHIFT} for entry in drifted]
        series = _series(conn, model)
        labelled = [point for point in series if point["value"] is not None]  # labels lag behind
        found.append({
            "model": model, "flow": row["flow"], "partition": row["partition"], "version": row["version"],
            "verdict": row["verdict"], "features": list(row["features"]), "measured": measured,
            "rows": row["table"].get("n"), "judged_at": row["judged_at"], "page": row["table"].get("page"),
            "series": series, "labelled": labelled[-1] if labelled else None,
            "retrain": retrain,
        })  # fmt: skip
    return sorted(found, key=lambda entry: (-len(entry["features"]), entry["model"]))


def each_value(conn: Connection, column: Column[Any]) -> Iterator[Any]:
    """The values of an index's first column, in order: one look at the index each, however many rows have them."""
    value = conn.execute(select(func.min(column))).scalar()
    while value is not None:
        yield value
        value = conn.execute(select(func.min(column)).where(column > value)).scalar()


def _series(conn: Connection, model: str) -> list[dict[str, Any]]:
    """Labelled metric and number of drifted features per partition, oldest first."""
    table = tables.drift_windows
    columns = (table.c.partition, table.c.features, table.c.performance)
    query = (
        select(*columns).where(table.c.model == model)
        .order_by(table.c.partition.desc(), table.c.judged_at.desc()).limit(2 * WINDOWS)
    )  # fmt: skip
    points: dict[str, dict[str, Any]] = {}
    for row in conn.execute(query).mappings():
        performance = row["performance"] or {}
        points.setdefault(row["partition"], {
            "partition": row["partition"], "drifted": len(row["features"]),
            **{name: performance.get(name) for name in _MEASURED},
        })  # fmt: skip
    return sorted(points.values(), key=lambda point: point["partition"])[-WINDOWS:]


def champions(
    conn: Connection, rights: Rights, aliases: Mapping[str, Mapping[str, int]] | None
) -> list[dict[str, Any]]:
    """The champion of each known model by the ledger, the newest gate verdict, and where the registry disagrees.

    Args:
        aliases: alias -> version by model as the registry has it now; None when it did not answer in time.
    """
    moves = _last_moves(conn)
    verdicts = {row["model"]: verdict_of(row) for row in newest_verdicts(conn)}
    found = []
    for model in sorted({*known_models(), *moves, *verdicts}):
        if not rights.read(promote_of(model)):
            continue
        move = moves.get(model, {})
        recorded = int(move["version"]) if move else None
        actual = aliases.get(model) if aliases is not None else None
        found.append({
            "model": model, "version": recorded, "since": move.get("at"), "previous": move.get("before"),
            "actor": move.get("actor"), "reason": move.get("reason"),
            "challenger": (actual or {}).get("challenger"), "last_verdict": verdicts.get(model),
            "last_used": _last_use(conn, model, recorded) if recorded is not None else None,
            "warning": champion_moved(model, actual.get(CHAMPION), recorded) if actual is not None else None,
        })  # fmt: skip
    return found


def _last_moves(conn: Connection) -> dict[str, dict[str, Any]]:
    """The last move of the alias `champion` per model, by the ledger."""
    table = tables.ledger
    newest = (
        select(table.c.subject, func.max(table.c.seq).label("seq"))
        .where(table.c.kind == "alias_moved").group_by(table.c.subject).subquery()
    )  # fmt: skip
    query = select(table.c.subject, table.c.at, table.c.payload).join(newest, newest.c.seq == table.c.seq)
    moves = {row.subject: {**json.loads(row.payload), "at": row.at} for row in conn.execute(query)}
    return {model: move for model, move in moves.items() if move.get("alias") == CHAMPION}


def _last_use(conn: Connection, model: str, version: int) -> str | None:
    """The newest partition that a version scored."""
    table = tables.partition_models.c
    query = select(func.max(table.partition)).where(table.model == model, table.version == version)
    return conn.execute(query).scalar()


@lru_cache(maxsize=1)
def known_models() -> tuple[str, ...]:
    """Models of the installed packs, by file name; which packs are installed does not change while a process runs."""
    return tuple(sorted(path.stem for name in packs() for path in (pack_folder(name) / "models").glob("*.yaml")))


def ledger_state(conn: Connection) -> dict[str, Any]:
    """Number of records, the newest one, and what the last check found."""
    table = tables.ledger
    last = conn.execute(select(table.c.seq, table.c.at, table.c.kind).order_by(table.c.seq.desc()).limit(1)).first()
    return {
        "records": last.seq if last else 0, "last_at": last.at if last else None, "last_kind": last.kind if last else None,
        "verified": ledger.last_check(),
    }  # fmt: skip


def put_back(conn: Connection, rights: Rights, now: datetime | None = None) -> list[dict[str, Any]]:
    """Aliases that were moved past Baton and put back in the last day, the newest first.

    Returns:
        model, alias, at, `from` and `to` (version, or None), by (None: nobody knows), `scored` (flow and partition of what was scored with the
        foreign version and may be read, at most REPEATED) and `more` (how many partitions were scored besides).
    """
    since, found = stamp((now or datetime.now(UTC)) - HEALED_WITHIN), []
    for entry in ledger.entries(kind=ALIAS_REVERTED, limit=10 * SHOWN, conn=conn, since=since):
        if not rights.read(promote_of(entry.subject)):
            continue
        said = {name: entry.payload[name] for name in ("alias", "from", "to", "by")}
        scored = [dict(zip(("flow", "partition"), one, strict=True)) for one in entry.payload["scored"]]
        shown = [one for one in scored if rights.read(one["flow"])][:REPEATED]
        found.append(
            {"model": entry.subject, "at": entry.at, **said, "scored": shown, "more": len(scored) - len(shown)}
        )
    return found[:SHOWN]


def verify_ledger(actor: str) -> dict[str, Any]:
    """Check the whole ledger now and keep the result for the page."""
    return ledger.remember(ledger.verify(), actor)


def in_force(conn: Connection) -> dict[str, list[dict[str, Any]]]:
    """Breakers that are not closed, and models that others stand in for, the oldest first; see `guard` and `rungs`."""
    return {"breakers": guard.standing(conn), "rungs": rungs.in_force(conn)}


def healing(conn: Connection, rights: Rights, now: datetime | None = None) -> dict[str, list[dict[str, Any]]]:
    """For a person: breakers, rungs and `healed`: what became well in the last day, how long it took, the newest first."""
    found = in_force(conn)
    if not rights.read(None):
        found["breakers"] = []
    found["rungs"] = [one for one in found["rungs"] if rights.read(one["flow"])]
    return {**found, "healed": _healed(conn, rights, now or datetime.now(UTC))}


def _healed(conn: Connection, rights: Rights, now: datetime) -> list[dict[str, Any]]:
    table, since = tables.ledger.c, stamp(now - HEALED_WITHIN)
    query = select(table.at, table.kind, table.subject, table.payload).where(table.kind.in_(_HEALED), table.at >= since)
    healed = []
    for row in conn.execute(query.order_by(table.seq.desc()).limit(10 * SHOWN)):
        if not rights.read(row.subject.partition("/")[0] if row.kind == rungs.RECOVERED else None):
            continue
        seconds = float(json.loads(row.payload)["seconds"])
        healed.append({"what": row.subject, "at": row.at, "seconds": seconds, "took": duration(seconds)})
    return healed[:SHOWN]
