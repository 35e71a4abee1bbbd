"""Quarantine records: rows that break a contract, kept until they are repaired or discarded and go back.

A row is known by (flow, partition, row number, SHA-256 of the row as it arrived) and has one record for every
rule that it breaks; it counts once. Records are open, repaired (a repair waits for the next run), resolved
(the row passes now, or is no longer delivered) or discarded. Nothing is moved or copied: a run of the
contract stage judges all rows of the partition again, with the repairs laid over them and the discarded ones
left out (`apply_repairs`), so a repaired row cannot be counted twice.

This module is what stages use; `rows`, `repairs` and `files` are what people use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data.cells import BOOKKEEPING, PROBLEM, as_text, empty_cells, keys_of
from baton.data.fit import LONGEST_KEY, fit
from baton.data.identity import with_row_identity
from baton.errors import NoData
from baton.names import CONTRACT, INGEST
from baton.published.rows import in_force
from baton.quarantine.rows import WAITING, RowKey, counts, take_turn
from baton.record import warehouse
from baton.record.tables import commits, heads, quarantine

if TYPE_CHECKING:
    import pandas as pd

    from baton.contracts.check import ContractVerdict
    from baton.data.typed import Violation


_LONGEST = 2000  # characters of a value or an advice on record
RecordKey = tuple[str, int, str]  # row_sha, row, rule
RowRecords = dict[RecordKey, tuple[dict[str, Any], dict[str, Any]]]
"""What is said of each row and rule, and the row's cells; columns that break the same rule share a record."""


def record(
    conn: Connection,
    flow: str,
    partition: str,
    verdict: ContractVerdict,
    frame: pd.DataFrame,
    raw: pd.DataFrame | None = None,
) -> dict[str, int]:
    """Write a verdict's bad rows in the stage's transaction; a broken contract puts all rows of `frame` here.

    Args:
        frame: the rows that were judged, as `apply_repairs` returned them, with `_source`, `_row` and `_row_sha`.
        raw: the rows before `apply_repairs`; with it, discarded rows that are no longer delivered are resolved.

    Returns:
        number of records `open` and `resolved` by this verdict.
    """
    given = frame if raw is None else raw

    def delivered(rows: set[RowKey]) -> set[RowKey]:
        return rows if raw is None else rows & set(zip(given["_row_sha"], given["_row"].tolist(), strict=True))

    return put(conn, flow, partition, set(given["_source"]), [of_rows(verdict, verdict.violations, frame)], delivered)


def put(
    conn: Connection, flow: str, partition: str, sources: Collection[str], chunks: Iterable[RowRecords],
    delivered: Callable[[set[RowKey]], set[RowKey]],
) -> dict[str, int]:  # fmt: skip
    """Write records some rows at a time, as `record` does; what waited and is not among them is resolved.

    Args:
        sources: a flow may read several; a verdict speaks for the rows of its own.
        chunks: all records of a row stand in the same one.
        delivered: says which of some rows were delivered again.
    """
    at = warehouse.now()
    here = (quarantine.c.flow == flow) & (quarantine.c.partition == partition)
    mine = here & quarantine.c.source.in_(sources) if sources else here
    settled = (
        sa.update(quarantine).where(mine, quarantine.c.status.in_(WAITING)).values(status="resolved", updated_at=at)
    )
    resolved, opened = conn.execute(settled).rowcount, 0
    for records in chunks:
        made, again = _put(conn, flow, partition, mine, records, at)
        opened, resolved = opened + made, resolved - again
    given_up = sa.select(quarantine.c.row_sha, quarantine.c.row, quarantine.c.rule).where(
        mine, quarantine.c.status == "discarded"
    )
    discarded = [(found.row_sha, found.row, found.rule) for found in conn.execute(given_up)]
    there = delivered({key[:2] for key in discarded}) if discarded else set()
    gone = [key for key in discarded if key[:2] not in there]
    _set(conn, flow, partition, gone, {"status": "resolved", "updated_at": at})
    return {"open": opened, "resolved": resolved + len(gone)}


def _put(
    conn: Connection, flow: str, partition: str, mine: sa.ColumnElement[bool], records: RowRecords, at: str
) -> tuple[int, int]:
    """How many records were written, and how many of these waited before."""
    columns = ("row_sha", "row", "rule", "status", "repair", "raw", "first_seen", "updated_at")
    query = sa.select(*(quarantine.c[name] for name in columns)).where(mine)
    shas = {sha for sha, _, _ in records}
    known = {(found.row_sha, found.row, found.rule): found
             for found in warehouse.among(conn, query, quarantine.c.row_sha, shas)}  # fmt: skip
    by_row: dict[RowKey, Any] = {}
    for (sha, row, _), found in known.items():
        if (sha, row) not in by_row or found.repair:
            by_row[sha, row] = found
    given_up = {key[:2] for key, found in known.items() if found.status == "discarded"}
    rows = []
    for (sha, row, rule), (details, cells) in records.items():
        if (sha, row) in given_up:  # by somebody, while this run was judging
            continue
        before, same = by_row.get((sha, row)), known.get((sha, row, rule))
        repair = (before.repair if before else None) or {}
        # a repair that came while this run was judging waits for the next one
        judged = all(as_text(cells.get(column)) == value for column, value in repair.items())
        rows.append({
            "flow": flow, "partition": partition, "row_sha": sha, "row": row, "rule": rule, **details,
            "status": "open" if judged else "repaired", "reason": None, "repair": repair or None,
            "raw": before.raw if before else cells, "updated_at": at,
            "first_seen": same.first_seen if same else at,
        })  # fmt: skip
    changing = ["entity_key", "column", "value", "advice", "status", "reason", "repair", "updated_at"]
    warehouse.upsert(conn, quarantine, rows, update=changing)
    before_now = [known.get((one["row_sha"], one["row"], one["rule"])) for one in rows]
    return len(rows), sum(found is not None and found.updated_at == at for found in before_now)


