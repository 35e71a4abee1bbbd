"""What became of a monitor's windows since it last looked, read off the ledger: the cost is that of what is new.

The ledger's numbers are the only ones that transactions commit in order, on both databases: what has a higher number than
the last entry seen has not been seen, and nothing below it is still on its way.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, or_, select

from baton.feedback.labels import ARRIVED, predicted_partitions
from baton.names import CONTRACT, INGEST, PUBLISH, score_of
from baton.record.tables import ledger
from baton.record.warehouse import meta_get, meta_set

_COMMITTED, _DECIDED = "dataset_committed", "case_decided"


@dataclass(frozen=True)
class News:
    """What the ledger says since the last look.

    Attributes:
        seen: number of the last entry of the last look; `upto`: that of this one.
        first: partition -> number of the first new entry that bears on its window.
    """

    seen: int
    upto: int
    first: dict[str, int]


def _key(model: str, flow: str) -> str:
    return f"monitored:{model}:{flow}"


def since_last_look(conn: Connection, model: str, flow: str) -> News:
    """Partitions that were committed anew on the way to their scores, or of which labels were written or taken back."""
    seen = int(meta_get(_key(model, flow), conn) or 0)
    upto = int(conn.execute(select(func.max(ledger.c.seq))).scalar() or 0)
    payload = case((ledger.c.kind == ARRIVED, ledger.c.payload))  # the others' are not needed
    query = select(ledger.c.seq, ledger.c.kind, ledger.c.subject, payload.label("payload")).where(
        ledger.c.seq > seen, ledger.c.seq <= upto, ledger.c.kind.in_([_COMMITTED, ARRIVED, _DECIDED]),
        or_(ledger.c.subject == flow, ledger.c.subject.startswith(f"{flow}/", autoescape=True)),
    ).order_by(ledger.c.seq)  # fmt: skip
    stages, first, decided = (INGEST, CONTRACT, PUBLISH, score_of(model)), dict[str, int](), dict[str, int]()
    for row in conn.execute(query):
        about = row.subject.removeprefix(f"{flow}/")
        if row.kind == ARRIVED:
            for partition in json.loads(row.payload)["partitions"]:
                first.setdefault(partition, row.seq)
        elif row.kind == _DECIDED:
            decided.setdefault(about, row.seq)
        elif about.partition("/")[0] in stages:
            first.setdefault(about.partition("/")[2], row.seq)
    if decided:
        for partition in predicted_partitions(conn, flow, list(decided)):
            first[partition] = min(first.get(partition, upto), min(decided.values()))
    return News(seen, upto, first)


def remember(model: str, flow: str, news: News, left: Collection[str]) -> None:
    """Note how far the ledger is dealt with: up to the first entry about a partition that is `left` for another time."""
    dealt_with = min((news.first[partition] - 1 for partition in left), default=news.upto)
    if dealt_with > news.seen:
        meta_set(_key(model, flow), str(dealt_with))
