"""The trace of a decision: the chain from a source row to it, out of the warehouse and the ledger."""

from dataclasses import dataclass, field
from typing import Any

from baton.console.queries.lineage import Lineage, all_rows, lineage, places
from baton.errors import BatonError
from baton.record import ledger, tables
from baton.record.erased import erasures
from baton.record.warehouse import read


@dataclass(frozen=True)
class TraceStep:
    """One link of the chain: what it is, a sentence, the facts behind it."""

    what: str
    says: str
    facts: dict[str, Any] = field(default_factory=dict)


def trace(entity: str, flow: str | None = None) -> list[TraceStep]:
    """Source row -> contract -> model version -> gate -> approver -> decision -> case and labels of one entity.

    Args:
        entity: key of the entity, as the flow publishes it.
        flow: DAG id; needed when several flows know the key.

    Raises:
        BatonError: nobody knows the entity, or several flows do.
    """
    found = places(entity, flow)
    gone = [
        TraceStep(
            "erased",
            f"erased on {one.at[:10]} by {one.payload['actor']}: {one.payload['reason']}",
            {"at": one.at, **one.payload},
        )
        for one in erasures(entity, flow)
    ]
    if not found and gone:
        return gone
    if not found:
        raise BatonError(f"no flow has published or quarantined {entity!r}: check the key, or wait for its partition")
    if len(flows := sorted({flow for _, flow in found})) > 1:
        raise BatonError(f"{entity!r} is known to {', '.join(flows)}: name one with --flow")
    partition, flow = found[-1]
    line = lineage(flow, entity, partition)
    steps = [*_data(line), *_quarantine(flow, partition, entity)]
    versions = _scores(line, steps)
    for model, version in sorted(versions.items()):
        steps += _governance(model, version)
    return [*steps, *_outcome(line), *gone]


def _rows(table: Any, **where: Any) -> list[dict[str, Any]]:
    with read() as conn:
        return all_rows(conn, table, **where)


def _data(line: Lineage) -> list[TraceStep]:
    """The source row and the contract that let it pass, then what else the decision rests on."""
    steps, told = [], set()
    own = line.checked[0] if line.checked else None
    if own is not None and own.problem:
        raise BatonError(own.problem)
    for one in line.checked:
        row = one.row.get("_row") if one.row and len(one.sources) == 1 else None
        steps += [_source(source, row) for source in one.sources if source["id"] not in told]
        told |= {source["id"] for source in one.sources}
        facts = one.commit["facts"]
        says = f"contract {facts.get('contract')}: {facts.get('status')}, {facts.get('rows_good')} of {facts.get('rows_in')} rows went on"
        steps.append(TraceStep("contract", says, dict(facts)))
    return [*steps, *(_source(source) for source in line.sources if source["id"] not in told)]


def _source(commit: dict[str, Any], row: Any = None) -> TraceStep:
    """A delivery; with the number of the entity's row in it, which the contract's rows keep."""
    facts = commit["facts"]
    place = f"row {int(row)} of " if row is not None else ""
    more = {"partition": commit["partition"], "dataset": commit["ref"]["content_sha256"], **facts}
    return TraceStep("source", f"{place}{facts.get('uri')} ({facts.get('rows_in')} rows)", more)


def _quarantine(flow: str, partition: str, entity: str) -> list[TraceStep]:
    return [
        TraceStep("quarantine", f"row {row['row']} broke {row['rule']}{_cell(row)}; now {row['status']}"
             + (f" by {row['actor']}" if row["actor"] else "") + (f": {row['reason']}" if row["reason"] else ""), {k: row[k] for k in ("rule", "repair", "reason", "actor")})
        for row in _rows(tables.quarantine, flow=flow, partition=partition, entity_key=entity)
    ]  # fmt: skip


def _cell(row: dict[str, Any]) -> str:
    """The cell that broke the rule; nothing for a rule on the whole partition."""
    return "" if row["column"] is None else f" ({row['column']}={row['value']!r})"


def _scores(line: Lineage, steps: list[TraceStep]) -> dict[str, int]:
    versions = {}
    for row in line.scores:
        versions[str(row["model"])] = int(row["version"])
        why = ", ".join(f"{feature} {value:+.3g}" for feature, value in row["reasons"] or [])
        says = f"{row['model']} version {row['version']}: {row['score']:.4f}" + (f" because of {why}" if why else "")
        steps.append(TraceStep("score", says, {"scored_at": row["scored_at"], "commit": row["commit_id"]}))
    return versions


def _governance(model: str, version: int) -> list[TraceStep]:
    """How this version came to score: registration, gate, approver, alias."""
    steps = []
    for entry in ledger.entries(subject=f"{model}/{version}", kind="version_registered", limit=1):
        says = f"{model} version {version} registered, winner {entry.payload.get('winner')}"
        steps.append(TraceStep("version", says, {"at": entry.at, **entry.payload}))
    for row in _rows(tables.approvals, model=model, version=version):
        verdict = row["verdict"]
        steps.append(
            TraceStep("gate", f"{verdict['decision']}: {verdict['reasons'][0]}", {"judged_at": row["judged_at"]})
        )
        if row["answer"]:
            says = f"{row['answer']} by {row['reviewer']} ({row['channel']})"
            steps.append(TraceStep("approval", says, {"at": row["answered_at"]}))
    return steps


def _outcome(line: Lineage) -> list[TraceStep]:
    steps = []
    if (row := line.decision) is not None:
        steps.append(TraceStep("decision", f"{row['route']}, risk {row['risk']:.4f}, {row['money'] or 0:.2f} at stake",
                          {"models": row["models"], "decided_at": row["decided_at"]}))  # fmt: skip
    for row in _rows(tables.cases, flow=line.flow, entity_key=line.entity):
        by = f": {row['resolution']} by {row['actor']}" if row["resolution"] else ""
        steps.append(TraceStep("case", f"{row['status']}{by}", {"note": row["note"], "updated_at": row["updated_at"]}))
    for row in _rows(tables.labels, flow=line.flow, entity_key=line.entity):
        value = f"{row['label']:g}" if row["category"] is None else row["category"]
        said = f"{row['target']} {value} from {row['origin']} ({row['actor']})"
        steps.append(TraceStep("label", said, {"known_at": row["known_at"]}))
    return steps
