"""Open cases by queue: whose work waits, and what comes first. Indexed queries only, whatever the tables hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from baton.console.host import Rights
from baton.console.wording import in_words
from baton.record import tables

TOP_CASES = 20
PER_PAGE = 50
USUAL = 2  # priority of a case that names none
NO_QUEUE = "-"  # what a filter says for the cases that lie in no queue
FOR_DECIDING = ("title", "reasons")  # may name people: for those who may decide on the flow
_CASE = (
    "flow", "entity_key", "partition", "route", "queue", "priority", "risk", "title", "reasons", "resolutions", "edits", "money",
    "opened_at",
)  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Which open cases are asked for; empty: all of them. `queue` may be `NO_QUEUE`."""

    flow: str = ""
    queue: str = ""
    route: str = ""

    def takes(self, group: Mapping[str, Any]) -> bool:
        """Whether cases of this flow, queue and route are asked for."""
        wanted = {"flow": self.flow, "queue": self.queue, "route": self.route}
        return all(not value or value == (group[name] or NO_QUEUE) for name, value in wanted.items())


def summary(conn: Connection, rights: Rights, today: datetime) -> dict[str, Any]:
    """Open cases by route and by queue, the oldest, how many were closed today, and those that come first."""
    table = tables.cases
    groups = _open_groups(conn, rights)
    closed = select(table.c.flow, func.count()).where(
        table.c.status == "closed", table.c.updated_at >= today.strftime("%Y-%m-%dT")
    ).group_by(table.c.flow)  # fmt: skip
    return {
        "open": sum(group["open"] for group in groups),
        "oldest": min((group["oldest"] for group in groups), default=None),
        "closed_today": sum(number for flow, number in conn.execute(closed) if rights.read(flow)),
        "routes": _summed(groups, ("flow", "route")),
        "queues": _summed(groups, ("flow", "queue")),
        "top": _cases(conn, rights, groups, Filter(), TOP_CASES),
    }


def one_page(conn: Connection, rights: Rights, wanted: Filter, page: int) -> dict[str, Any]:
    """One page of the open cases that are asked for: first priority first, then highest risk, then the oldest.

    Returns:
        filter, open (how many there are), page, pages, cases, and choices: which flows, queues and routes there are. A
        page beyond the last one is the last one. What the person may not read is not there, as if it did not exist.
    """
    groups = _open_groups(conn, rights)
    taken = [group for group in groups if wanted.takes(group)]
    found = sum(group["open"] for group in taken)
    pages = max(1, -(-found // PER_PAGE))
    page = min(page, pages)
    return {
        "filter": asdict(wanted), "open": found, "page": page, "pages": pages,
        "choices": {name: sorted({group[name] or NO_QUEUE for group in groups}) for name in ("flow", "queue", "route")},
        "cases": _cases(conn, rights, taken, wanted, PER_PAGE, (page - 1) * PER_PAGE),
    }  # fmt: skip


def _open_groups(conn: Connection, rights: Rights) -> list[dict[str, Any]]:
    """Flow, queue and route of the open cases that the person may read, with their number and the oldest."""
    table = tables.cases
    parts = (table.c.flow, table.c.queue, table.c.route)
    query = select(*parts, func.count().label("open"), func.min(table.c.opened_at).label("oldest"))
    rows = conn.execute(query.where(table.c.status == "open").group_by(*parts)).mappings()
    return [dict(row) for row in rows if rights.read(row["flow"])]


def _summed(groups: Iterable[Mapping[str, Any]], parts: tuple[str, str]) -> list[dict[str, Any]]:
    """The groups once more, by two of their three parts; in order."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in groups:
        place = {name: group[name] for name in parts}
        one = found.setdefault(tuple(place.values()), {**place, "open": 0, "oldest": group["oldest"]})
        one["open"] += group["open"]
        one["oldest"] = min(one["oldest"], group["oldest"])
    return sorted(found.values(), key=lambda one: [one[name] or "" for name in parts])


def _cases(
    conn: Connection, rights: Rights, groups: Sequence[Mapping[str, Any]], wanted: Filter, most: int, after: int = 0
) -> list[dict[str, Any]]:
    """Open cases of these groups in the order they are to be worked, with money, the models' reasons, and `seen`, the commit that says so."""
    if not groups:
        return []
    case, published = tables.cases, tables.published
    here = (published.c.flow == case.c.flow) & (published.c.partition == case.c.partition)
    where = [case.c.status == "open", case.c.flow.in_({group["flow"] for group in groups})]
    if wanted.queue:
        where.append(case.c.queue.is_(None) if wanted.queue == NO_QUEUE else case.c.queue == wanted.queue)
    if wanted.route:
        where.append(case.c.route == wanted.route)
    query = (
        select(case, published.c.commit_id.label("seen"))
        .outerjoin(published, here)
        .where(*where)
        .order_by(*_urgency(case.c))
        .limit(most)
        .offset(after)
    )
    rows = [dict(row) for row in conn.execute(query).mappings()]
    found = []
    for row in rows:
        deciding = rights.decide(row["flow"])
        hidden = {} if deciding else dict.fromkeys(FOR_DECIDING)
        shown = {name: row[name] for name in _CASE} | hidden
        found.append({**shown, "why": _reasons(row["why"] or []), "may_decide": deciding, "seen": row["seen"]})
    return found


def _urgency(case: Any) -> tuple[Any, ...]:
    """The order in which cases, by their columns, are to be worked."""
    return func.coalesce(case.priority, USUAL), case.risk.desc(), case.opened_at, case.flow, case.entity_key


def _reasons(why: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scores and reasons in words, highest score first, as the case has them."""
    return [
        {
            **{name: one[name] for name in ("model", "version", "score")},
            "words": in_words(one["reasons"], one["category"]),
        }
        for one in why
    ]
