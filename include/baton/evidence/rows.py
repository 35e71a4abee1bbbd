"""Rows of the warehouse as packs show them; of entities they have counts and digests only.

`until` leaves out what was written after a moment (ISO 8601 in UTC, as the tables have it); empty: nothing is left out. What a
later write changed is left out then, too: the ledger's entry of that time is what the pack has of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.names import CONTRACT, contract_behind, ingest_of
from baton.record import tables

# no `dropped_columns`: where a header lacks, names of columns are values
_FACTS = ("contract", "status", "rows_in", "rows_good", "broken_by")


def _at(column: Any, until: str) -> Any:
    return column <= until if until else sa.true()


def judged(conn: Connection, model: str, version: int, until: str = "") -> Iterator[dict[str, Any]]:
    """The gate's verdict on a version."""
    c = tables.approvals.c
    query = sa.select(c.verdict, c.judged_at).where(c.model == model, c.version == version, _at(c.judged_at, until))
    for row in conn.execute(query):
        champion = row.verdict.get("champion_version")
        yield {**row.verdict, "subject": f"{model}/{version}", "judged_at": row.judged_at, "champion": champion}


def answered(conn: Connection, model: str, version: int, until: str = "") -> Iterator[dict[str, Any]]:
    """The person's answer to it."""
    c = tables.approvals.c
    columns = [c[name] for name in ("answer", "reviewer", "channel", "answered_at")]
    query = sa.select(*columns).where(c.model == model, c.version == version, c.answer.is_not(None))
    for row in conn.execute(query.where(_at(c.answered_at, until))).mappings():
        yield {**row, "subject": f"{model}/{version}"}


def windows(
    conn: Connection, model: str, version: int, until: str = "", partition: str = ""
) -> Iterator[dict[str, Any]]:
    """Partitions that were judged for a version; without the tables of features, which may hold values."""
    c = tables.drift_windows.c
    names = ("partition", "flow", "version", "verdict", "window", "features", "performance", "judged_at")
    query = sa.select(*(c[name] for name in names)).where(
        c.model == model, c.version == version, _at(c.judged_at, until)
    )
    query = query.where(c.partition == partition) if partition else query
    for row in conn.execute(query.order_by(c.partition)).mappings():
        window = row["window"]
        found = ("drifted" if window["drifted"] else "stable") if window["status"] == "judged" else window["status"]
        yield {
            "subject": f"{model}/{row['partition']}", "flow": row["flow"], "version": row["version"], "verdict": found,
            "now": row["verdict"], "features": row["features"], "rows": window.get("rows"),
            "performance": row["performance"] or None, "judged_at": row["judged_at"],
        }  # fmt: skip


def of_contract() -> Any:
    """Condition on commits: those of a stage that judged rows by a contract, a batch as a whole."""
    c = tables.commits.c
    return (c.map_index == -1) & sa.or_(
        c.stage == CONTRACT, c.stage.startswith(contract_behind(ingest_of("")), autoescape=True)
    )


def made_with(
    conn: Connection, model: str, version: int, stages: Collection[str] | None, shown: Callable[..., Any],
    until: str = "",
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Commits in the partitions that a version is on record for; without `stages` those of contracts."""
    c, used = tables.commits.c, tables.partition_models.c
    query = (
        sa.select(*(c[name] for name in ("id", "flow", "stage", "partition", "ref", "facts", "models", "created_at")))
        .join(tables.partition_models, sa.and_(used.flow == c.flow, used.partition == c.partition))
        .where(used.model == model, used.version == version, c.stage.in_(stages) if stages else of_contract())
        .where(_at(c.created_at, until))
        .order_by(c.id)
    )
    for row in conn.execute(query.execution_options(yield_per=500)).mappings():
        yield shown(row, model)


def usage(row: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A commit as a row of usage.jsonl."""
    about = {name: row[name] for name in ("flow", "partition", "created_at")}
    ref, version = row["ref"] or {}, row["models"].get(model)
    return {
        **about,
        "commit": row["id"],
        "version": version,
        "rows": ref.get("rows"),
        "sha256": ref.get("content_sha256"),
    }


def contract(row: Mapping[str, Any], _model: str = "") -> dict[str, Any]:
    """A commit as a row of contracts.jsonl."""
    about = {name: row[name] for name in ("flow", "stage", "partition", "created_at")}
    return {**about, "commit": row["id"]} | {name: row["facts"][name] for name in _FACTS if name in row["facts"]}
