"""How well customers were answered: by route, over the week so far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from baton.slots import Slot, StageOutput, head, partitions
from baton.stages import StageJob, engine_step

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "customer_experience"
OUTCOMES = ("accepted", "edited", "rejected", "reopened")


def _week(partition: str) -> list[str]:
    """Partitions of the week up to this one; a week begins on Monday."""
    from baton.partitions import format_key, parse_key

    at = parse_key(partition)
    monday = format_key((at - timedelta(days=at.weekday())).replace(hour=0, minute=0, second=0))
    return [one for one in partitions("customer_outcomes", "contract") if monday <= one <= partition]


def _state(job: StageJob) -> Mapping[str, Any]:
    """Outcomes and decisions of the week: a corrected one changes the figures."""
    found = {}
    for partition in _week(job.partition):
        for flow, stage in (("customer_outcomes", "contract"), (ABOUT, "publish")):
            result = head(Slot(flow, stage, partition))
            found[f"{flow}/{partition}"] = result.ref.content_sha256 if result else ""
    return found


@engine_step(fingerprint=_state)
def quality(job: StageJob) -> StageOutput:
    """Sum up the week so far.

    Returns:
        one row per route (send, suggest, escalate) and `all`: messages, accepted, edited, rejected, reopened (shares),
        intent_right (share of messages whose intent was the confirmed one), median_minutes (from message to reply);
        facts: the row `all`, and a report's path.
    """
    import pandas as pd

    from baton.datasets import read

    rows = []
    for partition in _week(job.partition):
        outcomes, decided = (
            head(Slot("customer_outcomes", "contract", partition)),
            head(Slot(ABOUT, "publish", partition)),
        )
        if outcomes is None or decided is None:
            continue
        said = read(decided.ref)[["entity_key", "route", "intent"]]
        rows.append(read(outcomes.ref).merge(said, left_on="message_id", right_on="entity_key", suffixes=("", "_said")))
    whole = pd.concat(rows, ignore_index=True) if rows else None
    table = summed(whole)
    facts: dict[str, Any] = {"messages": int(table["messages"].iloc[-1])}
    if facts["messages"]:
        facts |= {name: round(float(table[name].iloc[-1]), 4) for name in (*OUTCOMES, "intent_right", "median_minutes")}
        facts["report"] = _report(job.partition, table)
    return StageOutput(table, facts)


def summed(whole: pd.DataFrame | None) -> pd.DataFrame:
    """See `quality`; `whole` has columns route, outcome, intent (confirmed), intent_said, reply_seconds."""
    import pandas as pd

    parts: list[tuple[str, Any]] = []
    if whole is not None:
        parts = [(route, whole[whole["route"] == route]) for route in ("send", "suggest", "escalate")]
        parts.append(("all", whole))
    rows = []
    for route, part in parts:
        if part.empty:
            continue
        right = part["intent"].fillna("") == part["intent_said"].fillna("")
        shares = {name: float((part["outcome"] == name).mean()) for name in OUTCOMES}
        rows.append({
            "route": route, "messages": len(part), **shares, "intent_right": float(right.mean()),
            "median_minutes": float(part["reply_seconds"].median() / 60),
        })  # fmt: skip
    empty = {"route": "all", "messages": 0, **dict.fromkeys(OUTCOMES, 0.0), "intent_right": 0.0, "median_minutes": 0.0}
    return pd.DataFrame(rows or [empty])


def _report(partition: str, table: pd.DataFrame) -> str:
    """A page of counts and shares; nothing personal."""
    from html import escape

    from baton.partitions import safe_name
    from baton.settings import settings

    name = f"customer_outcomes/quality/{safe_name(partition)}.html"
    head_row = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in table.columns)
    body = ""
    for row in table.to_dict("records"):
        cells = [row["route"], f"{row['messages']:,}", *(f"{row[one]:.1%}" for one in (*OUTCOMES, "intent_right"))]
        cells.append(f"{row['median_minutes']:.1f}")
        body += "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Quality of the week</title><style>"
        "body{font:15px system-ui;margin:2rem;max-width:60rem}td,th{padding:.35rem .8rem;text-align:right;"
        "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>Quality of the week up to {escape(partition[:16].replace('T', ' '))} UTC</h1>"
        f"<table><tr>{head_row}</tr>{body}</table>"
        "<p>Shares of the replies whose outcome is known. <i>send</i> left by itself, <i>suggest</i> was proposed to the "
        "team, <i>escalate</i> was answered by a person.</p></html>"
    )
    path = settings().reports_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return name
