"""Remedies: the steps of each incident's playbook as actions, placed through the action firewall; each once, over all partitions.

What an incident has had done, or asked for, is not done again when a later partition touches it; what a person took back or
refused stays so; what another incident did to the same target is not done twice. Nothing more is done about an incident whose case
a person has answered, and what still waits is withdrawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from baton.actions import admission, switch
from baton.actions.action import Action
from baton.actions.policy import FREE
from baton.data.datasets import read
from baton.effects import firewall, outbox
from baton.effects.mail import mail_payload
from baton.errors import BatonError
from baton.feedback import cases
from baton.names import PUBLISH
from baton.published.index import newest
from baton.record import tables, warehouse
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton.stages.slots import Slot, head
from baton_packs.incident_response.incidents.decide import NOISE_ROUTE
from baton_packs.incident_response.incidents.incident import MERGED
from baton_packs.incident_response.incidents.links import HOST, USER, named
from baton_packs.incident_response.incidents.policy import policy
from baton_packs.incident_response.incidents.situation import aims_of
from baton_packs.incident_response.playbooks.plan import Planned, plan
from baton_packs.incident_response.playbooks.spec import playbooks

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.engine import Connection

    from baton.effects.outbox import Effect

PACK = "incident_response"
OUT = (outbox.SENDING, outbox.UNKNOWN, outbox.SENT)  # may have happened: it stays as it is
OF_THE_INCIDENT = ("open_ticket", "notify")  # each incident has its own
MOST_EVIDENCE = 20  # alerts that an action names
COLUMNS = ("incident_id", "playbook", "step", "name", "action", "target", "asset_class", "level", "confidence", "before", "after",
           "undo", "look", "skipped")  # fmt: skip


@dataclass(frozen=True)
class Earlier:
    """What was placed before, by incident, action and target.

    Attributes:
        effects: of all partitions of the flow, about these incidents or their targets, and all of this partition; the oldest first.
        closed: incident -> how a person answered its case.
        partition: the one that is placed now.
        merged: incidents that another one takes in now: what waits for people about them is withdrawn.
    """

    effects: Sequence[Effect] = ()
    closed: Mapping[str, str] = field(default_factory=dict)
    partition: str = ""
    merged: frozenset[str] = frozenset()

    def out(self) -> list[Effect]:
        """Effects of this partition that may have happened already."""
        return [one for one in self.effects if one.partition == self.partition and one.state in OUT and not one.undoes]

    def overtaken(self, actions: Iterable[Action], free: Collection[int]) -> list[str]:
        """Keys of effects of earlier partitions that wait for people, and that are placed now without asking anybody."""
        wanted = {(one.kind, one.target) for one in actions if id(one) in free}
        return [
            one.key for one in self.effects
            if one.state == outbox.WAITING and one.partition != self.partition and (one.kind, one.target) in wanted and not one.undoes
        ]  # fmt: skip

    def why_not(self, incident: str, planned: Planned, free: bool = False) -> str:
        """Why an action is not placed again; empty: it may be. `free`: nobody need be asked about it now."""
        for one in self.effects:
            if (
                (one.kind, one.target) != (planned.action, planned.target)
                or one.undoes
                or one.state == outbox.WITHDRAWN
            ):
                continue
            if one.entity_key in self.merged and one.state == outbox.WAITING:
                continue
            mine = one.entity_key == incident
            if mine and one.partition == self.partition:
                continue
            if one.undone_at:
                if mine:
                    return "a person took it back"
            elif one.state == outbox.WAITING and free:  # surer by now: it need not wait any longer
                continue
            elif mine:
                return f"the partition {one.partition} has placed it ({one.state})"
            elif one.state not in outbox.HELD:
                return f"{one.entity_key} has had it done ({one.state})"
            elif one.state == outbox.WAITING and planned.action not in OF_THE_INCIDENT:
                return f"{one.entity_key} has asked for it already"
        return ""


def earlier(flow: str, partition: str, rows: Sequence[Mapping[Any, Any]]) -> Earlier:
    """What the warehouse knows of earlier actions about these decisions' incidents and targets, and of the incidents' cases."""
    table, incidents = tables.outbox, {str(row["incident_id"]) for row in rows}
    targets = {aim.name for row in rows for aims in aims_of(row).values() for aim in aims}
    query = select(table.c.created_at, table.c.key).where(table.c.flow == flow, table.c.action.is_not(None))
    with warehouse.read() as conn:
        found = {
            tuple(one)
            for column, values in ((table.c.entity_key, incidents), (table.c.target, targets), (table.c.partition, [partition]))
            for one in warehouse.among(conn, query, column, values)
        }  # fmt: skip
        keys = [key for _, key in sorted(found)]
        known = {one.key: one for one in outbox.known(conn, keys)}
        return Earlier([known[key] for key in keys], _answered(conn, flow, incidents), partition)


def _answered(conn: Connection, flow: str, incidents: Collection[str]) -> dict[str, str]:
    """How people answered these incidents' cases, those that they did."""
    table = tables.cases
    query = select(table.c.entity_key, table.c.resolution).where(table.c.flow == flow, table.c.resolution.is_not(None))
    return {row.entity_key: str(row.resolution) for row in warehouse.among(conn, query, table.c.entity_key, incidents)}


