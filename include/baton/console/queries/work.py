"""Open work: approvals and quarantined rows that wait for people. Indexed queries only, whatever the tables hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.engine import RowMapping

from baton.actions.requests import find
from baton.actions.votes import approvers
from baton.console.host import OpenRequest, Rights, RunsOfDag
from baton.console.queries.actions import why_not_by
from baton.names import promote_of
from baton.quarantine.rows import value_of
from baton.record import tables

TOP_GROUPS = 20
EXAMPLES = 2
LAST_COMMITS = 2000
_EXAMPLE = ("entity_key", "column", "value")
_ANSWER = ("model", "version", "judged_at", "answer", "reviewer", "channel", "answered_at")


def required_actions(request: OpenRequest) -> str:
    """Path of the page in Airflow's UI where this request is answered."""
    mapped = f"/mapped/{request.map_index}" if request.map_index >= 0 else ""
    return f"/dags/{request.dag_id}/runs/{request.run_id}/tasks/{request.task_id}{mapped}/required_actions"


def with_partitions(conn: Connection, runs: Sequence[RunsOfDag]) -> list[RunsOfDag]:
    """The runs with the partition that their stages committed, where the host knows none; among the last commits only."""
    if all(run.partition for run in runs):
        return list(runs)
    table = tables.commits.c
    last = select(table.flow, table.run_id, table.partition).order_by(table.id.desc()).limit(LAST_COMMITS)
    known = {(row.flow, row.run_id): row.partition for row in conn.execute(last)}
    return [run if run.partition else replace(run, partition=known.get((run.dag_id, run.last_run))) for run in runs]


def approvals(conn: Connection, rights: Rights, requests: Sequence[OpenRequest]) -> list[dict[str, Any]]:
    """Versions that the gate would promote and nobody has answered for, newest first.

    `request` is where to answer in Airflow's UI; None when no run waits for this answer (any more). `needs`: how many people
    have to agree, `agreed`: how many did; 0 where nobody was asked yet. `why_not`: why this person cannot approve.
    """
    waiting = {request.dag_id: request for request in requests}
    found = []
    for row in newest_verdicts(conn):
        dag_id = promote_of(row["model"])
        if row["answer"] is not None or row["verdict"].get("decision") != "PROMOTE" or not rights.read(dag_id):
            continue
        request = waiting.get(dag_id)
        where = {"request": required_actions(request) if request else None, "asked_at": request and request.asked_at}
        found.append({**verdict_of(row), "dag_id": dag_id, **where, **_agreed(conn, rights, row["request"])})
    return found


def _agreed(conn: Connection, rights: Rights, number: int | None) -> dict[str, Any]:
    if number is None:
        return {"needs": 0, "agreed": 0, "why_not": ""}
    asked = find(conn, number)
    return {"needs": asked.needs, "agreed": len(approvers(conn, asked)), "why_not": why_not_by(conn, rights, asked)}


def newest_verdicts(conn: Connection) -> list[RowMapping]:
    """The newest row of `approvals` of each model, the newest of all first."""
    table = tables.approvals
    newest = select(table.c.model, func.max(table.c.judged_at).label("at")).group_by(table.c.model).subquery()
    same = and_(newest.c.model == table.c.model, newest.c.at == table.c.judged_at)
    return list(conn.execute(select(table).join(newest, same).order_by(table.c.judged_at.desc())).mappings())


