"""What one asset used of late is found by asset and day, nothing asked by asset and version; and which assets a duty was given on."""

from alembic import op

revision = "1013"
down_revision = "1012"


def upgrade() -> None:
    """Other indexes."""
    op.create_index("ix_usage_asset_day", "usage", ["asset", "day"])
    op.drop_index("ix_usage_asset_version", "usage")
    op.create_index("ix_grants_duty_asset", "grants", ["duty", "asset"])


def downgrade() -> None:
    """Those before."""
    op.drop_index("ix_grants_duty_asset", "grants")
    op.create_index("ix_usage_asset_version", "usage", ["asset", "version"])
    op.drop_index("ix_usage_asset_day", "usage")
