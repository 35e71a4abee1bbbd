"""The breaker of a tool in use: its state is in the table `breakers`, shared by all workers; changes are on the ledger."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.lookups.breaker import CLOSED, HALF_OPEN, Breaker, answered, failed, may_probe
from baton.record import ledger, warehouse
from baton.record.tables import breakers
from baton.specs.tool import ToolSpec

OPENED, BREAKER_CLOSED = "breaker_opened", "breaker_closed"
Leave = Literal["plain", "probe"]  # to ask a question


def subject(key: str) -> str:
    """How the ledger names a tool."""
    return f"tool:{key}"


class Guard:
    """Says whether a tool may be asked, and hears what came of it; for several threads of one stage."""

    def __init__(self, key: str, tool: ToolSpec) -> None:
        """Read how the tool is.

        Args:
            key: `<pack>/<tool>`.
        """
        self._key, self._tool, self._lock = key, tool, threading.Lock()
        with warehouse.read() as conn:
            self.breaker = self._stored = load(conn, key)

    def leave(self) -> Leave | None:
        """Leave to ask a question; None: the tool is left in peace. A `probe` is given to one worker at a time."""
        with self._lock:
            now = _now()
            if self.breaker.state == CLOSED:
                return "plain"
            if not may_probe(self.breaker, now):
                return None
            won, self.breaker = warehouse.transact(lambda conn: _claim(conn, self._key, now, self._patience()))
            return "probe" if won else "plain" if self.breaker.state == CLOSED else None

    def answered(self, leave: Leave) -> None:
        """An answer came: a probe's closes the breaker."""
        with self._lock:
            if leave == "probe":
                warehouse.transact(lambda conn: _close(conn, self._key))
                self.breaker = self._stored = Breaker()
            elif self.breaker.state == CLOSED:
                self.breaker = answered(self.breaker, self._tool.breaker)

    def failed(self, leave: Leave, error: str) -> None:
        """No answer came: of a probe, or of too many questions, it opens; of questions under way meanwhile, nothing."""
        with self._lock:
            if leave == "plain" and self.breaker.state != CLOSED:
                return
            after = failed(self.breaker, error, _now(), self._tool.breaker)
            if after.state == CLOSED:
                self.breaker = after
            else:
                self.breaker = self._stored = warehouse.transact(lambda conn: _open(conn, self._key, after))

    def settle(self) -> None:
        """The stage has asked all: failures in a row that did not open it count on for the next worker."""
        with self._lock:
            if self.breaker.state == CLOSED and self.breaker.failures != self._stored.failures:
                warehouse.transact(lambda conn: _count(conn, self._key, self.breaker))
                self._stored = self.breaker

    def _patience(self) -> timedelta:
        """After so long a probe is given up: its worker died."""
        return timedelta(seconds=2 * self._tool.timeout_seconds + 5)


def load(conn: Connection, key: str) -> Breaker:
    """The breaker of a tool as the table has it."""
    row = conn.execute(sa.select(breakers).where(breakers.c.tool == key)).first()
    if row is None:
        return Breaker()
    return Breaker(row.state, row.failures, _moment(row.opened_at), _moment(row.retry_at), row.probes, row.error or "")


def standing(conn: Connection) -> list[dict[str, Any]]:
    """Tools that are left in peace or are being tried again: tool, state, since, retry_at, probes, error; the longest first."""
    query = sa.select(breakers).where(breakers.c.state != CLOSED).order_by(breakers.c.opened_at)
    return [
        {"tool": row.tool, "state": row.state, "since": row.opened_at, "retry_at": row.retry_at, "probes": row.probes,
         "error": row.error or ""}
        for row in conn.execute(query)
    ]  # fmt: skip


def _claim(conn: Connection, key: str, now: datetime, patience: timedelta) -> tuple[bool, Breaker]:
    """Take the probe, unless another worker did; whether it is ours, and the breaker."""
    free = [breakers.c.tool == key, breakers.c.state != CLOSED, breakers.c.retry_at <= _text(now)]
    taken = {"state": HALF_OPEN, "retry_at": _text(now + patience), "updated_at": _text(now)}
    won = conn.execute(breakers.update().where(*free).values(taken)).rowcount == 1
    return won, load(conn, key)


def _open(conn: Connection, key: str, after: Breaker) -> Breaker:
    """Write an open breaker; of two workers the first one's opening counts."""
    warehouse.take_turns(conn, f"breaker {key}")
    before = load(conn, key)
    first = before.state == CLOSED
    if not first and not after.probes:
        return before  # another worker found out meanwhile
    kept = after if first else replace(after, opened_at=before.opened_at)
    _write(conn, key, kept)
    if first:
        said = {"error": kept.error, "failures": kept.failures, "retry_at": _text(kept.retry_at)}
        ledger.append(conn, OPENED, subject(key), said)
    return kept


def _close(conn: Connection, key: str) -> None:
    warehouse.take_turns(conn, f"breaker {key}")
    before = load(conn, key)
    if before.state == CLOSED:
        return
    _write(conn, key, Breaker())
    seconds = (_now() - before.opened_at).total_seconds() if before.opened_at else 0.0
    said = {"seconds": round(seconds, 3), "probes": before.probes + 1, "error": before.error}
    ledger.append(conn, BREAKER_CLOSED, subject(key), said)


def _count(conn: Connection, key: str, seen: Breaker) -> None:
    warehouse.take_turns(conn, f"breaker {key}")
    if load(conn, key).state == CLOSED:
        _write(conn, key, seen)


def _write(conn: Connection, key: str, breaker: Breaker) -> None:
    row = {
        "tool": key, "state": breaker.state, "failures": breaker.failures, "probes": breaker.probes,
        "opened_at": _text(breaker.opened_at), "retry_at": _text(breaker.retry_at), "error": breaker.error or None,
        "updated_at": warehouse.now(),
    }  # fmt: skip
    warehouse.upsert(conn, breakers, [row])


def _now() -> datetime:
    return datetime.now(UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else warehouse.stamp(moment)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
