"""Limits of budgets in force lie by pack: one that a file has no more is found by key. What was given up of a partition, in all flows.
Grants are in force once a second person agreed."""

import json

import sqlalchemy as sa
from alembic import op

from baton.record.columns import columns

revision = "1012"
down_revision = "1011"


def upgrade() -> None:
    """Move the rows `budget:PACK/NAME` of meta into `budgets:PACK`; of `all/NAME` into `budgets:`."""
    op.create_index("ix_quarantine_partition_status", "quarantine", ["partition", "status"])
    for column in columns("agreed_at?"):
        op.add_column("grants", column)
    op.execute("UPDATE grants SET agreed_at = at")  # those of before stand
    conn, packs = op.get_bind(), dict[str, dict[str, object]]()
    for key, value in conn.execute(sa.text("SELECT key, value FROM meta WHERE key LIKE 'budget:%'")).all():
        pack, _, name = key.removeprefix("budget:").partition("/")
        packs.setdefault("" if pack == "all" else pack, {})[name] = {"spec": json.loads(value)}
    for pack, limits in packs.items():
        row = {"key": f"budgets:{pack}", "value": json.dumps(limits)}
        conn.execute(sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)"), row)
    conn.execute(sa.text("DELETE FROM meta WHERE key LIKE 'budget:%'"))


def downgrade() -> None:
    """Forget them: what the files say is in force with the next reservation, and grants that waited are gone."""
    op.execute("DELETE FROM grants WHERE agreed_at IS NULL")
    op.drop_column("grants", "agreed_at")
    op.drop_index("ix_quarantine_partition_status", "quarantine")
    op.get_bind().execute(sa.text("DELETE FROM meta WHERE key LIKE 'budgets:%'"))
