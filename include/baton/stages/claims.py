"""Claims: what partitions that run side by side take for theirs before they commit, so that no two begin the same thing.

A stage whose things live over partitions looks back on what earlier ones committed. Two at once do not see each other. So
each says in a short transaction of its own, in turns, under which keys and in which span of time it begins or continues
which thing, and reads what the others said. A claim outlives a crash: the retry replaces it.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record import warehouse
from baton.record.tables import claims as table
from baton.stages.slots import Slot

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """That a thing (`owner`) has what is known by `mark` from `first` to `last`, in seconds since 1970."""

    mark: str
    owner: str
    first: float
    last: float


def mark(*key: str) -> str:
    """How a claim names a key, which may be personal: by 128 bits of SHA-256."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def agree(
    slot: Slot, since: str, until: str, seen: Collection[str], decide: Callable[[list[Claim]], tuple[T, Sequence[Claim]]]
) -> T:  # fmt: skip
    """Decide under what other partitions of the stage claim, and leave claims; of two partitions one decides after the other.

    Args:
        since, until: keys of the partitions whose claims count, both included.
        seen: partitions whose rows the stage has read: their claims say nothing new.
        decide: gets their claims, gives its result and this partition's claims, one for each owner and mark; called again
            if the database asks for a repetition.
    """

    def work(conn: Connection) -> T:
        warehouse.take_turns(conn, f"claims {slot.flow}/{slot.stage}")
        stage = (table.c.flow == slot.flow, table.c.stage == slot.stage)
        columns = [table.c.partition, *(table.c[one.name] for one in fields(Claim))]
        near = sa.select(*columns).where(*stage, table.c.partition >= since, table.c.partition <= until)
        without = {slot.partition, *seen}
        result, mine = decide([
            Claim(*row[1:]) for row in conn.execute(near.order_by(*columns)) if row.partition not in without
        ])  # fmt: skip
        where = {"flow": slot.flow, "stage": slot.stage, "partition": slot.partition}
        names = [one.name for one in fields(Claim)]
        rows = [dict(zip(names, astuple(one), strict=True)) for one in mine]
        warehouse.bulk_replace(conn, table, where, rows)
        return result

    return warehouse.transact(work)