def of_rows(verdict: ContractVerdict, violations: Sequence[Violation], frame: pd.DataFrame) -> RowRecords:
    """The records of some rows.

    Args:
        violations: what these rows break; of a broken contract each row has a record.
        frame: the rows as they were judged, see `record`.
    """
    found: dict[RecordKey, dict[str, Any]] = {}
    for v in violations:
        key = (v.row_sha, v.row, v.rule)
        if key not in found:
            found[key] = {"entity_key": v.key, "column": v.column, "value": v.value, "advice": v.advice}
            continue
        for name, more in (("column", v.column), ("value", v.value), ("advice", v.advice)):
            if more and more != found[key][name]:
                found[key][name] = f"{found[key][name]}; {more}" if found[key][name] else more
    if verdict.status == "broken":
        chosen = frame
        advice = "; ".join(verdict.aggregate_failures)
        keys = keys_of(frame, verdict.spec.key)
        rule = verdict.broken_by[0]
        for sha, row, key_text in zip(frame["_row_sha"].tolist(), frame["_row"].tolist(), keys, strict=True):
            details = {"entity_key": key_text, "column": None, "value": None, "advice": advice}
            found.setdefault((sha, row, rule), details)
    else:
        chosen = frame[frame["_row_sha"].isin({sha for sha, _, _ in found})]
    names = [name for name in chosen.columns if name not in BOOKKEEPING]
    cells = {
        (sha, row): (source, dict(zip(names, map(_storable, values), strict=True)))
        for sha, row, source, *values in zip(
            *(chosen[name].tolist() for name in ("_row_sha", "_row", "_source", *names)), strict=True
        )
    }
    return {
        key: ({**{name: _short(details, name) for name in details}, "source": cells[key[:2]][0]}, cells[key[:2]][1])
        for key, details in found.items()
    }


def _short(details: Mapping[str, str | None], name: str) -> str | None:
    text = details[name]
    return text if text is None else fit(text, LONGEST_KEY if name == "entity_key" else _LONGEST)


def _storable(value: Any) -> Any:
    if isinstance(value, bool | int):
        return value
    text = as_text(value)
    return text if text is None else fit(text)


def _set(
    conn: Connection, flow: str, partition: str, keys: Sequence[tuple[str, int, str]], values: Mapping[str, Any]
) -> None:
    if keys:
        one = sa.and_(
            quarantine.c.flow == flow, quarantine.c.partition == partition,
            quarantine.c.row_sha == sa.bindparam("k_sha"), quarantine.c.row == sa.bindparam("k_row"),
            quarantine.c.rule == sa.bindparam("k_rule"),
        )  # fmt: skip
        conn.execute(
            sa.update(quarantine).where(one).values(**values),
            [{"k_sha": sha, "k_row": row, "k_rule": rule} for sha, row, rule in keys],
        )


@dataclass
class Decided:
    """What people decided about a partition's rows.

    Attributes:
        met: discarded rows that `laid_over` has left out.
    """

    repairs: Mapping[RowKey, Mapping[str, str | None]]
    discarded: Set[RowKey]
    met: set[RowKey] = field(default_factory=set)

    def laid_over(self, frame: pd.DataFrame) -> pd.DataFrame:
        """See `apply_repairs`; `frame` has a row's identity already."""
        if not self.repairs and not self.discarded:
            return frame
        places = {
            key: position
            for position, key in enumerate(zip(frame["_row_sha"].tolist(), frame["_row"].tolist(), strict=True))
        }
        by_column: dict[str, list[tuple[int, str | None]]] = {}
        for key, cells in self.repairs.items():
            if key in places:
                for column, value in cells.items():
                    by_column.setdefault(column, []).append((places[key], value))
                if PROBLEM in frame:
                    by_column.setdefault(PROBLEM, []).append((places[key], None))
        frame = frame.copy(deep=False)
        for column, changes in by_column.items():
            cells_now = frame[column].astype(object) if column in frame else empty_cells(len(frame))
            values = cells_now.to_numpy(copy=True)
            for position, value in changes:
                values[position] = value
            frame[column] = values
        gone = [key for key in self.discarded if key in places]
        self.met.update(gone)
        return frame.drop(index=[places[key] for key in gone]).reset_index(drop=True) if gone else frame


