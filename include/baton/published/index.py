"""In which partitions a key may be: sorted segments of hashes in the store, merged as they grow, listed by the table `segments`.

Each publication adds a segment with a 64-bit hash and the number of its partition for each of its keys; sixteen segments of a
level become one of the next. So a search reads a row group of each of some dozen segments, however much was ever published, and
a row is written once a level. What is found are candidates: a partition may have been published again without the key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Connection, select

from baton.data.datasets import DatasetRef, DatasetWriter, delete, read_batches
from baton.errors import DatasetCorrupt, StaleAttempt
from baton.progress import tell
from baton.published import keyed
from baton.published.rows import DECISIONS, PREDICTIONS, Published, find, published
from baton.record import tables, warehouse

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FAN = 16  # segments of a level that become one of the next
AT_PUBLISH = 30_000_000  # keys that a publication merges at most: half a minute; `baton gc` merges the rest
FOLDER = "keys"  # of the store


def hashed(keys: Collection[str]) -> np.ndarray:
    """Hashes of keys, in their order; shape (n,), 63 bits."""
    import numpy as np
    import pandas as pd

    cells = np.empty(len(keys), dtype=object)
    cells[:] = list(keys)
    found: np.ndarray = (pd.util.hash_array(cells, categorize=False) >> np.uint64(1)).astype("int64")
    return found


# --- writing ---


def number_of(conn: Connection, flow: str, partition: str) -> int:
    """The number by which the index names a partition; it keeps it."""
    table = tables.published
    conn.execute(warehouse.insert(conn, table).values(flow=flow, partition=partition).on_conflict_do_nothing())
    here = select(table.c.number).where(table.c.flow == flow, table.c.partition == partition)
    return int(conn.execute(here).scalar_one())


def begin(conn: Connection, level: int = 0) -> tuple[int, str]:
    """Announce a segment, so that `gc` leaves it alone while it is written: its number and the name of its object."""
    name = f"{FOLDER}/{warehouse.identity(conn)}/{level}-{uuid4().hex}.parquet"
    row = {"level": level, "name": name, "rows": 0, "at": warehouse.now()}
    table = tables.segments
    return int(conn.execute(table.insert().values(row).returning(table.c.number)).scalar_one()), name


def schema() -> pa.Schema:
    """What is sorted to become a segment."""
    import pyarrow as pa

    return pa.schema([("hash", pa.int64())])


def hashes_of(ref: DatasetRef, key: str) -> Iterator[pa.Table]:
    """Hashes of the keys of a dataset, as often as they come."""
    import pyarrow as pa

    for batch in read_batches(ref, [key]):
        yield pa.table({"hash": hashed(batch.column(0).unique().to_pylist())})


def write(name: str, hashes: Iterable[pa.Table], number: int) -> DatasetRef:
    """Write the segment of one partition; the hashes of its keys come sorted, as often as they like."""
    import numpy as np

    last = np.empty(0, dtype="int64")
    with DatasetWriter(name, key="hash") as writer:
        writer.add(_table(last, last.astype("int32")))
        for table in hashes:
            every = np.unique(table.column("hash").to_numpy())
            every = every[1:] if len(last) and len(every) and every[0] == last[0] else every
            writer.add(_table(every, np.full(len(every), number, dtype="int32")))
            last = every[-1:] if len(every) else last
        return writer.close()


def complete(conn: Connection, number: int, ref: DatasetRef) -> None:
    """Add an announced segment to the index.

    Raises:
        StaleAttempt: it took so long that `gc` gave it up.
    """
    table = tables.segments
    done = conn.execute(
        table.update().where(table.c.number == number, table.c.ref.is_(None)).values(ref=ref.to_dict(), rows=ref.rows)
    )
    if done.rowcount != 1:
        raise StaleAttempt(f"{ref.uri}: was given up by `baton gc` while it was being written; run the stage again")


def give_up(older_than: timedelta) -> None:
    """Forget segments that were announced so long ago and never came; whoever still writes one is refused."""
    table, since = tables.segments, warehouse.stamp(datetime.now(UTC) - older_than)
    gone = table.delete().where(table.c.ref.is_(None), table.c.at < since)
    warehouse.transact(lambda conn: conn.execute(gone))


def _table(hashes: np.ndarray, places: np.ndarray) -> pa.Table:
    import pyarrow as pa

    return pa.table({"hash": hashes, "place": places})


# --- searching ---


def candidates(keys: Collection[str], conn: Connection | None = None) -> list[Published]:
    """Partitions that may have published one of the keys, by flow and partition: no other has.

    Many keys cost no more than a pass over the segments.

    Raises:
        DatasetCorrupt: a segment cannot be read.
    """
    wanted = hashed(list(keys)).tolist()
    seen: list[DatasetRef] = []
    while True:
        with warehouse.read() if conn is None else nullcontext(conn) as own:
            refs = [ref for _, ref in _segments(own)]
            try:
                numbers = {number for ref in refs for number in _places(ref, wanted)}
            except DatasetCorrupt:
                if refs == seen:
                    raise
                seen = refs  # perhaps merged since, and removed: look again, in a transaction that sees it
                continue
            table = tables.published.c
            found = [one for some in _some(sorted(numbers)) for one in published(own, table.number.in_(some))]
            return sorted(found, key=lambda one: (one.flow, one.partition))


def newest(key: str, flow: str | None = None) -> Iterator[Published]:
    """Of each flow, or of one, the last partition that publishes the key: the objects are asked, newest first.

    Raises:
        DatasetCorrupt: a segment or a partition's object cannot be read.
    """
    told: set[str] = set()
    for one in reversed(candidates([key])):
        if one.flow in told or flow not in (None, one.flow):
            continue
        if any(find(kind, one.flow, one.partition, [key]) for kind in (DECISIONS, PREDICTIONS)):
            told.add(one.flow)
            yield one


def _places(ref: DatasetRef, wanted: Sequence[int]) -> list[int]:
    found = keyed.find(ref, "hash", wanted, ["place"])
    places: list[int] = found.column("place").unique().to_pylist() if found.num_rows else []
    return places


def _segments(conn: Connection, level: int | None = None) -> Iterator[tuple[int, DatasetRef]]:
    table = tables.segments.c
    query = select(table.number, table.ref).where(table.ref.is_not(None)).order_by(table.number)
    for row in conn.execute(query if level is None else query.where(table.level == level)):
        yield row.number, DatasetRef.from_dict(row.ref)


def named(conn: Connection) -> Iterator[DatasetRef]:
    """All datasets of the store that are published, and the index's segments."""
    for one in published(conn):
        yield from (ref for ref in (one.decisions, one.predictions) if ref is not None)
    yield from (ref for _, ref in _segments(conn))


