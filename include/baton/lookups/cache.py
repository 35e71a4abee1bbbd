"""What tools answered before: in the table `lookups`, under a digest of tool and value."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.lookups import answers
from baton.record import warehouse
from baton.record.tables import lookups
from baton.specs.tool import ToolSpec


@dataclass(frozen=True)
class Cached:
    """An answer as it was given: None where the tool did not know the value; `age` in seconds."""

    answer: dict[str, Any] | None
    age: float


def digest(tool: ToolSpec, value: str) -> str:
    """Name of a value's answer: another address, path or form of the answer has answers of its own."""
    parts = [tool.conn_id, tool.path, sorted(tool.answer.items()), value]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def find(key: str, tool: ToolSpec, values: Iterable[str], now: datetime) -> dict[str, Cached]:
    """The answers that are there, by value; none that is older than the tool's `keep_seconds`.

    Args:
        key: `<pack>/<tool>`.
    """
    by_digest = {digest(tool, value): value for value in values}
    oldest = warehouse.stamp(now - timedelta(seconds=tool.keep_seconds))
    query = sa.select(lookups.c.digest, lookups.c.answer, lookups.c.at)
    query = query.where(lookups.c.tool == key, lookups.c.at >= oldest)
    found = {}
    with warehouse.read() as conn:
        for row in warehouse.among(conn, query, lookups.c.digest, by_digest):
            try:
                answer = None if row.answer is None else answers.checked(row.answer, tool.answer)
            except answers.NotAsDeclared:
                continue  # somebody wrote to the table: as if it were not there
            age = max(0.0, (now - datetime.fromisoformat(row.at)).total_seconds())
            found[by_digest[row.digest]] = Cached(answer, age)
    return found


def keep(key: str, tool: ToolSpec, given: Mapping[str, dict[str, Any] | None], at: datetime) -> None:
    """Keep answers by value; a personal value is known by its digest only."""
    rows = [
        {
            "tool": key, "digest": digest(tool, value), "value": None if tool.pii else value, "answer": answer,
            "at": warehouse.stamp(at), "until": warehouse.stamp(at + timedelta(seconds=tool.keep_seconds)),
        }
        for value, answer in given.items()
    ]  # fmt: skip
    if rows:
        warehouse.transact(lambda conn: warehouse.upsert(conn, lookups, rows))


def expire(conn: Connection, dry_run: bool = False, now: datetime | None = None) -> int:
    """Remove the answers that are past their `keep_seconds`, of all tools; returns how many."""
    past = lookups.c.until < warehouse.stamp(now or datetime.now(UTC))
    if dry_run:
        return int(conn.scalar(sa.select(sa.func.count()).select_from(lookups).where(past)) or 0)
    return int(conn.execute(lookups.delete().where(past)).rowcount)
