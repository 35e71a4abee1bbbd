"""An incident for the eye: its findings in the order of time, and who met whom; as the decision card draws them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from baton_packs.incident_response.incidents.links import ADDRESS, HOST, USER, named
from baton_packs.incident_response.incidents.policy import OUTSIDE, IncidentPolicy

MOMENTS, NODES = 60, 40  # the gravest findings, what is alike counts once; the names in most of them
GRAVE, MEDIUM = 4, 3  # severities


def timeline(row: Mapping[Any, Any]) -> str:
    """JSON list of {at, text, state, ids}, the gravest findings in the order of time.

    The same finding at the same place is one moment, at its first time: it says how often and until when. The ids are those
    of actions' evidence.
    """
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for alert in sorted(json.loads(row["alerts"]), key=lambda one: (one["time"], one["alert_id"])):
        alike.setdefault(_said(alert), []).append(alert)
    found = [
        {"at": same[0]["time"], "text": f"{text}{_repeated(same)}", "state": _state(max(int(one["severity_id"]) for one in same)),
         "ids": [one["alert_id"] for one in same]}
        for text, same in sorted(alike.items(), key=lambda pair: _gravity(pair[1]))[:MOMENTS]
    ]  # fmt: skip
    return json.dumps(sorted(found, key=lambda one: (one["at"], one["ids"])))


def _gravity(same: Sequence[Mapping[str, Any]]) -> tuple[int, float, str]:
    return (
        -max(int(one["severity_id"]) for one in same),
        -max(float(one["confidence"]) for one in same),
        same[0]["alert_id"],
    )


def _repeated(same: Sequence[Mapping[str, Any]]) -> str:
    return "" if len(same) == 1 else f" ({len(same)} times, until {str(same[-1]['time'])[11:16]})"


def graph(row: Mapping[Any, Any], rules: IncidentPolicy) -> str:
    """JSON object of nodes {id, kind, label, state} and edges [from, to, text]: from whom a finding came, on what, by which account."""
    most = sorted(json.loads(row["entities"]), key=lambda one: (-one["alerts"], one["kind"], one["name"]))
    kept = [one for one in most if one["kind"] in (HOST, USER, ADDRESS)][:NODES]
    ids = {(one["kind"], one["name"]): f"{one['kind']}:{one['name']}" for one in kept}
    nodes = [
        {"id": ids[one["kind"], one["name"]], "kind": one["kind"], "label": one["name"],
         "state": "bad" if one["kind"] == ADDRESS and rules.side(one["name"]) == OUTSIDE else "warn"}
        for one in kept
    ]  # fmt: skip
    edges: dict[tuple[str, str], str] = {}
    for alert in json.loads(row["alerts"]):
        places = [
            (ADDRESS, alert.get("src_ip")),
            (HOST, alert.get("host")),
            (ADDRESS, alert.get("dst_ip")),
            (USER, alert.get("user")),
        ]
        there = [ids[kind, name] for kind, text in places if (name := named(text)) is not None and (kind, name) in ids]
        for one, other in pairwise(there):
            if one != other:
                edges.setdefault((one, other), str(alert["title"])[:60])
    return json.dumps({"nodes": nodes, "edges": [[one, other, text] for (one, other), text in sorted(edges.items())]})


def _said(alert: Mapping[str, Any]) -> str:
    where = [str(alert[name]) for name in ("host", "user", "src_ip", "dst_ip") if alert.get(name)]
    return f"{alert['title']}{': ' + ', '.join(where) if where else ''}"


def _state(severity: int) -> str:
    return "bad" if severity >= GRAVE else "warn" if severity >= MEDIUM else "good"
