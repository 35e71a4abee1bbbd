"""Quality of replies: how well customers were answered, by route, over the week so far."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from typing import Any

import pandas as pd

from baton.data.datasets import read
from baton.data.pages import store_page
from baton.data.partitions import format_key, parse_key, safe_name
from baton.feedback.cases import decided_cases
from baton.names import CONTRACT, PUBLISH
from baton.stages import StageJob, StageOutput, engine_step
from baton.stages.slots import Slot, head, partitions
from baton_packs.customer_experience.letters.sending import ACCEPTED
from baton_packs.customer_experience.service.stages import EDITED, NONE, REJECTED, SUGGEST

ABOUT, DELIVERED = "customer_experience", "customer_outcomes"
RESTS_ON = ((ABOUT, PUBLISH), (DELIVERED, CONTRACT), (ABOUT, CONTRACT))  # what was decided, became of it, came in
OUTCOMES = (ACCEPTED, EDITED, REJECTED, "reopened")
OF_CASE = ["entity_key", "route", "outcome", "reply_seconds", "right", "from_case"]
FIGURES = (*OUTCOMES, "intent_right", "median_minutes")


def _week(partition: str) -> tuple[str, str]:
    """First and last partition of the week so far; a week begins on Monday at 00:00 UTC."""
    at = parse_key(partition)
    return format_key((at - timedelta(days=at.weekday())).replace(hour=0, minute=0, second=0)), partition


def _decided(week: tuple[str, str]) -> list[dict[str, Any]]:
    """Cases of the week's messages that a person has decided."""
    return decided_cases(ABOUT, ("partition", "entity_key", "route", "resolutions", "resolution", "updated_at"), week)


def _hours(week: tuple[str, str], cases: list[dict[str, Any]]) -> list[str]:
    """Partitions that somebody said something about: a delivery, or a person on a case."""
    delivered = [one for one in partitions(DELIVERED, CONTRACT) if week[0] <= one <= week[1]]
    return sorted({*delivered, *(case["partition"] for case in cases)})


def _state(job: StageJob) -> Mapping[str, Any]:
    """Outcomes, decisions and cases of the week: a corrected one, or one more, changes the figures."""
    week = _week(job.partition)
    cases, found = _decided(week), {}
    for partition in _hours(week, cases):
        for flow, stage in RESTS_ON:
            result = head(Slot(flow, stage, partition))
            found[f"{flow}/{stage}/{partition}"] = result.ref.content_sha256 if result else ""
    return found | {"cases": hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()}


@engine_step(fingerprint=_state)
def quality(job: StageJob) -> StageOutput:
    """Sum up the week so far: what the delivered outcomes say, and of the other messages what people decided on cases.

    A case that is decided after the week's last hour was summed up counts once that hour is run again.

    Returns:
        one row per route (send, suggest, escalate) and `all`: messages, accepted, edited, rejected, reopened (shares of
        those whose outcome is known), intent_right (share of messages whose intent was the confirmed one, of those whose
        intent was confirmed), median_minutes (from message to reply); not a number where nothing is known. Facts: the
        row `all`, `from_cases` (messages that only a case tells of), and a report's path.
    """
    week = _week(job.partition)
    cases = _decided(week)
    parts = [_of_hour(partition, cases) for partition in _hours(week, cases)]
    whole = pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else None
    table = summed(whole)
    facts: dict[str, Any] = {"messages": int(table["messages"].iloc[-1])}
    if whole is not None:
        facts |= {name: round(float(table[name].iloc[-1]), 4) for name in FIGURES}
        facts["from_cases"] = int(whole["from_case"].sum())
        facts["report"] = _report(job.partition, table)
    return StageOutput(table, facts)


