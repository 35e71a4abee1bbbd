"""The action firewall: requests, votes and permits; what an effect is done to, and how it is taken back."""

from alembic import op

from baton.record.columns import columns

revision = "1002"
down_revision = "1001"
_TABLES = {
    "requests": "id:id* effect flow partition entity_key kind target pack level rule needs:int reasons:json requester "
    "action:json subject seen evidence policy state note? opened_at updated_at expires_at",
    "votes": "request:big* person* name answer reason? seen channel at",
    "permits": "id:id* effect request:big? pack level rule subject policy nonce issued_at expires_at used_at? used_by? "
    "void_at? void_why?",
}
_INDEXES = {
    "requests": ["effect", "state flow partition", "flow entity_key", "pack rule opened_at"],
    "permits": ["effect", "pack rule issued_at", "level issued_at"],
    "outbox": ["target kind", "flow entity_key", "updated_at"],
}
_OUTBOX = "target? action:json? undo:json? via:json? undone_at?"


def upgrade() -> None:
    """Create the tables and widen the outbox."""
    for name, short in _TABLES.items():
        op.create_table(name, *columns(short))
    for column in columns(_OUTBOX):
        op.add_column("outbox", column)
    for name, indexes in _INDEXES.items():
        for index in indexes:
            op.create_index(f"ix_{name}_{index.replace(' ', '_')}", name, index.split())


def downgrade() -> None:
    """Drop them; who approved what is lost."""
    for index in ("target_kind", "flow_entity_key", "updated_at"):
        op.drop_index(f"ix_outbox_{index}", "outbox")
    for column in columns(_OUTBOX):
        op.drop_column("outbox", column.name)
    for name in _TABLES:
        op.drop_table(name)
