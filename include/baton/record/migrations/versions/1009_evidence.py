"""Commits by their time, uses of a version by flow; and the salts by which evidence names an entity."""

from alembic import op

from baton.record.columns import columns

revision = "1009"
down_revision = "1008"
_COMMITS, _USES = "ix_commits_flow_stage_created_at", "ix_partition_models_model_version_flow_partition"


def upgrade() -> None:
    """Create indices and table."""
    op.create_index(_COMMITS, "commits", ["flow", "stage", "created_at"])
    op.create_index(_USES, "partition_models", ["model", "version", "flow", "partition"])
    op.create_table("evidence_salts", *columns("flow* entity_key* partition salt at"))


def downgrade() -> None:
    """Drop them: digests in packs that were given away cannot be made again then."""
    op.drop_table("evidence_salts")
    op.drop_index(_USES, "partition_models")
    op.drop_index(_COMMITS, "commits")
