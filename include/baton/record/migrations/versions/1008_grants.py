"""Who may do what on which asset, until when."""

from alembic import op

from baton.record.columns import columns

revision = "1008"
down_revision = "1007"


def upgrade() -> None:
    """Create the table; a duty that nobody was given is anybody's whom Airflow lets, as before."""
    op.create_table("grants", *columns("id:id* asset person duty given_by reason? at valid_to ended_at? ended_by?"))
    op.create_index("ix_grants_asset_duty", "grants", ["asset", "duty"])


def downgrade() -> None:
    """Drop it: the ledger has who was given what."""
    op.drop_table("grants")
