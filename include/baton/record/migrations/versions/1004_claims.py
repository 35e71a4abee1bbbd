"""What partitions that run side by side take for theirs; by which id somebody who answered a case had logged in."""

import sqlalchemy as sa
from alembic import op

from baton.record.columns import columns

revision = "1004"
down_revision = "1003"


def upgrade() -> None:
    """Create the table and the column."""
    op.create_table("claims", *columns("flow* stage* partition* mark* owner* first:float last:float"))
    op.add_column("cases", sa.Column("actor_id", sa.Text))


def downgrade() -> None:
    """Drop them: partitions that run at that moment do not see each other."""
    op.drop_column("cases", "actor_id")
    op.drop_table("claims")
