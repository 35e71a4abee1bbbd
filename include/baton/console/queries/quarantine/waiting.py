"""What waits in quarantine: partitions with open rows, and the rows of one. What it costs grows with open rows, not with the history."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, select

from baton.actions.requests import Request
from baton.actions.votes import approvers
from baton.console.host import Rights
from baton.console.queries.work import quarantine_commands, reinject_command
from baton.names import CONTRACT, contract_behind, ingest_of
from baton.quarantine import discards
from baton.quarantine.rows import value_of
from baton.record import tables

PLACES, GROUPS, ROWS = 25, 12, 50  # on a page: partitions, rules and columns of each, rows of one
_table, _c = tables.quarantine, tables.quarantine.c
_SHOWN = ("rule", "column", "value", "advice")

Row = dict[str, Any]


def one_page(conn: Connection, rights: Rights, page: int) -> Row:
    """Partitions with open rows, the newest first; a page beyond the last one is the last one.

    Returns:
        page, pages, found (how many partitions), places: flow, partition, since, rows (each once), groups (rule, column, rows; the largest), more (groups that are
        not shown), result (address of the contract's result page, or empty).
    """
    parts = (_c.flow, _c.partition)
    query = select(*parts, func.min(_c.first_seen).label("since")).where(_c.status == "open").group_by(*parts)
    rows = conn.execute(query.order_by(_c.partition.desc(), _c.flow)).mappings()
    known = [dict(row) for row in rows if rights.read(row["flow"])]
    pages = max(1, -(-len(known) // PLACES))
    page = min(page, pages)
    shown = known[(page - 1) * PLACES : page * PLACES]
    for place in shown:
        here = _here(place["flow"], place["partition"])
        groups = _groups(conn, here, (_c.rule, _c.column))
        place["rows"] = groups[0]["rows"] if len(groups) == 1 else _count(conn, here)
        place["result"] = _result(conn, place["flow"], place["partition"])
        place["groups"], place["more"] = groups[:GROUPS], max(0, len(groups) - GROUPS)
    return {"page": page, "pages": pages, "found": len(known), "places": shown}


def one_partition(conn: Connection, rights: Rights, flow: str, partition: str, rule: str, page: int) -> Row:
    """The open rows of a partition, in their order, of one rule or of all; direct personal data only for those who may decide on the flow.

    Returns:
        flow, partition, rule, open (rows), page, pages, rules (rule, rows, since), rows (name, row, source, entity_key, since, broken: rule, column, value and advice
        each), repaired (how many wait for the next run), discarded (how many were), standing (the newest request to give rows up, or None), commands, may_decide, result (the contract's page).
    """
    here, deciding = _here(flow, partition), rights.decide(flow)
    rules = _groups(conn, here, (_c.rule,))
    wanted = and_(here, _c.rule == rule) if rule else here
    found = _count(conn, wanted)
    pages = max(1, -(-found // ROWS))
    page = min(page, pages)
    place: Row = {"flow": flow, "partition": partition}
    return {
        **place, "result": _result(conn, flow, partition), "rule": rule, "open": _count(conn, here) if rule else found, "page": page, "pages": pages, "rules": rules,
        "rows": _rows(conn, here, wanted, deciding, (page - 1) * ROWS), "repaired": _count(conn, _here(flow, partition, "repaired")),
        "discarded": _count(conn, _here(flow, partition, "discarded")),
        "standing": _standing(conn, discards.standing(conn, flow, partition), deciding), "may_decide": deciding,
        "commands": [*quarantine_commands({**place, "rule": rule or (rules[0]["rule"] if rules else "RULE")})[1:2],
                     reinject_command(place)],
    }  # fmt: skip


def of_rule(conn: Connection, flow: str, partition: str, rule: str) -> int:
    """How many open rows of a partition break a rule."""
    return _count(conn, and_(_here(flow, partition), _c.rule == rule))


def _here(flow: str, partition: str, status: str = "open") -> Any:
    # SQLite would walk all open rows by the index on `status` if it could, not the partition's by key
    return and_(func.coalesce(_c.status, "") == status, _c.flow == flow, _c.partition == partition)


def _count(conn: Connection, where: Any) -> int:
    """Rows, each once, whatever rules it breaks."""
    rows = select(_c.row_sha, _c.row).where(where).distinct().subquery()
    return int(conn.execute(select(func.count()).select_from(rows)).scalar_one())


def _groups(conn: Connection, here: Any, by: Sequence[Any]) -> list[Row]:
    query = select(*by, func.count().label("rows"), func.min(_c.first_seen).label("since")).where(here).group_by(*by)
    return [dict(row) for row in conn.execute(query.order_by(func.count().desc(), *by)).mappings()]


def _rows(conn: Connection, here: Any, wanted: Any, deciding: bool, after: int) -> list[Row]:
    """Some rows with all rules that they break; of their cells only what stands for a masked value is read, and only for who may see it."""
    one = (_c.row, _c.row_sha)
    some = select(*one).where(wanted).distinct().order_by(*one).limit(ROWS).offset(after).subquery()
    columns = [*one, _c.source, _c.entity_key, _c.first_seen, *(_c[name] for name in _SHOWN)]
    columns += [_c.raw, _c.repair] if deciding else []  # whole letters, perhaps
    query = select(*columns).join(some, and_(_c.row == some.c.row, _c.row_sha == some.c.row_sha)).where(here)
    found: dict[str, Row] = {}
    for record in conn.execute(query.order_by(*one, _c.rule)).mappings():
        row = found.setdefault(f"{record['row']}:{record['row_sha']}", {
            "name": f"{record['row']}:{record['row_sha']}", "row": record["row"], "source": record["source"],
            "entity_key": record["entity_key"], "since": record["first_seen"], "broken": [],
        })  # fmt: skip
        row["since"] = min(row["since"], record["first_seen"])
        value = value_of({**record}) if deciding else record["value"]
        row["broken"].append({**{name: record[name] for name in _SHOWN}, "value": value})
    return list(found.values())


def _result(conn: Connection, flow: str, partition: str) -> str:
    """Address of the contract's newest result for the open rows, as the heads of its stages say; empty: none says one."""
    sources = conn.execute(select(_c.source).where(_here(flow, partition)).distinct()).scalars()
    stages = sorted({CONTRACT, *(contract_behind(ingest_of(source)) for source in sources)})
    head, commit = tables.heads.c, tables.commits.c
    here = (head.flow == flow, head.stage.in_(stages), head.partition == partition, head.commit_id == commit.id)
    newest = select(commit.facts).where(*here).order_by(commit.id.desc()).limit(1)
    return str((conn.execute(newest).scalar() or {}).get("page") or "")


def _standing(conn: Connection, request: Request | None, deciding: bool) -> Row | None:
    """What is known of a request to give rows up; why, and which rows, only for those who may decide."""
    if request is None:
        return None
    after: Mapping[str, Any] = request.action.get("after") or {}
    told = {"reason": after.get("reason", ""), "first_rows": after.get("first_rows", []), "note": request.note or ""}
    return {
        "request": request.id, "state": request.state, "needs": request.needs, "agreed": len(approvers(conn, request)),
        "requester": request.requester, "at": request.opened_at, "rows": after.get("rows", 0),
        **(told if deciding else {"reason": "", "first_rows": [], "note": ""}),
    }  # fmt: skip
