"""The warehouse's tables: what was committed, decided, labelled, approved, and by whom.

Conventions: times are ISO-8601 text in UTC with microseconds (`warehouse.now()`), so that text order is time
order on every database; `partition` is the UTC start of the interval, `%Y-%m-%dT%H:%M:%S`; model versions are
MLflow's integers; `commit_id` is the row of `commits` whose transaction wrote the row. The revisions in
`migrations/versions` build the same tables.
"""

from typing import Any

from sqlalchemy import Column, Index, Integer, MetaData, Table, UniqueConstraint

from baton.record.columns import columns

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)


def _table(name: str, short: str, *more: Any) -> Table:
    """Declares a table; how its columns are written: `baton.record.columns`."""
    return Table(name, metadata, *columns(short), *more)


# --- slots ---

# who owns a slot (fence) and what it holds now (null before the first commit)
heads = _table("heads", "flow* stage* partition* map_index:int* fence:int digest? uri? commit_id:big?")
# append-only, but for an erasure, which names another object: every version that a slot ever had, and what it was made from
commits = _table(
    "commits",
    "id:id* flow stage partition map_index:int fence:int digest uri ref:json facts:json inputs:json "
    "params:json models:json code run_id? created_at",
    UniqueConstraint("flow", "stage", "partition", "map_index", "fence"),
    Index(None, "uri"),
    Index(None, "flow", "partition"),
    Index(None, "flow", "stage", "created_at"),
)

# what a partition took for its own before it committed, seen by those that run beside it; mark: of a key, by SHA-256; first, last:
# seconds since 1970, see `baton.stages.claims`
claims = _table("claims", "flow* stage* partition* mark* owner* first:float last:float")

# --- rows ---

# one row per broken rule of a source row; status: open, repaired, discarded, resolved
quarantine = _table(
    "quarantine",
    "flow* partition* row_sha* row:int* rule* source entity_key? column? value? advice? status repair:json? "
    "reason? actor? raw:json? first_seen updated_at",
    Index(None, "status"),
    Index(None, "entity_key", "flow", "partition"),
    Index(None, "partition", "status"),
)
# what a partition has published, the rows are objects (`baton.published`); number: by which the index names it; commit_id: null
# before the first commit; models: version by model; entities: number of them; decisions, predictions: the datasets
published = _table(
    "published",
    "number:id* flow partition commit_id:big? models:json? entities:int? decisions:json? predictions:json? at?",
    UniqueConstraint("flow", "partition"),
)
# sorted lists of the keys that partitions have published, which are objects; ref: null while it is being written
segments = _table("segments", "number:id* level:int name rows:big ref:json? at")
# what turned out to be true of a target (0 or 1, a quantity, or a category), and who said so; origin: chargeback,
# analyst, ...
labels = _table(
    "labels",
    "flow* entity_key* origin* target* partition label:float? category? actor? known_at",
    Column("rank", Integer, nullable=False, default=0),
    Index(None, "flow", "partition", "target", "known_at"),
)
# work for people; a resolution is a person's and is never overwritten by a run; title: what people call it, reasons: the
# decision's own sentences, both perhaps with personal data: for those who may decide; resolutions: what may be answered ->
# what is then true (target -> value); edits: answers that come with a text -> column of the decision that it stands
# instead of; actor_id: what the person logged in with, actor: what they are called; text: what the person wrote, null where it is what was offered; priority: 1 is first;
# money, why: what the published decision and scores say, for lists, which read no objects
cases = _table(
    "cases",
    "flow* entity_key* partition route queue? priority:int? risk:float status title? reasons:json? "
    "resolutions:json edits:json? resolution? actor? note? text? opened_at updated_at actor_id? money:float? why:json?",
    Index(None, "flow", "partition"),
    Index(None, "status", "flow", "queue", "route"),
    Index(None, "status", "updated_at", "flow"),
)
# what people changed in a proposal before it was carried out; the last change counts, the ledger has them all
adjustments = _table("adjustments", "flow* partition* entity_key* field* proposed:float decided:float actor reason? at")

# --- models ---

# the gate's verdict on a version (judged_at), the request about its promotion, and what people's votes on that came to:
# approved, rejected, timeout; the votes themselves are in `votes`
approvals = _table(
    "approvals", "model* version:int* verdict:json answer? reviewer? channel? judged_at answered_at? request:big?"
)
# the version a partition was scored with; re-runs and backfills use it again
partition_models = _table(
    "partition_models",
    "flow* partition* model* version:int recorded_at",
    Index(None, "model", "version", "partition"),
    Index(None, "model", "version", "flow", "partition"),
)
# one judgement of one partition for one model version; verdict: drifted, stable, too_few, pending, or what put it out of
# force: superseded (judged for another version since), broken, missing; measured: 1 where its labelled result says
# something; window: what decisions are made on; table: what people read
drift_windows = _table(
    "drift_windows",
    # the table last: it is long, and SQLite reads a row's columns in their order
    "model* partition* version:int* flow verdict measured:int window:json features:json performance:json? commit_id:big? "
    "judged_at table:json",
    Index(None, "model", "version", "partition"),
    Index(None, "model", "version", "measured", "partition"),
)
# each time drift asked for training; the budget and the cool-down count these
retrains = _table("retrains", "id:id* model reason partition requested_at", Index(None, "model", "partition"))