def _some(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), warehouse.AT_ONCE):
        yield numbers[start : start + warehouse.AT_ONCE]


# --- merging ---


def merge(most: int | None = None) -> int:
    """Merge the segments that are due, smallest first; returns how many merges there were.

    Args:
        most: only where these are the keys at most; None: all.
    """
    done = 0
    while (due := _due(most)) is not None:
        if not _merge(*due):
            return done  # somebody else does it
        done += 1
    return done


def merge_small() -> None:
    """What a publication merges after its commit."""
    merge(AT_PUBLISH)


def _due(most: int | None) -> tuple[int, list[tuple[int, DatasetRef]]] | None:
    table = tables.segments.c
    with warehouse.read() as conn:
        for level in conn.scalars(select(table.level).distinct().order_by(table.level)).all():
            oldest = list(_segments(conn, level))[:FAN]
            if len(oldest) == FAN and (most is None or sum(ref.rows for _, ref in oldest) <= most):
                return level, oldest
    return None


def _merge(level: int, old: list[tuple[int, DatasetRef]]) -> bool:
    table = tables.segments
    number, name = warehouse.transact(partial(begin, level=level + 1))
    with warehouse.read() as conn:
        known = set(conn.scalars(select(tables.published.c.number)))
    with DatasetWriter(name, key="hash") as writer:
        for hashes, places in _merged([ref for _, ref in old], known):
            writer.add(_table(hashes, places))
        ref = writer.close()

    def exchange(conn: Connection) -> bool:
        gone = conn.execute(table.delete().where(table.c.number.in_([one for one, _ in old])))
        if gone.rowcount != len(old):
            raise _Beaten
        complete(conn, number, ref)
        return True

    try:
        warehouse.transact(exchange)
    except _Beaten:
        delete(ref)
        warehouse.transact(lambda conn: conn.execute(table.delete().where(table.c.number == number)))
        return False
    for _, one in old:
        delete(one)
    return True


class _Beaten(Exception):
    """Another process has merged these segments."""


def _merged(refs: Sequence[DatasetRef], known: set[int]) -> Iterator[tuple[Any, Any]]:
    """Hashes and places of sorted segments in one order, but for partitions that there are no more; a batch of each is held."""
    import numpy as np

    streams = [read_batches(ref) for ref in refs]
    waiting = [np.empty((0, 2), dtype="int64") for _ in refs]
    alive = np.array(sorted(known), dtype="int64")
    written = 0
    while True:
        for number, stream in enumerate(streams):
            while not len(waiting[number]) and (batch := next(stream, None)) is not None:
                waiting[number] = np.column_stack(
                    [batch.column(0).to_numpy(), batch.column(1).to_numpy().astype("int64")]
                )
        left = [one for one in waiting if len(one)]
        if not left:
            yield np.empty(0, dtype="int64"), np.empty(0, dtype="int32")  # the columns, where nothing else was
            return
        upto = min(one[-1, 0] for one in left)
        taken = []
        for number, one in enumerate(waiting):
            end = int(np.searchsorted(one[:, 0], upto, side="right"))
            taken.append(one[:end])
            waiting[number] = one[end:]
        rows = np.unique(np.concatenate(taken), axis=0)
        rows = rows[np.isin(rows[:, 1], alive)]
        written += len(rows)
        tell("keys merged", "keys", written)
        yield rows[:, 0], rows[:, 1].astype("int32")
