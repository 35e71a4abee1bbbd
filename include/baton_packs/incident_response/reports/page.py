"""The report of one incident as one HTML page: no script, nothing from elsewhere, light or dark; the same bytes for the same input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from baton_packs.incident_response import HERE
from baton_packs.incident_response.incidents.incident import seconds
from baton_packs.incident_response.incidents.links import HOST, USER
from baton_packs.incident_response.incidents.situation import SEVERITIES

TEMPLATES = HERE / "templates"
MOST = 200  # rows of a table
_WIDTH, _ROW, _LEFT = 900, 16, 190
_BY = {
    "agent": "worded by the agent, checked by rules",
    "template": "by rules: no model's answer was accepted",
    "rules": "by rules",
}


def page(decision: Mapping[Any, Any], actions: Iterable[Mapping[Any, Any]] = (), verdict: str | None = None) -> str:
    """The page.

    Args:
        decision: a row of `decide`.
        actions: rows about it: action, target, state (or level), before, after, holds; what is missing stays empty.
        verdict: what a person answered on its case.
    """
    row = {str(name): value for name, value in decision.items()}
    alerts = [{**one, "why": _why(one)} for one in json.loads(row["alerts"])][:MOST]
    listed = {name: json.loads(row[name]) for name in ("hosts", "users", "addresses")}
    entities = [{**one, "known": _known(one, json.loads(row["known"]))} for one in json.loads(row["entities"])][:MOST]
    told = [
        {"action": one["action"], "target": one["target"], "state": _state(one), "before": _text(one.get("before")),
         "after": _text(one.get("after")), "holds": str(one.get("holds") or "")}
        for one in actions if str(one["target"])
    ][:MOST]  # fmt: skip
    row["merged_into"] = row["merged_into"] if isinstance(row["merged_into"], str) else ""
    return render(
        "incident.html.j2", row=row, severity=SEVERITIES[int(row["severity_id"])], alerts=alerts, entities=entities, actions=told,
        reasons=json.loads(row["reasons"]), verdict=(verdict or "").replace("_", " "), by=_BY.get(str(row["triaged_by"]), "by rules"),
        first=_when(row["first_seen"]), last=_when(row["last_seen"]), opened=_when(row["opened_at"]),
        timeline=_markup(timeline(alerts)), **listed,
    )  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A page out of one of the pack's templates, every value escaped."""
    return str(_environment().get_template(template).render(**values))


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True
    )


def _markup(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 - made here, every text in it escaped


def timeline(alerts: Sequence[Mapping[str, Any]]) -> str:
    """Findings over time as an SVG: a line a host, account or address, a dot a finding, larger and darker the graver; "" for none."""
    if not alerts:
        return ""
    lanes: dict[str, list[tuple[float, int, str]]] = {}
    for alert in alerts:
        lane = str(alert.get(HOST) or alert.get(USER) or alert.get("src_ip") or "elsewhere")
        lanes.setdefault(lane, []).append((seconds(alert["time"]), int(alert["severity_id"]), str(alert["title"])))
    shown = sorted(lanes.items(), key=lambda pair: (pair[1][0][0], pair[0]))[:30]
    start = min(at for _, found in shown for at, _, _ in found)
    length = max(max(at for _, found in shown for at, _, _ in found) - start, 1.0)
    height = _ROW * len(shown) + 26
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Findings over time by host">']
    for number, (lane, found) in enumerate(shown):
        y = 12 + number * _ROW
        parts.append(
            f'<text x="0" y="{y + 3}">{escape(lane[:34])}</text><path d="M{_LEFT} {y}H{_WIDTH - 10}" stroke="var(--line)"/>'
        )
        for at, severity, title in found:
            x = _LEFT + 8 + (_WIDTH - _LEFT - 26) * (at - start) / length
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y}" r="{1.5 + severity:.1f}" fill="var(--{"bad" if severity >= 4 else "accent"})" '
                f'fill-opacity="{0.25 + 0.15 * severity:.2f}"><title>{escape(title)}</title></circle>'
            )
    first, last = _when_of(start), _when_of(start + length)
    parts.append(
        f'<text x="{_LEFT}" y="{height - 3}">{first}</text><text x="{_WIDTH - 10}" y="{height - 3}" text-anchor="end">{last}</text></svg>'
    )
    return "".join(parts)


def _when(value: Any) -> str:
    return _when_of(seconds(value))


def _when_of(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _why(alert: Mapping[str, Any]) -> str:
    try:
        found = json.loads(alert["reasons"])
    except (TypeError, ValueError):
        return str(alert.get("reasons") or "")[:300]
    return " ".join(str(one) for one in found)[:300] if isinstance(found, list) else str(found)[:300]


def _known(entity: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    of = {HOST: "hosts", USER: "accounts", "address": "addresses"}.get(str(entity["kind"]), "")
    found = known.get(of, {}).get(entity["name"], {})
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())[:300]


def _state(action: Mapping[Any, Any]) -> str:
    if action.get("skipped"):
        return f"not done: {action['skipped']}"
    return f"{action.get('state') or action.get('level') or 'planned'}{', taken back' if action.get('undone') else ''}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None or value != value else json.dumps(value)
