"""What one asset used of late is found by asset and day; nothing asked by asset and version."""

from alembic import op

revision = "1013"
down_revision = "1010"


def upgrade() -> None:
    """Another index."""
    op.create_index("ix_usage_asset_day", "usage", ["asset", "day"])
    op.drop_index("ix_usage_asset_version", "usage")


def downgrade() -> None:
    """The one before."""
    op.create_index("ix_usage_asset_version", "usage", ["asset", "version"])
    op.drop_index("ix_usage_asset_day", "usage")
