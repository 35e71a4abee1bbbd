"""Slots: a stage's result is committed once, whatever crashes, wakes late or is triggered twice.

A slot is (flow, stage, partition, map index). Its head has a *fence*, raised by every attempt. An attempt
writes its rows to an object of its own and commits them in one transaction that succeeds only while the fence
is still its own; a late attempt is refused and its object removed. The same input digest returns what is
there and runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import datasets
from baton.data.datasets import DatasetRef
from baton.errors import StaleAttempt
from baton.jsontext import to_json
from baton.lineage.telling import tell_of
from baton.names import PUBLISH
from baton.published.rows import in_force
from baton.record import ledger, warehouse
from baton.record.tables import commits, heads
from baton.record.tables import ledger as entries
from baton.stages.digests import input_digest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FAULT: Callable[[str], None] = lambda point: None  # noqa: E731 - a hook: crash tests put a killer here
"""Called in turn with looked, fenced, computed, writing, written, synced, named, before_commit, committed."""

ATTEMPT: ContextVar[int] = ContextVar("attempt", default=-1)  # fence of the one that this code runs in
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.~-]*")


@dataclass(frozen=True)
class Slot:
    """Where one stage's result for one partition belongs; `map_index` counts mapped tasks, -1 for none."""

    flow: str
    stage: str
    partition: str
    map_index: int = -1

    def __post_init__(self) -> None:
        for name in (self.flow, self.stage):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a flow or stage: letters, digits and _ . ~ - only, a letter first"
                )
        if not self.partition:
            raise ValueError(f"the slot of {self.flow}.{self.stage} needs a partition")

    def __str__(self) -> str:
        mapped = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.flow}/{self.stage}{mapped}/{self.partition}"

    @property
    def folder(self) -> str:
        """Path of the slot's objects in the store; a partition may come from a form, so it is escaped."""
        return f"{self.flow}/{self.stage}/{_escape(self.partition)}/{self.map_index}"


@dataclass(frozen=True)
class StageOutput:
    """What a stage's function returns.

    Attributes:
        frame: the rows (n rows, any columns).
        facts: small JSON facts about them, stored with the commit and returned again by a cached result; complete when `rest`
            is at its end.
        on_commit: called with the connection and the commit's id inside the commit's transaction, to write
            other tables together with it; called again if the database asks for a repetition.
        rest: further rows of the same columns, frame by frame, made while those before are written: so a step with
            many rows need not hold them all. The facts may change until the last is made.
        beside: writes further datasets that belong to the attempt, given the name of its own, and returns them; they go where the
            attempt cannot commit. What puts them in force is `on_commit`.
        ends: see `datasets.DatasetWriter`.
        made: writes the rows itself, as a new dataset of the name that it is given, instead of `frame` and `rest` (an
            engine, `baton.engines`); it leaves nothing when it raises.
    """

    frame: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    on_commit: Callable[[Connection, int], None] | None = None
    rest: Iterable[pd.DataFrame | pa.Table] = ()
    beside: Callable[[str], list[DatasetRef]] | None = None
    ends: Sequence[int] = ()
    made: Callable[[str], DatasetRef] | None = None


@dataclass(frozen=True)
class StageResult:
    """A committed version of a slot; `cached` is True when this call did not compute it; what it was made with: `params`, `models`, `inputs`; for which run."""

    ref: DatasetRef
    facts: dict[str, Any]
    commit_id: int
    cached: bool
    digest: str = ""
    created_at: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, int | str] = field(default_factory=dict)
    inputs: Mapping[str, DatasetRef] = field(default_factory=dict)
    run_id: str | None = None


def run_stage(
    slot: Slot,
    compute: Callable[[dict[str, DatasetRef]], StageOutput],
    *,
    inputs: Mapping[str, DatasetRef],
    params: Mapping[str, Any],
    models: Mapping[str, int | str],
    code: str,
    run_id: str | None,
) -> StageResult:
    """Return the slot's result for these inputs: the one that is there, or a new one, computed and committed.

    Args:
        slot: where the result belongs.
        compute: called with `inputs` unless the head has the same digest and its object verifies.
        inputs, params, models, code: what the result depends on (`input_digest`).
        run_id: the run that asks, recorded with the commit.

    Raises:
        StaleAttempt: a later attempt owns the slot and has not committed the same digest: nothing committed.
        StoreError: the rows could not be written; nothing was committed.
        Exception: what `compute` or `on_commit` raise; nothing was committed.
    """
    about = {
        "digest": input_digest(inputs, params, models, code),
        "inputs": {name: given.to_dict() for name, given in inputs.items()},
        "params": dict(params),
        "models": dict(models),
        "code": code,
        "run_id": run_id,
    }

    def make(path: str) -> Made:
        output = compute(dict(inputs))
        FAULT("computed")
        to_json(output.facts)  # what it cannot hold is refused before a byte is written
        if output.made is not None:
            return [output.made(path)], output.facts, output.on_commit
        with datasets.DatasetWriter(path, slot.partition, at=lambda point: FAULT(point), ends=output.ends) as writer:
            for frame in chain([output.frame], output.rest):
                writer.add(frame)
            ref = writer.close()
        return [ref, *_beside(output, path, ref)], output.facts, output.on_commit

    return commit_once(slot, about, make)


