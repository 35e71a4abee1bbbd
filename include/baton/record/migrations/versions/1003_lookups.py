"""What tools answered, how they are, and the models that others stand in for."""

from alembic import op

from baton.record.columns import columns

revision = "1003"
down_revision = "1002"
_TABLES = {
    "lookups": "tool* digest* value? answer:json? at until",
    "breakers": "tool* state failures:int probes:int opened_at? retry_at? error? updated_at",
    "rungs": "flow* model* rung version:int? reason partition since updated_at",
}


def upgrade() -> None:
    """Create the tables."""
    for name, short in _TABLES.items():
        op.create_table(name, *columns(short))
    op.create_index("ix_lookups_until", "lookups", ["until"])


def downgrade() -> None:
    """Drop them: every tool is asked anew."""
    for name in _TABLES:
        op.drop_table(name)
