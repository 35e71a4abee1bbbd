"""What partitions that run side by side take for theirs."""

from alembic import op

from baton.record.columns import columns

revision = "1004"
down_revision = "1003"


def upgrade() -> None:
    """Create the table."""
    op.create_table("claims", *columns("flow* stage* partition* mark* owner* first:float last:float"))


def downgrade() -> None:
    """Drop it: partitions that run at that moment do not see each other."""
    op.drop_table("claims")
