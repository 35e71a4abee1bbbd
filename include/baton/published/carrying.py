"""Taking over what the tables `predictions` and `decisions` held before revision 1005: each partition becomes objects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy import Connection

from baton.errors import BatonError
from baton.jsontext import to_json
from baton.progress import told
from baton.published.rows import JSON, told_of
from baton.published.writing import Publication
from baton.record import tables, warehouse
from baton.record.columns import columns

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 50_000  # rows
_OLD = sa.MetaData()
PREDICTIONS = sa.Table("predictions", _OLD, *columns(
    "flow* partition* entity_key* model* version:int score:float category? accepted:int? strangeness:float? "
    "quantiles:json? reasons:json? commit_id:big scored_at"))  # fmt: skip
DECISIONS = sa.Table("decisions", _OLD, *columns(
    "flow* partition* entity_key* risk:float route money:float? models:json commit_id:big decided_at"))  # fmt: skip


def migrate() -> None:
    """Create the warehouse's tables, or bring them to this version; published rows of an earlier one go into the store."""
    warehouse.migrate(carry)


def carry(conn: Connection) -> None:
    """Publish what the tables hold, partition by partition, as it is: same commits, same moments.

    Raises:
        BatonError: rows name a commit that is not there, so nothing would own them.
    """
    places = sorted({
        tuple(row) for table in (PREDICTIONS, DECISIONS)
        for row in conn.execute(sa.select(table.c.flow, table.c.partition).distinct())
    })  # fmt: skip
    for flow, partition in told(places, "published rows carried into the store", "partitions", len(places)):
        _carry(conn, flow, partition)


def _carry(conn: Connection, flow: str, partition: str) -> None:
    here = {table: (table.c.flow == flow, table.c.partition == partition) for table in (PREDICTIONS, DECISIONS)}
    many = {
        table: int(conn.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0)
        for table, where in here.items()
    }
    first = DECISIONS if many[DECISIONS] else PREDICTIONS
    at = first.c.decided_at if first is DECISIONS else first.c.scored_at
    commit_id, moment = conn.execute(
        sa.select(first.c.commit_id, at).where(*here[first]).order_by(sa.desc(first.c.commit_id))
    ).first() or (0, "")
    uri = conn.scalar(sa.select(tables.commits.c.uri).where(tables.commits.c.id == commit_id))
    if uri is None:
        raise BatonError(
            f"{flow}, partition {partition}: its published rows name the commit {commit_id}, which is not there"
        )
    models: dict[str, int] = {}
    if many[DECISIONS]:
        models = conn.scalar(sa.select(DECISIONS.c.models).where(*here[DECISIONS]).limit(1)) or {}
    publication = Publication(
        flow, partition, models, max(many.values()),
        partial(_frames, conn, DECISIONS, here[DECISIONS]) if many[DECISIONS] else None,
        partial(_frames, conn, PREDICTIONS, here[PREDICTIONS]) if many[PREDICTIONS] else None,
    )  # fmt: skip
    publication.write_announced(_name(uri), *publication.announce(conn))
    publication.put(conn, commit_id, moment)
    table = tables.cases
    mine = [table.c.flow == flow, table.c.partition == partition, table.c.status == "open"]
    for key, said in told_of(
        conn, flow, partition, list(conn.scalars(sa.select(table.c.entity_key).where(*mine)))
    ).items():
        conn.execute(table.update().where(*mine, table.c.entity_key == key).values(said))


def _name(uri: str) -> str:
    """Name below the store of a commit's object, without what it ends in."""
    plain = unquote(uri) if uri.startswith("file://") else uri
    return "/".join(plain.rsplit("/", 5)[1:]).removesuffix(".json").removesuffix(".parquet") + ".parquet"


def _frames(conn: Connection, table: sa.Table, where: tuple[Any, ...]) -> Iterator[pd.DataFrame]:
    import pandas as pd

    names = table.columns.keys()
    query = sa.select(table).where(*where).execution_options(yield_per=AT_ONCE)
    for rows in conn.execute(query).partitions():
        frame = pd.DataFrame([tuple(row) for row in rows], columns=names)
        for name in JSON:
            if name in frame:
                frame[name] = [None if one is None else to_json(one) for one in frame[name]]
        yield frame
