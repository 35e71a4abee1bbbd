"""Used models: the versions that a partition used, fixed by its first run, repeated by every later one."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record.tables import partition_models
from baton.record.warehouse import now, read, transact, upsert


def recorded_models(flow: str, partition: str, conn: Connection | None = None) -> dict[str, int]:
    """Return model -> version that the partition was scored with; empty before its first run."""
    query = sa.select(partition_models.c.model, partition_models.c.version).where(
        partition_models.c.flow == flow, partition_models.c.partition == partition
    )
    if conn is not None:
        return {row.model: row.version for row in conn.execute(query)}
    with read() as own:
        return {row.model: row.version for row in own.execute(query)}


def record_models(
    flow: str, partition: str, models: Mapping[str, int], supersede: bool = False, conn: Connection | None = None
) -> dict[str, int]:
    """Record the versions that a partition is scored with, and return what is on record now.

    The first record stays, so that a re-run or a backfill uses the same versions; `supersede` replaces it.
    """
    if conn is None:
        return transact(lambda own: record_models(flow, partition, models, supersede, own))
    rows = [
        {"flow": flow, "partition": partition, "model": model, "version": int(version), "recorded_at": now()}
        for model, version in models.items()
    ]
    upsert(conn, partition_models, rows, update=["version", "recorded_at"] if supersede else [])
    return recorded_models(flow, partition, conn)