def _state(job: StageJob) -> Mapping[str, Any]:
    known = earlier(job.flow, job.partition, read_inputs(job.inputs)["decisions"].to_dict("records"))
    others = [[one.key, one.state, one.undone_at] for one in known.effects if one.partition != job.partition]
    return {"policy": policy().model_dump(mode="json"), "others": others, "closed": known.closed,
            "playbooks": [book.model_dump(mode="json") for book in playbooks().values()],
            "actions": _declared(job.pack)}  # fmt: skip


def _declared(pack: str) -> Any:
    from baton.actions.policy import load

    found = load(pack)
    return None if found is None else found.model_dump(mode="json")


@engine_step(fingerprint=_state)
def place(job: StageJob) -> StageOutput:
    """Place what the playbooks of the partition's incidents want done.

    Inputs: decisions (as published).

    Returns:
        a row per step and target, those that are passed over too (`skipped` says why), with the policy's `level`; facts: incidents,
        placed (actions), levels, skipped (counts by reason), `degraded` sentences on what is forbidden.
    """
    import pandas as pd

    decisions = read_inputs(job.inputs)["decisions"]
    rows = decisions.sort_values(["severity_id", "confidence", "incident_id"], ascending=[False, False, True]).to_dict(
        "records"
    )
    known = earlier(job.flow, job.partition, rows)
    known = replace(known, merged=frozenset(str(row["incident_id"]) for row in rows if row["state"] == MERGED))
    plans, actions = planned(job.pack, rows, known)
    levels = dict(
        zip([id(one) for one in actions], [one.level for one in firewall.foresee(job.pack, actions)], strict=True)
    )
    frame = pd.DataFrame(
        [_row(row, step, action, levels.get(id(action), "")) for row, step, action in plans], columns=list(COLUMNS)
    )
    forbidden = [f"{one.action} on {one.target}: {one.skipped}" for _, one, _ in plans if one.skipped == FORBIDDEN]
    counts = Counter(levels.values())
    facts: dict[str, Any] = {
        "incidents": len(rows), "placed": len(actions), "levels": {str(name): int(count) for name, count in counts.items()},
        "skipped": {str(name): int(count) for name, count in Counter(one.skipped for _, one, _ in plans if one.skipped).items()},
    }  # fmt: skip
    facts |= {"degraded": forbidden} if forbidden else {}
    free = {id(one) for one in actions if levels[id(one)] in FREE}
    return StageOutput(frame, facts, partial(_record, job, rows, actions, known, free))


FORBIDDEN = "the policy forbids it"


def planned(
    pack: str, rows: Iterable[Mapping[Any, Any]], known: Earlier
) -> tuple[list[tuple[Mapping[Any, Any], Planned, Action | None]], list[Action]]:  # fmt: skip
    """Steps of the incidents' playbooks, each with its action (None: passed over), and all actions that are to be placed.

    Args:
        rows: decisions, the gravest first: of two incidents that want the same done the first one does it.
    """
    kept = {(one.entity_key, one.kind, one.target): one.judged() for one in known.out()}  # what is out stays as it is
    found: list[tuple[Mapping[Any, Any], Planned, Action | None]] = []
    taken: dict[tuple[str, str], str] = {}
    for row in rows:
        incident = str(row["incident_id"])
        if row["route"] == NOISE_ROUTE or row["state"] == MERGED:
            continue
        steps = _steps(pack, row)
        free = _free(pack, row, steps)
        for step in steps:
            why = step.skipped or (
                f"a person has closed it: {known.closed[incident]}" if incident in known.closed else ""
            )
            why = why or known.why_not(incident, step, (step.action, step.target) in free)
            holder = taken.get((step.action, step.target))
            why = why or (f"{holder} has it done" if holder not in (None, incident) else "")
            out = kept.get((incident, step.action, step.target))
            action = out if out is not None else None if why else action_of(row, step)
            if action is not None:
                taken[step.action, step.target] = incident
            found.append((row, replace(step, skipped="" if action is not None else why), action))
    actions = [one for _, _, one in found if one is not None]
    mine = {(one.entity_key, one.kind, one.target) for one in actions}
    return found, [*actions, *(one for key, one in kept.items() if key not in mine)]


