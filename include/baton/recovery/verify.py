"""Is everything that is on record there as it was written: the ledger, every dataset in force, every model version?

The ledger's own check comes first. Then each head's object is hashed, one at a time, and each registered version's files are
fetched from the registry and checked against their signed manifest. What was well is remembered beside the ledger's own mark, so
that `new` looks at what came since.
"""

import getpass
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from baton.data import datasets
from baton.data.datasets import DatasetRef
from baton.errors import BatonError, DatasetCorrupt, RegistryRefused
from baton.progress import tell, told
from baton.published import index
from baton.published import rows as published
from baton.record import ledger, tables, warehouse
from baton.record.tables import commits, heads, segments
from baton.record.tables import ledger as table
from baton.registry.client import ALIAS_MOVED, champions
from baton.registry.identity import ModelVersion
from baton.stages.slots import Slot

_AT_ONCE = 500
# on Postgres a transaction with a lower number may commit after one with a higher: the last ones are looked at again
AGAIN = 100


class Registered(Protocol):
    """What `verify` asks of the registry (`baton.registry.client.Registry`)."""

    def models(self) -> list[str]:
        """Names of the registered models."""

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions of one, oldest first."""

    def check(self, known: ModelVersion) -> Any:
        """Check a version's files; raises RegistryRefused."""


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written.

    Attributes:
        what: `ledger`, `dataset` or `model`.
        where: entry, slot, or model and version.
        says: what is wrong, and what to do.
    """

    what: str
    where: str
    says: str


@dataclass(frozen=True)
class StateCheck:
    """What `verify` found.

    Attributes:
        faults: nothing of what was looked at is wrong where there are none.
        entries, datasets, versions: how many were looked at.
        new: only what came after the last check that found all well.
    """

    faults: list[Damage]
    entries: int
    datasets: int
    versions: int
    new: bool


def verify(registry: Registered | None, *, new: bool = False) -> StateCheck:
    """Check ledger, datasets in force and registered versions; remembers up to where all was well.

    Args:
        registry: None where no registry was ever made.
        new: only what came after the last check that found all well; what changed further back is not seen then.

    Raises:
        ServiceError: the registry does not answer.
    """
    chain = ledger.verify(new=new)
    before: dict[str, Any] = ((ledger.last_check() or {}).get("state") or {}) if new else {}
    faults = [] if chain.ok else [Damage("ledger", f"entry {chain.first_broken or '?'}", chain.reason)]
    newest, looked = int(before.get("commit", 0)), 0
    with warehouse.read() as conn:
        segment = int(conn.scalar(sa.select(sa.func.max(segments.c.number)).where(segments.c.ref.is_not(None))) or 0)
    for number, slot, ref in _in_force(max(0, newest - AGAIN)):
        newest, looked = max(newest, number), looked + 1
        tell("datasets checked", "datasets", looked)
        faults += _dataset(number, slot, ref)
    for what, ref in list(_published(max(0, int(before.get("commit", 0)) - AGAIN), int(before.get("segment", 0)))):
        looked += 1
        tell("datasets checked", "datasets", looked)
        faults += _still(what, ref)
    marks = dict(before.get("versions", {}))
    known = list(_versions(registry))
    fresh = [one for one in known if one.version > marks.get(one.model, 0)]
    if registry is not None:
        for one in told(fresh, "model versions checked", "versions", len(fresh)):
            faults += _version(registry, one)
    faults += _champions({(one.model, one.version) for one in known})
    marks |= {one.model: one.version for one in known}  # the oldest first
    ledger.remember(
        chain, getpass.getuser(), None if faults else {"commit": newest, "segment": segment, "versions": marks}
    )
    return StateCheck(faults, chain.records - chain.after, looked, len(fresh), new)


def _in_force(after: int) -> Iterator[tuple[int, Slot, DatasetRef]]:
    """Heads by the number of their commit; no transaction stays open while objects are read."""
    columns = [commits.c.id, *(heads.c[name] for name in ("flow", "stage", "partition", "map_index")), commits.c.ref]
    query = sa.select(*columns).select_from(heads.join(commits, heads.c.commit_id == commits.c.id))
    while True:
        with warehouse.read() as conn:
            rows = conn.execute(query.where(commits.c.id > after).order_by(commits.c.id).limit(_AT_ONCE)).all()
        for row in rows:
            yield row.id, Slot(*row[1:5]), DatasetRef.from_dict(row.ref)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].id


def _published(after: int, segment: int) -> Iterator[tuple[str, DatasetRef]]:
    """What is published by later commits, and later segments of the index of its keys."""
    with warehouse.read() as conn:
        for one in published.published(conn, tables.published.c.commit_id > after):
            for kind in (published.DECISIONS, published.PREDICTIONS):
                if (ref := one.ref(kind)) is not None:
                    yield f"{one.flow}/{one.partition}: {kind}", ref
        query = sa.select(segments.c.ref).where(segments.c.ref.is_not(None), segments.c.number > segment)
        for ref in conn.scalars(query):
            yield "index of published keys", DatasetRef.from_dict(ref)


def _still(where: str, ref: DatasetRef) -> Iterator[Damage]:
    if datasets.verifies(ref):
        return
    with warehouse.read() as conn:
        if ref in index.named(conn):
            says = f"{ref.uri}: missing or changed; publish its partition again, or bring it back from a backup"
            yield Damage("dataset", where, says)


def _dataset(number: int, slot: Slot, ref: DatasetRef) -> Iterator[Damage]:
    if datasets.verifies(ref):
        return
    with warehouse.read() as conn:
        now = conn.execute(
            sa.select(commits.c.ref)
            .select_from(heads.join(commits, heads.c.commit_id == commits.c.id))
            .where(commits.c.id == number)
        ).scalar()
    if now is None or DatasetRef.from_dict(now) != ref:
        return  # computed anew, erased or retained meanwhile
    says = f"{ref.uri}: missing or changed; run its stage again to build it anew"
    with suppress(BatonError):
        try:
            datasets.read(ref, [])
        except DatasetCorrupt as corrupt:
            says = str(corrupt)
    yield Damage("dataset", str(slot), says)


def _versions(registry: Registered | None) -> Iterator[ModelVersion]:
    if registry is not None:
        for model in registry.models():
            yield from registry.versions(model)


def _version(registry: Registered, known: ModelVersion) -> Iterator[Damage]:
    try:
        registry.check(known)
    except RegistryRefused as refusal:
        says = f"{refusal}; bring its files back from a backup, or delete the version in MLflow"
        yield Damage("model", f"{known.model} version {known.version}", says)


def _champions(known: Collection[tuple[str, int]]) -> Iterator[Damage]:
    """Models whose champion, by the ledger, the registry does not have: another registry, or an older one."""
    with warehouse.read() as conn:
        models = conn.scalars(sa.select(table.c.subject).distinct().where(table.c.kind == ALIAS_MOVED)).all()
    for model in sorted(models):
        champion = next(iter(champions(model)), None)
        if champion is not None and (model, champion) not in known:
            says = (
                "champion by the ledger, and the registry does not have it: bring back the registry of this warehouse"
            )
            yield Damage("model", f"{model} version {champion}", says)
