"""How good a week's incident response was: times to detect, triage and contain, share taken back, false positives. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baton_packs.incident_response.incidents.incident import MERGED
from baton_packs.incident_response.incidents.situation import SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

CONTAINING = ("block_address", "disable_account", "isolate_host", "rotate_key")
COLUMNS = (
    "incident_id",
    "day",
    "severity_id",
    "route",
    "alerts_total",
    "detect",
    "triage",
    "contain",
    "verdict",
    "remedies",
    "undone",
)


@dataclass(frozen=True)
class WeekNumbers:
    """Numbers of a week; times in minutes as (median, 90 %), None where nothing was timed; shares 0..1, None of nothing."""

    incidents: int
    alerts: int
    detect: tuple[float, float] | None
    triage: tuple[float, float] | None
    contain: tuple[float, float] | None
    undone: float | None
    false_positives: float | None
    answered: int
    remedies: int

    def facts(self) -> dict[str, Any]:
        """As small JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.__dict__.items()}


def rows(decisions: pd.DataFrame, cases: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """A row per incident that a week opened, with `COLUMNS`; times in minutes, NaN where there is none.

    Args:
        decisions: rows of `decide`, oldest partition first; the last of an incident counts.
        cases: entity_key, opened_at, updated_at, resolution (null: open).
        effects: incident_id, action, state, sent_at, undone.
    """
    import pandas as pd

    last = decisions[decisions["state"] != MERGED].drop_duplicates("incident_id", keep="last")
    by_case = {row["entity_key"]: row for row in cases.to_dict("records")}
    remedies = effects[effects["action"].isin(CONTAINING) & (effects["state"] == "sent")]
    by_incident = {str(key): part for key, part in remedies.groupby("incident_id")}
    found = []
    for row in last.to_dict("records"):
        case, done = by_case.get(row["incident_id"]), by_incident.get(row["incident_id"])
        opened = None if case is None else case["opened_at"]
        answered = case is not None and isinstance(case["resolution"], str)
        first = None if done is None else min(done["sent_at"])
        found.append({
            "incident_id": row["incident_id"], "day": _time(row["opened_at"]).strftime("%Y-%m-%d"), "severity_id": int(row["severity_id"]),
            "route": row["route"], "alerts_total": int(row["alerts_total"]), "detect": _minutes(row["first_seen"], row["opened_at"]),
            "triage": _minutes(opened, case["updated_at"]) if answered and case is not None else None,
            "contain": _minutes(opened, first), "verdict": case["resolution"] if answered and case is not None else None,
            "remedies": 0 if done is None else len(done), "undone": 0 if done is None else int(done["undone"].astype(bool).sum()),
        })  # fmt: skip
    frame = pd.DataFrame(found, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(("detect", "triage", "contain"), "float64"))


def week(rows: pd.DataFrame) -> WeekNumbers:
    """The numbers of a week's rows."""
    answered = rows[rows["verdict"].notna()]
    remedies = int(rows["remedies"].sum())
    detect, triage, contain = (_spread(rows[name]) for name in ("detect", "triage", "contain"))
    undone = float(rows["undone"].sum() / remedies) if remedies else None
    wrong = float((answered["verdict"] == "false_positive").mean()) if len(answered) else None
    alerts = int(rows["alerts_total"].sum())
    return WeekNumbers(len(rows), alerts, detect, triage, contain, undone, wrong, len(answered), remedies)


def by_severity(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Counts by severity, the gravest first."""
    found = []
    for severity in sorted(SEVERITIES, reverse=True):
        part = rows[rows["severity_id"] == severity]
        routes = {name: int((part["route"] == name).sum()) for name in ("contain", "watch", "noise")}
        wrong = int((part["verdict"] == "false_positive").sum())
        found.append({"severity": SEVERITIES[severity], "incidents": len(part), **routes, "false_positives": wrong})
    return found


def _time(value: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(value).tz_convert("UTC") if pd.Timestamp(value).tzinfo else pd.Timestamp(value, tz="UTC")


def _minutes(start: Any, end: Any) -> float | None:
    """Minutes between two times, never below 0; None where one is missing."""
    if not start or not end or start != start or end != end:
        return None
    return float(max((_time(end) - _time(start)).total_seconds() / 60, 0.0))


def _spread(minutes: pd.Series) -> tuple[float, float] | None:
    known: Sequence[float] = minutes.dropna().tolist()
    return (round(float(minutes.median()), 2), round(float(minutes.quantile(0.9)), 2)) if known else None