def _steps(pack: str, row: Mapping[Any, Any]) -> list[Planned]:
    """The walk through the playbook, and through the rules' own where an agent chose another: it adds, and takes nothing away."""
    names = [str(row["playbook"]), *([row["also"]] if isinstance(row.get("also"), str) else [])]
    steps: dict[tuple[str, str, str], Planned] = {}
    for name in names:
        for step in _walked(pack, row, name):
            key = (step.action, step.target, "" if step.target else step.step)
            if key not in steps or (steps[key].skipped and not step.skipped):
                steps[key] = step
    return list(steps.values())


def _free(pack: str, row: Mapping[Any, Any], steps: Sequence[Planned]) -> set[tuple[str, str]]:
    """(action, target) of the steps about which the policy asks nobody, caps left aside."""
    wanted = [(one, action_of(row, one)) for one in steps if not one.skipped]
    levels = firewall.foresee(pack, [action for _, action in wanted])
    return {(one.action, one.target) for (one, _), judged in zip(wanted, levels, strict=True) if judged.level in FREE}


def _walked(pack: str, row: Mapping[Any, Any], playbook: str) -> list[Planned]:
    """The walk through a playbook; where the policy forbids an action, the way that it names for that."""
    book, conditions, aims = playbooks()[playbook], json.loads(row["conditions"]), aims_of(row)
    first = plan(book, conditions, aims)
    wanted = [(one, action_of(row, one)) for one in first if not one.skipped]
    levels = firewall.foresee(pack, [action for _, action in wanted])
    forbidden = {
        (one.action, one.target) for (one, _), judged in zip(wanted, levels, strict=True) if judged.level == "forbidden"
    }
    return plan(book, conditions, aims, forbidden) if forbidden else first


def action_of(row: Mapping[Any, Any], step: Planned) -> Action:
    """What is placed for a step: its target, and all that speaks for it, out of the incident; nothing out of a text."""
    incident, target = str(row["incident_id"]), step.target
    confidence = step.aim.confidence if step.aim.confidence is not None else float(row["confidence"])
    before, after, undo = step.before, step.after, None
    payload: dict[str, Any] = {"action": step.action, "target": target, "incident": incident}
    if step.action == "rotate_key" and "key_version" in step.aim.state:
        version = int(step.aim.state["key_version"])
        before, after = {"key_version": version}, {"key_version": version + 1}
        undo = {**payload, "action": step.undo, "key_version": version}
    elif step.action == "open_ticket":
        payload |= {
            "title": str(row["title"]),
            "playbook": str(row["playbook"]),
            "severity_id": int(row["severity_id"]),
        }
        undo = {"action": step.undo, "target": target, "incident": incident}
    elif step.action == "notify":
        payload = _mail(row)
    return Action(
        step.action, incident, target, payload, step.aim.asset_class, confidence, evidence=_evidence(row, target),
        before=before, after=after, undo=undo,
    )  # fmt: skip