Made = tuple[list[DatasetRef], dict[str, Any], Callable[[Connection, int], None] | None]


def _beside(output: StageOutput, path: str, own: DatasetRef) -> list[DatasetRef]:
    try:
        return output.beside(path) if output.beside is not None else []
    except BaseException:
        datasets.delete(own)
        raise


def _verifies(slot: Slot, result: StageResult) -> bool:
    """Whether its objects, also those of what it published, are as they were written."""
    if not datasets.verifies(result.ref):
        return False
    there = in_force(slot.flow, slot.partition) if slot.stage == PUBLISH else None
    owned = [there.decisions, there.predictions] if there and there.commit_id == result.commit_id else []
    return all(datasets.verifies(ref) for ref in owned if ref is not None)


def commit_once(
    slot: Slot,
    about: Mapping[str, Any],
    make: Callable[[str], Made],
    present: Callable[[Slot, StageResult], bool] = _verifies,
) -> StageResult:
    """Return the slot's result of a digest: the one that is there, or a new one.

    Args:
        about: of the commit: digest, inputs (as JSON), params, models, code, run_id.
        make: writes the dataset of the given name; returns its reference and those of what it wrote beside, the facts, and what
            to call in the commit's transaction.
        present: whether what a result names is still there; by default all its bytes are checked.

    Raises:
        StaleAttempt: see `run_stage`.
        Exception: what `make` raises; nothing was committed.
    """
    found = _usable(slot, about["digest"], present)
    if found is not None:
        return found
    FAULT("looked")
    fence, owner = warehouse.transact(lambda conn: (raise_fence(conn, slot), warehouse.identity(conn)))
    FAULT("fenced")
    found = _usable(slot, about["digest"], present)  # by another attempt, between the first look and the fence
    if found is not None:
        return found
    outer = ATTEMPT.set(fence)
    try:
        refs, facts, on_commit = make(object_name(slot, about["digest"], fence, owner))
    finally:
        ATTEMPT.reset(outer)
    ref = refs[0]
    row = {**_where(slot), **about, "fence": fence, "uri": ref.uri, "ref": ref.to_dict(), "created_at": warehouse.now()}
    row["facts"] = json.loads(to_json(facts))  # as a cached result will return them
    return _commit(slot, row, refs, on_commit, present)


def _commit(
    slot: Slot, row: dict[str, Any], refs: list[DatasetRef], on_commit: Callable[[Connection, int], None] | None,
    present: Callable[[Slot, StageResult], bool],
) -> StageResult:  # fmt: skip
    """Name the first object as the slot's head, together with what `on_commit` writes; or remove all again."""
    ref = refs[0]
    complete = False  # True once COMMIT may have been sent: from then on the objects may be data
    entry = 0

    def work(conn: Connection) -> int:
        nonlocal complete, entry
        complete = False
        commit_id = _name(conn, slot, row)
        FAULT("named")
        if on_commit is not None:
            on_commit(conn, commit_id)
        payload = {"commit": commit_id, "rows": ref.rows, "sha256": ref.content_sha256, "uri": ref.uri}
        payload |= {name: row[name] for name in ("fence", "digest", "models", "run_id")}
        payload["inputs"] = {name: given["content_sha256"] for name, given in row["inputs"].items()}
        entry = ledger.append(conn, "dataset_committed", str(slot), payload)
        # committed when the ledger says so: what was stamped before waited for its turn, and others may have come between
        said = sa.select(entries.c.at).where(entries.c.seq == entry).scalar_subquery()
        timed = commits.update().where(commits.c.id == commit_id).values(created_at=said)
        row["created_at"] = conn.execute(timed.returning(commits.c.created_at)).scalar_one()
        FAULT("before_commit")
        complete = True
        return commit_id

    try:
        commit_id = warehouse.transact(work)
    except StaleAttempt:
        _delete(refs)
        current = _usable(slot, row["digest"], present)
        if current is None:
            raise
        return current
    except BaseException:  # a task's time limit is no Exception
        if not complete:  # else the database may have committed before the connection broke: gc will know
            _delete(refs)
        raise
    FAULT("committed")
    made = _result({**row, "id": commit_id}, cached=False)
    return replace(made, facts={**made.facts, "lineage": waits}) if (waits := tell_of(entry)) else made


def _delete(refs: list[DatasetRef]) -> None:
    for ref in refs:
        datasets.delete(ref)


def _name(conn: Connection, slot: Slot, row: dict[str, Any]) -> int:
    commit_id = int(conn.execute(commits.insert().values(row).returning(commits.c.id)).scalar_one())
    changed = conn.execute(
        heads.update()
        .where(*is_slot(heads, slot), heads.c.fence == row["fence"])
        .values(digest=row["digest"], uri=row["uri"], commit_id=commit_id)
    )
    if changed.rowcount != 1:
        raise StaleAttempt(
            f"{slot}: attempt {row['fence']} came too late, a later one owns the slot; its result is dropped"
        )
    return commit_id


