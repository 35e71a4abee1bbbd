"""Who used which model or agent, how much of it, and what attempts hold of a budget."""

from alembic import op

from baton.record.columns import columns

revision = "1010"
down_revision = "1009"
_TABLES = {
    "usage": "commit_id:big* asset* version* model* pack flow stage partition day at rows:big calls:int tokens_in:big "
    "tokens_out:big seconds:float cost:float?",
    "reservations": "id:id* pack flow stage partition map_index:int fence:int at until held:json spent:json",
}
_INDEXES = {"usage": ["day flow", "asset version"], "reservations": ["at"]}


def upgrade() -> None:
    """Create the tables; what was used before is not known."""
    for name, short in _TABLES.items():
        op.create_table(name, *columns(short))
        for index in _INDEXES[name]:
            op.create_index(f"ix_{name}_{index.replace(' ', '_')}", name, index.split())


def downgrade() -> None:
    """Drop them; what was used is lost."""
    for name in _TABLES:
        op.drop_table(name)
