"""Telling somebody: entries of the ledger that were not told yet go to a file or an endpoint, behind the commits, in their order.

The ledger is the outbox: its numbers are in the order of the commits, so one number in the table `meta` says what was told. An endpoint
that is down stops no flow and loses nothing: what waits is told at the next commit after a minute, or by
`baton lineage`; how much waits, and why, is in the result of the stage. What is told twice (a process died in between) has the same ids.
An entry whose event the endpoint refuses as such is logged, counted in the result and left out, so that it does not stop those behind it.
"""

import asyncio
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.lineage.events import Event, lines, of_entries
from baton.record import warehouse
from baton.record.tables import ledger, meta
from baton.settings import settings

AT_ONCE = 200  # entries
PATIENCE = 5.0  # seconds for an answer, and after which no further event is sent for one commit
PAUSE = 60.0  # seconds until an endpoint that did not take an event is asked again
LEASE = 30.0  # seconds for which one process tells and the others leave it to it; it sends nothing in the last ones
# answers about address, token or load: the same event is taken once that is mended
_OURS = (401, 403, 404, 405, 408, 429)
_KEY = "lineage"
_COLUMNS = ("seq", "at", "kind", "subject", "payload", "hash")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """Of a list of entries: how many from the first on are done with, why not all, and which of them were refused, by place."""

    done: int
    why: str = ""
    refused: tuple[int, ...] = ()


Tell = Callable[[list[list[Event]], float], Sent]  # events by entry; sends nothing more at a moment of time.monotonic()


@dataclass(frozen=True)
class Told:
    """How far it is: entries up to `seq` are told.

    Attributes:
        lease: until then somebody tells (seconds since 1970).
        retry: asked again then, and `why` not before.
        first: entries up to it are not told, as it was switched on then.
        refused: entries that the endpoint refused, which are left out.
    """

    seq: int
    lease: float = 0.0
    retry: float = 0.0
    why: str = ""
    first: int = 0
    refused: int = 0


def tell(after: int = 0, *, again: bool = False, tell_to: Tell | None = None) -> str:
    """Tell what is due, if anybody is to be told (`BATON_LINEAGE_URL`).

    Args:
        after: where this is the first time, entries up to this number are not told.
        again: now, though the endpoint did not answer a moment ago, and all of it.
        tell_to: takes the events of each entry, raises OSError if none was taken; default the setting's.

    Returns:
        empty, or why what waits was not told, and how many entries it is about; how many were refused.
    """
    where = settings().lineage_url
    if not where and tell_to is None:
        return ""
    due, send, refused = time.monotonic() + PATIENCE, tell_to or _teller(where), 0
    while True:
        # what is sent before then is answered, or given up, while the lease still holds
        lease = time.monotonic() + LEASE - 2 * PATIENCE
        found = _take(after, again)
        if found is None:
            return _said(
                refused, _waiting("another process is telling, or died less than a minute ago" if again else "")
            )
        mine, entries, events = found
        sent = _sent(send, events, lease if again else min(lease, due)) if entries else Sent(0)
        for place in sent.refused:
            log.warning("lineage: the endpoint refuses ledger entry %s, which is left out", entries[place])
        refused += len(sent.refused)
        told = replace(
            mine, seq=entries[sent.done - 1] if sent.done else mine.seq, lease=0.0, why=sent.why,
            retry=time.time() + PAUSE if sent.why else 0.0, refused=mine.refused + len(sent.refused),
        )  # fmt: skip
        told = _swap(mine, told)
        if told.why:
            return _said(refused, _waiting())
        # who committed meanwhile has left it to this one
        if sent.done == len(entries) < AT_ONCE and newest() == told.seq:
            return _said(refused)
        if not again and time.monotonic() >= due:
            return _said(refused, _waiting("more than can be told after one commit"))


def tell_of(entry: int) -> str:
    """Tell of what was just committed; what is wrong with that stops nothing and is returned as `tell` does."""
    try:
        return tell(entry - 1)
    except Exception as error:
        log.exception("lineage")
        return f"lineage: not told, {type(error).__name__}: {error}"


def _sent(send: Tell, events: list[list[Event]], until: float) -> Sent:
    try:
        return send(events, until)
    except OSError as error:
        return Sent(0, f"{type(error).__name__}: {error}"[:200])


def _said(refused: int, waits: str = "") -> str:
    left_out = f"lineage: {refused} ledger entries were refused and are left out" if refused else ""
    return "; ".join(filter(None, (waits, left_out)))


def restart(after: int) -> None:
    """Have all entries behind a number told, once more if they were."""
    warehouse.meta_set(_KEY, json.dumps(asdict(Told(after, first=after))))


