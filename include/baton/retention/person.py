"""Erasure: what a flow keeps of one entity goes, wherever it is, and its digest stays.

Rows of the warehouse are deleted. A dataset is written anew without the entity's rows, under a name never used before, and
put in the old one's place in one transaction, together with the ledger entry; then the old object goes. Commits keep
their digests, so a repeated run finds its result and does not read the source again. Attempts that may have read what
goes are fenced off: before the exchange, and once more when the old objects are gone.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import datasets, objects, stored
from baton.data.datasets import DatasetRef
from baton.effects.outbox import SENDING
from baton.errors import BatonError
from baton.jsontext import to_json
from baton.lookups import cache
from baton.names import monitor_of, promote_of, train_of
from baton.packs.pack import load_pack, packs
from baton.published import index, keyed, writing
from baton.published.rows import DECISIONS, KEY, PREDICTIONS, Kind, published
from baton.record import erased, ledger, tables, warehouse
from baton.retention.evidence import Removal, blank, take
from baton.settings import settings
from baton.stages import garbage, slots
from baton.stages.groups import groups_of
from baton.stages.journal import Journal
from baton.stages.slots import Slot, is_slot
from baton.tracking.rest import Rest, credentials
from baton.tracking.traces import forget

_TABLES = (tables.quarantine, tables.labels, tables.cases, tables.adjustments, tables.evidence_salts)
_TRIES = 5
_PATIENCE = 10.0  # seconds for MLflow


@dataclass
class _Found:
    """The objects of a flow's reach that hold the entity, and what stands in their places."""

    newest: int
    old: list[objects.StoredObject] = field(default_factory=list)  # with the rows, or of attempts that never committed
    rows: int = 0
    slots: dict[Slot, int] = field(default_factory=dict)  # -> the fence that we took
    refs: dict[int, tuple[DatasetRef, DatasetRef, int]] = field(default_factory=dict)  # commit -> before, after, fence
    beside: dict[tuple[int, Kind], tuple[DatasetRef, DatasetRef]] = field(
        default_factory=dict
    )  # number -> before, after
    gone: dict[int, tuple[int, set[str]]] = field(default_factory=dict)  # number -> entities before, and those that go
    published: dict[Kind, list[str]] = field(default_factory=dict)  # rows of the flow that go, as JSON


def flows_of(entities: Collection[str]) -> list[str]:
    """Flows whose tables know one of the entities."""
    found: set[str] = set()
    with warehouse.read() as conn:
        for table in (*_TABLES, tables.outbox):
            query = sa.select(table.c.flow).where(table.c.entity_key.in_(entities)).distinct()
            found |= set(conn.scalars(query))
    return sorted(found | {one.flow for entity in entities for one in index.newest(entity)})


def erase(entities: Collection[str], flow: str, reason: str, actor: str, dry_run: bool = True) -> Removal:
    """Erase what a flow, and whatever was made of its rows, holds of the entities.

    Args:
        entities: keys, as the flow publishes them.
        flow: DAG id.
        reason: for the record; it names nobody.
        dry_run: say what would go, remove nothing.

    Raises:
        BatonError: an effect is being delivered, or runs of the flow get in the way five times.
        DatasetCorrupt: an object cannot be read, so nobody knows whether it holds the entity.
    """
    with warehouse.read() as conn:
        reach, columns = _reach(conn, flow), _key_columns(conn, flow)
    removal = Removal(flow)
    traces = _traces(flow, entities, dry_run)
    for _ in range(_TRIES):
        found = _scan(flow, reach, columns, entities, dry_run)
        places = _places(flow, entities)
        removal = Removal(flow, objects=[item.uri for item in found.old], size=sum(item.size for item in found.old))
        removal.deliveries = _deliveries(found)
        removal.left = [traces] if isinstance(traces, str) else []
        work = partial(_exchange, found=found, reach=reach, entities=entities, removal=removal,
                       said={"actor": actor, "reason": reason, "traces": traces}, dry_run=dry_run)  # fmt: skip
        try:
            keys = warehouse.transact(work)
        except BatonError:
            _drop(found, dry_run)
            raise
        if keys is not None:
            break
        _drop(found, dry_run)
    else:
        raise BatonError(f"runs of {flow} got in the way {_TRIES} times: pause its DAGs and repeat; nothing was erased")
    if not dry_run:
        _clean(found, reach, places, keys)
    return removal


