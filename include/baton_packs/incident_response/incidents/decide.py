"""What becomes of each incident: contained by its playbook, watched, or noise; with a title and reasons that people understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baton.stages import StageJob, StageOutput, engine_step, read_inputs
from baton_packs.incident_response.incidents import pictures
from baton_packs.incident_response.incidents.incident import CONNECTION_ROWS, LOG_ROWS, MERGED, NOISE
from baton_packs.incident_response.incidents.policy import IncidentPolicy, policy
from baton_packs.incident_response.incidents.situation import SEVERITIES
from baton_packs.incident_response.incidents.triage import findings
from baton_packs.incident_response.playbooks.spec import playbooks

if TYPE_CHECKING:
    import pandas as pd

CONTAIN, WATCH, NOISE_ROUTE = "contain", "watch", "noise"
LOW = 2  # severity up to which an unsure incident is only watched


def _true(verdict: str, attack: int) -> dict[str, Any]:
    of_rows = {"is_attack": {CONNECTION_ROWS: attack}, "attacked": {LOG_ROWS: attack}}
    return {"is_incident": attack, "verdict": verdict, **of_rows}


RESOLUTIONS = {
    name: _true(name, int(name == "true_positive")) for name in ("true_positive", "false_positive", "benign")
}
"""What a case may be answered -> what is then true, of the incident and of the rows of both models that it was found in: a real
attack; nothing there; really there and meant."""
COLUMNS = (
    "entity_key", "risk", "route", "money", "title", "reasons", "queue", "priority", "resolutions", "severity_id", "confidence",
    "playbook", "also", "hypothesis", "evidence", "triaged_by", "triage_reason", "incident_id", "state", "merged_into", "opened_at",
    "first_seen", "last_seen", "hosts", "users", "accounts", "addresses", "alerts", "alerts_total", "new_alerts", "techniques",
    "tactics", "entities", "conditions", "aims", "asset_class", "known", "late", "follows",
    "timeline", "graph", "connection_rows", "log_rows",
)  # fmt: skip


def _state(job: StageJob) -> Mapping[str, Any]:
    return policy().model_dump(mode="json")


@engine_step(fingerprint=_state)
def stage(job: StageJob) -> StageOutput:
    """Decide about each incident, see `decided`.

    Inputs: incidents (of `situation`), triage (of the agent), correlated (rows of `correlate`, for those merged away).

    Returns:
        a row per incident with `COLUMNS`; facts: routes, severities, playbooks, `triaged_by` (counts).
    """
    import pandas as pd

    frames = read_inputs(job.inputs)
    correlated = frames["correlated"]
    frame = decided(frames["incidents"], frames["triage"], correlated[correlated["state"] == MERGED], policy())
    count = lambda name: {str(one): int(number) for one, number in frame[name].value_counts().items()}  # noqa: E731
    facts = {"incidents": len(frame), "routes": count("route"), "severities": count("severity_id"),
             "playbooks": count("playbook"), "triaged_by": count("triaged_by")}  # fmt: skip
    for name in ("opened_at", "first_seen", "last_seen"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return StageOutput(frame, facts)


def decided(incidents: pd.DataFrame, triage: pd.DataFrame, merged: pd.DataFrame, rules: IncidentPolicy) -> pd.DataFrame:
    """Rows of `COLUMNS`: the judged incidents, then those that another one took in (as noise, so that their cases close)."""
    import pandas as pd

    said = {str(row["entity_key"]): row for row in triage.to_dict("records")}
    rows = [_decided(row, said.get(str(row["incident_id"])), rules) for row in incidents.to_dict("records")]
    rows += [_taken_in(row, rules) for row in merged.to_dict("records")]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {"risk": "float64", "money": "float64", "confidence": "float64", "priority": "int64", "severity_id": "int64", "alerts_total": "int64",
             "new_alerts": "int64", "late": "bool"}  # fmt: skip
    listed = frame.to_dict("records")
    frame["timeline"] = [pictures.timeline(row) for row in listed]
    frame["graph"] = [pictures.graph(row, rules) for row in listed]
    return frame.astype(kinds)


def _decided(row: Mapping[Any, Any], said: Mapping[Any, Any] | None, rules: IncidentPolicy) -> dict[str, Any]:
    allowed, own = json.loads(row["allowed"]), str(row["rules_playbook"])
    # what the agent's stage has checked is asked again here: whatever stands in its frame lowers nothing
    severity = max(int(row["rules_severity"]), int(said["severity_id"]) if said is not None else 0)
    playbook = str(said["playbook"]) if said is not None and said["playbook"] in allowed else own
    shown = findings(json.loads(row["alerts"]))
    evidence = [
        shown[one]["alert_id"] for one in (json.loads(said["evidence"]) if said is not None else []) if one in shown
    ]
    route, because = _route(row, severity, playbook, rules)
    by = "rules" if said is None else str(said["source"])
    hypothesis = str(said["hypothesis"]) if said is not None else ""
    # what is done rests on what the rules found, whoever worded the hypothesis
    evidence = list(dict.fromkeys([*evidence, *(alert["alert_id"] for alert in shown.values())]))
    reasons = [because, *json.loads(row["why"])]
    if hypothesis:
        reasons.insert(1, f"{'The agent thinks' if by == 'agent' else 'By rules'}: {hypothesis}")
    return {
        **{name: row[name] for name in COLUMNS if name in row}, "entity_key": row["incident_id"],
        "risk": round((severity - 1 + float(row["confidence"])) / 5, 4), "route": route, "money": 0.0,
        "title": f"{SEVERITIES[severity].capitalize()}: {row['title']}", "reasons": json.dumps(reasons), "queue": rules.queue,
        "priority": rules.priorities[severity], "resolutions": json.dumps(RESOLUTIONS), "severity_id": severity,
        "playbook": playbook, "also": own if own != playbook else None, "hypothesis": hypothesis, "evidence": json.dumps(evidence), "triaged_by": by,
        "triage_reason": str(said["reason"]) if said is not None else "",
    }  # fmt: skip


def _route(row: Mapping[Any, Any], severity: int, playbook: str, rules: IncidentPolicy) -> tuple[str, str]:
    """(route, why)."""
    if bool(row["harmless"]):
        return NOISE_ROUTE, "A scanner of the security team's own, and nothing but its scan: noise."
    if row["state"] == NOISE and severity <= 1:
        return NOISE_ROUTE, "Nothing but informational findings: noise."
    if not playbooks()[playbook].fits.contains:
        return WATCH, f"The playbook {playbook} watches and changes nothing."
    if severity <= LOW and float(row["confidence"]) < rules.watch_below:
        return WATCH, f"Of {SEVERITIES[severity]} severity and only {float(row['confidence']):.0%} sure: it is watched."
    return CONTAIN, f"Severity {SEVERITIES[severity]}: contained by the playbook {playbook}."


def _taken_in(row: Mapping[Any, Any], rules: IncidentPolicy) -> dict[str, Any]:
    reason = f"It is the same as {row['merged_into']}, which took it in: look there."
    severity = int(row["severity_id"])
    empty = {
        "hypothesis": "",
        "playbook": "unknown",
        "triaged_by": "rules",
        "triage_reason": "",
        "asset_class": "unknown",
    }
    return {
        **{name: row[name] for name in COLUMNS if name in row}, **empty, "entity_key": row["incident_id"], "risk": 0.0,
        "route": NOISE_ROUTE, "money": 0.0, "reasons": json.dumps([reason]), "queue": rules.queue, "priority": rules.priorities[severity],
        "resolutions": json.dumps(RESOLUTIONS), "accounts": row["users"], "conditions": "[]", "aims": "{}", "known": "{}",
        "evidence": "[]",
    }  # fmt: skip