def answers(flow: str, partition: str) -> Decided:
    """What people decided about the partition's rows so far."""
    return Decided(*_answers(flow, partition))


def apply_repairs(flow: str, partition: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Lay repaired cells over the rows and leave discarded rows out; `_row` and `_row_sha` stay the source's.

    A repaired column becomes text (objects), which `typed.parse` converts like any other text. A repaired
    row loses its `_problem`: its cells were put right by a person.
    """
    return answers(flow, partition).laid_over(with_row_identity(frame, flow))


def repairs_digest(flow: str, partition: str, conn: Connection | None = None) -> str:
    """SHA-256 of what people decided about the partition's rows: a repair or a discard changes it, a run does not.

    With a write transaction nobody can decide anything until its end (see `repairs`).
    """
    if conn is not None:
        take_turn(conn, flow, partition)
    repairs, discarded = _answers(flow, partition, conn)
    said = [sorted([*key, cells] for key, cells in repairs.items()), sorted(map(list, discarded))]
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _answers(
    flow: str, partition: str, conn: Connection | None = None
) -> tuple[dict[RowKey, dict[str, str | None]], set[RowKey]]:
    if conn is None:
        with warehouse.read() as own:
            return _answers(flow, partition, own)
    query = sa.select(quarantine.c.row_sha, quarantine.c.row, quarantine.c.status, quarantine.c.repair).where(
        quarantine.c.flow == flow, quarantine.c.partition == partition
    )
    repairs: dict[RowKey, dict[str, str | None]] = {}
    discarded: set[RowKey] = set()
    for found in conn.execute(query):
        key = (found.row_sha, found.row)
        if found.status == "discarded":
            discarded.add(key)
        elif found.repair:
            repairs.setdefault(key, {}).update(found.repair)
    return {key: cells for key, cells in repairs.items() if key not in discarded}, discarded


def accounting(flow: str, partition: str) -> dict[str, int]:
    """Where the partition's rows are, each counted once: rows_in = published + open + discarded after a run.

    Returns:
        rows_in as the contract stage read them, published as others see them, open (repaired rows that
        wait for the next run included, and those of a broken batch that are counted only) and discarded; superseded: what is
        published of an earlier delivery, because a
        later one is broken, or its run has not come to the end. It stays in force until a run publishes anew.

    Raises:
        NoData: no run of the partition has read any rows.
    """
    here = sa.and_(heads.c.flow == flow, heads.c.partition == partition, heads.c.commit_id == commits.c.id)
    with warehouse.read() as conn:
        found: dict[str, list[Any]] = {}
        for row in conn.execute(sa.select(commits.c.id, heads.c.stage, heads.c.map_index, commits.c.facts).where(here)):
            found.setdefault(row.stage, []).append(row)
        whole = {stage: [row for row in rows if row.map_index < 0] for stage, rows in found.items()}
        read_by = next((s for s in (CONTRACT, INGEST) if any("rows_in" in row.facts for row in whole.get(s, ()))), None)
        if read_by is None:
            raise NoData(f"flow {flow!r} has read no rows of partition {partition!r} yet")
        seen = _published(conn, flow, partition, [row for rows in found.values() for row in rows])
        current = _made_of(conn, flow, partition, {row.id for row in whole[read_by]})
    tally = counts(flow, partition)
    return {
        "rows_in": sum(int(row.facts.get("rows_in", 0)) for row in whole[read_by]),
        "published": sum(rows for commit, rows in seen.items() if commit in current),
        "open": tally["open"] + tally["repaired"] + sum(int(row.facts.get("unlisted", 0)) for row in whole[read_by]),
        "discarded": tally["discarded"],
        "superseded": sum(rows for commit, rows in seen.items() if commit not in current),
    }


def published(flow: str, partition: str) -> int:
    """How many rows of the partition others see now, whatever they were made of."""
    with warehouse.read() as conn:
        return sum(_published(conn, flow, partition, ()).values())


def _published(conn: Connection, flow: str, partition: str, made: Iterable[Any]) -> dict[int, int]:
    """Entities that others see, by commit; a flow that publishes neither decisions nor scores says so in its facts."""
    if (found := in_force(flow, partition, conn)) is not None and found.entities:
        return {found.commit_id: found.entities}
    return {row.id: int(row.facts["published"]) for row in made if "published" in row.facts}


def _made_of(conn: Connection, flow: str, partition: str, roots: set[int]) -> set[int]:
    """Commits of the partition that were made of the rows of `roots`, over any number of stages.

    Followed by content: rows that come out the same again do not publish again.
    """
    here = sa.and_(commits.c.flow == flow, commits.c.partition == partition)
    known = conn.execute(sa.select(commits.c.id, commits.c.ref, commits.c.inputs).where(here).order_by(commits.c.id))
    rows = known.all()
    contents = {row.ref["content_sha256"] for row in rows if row.id in roots}
    made = set(roots)
    for row in rows:  # in the order of their commits: inputs come before what is made of them
        # some rows of a dataset have a hash of their own, and that of all beside it
        if any({given["content_sha256"], given.get("of")} & contents for given in row.inputs.values()):
            made.add(row.id)
            contents.add(row.ref["content_sha256"])
    return made