# --- what is used up ---

# one row per model version, or agent and model that it asked, that a commit is made with; asset: `model:NAME` or `agent:NAME`; version:
# of the model, of an agent the beginning of its prompt's SHA-256; model: that the agent asked, else empty; rows: scored, or cases; calls: requests; cost: dollars,
# null where no price is known; day: of the work, UTC; what an earlier attempt asked is not in it
usage = _table(
    "usage",
    "commit_id:big* asset* version* model* pack flow stage partition day at rows:big calls:int tokens_in:big tokens_out:big "
    "seconds:float cost:float?",
    Index(None, "day", "flow"),
    Index(None, "asset", "day"),
)
# one row per attempt under a budget that has not committed: held: what it may still use up, by unit, until then or until its slot has
# another owner (fence); spent: what it has used; the row of one that never commits stays for that
reservations = _table(
    "reservations",
    "id:id* pack flow stage partition map_index:int fence:int at until held:json spent:json",
    Index(None, "at"),
)

# --- what heals ---

# what tools answered, under a digest of tool and value; value: null where it is personal; answer: null where the tool did not
# know it; until: when the row goes
lookups = _table("lookups", "tool* digest* value? answer:json? at until", Index(None, "until"))
# one row per tool that failed of late; state: closed, open, half_open, see `baton.lookups.breaker`
breakers = _table("breakers", "tool* state failures:int probes:int opened_at? retry_at? error? updated_at")
# one row per model of a flow that is not scored by its champion: the rung that scores instead, `previous` or `rules`
rungs = _table("rungs", "flow* model* rung version:int? reason partition since updated_at")

# --- record ---

# effects outside the warehouse, each done once under its key; states: see `baton.effects.outbox`; target: what it is done to;
# action: what was judged beside the payload (`baton.actions.action`); undo: what takes it back, and who asked for that; via:
# how it was delivered; undone_at: since when it does not stand any more
outbox = _table(
    "outbox",
    "key* kind flow partition entity_key payload:json state attempts:int lease_until? answer:json? error? "
    "created_at updated_at sent_at? target? action:json? undo:json? via:json? undone_at?",
    Index(None, "state"),
    Index(None, "flow", "partition"),
    Index(None, "target", "kind"),
    Index(None, "flow", "entity_key"),
    Index(None, "updated_at"),
)
# an effect, or a change of an asset, that people are asked about; pack: whose policy decides, a pack or an asset (`model:NAME`);
# subject: digest of all that it would be approved for, seen: of that, and of who asks and how many agree; barred: who cannot approve it besides the
# requester -> why; state: open, approved, refused, expired, withdrawn, replaced
requests = _table(
    "requests",
    "id:id* effect flow partition entity_key kind target pack level rule needs:int reasons:json requester action:json subject "
    "seen evidence policy state note? opened_at updated_at expires_at barred:json?",
    Index(None, "effect"),
    Index(None, "state", "flow", "partition"),
    Index(None, "flow", "entity_key"),
    Index(None, "pack", "rule", "opened_at"),
)
# one person's word on one request; answer: approved, refused
votes = _table("votes", "request:big* person* name answer reason? seen channel at")
# what lets one effect happen once; request: null where the policy alone said yes; subject: what it is bound to, by SHA-256
permits = _table(
    "permits",
    "id:id* effect request:big? pack level rule subject policy nonce issued_at expires_at used_at? used_by? void_at? void_why?",
    Index(None, "effect"),
    Index(None, "pack", "rule", "issued_at"),
    Index(None, "level", "issued_at"),
)
# who may do what on which asset (`baton.governance.duties`), until when; person: what they log in with;
# agreed_at: null while it waits for a second person
grants = _table(
    "grants",
    "id:id* asset person duty given_by reason? at valid_to ended_at? ended_by? agreed_at?",
    Index(None, "asset", "duty"),
    Index(None, "duty", "asset"),
)
# texts of files that are or were in force (`baton.governance.content`), by what counts of them; which is, the ledger says
asset_contents = _table("asset_contents", "digest* content at")
# what the digests in packs of evidence about an entity's decision are salted with; partition: of the last decision that one was about.
# An erasure takes it, and age with the predictions: the digests say nothing any more
evidence_salts = _table("evidence_salts", "flow* entity_key* partition salt at")
meta = _table("meta", "key* value")
# append-only, hash-chained, sealed with a key outside the database; written through `baton.record.ledger` only
ledger = _table(
    "ledger", "seq:number* at kind subject payload prev hash seal", Index(None, "subject"), Index(None, "kind")
)
# roots of complete subtrees of the ledger as a Merkle tree, of 256 entries (level 8) and more: see `baton.record.tree`
ledger_tree = _table("ledger_tree", "level:int* number:big* hash")
