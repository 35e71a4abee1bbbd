"""What stays of rows that go: how many they were, and a SHA-256 over them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.effects.outbox import HELD, OPEN, WITHDRAWN
from baton.jsontext import to_json
from baton.published.rows import DECISIONS, PREDICTIONS, published
from baton.record import tables, warehouse
from baton.record.tables import outbox, requests

BLANK = "content removed"  # what stands in `outbox.error` of an effect without its payload


@dataclass
class Removal:
    """What goes of one flow, or went.

    Attributes:
        rows: number of rows by table; of `outbox`, effects whose content goes while key and state stay.
        digests: SHA-256 over those rows, by table.
        objects: objects of the store that go, or are written anew without the rows.
        deliveries: where the rows came from, which is not Baton's to clean.
        left: what could not be removed, and why.
    """

    flow: str
    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)
    size: int = 0
    deliveries: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def empty(self) -> bool:
        """Is there nothing?"""
        return not self.objects and not self.rows


def take(conn: Connection, table: sa.Table, where: Sequence[Any], removal: Removal, dry_run: bool) -> None:
    """Count rows and take their digest, in the order of the primary key; then delete them."""
    digest, count = hashlib.sha256(), 0
    query = sa.select(table).where(*where).order_by(*table.primary_key).execution_options(yield_per=2000)
    for row in conn.execute(query).mappings():
        digest.update(to_json(dict(row)).encode() + b"\n")
        count += 1
    if count:
        removal.rows[table.name], removal.digests[table.name] = count, digest.hexdigest()
        if not dry_run:
            conn.execute(table.delete().where(*where))


def take_published(conn: Connection, where: Sequence[Any], removal: Removal, dry_run: bool) -> None:
    """Count what partitions have published, and take the digest of the datasets' own; then nothing of them is published."""
    for kind in (DECISIONS, PREDICTIONS):
        refs = [ref for one in published(conn, *where) if (ref := one.ref(kind)) is not None and ref.rows]
        if refs:
            removal.rows[kind] = sum(ref.rows for ref in refs)
            listed = "\n".join(ref.content_sha256 for ref in refs)
            removal.digests[kind] = hashlib.sha256(listed.encode()).hexdigest()
    if not dry_run:
        conn.execute(tables.published.delete().where(*where))


def blank(conn: Connection, where: Sequence[Any], removal: Removal, dry_run: bool) -> None:
    """Empty effects; keys and states stay, so that none is done twice. One that is not out is withdrawn."""
    left = [*where, sa.or_(outbox.c.error.is_(None), outbox.c.error != BLANK)]
    rows = conn.execute(sa.select(outbox).where(*left).order_by(outbox.c.key)).mappings().all()
    if rows:
        removal.rows[outbox.name] = len(rows)
        text = "\n".join(to_json(dict(row)) for row in rows)
        removal.digests[outbox.name] = hashlib.sha256(text.encode()).hexdigest()
    if rows and not dry_run:
        state = sa.case((outbox.c.state.in_((*OPEN, *HELD)), WITHDRAWN), else_=outbox.c.state)
        values: dict[str, Any] = {
            "payload": {},
            "target": None,
            "action": None,
            "undo": None,
            "answer": None,
            "error": BLANK,
            "state": state,
            "updated_at": warehouse.now(),
        }
        conn.execute(outbox.update().where(*left).values(values))
        keys = [row["key"] for row in rows]
        for start in range(0, len(keys), warehouse.AT_ONCE):  # who asked and who agreed stays, what it was about goes
            mine = requests.c.effect.in_(keys[start : start + warehouse.AT_ONCE])
            conn.execute(
                requests.update().where(mine, requests.c.state == "open").values(state="withdrawn", note=BLANK)
            )
            conn.execute(requests.update().where(mine).values(action={}, target="", reasons=[]))
