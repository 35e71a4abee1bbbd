"""Rows for the console's tests: one day of card monitoring as its stages leave it in the warehouse, by the engine's own hands."""

from __future__ import annotations

import json
import math
import random
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "published_rows.py"))

FLOW = "transaction_monitoring"
CONTRACT = {
    "contract": "transactions",
    "version": 1,
    "key": ["transaction_id"],
    "columns": {
        "transaction_id": {"type": "int", "pii": "quasi", "description": "line number of the recording"},
        "event_time": {"type": "timestamp", "pii": "none", "description": "UTC"},
        "amount": {"type": "float", "pii": "none", "description": "euros"},
        "card_holder": {"type": "str", "pii": "direct", "description": "name on the card"},
        "v10": {"type": "float", "pii": "none", "description": "principal component"},
        "v14": {"type": "float", "pii": "none", "description": "principal component"},
    },
}


def partition_keys(count: int = 15, end: datetime | None = None) -> list[str]:
    """Hourly partitions, oldest first."""
    last = (end or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    return [(last - timedelta(hours=count - i)).isoformat() for i in range(count)]


def fill(decisions_per_partition: int = 200, partitions: int = 15, seed: int = 7) -> dict[str, Any]:
    """Fill the (empty, migrated) warehouse of the current settings; returns names that tests look for."""
    from baton.record import ledger, tables
    from baton.record.warehouse import now, write

    rng, keys = random.Random(seed), partition_keys(partitions)
    first_row = 1
    cased: list[tuple[str, str]] = []
    for number, key in enumerate(keys):
        ids = range(first_row, first_row + decisions_per_partition)
        first_row = ids.stop
        cased += [(key, entity) for entity in publish_partition(key, ids, rng, version=2 if number > 11 else 1)]
    with write() as conn:
        judged = f"{keys[-2]}.000000Z"
        for model, version, champion, answer in (
            ("card_fraud", 1, None, "approved"),
            ("card_fraud", 2, 1, "approved"),
            ("transaction_anomaly", 1, None, "approved"),
        ):
            conn.execute(tables.approvals.insert().values(**approval(model, version, champion, answer, judged)))
            ledger.append(
                conn, "approval", f"{model}/{version}", {"answer": answer, "reviewer": "admin", "channel": "airflow"}
            )
            ledger.append(
                conn, "alias_moved", model,
                {"alias": "champion", "version": version, "before": champion, "actor": "admin", "reason": "approved by airflow"},
            )  # fmt: skip
        conn.execute(tables.approvals.insert().values(**approval("card_fraud", 3, 2, None, now())))
        conn.execute(tables.drift_windows.insert(), windows(keys, rng))
        conn.execute(
            tables.retrains.insert().values(
                model="card_fraud", partition=keys[9], requested_at=f"{keys[9]}.000000Z",
                reason="labelled performance fell in at least 2 of 3 windows; 31 labelled positives since: retrain",
            )
        )  # fmt: skip
        conn.execute(tables.quarantine.insert(), quarantined(keys))
    return {"keys": keys, "cases": cased, "flow": FLOW}


def publish_partition(key: str, ids: range, rng: random.Random, version: int) -> list[str]:
    """Commit contract, decisions and publication of one partition; returns the entities that need a person."""
    import pandas as pd
    from sqlalchemy import Connection

    from baton.feedback import cases
    from baton.record import ledger, tables
    from baton.record.warehouse import now
    from baton.stages.slots import Slot, StageOutput, run_stage

    models = {"card_fraud": version, "transaction_anomaly": 1}
    shared: dict[str, Any] = {"models": models, "code": "test", "run_id": f"scheduled__{key}"}
    rows = pd.DataFrame({
        "transaction_id": list(ids),
        "event_time": pd.Timestamp(key, tz="UTC"),
        "amount": [round(rng.lognormvariate(3, 1.3), 2) for _ in ids],
        "card_holder": "Ada Example",
        "v10": [rng.gauss(0, 1) for _ in ids],
        "v14": [rng.gauss(0, 1) for _ in ids],
        "_row": list(range(1, len(ids) + 1)),
    })  # fmt: skip
    page = f"contracts/{FLOW}/{key.replace(':', '-')}/contract-test.html"
    facts = {
        "contract": "transactions v1", "status": "passed", "rows_in": len(rows), "rows_good": len(rows), "page": page,
    }  # fmt: skip
    params = {"options": {"contract": "transactions"}, "state": {"contract": CONTRACT, "repairs": ""}}
    good = run_stage(
        Slot(FLOW, "contract", key), lambda _: StageOutput(rows, facts), inputs={}, params=params, **shared
    )
    risk = [rng.betavariate(0.5, 12) for _ in ids]
    for hot in rng.sample(range(len(risk)), 3):
        risk[hot] = rng.uniform(0.55, 0.999)
    decided = pd.DataFrame({
        "entity_key": rows["transaction_id"].astype(str), "risk": risk, "money": rows["amount"],
        "route": ["block" if r > 0.9 else "review" if r > 0.5 else "clear" for r in risk],
        "title": [f"{amount:,.2f} euros at the till" for amount in rows["amount"]],
        "reasons": [json.dumps([f"probability of fraud {r:.1%}"]) for r in risk],
    })  # fmt: skip
    decide = run_stage(
        Slot(FLOW, "decide", key),
        lambda _: StageOutput(decided),
        inputs={"transactions": good.ref},
        params={},
        **shared,
    )
    urgent = decided[decided["route"] != "clear"]

    published = PUBLISHED["written"](
        FLOW, key, models=models, decisions=decided.drop(columns=["title", "reasons"]).to_dict("records"),
        predictions=[
            {"entity_key": row["entity_key"], "model": model, "version": models[model], "score": row["risk"],
             "reasons": json.dumps(reasons(rng)) if row["route"] != "clear" and model == "card_fraud" else None}
            for row in decided.to_dict("records") for model in models
        ],
    )  # fmt: skip

    def on_commit(conn: Connection, commit_id: int) -> None:
        at, where = now(), {"flow": FLOW, "partition": key}
        published.enforce(conn, commit_id)
        for model, number in models.items():
            conn.execute(tables.partition_models.insert().values(**where, model=model, version=number, recorded_at=at))
        cases.open_cases(conn, FLOW, key, urgent, {"fraud": {"is_fraud": 1}, "legitimate": {"is_fraud": 0}})
        ledger.append(
            conn, "decisions_published", f"{FLOW}/{key}", {"commit": commit_id, "models": models, **published.told}
        )

    run_stage(
        Slot(FLOW, "publish", key), lambda _: StageOutput(decided, {}, on_commit), inputs={"decisions": decide.ref},
        params={}, **shared,
    )  # fmt: skip
    return list(urgent["entity_key"])


def reasons(rng: random.Random) -> list[list[Any]]:
    """Reason codes as a stage stores them."""
    return [["v14", round(rng.uniform(2, 5), 4)], ["v10", round(rng.uniform(0.5, 2), 4)], ["amount", -0.4]]


def approval(model: str, version: int, champion: int | None, answer: str | None, at: str) -> dict[str, Any]:
    """A row of `approvals`."""
    gain = "average precision 0.842 against 0.611: +0.231, 90 % interval +0.118 to +0.344"
    verdict = {
        "decision": "PROMOTE", "champion_version": champion, "manifest": "files", "gate": "gate",
        "reasons": [gain, "costs 4,120 less than the champion on 31 labelled frauds"] if champion else ["reaches the floor of 0.5"],
        "table": [{"metric": "average_precision", "champion": 0.611, "challenger": 0.842, "difference": 0.231}],
    }  # fmt: skip
    return {
        "model": model, "version": version, "verdict": verdict, "answer": answer, "judged_at": at,
        "reviewer": "admin" if answer else None, "channel": "airflow" if answer else None, "answered_at": at if answer else None,
    }  # fmt: skip


def windows(keys: list[str], rng: random.Random) -> list[dict[str, Any]]:
    """Judged windows of two models: one falls from the fifth partition on until version 2 takes over."""
    made = []
    for number, key in enumerate(keys):
        fell, version = 4 <= number <= 11, 2 if number > 11 else 1
        value = round((0.42 if fell else 0.83) + rng.uniform(-0.04, 0.04), 4) if number < len(keys) - 2 else None
        names = ["v14", "v4", "amount"] if fell else []
        table = {
            "n": 9_493, "page": f"drift/card_fraud/{key.replace(':', '-')}-v{version}.html",
            "rows": [
                {"feature": name, "effect": 0.61, "threshold": 0.2, "shift": 0.58, "spread": 1.02, "drifted": True,
                 "expected": [0.05] * 20, "observed": [0.04] * 20} for name in names
            ],
        }  # fmt: skip
        performance: dict[str, Any] = {"labels": 9_000 if value else 0}
        if value is not None:
            performance |= {
                "metric": "average_precision", "value": value, "low": value - 0.1, "high": value + 0.1, "reference": 0.84,
                "positives": 19, "rows": 9_000, "status": "dropped" if fell else "held",
            }  # fmt: skip
        base = {
            "flow": FLOW,
            "partition": key,
            "commit_id": 1,
            "judged_at": f"{key}.000000Z",
            "measured": 0,
            "window": {},
        }
        made.append({**base, "model": "card_fraud", "version": version, "verdict": "drifted" if fell else "stable",
                     "table": table, "features": names, "performance": performance})  # fmt: skip
        wave = abs(math.sin(number)) > 0.99 or number == len(keys) - 1
        made.append({**base, "model": "transaction_anomaly", "version": 1, "verdict": "drifted" if wave else "stable",
                     "table": {**table, "rows": table["rows"] or [
                         {"feature": "amount", "effect": 0.31, "threshold": 0.2, "shift": 0.29, "spread": 1.1, "drifted": True}
                     ] if wave else [], "page": f"drift/transaction_anomaly/{key.replace(':', '-')}-v1.html"},
                     "features": ["amount"] if wave else [], "performance": {"labels": 0}})  # fmt: skip
    return made


def quarantined(keys: list[str]) -> list[dict[str, Any]]:
    """Open rows of two partitions; row 3 breaks two rules and counts once."""
    at = f"{keys[-1]}.500000Z"
    base = {
        "flow": FLOW, "partition": keys[6], "source": "transactions", "status": "open", "first_seen": at, "updated_at": at,
        "raw": {"amount": "-12.5"},
    }  # fmt: skip
    rows = [
        {**base, "row_sha": f"a{n}", "row": n, "rule": "amount_not_negative", "entity_key": str(n), "column": "amount",
         "value": "-12.5", "advice": "a refund booked as a payment: drop the sign, or discard the row"}
        for n in range(1, 8)
    ]  # fmt: skip
    rows.append(
        {**rows[2], "rule": "type", "column": "v4", "value": "n/a", "advice": "the cell is no number: correct it"}
    )
    rows.append({**base, "row_sha": "b1", "row": 40, "rule": "key_is_present", "entity_key": None, "column": "transaction_id",
                 "value": None, "advice": "find the row in the source file and give it its key"})  # fmt: skip
    rows += [
        {**base, "partition": keys[9], "row_sha": f"c{n}", "row": n, "rule": "amount_median", "entity_key": str(9000 + n),
         "column": "amount", "value": str(100 * n), "advice": "the whole hour is in cents: divide amount by 100"}
        for n in range(1, 320)
    ]  # fmt: skip
    rows += [
        {**base, "row_sha": "d1", "row": 50, "rule": rule, "status": "repaired", "column": "amount"}
        for rule in ("type", "range")
    ]
    shared = {"entity_key": None, "column": None, "value": None, "advice": None}
    return [json.loads(json.dumps({**shared, **row})) for row in rows]