def _drop(found: _Found, dry_run: bool) -> None:
    """Remove the new objects of an exchange that did not take place."""
    made = [after for _, after, _ in found.refs.values()] + [after for _, after in found.beside.values()]
    for after in () if dry_run else made:
        datasets.delete(after)


def _traces(flow: str, entities: Iterable[str], dry_run: bool) -> int | str:
    """Delete what agents' calls about the entity left in MLflow; their number, or why they are still there."""
    here = settings()
    if not here.mlflow_tracking_uri:
        return 0
    try:
        rest = Rest(here.mlflow_tracking_uri, credentials(here.home, "service"), _PATIENCE)
        return sum(forget(rest, "agents/", {"flow": flow, "entity": entity}, dry_run) for entity in entities)
    except BatonError as error:
        return f"traces of agents in MLflow, which hold masked texts and the key: {error}"


def _reach(conn: Connection, flow: str) -> set[str]:
    """The flow, its models' lifecycle DAGs, and every flow that reads a dataset of these."""
    found = {flow}
    while True:
        models = conn.scalars(
            sa.select(tables.partition_models.c.model).where(tables.partition_models.c.flow.in_(found)).distinct()
        )
        more = {name for model in models for name in (train_of(model), promote_of(model), monitor_of(model))}
        reads = sa.or_(*(sa.cast(tables.commits.c.inputs, sa.Text).like(f"%/{one}/%") for one in found))
        more |= set(
            conn.scalars(sa.select(tables.commits.c.flow).where(tables.commits.c.flow.not_in(found), reads).distinct())
        )
        if more <= found:
            return found
        found |= more


def _key_columns(conn: Connection, flow: str) -> set[tuple[str, ...]]:
    """Columns that hold the key, together where it takes several: the engine's own, and the keys of the flow's contracts."""
    c = tables.commits.c
    newest = sa.select(sa.func.max(c.id)).where(c.flow == flow).group_by(c.stage)
    states = [params.get("state") or {} for params in conn.scalars(sa.select(c.params).where(c.id.in_(newest)))]
    return {(KEY,), *(tuple(state["contract"]["key"]) for state in states if "contract" in state)}


def _scan(
    flow: str, reach: set[str], columns: set[tuple[str, ...]], entities: Collection[str], dry_run: bool
) -> _Found:
    """Look into every object of the reach; write anew those that hold the entity."""
    c = tables.commits.c
    with warehouse.read() as conn:
        needed = (c.id, c.flow, c.stage, c.partition, c.map_index, c.fence, c.digest, c.ref, c.inputs, c.params)
        rows = conn.execute(sa.select(*needed).where(c.flow.in_(reach))).mappings().all()
    commits = {(Slot(row["flow"], row["stage"], row["partition"], row["map_index"]), row["fence"]): row for row in rows}
    found = _Found(max((row["id"] for row in rows), default=0))
    owner = warehouse.transact(warehouse.identity)
    written: dict[tuple[Slot, int], list[objects.StoredObject]] = {}  # of an attempt: one object, or parts and manifest
    beside: dict[tuple[str, Slot], list[objects.StoredObject]] = {}  # of what it published
    for item, slot, fence in garbage.attempts():
        if slot.flow not in reach:
            continue
        if garbage.is_notes(item.name):
            found.old.append(item)  # may hold keys, and whoever wants them does its work again
        elif stem := garbage.beside_of(item.name):
            beside.setdefault((stem, slot), []).append(item)
        else:
            written.setdefault((slot, fence), []).append(item)
    _scan_published(found, beside, flow, entities, owner, dry_run)
    instead: dict[str, DatasetRef] = {}
    for slot, fence in sorted(written, key=lambda one: commits[one]["id"] if one in commits else 0):
        commit, items = commits.get((slot, fence)), written[slot, fence]
        if commit is None:  # of an attempt that crashed, or that is about to be refused
            found.old += items
            continue
        ref = DatasetRef.from_dict(commit["ref"])
        groups = groups_of(commit["params"], commit["inputs"])  # they have the rows, and were committed before it
        count = sum(group.uri in instead for group in groups) if groups else datasets.held(ref, columns, entities)
        if not count:
            continue
        found.old += items
        found.rows += 0 if groups else count
        if dry_run:
            found.refs[commit["id"]] = (ref, ref, fence)
            instead[ref.uri] = ref
            continue
        mine = warehouse.transact(partial(slots.raise_fence, slot=slot))
        found.slots[slot] = mine
        name = slots.object_name(slot, commit["digest"], mine, owner)
        if groups:
            after = stored.union([instead.get(group.uri, group) for group in groups], name)
        else:
            after = datasets.without(ref, columns, entities, name)
        instead[ref.uri] = after
        found.refs[commit["id"]] = (ref, after, mine)
    return found


