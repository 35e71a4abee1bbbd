"""Garbage: what attempts that crashed left, objects that no commit names and journals, and old XComs; found by its name, removed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import objects
from baton.progress import told
from baton.record import warehouse
from baton.record.tables import commits, heads
from baton.stages.slots import NAME, Slot, is_slot

_OBJECT = re.compile(r"[0-9a-f]{64}-(?P<fence>\d+)-(?P<owner>[0-9a-f]{12})(\.json|(\.\d{5})?\.parquet)")
_JOURNAL = re.compile(r"[^/]+/[^/]+/[^/]+/-?\d+/journal/[0-9a-f]{64}\.json")
_XCOM = re.compile(r"xcom/.+\.gz")  # as `baton.services.container` has Airflow name them
# Airflow's `db clean` takes rows and leaves what they name; until then a run may wait for people, or be cleared
XCOMS = timedelta(days=30)


def _unescape(segment: str) -> str:
    raw = re.sub(rb"~([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), segment.encode())
    return raw.decode()


def _parse(name: str, owner: str) -> tuple[Slot, int] | None:
    """Return slot and fence of an object's name, None for one that no stage of this warehouse wrote."""
    parts = name.split("/")
    if len(parts) != 5 or not re.fullmatch(r"-?\d+", parts[3]):
        return None
    file = _OBJECT.fullmatch(parts[4])
    if (
        file is None
        or file["owner"] != owner
        or not (NAME.fullmatch(parts[0]) and NAME.fullmatch(parts[1]) and parts[2])
    ):
        return None
    return Slot(parts[0], parts[1], _unescape(parts[2]), int(parts[3])), int(file["fence"])


@dataclass(frozen=True)
class Garbage:
    """Objects removed by `gc` (or that would be), and their size in bytes."""

    uris: list[str]
    size: int


def gc(older_than: timedelta = timedelta(days=1), dry_run: bool = False) -> Garbage:
    """Remove objects that no commit names, left by attempts that crashed, and journals of runs that never ended.

    An attempt that still runs after `older_than` loses its slot: its fence is raised before its object goes,
    so that it is refused when it wants to commit. Objects that no stage of this warehouse wrote stay; a journal names
    no warehouse, and goes: whose retry still wanted it does its work again. XComs that Airflow keeps in the store go after 30 days.
    """
    uris: list[str] = []
    size = 0
    named = _named()  # saves looking at each object that is data; the others are asked about again
    owner = warehouse.transact(warehouse.identity)

    def in_question(name: str) -> bool:
        attempt = _parse(name, owner)
        return attempt not in named if attempt else bool(_JOURNAL.fullmatch(name) or _XCOM.fullmatch(name))

    for item in objects.listed(in_question):
        attempt = _parse(item.name, owner)
        least = max(older_than, XCOMS) if _XCOM.fullmatch(item.name) else older_than
        if objects.age(item) < least.total_seconds():
            continue
        if attempt and not warehouse.transact(partial(orphaned, slot=attempt[0], fence=attempt[1], dry_run=dry_run)):
            continue
        if not dry_run:
            objects.delete(item.uri)
        uris.append(item.uri)
        size += item.size
    return Garbage(uris, size)


def attempts() -> Iterator[tuple[objects.StoredObject, Slot, int]]:
    """Every object that an attempt of this warehouse's stages wrote, with its slot and fence."""
    owner = warehouse.transact(warehouse.identity)
    for item in told(objects.listed(), "store looked through", "objects"):
        parsed = _parse(item.name, owner)
        if parsed is not None:
            yield item, *parsed


def _named() -> set[tuple[Slot, int]]:
    columns = (commits.c.flow, commits.c.stage, commits.c.partition, commits.c.map_index, commits.c.fence)
    with warehouse.read() as conn:
        return {(Slot(*row[:4]), row[4]) for row in conn.execute(sa.select(*columns))}


def orphaned(conn: Connection, slot: Slot, fence: int, dry_run: bool) -> bool:
    """True if no commit names the attempt's object, now or later: first its slot is held, then it is looked for a
    commit, then the attempt is fenced off.

    Asked by slot and fence, not by address: the store's address may be spelt in two ways.
    """
    here = sa.select(heads.c.fence).where(*is_slot(heads, slot))
    # waits for whoever commits right now, and holds off whoever would: Postgres shows no commit before its end
    owner = conn.execute(here.with_for_update()).scalar()
    if owner is None or owner < fence:
        return False
    if conn.execute(sa.select(commits.c.id).where(*is_slot(commits, slot), commits.c.fence == fence)).first():
        return False
    if owner == fence and not dry_run:
        conn.execute(heads.update().where(*is_slot(heads, slot)).values(fence=fence + 1))
    return True
