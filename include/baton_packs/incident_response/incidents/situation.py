"""What the rules make of an incident once everything about it is looked up: severity, conditions, aims, the playbooks that fit.

No look-up can make an incident smaller: an answer that is missing, stale or a lie may raise what is done about it, or have a
person asked, never the opposite. Which scanners are meant, and what may never be hit, is in the policy alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baton_packs.incident_response.incidents.links import HOST, USER, named
from baton_packs.incident_response.incidents.policy import INSIDE, OUTSIDE, PROTECTED, IncidentPolicy, policy
from baton_packs.incident_response.playbooks.plan import Aim
from baton_packs.incident_response.playbooks.spec import PlaybookSpec, playbooks

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"
# what comes before somebody is in; everything else of ATT&CK comes after
BEFORE_ENTRY = frozenset({"reconnaissance", "resource-development", "initial-access", "credential-access", "discovery"})
LEAVING = frozenset({"exfiltration", "command-and-control", "collection"})
VALID_ACCOUNT = "T1078"
_GRAVEST = ("domain_controller", "server", "workstation", UNKNOWN)
SEVERITIES = {1: "informational", 2: "low", 3: "medium", 4: "high", 5: "critical"}
MOST_AIMS = 50
COLUMNS = (
    "rules_severity",
    "rules_playbook",
    "allowed",
    "conditions",
    "aims",
    "asset_class",
    "harmless",
    "why",
    "known",
)


@dataclass(frozen=True)
class Answers:
    """What look-ups said, by tool and value; a tool that was not asked, or has no answer, is not in it."""

    by_tool: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def of(self, tool: str, value: str) -> Mapping[str, Any]:
        """The answer's fields; {} where there is none."""
        return self.by_tool.get(tool, {}).get(value, {})


def answers(**frames: pd.DataFrame | None) -> Answers:
    """Look-ups' frames by tool as answers; only what the tool knows counts."""
    import pandas as pd

    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for tool, frame in frames.items():
        if frame is not None:
            rows = frame[(frame["source"] != "missing") & frame["known"].fillna(False).astype(bool)]
            found[tool] = {
                str(row["value"]): {str(name): value for name, value in row.items() if not pd.isna(value)}
                for row in rows.to_dict("records")
            }
    return Answers(found)


