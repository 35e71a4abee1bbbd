"""Limits of budgets in force lie by pack: one that a file has no more is found by key. What was given up of a partition, in all flows."""

import json

import sqlalchemy as sa
from alembic import op

revision = "1012"
down_revision = "1010"


def upgrade() -> None:
    """Move the rows `budget:PACK/NAME` of meta into `budgets:PACK`; of `all/NAME` into `budgets:`."""
    op.create_index("ix_quarantine_partition_status", "quarantine", ["partition", "status"])
    conn, packs = op.get_bind(), dict[str, dict[str, object]]()
    for key, value in conn.execute(sa.text("SELECT key, value FROM meta WHERE key LIKE 'budget:%'")).all():
        pack, _, name = key.removeprefix("budget:").partition("/")
        packs.setdefault("" if pack == "all" else pack, {})[name] = {"spec": json.loads(value)}
    for pack, limits in packs.items():
        row = {"key": f"budgets:{pack}", "value": json.dumps(limits)}
        conn.execute(sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)"), row)
    conn.execute(sa.text("DELETE FROM meta WHERE key LIKE 'budget:%'"))


def downgrade() -> None:
    """Forget them: what the files say is in force with the next reservation."""
    op.drop_index("ix_quarantine_partition_status", "quarantine")
    op.get_bind().execute(sa.text("DELETE FROM meta WHERE key LIKE 'budgets:%'"))
