"""Telling somebody: entries of the ledger that were not told yet go to a file or an endpoint, behind the commits, in their order.

The ledger is the outbox: its numbers are in the order of the commits, so one number in the table `meta` says what was told. An endpoint
that is down, or refuses, stops no flow and loses nothing: what waits is told at the next commit after a minute, or by
`baton lineage`; how much waits, and why, is in the result of the stage. What is told twice (a process died in between) has the same ids.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.lineage.events import KINDS, Event, lines, of_entries
from baton.record import warehouse
from baton.record.tables import ledger, meta
from baton.settings import settings

AT_ONCE = 200  # entries
PATIENCE = 5.0  # seconds for an answer, and for all that is told after one commit
PAUSE = 60.0  # seconds until an endpoint that did not take an event is asked again
LEASE = 30.0  # seconds for which one process tells and the others leave it to it
_KEY = "lineage"
_COLUMNS = ("seq", "at", "kind", "subject", "payload", "hash")

Tell = Callable[[list[Event]], None]


@dataclass(frozen=True)
class Told:
    """How far it is: `seq` entries are told; who tells until `lease`; asked again at `retry` (seconds since 1970), and why not before."""

    seq: int
    lease: float = 0.0
    retry: float = 0.0
    why: str = ""


def tell(after: int = 0, *, again: bool = False, tell_to: Tell | None = None) -> str:
    """Tell what is due, if anybody is to be told (`BATON_LINEAGE_URL`).

    Args:
        after: where this is the first time, entries up to this number are not told.
        again: now, though the endpoint did not answer a moment ago, and all of it.
        tell_to: takes a list of events, raises OSError if they were not taken; default the setting's.

    Returns:
        empty, or why what waits was not told, and how many entries it is about.
    """
    where = settings().lineage_url
    if not where and tell_to is None:
        return ""
    began, send = time.monotonic(), tell_to or _teller(where)
    while True:
        found = _take(after, again)
        if found is None:
            return _waiting()
        mine, entries, events = found
        try:
            if entries:
                send(events)
            told = replace(mine, seq=entries[-1] if entries else mine.seq, lease=0.0)
        except OSError as error:
            told = replace(mine, lease=0.0, retry=time.time() + PAUSE, why=f"{type(error).__name__}: {error}"[:200])
        _swap(mine, told)
        if told.why:
            return _waiting()
        if not again and time.monotonic() - began > PATIENCE:
            return _waiting("more than can be told after one commit")
        if not entries and newest() == told.seq:  # who committed meanwhile has left it to this one
            return ""


def restart(after: int) -> None:
    """Have all entries behind a number told, once more if they were."""
    warehouse.meta_set(_KEY, json.dumps(asdict(Told(after))))


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


def _take(after: int, again: bool) -> tuple[Told, list[int], list[Event]] | None:
    """Become the one who tells, and what is next: numbers of the entries looked at, and their events; None: it is not our turn."""

    def work(conn: Connection) -> Told | None:
        warehouse.upsert(conn, meta, [{"key": _KEY, "value": json.dumps(asdict(Told(after)))}], update=[])
        text = conn.execute(sa.select(meta.c.value).where(meta.c.key == _KEY).with_for_update()).scalar_one()
        known, now = Told(**json.loads(text)), time.time()
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
        events = list(of_entries(conn, [row for row in rows if row["kind"] in KINDS]))
    return mine, [row["seq"] for row in rows], events


def _swap(mine: Told, told: Told) -> None:
    """Note how far it is, unless another took over because this one took too long."""
    before, after = (json.dumps(asdict(one)) for one in (mine, told))
    where = (meta.c.key == _KEY, meta.c.value == before)
    warehouse.transact(lambda conn: conn.execute(meta.update().where(*where).values(value=after)))


# --- where to ---


def _teller(where: str) -> Tell:
    parts = urlsplit(where)
    if parts.scheme == "file":
        return lambda events: _append(Path(unquote(parts.path)), events)
    return lambda events: _post(where, events)


def _append(path: Path, events: list[Event]) -> None:
    """JSON lines at the end of a file, whole, and on the disk."""
    with path.open("a", encoding="utf-8") as file, _alone(file.fileno()):
        file.write(lines(events))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone(number: int) -> Iterator[None]:
    fcntl.flock(number, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(number, fcntl.LOCK_UN)


def _post(where: str, events: list[Event]) -> None:
    """One request an event, as the interface of OpenLineage has it; a token is in `secrets/lineage_token` of BATON_HOME."""
    import httpx  # heavy: DAG files import what imports this

    token = settings().secrets_dir / "lineage_token"
    headers = {"Authorization": f"Bearer {token.read_text(encoding='utf-8').strip()}"} if token.is_file() else {}
    try:
        with httpx.Client(headers=headers, timeout=PATIENCE, follow_redirects=False) as client:
            for event in events:
                answer = client.post(where, json=event)
                if not answer.is_success:
                    raise OSError(f"the endpoint answered {answer.status_code}")
    except httpx.HTTPError as error:
        raise OSError(f"the endpoint cannot be reached: {type(error).__name__}") from error
