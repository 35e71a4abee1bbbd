"""Changes of assets are requests like effects: who cannot approve one, and which request a promotion's answer came from."""

from alembic import op

from baton.record.columns import columns

revision = "1007"
down_revision = "1006"
_COLUMNS = {"requests": "barred:json?", "approvals": "request:big?"}


def upgrade() -> None:
    """Add the columns; what was answered before had no request."""
    for table, short in _COLUMNS.items():
        for column in columns(short):
            op.add_column(table, column)


def downgrade() -> None:
    """Drop them."""
    for table, short in _COLUMNS.items():
        for column in columns(short):
            op.drop_column(table, column.name)
