"""Ground truth as it becomes known: chargebacks that arrive late, and what analysts decide on cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from baton.record import tables
from baton.record.warehouse import now, read, upsert

if TYPE_CHECKING:
    import pandas as pd

# Where two origins disagree the higher rank is the truth. A person's word on a case is an estimate: above what nobody
# vouches for (0), below what a flow publishes with a higher rank, such as an outcome that cost money.
PERSON = 1

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

    def hold(self, partition: str) -> bool:
        """Whether the partition lies within."""
        late = (self.upto is not None and partition > self.upto) or (
            self.before is not None and partition >= self.before
        )
        return not late and partition >= (self.first or "")


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


def digest(labels: pd.DataFrame) -> str:
    """Fingerprint of `known_labels`: a correction changes it, even one that leaves the counts alone."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(labels[["entity_key", "partition", "label"]], index=False)
    return f"{len(rows)}-{int(rows.sum()) % 2**64:016x}"


def known_labels(flow: str, target: str | None, predicted_in: str | None = None, bounds: Bounds = ALL) -> pd.DataFrame:
    """One label per entity: the origin of highest rank wins, of equal ranks the one written last.

    Args:
        target: of which the truth is asked; None: there is none.
        predicted_in: only of entities that this partition's published predictions are about.
        bounds: which labels count at all.

    Returns:
        columns entity_key (str), partition (str), label (float, or str for categories), origin (str).
    """
    import pandas as pd

    table, said = tables.labels, tables.predictions
    columns = ["entity_key", "partition", "label", "category", "origin", "rank", "known_at"]
    query = select(*(table.c[name] for name in columns)).where(table.c.flow == flow, table.c.target == target)
    if predicted_in is not None:
        about = select(said.c.entity_key).where(said.c.flow == flow, said.c.partition == predicted_in)
        query = query.where(table.c.entity_key.in_(about))
    if bounds.first is not None:
        query = query.where(table.c.partition >= bounds.first)
    if bounds.upto is not None:
        query = query.where(table.c.partition <= bounds.upto)
    if bounds.before is not None:
        query = query.where(table.c.partition < bounds.before)
    if bounds.heard_by is not None:
        query = query.where(table.c.known_at <= bounds.heard_by)
    with read() as conn:
        frame = pd.DataFrame(conn.execute(query).fetchall(), columns=columns)
    frame = frame.sort_values(["entity_key", "rank", "known_at", "origin"]).drop_duplicates("entity_key", keep="last")
    if frame["category"].notna().any():
        frame["label"] = frame["category"]
    else:
        frame["label"] = frame["label"].astype(float)
    return frame[["entity_key", "partition", "label", "origin"]].reset_index(drop=True)