def stage(
    incidents: pd.DataFrame, past: pd.DataFrame, reputation: pd.DataFrame, assets: pd.DataFrame, users: pd.DataFrame,
    firewall_state: pd.DataFrame, account_state: pd.DataFrame, host_state: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    """Incidents with the rules' judgement, see `judged`.

    Args:
        incidents: of `gather`.
        past: of earlier partitions: incident_id, hosts, accounts, route.
        reputation, assets, users, firewall_state, account_state, host_state: results of look-ups.

    Returns:
        the incidents with rules_severity, rules_playbook, allowed (JSON), conditions (JSON), aims (JSON), asset_class, harmless
        (a known scanner that only scans), why (JSON list of sentences), known (JSON: what was looked up, for people).
    """
    said = answers(
        reputation=reputation, assets=assets, users=users, firewall_state=firewall_state, account_state=account_state,
        host_state=host_state,
    )  # fmt: skip
    before, books, rules = _past(past), playbooks(), policy()
    rows = [judged(row, said, before, books, rules) for row in incidents.to_dict("records")]
    return incidents.assign(**{name: [one[name] for one in rows] for name in COLUMNS})


def _past(past: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """(incident, route) of earlier incidents by each host and account that took part."""
    found: dict[str, dict[str, str]] = {}
    for row in past.to_dict("records"):
        if row["route"] != "contain":
            continue
        for name in (*json.loads(row["hosts"]), *json.loads(row["accounts"])):
            found.setdefault(name, {})[str(row["incident_id"])] = str(row["route"])
    return {name: list(ones.items()) for name, ones in found.items()}


def judged(
    row: Mapping[Any, Any], said: Answers, past: Mapping[str, Sequence[tuple[str, str]]], books: Mapping[str, PlaybookSpec],
    rules: IncidentPolicy,
) -> dict[str, Any]:  # fmt: skip
    """The rules' judgement of one incident: values of `COLUMNS`."""
    alerts, tactics = json.loads(row["alerts"]), set(json.loads(row["tactics"]))
    techniques = {name.partition(".")[0] for name in json.loads(row["techniques"])}
    after = [alert for alert in alerts if _after_entry(alert)]
    entered = bool(tactics - BEFORE_ENTRY) or VALID_ACCOUNT in techniques
    hosts, accounts = json.loads(row["known_hosts"]), json.loads(row["accounts"])
    classes = {host: _class(said.of("assets", host)) for host in hosts}
    asset_class = next((one for one in _GRAVEST if one in classes.values()), UNKNOWN)
    conditions = _conditions(row, said, rules, entered, classes, accounts)
    aims = _aims(row, said, rules, alerts, after, classes)
    harmless = _harmless(alerts, tactics, entered, rules)
    allowed = _fitting(books, tactics, techniques, asset_class)
    severity, why = _severity(row, entered, conditions, asset_class, harmless)
    why += _witnesses(row)
    if others := sorted(
        {one for name in (*hosts, *accounts) for one, _ in past.get(name, ()) if one != row["incident_id"]}
    ):
        why.append(f"The same hosts or accounts took part in {len(others)} earlier incidents, last {others[-1]}.")
    known = {
        "addresses": {one: _told(said.of("reputation", one), ("score", "categories")) for one in json.loads(row["indicators"])},
        "hosts": {one: _told(said.of("assets", one), ("asset_class", "owner", "criticality")) for one in hosts},
        "accounts": {one: _told(said.of("users", one), ("department", "privileged", "disabled")) for one in accounts},
    }  # fmt: skip
    return {
        "rules_severity": severity, "rules_playbook": allowed[0], "allowed": json.dumps(allowed),
        "conditions": json.dumps(sorted(conditions)), "asset_class": asset_class, "harmless": harmless, "why": json.dumps(why),
        "aims": json.dumps({kind: [one.__dict__ for one in found] for kind, found in aims.items()}), "known": json.dumps(known),
    }  # fmt: skip


def aims_of(row: Mapping[Any, Any]) -> dict[str, list[Aim]]:
    """The aims of a judged incident."""
    return {kind: [Aim(**one) for one in found] for kind, found in json.loads(row["aims"]).items()}


def _after_entry(alert: Mapping[str, Any]) -> bool:
    tactic, technique = alert.get("tactic"), str(alert.get("technique") or "")
    return (bool(tactic) and tactic not in BEFORE_ENTRY) or technique.startswith(VALID_ACCOUNT)


def _class(asset: Mapping[str, Any]) -> str:
    found = asset.get("asset_class")
    return str(found) if found in _GRAVEST else UNKNOWN


def _conditions(
    row: Mapping[Any, Any], said: Answers, rules: IncidentPolicy, entered: bool, classes: Mapping[str, str],
    accounts: Collection[str],
) -> set[str]:  # fmt: skip
    indicators = json.loads(row["indicators"])
    bad = any((said.of("reputation", one).get("score") or 0) >= rules.bad_reputation for one in indicators)
    critical = any(
        one in ("server", "domain_controller") or (said.of("assets", host).get("criticality") or 0) >= rules.critical
        for host, one in classes.items()
    )
    found = {
        "entered": entered, "from_outside": bool(json.loads(row["outside"])), "bad_reputation": bad,
        "privileged_account": any(bool(said.of("users", one).get("privileged")) for one in accounts),
        "critical_asset": critical, "several_hosts": len(classes) > 1, "sure": float(row["confidence"]) >= rules.sure,
    }  # fmt: skip
    return {name for name, true in found.items() if true}


def _aims(
    row: Mapping[Any, Any], said: Answers, rules: IncidentPolicy, alerts: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]], classes: Mapping[str, str],
) -> dict[str, list[Aim]]:  # fmt: skip
    sources = _counted(alerts, "src_ip")
    destinations = _counted([one for one in alerts if one.get("tactic") in LEAVING], "dst_ip")
    accounts, hosts = _counted(after, USER), _counted(after, HOST)
    sure = {name: _sure(alerts, name) for name in (*sources, *destinations, *accounts, *hosts)}
    address = lambda one: Aim(one, str(rules.side(one)), _state(said, "firewall_state", one, "blocked"), sure[one])  # noqa: E731
    held = {name.lower() for name in rules.protected.accounts}, {name.lower() for name in rules.protected.hosts}
    return {
        "outside_attackers": [address(one) for one in sources if rules.side(one) == OUTSIDE],
        "inside_attackers": [address(one) for one in sources if rules.side(one) in (INSIDE, PROTECTED)],
        "outside_destinations": [address(one) for one in destinations if rules.side(one) == OUTSIDE],
        "accounts": [
            Aim(one, PROTECTED if one in held[0] else _rights(said.of("users", one)), _state(said, "account_state", one, "disabled", "key_version"), sure[one])
            for one in accounts
        ],
        "hosts": [
            Aim(one, PROTECTED if one in held[1] else classes.get(one, UNKNOWN), _state(said, "host_state", one, "isolated"), sure[one])
            for one in hosts
        ],
        "incident": [Aim(str(row["incident_id"]), "ticket")],
    }  # fmt: skip