def _of_hour(partition: str, cases: list[dict[str, Any]]) -> pd.DataFrame:
    """What became of the messages of one partition, see `summed`; a delivered outcome comes before a case's answer."""
    published, outcomes, asked = (head(Slot(flow, stage, partition)) for flow, stage in RESTS_ON)
    if published is None:
        return pd.DataFrame()
    said = read(published.ref)[["entity_key", "route", "intent"]]
    parts = []
    if outcomes is not None:
        then = read(outcomes.ref)[["message_id", "outcome", "intent", "reply_seconds"]]
        both = then.merge(said, left_on="message_id", right_on="entity_key", suffixes=("", "_said"))
        right = both["intent"].fillna("") == both["intent_said"].fillna("")
        parts.append(both[["entity_key", "route", "outcome", "reply_seconds"]].assign(right=right, from_case=False))
    known = set(parts[0]["entity_key"]) if parts else set()
    here = [case for case in cases if case["partition"] == partition and case["entity_key"] not in known]
    if here and asked is not None:
        received = read(asked.ref)[["message_id", "received_at"]]
        both = said[["entity_key", "intent"]].merge(received, left_on="entity_key", right_on="message_id")
        messages = both.set_index("entity_key").to_dict("index")
        rows = [_of_case(case, messages[case["entity_key"]]) for case in here if case["entity_key"] in messages]
        parts.append(pd.DataFrame(rows, columns=OF_CASE))
    parts = [part.astype({"right": "float64", "reply_seconds": "float64"}) for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _of_case(case: Mapping[str, Any], message: Mapping[Any, Any]) -> dict[str, Any]:
    """A decided case as a row of `summed`: a suggestion that is answered by another intent is rejected by that.

    An escalation has no reply of ours to be judged: the person answers. Its message counts, and whether the intent was
    right, if the person said so.
    """
    answer, said = case["resolution"], message["intent"]
    outcome = None
    if case["route"] == SUGGEST:
        outcome = answer if answer in (ACCEPTED, EDITED) else REJECTED
    label = "" if answer == NONE else case["resolutions"].get(answer, {}).get("intent")
    right = None if label is None else label == (said if isinstance(said, str) else "")
    replied = pd.to_datetime(case["updated_at"], utc=True) - pd.to_datetime(message["received_at"], utc=True)
    return {
        "entity_key": case["entity_key"], "route": case["route"], "outcome": outcome, "right": right, "from_case": True,
        "reply_seconds": replied.total_seconds() if outcome in (ACCEPTED, EDITED) else None,
    }  # fmt: skip


def summed(whole: pd.DataFrame | None) -> pd.DataFrame:
    """See `quality`; `whole` has columns route, outcome (or none), right (1, 0 or NaN) and reply_seconds (or NaN)."""
    parts: list[tuple[str, Any]] = []
    if whole is not None:
        parts = [(route, whole[whole["route"] == route]) for route in ("send", "suggest", "escalate")]
        parts.append(("all", whole))
    rows = []
    for route, part in parts:
        if part.empty:
            continue
        known = part["outcome"].dropna()
        rows.append({
            "route": route, "messages": len(part), **{name: float((known == name).mean()) for name in OUTCOMES},
            "intent_right": float(part["right"].mean()), "median_minutes": float(part["reply_seconds"].dropna().median() / 60),
        })  # fmt: skip
    return pd.DataFrame(rows or [{"route": "all", "messages": 0, **dict.fromkeys(FIGURES, 0.0)}])


def _report(partition: str, table: pd.DataFrame) -> str:
    """A page of counts and shares; nothing personal."""
    head_row = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in table.columns)
    body = ""
    for row in table.to_dict("records"):
        shares = [_figure(row[one], "{:.1%}") for one in FIGURES[:-1]]
        cells = [row["route"], f"{row['messages']:,}", *shares, _figure(row["median_minutes"], "{:.1f}")]
        body += "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Quality of the week</title><style>"
        "body{font:15px system-ui;margin:2rem;max-width:60rem}td,th{padding:.35rem .8rem;text-align:right;"
        "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>Quality of the week up to {escape(partition[:16].replace('T', ' '))} UTC</h1>"
        f"<table><tr>{head_row}</tr>{body}</table>"
        "<p>Shares of the replies whose outcome is known, from the teams' deliveries and from decided cases. <i>send</i> left "
        "by itself, <i>suggest</i> was proposed to the team, <i>escalate</i> was answered by a person.</p></html>"
    )
    return store_page(f"customer_outcomes/quality/{safe_name(partition)}.html", page)


def _figure(value: float, form: str) -> str:
    """A figure of the page; a dash where nothing is known."""
    return form.format(value) if value == value else "–"
