"""Repairs: people change cells of quarantined rows, or give rows up. Each is one transaction with a ledger entry."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.actions.votes import Voter
from baton.data.cells import as_text
from baton.data.fit import flaw
from baton.errors import BatonError
from baton.quarantine import discards
from baton.quarantine.expressions import CellError, Expression
from baton.quarantine.rows import STATUSES, WAITING, QuarantinedRow, RowKey, Where, select, take_turn
from baton.record import ledger, warehouse
from baton.record.tables import quarantine


@dataclass(frozen=True)
class RepairReport:
    """What a repair did: rows and cells changed, and the rows that it could not change, with the reason."""

    rows: int
    cells: int
    skipped: tuple[str, ...] = ()
    partitions: tuple[tuple[str, str], ...] = ()


def repair(where: Where, set: Mapping[str, str], actor: str) -> RepairReport:
    """Change cells of open rows; the next run of the partition judges them again (`baton quarantine reinject`).

    Args:
        where: which rows; open ones unless it names a status, so that `amount/100` is not applied twice.
        set: column -> expression over the row's cells as they stand, e.g. {"amount": "amount/100", "kind": "'food'"}.
        actor: who repairs, for the record.

    Returns:
        what changed, and the rows skipped because the expression has no value there.

    Raises:
        BatonError: no row matches, no cell would change, a column or an expression is unknown.
    """
    if not set:
        raise BatonError("nothing to set: give column=expression, e.g. amount=amount/100")
    formulas = {column: Expression(text) for column, text in set.items()}
    where = where if where.status else replace(where, status="open")

    def work(conn: Connection) -> RepairReport:
        rows = _some(conn, where)
        edits: list[tuple[QuarantinedRow, dict[str, str | None]]] = []
        skipped: list[str] = []
        for row in rows:
            cells = row.cells
            try:
                new = {column: formula.value(cells) for column, formula in formulas.items()}
            except CellError as error:
                skipped.append(f"{row.place}: {error}")
                continue
            if unknown := [column for column in new if column not in cells]:
                skipped.append(f"{row.place}: no column {', '.join(unknown)}")
                continue
            edits.append((row, {column: value for column, value in new.items() if value != cells[column]}))
        if not any(changes for _, changes in edits):
            why = "; ".join(skipped[:3]) or "every cell has that value already"
            raise BatonError(f"no cell would change in {len(rows)} row(s): {why}")
        return _write(conn, edits, actor, skipped, {column: formula.for_record for column, formula in formulas.items()})

    return warehouse.transact(work)


def edit(changes: Mapping[tuple[str, str, RowKey], Mapping[str, object]], actor: str) -> RepairReport:
    """Set cells of single rows: (flow, partition, (row_sha, row)) -> column -> value, which is kept as text.
    All of them, or none.

    Raises:
        BatonError: a row is not waiting in quarantine, or a column is not among its cells; all such are listed.
    """

    def work(conn: Connection) -> RepairReport:
        edits: list[tuple[QuarantinedRow, dict[str, str | None]]] = []
        problems: list[str] = []
        for flow, partition in sorted({key[:2] for key in changes}):
            take_turn(conn, flow, partition)
            there = {(row.row_sha, row.row): row for row in select(conn, Where(flow, partition, status=WAITING), None)}
            for (_, _, key), cells in ((k, c) for k, c in changes.items() if k[:2] == (flow, partition)):
                row = there.get(key)
                if row is None:
                    problems.append(f"{flow} {partition} row {key[1]} (sha {key[0][:12]}) is not open in quarantine")
                elif unknown := [column for column in cells if column not in row.cells]:
                    problems.append(f"{row.place} has no column {', '.join(unknown)}")
                else:
                    now, new = row.cells, {column: as_text(value) or None for column, value in cells.items()}
                    edits.append((row, {column: value for column, value in new.items() if value != now[column]}))
        if problems:
            raise BatonError(f"nothing was repaired: {_some_of(problems)}")
        if not any(cells for _, cells in edits):
            raise BatonError("nothing was repaired: no cell differs from what is in quarantine")
        return _write(conn, edits, actor, [], None)

    return warehouse.transact(work)


def discard(where: Where, reason: str, actor: discards.Asker, seen: int | None = None) -> int:
    """Give rows up: they are left out of every later run, and stay on record with the reason. Returns how many.

    Args:
        actor: who does it, as they logged in; a text is what somebody only says.
        seen: how many rows they were shown; None: they were shown none, and mean all that match.

    Raises:
        DiscardWaits: it would be more than `discards.SHARE` of a partition: people were asked; the same again once they agreed.
        BatonError: no reason, no waiting row matches, or not as many as were seen.
    """
    if not reason.strip():
        raise BatonError("say why the rows are discarded (--reason)")
    where = where if where.status else replace(where, status=WAITING)

    def rows_now(conn: Connection) -> list[QuarantinedRow]:
        warehouse.take_turns(conn, "discards")  # two flows of one source are counted together
        return _some(conn, where, seen)

    def work(conn: Connection) -> int:
        rows = rows_now(conn)
        told = discards.let(conn, _partitions(rows), reason, actor)
        name = discards.named(actor)
        values = {"status": "discarded", "reason": reason, "actor": name, "updated_at": warehouse.now()}
        _change(conn, [(row, values) for row in rows], WAITING)
        proven = {"person": actor.id, "channel": actor.channel} if isinstance(actor, Voter) else {}
        for (flow, partition), group in _partitions(rows).items():
            _append(
                conn,
                "rows_discarded",
                flow,
                partition,
                group,
                {"actor": name, **proven, "reason": reason, **told.get((flow, partition), {})},
            )
        return len(rows)

    def ask(conn: Connection) -> list[str]:
        lacking = {key: rows for key, rows in _partitions(rows_now(conn)).items() if key in keys}
        return discards.ask(conn, lacking, reason, actor)

    try:
        return warehouse.transact(work)
    except discards.PermitMissing as refusal:
        keys = refusal.keys
    raise discards.DiscardWaits(f"nothing was discarded: {_some_of(warehouse.transact(ask))}")


def _some(conn: Connection, where: Where, seen: int | None = None) -> list[QuarantinedRow]:
    for flow, partition in sorted(_partitions(select(conn, where, None))):
        take_turn(conn, flow, partition)
    rows = select(conn, where, None)  # as they stand now: a run may have judged them meanwhile
    if seen is not None and len(rows) != seen:
        raise BatonError(
            f"nothing was discarded: {seen:,} were chosen, and {len(rows):,} of them wait now, because a run judged or somebody "
            "decided about them meanwhile: look again, then choose"
        )
    if not rows:
        asked = ", ".join(f"{name}={value!r}" for name, value in vars(where).items() if value is not None)
        raise BatonError(f"no row in quarantine with {asked}; see `baton quarantine list`")
    return rows


def _partitions(rows: Iterable[QuarantinedRow]) -> dict[tuple[str, str], list[QuarantinedRow]]:
    groups: dict[tuple[str, str], list[QuarantinedRow]] = {}
    for row in rows:
        groups.setdefault((row.flow, row.partition), []).append(row)
    return groups


def _write(
    conn: Connection,
    edits: Sequence[tuple[QuarantinedRow, dict[str, str | None]]],
    actor: str,
    skipped: Sequence[str],
    formulas: Mapping[str, str] | None,
) -> RepairReport:
    changed = [(row, cells) for row, cells in edits if cells]
    told = [(row, column, flaw(text)) for row, cells in changed for column, text in cells.items() if text is not None]
    if unfit := [f"{row.place}, {column}: {why}" for row, column, why in told if why is not None]:
        raise BatonError(f"nothing was repaired: {_some_of(unfit)}")
    # every record of a row carries the same repair, also the rules that it no longer breaks
    _change(conn, [(row, {"repair": {**row.repair, **cells}}) for row, cells in changed], STATUSES)
    values = {"status": "repaired", "actor": actor, "updated_at": warehouse.now()}
    _change(conn, [(row, values) for row, _ in changed], WAITING)
    groups = _partitions(row for row, _ in changed)
    columns = sorted({column for _, cells in changed for column in cells})
    for (flow, partition), rows in groups.items():
        _append(conn, "rows_repaired", flow, partition, rows, {"actor": actor, "columns": columns, "set": formulas})
    return RepairReport(len(changed), sum(len(cells) for _, cells in changed), tuple(skipped), tuple(groups))


def _change(
    conn: Connection, changes: Sequence[tuple[QuarantinedRow, Mapping[str, Any]]], statuses: Sequence[str]
) -> None:
    """Set columns of the rows' records that have one of `statuses`."""
    if not changes:
        return
    c = quarantine.c
    one = sa.and_(
        c.flow == sa.bindparam("k_flow"),
        c.partition == sa.bindparam("k_partition"),
        c.row_sha == sa.bindparam("k_sha"),
        c.row == sa.bindparam("k_row"),
        sa.or_(*(c.status == status for status in statuses)),
    )
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in changes[0][1]}
    conn.execute(
        sa.update(quarantine).where(one).values(values),
        [
            {"k_flow": row.flow, "k_partition": row.partition, "k_sha": row.row_sha, "k_row": row.row}
            | {f"new_{name}": value for name, value in new.items()}
            for row, new in changes
        ],
    )


def _append(
    conn: Connection, kind: str, flow: str, partition: str, rows: Sequence[QuarantinedRow], more: Mapping[str, Any]
) -> None:
    """Enter in the ledger which rows; a digest stands for all of them, since they may be many."""
    keys = sorted(f"{row.row}:{row.row_sha}" for row in rows)
    digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()
    entry = {"rows": len(rows), "first_rows": keys[:10], "rows_sha256": digest, **more}
    ledger.append(conn, kind, f"{flow}/{partition}", entry)


def _some_of(messages: Sequence[str], most: int = 5) -> str:
    rest = f"; and {len(messages) - most} more" if len(messages) > most else ""
    return "; ".join(messages[:most]) + rest
