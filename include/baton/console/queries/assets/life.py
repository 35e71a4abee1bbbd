"""The life of one asset: its versions, who agreed to them, what they scored, what went wrong. Bounded by what is shown."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from baton.console.host import Rights
from baton.console.queries import models
from baton.console.queries.assets.listing import decides
from baton.governance import duties
from baton.governance.assets import Asset, place
from baton.names import DRIFT, PUBLISH
from baton.record import tables
from baton.record.warehouse import now
from baton.usage import report

VERSIONS = 12  # of a model, the newest, on the time line
EVENTS = 40  # of the ledger, and cases
PARTITIONS = 48  # of a flow
_OF_VERSION = ("version_registered", "gate_verdict", "approval", "version_refused")
_TROUBLE = (
    "version_refused",
    "foreign_alias",
    "alias_reverted",
    "alias_refused",
    "consume_refused",
    "retraining_requested",
)

Row = dict[str, Any]


def life(conn: Connection, rights: Rights, asset: Asset) -> Row:
    """What is on record of an asset.

    Returns:
        place (the pack's file and the line of what governs it), versions (of a model, newest first), over (of a model: as the page Models has it),
        used (of a model or an agent, by version and month, of flows that the person may read), partitions (of a flow), cases (open, by flow), grants (newest first; `good`: in force, `asked`: something asks for the duty), may_give (whether the person may give them), events and troubles (of the ledger, newest first).
    """
    found: Row = {
        "place": "/".join(place(asset, "owner").rsplit("/", 2)[1:]),
        "versions": [],
        "over": None,
        "used": _used(conn, rights, asset),
        "partitions": [],
    }
    flows = [asset.name] if asset.kind == "flow" else list(asset.terms.consumers)
    subjects = [asset.id]
    if asset.kind == "model":
        numbers = _numbers(conn, asset.name)
        subjects += [asset.name, *(f"{asset.name}/{number}" for number in numbers)]
        found["versions"] = _versions(conn, asset.name, numbers)
        found["over"] = models.one_model(conn, rights, asset.name)
    elif asset.kind == "flow":
        found["partitions"] = _partitions(conn, asset.name)
    who = duties.Who(rights.person.id, rights.person.name)
    asked = duties.asked_on(asset.kind)
    found["grants"] = [
        {**vars(one), "good": one.holds(now()), "waits": one.waits(now()), "asked": one.duty in asked}
        for one in duties.of_asset(conn, asset.id, EVENTS)
    ]
    found["may_give"] = who.among(asset.terms.owner, asset.terms.deputy) and decides(rights, asset)
    told = _events(conn, subjects)
    found["cases"] = _open_cases(conn, [flow for flow in flows if rights.read(flow)])
    found["events"] = [one for one in told if one["subject"] == asset.id and one["kind"] not in _TROUBLE]
    found["troubles"] = [one for one in told if one["kind"] in _TROUBLE]
    return found


def _numbers(conn: Connection, model: str) -> list[int]:
    """The newest versions of a model, newest first, also those that are registered and not judged yet."""
    judged = select(func.max(tables.approvals.c.version)).where(tables.approvals.c.model == model)
    newest = conn.execute(judged).scalar() or 0
    ahead = [f"{model}/{number}" for number in range(newest + 1, newest + VERSIONS)]
    query = select(tables.ledger.c.subject).where(
        tables.ledger.c.subject.in_(ahead), tables.ledger.c.kind == _OF_VERSION[0]
    )
    known = [int(one.rpartition("/")[2]) for one in conn.execute(query).scalars()]
    newest = max([newest, *known])
    return list(range(newest, max(0, newest - VERSIONS), -1))


def _versions(conn: Connection, model: str, numbers: Sequence[int]) -> list[Row]:
    """Each version with what happened to it, and from when to when it was champion."""
    happened: dict[int, list[Row]] = {number: [] for number in numbers}
    for one in _events(conn, [f"{model}/{number}" for number in numbers], _OF_VERSION):
        happened[int(one["subject"].rpartition("/")[2])].append(one)
    moves, started = models.moves(model), _started(conn, model)
    reigns: dict[int, list[Row]] = {}
    for number, move in enumerate(moves):
        until = moves[number + 1]["at"] if number + 1 < len(moves) else None
        reigns.setdefault(int(move["version"]), []).append({**move, "until": until})
    found = []
    for version in numbers:
        events = {kind: [one for one in happened[version] if one["kind"] == kind] for kind in _OF_VERSION}
        first = {kind: rows[0] if rows else None for kind, rows in events.items()}  # the newest of each
        registered, verdict = first["version_registered"], first["gate_verdict"]
        found.append({
            "version": version, "registered_at": registered and registered["at"],
            "winner": registered and registered["payload"].get("winner"),
            "proposed_by": registered and _proposer(registered["payload"].get("run"), started),
            "judged_at": verdict and verdict["at"], "decision": verdict and verdict["payload"].get("decision"),
            "answers": [{"at": one["at"], **{name: one["payload"].get(name) for name in ("answer", "reviewer", "channel")}}
                        for one in events["approval"]],
            "reigns": reigns.get(version, []), "refused": len(events["version_refused"]), **_scored(conn, model, version),
        })  # fmt: skip
    return found


def _started(conn: Connection, model: str) -> dict[str, str]:
    """Who started the model's trainings, by run: of the newest that a person started."""
    entries = _events(conn, [model], ["training_started"])
    return {one["payload"]["run"]: one["payload"]["by"] for one in entries}


def _proposer(run: str | None, started: Mapping[str, str]) -> str | None:
    """Who had the version trained: a person, `monitor` for a drift; None: the clock did, or it is not known."""
    if run is None:
        return None
    return started.get(run) or ("monitor" if run.startswith(DRIFT) else None)


def _scored(conn: Connection, model: str, version: int) -> Row:
    """How many partitions a version scored, the first and the last: off the index alone."""
    table = tables.partition_models.c
    query = select(func.count(), func.min(table.partition), func.max(table.partition))
    count, first, last = conn.execute(query.where(table.model == model, table.version == version)).one()
    return {"scored": count, "first": first, "last": last}


def _used(conn: Connection, rights: Rights, asset: Asset) -> Row | None:
    """What a model, or an agent of its pack, used; None: of other kinds nothing is counted."""
    if asset.kind not in ("model", "agent"):
        return None
    pack = asset.pack if asset.kind == "agent" else None  # names of models are there once
    return report.of_asset(conn, f"{asset.kind}:{asset.name}", pack, datetime.now(UTC).date(), rights.read)


def _partitions(conn: Connection, flow: str) -> list[Row]:
    """The newest partitions that a flow has published, oldest first: rows by route, money, versions."""
    heads, commits = tables.heads, tables.commits
    query = (
        select(heads.c.partition, commits.c.facts, commits.c.models, commits.c.created_at)
        .join(commits, commits.c.id == heads.c.commit_id)
        .where(heads.c.flow == flow, heads.c.stage == PUBLISH)
        .order_by(heads.c.partition.desc()).limit(PARTITIONS)
    )  # fmt: skip
    rows = [dict(row) for row in conn.execute(query).mappings()]
    return [
        {"partition": one["partition"], "at": one["created_at"], "models": one["models"] or {},
         "routes": one["facts"].get("routes") or {}, "money": one["facts"].get("money") or {}}
        for one in reversed(rows)
    ]  # fmt: skip


def _open_cases(conn: Connection, flows: Sequence[str]) -> list[Row]:
    table = tables.cases.c
    query = select(table.flow, func.count().label("open")).where(table.status == "open", table.flow.in_(flows))
    return [{"flow": row.flow, "open": row.open} for row in conn.execute(query.group_by(table.flow)) if flows]


def _events(conn: Connection, subjects: Iterable[str], kinds: Sequence[str] = ()) -> list[Row]:
    """Entries about exactly these subjects, newest first; each by its index, a bounded number."""
    table, found = tables.ledger.c, []
    for subject in subjects:
        query = select(table.at, table.kind, table.subject, table.payload).where(table.subject == subject)
        query = query.where(table.kind.in_(kinds)) if kinds else query
        found += [dict(row) for row in conn.execute(query.order_by(table.seq.desc()).limit(EVENTS)).mappings()]
    told = [{**one, "payload": json.loads(one["payload"])} for one in found]
    return sorted(told, key=lambda one: one["at"], reverse=True)
