"""Alerts: what rules and models found, in the one form that the correlation of incidents reads (contract `alerts`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from baton_packs.incident_response.detection.correlation import Occurrence, correlate, singles
from baton_packs.incident_response.detection.matched import Matched, matched
from baton_packs.incident_response.detection.rules import CompiledRule
from baton_packs.incident_response.detection.taxonomy import INTRUSION, LOG, RULE, TACTICS, Attack

COLUMNS = (
    "alert_id", "event_uid", "time", "source", "rule", "title", "severity_id", "confidence", "technique", "tactic", "host",
    "user", "src_ip", "dst_ip", "reasons",
)  # fmt: skip
SHOWN = 160  # characters of a value in a reason
_CALLED = {
    "process_cmd_line": "command line", "process_name": "program", "user_name": "account", "query_hostname": "name asked for",
    "http_request_url": "address requested", "http_path": "path requested", "http_query": "query requested",
    "raw_data": "log line", "service_name": "service", "src_endpoint_ip": "source address",
    "dst_endpoint_ip": "destination", "dst_endpoint_hostname": "destination host", "dst_endpoint_port": "port",
    "traffic_bytes_out": "bytes sent", "device_hostname": "host", "status_id": "status", "activity_id": "activity",
}  # fmt: skip


def alert_id(found_by: str, event_uid: str) -> str:
    """The same for the same finding on the same event, in every run: 24 hexadecimal digits."""
    return hashlib.sha256(f"{found_by}\0{event_uid}".encode()).hexdigest()[:24]


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Alerts as a frame, each `alert_id` once, in the order of time; also without rows with the columns' types."""
    made = pd.DataFrame(list(rows), columns=list(COLUMNS))
    made = made.drop_duplicates("alert_id").sort_values(["time", "alert_id"], ignore_index=True)
    texts = dict.fromkeys(COLUMNS, object)
    made = made.astype(texts | {"severity_id": "int64", "confidence": "float64"})
    return made.assign(time=pd.to_datetime(made["time"], utc=True).astype("datetime64[ns, UTC]"))


def rule_alerts(
    events: pd.DataFrame, rules: Sequence[CompiledRule], before: pd.DataFrame | None = None
) -> pd.DataFrame:
    """What the rules find in a partition's events.

    Args:
        events: n rows of the contract `events`.
        rules: as `load_rules` gives them, what a correlation counts before it.
        before: what partitions before carried to this one (`matched.CARRIED`).

    Returns:
        the alerts: one a rule and event that it matches, one a correlation and beginning; rules that only a correlation counts
        give none.
    """
    found = matched(events, rules, before)
    plain = [rule.rule_id for rule in rules if rule.correlation is None]
    known = {rule: singles(found, number) for number, rule in enumerate(plain)}
    named = {rule.rule_id: rule for rule in rules}
    rows: list[dict[str, Any]] = []
    for rule in rules:
        if rule.correlation is not None:
            known[rule.rule_id] = correlate(rule.correlation, found, known)
        if rule.alone:
            rows += [_row(rule, one, found, named) for one in known[rule.rule_id] if one.begins and one.new]
    return frame_of(rows)


def _row(rule: CompiledRule, one: Occurrence, found: Matched, rules: Mapping[str, CompiledRule]) -> dict[str, Any]:
    cells = found.cells
    uid = str(cells["metadata_uid"][one.at])
    reasons = [_reason(rule, one, cells)]
    if rule.correlation is not None:
        reasons.append(f"It counts: {', '.join(rules[name].title for name in rule.correlation.rules)}")
        uids = [str(cells["metadata_uid"][at]) for at in one.evidence if at != one.at]
        if uids:
            reasons.append(f"Events behind it: {', '.join(uids[-10:])}")
    if rule.attack.tactic is not None:
        reasons.append(f"Who does this {TACTICS[rule.attack.tactic]} (ATT&CK {rule.attack.tactic})")
    reasons += [f"Harmless if: {cause}" for cause in rule.harmless[:2]]
    return {
        "alert_id": alert_id(rule.rule_id, uid), "event_uid": uid, "time": pd.Timestamp(found.times[one.at], unit="ns", tz="UTC"), "source": RULE,
        "rule": rule.rule_id, "title": rule.title, "severity_id": rule.severity_id, "confidence": rule.confidence,
        "technique": rule.attack.technique, "tactic": rule.attack.tactic,
        "host": _cell(cells, "device_hostname", one.at), "user": _cell(cells, "user_name", one.at),
        "src_ip": _cell(cells, "src_endpoint_ip", one.at), "dst_ip": _cell(cells, "dst_endpoint_ip", one.at),
        "reasons": json.dumps(reasons, ensure_ascii=False),
    }  # fmt: skip


def _reason(rule: CompiledRule, one: Occurrence, cells: Mapping[str, np.ndarray]) -> str:
    """What the rule saw, as a sentence."""
    if rule.correlation is not None:
        wanted = rule.correlation
        group = [f"{_CALLED.get(name, name)} {_cell(cells, name, one.at)}" for name in wanted.group]
        of = f" of {' and '.join(group)}" if group else ""
        if wanted.kind in ("event_count", "value_count"):
            what = (
                "events"
                if wanted.kind == "event_count"
                else f"different values of {_CALLED.get(wanted.column, wanted.column)}"
            )
            return f"{rule.title}: {one.measured:.0f} {what}{of} within {_span(wanted.seconds)}"
        order = " one after the other" if wanted.kind == "temporal_ordered" else ""
        return f"{rule.title}: all of {len(wanted.rules)} rules{order}{of} within {_span(wanted.seconds)}"
    seen = []
    for name in rule.columns:
        if name == "class_uid":
            continue
        value = _cell(cells, name, one.at)
        if value is not None:
            short = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
            seen.append(f"{_CALLED.get(name, name)} is `{short}`")
    return f"{rule.title}: {'; '.join(seen)}" if seen else rule.title


