"""Texts and people: categories, several targets of one entity, queues, what a case may be answered, and with which text."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FRAUD = {"fraud": {"is_fraud": 1}, "legitimate": {"is_fraud": 0}}  # the only cases there were


def upgrade() -> None:
    """Extend `predictions`, `labels` and `cases`. All rows stay."""
    op.add_column("predictions", sa.Column("category", sa.Text(), nullable=True))
    _labels_anew(
        [sa.Column("target", sa.Text(), primary_key=True, nullable=False)],
        sa.Column("label", sa.Float(), nullable=True),
        [sa.Column("category", sa.Text(), nullable=True)],
        "INSERT INTO labels_anew (flow, entity_key, origin, target, partition, label, actor, known_at) "
        "SELECT flow, entity_key, origin, '', partition, label, actor, known_at FROM labels",
    )
    with op.batch_alter_table("labels") as batch:
        batch.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("labels") as batch:
        batch.alter_column("rank", existing_type=sa.Integer(), existing_nullable=False, server_default=None)
    op.add_column("cases", sa.Column("queue", sa.Text(), nullable=True))
    op.add_column("cases", sa.Column("priority", sa.Integer(), nullable=True))
    op.add_column("cases", sa.Column("edits", sa.JSON(), nullable=True))
    op.add_column("cases", sa.Column("text", sa.Text(), nullable=True))
    with op.batch_alter_table("cases") as batch:
        batch.add_column(sa.Column("resolutions", sa.JSON(), nullable=False, server_default=json.dumps(_FRAUD)))
    with op.batch_alter_table("cases") as batch:
        batch.alter_column("resolutions", existing_type=sa.JSON(), existing_nullable=False, server_default=None)
    op.drop_index("ix_cases_status", "cases")
    op.create_index("ix_cases_status_flow_queue_route", "cases", ["status", "flow", "queue", "route"], unique=False)


def downgrade() -> None:
    """Take it back; categories and all but one target of an entity are lost."""
    op.drop_index("ix_cases_status_flow_queue_route", "cases")
    op.create_index("ix_cases_status", "cases", ["status"], unique=False)
    with op.batch_alter_table("cases") as batch:
        for name in ("queue", "priority", "resolutions", "edits", "text"):
            batch.drop_column(name)
    _labels_anew(
        [],
        sa.Column("label", sa.Float(), nullable=False),
        [],
        "INSERT INTO labels_anew (flow, entity_key, origin, partition, label, actor, known_at) "
        "SELECT flow, entity_key, origin, min(partition), min(label), min(actor), min(known_at) FROM labels "
        "WHERE label IS NOT NULL GROUP BY flow, entity_key, origin",
    )
    op.drop_column("predictions", "category")


def _labels_anew(keys: list[sa.Column], label: sa.Column, more: list[sa.Column], copy: str) -> None:
    """Another primary key needs another table: SQLite cannot change one in place."""
    op.create_table(
        "labels_anew",
        *(sa.Column(name, sa.Text(), primary_key=True, nullable=False) for name in ("flow", "entity_key", "origin")),
        *keys,
        sa.Column("partition", sa.Text(), nullable=False),
        label,
        *more,
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("known_at", sa.Text(), nullable=False),
    )
    op.execute(copy)
    op.drop_table("labels")
    op.rename_table("labels_anew", "labels")
    op.create_index("ix_labels_flow_partition", "labels", ["flow", "partition"], unique=False)