def _scan_published(
    found: _Found, beside: Mapping[tuple[str, Slot], list[objects.StoredObject]], flow: str, entities: Collection[str], owner: str,
    dry_run: bool,
) -> None:  # fmt: skip
    """The same of what is published; what is not any more, or never was, goes whole."""
    with warehouse.read() as conn:
        here = tables.published.c.flow.in_({slot.flow for _, slot in beside})
        in_force = {
            garbage.named_by(ref.uri): (one, kind, ref)
            for one in published(conn, here) for kind in (DECISIONS, PREDICTIONS) if (ref := one.ref(kind)) is not None
        }  # fmt: skip
    for (stem, slot), items in beside.items():
        if stem not in in_force:
            found.old += items
            continue
        one, kind, ref = in_force[stem]
        rows = keyed.find(ref, KEY, entities).to_pylist()
        if not rows:
            continue
        found.old += items
        if slot.flow == flow:
            found.published.setdefault(kind, []).extend(to_json({"partition": one.partition, **row}) for row in rows)
        else:
            found.rows += len(rows)
        found.gone.setdefault(one.number, (one.entities, set()))[1].update(row[KEY] for row in rows)
        after = ref
        if not dry_run:
            found.slots[slot] = mine = warehouse.transact(partial(slots.raise_fence, slot=slot))
            digest = stem.rpartition("/")[2].partition("-")[0]
            name = writing.beside(slots.object_name(slot, digest, mine, owner), kind)
            after = datasets.without(ref, {(KEY,)}, entities, name, KEY)
        found.beside[one.number, kind] = (ref, after)


def _exchange(
    conn: Connection, found: _Found, reach: set[str], entities: Collection[str], removal: Removal, said: dict[str, Any],
    dry_run: bool,
) -> list[str] | None:  # fmt: skip
    """Put the new objects in place and delete the rows; None if a run got in between since the scan."""
    heads, commits, flow = tables.heads, tables.commits, removal.flow
    if not dry_run:
        _fence_off(conn, reach)
        moved = [slot for slot, fence in found.slots.items()
                 if conn.scalar(sa.select(heads.c.fence).where(*is_slot(heads, slot))) != fence + 1]  # fmt: skip
        if moved or found.newest != (
            conn.scalar(sa.select(sa.func.max(commits.c.id)).where(commits.c.flow.in_(reach))) or 0
        ):
            return None
    mine = [tables.outbox.c.flow == flow, tables.outbox.c.entity_key.in_(entities)]
    busy = [tables.outbox.c.state == SENDING, tables.outbox.c.lease_until > warehouse.now()]
    if conn.execute(sa.select(tables.outbox.c.key).where(*mine, *busy)).first():
        raise BatonError(
            f"{flow}: an effect of it is being delivered right now; repeat in a minute. Nothing was erased"
        )
    removal.rows = {kind: len(rows) for kind, rows in found.published.items()}
    texts = {kind: "\n".join(sorted(rows)) for kind, rows in found.published.items()}
    removal.digests = {kind: hashlib.sha256(text.encode()).hexdigest() for kind, text in texts.items()}
    for table in _TABLES:
        take(conn, table, [table.c.flow == flow, table.c.entity_key.in_(entities)], removal, dry_run)
    take(conn, tables.claims, [tables.claims.c.flow == flow, tables.claims.c.owner.in_(entities)], removal, dry_run)
    take(conn, tables.lookups, [tables.lookups.c.digest.in_(_looked_up(entities))], removal, dry_run)
    keys = list(conn.scalars(sa.select(tables.outbox.c.key).where(*mine)))
    blank(conn, mine, removal, dry_run)
    more = {"rows of datasets": found.rows, "traces in MLflow": said["traces"]}
    removal.rows |= {name: count for name, count in more.items() if count and not isinstance(count, str)}
    if dry_run or not removal.rows:
        return keys
    _repoint(conn, found)
    exchanged = [[before.content_sha256, after.content_sha256] for before, after, _ in found.refs.values()]
    listed = hashlib.sha256("\n".join(map(str, exchanged)).encode()).hexdigest()
    said = {**said, "rows": removal.rows, "rows_sha256": removal.digests}
    said |= {"datasets": len(exchanged), "first_datasets": exchanged[:10], "datasets_sha256": listed}
    for entity in sorted(entities):
        ledger.append(conn, erased.ERASED, erased.subject(flow, entity), said)
    return keys