def verdict_of(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of `approvals` as the pages show it: version, gate decision, reasons, figures, answer."""
    verdict = row["verdict"]
    return {
        **{name: row[name] for name in _ANSWER}, "champion": verdict.get("champion_version"),
        "decision": verdict.get("decision"), "reasons": list(verdict.get("reasons") or []),
        "figures": list(verdict.get("table") or []),
    }  # fmt: skip


def other_requests(requests: Sequence[OpenRequest], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests of other tasks than the promotions already shown."""
    taken = {row["dag_id"] for row in shown if row["request"]}
    other = [request for request in requests if request.dag_id not in taken]
    return [{"dag_id": one.dag_id, "subject": one.subject, "asked_at": one.asked_at, "request": required_actions(one)}
            for one in other]  # fmt: skip


# inside one partition: SQLite would walk all open rows by the index on `status` if it could, not the partition's by key
_still_open = func.coalesce(tables.quarantine.c.status, "") == "open"


def quarantine(conn: Connection, rights: Rights) -> dict[str, Any]:
    """Open rows by flow, partition and rule, newest partition first; a row that breaks two rules counts once in `rows`.

    Examples show direct personal data to people who may decide on the flow only.
    """
    table = tables.quarantine
    parts = (table.c.flow, table.c.partition, table.c.rule)
    query = select(*parts, func.count().label("rows")).where(table.c.status == "open").group_by(*parts)
    query = query.order_by(table.c.partition.desc(), func.count().desc())
    groups = [dict(row) for row in conn.execute(query).mappings() if rights.read(row["flow"])]
    for group in groups[:TOP_GROUPS]:
        # read from a few rows, not from all: a broken partition is here as a whole
        here = and_(_still_open, *(table.c[name] == group[name] for name in ("flow", "partition", "rule")))
        deciding = rights.decide(group["flow"])
        columns = [table.c[name] for name in (*_EXAMPLE, "advice", "first_seen")]
        columns += [table.c.raw, table.c.repair] if deciding else []  # whole letters, perhaps
        sample = [dict(row) for row in conn.execute(select(*columns).where(here).limit(EXAMPLES)).mappings()]
        group["advice"], group["since"] = sample[0].pop("advice"), sample[0].pop("first_seen")
        shown = [{**row, "value": value_of(row)} if deciding else row for row in sample]
        group["examples"] = [{name: row[name] for name in _EXAMPLE} for row in shown]
        group["commands"] = quarantine_commands(group)
    rows = sum(group["rows"] for group in groups) - _counted_twice(conn, groups)
    more = max(0, len(groups) - TOP_GROUPS)
    return {"rows": rows, "groups": groups[:TOP_GROUPS], "more": more, "repaired": _repaired(conn, rights)}


def _counted_twice(conn: Connection, groups: Sequence[dict[str, Any]]) -> int:
    """By how much the groups' counts exceed the number of rows; only partitions with several rules can have such rows."""
    table, twice = tables.quarantine, 0
    places = Counter((group["flow"], group["partition"]) for group in groups)
    for (flow, partition), rules in places.items():
        if rules > 1:
            where = (_still_open, table.c.flow == flow, table.c.partition == partition)
            rows = select(table.c.row_sha, table.c.row).where(*where).distinct().subquery()
            counted = sum(g["rows"] for g in groups if (g["flow"], g["partition"]) == (flow, partition))
            twice += counted - (conn.execute(select(func.count()).select_from(rows)).scalar() or 0)
    return twice


def quarantine_commands(group: Mapping[str, Any]) -> list[str]:
    """What to type to look at, repair and re-inject the rows of a group."""
    which = f"--flow {quote(group['flow'])} --partition {quote(group['partition'])} --rule {quote(group['rule'])}"
    return [
        f"baton quarantine list {which}",
        f"baton quarantine repair {which} --set COLUMN=EXPRESSION",
        reinject_command(group),
    ]


def reinject_command(place: Mapping[str, Any]) -> str:
    """What to type to send a partition's repaired rows through the flow again."""
    return f"baton quarantine reinject {quote(place['flow'])} {quote(place['partition'])}"


def _repaired(conn: Connection, rights: Rights) -> list[dict[str, Any]]:
    """Partitions with rows that were repaired and not sent through the flow again yet."""
    table = tables.quarantine
    rows = select(table.c.flow, table.c.partition, table.c.row_sha, table.c.row).where(table.c.status == "repaired")
    one = rows.distinct().subquery()
    query = select(one.c.flow, one.c.partition, func.count().label("rows")).group_by(one.c.flow, one.c.partition)
    places = [dict(row) for row in conn.execute(query).mappings() if rights.read(row["flow"])]
    return [{**place, "command": reinject_command(place)} for place in places]
