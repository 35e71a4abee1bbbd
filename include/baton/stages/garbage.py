"""Garbage: what attempts that crashed left, objects that no commit names and journals, and old XComs; found by its name, removed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.data import objects
from baton.progress import told
from baton.published import index
from baton.published.index import FOLDER
from baton.published.rows import DECISIONS, PREDICTIONS, published
from baton.record import tables, warehouse
from baton.record.tables import commits, heads, segments
from baton.stages.slots import NAME, Slot, is_slot

_FILES = r"(\.json|(\.\d{5}|\.model)?\.parquet)"  # of a dataset: one, or parts and manifest; what an engine hands its workers
_OBJECT = re.compile(
    rf"[0-9a-f]{{64}}-(?P<fence>\d+)-(?P<owner>[0-9a-f]{{12}})(?P<beside>\.{DECISIONS}|\.{PREDICTIONS})?"
    rf"(?P<notes>\.kept|\.noted)?{_FILES}"
)
_SEGMENT = re.compile(rf"(?P<stem>{FOLDER}/(?P<owner>[0-9a-f]{{12}})/\d+-[0-9a-f]{{32}}){_FILES}")
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
    """Remove objects that nothing names: left by attempts that crashed, of rows that were published and are no more, journals
    of runs that never ended. What is due of the index is merged.

    An attempt that still runs after `older_than` loses its slot: its fence is raised before its object goes,
    so that it is refused when it wants to commit. Objects that no stage of this warehouse wrote stay; a journal names
    no warehouse, and goes: whose retry still wanted it does its work again; so do the notes of those that judged a batch between
    them, which are of use to one task behind them. XComs that Airflow keeps in the store go after 30 days.
    """
    uris: list[str] = []
    size = 0
    if not dry_run:
        index.give_up(older_than)
    named, seen = _named(), _in_force()  # saves looking at each object that is data; the others are asked about again
    owner = warehouse.transact(warehouse.identity)

    def in_question(name: str) -> bool:
        attempt, segment = _parse(name, owner), _SEGMENT.fullmatch(name)
        if segment:
            return segment["owner"] == owner and segment["stem"] not in seen
        if attempt and (stem := beside_of(name)):
            return stem not in seen
        if attempt and is_notes(name):
            return True
        return attempt not in named if attempt else bool(_JOURNAL.fullmatch(name) or _XCOM.fullmatch(name))

    for item in objects.listed(in_question):
        attempt = _parse(item.name, owner)
        least = max(older_than, XCOMS) if _XCOM.fullmatch(item.name) else older_than
        if objects.age(item) < least.total_seconds():
            continue
        asked = partial(_is_garbage, name=item.name, attempt=attempt, dry_run=dry_run)
        if not warehouse.transact(asked):
            continue
        if not dry_run:
            objects.delete(item.uri)
        uris.append(item.uri)
        size += item.size
    if not dry_run:
        index.merge()
    return Garbage(uris, size)


def beside_of(name: str) -> str | None:
    """What the objects of a dataset that lies beside an attempt's own begin with; None for an object of that one."""
    found = _OBJECT.fullmatch(name.rpartition("/")[2])
    if found is None or not found["beside"]:
        return None
    return name[: len(name) - len(found[0]) + found.end("beside")]


def is_notes(name: str) -> bool:
    """Whether an object holds what one task noted for another one, and nobody else reads."""
    found = _OBJECT.fullmatch(name.rpartition("/")[2])
    return found is not None and found["notes"] is not None


def named_by(uri: str) -> str:
    """What the objects of a published dataset, or of a segment, begin with below the store, by the address of its manifest."""
    plain = unquote(uri) if uri.startswith("file://") else uri
    depth = 5 if beside_of(plain) else 3
    return "/".join(plain.rsplit("/", depth)[1:]).removesuffix(".json")


def _in_force(conn: Connection | None = None, *where: Any) -> set[str]:
    """Beginnings of the names of all published datasets, and of the index's segments."""
    if conn is None:
        with warehouse.read() as own:
            return _in_force(own)
    refs = [ref for one in published(conn, *where) for ref in (one.decisions, one.predictions) if ref is not None]
    found = {named_by(ref.uri) for ref in refs}
    return (
        found if where else found | {name.removesuffix(".parquet") for name in conn.scalars(sa.select(segments.c.name))}
    )


def _is_garbage(conn: Connection, name: str, attempt: tuple[Slot, int] | None, dry_run: bool) -> bool:
    if segment := _SEGMENT.fullmatch(name):
        return conn.scalar(sa.select(segments.c.number).where(segments.c.name == f"{segment['stem']}.parquet")) is None
    if attempt is None or is_notes(name):
        return True  # a journal, an XCom, notes
    slot, fence = attempt
    if stem := beside_of(name):
        here = (tables.published.c.flow == slot.flow, tables.published.c.partition == slot.partition)
        if stem in _in_force(conn, *here):
            return False
        if conn.execute(sa.select(commits.c.id).where(*is_slot(commits, slot), commits.c.fence == fence)).first():
            return True  # was committed, and is in force no more
    return orphaned(conn, slot, fence, dry_run)


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
