"""The first tables."""

import sqlalchemy as sa
from alembic import op

from baton.record.columns import columns

revision = "1001"
down_revision = None
_TABLES = {
    "adjustments": "flow* partition* entity_key* field* proposed:float decided:float actor reason? at",
    "approvals": "model* version:int* verdict:json answer? reviewer? channel? judged_at answered_at?",
    "cases": "flow* entity_key* partition route queue? priority:int? risk:float status title? reasons:json? "
    "resolutions:json edits:json? resolution? actor? note? text? opened_at updated_at",
    "commits": "id:id* flow stage partition map_index:int fence:int digest uri ref:json facts:json inputs:json params:json "
    "models:json code run_id? created_at",
    "decisions": "flow* partition* entity_key* risk:float route money:float? models:json commit_id:big decided_at",
    "drift_windows": "model* partition* version:int* flow verdict measured:int window:json features:json performance:json? "
    "commit_id:big? judged_at table:json",
    "heads": "flow* stage* partition* map_index:int* fence:int digest? uri? commit_id:big?",
    "labels": "flow* entity_key* origin* target* partition label:float? category? actor? known_at rank:int",
    "ledger": "seq:number* at kind subject payload prev hash seal",
    "meta": "key* value",
    "outbox": "key* kind flow partition entity_key payload:json state attempts:int lease_until? answer:json? error? "
    "created_at updated_at sent_at?",
    "partition_models": "flow* partition* model* version:int recorded_at",
    "predictions": "flow* partition* entity_key* model* version:int score:float category? accepted:int? "
    "strangeness:float? quantiles:json? decision? reasons:json? row_sha? commit_id:big scored_at",
    "quarantine": "flow* partition* row_sha* row:int* rule* source entity_key? column? value? advice? status repair:json? "
    "reason? actor? raw:json? first_seen updated_at",
    "retrains": "id:id* model reason partition requested_at",
}
_INDEXES = {
    "cases": ["flow partition", "status flow queue route", "status updated_at flow"],
    "commits": ["flow partition", "uri"],
    "decisions": ["entity_key flow partition"],
    "drift_windows": ["model version partition", "model version measured partition"],
    "labels": ["flow partition target known_at"],
    "ledger": ["kind", "subject"],
    "outbox": ["flow partition", "state"],
    "partition_models": ["model version partition"],
    "predictions": ["entity_key flow partition"],
    "quarantine": ["entity_key flow partition", "status"],
    "retrains": ["model partition"],
}
_UNIQUE = ["flow", "stage", "partition", "map_index", "fence"]


def upgrade() -> None:
    """Create every table of the first build."""
    for name, short in _TABLES.items():
        unique = [sa.UniqueConstraint(*_UNIQUE, name=f"uq_commits_{'_'.join(_UNIQUE)}")] if name == "commits" else []
        op.create_table(name, *columns(short), *unique)
        for index in _INDEXES.get(name, ()):
            op.create_index(f"ix_{name}_{index.replace(' ', '_')}", name, index.split())


def downgrade() -> None:
    """Drop them; their rows are lost."""
    for name in _TABLES:
        op.drop_table(name)