def _looked_up(entities: Collection[str]) -> list[str]:
    """Names of what tools answered about the entities, where their keys are what was looked up."""
    tools = [tool for name in packs() for tool in load_pack(name).tools.values()]
    return [cache.digest(tool, entity) for tool in tools for entity in entities]


def _repoint(conn: Connection, found: _Found) -> None:
    """Name the new objects wherever the old ones are named: in their commits, in heads, among the inputs of other commits."""
    heads, commits = tables.heads, tables.commits
    for commit_id, (_, after, fence) in found.refs.items():
        values = {"uri": after.uri, "ref": after.to_dict(), "fence": fence}
        conn.execute(commits.update().where(commits.c.id == commit_id).values(values))
        conn.execute(heads.update().where(heads.c.commit_id == commit_id).values(uri=after.uri))
    table = tables.published
    for (number, kind), (_, after) in found.beside.items():
        many, gone = found.gone[number]
        values = {kind: after.to_dict(), "entities": many - len(gone)}
        conn.execute(table.update().where(table.c.number == number).values(values))
    instead = {before.uri: after.to_dict() for before, after, _ in found.refs.values()}
    changed = {}
    for commit_id, inputs in conn.execute(sa.select(commits.c.id, commits.c.inputs).execution_options(yield_per=2000)):
        new = {name: instead.get(given["uri"], given) for name, given in inputs.items()}
        if new != inputs:
            changed[commit_id] = new
    for commit_id, new in changed.items():
        conn.execute(commits.update().where(commits.c.id == commit_id).values(inputs=new))


def _fence_off(conn: Connection, reach: set[str]) -> None:
    conn.execute(tables.heads.update().where(tables.heads.c.flow.in_(reach)).values(fence=tables.heads.c.fence + 1))


def _places(flow: str, entities: Collection[str]) -> set[str]:
    """Partitions whose contract pages may show the entity."""
    c = tables.quarantine.c
    with warehouse.read() as conn:
        return set(conn.scalars(sa.select(c.partition).where(c.flow == flow, c.entity_key.in_(entities)).distinct()))


def _deliveries(found: _Found) -> list[str]:
    """Where the rows were read from."""
    query = sa.select(tables.commits.c.facts).where(tables.commits.c.id.in_(found.refs))
    with warehouse.read() as conn:
        return sorted({str(facts["uri"]) for facts in conn.scalars(query) if "source_sha256" in facts})


def _clean(found: _Found, reach: set[str], partitions: Iterable[str], keys: Iterable[str]) -> None:
    """Remove what no transaction holds; repeating it, or an erasure that died before it, does no harm."""
    for item in found.old:
        objects.delete(item.uri)
    # an attempt that began since, and read an object while it was still there
    warehouse.transact(partial(_fence_off, reach=reach))
    c, here = tables.heads.c, settings()
    touched = {slot.partition for slot in found.slots} | set(partitions)
    with warehouse.read() as conn:
        rows = conn.execute(
            sa.select(c.flow, c.stage, c.partition, c.map_index).where(c.flow.in_(reach), c.partition.in_(touched))
        )
        answers = [Journal(Slot(*row).folder, None) for row in rows]
    for one in answers:  # of agents and readers, for a run that is not over
        one.clear()
    pages = [
        here.reports_dir / "contracts" / flow / partition.replace(":", "-")
        for flow in reach
        for partition in partitions
    ]
    for path in [page for folder in pages for page in folder.glob("*.html")] + [
        here.home / "outbox" / f"{key}.eml" for key in keys
    ]:
        path.unlink(missing_ok=True)
    warehouse.compact()
