"""Alerts into incidents: over runs, late, twice, merged, and with addresses that everybody shares."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd
import pytest

from baton.errors import BatonError
from baton_packs.incident_response.incidents.correlate import ALERT, Correlated, CorrelateOptions, correlate
from baton_packs.incident_response.incidents.incident import COLUMNS, MERGED
from baton_packs.incident_response.incidents.links import Declared

FIRST, SECOND, THIRD = "2026-11-20T10:00:00", "2026-11-20T10:05:00", "2026-11-20T10:10:00"
NONE = pd.DataFrame(columns=[*COLUMNS, "partition"])


def alert(number: int | str, at: str = "10:01", **given: Any) -> dict[str, Any]:
    plain = {"alert_id": f"a{number}", "event_uid": f"e{number}", "time": pd.Timestamp(f"2026-11-20T{at}:00Z"), "source": "rule",
             "rule": "r1", "title": "Password guessing", "severity_id": 3, "confidence": 0.7, "technique": "T1110",
             "tactic": "credential-access", "host": None, "user": None, "src_ip": None, "dst_ip": None, "reasons": '["failed"]'}  # fmt: skip
    return plain | given


def run(
    given: list[dict[str, Any]],
    earlier: pd.DataFrame = NONE,
    partition: str = FIRST,
    closed: Any = None,
    **options: Any,
) -> Correlated:
    return correlate(pd.DataFrame(given, columns=list(ALERT)), earlier, partition, CorrelateOptions(**options), closed)


def past(*found: tuple[str, Correlated]) -> pd.DataFrame:
    parts = [pd.DataFrame(one.rows, columns=list(COLUMNS)).assign(partition=partition) for partition, one in found]
    return pd.concat(parts, ignore_index=True)


def ids(found: Correlated) -> list[str]:
    return [row["incident_id"] for row in found.rows if row["state"] != MERGED]


def test_alerts_of_one_host_user_or_address_are_one_incident() -> None:
    found = run([
        alert(1, host="web-1", src_ip="203.0.113.9"), alert(2, host="web-1", user="ann"), alert(3, user="ann", host="db-1"),
        alert(4, src_ip="203.0.113.9", host="web-2"), alert(5, host="other"),
    ])  # fmt: skip
    assert sorted(row["alerts_total"] for row in found.rows) == [1, 4]
    whole = max(found.rows, key=lambda row: row["alerts_total"])
    assert json.loads(whole["hosts"])[0] == "web-1"
    assert whole["title"] == "Password guessing on web-1 and 2 more hosts from 203.0.113.9"


def test_what_lies_further_apart_than_the_window_is_not_one() -> None:
    alerts = [alert(1, at="10:01", host="web-1"), alert(2, at="10:04", host="web-1")]
    assert len(ids(run(alerts, window="2m"))) == 2
    assert len(ids(run(alerts, window="3m"))) == 1


def test_an_incident_lives_over_runs_and_keeps_its_id() -> None:
    one = run([alert(1, host="web-1")])
    two = run([alert(2, at="10:07", host="web-1")], past((FIRST, one)), SECOND)
    assert ids(one) == ids(two)
    assert two.rows[0]["alerts_total"] == 2
    assert two.rows[0]["opened_at"] == one.rows[0]["opened_at"]
    assert two.facts["joined"] == 1
    assert two.facts["opened"] == 0


def test_the_same_partition_gives_the_same_rows() -> None:
    alerts = [alert(n, at=f"10:0{n % 5}", host=f"h{n % 3}") for n in range(20)]
    assert run(alerts).rows == run(list(reversed(alerts))).rows


def test_an_alert_that_is_delivered_again_changes_nothing() -> None:
    one = run([alert(1, host="web-1"), alert(1, host="web-1")])
    assert one.rows[0]["alerts_total"] == 1
    again = run([alert(1, host="web-1")], past((FIRST, one)), THIRD)
    assert again.rows == []
    assert again.facts["duplicates"] == 1


def test_a_late_alert_joins_the_incident_into_whose_time_it_falls() -> None:
    one = run([alert(1, at="10:01", host="web-1")])
    two = run([alert(2, at="10:02", host="web-1")], past((FIRST, one)), "2026-11-20T15:00:00")
    assert ids(two) == ids(one)
    assert two.rows[0]["late"]
    assert two.facts["late"] == 1


def test_two_incidents_that_turn_out_to_be_one_are_merged_under_the_older_id() -> None:
    one = run([alert(1, host="web-1")])
    two = run([alert(2, at="10:06", host="db-1")], past((FIRST, one)), SECOND)
    three = run([alert(3, at="10:11", user="ann", host="web-1", dst_ip="10.0.0.8"), alert(4, at="10:11", user="ann", host="db-1")],
                past((FIRST, one), (SECOND, two)), THIRD)  # fmt: skip
    merged = next(row for row in three.rows if row["state"] == MERGED)
    assert ids(three) == ids(one)
    assert merged["incident_id"] == ids(two)[0]
    assert merged["merged_into"] == ids(one)[0]
    assert three.rows[0]["alerts_total"] + three.rows[1]["alerts_total"] == 4 + 1
    later = run(
        [alert(5, at="10:16", host="db-1")], past((FIRST, one), (SECOND, two), (THIRD, three)), "2026-11-20T10:15:00"
    )
    assert ids(later) == ids(one)


def test_incidents_that_share_a_name_are_not_merged_without_a_new_alert() -> None:
    one = run([alert(1, host="web-1")])
    two = run([alert(2, at="10:06", host="db-1")], past((FIRST, one)), SECOND)
    assert run([alert(9, at="10:11", host="third")], past((FIRST, one), (SECOND, two)), THIRD).facts["merged"] == 0


def test_a_scanner_is_one_incident_and_glues_nothing_together() -> None:
    scan = [alert(n, host=f"h{n}", src_ip="198.51.100.7", rule="scan", severity_id=2) for n in range(30)]
    attack = [alert("x", host="h3", src_ip="203.0.113.9"), alert("y", host="h4", src_ip="203.0.113.10")]
    found = run([*scan, *attack])
    assert sorted(row["alerts_total"] for row in found.rows) == [1, 1, 30]
    later = run([alert("z", at="10:06", host="h29", src_ip="198.51.100.7", rule="scan")], past((FIRST, found)), SECOND)
    assert later.rows[0]["alerts_total"] == 31


def test_what_later_happens_on_a_scanned_host_is_none_of_the_scan() -> None:
    scan = run([alert(n, host=f"h{n}", src_ip="198.51.100.7", dst_ip=f"10.0.0.{n}", rule="scan") for n in range(30)])
    later = run([alert("x", at="10:06", host="h3", src_ip="10.0.0.3", rule="upload")], past((FIRST, scan)), SECOND)
    assert ids(later) != ids(scan)
    assert later.facts["opened"] == 1


def test_behind_an_address_that_many_share_host_and_user_tie() -> None:
    alerts = [alert(n, host=f"h{n}", user=f"u{n}", src_ip="192.0.2.1", rule=f"rule{n}") for n in range(30)]
    alerts += [alert("again", host="h5", user="u5", src_ip="192.0.2.1", rule="other")]
    found = run(alerts)
    assert sorted(row["alerts_total"] for row in found.rows) == [1] * 29 + [2]
    assert found.facts["shared"] == ["192.0.2.1"]


def test_a_scan_that_grows_over_partitions_takes_its_beginning_in() -> None:
    one = run([alert(n, host=f"h{n}", src_ip="198.51.100.7", rule="scan") for n in range(15)])
    two = run(
        [alert(f"b{n}", at="10:06", host=f"g{n}", src_ip="198.51.100.7", rule="scan") for n in range(15)],
        past((FIRST, one)),
        SECOND,
    )
    assert ids(two) == ids(one)
    assert two.rows[0]["alerts_total"] == 30


# --- alerts of models alone, and what everybody talks to ---

TIES = Declared(infrastructure=frozenset({"dc-01", "10.10.0.2"}), model_from=0.98)
UNSURE: dict[str, Any] = {"source": "intrusion", "rule": "network_intrusion", "confidence": 0.7}


def declared(given: list[dict[str, Any]], earlier: pd.DataFrame = NONE, partition: str = FIRST) -> Correlated:
    return correlate(pd.DataFrame(given, columns=list(ALERT)), earlier, partition, CorrelateOptions(), None, TIES)


def test_an_unsure_model_joins_what_is_known_of_who_did_it_and_makes_no_two_incidents_one() -> None:
    guessing = [alert(n, host="srv-jump", src_ip="203.0.113.66") for n in range(2)]
    leak = [alert("l", host="ws-17", src_ip="10.20.0.27", dst_ip="198.51.100.200", rule="upload")]
    at_jump = UNSURE | {"dst_ip": "10.10.0.15", "host": "srv-jump"}
    unsure = [
        alert("a", src_ip="203.0.113.66", **at_jump),  # the guessing, as the model sees it
        alert("b", src_ip="10.20.0.27", **at_jump),  # a finger slipped at the desk that leaks
        alert("c", src_ip="10.20.0.33", **at_jump),  # and at another one
    ]
    found = {row["alerts_total"]: row for row in declared([*guessing, *leak, *unsure]).rows}
    assert {total: json.loads(row["hosts"]) for total, row in found.items()} == {3: ["srv-jump"], 2: ["ws-17"], 1: []}
    assert set(json.loads(found[1]["addresses"])) == {"10.20.0.33", "10.10.0.15"}
    ties = {one["name"]: one["ties"] for one in json.loads(found[1]["entities"])}
    assert ties == {"10.20.0.33": True, "10.10.0.15": False}


def test_a_sure_model_ties_as_a_rule_does() -> None:
    alerts = [alert(n, src_ip=f"10.20.0.{n}", dst_ip="10.10.0.15", host="srv-jump", **UNSURE) for n in range(3)]
    assert len(ids(declared(alerts))) == 3
    assert len(ids(declared([one | {"confidence": 0.98} for one in alerts]))) == 1


def test_a_strange_log_ties_by_its_host() -> None:
    log = alert("log", host="srv-jump", source="log", rule="log_anomaly", confidence=0.5)
    assert len(ids(declared([log, alert(1, host="srv-jump", src_ip="203.0.113.66")]))) == 1


def test_infrastructure_ties_nothing_as_an_end_of_a_connection_and_is_no_sweep() -> None:
    sure = UNSURE | {"confidence": 0.99}
    calls = [alert(n, src_ip=f"10.20.0.{n}", dst_ip="10.10.0.2", host="dc-01", **sure) for n in range(25)]
    found = declared(calls)
    assert len(ids(found)) == 25
    assert found.facts["shared"] == []
    later = declared(
        [alert("x", at="10:06", src_ip="10.20.0.99", dst_ip="10.10.0.2", host="dc-01", **sure)],
        past((FIRST, found)),
        SECOND,
    )
    assert later.facts["opened"] == 1


def test_what_a_rule_finds_on_infrastructure_itself_ties() -> None:
    found = declared([alert(1, host="dc-01", rule="dump"), alert(2, host="DC-01", rule="account", user="ann")])
    assert len(ids(found)) == 1


def test_a_user_on_more_hosts_than_one_person_has_ties_nothing() -> None:
    assert len(ids(run([alert(n, host=f"h{n}", user="root") for n in range(25)]))) == 25


@pytest.mark.parametrize("name", ["", "-", "localhost", None])
def test_names_of_nobody_tie_nothing(name: str | None) -> None:
    assert len(ids(run([alert(1, host=name, src_ip="127.0.0.1"), alert(2, host=name, src_ip="127.0.0.1")]))) == 2


def test_a_closed_incident_takes_late_alerts_and_what_happens_later_follows_it() -> None:
    one = run([alert(1, at="10:01", host="web-1"), alert(2, at="10:03", host="web-1")])
    closed = {ids(one)[0]: "false_positive"}
    late = run([alert(3, at="10:02", host="web-1")], past((FIRST, one)), SECOND, closed)
    assert ids(late) == ids(one)
    after = run([alert(4, at="10:07", host="web-1")], past((FIRST, one)), SECOND, closed)
    assert ids(after) != ids(one)
    assert after.rows[0]["follows"] == ids(one)[0]


def test_a_clock_that_is_ahead_does_not_keep_an_incident_alive() -> None:
    found = run([alert(1, at="23:59", host="web-1")])
    assert found.rows[0]["last_seen"].isoformat() == "2026-11-20T10:05:00+00:00"
    assert "ahead of their partition" in found.facts["degraded"][0]


def test_the_most_severe_alerts_are_kept_and_the_count_is_whole() -> None:
    alerts = [alert(n, host="web-1", severity_id=1 + (n == 7) * 4) for n in range(50)]
    row = run(alerts, alerts=5).rows[0]
    assert len(json.loads(row["alerts"])) == 5
    assert row["alerts_total"] == 50
    assert "a7" in {one["alert_id"] for one in json.loads(row["alerts"])}
    assert run([alert(1, host="web-1")], past((FIRST, run(alerts, alerts=5))), SECOND).facts["duplicates"] == 1


def test_nothing_but_information_is_noise() -> None:
    assert [
        row["state"] for row in run([alert(1, host="a", severity_id=1), alert(2, host="b", severity_id=2)]).rows
    ] == ["noise", "open"]


def test_independent_witnesses_make_sure() -> None:
    row = run(
        [
            alert(1, host="a", confidence=0.7),
            alert(2, host="a", confidence=0.7),
            alert(3, host="a", rule="r2", confidence=0.7),
        ]
    ).rows[0]
    assert row["confidence"] == pytest.approx(0.91)


def test_no_alerts_are_no_incidents() -> None:
    assert run([]).rows == []


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BatonError, match="column rule is missing"):
        correlate(pd.DataFrame([alert(1)]).drop(columns="rule"), NONE, FIRST, CorrelateOptions())


def test_ten_thousand_alerts_take_seconds() -> None:
    alerts = [
        alert(n, host=f"h{n % 700}", user=f"u{n % 900}", src_ip=f"10.0.{n % 40}.{n % 250}", rule=f"r{n % 9}")
        for n in range(10_000)
    ]
    before = time.process_time()
    found = run(alerts)
    assert time.process_time() - before < 5
    assert sum(row["alerts_total"] for row in found.rows) == 10_000
