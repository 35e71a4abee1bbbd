"""Afterwards: what was done about a partition's incidents, and whether the world shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from baton.effects import outbox
from baton.record import ledger
from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton_packs.incident_response.playbooks.spec import playbooks

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.engine import Connection

LOOKED = {
    "firewall_state": "address",
    "account_state": "account",
    "host_state": "host",
}  # tool -> column of what it is asked
COLUMNS = (
    "incident_id",
    "action",
    "target",
    "state",
    "sent_at",
    "undone",
    "after",
    "receipt",
    "error",
    "look",
    *LOOKED.values(),
)


def _effects(job: StageJob) -> list[outbox.Effect]:
    return [one for one in outbox.effects(job.flow, job.partition) if one.state != outbox.WITHDRAWN]


def _state(job: StageJob) -> Mapping[str, Any]:
    return {"effects": [[one.key, one.state, one.undone_at] for one in _effects(job)]}


def _looks() -> dict[str, str]:
    """Action -> what its playbook looks at afterwards."""
    return {step.action: step.verification.look for book in playbooks().values() for step in book.actions().values()}


@engine_step(fingerprint=_state)
def outcome(job: StageJob) -> StageOutput:
    """How the partition's actions stand now.

    Inputs: what was delivered before (for the order of tasks; its rows are not read).

    Returns:
        a row per effect with `COLUMNS`; address, account and host hold the target of what was delivered and stands, where a tool
        can show it; facts: how many in each state.
    """
    import pandas as pd

    looks, rows = _looks(), []
    for one in _effects(job):
        look = looks.get(one.kind, "receipt")
        stands = one.state == outbox.SENT and not one.undone_at and not one.undoes
        after = (one.action or {}).get("after")
        asked = {column: one.target if stands and tool == look else None for tool, column in LOOKED.items()}
        rows.append({
            "incident_id": one.entity_key, "action": one.kind, "target": one.target or "", "state": one.state, "sent_at": one.sent_at,
            "undone": bool(one.undone_at), "after": json.dumps(after), "receipt": bool(one.answer), "error": one.error, "look": look, **asked,
        })  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"undone": "bool", "receipt": "bool"})
    return StageOutput(
        frame, {"states": {str(name): int(count) for name, count in frame["state"].value_counts().items()}}
    )


@engine_step()
def verify(job: StageJob) -> StageOutput:
    """Compare what was done with what the tools show.

    Inputs: outcome; firewall_state, account_state, host_state (look-ups of its targets).

    Returns:
        the outcome with `holds`: yes, no (delivered, and the tool shows something else), unseen (the tool has no answer), or empty
        (not delivered, or taken back); facts: holds (counts), `degraded` sentences. What does not hold goes on the ledger.
    """
    frames = read_inputs(job.inputs)
    frame = checked(frames["outcome"], {tool: frames[tool] for tool in LOOKED})
    wrong = frame[frame["holds"] == "no"]
    said = [
        f"{row['action']} on {row['target']} was delivered, and it does not show" for row in wrong.to_dict("records")
    ]
    unseen = int((frame["holds"] == "unseen").sum())
    said += [f"{unseen} actions were delivered, and nobody can say whether they hold"] if unseen else []
    facts: dict[str, Any] = {
        "holds": {str(name): int(count) for name, count in frame["holds"].value_counts().items() if name}
    }
    facts |= {"degraded": said} if said else {}
    return StageOutput(frame, facts, partial(_record, job, wrong) if len(wrong) else None)


def checked(outcome: pd.DataFrame, shown: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The outcome with `holds`, see `verify`."""
    known = {
        tool: {str(row["value"]): row for row in frame[frame["source"] != "missing"].to_dict("records")}
        for tool, frame in shown.items()
    }  # fmt: skip
    return outcome.assign(holds=[_holds(row, known) for row in outcome.to_dict("records")])


def _holds(row: Mapping[Any, Any], known: Mapping[str, Mapping[str, Mapping[Any, Any]]]) -> str:
    import pandas as pd

    if row["state"] != outbox.SENT or row["undone"]:
        return ""
    if row["look"] not in LOOKED:
        return "yes" if row["receipt"] else "unseen"
    found, after = known.get(row["look"], {}).get(str(row["target"])), json.loads(row["after"])
    if found is None or not isinstance(after, dict):
        return "unseen"
    cells = {name: found.get(name) for name in after}
    if any(cell is None or cell is pd.NA for cell in cells.values()):
        return "unseen"
    return "yes" if all(bool(cells[name] == value) for name, value in after.items()) else "no"


def _record(job: StageJob, wrong: pd.DataFrame, conn: Connection, commit_id: int) -> None:
    for row in wrong.to_dict("records"):
        said = {
            "action": row["action"],
            "target": row["target"],
            "expected": json.loads(row["after"]),
            "commit": commit_id,
        }
        ledger.append(conn, "action_not_seen", f"{job.flow}/{job.partition}/{row['incident_id']}", said)
