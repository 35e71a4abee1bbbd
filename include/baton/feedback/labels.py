"""Ground truth as it becomes known: chargebacks that arrive late, and what analysts decide on cases."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, func, select

from baton.data.datasets import DatasetRef, read_batches
from baton.published import index
from baton.published.rows import KEY
from baton.record import tables
from baton.record.warehouse import among, now, read, upsert

if TYPE_CHECKING:
    import pandas as pd

# Where two origins disagree the higher rank is the truth. A person's word on a case is an estimate: above what nobody
# vouches for (0), below what a flow publishes with a higher rank, such as an outcome that cost money.
PERSON = 1
ARRIVED = "labels_arrived"  # in the ledger; `partitions` there: those whose published predictions are about them

Truth = float | str


@dataclass(frozen=True)
class Bounds:
    """Which truth counts; by default all there is.

    Attributes:
        first: no partition before this one.
        upto: no partition after this one.
        before: neither this partition nor one after it.
        heard_by: nothing recorded after this moment (as `warehouse.now` writes it), so that who asks again finds the
            same, but for what was corrected meanwhile: a label knows only when it was last written.
    """

    first: str | None = None
    upto: str | None = None
    before: str | None = None
    heard_by: str | None = None

    def within(self, partition: Any) -> list[ColumnElement[bool]]:
        """Conditions of a query: that the column `partition` lies within."""
        asked = (
            (self.first, operator.ge), (self.upto, operator.le), (self.before, operator.lt),
        )  # fmt: skip
        return [compare(partition, end) for end, compare in asked if end is not None]


ALL = Bounds()


def record_labels(
    conn: Connection,
    flow: str,
    origin: str,
    actor: str,
    rows: Iterable[tuple[str, str, Truth]],
    target: str,
    rank: int = 0,
) -> int:
    """Upsert truths (entity_key, partition, value) of one origin in the caller's transaction; returns the count.

    Args:
        rows: a value is 0 or 1, a quantity, or the name of a category.
        target: what the value is of: the target column of the models that learn it.
        rank: see `PERSON`.
    """
    at = now()
    records = [
        {"flow": flow, "entity_key": key, "partition": partition, "target": target, "origin": origin,
         "label": None if isinstance(value, str) else float(value), "category": value if isinstance(value, str) else None,
         "actor": actor, "rank": rank, "known_at": at}
        for key, partition, value in rows
    ]  # fmt: skip
    upsert(conn, tables.labels, records)
    return len(records)


def predicted_partitions(conn: Connection, flow: str, keys: Collection[str]) -> set[str]:
    """Partitions of a flow whose published predictions are, or once were, about these entities."""
    return {one.partition for one in index.candidates(keys, conn) if one.flow == flow and one.predictions is not None}


def replace_labels(
    conn: Connection, about: str, partition: str, actor: str, target: str, origin: str, truths: Iterable[tuple[str, Truth]],
    rank: int = 0,
) -> set[str]:  # fmt: skip
    """Replace what `actor` said before of a partition's entities: a corrected delivery may have taken a label back.

    Returns:
        partitions of the flow `about` whose published predictions may be about entities that had or have one of these
        labels: the caller records them with the ledger entry `ARRIVED`, by which monitors know what to judge again.
    """
    table = tables.labels
    here = (
        table.c.flow == about, table.c.partition == partition, table.c.origin == origin, table.c.actor == actor,
        table.c.target == target,
    )  # fmt: skip
    mine = select(table.c.entity_key).where(*here)
    before = set(conn.scalars(mine))
    conn.execute(table.delete().where(*here))
    known = [(key, partition, value) for key, value in truths]
    record_labels(conn, about, origin, actor, known, target, rank)
    return predicted_partitions(conn, about, before | {key for key, _, _ in known})


def digest(labels: pd.DataFrame) -> str:
    """Fingerprint of `known_labels`: a correction changes it, even one that leaves the counts alone."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(labels[["entity_key", "partition", "label"]], index=False)
    return _written(len(rows), int(rows.sum()))


