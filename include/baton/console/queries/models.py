"""One model over its partitions: champions, metric, money, drift, routes, calibration. Bounded: a page of partitions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from baton.console.host import Rights
from baton.console.queries.lineage import first_row, made_of
from baton.console.queries.state import CHAMPION, each_value, known_models
from baton.errors import BatonError
from baton.names import PUBLISH, REGISTER, monitor_of, promote_of, train_of
from baton.record import asof, ledger, tables

PARTITIONS = 48  # on one page: two days by the hour
MOVES = 40  # of a champion, on the time line
FEATURES = 20  # rows of the heat map: those that moved most come first
_MEASURED = ("metric", "value", "low", "high", "reference", "status")

Row = dict[str, Any]


def readable(conn: Connection, rights: Rights) -> list[str]:
    """Models that the person may read about, by name: of installed packs, and those with a judged window."""
    known = {*known_models(), *each_value(conn, tables.drift_windows.c.model)}
    return sorted(model for model in known if rights.read(promote_of(model)))


def one_model(conn: Connection, rights: Rights, model: str, until: str = "") -> Row:
    """What the page shows of a model.

    Args:
        until: the last partition; empty: the newest.

    Returns:
        model, flow (None where nothing is on record, or the person may not read it), moves (of the champion, oldest first),
        partitions (oldest first: partition, version, verdict, page, metric with interval, effects (feature -> [effect in
        thresholds, drifted]), drifted, routes (counts), money (by route)), features (names, what moved most first),
        more_features (how many are left out), upstream and downstream (see `neighbours`), calibration ([bin, sum said, came true, rows], over these partitions), earlier and
        later (a value of `until`, None where there is nothing).
    """
    flow = _flow_of(conn, model)
    flow = flow if flow is not None and rights.read(flow) else None
    found = _windows(conn, model, until) if flow is not None else []
    shown, before = found[-PARTITIONS:], found[:-PARTITIONS]
    published = _published(conn, flow, [one["partition"] for one in shown]) if flow is not None else {}
    linked = rights.read(monitor_of(model))
    for one in shown:
        facts = published.get(one["partition"], {})
        one |= {"routes": facts.get("routes") or {}, "money": facts.get("money") or {}}
        one["page"] = one["page"] if linked else None
    ranked = _ranked(shown)
    return {
        "model": model, "flow": flow, "moves": moves(model), "gate": _gate(conn, model), "partitions": shown, "features": ranked[:FEATURES],
        "more_features": max(0, len(ranked) - FEATURES), "calibration": _summed(one["calibration"] for one in shown),
        **neighbours(conn, rights, model), "earlier": before[-1]["partition"] if before else None, "later": _later(conn, model, shown, until),
    }  # fmt: skip


def _gate(conn: Connection, model: str) -> Row | None:
    """The newest verdict of the model's gate: version, decision, reasons, and its groups where some are declared."""
    row = first_row(conn, tables.approvals, tables.approvals.c.judged_at.desc(), model=model)
    if row is None:
        return None
    said = row["verdict"]
    return {
        "version": row["version"], "at": row["judged_at"], "decision": said.get("decision"),
        "reasons": list(said.get("reasons") or []), "fairness": list(said.get("fairness") or []),
    }  # fmt: skip


def neighbours(conn: Connection, rights: Rights, model: str) -> Row:
    """What the newest version was made of, and who uses the champion: upstream [(flow, stage)] and ("", source), farthest first;
    downstream [flow]. Only what the person may read; both by indices, however long the history is."""
    up = made_of(conn, train_of(model), REGISTER) if rights.read(train_of(model)) else []
    champion = moves(model)[-1:]
    users = asof.users_of(conn, model, int(champion[0]["version"])) if champion else []
    return {
        "upstream": [list(one) for one in up if not one[0] or rights.read(one[0])],
        "downstream": [flow for flow, _ in users if rights.read(flow)],
    }


def as_of(conn: Connection, rights: Rights, model: str, asked: str) -> Row:
    """What was in force of a model at a moment that a person typed: as `record.asof.of_model`, with `utc` (the zone was assumed) and
    `uses` (flow, partition, command that replays it); or `problem`: why that cannot be said."""
    try:
        at, assumed = asof.moment(asked)
        found = asof.of_model(conn, model, at)
    except BatonError as error:
        return {"asked": asked, "problem": str(error)}
    version = found["version"]
    uses = [(flow, last) for flow, last in asof.users_of(conn, model, version) if rights.read(flow)]
    shown = [
        {"flow": flow, "partition": last, "command": asof.replay(flow, last, {model: version})} for flow, last in uses
    ]
    return {"asked": asked, "problem": None, "utc": assumed, **found, "uses": shown}