def _span(seconds: int) -> str:
    return f"{seconds // 60} minutes" if seconds % 60 == 0 and seconds > 60 else f"{seconds} seconds"


def _cell(cells: Mapping[str, np.ndarray], name: str, at: int) -> str | None:
    value = cells[name][at] if name in cells else None
    if value is None or value is pd.NA or value != value:
        return None
    return str(value) if not isinstance(value, float) else f"{value:g}"


def intrusion_alerts(connections: pd.DataFrame, scores: pd.DataFrame, suspicious: float) -> Iterable[dict[str, Any]]:
    """One alert a connection whose probability of an attack is at least `suspicious`.

    Args:
        connections: n rows of the contract `connections`.
        scores: entity_key (metadata_uid), score (probability), reasons (JSON list of [feature, contribution], or null).
    """
    found = scores[scores["score"] >= suspicious]
    named = connections.drop_duplicates("metadata_uid").set_index("metadata_uid")
    for key, score, why in zip(found["entity_key"].astype(str), found["score"], found["reasons"], strict=True):
        row: Any = named.loc[key]
        attack = _attack_of_connection(row)
        cells = {
            name: _plain(row.get(name))
            for name in ("device_hostname", "user_name", "src_endpoint_ip", "dst_endpoint_ip")
        }
        reasons = [f"Probability of an attack {score:.1%}{_named(why, '; speaks for it: ')}", _traffic(row)]
        yield {
            "alert_id": alert_id("network_intrusion", key), "event_uid": key, "time": row["time"], "source": INTRUSION,
            "rule": "network_intrusion", "title": "Connection that looks like an attack",
            "severity_id": 4 if score >= 0.95 else 3, "confidence": float(score), "technique": attack.technique,
            "tactic": attack.tactic, "host": cells["device_hostname"], "user": cells["user_name"],
            "src_ip": cells["src_endpoint_ip"], "dst_ip": cells["dst_endpoint_ip"], "reasons": json.dumps(reasons),
        }  # fmt: skip


def _attack_of_connection(row: pd.Series) -> Attack:
    """What a suspicious connection most likely is part of, by its counters; nothing where they say nothing."""
    if row["num_failed_logins"] > 0:
        return Attack("T1110", "credential-access")
    if row["serror_rate"] >= 0.5 and row["count"] >= 50 and row["same_srv_rate"] >= 0.5:
        return Attack("T1498", "impact")
    if row["diff_srv_rate"] >= 0.2 or row["rerror_rate"] >= 0.5 or row["dst_host_diff_srv_rate"] >= 0.5:
        return Attack("T1046", "discovery")
    return Attack()


def _traffic(row: pd.Series) -> str:
    return (
        f"{row['protocol_type']} {row['service']}, ended {row['flag']}, {row['src_bytes']:,} bytes there and "
        f"{row['dst_bytes']:,} back, {row['count']} connections to the host within two seconds"
    )


def log_alerts(counts: pd.DataFrame, scores: pd.DataFrame, strange: float) -> Iterable[dict[str, Any]]:
    """One alert a host and five minutes whose log is stranger than the share `strange` of what the model knows.

    Args:
        counts: n rows of the contract `log_counts`.
        scores: entity_key (count_id), score (quantile), reasons.
    """
    found = scores[scores["score"] >= strange]
    named = counts.set_index("count_id")
    for key, score, why in zip(found["entity_key"].astype(str), found["score"], found["reasons"], strict=True):
        row: Any = named.loc[key]
        guessing = row["failed_logins"] >= 5
        reasons = [
            f"Stranger than {min(float(score), 0.99999):.3%} of known five minutes{_named(why, '; farthest from usual: ')}",
            f"{row['lines']} lines of {row['templates']} templates, {row['failed_logins']} failed and "
            f"{row['accepted_logins']} successful log-ins, {row['users']} accounts, {row['addresses']} addresses",
        ]
        yield {
            "alert_id": alert_id("log_anomaly", key), "event_uid": key, "time": row["time"], "source": LOG,
            "rule": "log_anomaly", "title": "Unusual log of a host", "severity_id": 3 if guessing else 2,
            "confidence": float(np.clip((score - strange) / max(1 - strange, 1e-9) * 0.4 + 0.3, 0.0, 0.7)),
            "technique": "T1110" if guessing else None, "tactic": "credential-access" if guessing else None,
            "host": row["device_hostname"], "user": None, "src_ip": None, "dst_ip": None, "reasons": json.dumps(reasons),
        }  # fmt: skip


def _named(codes: object, words: str) -> str:
    """The features that raised a score, behind some words."""
    names = [str(feature) for feature, value in json.loads(codes) if value > 0] if isinstance(codes, str) else []
    return f"{words}{', '.join(names)}" if names else ""


def _plain(value: object) -> str | None:
    return None if value is None or value is pd.NA or value != value else str(value)
