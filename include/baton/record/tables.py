"""The warehouse's tables: what was committed, decided, labelled, approved, and by whom.

Conventions: times are ISO-8601 text in UTC with microseconds (`warehouse.now()`), so that text order is time
order on every database; `partition` is the UTC start of the interval, `%Y-%m-%dT%H:%M:%S`; model versions are
MLflow's integers; `commit_id` is the row of `commits` whose transaction wrote the row. The revisions in
`migrations/versions` build the same tables.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)
# SQLite numbers rows by itself only in a column of type INTEGER
Serial = BigInteger().with_variant(Integer, "sqlite")


def _key(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _must(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _may(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, nullable=True)


# --- slots ---

# who owns a slot (fence) and what it holds now (null before the first commit)
heads = Table(
    "heads",
    metadata,
    _key("flow"),
    _key("stage"),
    _key("partition"),
    _key("map_index", Integer),
    _must("fence", Integer),
    _may("digest"),
    _may("uri"),
    _may("commit_id", BigInteger),
)
# append-only: every version that a slot ever had, and what it was made from
commits = Table(
    "commits",
    metadata,
    Column("id", Serial, primary_key=True),
    _must("flow"),
    _must("stage"),
    _must("partition"),
    _must("map_index", Integer),
    _must("fence", Integer),
    _must("digest"),
    _must("uri"),
    _must("ref", JSON),
    _must("facts", JSON),
    _must("inputs", JSON),
    _must("params", JSON),
    _must("models", JSON),
    _must("code"),
    _may("run_id"),
    _must("created_at"),
    UniqueConstraint("flow", "stage", "partition", "map_index", "fence"),
    Index(None, "uri"),
    Index(None, "flow", "partition"),
)

# --- rows ---

# one row per broken rule of a source row; status: open, repaired, discarded, resolved
quarantine = Table(
    "quarantine",
    metadata,
    _key("flow"),
    _key("partition"),
    _key("row_sha"),
    _key("row", Integer),
    _key("rule"),
    _must("source"),
    _may("entity_key"),
    _may("column"),
    _may("value"),
    _may("advice"),
    _must("status"),
    _may("repair", JSON),
    _may("reason"),
    _may("actor"),
    _may("raw", JSON),
    _must("first_seen"),
    _must("updated_at"),
    Index(None, "status"),
    Index(None, "entity_key"),
)
# one row per entity and model; category: class of the score, quantiles: level -> value of a forecast
predictions = Table(
    "predictions",
    metadata,
    _key("flow"),
    _key("partition"),
    _key("entity_key"),
    _key("model"),
    _must("version", Integer),
    _must("score", Float),
    _may("category"),
    _may("quantiles", JSON),
    _may("decision"),
    _may("reasons", JSON),
    _may("row_sha"),
    _must("commit_id", BigInteger),
    _must("scored_at"),
    Index(None, "entity_key"),
)
# the models combined: one row per entity; route: clear, review, block
decisions = Table(
    "decisions",
    metadata,
    _key("flow"),
    _key("partition"),
    _key("entity_key"),
    _must("risk", Float),
    _must("route"),
    _may("money", Float),
    _must("models", JSON),
    _must("commit_id", BigInteger),
    _must("decided_at"),
    Index(None, "entity_key"),
)
# what turned out to be true of a target (0 or 1, a quantity, or a category), and who said so; origin: chargeback,
# analyst, ...; target '' (before there were several) stands for any
labels = Table(
    "labels",
    metadata,
    _key("flow"),
    _key("entity_key"),
    _key("origin"),
    _key("target"),
    _must("partition"),
    _may("label", Float),
    _may("category"),
    _may("actor"),
    Column("rank", Integer, nullable=False, default=0),
    _must("known_at"),
    Index(None, "flow", "partition"),
)
# work for people; a resolution is a person's and is never overwritten by a run; resolutions: what may be answered ->
# what is then true (target -> value); edits: answers that come with a text -> column of the decision that it stands
# instead of; text: what the person wrote, null where it is what was offered; priority: 1 is first
cases = Table(
    "cases",
    metadata,
    _key("flow"),
    _key("entity_key"),
    _must("partition"),
    _must("route"),
    _may("queue"),
    _may("priority", Integer),
    _must("risk", Float),
    _must("status"),
    _must("resolutions", JSON),
    _may("edits", JSON),
    _may("resolution"),
    _may("actor"),
    _may("note"),
    _may("text"),
    _must("opened_at"),
    _must("updated_at"),
    Index(None, "flow", "partition"),
    Index(None, "status", "flow", "queue", "route"),
)
# what people changed in a proposal before it was carried out; the last change counts, the ledger has them all
adjustments = Table(
    "adjustments",
    metadata,
    _key("flow"),
    _key("partition"),
    _key("entity_key"),
    _key("field"),
    _must("proposed", Float),
    _must("decided", Float),
    _must("actor"),
    _may("reason"),
    _must("at"),
)

# --- models ---

# the gate's verdict on a version (judged_at) and the person's answer: approved, rejected, timeout
approvals = Table(
    "approvals",
    metadata,
    _key("model"),
    _key("version", Integer),
    _must("verdict", JSON),
    _may("answer"),
    _may("reviewer"),
    _may("channel"),
    _must("judged_at"),
    _may("answered_at"),
)
# the version a partition was scored with; re-runs and backfills use it again
partition_models = Table(
    "partition_models",
    metadata,
    _key("flow"),
    _key("partition"),
    _key("model"),
    _must("version", Integer),
    _must("recorded_at"),
)
# one judgement of one partition for one model version
drift_windows = Table(
    "drift_windows",
    metadata,
    _key("model"),
    _key("partition"),
    _key("version", Integer),
    _must("flow"),
    _must("verdict"),
    _must("table", JSON),
    _must("features", JSON),
    _may("performance", JSON),
    _may("commit_id", BigInteger),
    _must("judged_at"),
)
# each time drift asked for training; the budget and the cool-down count these
retrains = Table(
    "retrains",
    metadata,
    Column("id", Serial, primary_key=True),
    _must("model"),
    _must("reason"),
    _must("partition"),
    _must("requested_at"),
    Index(None, "model", "partition"),
)

# --- record ---

# effects outside the warehouse, each done once under its key; states: see `baton.effects.outbox`
outbox = Table(
    "outbox",
    metadata,
    _key("key"),
    _must("kind"),
    _must("flow"),
    _must("partition"),
    _must("entity_key"),
    _must("payload", JSON),
    _must("state"),
    _must("attempts", Integer),
    _may("lease_until"),
    _may("answer", JSON),
    _may("error"),
    _must("created_at"),
    _must("updated_at"),
    _may("sent_at"),
    Index(None, "state"),
    Index(None, "flow", "partition"),
)
meta = Table("meta", metadata, _key("key"), _must("value"))
# append-only, hash-chained; written through `baton.record.ledger` only
ledger = Table(
    "ledger",
    metadata,
    _key("seq", BigInteger().with_variant(Integer, "sqlite")),
    _must("at"),
    _must("kind"),
    _must("subject"),
    _must("payload"),
    _must("prev"),
    _must("hash"),
    Index(None, "subject"),
    Index(None, "kind"),
)