def raise_fence(conn: Connection, slot: Slot) -> int:
    """Take the slot: no earlier attempt can commit any more. Returns the fence of the new one."""
    statement = warehouse.insert(conn, heads).values(**_where(slot), fence=1)
    statement = statement.on_conflict_do_update(
        index_elements=[column.name for column in heads.primary_key], set_={"fence": heads.c.fence + 1}
    )
    return int(conn.execute(statement.returning(heads.c.fence)).scalar_one())


def _usable(slot: Slot, digest: str, present: Callable[[Slot, StageResult], bool]) -> StageResult | None:
    result = head(slot)
    return result if result is not None and result.digest == digest and present(slot, result) else None


# --- what is there ---


def head(slot: Slot) -> StageResult | None:
    """Return the slot's present version, None before its first commit."""
    joined = heads.join(commits, heads.c.commit_id == commits.c.id)
    with warehouse.read() as conn:
        row = conn.execute(sa.select(commits).select_from(joined).where(*is_slot(heads, slot))).mappings().first()
    return None if row is None else _result(row)


def heads_of_groups(own: Slot, many: int) -> list[StageResult]:
    """Present versions of the first so many groups of a stage (map index from 0), as far as they are there; see `stages.groups`."""
    joined = heads.join(commits, heads.c.commit_id == commits.c.id)
    same = [heads.c[name] == value for name, value in _where(own).items() if name != "map_index"]
    query = sa.select(commits).select_from(joined).where(*same, heads.c.map_index.between(0, many - 1))
    with warehouse.read() as conn:
        return [_result(row) for row in conn.execute(query.order_by(heads.c.map_index)).mappings()]


def recomputed_after(slot: Slot) -> int | None:
    """The degraded result that a repetition computes anew; as part of a step's state it makes a digest of its own.

    Returns:
        the commit of the slot's head where that is degraded; else what is in the head's own state, so that a result that
        became whole is found again; None where there was never a degraded one.
    """
    before = head(slot)
    if before is None or before.facts.get("degraded"):
        return None if before is None else before.commit_id
    known = before.params.get("state", {}).get("after")
    return None if known is None else int(known)


def heads_of(flow: str, stage: str, wanted: Collection[str]) -> dict[str, StageResult]:
    """Return the present versions of many of a stage's partitions, in their order; those without a result are left out."""
    query = sa.select(commits).select_from(heads.join(commits, heads.c.commit_id == commits.c.id))
    query = query.where(heads.c.flow == flow, heads.c.stage == stage, heads.c.map_index == -1)
    with warehouse.read() as conn:
        rows = warehouse.among(conn, query, heads.c.partition, wanted)
        found = {row.partition: _result(row._mapping) for row in rows}
    return dict(sorted(found.items()))


def partitions(flow: str, stage: str, before: str | None = None, newest: int | None = None) -> list[str]:
    """Partitions of a stage that hold a result, in order.

    Args:
        before: only those before this one.
        newest: only so many, the last ones.
    """
    query = sa.select(heads.c.partition).distinct().where(
        heads.c.flow == flow, heads.c.stage == stage, heads.c.commit_id.is_not(None)
    )  # fmt: skip
    if before is not None:
        query = query.where(heads.c.partition < before)
    with warehouse.read() as conn:
        found = conn.execute(query.order_by(heads.c.partition.desc()).limit(newest)).scalars()
        return list(found)[::-1]


def history(slot: Slot) -> list[StageResult]:
    """Return every version that the slot had, oldest first."""
    with warehouse.read() as conn:
        rows = conn.execute(sa.select(commits).where(*is_slot(commits, slot)).order_by(commits.c.id)).mappings().all()
    return [_result(row) for row in rows]


def _result(row: Mapping[Any, Any], cached: bool = True) -> StageResult:
    inputs = {name: DatasetRef.from_dict(given) for name, given in row["inputs"].items()}
    return StageResult(
        DatasetRef.from_dict(row["ref"]), row["facts"], row["id"], cached, row["digest"], row["created_at"], row["params"],
        row["models"], inputs, row["run_id"],
    )  # fmt: skip


def _where(slot: Slot) -> dict[str, Any]:
    return {"flow": slot.flow, "stage": slot.stage, "partition": slot.partition, "map_index": slot.map_index}


def object_name(slot: Slot, digest: str, fence: int, owner: str) -> str:
    """Path of an attempt's dataset in the store; `owner` is the warehouse's identity. Parts and manifest begin with it."""
    return f"{slot.folder}/{digest}-{fence}-{owner}.parquet"


def is_slot(table: sa.Table, slot: Slot) -> list[Any]:
    return [table.c[name] == value for name, value in _where(slot).items()]


# --- names ---


def _escape(text: str) -> str:
    """Text as one harmless path segment: all but letters, digits and `:_+-.` as ~xx, also a leading dot."""
    safe = re.sub(r"[^A-Za-z0-9:_+.-]", lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode()), text)
    return f"~2e{safe[1:]}" if safe.startswith(".") else safe