def digest_of(flow: str, target: str | None, scores: DatasetRef) -> tuple[str, bool]:
    """`digest` of the labels of a dataset's entities, some at a time, and whether any is the name of a category.

    Args:
        scores: with a column entity_key; one that is in two batches counts twice.
    """
    from pandas.api.types import is_numeric_dtype

    count, total, categories = 0, 0, False
    for batch in read_batches(scores, [KEY]):
        known = known_labels(flow, target, batch.column(0).unique().to_pylist())
        many, _, sums = digest(known).partition("-")
        count, total = count + int(many), total + int(sums, 16)
        categories |= not is_numeric_dtype(known["label"])
    return _written(count, total), categories


def _written(count: int, total: int) -> str:
    return f"{count}-{total % 2**64:016x}"


def known_labels(
    flow: str,
    target: str | None,
    keys: Collection[str] | None = None,
    bounds: Bounds = ALL,
    partition: str | None = None,
    categories: bool | None = None,
) -> pd.DataFrame:
    """One label per entity: the origin of highest rank wins, of equal ranks the one written last.

    Args:
        target: of which the truth is asked; None: there is none.
        keys: only of these entities.
        bounds: which labels count at all.
        partition: only labels of this partition.
        categories: whether the target has categories: then a number is no label; None: where any of these labels names one.

    Returns:
        columns entity_key (str), partition (str), label (float, or str for categories), origin (str).
    """
    import pandas as pd

    table = tables.labels
    columns = ["entity_key", "partition", "label", "category", "origin", "rank", "known_at"]
    query = select(*(table.c[name] for name in columns)).where(table.c.flow == flow, table.c.target == target)
    query = query.where(*bounds.within(table.c.partition))
    if partition is not None:
        query = query.where(table.c.partition == partition)
    query = query.where(*_heard(bounds))
    with read() as conn:
        found = conn.execute(query).fetchall() if keys is None else list(among(conn, query, table.c.entity_key, keys))
    frame = pd.DataFrame(found, columns=columns)
    frame = frame.sort_values(["entity_key", "rank", "known_at", "origin"]).drop_duplicates("entity_key", keep="last")
    if categories is None:
        categories = bool(frame["category"].notna().any())
    frame["label"] = frame["category"] if categories else frame["label"].astype(float)
    return frame[["entity_key", "partition", "label", "origin"]].reset_index(drop=True)


# --- which there are ---


def partitions_known(flow: str, stage: str, newest: int, target: str | None, bounds: Bounds = ALL) -> list[str]:
    """The last partitions of a stage that hold a result, in order; with a target, those that have a label of it."""
    heads, said = tables.heads.c, tables.labels.c
    query = select(heads.partition).where(
        heads.flow == flow, heads.stage == stage, heads.map_index == -1, heads.commit_id.is_not(None),
        *bounds.within(heads.partition),
    )  # fmt: skip
    if target is not None:
        of_it = select(said.partition).where(
            said.flow == heads.flow, said.partition == heads.partition, said.target == target, *_heard(bounds)
        )
        query = query.where(of_it.exists())
    with read() as conn:
        return list(conn.execute(query.order_by(heads.partition.desc()).limit(newest)).scalars())[::-1]


def counts(flow: str, target: str, partitions: Sequence[str], bounds: Bounds = ALL) -> dict[str, tuple[int, str]]:
    """Partition -> number of its labels, and when the last of them was written."""
    said = tables.labels.c
    query = select(said.partition, func.count(), func.max(said.known_at)).where(*_of(flow, target, bounds))
    with read() as conn:
        rows = among(conn, query.group_by(said.partition), said.partition, partitions)
        return {partition: (count, at) for partition, count, at in rows}


def class_sizes(flow: str, target: str, partitions: Sequence[str], bounds: Bounds = ALL) -> dict[Truth, int]:
    """Value -> number of labels that say so, of a target with classes."""
    said, sizes = tables.labels.c, Counter[Truth]()
    query = select(said.label, said.category, func.count()).where(*_of(flow, target, bounds))
    with read() as conn:
        grouped = query.group_by(said.label, said.category)
        for label, category, count in among(conn, grouped, said.partition, partitions):
            sizes[category if category is not None else label] += count
    return dict(sizes)


def _of(flow: str, target: str, bounds: Bounds) -> list[ColumnElement[bool]]:
    said = tables.labels.c
    return [said.flow == flow, said.target == target, *_heard(bounds)]


def _heard(bounds: Bounds) -> list[ColumnElement[bool]]:
    return [] if bounds.heard_by is None else [tables.labels.c.known_at <= bounds.heard_by]
