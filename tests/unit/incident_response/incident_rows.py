"""Alerts, incidents and look-ups for the tests of incident response; loaded by path, because tests are no package."""

from __future__ import annotations

from typing import Any

import pandas as pd

from baton_packs.incident_response.incidents import decide, gather, situation, triage
from baton_packs.incident_response.incidents.correlate import ALERT, CorrelateOptions, correlate
from baton_packs.incident_response.incidents.incident import COLUMNS, MERGED
from baton_packs.incident_response.incidents.policy import policy

PARTITION = "2026-11-20T10:00:00"
NONE = pd.DataFrame(columns=[*COLUMNS, "partition"])
PAST = pd.DataFrame(columns=["incident_id", "hosts", "accounts", "route"])
EVENTS = ("metadata_uid", "query_hostname", "dst_endpoint_hostname", "http_request_url", "raw_data")
HOSTS = {
    "ws-01": ("workstation", 1),
    "ws-02": ("workstation", 2),
    "srv-db": ("server", 5),
    "dc-01": ("domain_controller", 5),
}
USERS = {"anna.adler": False, "a.berg": True}
SCORES = {"203.0.113.66": 96, "198.51.100.200": 78, "192.0.2.1": 3, "evil.example": 90}


def alert(number: int | str, at: str = "10:01", **given: Any) -> dict[str, Any]:
    """An alert of a guessed password."""
    plain = {"alert_id": f"a{number}", "event_uid": f"e{number}", "time": pd.Timestamp(f"2026-11-20T{at}:00Z"), "source": "rule",
             "rule": "r1", "title": "Many failed log-ins", "severity_id": 3, "confidence": 0.7, "technique": "T1110",
             "tactic": "credential-access", "host": None, "user": None, "src_ip": None, "dst_ip": None, "reasons": '["5 failures"]'}  # fmt: skip
    return plain | given


def brute_force(entered: bool = True) -> list[dict[str, Any]]:
    """Guessing from outside; then somebody is in and moves on to a server."""
    out = {"src_ip": "203.0.113.66"}
    found = [alert(n, host="ws-01", user="anna.adler", **out) for n in range(3)]
    found.append(
        alert(
            "m",
            host="ws-01",
            rule="network_intrusion",
            source="intrusion",
            title="Unusual traffic",
            confidence=0.8,
            technique=None,
            tactic=None,
            **out,
        )
    )
    if entered:
        moved = {
            "technique": "T1021",
            "tactic": "lateral-movement",
            "rule": "r2",
            "title": "Remote log-in to a server",
            "severity_id": 4,
            "confidence": 0.8,
        }
        found.append(alert("x", at="10:03", host="srv-db", user="anna.adler", src_ip="10.20.0.11", **moved))
    return found


def exfiltration() -> list[dict[str, Any]]:
    """A workstation sends much to an address outside."""
    given = {
        "host": "ws-02",
        "user": "boris.bruns",
        "src_ip": "10.20.0.12",
        "dst_ip": "198.51.100.200",
        "tactic": "exfiltration",
        "technique": "T1048",
    }
    return [
        alert(f"x{n}", rule=f"out{n}", title="Much data to an address outside", severity_id=4, confidence=0.8, **given)
        for n in range(2)
    ]


def scan(source: str, hosts: int = 30) -> list[dict[str, Any]]:
    """One address tries the doors of many hosts."""
    given = {
        "rule": "scan",
        "title": "Port scan",
        "severity_id": 2,
        "confidence": 0.6,
        "technique": "T1046",
        "tactic": "reconnaissance",
    }
    return [alert(f"s{source}{n}", host=f"ws-{n + 3:02d}", src_ip=source, **given) for n in range(hosts)]


def looked(values: dict[str, dict[str, Any]], source: str = "live") -> pd.DataFrame:
    """A look-up's result."""
    rows = [
        {"value": value, **said, "known": True, "source": source, "age_seconds": 0.0} for value, said in values.items()
    ]
    return pd.DataFrame(rows, columns=["value", "known", "source", "age_seconds"] if not rows else None)


def lookups(**given: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Results of all look-ups, those given instead of the usual ones."""
    plain = {
        "reputation": looked({one: {"score": score, "categories": "[]"} for one, score in SCORES.items()}),
        "assets": looked({one: {"asset_class": kind, "owner": "somebody", "criticality": worth} for one, (kind, worth) in HOSTS.items()}),
        "users": looked({one: {"department": "sales", "privileged": rights, "disabled": False} for one, rights in USERS.items()}),
        "firewall_state": looked({one: {"blocked": False} for one in SCORES}),
        "account_state": looked({one: {"disabled": False, "key_version": 1} for one in USERS}),
        "host_state": looked({one: {"isolated": False} for one in HOSTS}),
    }  # fmt: skip
    return plain | given


def correlated(alerts: list[dict[str, Any]], earlier: pd.DataFrame = NONE, partition: str = PARTITION) -> pd.DataFrame:
    """Rows of `correlate`."""
    found = correlate(
        pd.DataFrame(alerts, columns=list(ALERT)), earlier, partition, CorrelateOptions(), {}, policy().declared
    )
    return pd.DataFrame(found.rows, columns=list(COLUMNS))


def judged(
    alerts: list[dict[str, Any]], lines: dict[str, str] | None = None, past: pd.DataFrame = PAST, **given: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `situation`; `lines` are log lines by event."""
    events = pd.DataFrame(
        [{"metadata_uid": uid, "raw_data": text} for uid, text in (lines or {}).items()], columns=list(EVENTS)
    )
    return situation.stage(gather.stage(correlated(alerts), events), past, **lookups(**given))


def templates(rows: pd.DataFrame) -> pd.DataFrame:
    """What the agent's stage gives without a model."""
    made = [
        {"entity_key": case.key, **_cells(triage.template(case)), "source": "template", "reason": "no model"}
        for case in triage.cases(rows, **triage.rules())
    ]
    return pd.DataFrame(made, columns=["entity_key", *triage.Triage.model_fields, "source", "reason"])


def _cells(output: Any) -> dict[str, Any]:
    import json

    return {
        name: json.dumps(value) if isinstance(value, list) else value for name, value in output.model_dump().items()
    }


def decided(alerts: list[dict[str, Any]], said: pd.DataFrame | None = None, **given: Any) -> pd.DataFrame:
    """Rows of `decide`."""
    rows = judged(alerts, **given)
    merged = correlated([])[lambda frame: frame["state"] == MERGED]
    return decide.decided(rows, templates(rows) if said is None else said, merged, policy())
