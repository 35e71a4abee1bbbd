"""The ledger as a Merkle tree: roots of its complete subtrees."""

from alembic import op

from baton.record.columns import columns

revision = "1006"
down_revision = "1005"


def upgrade() -> None:
    """Create the table; the first checkpoint fills it."""
    op.create_table("ledger_tree", *columns("level:int* number:big* hash"))


def downgrade() -> None:
    """Drop it: the ledger itself has all that it was made from."""
    op.drop_table("ledger_tree")
