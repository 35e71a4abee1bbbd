"""Texts of the packs' files that people agreed to, so that a change of one shows what differs."""

from alembic import op

from baton.record.columns import columns

revision = "1011"
down_revision = "1010"


def upgrade() -> None:
    """Create the table; what was in force before is not known."""
    op.create_table("asset_contents", *columns("digest* content at"))


def downgrade() -> None:
    """Drop it; a change then shows digests alone."""
    op.drop_table("asset_contents")
