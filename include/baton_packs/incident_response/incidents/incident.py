"""An incident while it is put together: what it holds, and the row that it is between runs."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from baton_packs.incident_response.detection.taxonomy import INTRUSION, LOG, count_id
from baton_packs.incident_response.incidents.links import ADDRESS, HOST, SWEEP, USER, Key, Sighting, ties

KEPT_NAMES = 200  # hosts, users and addresses of an incident, the most frequent
KEPT_IDS = 4_000  # alerts that an incident knows again
COLUMNS = (
    "incident_id", "opened_at", "first_seen", "last_seen", "hosts", "users", "addresses", "alerts", "techniques", "severity_id",
    "confidence", "title", "late", "state", "merged_into", "follows", "tactics", "rules", "entities", "alert_ids", "alerts_total",
    "new_alerts", "connection_rows", "log_rows",
)  # fmt: skip
"""Columns of the frame, and what a later run needs of an earlier row."""

OPEN, NOISE, MERGED = "open", "noise", "merged"
CONNECTION_ROWS, LOG_ROWS = ROWS = "connection_rows", "log_rows"


@dataclass
class Incident:
    """One incident.

    Attributes:
        opened_at: end of the partition that opened it, seconds since 1970.
        spans: when each host, user, address and sweep was seen.
        alerts: the most severe ones by alert id. ids: short ids of all that are remembered, oldest first.
        rules: rule or model -> alerts. best: rule or model -> highest confidence.
        total: alerts ever, kept or not.
        rows: what its alerts were found in, which its verdict is about: column -> partition -> keys, see `rows_behind`.
    """

    incident_id: str
    opened_at: float
    spans: dict[Key, Sighting] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    techniques: dict[str, None] = field(default_factory=dict)
    tactics: dict[str, None] = field(default_factory=dict)
    severity_id: int = 1
    first: float = float("inf")
    last: float = float("-inf")
    total: int = 0
    new: int = 0
    late: bool = False
    follows: str = ""
    rows: dict[str, dict[str, dict[str, None]]] = field(default_factory=dict)

    def knows(self, alert_id: str) -> bool:
        """Was this alert in it before?"""
        return short(alert_id) in self.ids

    def add(
        self, alert: Mapping[str, Any], names: Iterable[Key], tied: Iterable[Key], late: bool, partition: str
    ) -> None:
        """Take a new alert in.

        Args:
            names: what it puts in, see `links.put_in`.
            tied: the keys that may tie later alerts to it, a sweep among them.
            partition: in whose rows it was found; a late one is not in that of its time.
        """
        at = float(alert["at"])
        may = set(tied)
        for key in dict.fromkeys(names):
            _widen(self.spans, key, Sighting(at, at, ties=key in may))
        self.alerts[alert["alert_id"]] = dict(alert)
        self.ids[short(alert["alert_id"])] = None
        rule = str(alert["rule"])
        self.rules[rule] = self.rules.get(rule, 0) + 1
        self.best[rule] = max(self.best.get(rule, 0.0), float(alert["confidence"]))
        self.techniques |= dict.fromkeys([alert["technique"]] if alert["technique"] else [])
        self.tactics |= dict.fromkeys([alert["tactic"]] if alert["tactic"] else [])
        self.severity_id = max(self.severity_id, int(alert["severity_id"]))
        self.first, self.last = min(self.first, at), max(self.last, at)
        self.total, self.new, self.late = self.total + 1, self.new + 1, self.late or late
        for column, identity in rows_behind(alert):
            self.rows.setdefault(column, {}).setdefault(partition, {})[identity] = None

    def absorb(self, other: Incident) -> None:
        """Take in another incident that turned out to be this one."""
        for key, span in other.spans.items():
            _widen(self.spans, key, Sighting(span.first, span.last, span.count, span.ties))
        twice = len(self.ids.keys() & other.ids.keys())
        self.alerts = {**other.alerts, **self.alerts}
        self.ids = {**other.ids, **self.ids}
        for rule, count in other.rules.items():
            self.rules[rule] = self.rules.get(rule, 0) + count
            self.best[rule] = max(self.best.get(rule, 0.0), other.best.get(rule, 0.0))
        self.techniques |= other.techniques
        self.tactics |= other.tactics
        for column, found in other.rows.items():
            for partition, identities in found.items():
                self.rows.setdefault(column, {}).setdefault(partition, {}).update(identities)
        self.severity_id = max(self.severity_id, other.severity_id)
        self.first, self.last, self.total = (
            min(self.first, other.first),
            max(self.last, other.last),
            self.total + other.total - twice,
        )

    def names(self, kind: str) -> list[str]:
        """Its hosts, users, addresses or sweeps, the most frequent first."""
        found = [(-span.count, name) for (of, name), span in self.spans.items() if of == kind]
        return [name for _, name in heapq.nsmallest(KEPT_NAMES, found)]

    def kept(self, most: int) -> list[dict[str, Any]]:
        """The most severe alerts, then the surest, then the newest; in the order of time."""
        weight = lambda one: (one["severity_id"], one["confidence"], one["at"], one["alert_id"])  # noqa: E731
        chosen = heapq.nlargest(most, self.alerts.values(), key=weight)
        return sorted(chosen, key=lambda one: (one["at"], one["alert_id"]))

    @property
    def confidence(self) -> float:
        """That it is real, 0..1: rules and models count as independent witnesses, each by its surest alert."""
        doubt = 1.0
        for sure in self.best.values():
            doubt *= 1.0 - min(max(sure, 0.0), 0.99)
        return round(1.0 - doubt, 4)

    @property
    def forgets(self) -> bool:
        """Are there more alerts than it can know again?"""
        return len(self.ids) > KEPT_IDS


def rows_behind(alert: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of the models in which an alert was found, as (column, key); a verdict on its incident is one on them.

    Of the network model the connection. Of the log model, and of a rule that fired on a host, this host's five minutes of log.
    """
    if alert["source"] == INTRUSION:
        return [(CONNECTION_ROWS, str(alert["event_uid"]))]
    if alert["source"] == LOG:
        return [(LOG_ROWS, str(alert["event_uid"]))]
    return [(LOG_ROWS, count_id(alert["host"], moment(seconds(alert["time"]))))] if alert.get("host") else []


