"""The triage agent: a severity, a hypothesis, the findings it rests on, and one of the playbooks that the rules allow.

It decides little: its severity counts only upwards, its playbook only if the rules have it on their list, its evidence only if the
incident has it. Targets are never in its answer; they come from the frames. Without an accepted answer the rules' own decision
stands, marked `template`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from baton.agents import AgentQuestion, AgentSpec, Refused
from baton.agents.figures import not_plain, quotes, repeats_itself
from baton_packs.incident_response import HERE
from baton_packs.incident_response.incidents.incident import NOISE
from baton_packs.incident_response.incidents.situation import SEVERITIES
from baton_packs.incident_response.playbooks.spec import CONDITIONS, playbooks

if TYPE_CHECKING:
    import pandas as pd

FINDINGS = 12  # shown of one incident, the gravest
REPEATED = 4  # words in a row of a log line or an answer that a hypothesis may not repeat
_ONE = r"[A-Z0-9]([^\n<>`\[\]{}|\\.!?]|\.[0-9]){10,240}\."


class Triage(BaseModel):
    """What the agent may answer."""

    model_config = ConfigDict(extra="forbid")

    severity_id: int = Field(ge=1, le=5, description="1 informational .. 5 critical")
    hypothesis: str = Field(max_length=500, pattern=f"^{_ONE}( {_ONE})?$", description="one or two plain sentences")
    evidence: list[Annotated[str, Field(max_length=4)]] = Field(
        min_length=1, max_length=FINDINGS, description="ids of findings"
    )
    playbook: str = Field(max_length=60, description="one of the playbooks in FACTS")


def rules() -> dict[str, Any]:
    """What each playbook is for."""
    return {"books": {name: book.description for name, book in playbooks().items()}}


def cases(incidents: pd.DataFrame, books: Mapping[str, str]) -> list[AgentQuestion]:
    """A case for each incident that people or playbooks have to do with, the gravest first.

    Args:
        incidents: of `situation`; one that is noise, or a known scanner, is nobody's question.
        books: playbook -> what it is for.
    """
    asked = incidents[(incidents["state"] != NOISE) & ~incidents["harmless"].astype(bool)]
    ordered = asked.sort_values(["rules_severity", "confidence", "incident_id"], ascending=[False, False, True])
    return [_case(row, books) for row in ordered.to_dict("records")]


def findings(alerts: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The gravest alerts by the ids that the agent knows them by: f1, f2, ...; one of each rule before a second of any."""
    ordered = sorted(alerts, key=lambda one: (-one["severity_id"], -one["confidence"], one["time"], one["alert_id"]))
    first: list[Mapping[str, Any]] = []
    more: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    for alert in ordered:
        (more if alert["rule"] in seen else first).append(alert)
        seen.add(alert["rule"])
    return {f"f{number}": alert for number, alert in enumerate([*first, *more][:FINDINGS], 1)}


def _case(row: Mapping[Any, Any], books: Mapping[str, str]) -> AgentQuestion:
    alerts, allowed = json.loads(row["alerts"]), json.loads(row["allowed"])
    shown = findings(alerts)
    known = json.loads(row["known"])
    hosts, accounts, addresses = (json.loads(row[name]) for name in ("hosts", "users", "addresses"))
    facts = {
        "severity_by_rules": int(row["rules_severity"]),
        "findings": [
            {"id": one, "what": _words(alert["title"]), "severity": int(alert["severity_id"]), "sure": f"{alert['confidence']:.0%}",
             "technique": alert["technique"] or "", "tactic": alert["tactic"] or "", "time": str(alert["time"])[11:16]}
            for one, alert in shown.items()
        ],
        "alerts_in_all": int(row["alerts_total"]), "hosts": len(hosts), "accounts": len(accounts), "addresses": len(addresses),
        "what_is_true": [CONDITIONS[name] for name in json.loads(row["conditions"])],
        "gravest_host": row["asset_class"],
        "playbooks": {name: books.get(name, "") for name in allowed},
    }  # fmt: skip
    data = {f"log line {number}": line for number, line in enumerate(json.loads(row["lines"]), 1)}
    data |= {f"reasons {one}": " ".join(_reasons(alert)) for one, alert in shown.items() if _reasons(alert)}
    data["what other systems say"] = json.dumps(known)
    personal = {"NAME": accounts, "HOST": hosts, "IP": addresses}
    terms = {
        "least": int(row["rules_severity"]), "allowed": allowed, "own": row["rules_playbook"],
        "findings": {one: alert["alert_id"] for one, alert in shown.items()},
        "titles": list(dict.fromkeys(_words(alert["title"]) for alert in shown.values())),
        "foreign": list(data.values()),
    }  # fmt: skip
    return AgentQuestion(str(row["incident_id"]), facts, data, terms, personal)


def _words(title: Any) -> str:
    """A rule's title: ours, but rules come from anywhere."""
    return " ".join(str(title or "").split())[:80]


def _reasons(alert: Mapping[str, Any]) -> list[str]:
    try:
        found = json.loads(alert["reasons"])
    except (TypeError, ValueError):
        return []
    return [str(one)[:200] for one in found[:3]] if isinstance(found, list) else []


def check(case: AgentQuestion, output: Triage) -> Triage | Refused:
    """The answer, if it keeps to the incident; its severity is never below the rules'."""
    if found := not_plain(output.hypothesis):
        return Refused("more than plain sentences", found)
    if repeats_itself(output.hypothesis):
        return Refused("a text that goes round in circles")
    own = " ".join(case.terms["titles"])
    for text in case.terms["foreign"]:  # what an attacker wrote would be read as ours
        if quotes(output.hypothesis, text, REPEATED) and not quotes(output.hypothesis, own, REPEATED):
            return Refused("repeats what others wrote")
    if output.playbook not in case.terms["allowed"]:
        return Refused("playbook that the rules do not allow here", output.playbook)
    if strange := set(output.evidence) - set(case.terms["findings"]):
        return Refused("evidence that the incident does not have", min(strange))
    evidence = list(dict.fromkeys(output.evidence))
    return output.model_copy(update={"severity_id": max(output.severity_id, case.terms["least"]), "evidence": evidence})


def template(case: AgentQuestion) -> Triage:
    """The rules' own decision, and a sentence out of the findings' titles."""
    titles = [title.rstrip(".") for title in case.terms["titles"][:3]]
    said = f"Found: {'; '.join(titles)}. The rules call it {SEVERITIES[case.terms['least']]}."
    return Triage.model_construct(
        severity_id=case.terms["least"],
        hypothesis=said[:500],
        evidence=list(case.terms["findings"])[:5],
        playbook=case.terms["own"],
    )


TRIAGE = AgentSpec(
    "incident_triage", HERE / "prompts" / "incident_triage.md", output=Triage, cases=cases, check=check, template=template, rules=rules,
    longest=400,
)  # fmt: skip