def _mail(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The security team's mail: what it is and where to look; the reasons stay in the case."""
    subject = "".join(one if one.isprintable() else " " for one in f"Incident {row['incident_id']}: {row['title']}")
    body = (
        f"{row['title']}\n\nIncident {row['incident_id']}, {int(row['alerts_total'])} alerts, playbook {row['playbook']}.\n"
        "Its case says why, what was done, and what waits for an approval.\n"
    )
    return mail_payload(
        [policy().security_team], subject[:250], "".join(c if c.isprintable() or c == "\n" else " " for c in body)
    )


def _evidence(row: Mapping[Any, Any], target: str) -> list[str]:
    """Alerts in which the target stands, the gravest first; of the incident itself those that its triage rests on."""
    alerts = json.loads(row["alerts"])
    about = [one for one in alerts if target in (named(one.get(name)) for name in ("src_ip", "dst_ip", HOST, USER))]
    about.sort(key=lambda one: (-one["severity_id"], -one["confidence"], one["alert_id"]))
    return [one["alert_id"] for one in about][:MOST_EVIDENCE] or json.loads(row["evidence"])[:MOST_EVIDENCE]


def _row(row: Mapping[Any, Any], step: Planned, action: Action | None, level: str) -> dict[str, Any]:
    told = lambda value: None if value is None else json.dumps(value)  # noqa: E731
    return {
        "incident_id": row["incident_id"], "playbook": row["playbook"], "step": step.step, "name": step.name, "action": step.action,
        "target": step.target, "asset_class": step.aim.asset_class, "level": level if action is not None else "",
        "confidence": float(row["confidence"]) if action is None or action.confidence is None else action.confidence,
        "before": told(step.before if action is None else action.before), "after": told(step.after if action is None else action.after),
        "undo": step.undo, "look": step.look, "skipped": step.skipped,
    }  # fmt: skip


def kinds() -> list[str]:
    """Actions that playbooks place, by name."""
    return sorted({step.action for book in playbooks().values() for step in book.actions().values()})


def _record(
    job: StageJob, rows: Sequence[Mapping[Any, Any]], actions: Sequence[Action], known: Earlier, free: Collection[int],
    conn: Connection, commit_id: int,
) -> None:  # fmt: skip
    """In the commit's own transaction: actions to the firewall, and an end to what belongs to closed or merged incidents."""
    _require_alone(conn, job, actions, known)
    firewall.place(conn, job.pack, job.flow, job.partition, actions, kinds=kinds(), whole=True)
    for key in known.overtaken(actions, free):
        why = f"the partition {job.partition} does it without asking: the findings are surer by now"
        admission.settled(conn, key, why)
        outbox.bring(conn, key, outbox.WITHDRAWN, why, (outbox.WAITING,))
    for incident, answer in known.closed.items():
        firewall.withdraw(conn, job.flow, incident, f"its case was closed as {answer}")
    merged = {str(row["incident_id"]): str(row["merged_into"]) for row in rows if row["state"] == MERGED}
    for incident, into in merged.items():
        firewall.withdraw(conn, job.flow, incident, f"merged into {into}")
        cases.withdraw(conn, job.flow, incident, f"merged into {into}")


def _require_alone(conn: Connection, job: StageJob, actions: Sequence[Action], known: Earlier) -> None:
    """Raises BatonError: since it was planned a partition placed the same, or a person closed a case; a retry sees that."""
    warehouse.take_turns(conn, switch.TURNS)
    for incident, answer in _answered(conn, job.flow, {one.entity_key for one in actions}).items():
        if incident not in known.closed:
            raise BatonError(f"{incident} was closed meanwhile as {answer}: run this one again")
    table, seen = tables.outbox, {one.key for one in known.effects}
    wanted = {(one.kind, one.target) for one in actions if one.kind not in OF_THE_INCIDENT}
    query = select(table.c.key, table.c.kind, table.c.target, table.c.partition).where(
        table.c.flow == job.flow, table.c.partition != job.partition, table.c.state != outbox.WITHDRAWN
    )
    for one in warehouse.among(conn, query, table.c.target, sorted({target for _, target in wanted})):
        if (one.kind, one.target) in wanted and one.key not in seen:
            raise BatonError(
                f"{one.kind} on {one.target} was placed meanwhile by the partition {one.partition}: run this one again"
            )


def published(incident: str, flow: str = PACK) -> dict[Any, Any]:
    """The decision about an incident as it is published now. Raises BatonError: there is none."""
    place = next(iter(newest(incident, flow)), None)
    result = head(Slot(flow, PUBLISH, place.partition)) if place else None
    if result is None:
        raise BatonError(
            f"flow {flow} has published no incident {incident!r}; its page, or `baton predictions`, names them"
        )
    rows = read(result.ref)
    found: dict[Any, Any] = rows[rows["incident_id"] == incident].iloc[0].to_dict()
    return found


def dry_run(pack: str, row: Mapping[Any, Any], playbook: str | None = None) -> pd.DataFrame:
    """What a playbook would do about an incident, without doing it: rows as `place` gives them.

    Args:
        row: of the decision. playbook: another one than the decision's.
    """
    import pandas as pd

    asked = {**row, "route": "contain", **({"playbook": playbook, "also": None} if playbook else {})}
    plans, actions = planned(pack, [asked], Earlier())
    levels = dict(
        zip([id(one) for one in actions], [one.level for one in firewall.foresee(pack, actions)], strict=True)
    )
    return pd.DataFrame(
        [_row(of, step, action, levels.get(id(action), "")) for of, step, action in plans], columns=list(COLUMNS)
    )
