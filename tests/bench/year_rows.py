"""A year of history, seeded: what `bench_year.py` measures on. Built once into a folder, by the tables' own definitions.

An hourly flow with its decisions, scores, labels and cases; the windows of eight models; a ledger by `ledger.append` itself.
The rows of the store are those that the contract's stage left; all other objects are small, and as many as there would be.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import JSON, Connection, Table, event, select
from sqlalchemy.sql.dml import Insert

from baton.data import datasets, objects
from baton.drift.decision import Window
from baton.drift.performance import Performance
from baton.jsontext import to_json
from baton.lifecycle.news import News, remember
from baton.published import index
from baton.published.writing import Publication
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages.slots import Slot

FLOW, LABELS, MODEL, TARGET = "transaction_monitoring", "transaction_labels", "card_fraud", "is_fraud"
MODELS = [MODEL, "transaction_anomaly", "demand", "document_type", "document_intent", "document_risk", "message_intent",
          "message_sentiment"]  # fmt: skip
STAGES = ("ingest", "contract", f"score__{MODEL}", "score__transaction_anomaly", "decide", "publish")
FEATURES = [f"v{number}" for number in range(1, 29)]
FRAUD = 0.002
LAG = 48  # hours until a label is known: the last two days have none
ROUTES = {"clear": 560, "review": 9, "block": 2}
AT = "2026-12-31T23:00:00.000000Z"
CONTRACT = {"contract": "transactions", "version": 1, "key": ["transaction_id"], "columns": {
    "transaction_id": {"type": "int", "pii": "quasi"}, "amount": {"type": "float", "pii": "none"},
}}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much there is; the defaults are a year."""

    partitions: int = 8760
    rows: int = 571  # an hour: 5 million predictions, and as many labels
    cases: int = 50_000
    ledger: int = 1_000_000
    history: int = 168_000

    @property
    def hours(self) -> list[str]:
        """The partitions, in order."""
        return [hour(number) for number in range(self.partitions)]


def hour(number: int) -> str:
    """Key of an hour, counted from the year's first."""
    return f"{datetime(2026, 1, 1) + timedelta(hours=number):%Y-%m-%dT%H:%M:%S}"  # noqa: DTZ001 - keys have no zone


def keys(number: int, size: Size) -> list[str]:
    """Entities of an hour; of one length, so that they sort as they came."""
    return [str(10**9 + number * size.rows + row) for row in range(size.rows)]


