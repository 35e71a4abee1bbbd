"""Retention by age: what `retention.yaml` of the packs says a flow need not keep any longer.

Commits, with the digest of every dataset, and the ledger stay: what was there can be proven, not read. A slot whose rows
went is empty, as before its first run, and an attempt that is at work on it cannot commit any more.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import objects
from baton.data.partitions import format_key
from baton.effects.outbox import FORBIDDEN, SENT, WITHDRAWN
from baton.packs.pack import load_pack, packs
from baton.record import ledger, tables, warehouse
from baton.retention.evidence import Removal, blank, take, take_published
from baton.specs.retention import FlowRetention
from baton.stages import garbage

RETAINED = "retained"
_DONE: Mapping[str, tuple[tuple[sa.Table, tuple[Any, ...]], ...]] = {
    "datasets": ((tables.claims, ()),),
    "predictions": ((tables.adjustments, ()), (tables.evidence_salts, ())),
    "labels": ((tables.labels, ()),),
    "quarantine": ((tables.quarantine, (tables.quarantine.c.status.in_(("resolved", "discarded")),)),),
    "cases": ((tables.cases, (tables.cases.c.status != "open",)),),
}


def policies() -> dict[str, FlowRetention]:
    """What the installed packs say, by flow."""
    return {flow: policy for name in packs() for flow, policy in load_pack(name).retention.items()}


def never_run(given: Iterable[str]) -> list[str]:
    """DAG ids of policies that have committed nothing yet: perhaps misspelt."""
    with warehouse.read() as conn:
        return [
            flow
            for flow in given
            if conn.scalar(sa.select(tables.heads.c.flow).where(tables.heads.c.flow == flow).limit(1)) is None
        ]


def retain(
    given: Mapping[str, FlowRetention], actor: str, dry_run: bool = True, at: datetime | None = None
) -> list[Removal]:
    """Remove what is older than a flow's policy says, each flow in one transaction with its ledger entry.

    Args:
        given: policies by flow.
        actor: who asks, for the record.
        dry_run: say what would go, remove nothing.
        at: the present, for tests.

    Returns:
        one entry for each flow of which something goes.
    """
    now = at or datetime.now(UTC)
    ages = {
        flow: {kind: format_key(now - age) for kind, age in policy if age is not None} for flow, policy in given.items()
    }
    old: dict[str, list[objects.StoredObject]] = {}
    for item, slot, _ in garbage.attempts():
        kind = "predictions" if garbage.beside_of(item.name) else "datasets"
        if slot.partition < ages.get(slot.flow, {}).get(kind, ""):
            old.setdefault(slot.flow, []).append(item)
    removals = []
    for flow, before in ages.items():
        done = warehouse.transact(
            partial(_of_flow, flow=flow, before=before, old=old.get(flow, []), actor=actor, dry_run=dry_run)
        )
        if done.empty():
            continue
        if not dry_run:
            for item in old.get(flow, []):
                objects.delete(item.uri)
        removals.append(done)
    return removals


def _of_flow(
    conn: Connection, flow: str, before: Mapping[str, str], old: list[objects.StoredObject], actor: str, dry_run: bool
) -> Removal:
    removal = Removal(flow, objects=[item.uri for item in old], size=sum(item.size for item in old))
    if old and not dry_run:
        heads = tables.heads
        # the fence goes up first: an attempt that read, or wrote, what goes is refused
        later = {"fence": heads.c.fence + 1}
        empty = {**later, "digest": None, "uri": None, "commit_id": None}
        for kind, values in (("predictions", later), ("datasets", empty)):
            if kind in before:
                conn.execute(
                    heads.update().where(heads.c.flow == flow, heads.c.partition < before[kind]).values(values)
                )
    if "predictions" in before:
        c = tables.published.c
        take_published(conn, [c.flow == flow, c.partition < before["predictions"]], removal, dry_run)
    for kind, done in _DONE.items():
        for table, more in done if kind in before else ():
            take(conn, table, [table.c.flow == flow, table.c.partition < before[kind], *more], removal, dry_run)
    if "effects" in before:
        c = tables.outbox.c
        blank(
            conn,
            [c.flow == flow, c.partition < before["effects"], c.state.in_((SENT, WITHDRAWN, FORBIDDEN))],
            removal,
            dry_run,
        )
    if not dry_run and not removal.empty():
        said = {"before": dict(before), "rows": removal.rows, "rows_sha256": removal.digests}
        ledger.append(conn, RETAINED, flow, {**said, "objects": len(old), "bytes": removal.size, "actor": actor})
    return removal