def standing() -> Told | None:
    """How far it is; None before the first time."""
    text = warehouse.meta_get(_KEY)
    return None if text is None else Told(**json.loads(text))


def _waiting(why: str = "") -> str:
    known = standing()
    why = why or (known.why if known is not None else "")
    if known is None or not why or (many := newest() - known.seq) <= 0:
        return ""
    return f"lineage: {many} ledger entries wait to be told: {why}"


def newest() -> int:
    """Number of the ledger's last entry."""
    with warehouse.read() as conn:
        return int(conn.execute(sa.select(sa.func.max(ledger.c.seq))).scalar() or 0)


def _take(after: int, again: bool) -> tuple[Told, list[int], list[list[Event]]] | None:
    """Become the one who tells, and what is next: numbers of the entries looked at, and the events of each; None: it is not our turn."""

    def work(conn: Connection) -> Told | None:
        warehouse.upsert(conn, meta, [{"key": _KEY, "value": json.dumps(asdict(Told(after, first=after)))}], update=[])
        known, now = _read(conn), time.time()
        if (
            after < known.first
        ):  # of the commits at switch-on another was the quicker one: its events are told once more
            known = replace(known, seq=min(known.seq, after), first=after)
            warehouse.meta_set(_KEY, json.dumps(asdict(known)), conn)
        if known.lease > now or (known.retry > now and not again):
            return None
        mine = replace(known, lease=now + LEASE, retry=0.0, why="")
        warehouse.meta_set(_KEY, json.dumps(asdict(mine)), conn)
        return mine

    mine = warehouse.transact(work)
    if mine is None:
        return None
    with warehouse.read() as conn:
        query = sa.select(*(ledger.c[name] for name in _COLUMNS)).where(ledger.c.seq > mine.seq)
        rows = [dict(row) for row in conn.execute(query.order_by(ledger.c.seq).limit(AT_ONCE)).mappings()]
        return mine, [row["seq"] for row in rows], list(of_entries(conn, rows))


def _swap(mine: Told, told: Told) -> Told:
    """Note how far it is, unless another took over because this one took too long; returns what is noted."""

    def work(conn: Connection) -> Told:
        known = _read(conn)
        if known.lease != mine.lease:
            return known
        now = replace(told, seq=known.seq, first=known.first) if known.first < mine.first else told
        warehouse.meta_set(_KEY, json.dumps(asdict(now)), conn)
        return now

    return warehouse.transact(work)


def _read(conn: Connection) -> Told:
    text = conn.execute(sa.select(meta.c.value).where(meta.c.key == _KEY).with_for_update()).scalar_one()
    return Told(**json.loads(text))


# --- where to ---


def _teller(where: str) -> Tell:
    parts = urlsplit(where)
    if parts.scheme == "file":
        return lambda events, until: _append(Path(unquote(parts.path)), events)
    return lambda events, until: _alone_in_a_loop(_post(where, events, until))


def _append(path: Path, events: list[list[Event]]) -> Sent:
    """JSON lines at the end of a file, whole, and on the disk."""
    with path.open("a", encoding="utf-8") as file, _alone(file.fileno()):
        file.write(lines(chain(*events)))
        file.flush()
        os.fsync(file.fileno())
    return Sent(len(events))


@contextmanager
def _alone(number: int) -> Iterator[None]:
    fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(number, fcntl.LOCK_UN)


def _alone_in_a_loop(work: Coroutine[Any, Any, Sent]) -> Sent:
    loop = asyncio.new_event_loop()  # `asyncio.run` would take its loop from whoever has set one
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def _post(where: str, events: list[list[Event]], until: float) -> Sent:
    """One request an event, as the interface of OpenLineage has it; a token is in `secrets/lineage_token` of BATON_HOME."""
    import httpx  # heavy: DAG files import what imports this

    token = settings().secrets_dir / "lineage_token"
    headers = {"Authorization": f"Bearer {token.read_text(encoding='utf-8').strip()}"} if token.is_file() else {}
    refused = list[int]()
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE, follow_redirects=False) as client:
        for place, of_entry in enumerate(events):
            for event in of_entry:
                if time.monotonic() >= until:
                    return Sent(place, refused=tuple(refused))
                try:
                    async with asyncio.timeout(PATIENCE):  # the client's own begins anew with each byte
                        answer = await client.post(where, json=event)
                except (httpx.HTTPError, TimeoutError) as error:
                    why = f"OSError: the endpoint cannot be reached: {type(error).__name__}"
                    return Sent(place, why, tuple(refused))
                if 400 <= answer.status_code < 500 and answer.status_code not in _OURS:
                    refused.append(place)
                    break
                if not answer.is_success:
                    return Sent(place, f"OSError: the endpoint answered {answer.status_code}", tuple(refused))
    return Sent(len(events), refused=tuple(refused))
