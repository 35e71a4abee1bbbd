"""Answers that were not sent: each is a case of its team, so that nobody who wrote is forgotten."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from baton.feedback import cases
from baton.record import tables
from baton.record.warehouse import read
from baton.stages import StageJob

# what became of the customer; the other answers of such a case say what the document was
DONE: Mapping[str, Mapping[str, Any]] = {"answered otherwise": {}, "no answer needed": {}}
_FROM_THE_DECISION = ("entity_key", "route", "risk", "queue", "priority", "title", "reasons")


def open_cases(conn: Connection, job: StageJob, rows: Iterable[Mapping[Any, Any]], routes: Sequence[str]) -> None:
    """Open a case per decision whose answer is held back, in the caller's transaction.

    A case that a person decided stays; an earlier one of these routes whose answer leaves now is withdrawn.

    Args:
        rows: decisions, with their queue, priority and, perhaps, `resolutions`.
        routes: of the answers that the caller judges; the partition's cases of other routes are another stage's.
    """
    found = []
    for row in rows:
        own = row.get("resolutions")
        answers = {**DONE, **(json.loads(own) if isinstance(own, str) else {})}
        found.append({name: row.get(name) for name in _FROM_THE_DECISION} | {"resolutions": json.dumps(answers)})
    cases.open_cases(conn, job.flow, job.partition, pd.DataFrame(found), routes=routes)


def state(job: StageJob, routes: Sequence[str]) -> list[list[str]]:
    """(entity, status) of these cases of the partition: one that publishing anew has withdrawn must be opened again."""
    if job.dry_run:
        return []
    columns = tables.cases.c
    here = (columns.flow == job.flow, columns.partition == job.partition, columns.route.in_(routes))
    with read() as conn:
        return sorted(list(row) for row in conn.execute(select(columns.entity_key, columns.status).where(*here)))