def _sure(alerts: Sequence[Mapping[str, Any]], name: str) -> float:
    """How sure the findings are in which a name stands: who sends from many addresses makes none of them surer."""
    best: dict[str, float] = {}
    for alert in alerts:
        if name in (named(alert.get(column)) for column in ("src_ip", "dst_ip", HOST, USER)):
            best[alert["rule"]] = max(best.get(alert["rule"], 0.0), float(alert["confidence"]))
    doubt = 1.0
    for confidence in best.values():
        doubt *= 1.0 - min(max(confidence, 0.0), 0.99)
    return round(1.0 - doubt, 4)


def _rights(user: Mapping[str, Any]) -> str:
    """Of an account nobody knows the rights of: unknown, which the policy treats like a privileged one."""
    return UNKNOWN if "privileged" not in user else "privileged" if user["privileged"] else "standard"


def _counted(alerts: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """Names in a column of the alerts, the most frequent first."""
    found = Counter(name for alert in alerts if (name := named(alert.get(column))) is not None)
    return [name for name, _ in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))][:MOST_AIMS]


def _state(said: Answers, tool: str, name: str, *fields: str) -> dict[str, Any]:
    found = said.of(tool, name)
    return _told(found, fields)


def _told(found: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Those fields of an answer as plain JSON, without what is missing."""
    plain = {}
    for name in fields:
        value = found.get(name)
        if value is None:
            continue
        plain[name] = value.item() if hasattr(value, "item") else value
    return plain


def _harmless(
    alerts: Sequence[Mapping[str, Any]], tactics: Collection[str], entered: bool, rules: IncidentPolicy
) -> bool:
    """Does everything come from a scanner of the security team's, and is it nothing but a scan?"""
    if entered or not set(tactics) <= {"reconnaissance", "discovery"}:
        return False
    own = {*rules.scanners.addresses}, {name.lower() for name in rules.scanners.hosts}
    # an alert without a source comes from its host
    return bool(alerts) and all(
        named(alert.get("src_ip")) in own[0] if named(alert.get("src_ip")) else named(alert.get("host")) in own[1]
        for alert in alerts
    )


def _fitting(
    books: Mapping[str, PlaybookSpec], tactics: Collection[str], techniques: Collection[str], asset_class: str
) -> list[str]:
    """Names of the playbooks that fit, the rules' own choice first; those that act leave out those that only watch."""
    fit = [
        one for one in books.values()
        if asset_class in one.fits.asset_classes and (set(one.fits.tactics) & set(tactics) or set(one.fits.techniques) & set(techniques))
    ]  # fmt: skip
    acting = [one.name for one in fit if one.fits.contains]
    return acting or [one.name for one in fit] or [UNKNOWN]


def _severity(
    row: Mapping[Any, Any], entered: bool, conditions: Collection[str], asset_class: str, harmless: bool
) -> tuple[int, list[str]]:  # fmt: skip
    """Severity by rules, at least that of the gravest alert; and why it was raised."""
    found, why = int(row["severity_id"]), []
    raised = [
        (5, entered and asset_class == "domain_controller", "Somebody got in and a domain controller takes part."),
        (4, entered and "critical_asset" in conditions, "Somebody got in and a critical host takes part."),
        (4, entered and "privileged_account" in conditions, "Somebody got in with an account that has special rights."),
        (
            4,
            entered and "bad_reputation" in conditions,
            "Somebody got in, and an address or domain is known to be bad.",
        ),
        (3, "bad_reputation" in conditions and not harmless, "An address or domain is known to be bad."),
    ]
    for least, so, sentence in raised:
        if so and found < least:
            found = least
            why.append(f"{sentence} Severity raised to {SEVERITIES[least]}.")
    return found, why


def _witnesses(row: Mapping[Any, Any]) -> list[str]:
    rules = json.loads(row["rules"])
    count, sure = int(row["alerts_total"]), float(row["confidence"])
    said = [
        f"{count} alert{'s' if count != 1 else ''} of {len(rules)} rule{'s' if len(rules) != 1 else ''} or models, together {sure:.0%} sure."
    ]
    if bool(row["late"]):
        said.append("Some of them came late.")
    if isinstance(row["follows"], str) and row["follows"]:
        said.append(f"It goes on where {row['follows']} was closed.")
    return said
