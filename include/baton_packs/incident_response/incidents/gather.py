"""What is looked up about an incident, and the log lines behind it: names out of its alerts, bounded, the most frequent first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from baton_packs.incident_response.incidents.incident import MERGED
from baton_packs.incident_response.incidents.policy import OUTSIDE, policy

if TYPE_CHECKING:
    import pandas as pd

MOST = 15  # names of a kind that are looked up for one incident
LINES, LONGEST = 8, 400  # log lines shown of an incident, and characters of each
COLUMNS = ("indicators", "outside", "known_hosts", "accounts", "lines")


def stage(incidents: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Incidents with what is to be looked up.

    Args:
        incidents: rows of `correlate`.
        events: of this partition: metadata_uid, query_hostname, dst_endpoint_hostname, http_request_url, raw_data.

    Returns:
        the incidents that are not merged away, and as JSON lists: indicators (addresses and domains outside), outside
        (addresses), known_hosts, accounts, lines (log lines of the gravest alerts).
    """
    rows = incidents[incidents["state"] != MERGED].reset_index(drop=True)
    wanted = {alert["event_uid"] for text in rows["alerts"] for alert in json.loads(text)}
    behind = events[events["metadata_uid"].isin(wanted)]
    by_uid = {one["metadata_uid"]: one for one in behind.to_dict("records")}
    found = [_of(row, by_uid) for row in rows.to_dict("records")]
    return rows.assign(**{name: [one[name] for one in found] for name in COLUMNS})


def _of(row: Mapping[Any, Any], events: Mapping[str, Mapping[Any, Any]]) -> dict[str, str]:
    rules, alerts = policy(), json.loads(row["alerts"])
    outside = [one for one in json.loads(row["addresses"]) if rules.side(one) == OUTSIDE][:MOST]
    behind = [events[alert["event_uid"]] for alert in alerts if alert["event_uid"] in events]
    domains = list(dict.fromkeys(name for event in behind for name in _domains(event)))[:MOST]
    grave = sorted(alerts, key=lambda one: (-one["severity_id"], -one["confidence"], one["alert_id"]))
    raw = [events[alert["event_uid"]].get("raw_data") for alert in grave if alert["event_uid"] in events]
    lines = list(dict.fromkeys(text[:LONGEST] for text in raw if isinstance(text, str) and text.strip()))[:LINES]
    found = {
        "indicators": [*outside, *domains], "outside": outside, "known_hosts": json.loads(row["hosts"])[:MOST],
        "accounts": json.loads(row["users"])[:MOST], "lines": lines,
    }  # fmt: skip
    return {name: json.dumps(values) for name, values in found.items()}


def _domains(event: Mapping[Any, Any]) -> list[str]:
    """Domains that an event names; the last four labels of a long one, since data hide in those before."""
    named = [event.get("query_hostname"), event.get("dst_endpoint_hostname")]
    url = event.get("http_request_url")
    if isinstance(url, str):
        with contextlib.suppress(ValueError):  # half an IPv6 address and the like
            named.append(urlsplit(url).hostname)
    found = []
    for text in named:
        plain = text.strip(".").lower() if isinstance(text, str) else ""
        named_well = "." in plain and len(plain) <= 253 and all(one.isalnum() or one in ".-_" for one in plain)
        if named_well and policy().side(plain) is None:
            found.append(".".join(plain.split(".")[-4:]))
    return found