def transactions(number: int, size: Size, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of an hour as its contract left them."""
    frame = pd.DataFrame(rng.normal(size=(size.rows, len(FEATURES))), columns=FEATURES)
    start = pd.Timestamp(hour(number), tz="UTC")
    frame.insert(0, "transaction_id", np.array(keys(number, size), dtype="int64"))
    frame.insert(1, "event_time", start + pd.to_timedelta(np.arange(size.rows), unit="s"))
    frame["seconds"], frame["amount"] = np.arange(size.rows, dtype=float), rng.lognormal(3, 1, size.rows)
    return frame.assign(_source="bench", _row=np.arange(1, size.rows + 1), _row_sha="0" * 16)


def build(size: Size, say: Callable[[str], None]) -> None:
    """Fill the home of the current settings, which is empty."""
    warehouse.migrate()
    made = warehouse.engine()
    event.listen(made, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    made.dispose()
    rng = np.random.default_rng(20)
    with _without_fsync():
        history = transactions(-400, Size(rows=size.history), rng).drop(columns=["_source", "_row", "_row_sha"])
        history[TARGET] = (rng.random(len(history)) < FRAUD) * 1
        folder = settings().data_dir / "financial_crime"
        folder.mkdir(parents=True)
        history.to_parquet(folder / "history.parquet")
        owner = warehouse.transact(warehouse.identity)
        small = datasets.write(pd.DataFrame({"entity_key": ["0"]}), "small.parquet")
        body = objects.path_of(small.uri).read_bytes()
        commit = 0
        for first in range(0, size.partitions, 240):
            numbers = range(first, min(first + 240, size.partitions))
            commits = []
            for number in numbers:
                commits += _slots(number, size, rng, owner, (small, body), commit)
                commit += len(STAGES) + 3
            _rows(numbers, size, random.Random(first), commits)
            index.merge()
            say(f"{numbers.stop:,} of {size.partitions:,} partitions")
        _ledger(size, say)
    for model in MODELS:
        remember(model, FLOW, News(0, size.ledger, {}), ())


@contextmanager
def _without_fsync() -> Iterator[None]:
    kept, os.fsync = os.fsync, lambda _descriptor: None
    try:
        yield
    finally:
        os.fsync = kept


def _slots(
    number: int, size: Size, rng: np.random.Generator, owner: str, small: tuple[datasets.DatasetRef, bytes], last: int
) -> list[dict[str, Any]]:
    """Commits of an hour, each made of the one before; the objects are in the store."""
    key, found = hour(number), []
    inputs: dict[str, Any] = {}
    stages = [(FLOW, stage) for stage in STAGES] + [(LABELS, stage) for stage in ("ingest", "contract", "publish")]
    for at, (flow, stage) in enumerate(stages, start=1):
        digest = f"{last + at:064x}"
        name = f"{Slot(flow, stage, key).folder}/{digest}-1-{owner}.parquet"
        if (flow, stage) == (FLOW, "contract"):
            ref = datasets.write(transactions(number, size, rng), name, key)
        elif stage == f"score__{MODEL}" and number == size.partitions // 2:  # this one is judged again
            said = {"entity_key": keys(number, size), "score": rng.random(size.rows)}
            ref = datasets.write(pd.DataFrame(said), name, key)
        else:
            uri = f"{settings().store_url}/{name}"
            path = objects.path_of(uri)
            path.parent.mkdir(parents=True)
            path.write_bytes(small[1])
            ref = datasets.DatasetRef(uri, 1, small[0].schema_fingerprint, small[0].content_sha256, key)
        facts: dict[str, Any] = {
            "rows_in": size.rows,
            "rows_good": size.rows,
            "status": "passed",
            "contract": "transactions v1",
        }
        facts = {"source_sha256": digest, **facts} if stage == "ingest" else facts
        facts |= {"routes": ROUTES, "money": ROUTES} if (flow, stage) == (FLOW, "publish") else {}
        state = {"state": {"contract": CONTRACT, "repairs": ""}} if stage == "contract" else {}
        found.append({
            "id": last + at, "flow": flow, "stage": stage, "partition": key, "map_index": -1, "fence": 1, "digest": digest,
            "uri": ref.uri, "ref": ref.to_dict(), "facts": facts, "inputs": inputs if flow == FLOW else {},
            "params": {"options": {"source": "transactions"}, **state}, "models": dict.fromkeys(MODELS[:2], 1), "code": "bench",
            "run_id": f"scheduled__{key}", "created_at": f"{key}.000000Z",
        })  # fmt: skip
        inputs = {"data": ref.to_dict()}
    return found


def _rows(numbers: range, size: Size, rng: random.Random, commits: list[dict[str, Any]]) -> None:
    """What the flow, the flow of labels, people and monitors left of these hours."""
    published = {one["partition"]: one["id"] for one in commits if (one["flow"], one["stage"]) == (FLOW, "publish")}
    scored = {one["partition"]: one["id"] for one in commits if one["stage"] == f"score__{MODEL}"}
    head = ("flow", "stage", "partition", "map_index", "fence", "digest", "uri")
    with warehouse.write() as conn:
        _bulk(conn, tables.commits, commits)
        _bulk(conn, tables.heads, [{**{name: one[name] for name in head}, "commit_id": one["id"]} for one in commits])
        for number in numbers:
            key, entities = hour(number), keys(number, size)
            where, at = {"flow": FLOW, "partition": key}, f"{key}.500000Z"
            fraud = {entity for entity in entities if rng.random() < FRAUD}
            _publish(conn, key, entities, rng, next(one for one in commits if one["id"] == published[key]))
            if number < size.partitions - LAG:
                _bulk(conn, tables.labels, [
                    {**where, "entity_key": entity, "origin": "chargeback", "target": TARGET, "actor": LABELS, "rank": 2,
                     "label": float(entity in fraud), "known_at": at} for entity in entities
                ])  # fmt: skip
            first, last = (size.cases * end // size.partitions for end in (number, number + 1))
            cases = [_case(number, entities[place % size.rows], size, rng) for place in range(last - first)]
            _bulk(conn, tables.cases, cases)
            _bulk(conn, tables.partition_models, [
                {**where, "model": model, "version": 1, "recorded_at": at} for model in MODELS
            ])  # fmt: skip
            _bulk(conn, tables.drift_windows, [_window(model, number, size, scored[key]) for model in MODELS])
            _bulk(conn, tables.quarantine, [
                {**where, "row_sha": f"{number:x}-{row}", "row": row, "rule": "amount_implausible", "source": "transactions",
                 "entity_key": entities[-row - 1], "column": "amount", "value": "-1", "first_seen": at, "updated_at": at,
                 "status": "open" if number > size.partitions - 20 else "resolved"} for row in range(2)
            ])  # fmt: skip


def _publish(conn: Connection, key: str, entities: list[str], rng: random.Random, commit: dict[str, Any]) -> None:
    said = pd.DataFrame({
        "entity_key": entities, "model": MODEL, "version": 1, "score": [rng.random() for _ in entities], "reasons": None,
        "risk": 0.1, "route": "clear", "money": 20.0,
    })  # fmt: skip
    made = Publication(FLOW, key, {MODEL: 1}, len(said), lambda: [said], lambda: [said])
    made.write_announced(commit["uri"].removeprefix(f"{settings().store_url}/"), *made.announce(conn))
    made.put(conn, commit["id"], f"{key}.500000Z")


def _bulk(conn: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns; fifteen million of them, so without what the ORM's core does for each."""
    if rows:
        statement = str(table.insert().compile(dialect=conn.dialect, column_keys=list(rows[0])))
        order = [column.name for column in table.c if column.name in rows[0]]
        coded = [isinstance(table.c[name].type, JSON) for name in order]
        conn.exec_driver_sql(statement, [
            tuple(to_json(row[name]) if json else row[name] for name, json in zip(order, coded, strict=True)) for row in rows
        ])  # fmt: skip


def _case(number: int, entity: str, size: Size, rng: random.Random) -> dict[str, Any]:
    waiting = number > size.partitions - 200
    return {
        "flow": FLOW, "entity_key": entity, "partition": hour(number), "route": rng.choice(["review", "block"]), "queue": None,
        "priority": None, "risk": rng.random(), "status": "open" if waiting else "closed", "resolution": None if waiting else "fraud",
        "resolutions": {"fraud": {TARGET: 1}, "legitimate": {TARGET: 0}}, "edits": None, "actor": None if waiting else "ada",
        "note": None, "text": None, "opened_at": f"{hour(number)}.500000Z", "updated_at": f"{hour(number)}.900000Z",
    }  # fmt: skip


def _window(model: str, number: int, size: Size, commit: int) -> dict[str, Any]:
    known = number < size.partitions - LAG
    measured = Performance("average_precision", 0.8, 0.7, 0.9, 0.8, 20, size.rows, "held") if known else None
    moved = number % 500 == 0
    window = Window(hour(number), 1, "judged", ("amount",) if moved else (), size.rows, 1, measured)
    shares = [0.05] * 20
    rows = [{"feature": name, "effect": 0.1, "threshold": 0.2, "drifted": False, "expected": shares, "observed": shares}
            for name in FEATURES[:8]]  # fmt: skip
    return {
        "model": model, "partition": window.partition, "version": 1, "flow": FLOW, "verdict": "drifted" if moved else "stable",
        "measured": int(known), "window": asdict(window), "table": {"rows": rows, "n": size.rows, "page": "drift/none.html"},
        "features": list(window.drifted),
        "performance": {**(measured.to_dict() if measured else {}), "labels": "0-0", "calibration": [[0.0, 1.0, 1.0, 90.0]]},
        "commit_id": commit, "judged_at": f"{window.partition}.900000Z",
    }  # fmt: skip


# --- the ledger ---


class _Pen:
    """A connection that takes the ledger's rows down instead of sending each; the last one is what it knows."""

    class dialect:
        name = "sqlite"

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.last: Any = None
        self.callbacks: list[Callable[[], None]] = []

    def in_nested_transaction(self) -> bool:
        return False

    def get_execution_options(self) -> dict[str, Any]:
        return {"baton_after_commit": self.callbacks}

    def execute(self, statement: Any) -> Any:
        if isinstance(statement, Insert):
            row = {
                str(getattr(column, "name", column)): bound.value for column, bound in (statement._values or {}).items()
            }
            self.rows.append(row)
            self.last = type("Last", (), {"seq": row["seq"], "hash": row["hash"]})
        return self

    def first(self) -> Any:
        return self.last


def _ledger(size: Size, say: Callable[[str], None]) -> None:
    """Entries as a year leaves them, most about other flows."""
    pen: Any = _Pen()
    with warehouse.read() as conn:
        said = conn.execute(select(tables.commits).where(tables.commits.c.flow == FLOW))
        made = {f"{FLOW}/{one.stage}/{one.partition}": _committed(one) for one in said}
    each = size.ledger // size.partitions
    for number in range(size.partitions + 1):
        key = hour(min(number, size.partitions - 1))
        subjects = [("dataset_committed", f"{FLOW}/{stage}/{key}") for stage in STAGES]
        subjects += [
            ("decisions_published", f"{FLOW}/{key}"),
            *(("window_judged", f"{model}/{key}") for model in MODELS),
        ]
        if number == 0:
            subjects = [("alias_moved", model) for model in MODELS] + subjects
        subjects += [
            ("dataset_committed", f"flow_{place % 7}/stage_{place}/{key}") for place in range(each - len(subjects))
        ]
        if number == size.partitions:
            subjects = [
                ("dataset_committed", f"flow_0/rest_{place}/{key}") for place in range(size.ledger - number * each)
            ]
        for kind, subject in subjects:
            payload: dict[str, Any] = {
                "commit": number,
                "rows": size.rows,
                "sha256": f"{number:064x}",
                "models": {MODEL: 1},
            }
            payload = made.get(subject, payload)
            if kind == "alias_moved":
                payload = {"alias": "champion", "version": 1, "before": None, "actor": "ada", "reason": "bench"}
            if kind == "window_judged":
                moved = number % 500 == 0
                payload = {"version": 1, "verdict": "drifted" if moved else "stable", "features": ["amount"] * moved}
            ledger.append(pen, kind, subject, payload)
            pen.callbacks.pop()()
        if number % 240 == 0 or number == size.partitions:
            with warehouse.write() as conn:
                _bulk(conn, tables.ledger, pen.rows)
            pen.rows.clear()
    say(f"{size.ledger:,} ledger entries")


def _committed(commit: Any) -> dict[str, Any]:
    """What the ledger says of a commit, as `run_stage` tells it."""
    ref = commit.ref
    told = {
        "commit": commit.id,
        "rows": ref["rows"],
        "sha256": ref["content_sha256"],
        "uri": ref["uri"],
        "fence": commit.fence,
    }
    inputs = {name: given["content_sha256"] for name, given in commit.inputs.items()}
    return told | {"digest": commit.digest, "models": commit.models, "run_id": commit.run_id, "inputs": inputs}


def fits(folder: Path, size: Size) -> bool:
    """Whether the folder holds a year of this size, made by these very lines and the tables as they are now."""
    return (folder / "built").exists() and (folder / "built").read_text() == fingerprint(size)


def fingerprint(size: Size) -> str:
    """What a built folder was made by."""
    import hashlib

    made_by = [Path(__file__).read_text(), Path(str(tables.__file__)).read_text(), str(size)]
    return hashlib.sha256("\n".join(made_by).encode()).hexdigest()