def _bounded(found: Mapping[str, Mapping[str, None]]) -> str:
    """Partition -> keys as JSON, the newest of more than an incident remembers left out: a flood is no better known by more."""
    left, kept = KEPT_IDS, {}
    for partition in sorted(found):
        if keys := list(found[partition])[:left]:
            kept[partition], left = keys, left - len(keys)
    return json.dumps(kept)


def _widen(spans: dict[Key, Sighting], key: Key, span: Sighting) -> None:
    if key in spans:
        spans[key].add(span)
    else:
        spans[key] = span


def short(alert_id: str) -> str:
    """What an incident remembers of an alert's id."""
    return hashlib.sha256(alert_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def id_of(alert_id: str) -> str:
    """The id of the incident that an alert opens."""
    return f"inc-{hashlib.sha256(f'incident {alert_id}'.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def row_of(one: Incident, most: int, state: str, title: str) -> dict[str, Any]:
    """The row of an incident, see `COLUMNS`; `most` alerts are kept."""
    names = {HOST: one.names(HOST), USER: one.names(USER), ADDRESS: one.names(ADDRESS), SWEEP: one.names(SWEEP)}
    entities = [
        {"kind": kind, "name": name, "first": _iso(span.first), "last": _iso(span.last), "alerts": span.count, "ties": span.ties}
        for kind, found in names.items() for name in found for span in [one.spans[kind, name]]
    ]  # fmt: skip
    rules = [{"rule": rule, "alerts": one.rules[rule], "confidence": one.best[rule]} for rule in sorted(one.rules)]
    return {
        "incident_id": one.incident_id, "opened_at": moment(one.opened_at), "first_seen": moment(one.first),
        "last_seen": moment(one.last), "hosts": json.dumps(names[HOST]), "users": json.dumps(names[USER]),
        "addresses": json.dumps(names[ADDRESS]), "alerts": json.dumps([told(alert) for alert in one.kept(most)]),
        "techniques": json.dumps(sorted(one.techniques)), "severity_id": one.severity_id, "confidence": one.confidence,
        "title": title, "late": one.late, "state": state, "merged_into": None, "follows": one.follows or None,
        "tactics": json.dumps(sorted(one.tactics)), "rules": json.dumps(rules), "entities": json.dumps(entities),
        "alert_ids": " ".join(list(one.ids)[-KEPT_IDS:]), "alerts_total": one.total, "new_alerts": one.new,
        **{column: _bounded(one.rows.get(column, {})) for column in ROWS},
    }  # fmt: skip


def of_row(row: Mapping[Any, Any]) -> Incident:
    """The incident of an earlier row."""
    alerts = [{**alert, "at": seconds(alert["time"])} for alert in json.loads(row["alerts"])]
    rules = json.loads(row["rules"])
    return Incident(
        incident_id=row["incident_id"], opened_at=seconds(row["opened_at"]), first=seconds(row["first_seen"]),
        last=seconds(row["last_seen"]), severity_id=int(row["severity_id"]), total=int(row["alerts_total"]),
        spans={(e["kind"], e["name"]): Sighting(seconds(e["first"]), seconds(e["last"]), int(e["alerts"]), bool(e["ties"])) for e in json.loads(row["entities"])},
        alerts={alert["alert_id"]: alert for alert in alerts}, ids=dict.fromkeys(str(row["alert_ids"]).split()),
        rules={one["rule"]: int(one["alerts"]) for one in rules}, best={one["rule"]: float(one["confidence"]) for one in rules},
        techniques=dict.fromkeys(json.loads(row["techniques"])), tactics=dict.fromkeys(json.loads(row["tactics"])),
        follows=row["follows"] if isinstance(row["follows"], str) else "",
        rows={column: {partition: dict.fromkeys(keys) for partition, keys in json.loads(row[column]).items()} for column in ROWS},
    )  # fmt: skip


def tie_of_one_rule(one: Incident, known: Any) -> list[Key]:
    """The sweep that an earlier incident turns out to be the beginning of: all its alerts are of one address and rule."""
    found = {key for alert in one.alerts.values() for key in ties(alert, known) if key[0] == SWEEP}
    return (
        list(found)
        if len(found) == 1 and all(ties(alert, known)[:1] == list(found) for alert in one.alerts.values())
        else []
    )


def told(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert as it is written into the incident's row."""
    return {**{name: value for name, value in alert.items() if name != "at"}, "time": _iso(alert["at"])}


def moment(at: float) -> datetime:
    """Seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(at, UTC)


def seconds(value: Any) -> float:
    """An aware time, or its text, in seconds since 1970."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return float(moment.timestamp())


def _iso(at: float) -> str:
    return moment(at).isoformat()