def _flow_of(conn: Connection, model: str) -> str | None:
    """The flow that used the model last."""
    windows, used = tables.drift_windows, tables.partition_models
    newest = first_row(conn, windows, windows.c.partition.desc(), model=model)
    if newest is None:
        newest = first_row(conn, used, used.c.version.desc(), used.c.partition.desc(), model=model)
    return None if newest is None else str(newest["flow"])


def _windows(conn: Connection, model: str, until: str) -> list[Row]:
    """The last judgement of each partition up to `until`, oldest first: a page, and one more."""
    table = tables.drift_windows
    here = [table.c.model == model] + ([table.c.partition <= until] if until else [])
    order = (table.c.partition.desc(), table.c.judged_at.desc())
    query = select(table).where(*here).order_by(*order).limit(2 * PARTITIONS + 1)  # some were judged for two versions
    found: dict[str, Row] = {}
    for row in conn.execute(query).mappings():
        measured = row["performance"] or {}
        rows = row["table"].get("rows", [])
        found.setdefault(row["partition"], {
            **{name: row[name] for name in ("partition", "version", "verdict")}, "page": row["table"].get("page"),
            **{name: measured.get(name) for name in _MEASURED}, "calibration": measured.get("calibration") or [],
            "drifted": list(row["features"]),
            "effects": {one["feature"]: [_in_thresholds(one), bool(one.get("drifted"))] for one in rows},
        })  # fmt: skip
    return sorted(found.values(), key=lambda one: one["partition"])[-(PARTITIONS + 1) :]


def _in_thresholds(row: Mapping[str, Any]) -> float:
    """How far a feature moved, in units of what is ordinary for it."""
    return round(float(row.get("effect") or 0.0) / max(float(row.get("threshold") or 0.0), 1e-9), 3)


def _ranked(shown: Iterable[Row]) -> list[str]:
    """Features: how often each drifted, then how far it moved at most."""
    seen: dict[str, tuple[int, float]] = {}
    for one in shown:
        for feature, (effect, drifted) in one["effects"].items():
            times, most = seen.get(feature, (0, 0.0))
            seen[feature] = (times + drifted, max(most, effect))
    return sorted(seen, key=lambda feature: (-seen[feature][0], -seen[feature][1], feature))


def _published(conn: Connection, flow: str, partitions: Sequence[str]) -> dict[str, Row]:
    """What the flow said of these partitions when it published them."""
    if not partitions:
        return {}
    heads, commits = tables.heads, tables.commits
    query = (
        select(heads.c.partition, commits.c.facts).join(commits, commits.c.id == heads.c.commit_id)
        .where(heads.c.flow == flow, heads.c.stage == PUBLISH, heads.c.partition.in_(partitions))
    )  # fmt: skip
    return {row.partition: row.facts for row in conn.execute(query)}


def moves(model: str) -> list[Row]:
    """Who was champion since when, by the ledger, oldest first."""
    entries = ledger.entries(subject=model, kind="alias_moved", limit=MOVES)
    found = [{"at": one.at, **{name: one.payload.get(name) for name in ("version", "before", "actor", "reason")}}
             for one in entries if one.payload.get("alias") == CHAMPION]  # fmt: skip
    return found[::-1]


def _summed(windows: Iterable[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Calibrations of several windows as one: [bin, said, true, rows] in order."""
    bins: dict[float, list[float]] = {}
    for window in windows:
        for at, *sums in window:
            bins[at] = [have + more for have, more in zip(bins.get(at, (0.0, 0.0, 0.0)), sums, strict=True)]
    return [[at, *bins[at]] for at in sorted(bins)]


def _later(conn: Connection, model: str, shown: Sequence[Row], until: str) -> str | None:
    """The last partition of the page after this one."""
    if not until or not shown:
        return None
    table = tables.drift_windows
    after = select(table.c.partition).where(table.c.model == model, table.c.partition > shown[-1]["partition"])
    found = conn.execute(after.distinct().order_by(table.c.partition).limit(PARTITIONS)).scalars().all()
    return found[-1] if found else None
