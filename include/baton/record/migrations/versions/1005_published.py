"""Rows that were published move out of the database, into the store."""

import sqlalchemy as sa
from alembic import op

from baton.errors import BatonError
from baton.record.columns import columns

revision = "1005"
down_revision = "1004"
_TABLES = {
    "published": "number:id* flow partition commit_id:big? models:json? entities:int? decisions:json? predictions:json? at?",
    "segments": "number:id* level:int name rows:big ref:json? at",
}
_BEFORE = {
    "predictions": "flow* partition* entity_key* model* version:int score:float category? accepted:int? strangeness:float? "
    "quantiles:json? decision? reasons:json? row_sha? commit_id:big scored_at",
    "decisions": "flow* partition* entity_key* risk:float route money:float? models:json commit_id:big decided_at",
}


def upgrade() -> None:
    """Create the tables, have whoever asked carry the rows over, and drop those that held them.

    Raises:
        BatonError: there are rows, and nobody to carry them.
    """
    for name, short in _TABLES.items():
        unique = [sa.UniqueConstraint("flow", "partition", name="uq_published_flow_partition")]
        op.create_table(name, *columns(short), *(unique if name == "published" else []))
    for column in columns("money:float? why:json?"):
        op.add_column("cases", column)
    conn, carry = op.get_bind(), op.get_context().config.attributes.get("carry")  # type: ignore[union-attr]
    if any(conn.execute(sa.text(f"select 1 from {name} limit 1")).first() for name in _BEFORE):  # noqa: S608 - our own names
        if carry is None:
            raise BatonError(
                "this warehouse holds published rows, which move into the store: upgrade it with `baton up`"
            )
        carry(conn)
    for name in _BEFORE:
        op.drop_table(name)


def downgrade() -> None:
    """Back to empty tables; what was published is in the store and in no table."""
    for name, short in _BEFORE.items():
        op.create_table(name, *columns(short))
        op.create_index(f"ix_{name}_entity_key_flow_partition", name, ["entity_key", "flow", "partition"])
    for name in ("money", "why"):
        op.drop_column("cases", name)
    for name in _TABLES:
        op.drop_table(name)
