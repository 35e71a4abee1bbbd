"""Commits by their time: what a stage had made until a moment."""

from alembic import op

revision = "1009"
down_revision = "1006"
_NAME = "ix_commits_flow_stage_created_at"


def upgrade() -> None:
    """Create the index."""
    op.create_index(_NAME, "commits", ["flow", "stage", "created_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_NAME, "commits")
