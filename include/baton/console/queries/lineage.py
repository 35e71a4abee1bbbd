"""Lineage: what one decision rests on, found by walking the committed inputs back from what was published.

A commit names the datasets that it was made of, so nothing is assumed about the names of stages or the number of sources,
and a delivery that came after the decision is not taken for its own. Only the commits of that one decision are looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, select

from baton.data import datasets
from baton.data.cells import keys_of
from baton.errors import BatonError
from baton.published import index
from baton.published.rows import DECISIONS, PREDICTIONS, find
from baton.record import tables
from baton.record.warehouse import read

Row = dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """Rows that passed a contract on their way to the decision.

    Attributes:
        commit: the contract's row of `commits`.
        sources: commits of the deliveries that it judged, nearest first.
        row: the entity's row; None where it has none or an earlier one of `Lineage.checked` has it.
        problem: why the rows cannot be read.
    """

    commit: Row
    sources: tuple[Row, ...]
    row: Row | None = None
    problem: str | None = None

    @property
    def contract(self) -> dict[str, Any]:
        """The contract as it was when it judged."""
        found: dict[str, Any] = self.commit["params"]["state"]["contract"]
        return found


@dataclass(frozen=True)
class Lineage:
    """What is on record of one entity in one partition.

    Attributes:
        decision: its published decision; None where nothing was decided.
        scores: its published predictions.
        published: the commit that published it; None for what never got that far.
        checked: contracts on the way, the one with the entity's row first, then the nearest.
        sources: commits of all deliveries on the way, nearest first.
    """

    flow: str
    entity: str
    partition: str
    decision: Row | None
    scores: tuple[Row, ...]
    published: Row | None
    checked: tuple[Checked, ...]
    sources: tuple[Row, ...]


def places(entity: str, flow: str | None = None) -> list[tuple[str, str]]:
    """Where an entity was quarantined, and where each flow published it last: (partition, flow), oldest first."""
    with read() as conn:
        where = {"entity_key": entity} | ({} if flow is None else {"flow": flow})
        found = {(row["partition"], row["flow"]) for row in all_rows(conn, tables.quarantine, **where)}
    return sorted(found | {(one.partition, one.flow) for one in index.newest(entity, flow)})


def lineage(flow: str, entity: str, partition: str | None = None) -> Lineage:
    """What the decision on an entity rests on; without a decision, what its scores or its quarantined rows rest on.

    Args:
        flow: DAG id.
        entity: the key, as the flow publishes it.
        partition: the newest one that knows the entity, unless it is named.

    Raises:
        BatonError: the flow has neither published nor quarantined the entity.
    """
    if partition is None:
        known = places(entity, flow)
        if not known:
            raise BatonError(f"flow {flow} has not published or quarantined {entity!r}")
        partition = known[-1][0]
    place = {"flow": flow, "partition": partition, "entity_key": entity}
    decision = next(iter(find(DECISIONS, flow, partition, [entity])), None)
    scores = tuple(find(PREDICTIONS, flow, partition, [entity]))
    with read() as conn:
        made = decision or next(iter(scores), None)
        published = first_row(conn, tables.commits, id=made["commit_id"]) if made else None
        starts = [published] if published else _unpublished(conn, flow, partition)
        commits = _walk(conn, starts)
        delivered = set() if made else {row["source"] for row in all_rows(conn, tables.quarantine, **place)}
    checked = [Checked(one, _sources([one], commits)) for one in commits.values() if _is_contract(one)]
    if delivered:  # a row that was never decided on rests on its own source alone
        checked = [one for one in checked if delivered & {_name_of(source) for source in one.sources}] or checked
        sources = tuple({source["id"]: source for one in checked for source in one.sources}.values())
    else:
        sources = _sources(starts, commits)
    return Lineage(flow, entity, partition, decision, scores, published, _with_row(checked, entity), sources)


def made_of(conn: Connection, flow: str, stage: str) -> list[tuple[str, str]]:
    """What the newest result of a stage was made of, farthest first: (flow, its stage), and for deliveries ("", the source)."""
    commits = tables.commits
    start = first_row(conn, commits, commits.c.created_at.desc(), flow=flow, stage=stage)
    found = _walk(conn, [start]) if start is not None else {}
    names = [
        ("", _name_of(one) or one["stage"]) if _is_delivery(one) else (one["flow"], one["stage"])
        for one in found.values()
    ]
    return list(dict.fromkeys(names))[::-1]


def stored_row(commit: Mapping[str, Any], key: Sequence[str], entity: str) -> Row | None:
    """The entity's row of a committed dataset, by the columns `key`; None where it has none.

    Raises:
        BatonError: the dataset cannot be read.
    """
    ref = datasets.DatasetRef.from_dict(commit["ref"])
    if not ref.rows:
        return None
    for batch in datasets.read_batches(ref):
        frame = batch.to_pandas()
        match = frame[[one == entity for one in keys_of(frame, key)]]
        if not match.empty:
            return {str(name): value for name, value in match.iloc[0].to_dict().items()}
    return None


def all_rows(conn: Connection, table: Table, **where: Any) -> list[Row]:
    """Rows whose columns equal `where`."""
    return [dict(row) for row in conn.execute(_equal(table, where)).mappings()]


def first_row(conn: Connection, table: Table, *order: ColumnElement[Any], **where: Any) -> Row | None:
    """The first row whose columns equal `where`, in an order; None without any."""
    row = conn.execute(_equal(table, where).order_by(*order).limit(1)).mappings().first()
    return None if row is None else dict(row)


def _equal(table: Table, where: Mapping[str, Any]) -> Select[Any]:
    return select(table).where(*(table.c[name] == value for name, value in where.items()))


def _unpublished(conn: Connection, flow: str, partition: str) -> list[Row]:
    """What a partition has of contracts and deliveries now, for rows that no published commit leads to."""
    heads, commits = tables.heads, tables.commits
    # by the index of commits: the heads' begins with flow and stage
    slot = (heads.c[name] == commits.c[name] for name in ("flow", "stage", "partition", "map_index"))
    joined = commits.join(heads, and_(heads.c.commit_id == commits.c.id, *slot))
    query = select(commits).select_from(joined).where(commits.c.flow == flow, commits.c.partition == partition)
    found = [dict(row) for row in conn.execute(query.order_by(commits.c.id)).mappings()]
    return [one for one in found if _is_contract(one) or _is_delivery(one)]


def _walk(conn: Connection, starts: Iterable[Row]) -> dict[str, Row]:
    """Address -> commit of all that `starts` were made of, and of themselves, nearest first: one query a generation."""
    table = tables.commits
    found = {one["uri"]: one for one in starts}
    level = list(found.values())
    while wanted := [uri for uri in dict.fromkeys(uri for one in level for uri in _inputs(one)) if uri not in found]:
        rows = conn.execute(select(table).where(table.c.uri.in_(wanted))).mappings()
        by_uri = {row["uri"]: dict(row) for row in rows}
        level = [by_uri[uri] for uri in wanted if uri in by_uri]
        found |= {one["uri"]: one for one in level}
    return found


def _sources(starts: Iterable[Row], commits: Mapping[str, Row]) -> tuple[Row, ...]:
    """Deliveries among what `starts` were made of, and themselves, nearest first."""
    seen = {one["uri"]: one for one in starts}
    level = list(seen.values())
    while level:
        uris = dict.fromkeys(uri for one in level for uri in _inputs(one))
        level = [commits[uri] for uri in uris if uri in commits and uri not in seen]
        seen |= {one["uri"]: one for one in level}
    return tuple(one for one in seen.values() if _is_delivery(one))


def _inputs(commit: Row) -> list[str]:
    """Addresses of what a commit was made of; a delivery may follow another source's, and is not made of that one."""
    return [] if _is_delivery(commit) else [given["uri"] for given in commit["inputs"].values()]


def _is_contract(commit: Row) -> bool:
    # what judged some parts of a batch judged them for the one that has all
    return commit["map_index"] < 0 and "contract" in (commit["params"].get("state") or {})


def _is_delivery(commit: Row) -> bool:
    # what read some pieces of a file read them for the one that has all
    return commit["map_index"] < 0 and "source_sha256" in commit["facts"]


def _name_of(delivery: Row) -> str | None:
    name: str | None = delivery["facts"].get("source") or (delivery["params"].get("options") or {}).get("source")
    return name


def _with_row(checked: list[Checked], entity: str) -> tuple[Checked, ...]:
    """Look for the entity's row, the nearest contract first; the one that has it moves to the front."""
    tried: list[Checked] = []
    for number, one in enumerate(checked):
        try:
            row = stored_row(one.commit, one.contract["key"], entity)
        except BatonError as error:
            tried.append(replace(one, problem=str(error)))
            continue
        if row is not None:
            return (replace(one, row=row), *tried, *checked[number + 1 :])
        tried.append(one)
    # one that cannot be read may be the one that has it
    return tuple(sorted(tried, key=lambda one: one.problem is None))
