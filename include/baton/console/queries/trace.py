"""Why was this decided? The chain from a source row to the decision, out of the warehouse and the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from baton.errors import BatonError


@dataclass(frozen=True)
class Step:
    """One link of the chain: what it is, a sentence, the facts behind it."""

    what: str
    says: str
    facts: dict[str, Any] = field(default_factory=dict)


def trace(entity: str, flow: str | None = None) -> list[Step]:
    """Source row -> contract -> model version -> gate -> approver -> decision -> case and labels of one entity.

    Args:
        entity: key of the entity, as the flow publishes it.
        flow: DAG id; needed when several flows know the key.

    Raises:
        BatonError: nobody knows the entity, or several flows do.
    """
    found = _places(entity, flow)
    if not found:
        raise BatonError(f"no flow has published or quarantined {entity!r}: check the key, or wait for its partition")
    if len({place["flow"] for place in found}) > 1:
        raise BatonError(
            f"{entity!r} is known to {', '.join(sorted({p['flow'] for p in found}))}: name one with --flow"
        )
    here = found[-1]
    flow, partition = str(here["flow"]), str(here["partition"])
    steps = [*_data(flow, partition, entity), *_quarantine(flow, partition, entity)]
    versions = _scores(flow, partition, entity, steps)
    for model, version in sorted(versions.items()):
        steps += _governance(model, version)
    return [*steps, *_outcome(flow, partition, entity)]


def _rows(table: Any, **where: Any) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from baton.record.warehouse import read

    query = select(table).where(*(table.c[name] == value for name, value in where.items() if value is not None))
    with read() as conn:
        return [dict(row) for row in conn.execute(query).mappings()]


def _places(entity: str, flow: str | None) -> list[dict[str, Any]]:
    from baton.record import tables

    places = [
        {"flow": row["flow"], "partition": row["partition"]}
        for table in (tables.quarantine, tables.predictions, tables.decisions)
        for row in _rows(table, entity_key=entity, flow=flow)
    ]
    return sorted(places, key=lambda place: place["partition"])


def _data(flow: str, partition: str, entity: str) -> list[Step]:
    """The source row and the contract that let it pass."""
    from baton.stages.slots import Slot, head

    steps = []
    source, checked = head(Slot(flow, "ingest", partition)), head(Slot(flow, "contract", partition))
    if source is not None:
        facts = dict(source.facts)
        row = _row_number(checked, entity)
        place = f"row {row} of " if row is not None else ""
        steps.append(Step("source", f"{place}{facts.get('uri')} ({facts.get('rows_in')} rows)",
                          {"partition": partition, "dataset": source.ref.content_sha256, **facts}))  # fmt: skip
    if checked is not None:
        facts = dict(checked.facts)
        says = f"contract {facts.get('contract')}: {facts.get('status')}, {facts.get('rows_good')} of {facts.get('rows_in')} rows went on"
        steps.append(Step("contract", says, facts))
    return steps


def _row_number(checked: Any, entity: str) -> int | None:
    """The row's number in its source: the contract's rows keep it."""
    from baton.data.datasets import read

    if checked is None or not checked.ref.rows:
        return None
    frame = read(checked.ref)
    for column in frame.columns:
        if not str(column).startswith("_") and str(column).endswith("_id"):
            match = frame[frame[column].astype(str) == entity]
            if len(match):
                return int(match["_row"].iloc[0])
    return None


def _quarantine(flow: str, partition: str, entity: str) -> list[Step]:
    from baton.record import tables

    return [
        Step("quarantine", f"row {row['row']} broke {row['rule']} ({row['column']}={row['value']!r}); now {row['status']}"
             + (f" by {row['actor']}" if row["actor"] else ""), {k: row[k] for k in ("rule", "repair", "reason", "actor")})
        for row in _rows(tables.quarantine, flow=flow, partition=partition, entity_key=entity)
    ]  # fmt: skip


def _scores(flow: str, partition: str, entity: str, steps: list[Step]) -> dict[str, int]:
    from baton.record import tables

    versions = {}
    for row in _rows(tables.predictions, flow=flow, partition=partition, entity_key=entity):
        versions[str(row["model"])] = int(row["version"])
        why = ", ".join(f"{feature} {value:+.3g}" for feature, value in row["reasons"] or [])
        steps.append(Step("score", f"{row['model']} version {row['version']}: {row['score']:.4f}" + (f" because of {why}" if why else ""),
                          {"scored_at": row["scored_at"], "commit": row["commit_id"]}))  # fmt: skip
    return versions


def _governance(model: str, version: int) -> list[Step]:
    """How this version came to score: registration, gate, approver, alias."""
    from baton.record import ledger, tables

    steps = [
        Step(
            "version",
            f"{model} version {version} registered, winner {entry.payload.get('winner')}",
            {"at": entry.at, **entry.payload},
        )
        for entry in ledger.entries(subject=f"{model}/{version}", kind="version_registered", limit=1)
    ]
    for row in _rows(tables.approvals, model=model, version=version):
        verdict = row["verdict"]
        steps.append(Step("gate", f"{verdict['decision']}: {verdict['reasons'][0]}", {"judged_at": row["judged_at"]}))
        if row["answer"]:
            steps.append(
                Step("approval", f"{row['answer']} by {row['reviewer']} ({row['channel']})", {"at": row["answered_at"]})
            )
    return steps


def _outcome(flow: str, partition: str, entity: str) -> list[Step]:
    from baton.record import tables

    steps = []
    for row in _rows(tables.decisions, flow=flow, partition=partition, entity_key=entity):
        steps.append(Step("decision", f"{row['route']}, risk {row['risk']:.4f}, {row['money'] or 0:.2f} at stake",
                          {"models": row["models"], "decided_at": row["decided_at"]}))  # fmt: skip
    for row in _rows(tables.cases, flow=flow, entity_key=entity):
        by = f": {row['resolution']} by {row['actor']}" if row["resolution"] else ""
        steps.append(Step("case", f"{row['status']}{by}", {"note": row["note"], "updated_at": row["updated_at"]}))
    for row in _rows(tables.labels, flow=flow, entity_key=entity):
        value = f"{row['label']:g}" if row["category"] is None else row["category"]
        target = f"{row['target']} " if row["target"] else ""
        said = f"{target}{value} from {row['origin']} ({row['actor']})"
        steps.append(Step("label", said, {"known_at": row["known_at"]}))
    return steps
