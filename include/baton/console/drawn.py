"""What a decision says in pictures: cells of columns that its contract marks with `shows`, read with care."""

import json
from collections.abc import Mapping
from typing import Any

STATES = ("good", "warn", "bad")
MOST = 200  # moments, or nodes, or edges, that a card draws
_LONGEST = 300  # characters of a text


def drawn_values(
    row: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]], unmask: bool
) -> dict[str, list[dict[str, Any]]]:
    """The pictures of a decision, by what they show.

    Args:
        row, columns: the decision, and what its contract says of its columns.
        unmask: show what a contract marks as direct personal data.

    Returns:
        timeline, graph: each a list of name, description, hidden, left_out (how many are not drawn) and: of a timeline `moments` (at,
        text, state, ids: what evidence calls it), of a graph `nodes` (id, kind, label, state) and `edges` (from, to, text). A cell that is something
        else than its contract says is not there.
    """
    found: dict[str, list[dict[str, Any]]] = {"timeline": [], "graph": []}
    for name, column in columns.items():
        kind = column.get("shows")
        if kind not in found or not row.get(name):
            continue
        hidden = not unmask and column.get("pii") == "direct"
        read = (_timeline if kind == "timeline" else _graph)(_json(row[name]))
        if read is not None:
            empty: dict[str, Any] = {key: [] if isinstance(value, list) else 0 for key, value in read.items()}
            said = {"name": name, "description": column.get("description", ""), "hidden": hidden}
            found[kind].append({**said, **(empty if hidden else read)})
    return found


def _json(cell: Any) -> Any:
    try:
        return json.loads(cell) if isinstance(cell, str) else None
    except ValueError:
        return None


def _timeline(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, list):
        return None
    moments: list[dict[str, Any]] = [
        {"at": _text(one.get("at")), "text": _text(one.get("text")), "state": _state(one.get("state")), "ids": _texts(one.get("ids"))}
        for one in value if isinstance(one, dict)
    ]  # fmt: skip
    moments.sort(key=lambda one: one["at"])
    return {"moments": moments[:MOST], "left_out": max(0, len(moments) - MOST)}


def _graph(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    given, lines = value.get("nodes"), value.get("edges")
    if not isinstance(given, list) or not isinstance(lines, list):
        return None
    nodes = {
        _text(one["id"]): {"id": _text(one["id"]), "kind": _text(one.get("kind")),
                           "label": _text(one.get("label") or one["id"]), "state": _state(one.get("state"))}
        for one in given if isinstance(one, dict) and one.get("id")
    }  # fmt: skip
    kept = dict(list(nodes.items())[:MOST])
    edges = [
        {"from": _text(one[0]), "to": _text(one[1]), "text": _text(one[2]) if len(one) > 2 else ""}
        for one in lines if isinstance(one, list) and len(one) >= 2
    ]  # fmt: skip
    drawn = [edge for edge in edges if edge["from"] in kept and edge["to"] in kept][:MOST]
    return {"nodes": list(kept.values()), "edges": drawn, "left_out": len(nodes) - len(kept) + len(edges) - len(drawn)}


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())[:_LONGEST]


def _texts(value: Any) -> list[str]:
    return [_text(one) for one in value] if isinstance(value, list) else []


def _state(value: Any) -> str:
    return value if value in STATES else "none"
