"""What a commit used: a row for each model version, or agent and model that it asked, in the commit's own transaction."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baton.record import warehouse
from baton.record.tables import commits, usage

NO_SLOT = -1  # fence of what no other attempt can take over


@dataclass(frozen=True)
class Consumer:
    """Who uses: the stage of a flow for a partition, in the attempt that a fence names; `NO_SLOT`: in none, such as a dry run."""

    pack: str
    flow: str
    stage: str
    partition: str
    map_index: int = -1
    fence: int = NO_SLOT


@dataclass(frozen=True)
class Use:
    """What was used of one asset.

    Attributes:
        asset: `model:NAME` or `agent:NAME`. version: of the model; of an agent the beginning of its prompt's SHA-256.
        model: that the agent asked; empty for other models.
        rows: cases; None: all rows of the commit.
        calls: requests. tokens_in, tokens_out: with them. seconds: of calls, or of the whole stage.
        cost: dollars; None where no price is known.
    """

    asset: str
    version: str
    model: str = ""
    rows: int | None = None
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cost: float | None = None


def record(conn: Connection, commit_id: int, who: Consumer, uses: Iterable[Use], at: str = "") -> None:
    """Write what a commit used.

    Args:
        at: when the work began; its day is that of the budgets. Empty: now.
    """
    at = at or warehouse.now()
    there = conn.execute(sa.select(commits.c.ref).where(commits.c.id == commit_id)).scalar_one()["rows"]
    rows = [
        {
            "commit_id": commit_id, "asset": one.asset, "model": one.model, "version": one.version, "pack": who.pack,
            "flow": who.flow, "stage": who.stage, "partition": who.partition, "day": at[:10], "at": at,
            "rows": there if one.rows is None else one.rows, "calls": one.calls, "tokens_in": one.tokens_in,
            "tokens_out": one.tokens_out, "seconds": round(one.seconds, 3), "cost": one.cost,
        }
        for one in uses
    ]  # fmt: skip
    if rows:
        conn.execute(usage.insert(), rows)
