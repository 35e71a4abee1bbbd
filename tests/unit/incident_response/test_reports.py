"""Report and STIX of an incident, what holds afterwards, and a week's numbers."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import stix2

from baton.errors import BatonError
from baton_packs.incident_response.incidents import verify
from baton_packs.incident_response.reports import measures, stix, weekly
from baton_packs.incident_response.reports import page as report

ROWS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_rows.py")))
ACTIONS = [
    {"incident_id": "inc", "action": "block_address", "target": "203.0.113.66", "state": "sent", "before": '{"blocked": false}', "after": '{"blocked": true}', "holds": "yes", "undone": False},
    {"incident_id": "inc", "action": "isolate_host", "target": "srv-db", "skipped": "is so already", "state": None, "before": None, "after": None},
]  # fmt: skip


def row(alerts: Any = None) -> dict[str, Any]:
    return ROWS["decided"](alerts or ROWS["brute_force"]()).iloc[0].to_dict()


def test_the_page_holds_what_was_found_and_done() -> None:
    html = report.page(row(), ACTIONS, "true_positive")
    for text in (
        "Remote log-in to a server",
        "203.0.113.66",
        "anna.adler",
        "T1021",
        "block_address",
        "true positive",
        "prefers-color-scheme:dark",
        "<svg",
    ):
        assert text in html
    assert html == report.page(row(), ACTIONS, "true_positive")
    assert "http" not in html.replace("http-equiv", "")  # nothing from elsewhere


def test_what_attackers_write_is_text_on_the_page() -> None:
    alerts = ROWS["brute_force"]()
    alerts[0] |= {
        "host": "<script>alert(1)</script>",
        "reasons": '["<img src=x onerror=alert(1)>"]',
        "title": "<b>x</b>",
    }
    html = report.page(row(alerts))
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>x</b>" not in html


def test_the_bundle_is_stix_with_the_same_ids_every_time() -> None:
    text = stix.bundle(row(), ACTIONS)
    assert text == stix.bundle(row(), ACTIONS)
    parsed = stix2.parse(text, allow_custom=False)
    kinds = [one.type for one in parsed.objects]
    assert {
        "identity",
        "ipv4-addr",
        "user-account",
        "observed-data",
        "indicator",
        "attack-pattern",
        "course-of-action",
        "relationship",
        "report",
    } <= set(kinds)
    assert kinds.count("course-of-action") == 1  # what was passed over is none
    ids = {one.id for one in parsed.objects}
    linked = {ref for one in parsed.objects if one.type == "relationship" for ref in (one.source_ref, one.target_ref)}
    assert linked <= ids
    technique = next(one for one in parsed.objects if one.type == "attack-pattern")
    assert technique.external_references[0].external_id in ("T1021", "T1110")
    indicator = next(one for one in parsed.objects if one.type == "indicator")
    assert indicator.pattern == "[ipv4-addr:value = '203.0.113.66']"


@pytest.mark.parametrize("verdict", ["false_positive", "benign"])
def test_what_was_no_attack_has_no_indicators(verdict: str) -> None:
    assert '"indicator"' not in stix.bundle(row(), verdict=verdict)


def test_a_verdict_that_is_none_is_refused() -> None:
    with pytest.raises(BatonError, match="there are true_positive, false_positive, benign"):
        stix.bundle(row(), verdict="maybe")


def test_an_incident_without_names_is_still_a_bundle() -> None:
    assert stix2.parse(stix.bundle(row([ROWS["alert"](1, technique=None, tactic=None)]))).objects


OUT = {"incident_id": "inc", "action": "block_address", "target": "203.0.113.66", "state": "sent", "sent_at": "2026-11-20T10:06:00.000000Z", "undone": False,
       "after": '{"blocked": true}', "receipt": True, "error": None, "look": "firewall_state", "address": "203.0.113.66", "account": None, "host": None}  # fmt: skip


def holds(shown: dict[str, Any] | None, **given: Any) -> str:
    none = ROWS["looked"]({})
    tools = {
        "firewall_state": none if shown is None else ROWS["looked"]({"203.0.113.66": shown}),
        "account_state": none,
        "host_state": none,
    }
    return str(verify.checked(pd.DataFrame([OUT | given]), tools).iloc[0]["holds"])


def test_what_was_done_is_looked_at_afterwards() -> None:
    assert holds({"blocked": True}) == "yes"
    assert holds({"blocked": False}) == "no"
    assert holds({"blocked": pd.NA}) == "unseen"
    assert holds(None) == "unseen"
    assert holds(None, look="receipt", action="open_ticket") == "yes"
    assert holds({"blocked": False}, state="waiting") == ""
    assert holds({"blocked": False}, undone=True) == ""


def measured() -> pd.DataFrame:
    decisions = pd.concat(
        [ROWS["decided"](ROWS["brute_force"]()), ROWS["decided"](ROWS["scan"]("198.51.100.7"))], ignore_index=True
    )
    first, second = decisions["incident_id"]
    cases = pd.DataFrame([
        {"entity_key": first, "opened_at": "2026-11-20T10:06:00.000000Z", "updated_at": "2026-11-20T10:36:00.000000Z", "resolution": "true_positive"},
        {"entity_key": second, "opened_at": "2026-11-20T10:06:00.000000Z", "updated_at": "2026-11-20T10:16:00.000000Z", "resolution": "false_positive"},
    ])  # fmt: skip
    effects = pd.DataFrame([
        {"incident_id": first, "action": "open_ticket", "state": "sent", "sent_at": "2026-11-20T10:06:05.000000Z", "undone": False},
        {"incident_id": first, "action": "block_address", "state": "sent", "sent_at": "2026-11-20T10:08:00.000000Z", "undone": False},
        {"incident_id": first, "action": "isolate_host", "state": "sent", "sent_at": "2026-11-20T10:20:00.000000Z", "undone": True},
        {"incident_id": first, "action": "disable_account", "state": "waiting", "sent_at": None, "undone": False},
    ])  # fmt: skip
    return measures.rows(decisions, cases, effects)


def test_a_weeks_numbers() -> None:
    numbers = measures.week(measured())
    assert numbers.incidents == 2
    assert numbers.detect == (4.0, 4.0)  # 10:01 to the partition's end
    assert numbers.triage == (20.0, 28.0)
    assert numbers.contain == (2.0, 2.0)
    assert numbers.undone == 0.5
    assert numbers.false_positives == 0.5
    assert measures.by_severity(measured())[1] == {
        "severity": "high",
        "incidents": 1,
        "contain": 1,
        "watch": 0,
        "noise": 0,
        "false_positives": 0,
    }


def test_the_weeks_page_has_plots_and_is_the_same_every_time() -> None:
    rows = measured()
    html, pictures = weekly.page("2026-11-16T00:00:00", rows, measures.week(rows))
    assert pictures == 3
    assert html.count("<svg") == 3
    for said in (
        "min to detect: 4.0",
        "min to triage: 20.0",
        "min to contain: 2.0",
        "% taken back: 50",
        "% false positives: 50",
    ):
        assert said in html
    assert html == weekly.page("2026-11-16T00:00:00", rows, measures.week(rows))[0]


def test_a_week_is_compared_with_those_before_what_was_not_measured_is_a_gap() -> None:
    rows, before = measured(), {"2026-11-09T00:00:00": measures.week(measured().head(0)).facts()}
    html, pictures = weekly.page("2026-11-16T00:00:00", rows, measures.week(rows), before)
    assert pictures == 3
    assert "11-09" in html
    empty, pictures = weekly.page("2026-11-16T00:00:00", rows.head(0), measures.week(rows.head(0)), before)
    assert pictures == 1
    assert "min to contain: –" in empty


def test_a_week_without_incidents_has_a_page_too() -> None:
    rows = measured().head(0)
    html, pictures = weekly.page("2026-11-16T00:00:00", rows, measures.week(rows))
    assert pictures == 0
    assert "none timed" in html
