"""Forecasts and orders: quantiles, quantities as labels, what people changed, effects with their outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
_OF_A_PARTITION = ("flow", "partition", "entity_key")


def upgrade() -> None:
    """Extend `predictions`, `labels` and `outbox`; create `adjustments`. All rows stay."""
    op.add_column("predictions", sa.Column("quantiles", sa.JSON(), nullable=True))
    with op.batch_alter_table("labels") as batch:
        batch.alter_column("label", existing_type=sa.Integer(), type_=sa.Float(), existing_nullable=False)
    with op.batch_alter_table("outbox") as batch:
        for name in _OF_A_PARTITION:  # the default fills rows that are there
            batch.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("lease_until", sa.Text(), nullable=True))
        batch.add_column(sa.Column("answer", sa.JSON(), nullable=True))
        batch.add_column(sa.Column("sent_at", sa.Text(), nullable=True))
    with op.batch_alter_table("outbox") as batch:
        for name in _OF_A_PARTITION:
            batch.alter_column(name, existing_type=sa.Text(), existing_nullable=False, server_default=None)
    op.create_index("ix_outbox_flow_partition", "outbox", ["flow", "partition"], unique=False)
    op.create_table(
        "adjustments",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("entity_key", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("proposed", sa.Float(), nullable=False),
        sa.Column("decided", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("flow", "partition", "entity_key", "field"),
    )


def downgrade() -> None:
    """Take it back; quantities lose their fraction, the added columns and `adjustments` their content."""
    op.drop_table("adjustments")
    op.drop_index("ix_outbox_flow_partition", "outbox")
    with op.batch_alter_table("outbox") as batch:
        for name in (*_OF_A_PARTITION, "lease_until", "answer", "sent_at"):
            batch.drop_column(name)
    with op.batch_alter_table("labels") as batch:
        batch.alter_column("label", existing_type=sa.Float(), type_=sa.Integer(), existing_nullable=False)
    op.drop_column("predictions", "quantiles")
