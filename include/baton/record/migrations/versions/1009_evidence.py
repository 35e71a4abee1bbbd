"""Commits by their time: what a stage had made until a moment; and the salts by which evidence names an entity."""

from alembic import op

from baton.record.columns import columns

revision = "1009"
down_revision = "1008"
_NAME = "ix_commits_flow_stage_created_at"


def upgrade() -> None:
    """Create index and table."""
    op.create_index(_NAME, "commits", ["flow", "stage", "created_at"])
    op.create_table("evidence_salts", *columns("flow* entity_key* partition salt at"))


def downgrade() -> None:
    """Drop them: digests in packs that were given away cannot be made again then."""
    op.drop_table("evidence_salts")
    op.drop_index(_NAME, "commits")
