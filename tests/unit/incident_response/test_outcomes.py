"""Verdicts on incidents as labels of rows, and the rows that nobody found anything in."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pandas as pd

from baton_packs.incident_response.detection.log_counts import count_logs
from baton_packs.incident_response.detection.taxonomy import count_id
from baton_packs.incident_response.incidents.decide import RESOLUTIONS
from baton_packs.incident_response.incidents.outcomes import harmless

ROWS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_rows.py")))
alert, correlated = ROWS["alert"], ROWS["correlated"]
FIRST, SECOND = "2026-11-20T10:00:00", "2026-11-20T10:05:00"
SEEN = {
    "source": "intrusion",
    "rule": "network_intrusion",
    "src_ip": "203.0.113.66",
    "dst_ip": "10.10.0.15",
    "host": "srv-jump",
}


def past(found: pd.DataFrame, partition: str = FIRST) -> pd.DataFrame:
    return found.assign(partition=partition)


def connection(uid: str, source: str, target: str = "192.0.2.1", at: str = "10:02") -> dict[str, Any]:
    return {"metadata_uid": uid, "time": pd.Timestamp(f"2026-11-20T{at}:00Z"), "src_endpoint_ip": source,
            "dst_endpoint_ip": target, "device_hostname": None, "user_name": None}  # fmt: skip


def test_an_incident_knows_the_rows_that_it_was_found_in_each_in_the_partition_that_brought_it() -> None:
    one = correlated([alert(1, event_uid="c1", **SEEN), alert(2, host="srv-jump", src_ip="203.0.113.66")])
    late = alert(3, at="10:04", event_uid="c0", **SEEN)
    two = correlated([late, alert(4, at="10:06", event_uid="c2", **SEEN)], past(one), SECOND)
    (row,) = two.to_dict("records")
    assert json.loads(row["connection_rows"]) == {FIRST: ["c1"], SECOND: ["c0", "c2"]}
    assert json.loads(row["log_rows"]) == {FIRST: ["srv-jump@2026-11-20T10:00:00"]}


def test_incidents_that_become_one_have_the_rows_of_both() -> None:
    one = correlated([alert(1, event_uid="c1", **SEEN | {"confidence": 0.999})])
    two = correlated(
        [alert(2, at="10:06", event_uid="srv-db@2026-11-20T10:05:00", source="log", host="srv-db")], past(one), SECOND
    )
    both = correlated(
        [alert(3, at="10:11", host="srv-jump", user="ann"), alert(4, at="10:11", host="srv-db", user="ann")],
        pd.concat([past(one), past(two, SECOND)]), "2026-11-20T10:10:00",
    )  # fmt: skip
    kept = both[both["state"] != "merged"].iloc[0]
    assert json.loads(kept["connection_rows"]) == {FIRST: ["c1"]}
    assert set(json.loads(kept["log_rows"])) == {SECOND, "2026-11-20T10:10:00"}


def test_a_verdict_says_of_rows_what_it_says_of_the_incident() -> None:
    assert RESOLUTIONS["true_positive"] == {
        "is_incident": 1, "verdict": "true_positive", "is_attack": {"connection_rows": 1}, "attacked": {"log_rows": 1}
    }  # fmt: skip
    for name in ("false_positive", "benign"):
        assert (RESOLUTIONS[name]["is_attack"], RESOLUTIONS[name]["attacked"]) == (
            {"connection_rows": 0},
            {"log_rows": 0},
        )
    decided = ROWS["decided"]([alert(1, event_uid="c1", **SEEN)]).iloc[0]
    assert json.loads(decided["connection_rows"]) == {FIRST: ["c1"]}


def test_keys_of_the_log_are_those_that_the_log_model_scores() -> None:
    at = pd.Timestamp("2026-11-20T10:07:59Z")
    events = pd.DataFrame([{
        "metadata_uid": "e1", "time": at, "raw_data": "sshd: ok", "device_hostname": "srv-db", "class_uid": 3002, "status_id": 1,
        "user_name": None, "src_endpoint_ip": None,
    }])  # fmt: skip
    assert list(count_logs(events)["count_id"]) == [count_id("srv-db", at.to_pydatetime())]


def test_what_no_incident_has_to_do_with_is_harmless_and_what_stands_beside_one_is_left_open() -> None:
    found = correlated([alert(1, event_uid="c1", **SEEN | {"confidence": 0.999})]).to_dict("records")
    frame = pd.DataFrame([
        connection("c1", "203.0.113.66", "10.10.0.15"), connection("beside", "203.0.113.66"), connection("other", "10.20.0.11"),
        connection("to_it", "10.20.0.11", "10.10.0.15"), connection("hours_later", "203.0.113.66", at="13:00"),
    ])  # fmt: skip
    assert harmless(frame, found, "once", 300) == ["other", "hours_later"]
    assert harmless(frame, [], "once", 300) == list(frame["metadata_uid"])
    assert harmless(frame.iloc[:0], found, "once", 300) == []


def test_beside_a_sweep_its_address_is_left_open_and_the_hosts_that_it_swept_are_not() -> None:
    found = correlated(ROWS["scan"]("198.51.100.7")).to_dict("records")
    frame = pd.DataFrame(
        [connection("swept", "198.51.100.7", at="10:01"), connection("desk", "10.20.0.13", at="10:01")]
    )
    frame["device_hostname"] = ["ws-20", "ws-05"]
    assert harmless(frame, found, "once", 300) == ["desk"]


def test_every_row_of_an_incident_counts_also_of_one_that_was_taken_in() -> None:
    one = correlated([alert(1, event_uid="c1", **SEEN)]).to_dict("records")[0]
    two = correlated([alert(2, event_uid="c2", **SEEN | {"src_ip": "198.51.100.9"})]).to_dict("records")[0]
    frame = pd.DataFrame(
        [connection("c1", "203.0.113.66"), connection("c2", "198.51.100.9"), connection("c3", "10.20.0.11")]
    )
    rows = [one | {"state": "merged"}, two | {"incident_id": one["incident_id"]}]
    assert harmless(frame, rows, "once", 300) == ["c3"]
