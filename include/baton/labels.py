"""Ground truth as it becomes known: chargebacks that arrive late, and what analysts decide on cases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

# Where two origins disagree the outcome that cost money is the truth; an analyst's view is an estimate of it.
ORIGIN_RANK = {"chargeback": 2, "outcome": 2, "analyst": 1}


def record_labels(conn: Connection, flow: str, origin: str, actor: str, rows: Iterable[tuple[str, str, float]]) -> int:
    """Upsert truths (entity_key, partition, value) of one origin in the caller's transaction; returns the count.

    A value is 0 or 1 of a class, or a quantity.
    """
    from baton import tables
    from baton.warehouse import now, upsert

    at = now()
    records = [
        {"flow": flow, "entity_key": key, "partition": partition, "label": float(label), "origin": origin,
         "actor": actor, "known_at": at}
        for key, partition, label in rows
    ]  # fmt: skip
    upsert(conn, tables.labels, records)
    return len(records)


def digest(labels: pd.DataFrame) -> str:
    """Fingerprint of `known_labels`: a correction changes it, even one that leaves the counts alone."""
    import pandas as pd

    rows = pd.util.hash_pandas_object(labels[["entity_key", "partition", "label"]], index=False)
    return f"{len(rows)}-{int(rows.sum()) % 2**64:016x}"


def known_labels(flow: str, predicted_in: str | None = None) -> pd.DataFrame:
    """One label per entity: the origin of highest rank wins.

    Args:
        predicted_in: only of entities that this partition's published predictions are about.

    Returns:
        columns entity_key (str), partition (str), label (float), origin (str).
    """
    import pandas as pd
    from sqlalchemy import select

    from baton import tables
    from baton.warehouse import read

    table, said = tables.labels, tables.predictions
    query = select(table.c.entity_key, table.c.partition, table.c.label, table.c.origin).where(table.c.flow == flow)
    if predicted_in is not None:
        about = select(said.c.entity_key).where(said.c.flow == flow, said.c.partition == predicted_in)
        query = query.where(table.c.entity_key.in_(about))
    with read() as conn:
        frame = pd.DataFrame(conn.execute(query).fetchall(), columns=["entity_key", "partition", "label", "origin"])
    frame["rank"] = frame["origin"].map(ORIGIN_RANK).fillna(0)
    frame = frame.sort_values(["entity_key", "rank"]).drop_duplicates("entity_key", keep="last")
    return frame.drop(columns="rank").reset_index(drop=True)
