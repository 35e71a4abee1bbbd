"""Sigma rules: read, mapped, run; what each finds and does not; what is a mistake and where."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.errors import BatonError, SpecError
from baton_packs.incident_response import HERE
from baton_packs.incident_response.checks import problems
from baton_packs.incident_response.detection import engine, stages
from baton_packs.incident_response.detection.alerts import COLUMNS, rule_alerts
from baton_packs.incident_response.detection.matched import carried
from baton_packs.incident_response.detection.rules import load_rules, read_rules
from baton_packs.incident_response.detection.stages import RULES, detect
from baton_packs.incident_response.detection.taxonomy import CARRIED, attack_of


def _bench() -> Any:
    path = Path(__file__).parents[4] / "tests" / "bench" / "bench_sigma.py"
    spec = importlib.util.spec_from_file_location("bench_sigma", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_sigma"] = module
    spec.loader.exec_module(module)
    return module


BENCH = _bench()
EVENTS = BENCH.events_module()


def rule(tmp_path: Path, text: str) -> tuple[list[Any], list[Any]]:
    path = tmp_path / "rule.yml"
    path.write_text(text, encoding="utf-8")
    return read_rules([path])


def test_public_style_rules_find_what_they_must_and_nothing_else() -> None:
    assert BENCH.public_style() == []


def test_each_rule_of_the_pack_finds_what_it_must_and_nothing_else() -> None:
    count, wrong = BENCH.of_the_pack()
    assert wrong == []
    assert count >= 15


def test_what_is_not_supported_is_a_mistake_with_its_line() -> None:
    assert BENCH.not_supported() == []


def test_the_packs_rules_have_no_mistake_and_say_what_they_are() -> None:
    assert list(problems(HERE)) == []
    for one in load_rules(RULES):
        assert one.attack.technique, one.title
        assert one.attack.tactic, one.title
        assert one.attack.unknown == (), one.title


def test_a_field_that_events_lack_is_noted_with_its_line(tmp_path: Path) -> None:
    text = BENCH.HEAD + BENCH.PROCESS + "  s:\n    Image: a\n    \n  f:\n    ParentImage: b\n  condition: s and not f\n"
    rules, found = rule(tmp_path, text)
    assert len(rules) == 1
    assert [(one.line, one.note) for one in found] == [(10, True)]
    assert "do not carry `ParentImage`" in found[0].message


def test_a_second_rule_of_a_file_has_the_lines_of_the_file(tmp_path: Path) -> None:
    good = BENCH.HEAD + BENCH.PROCESS + "  s: {CommandLine: x}\n  condition: s\n"
    rules, found = rule(tmp_path, good + "---\n" + good.replace("6f9c", "5f9c").replace("CommandLine", "Nosuch"))
    assert len(rules) == 1
    assert [one.line for one in found] == [14]


def test_an_id_given_twice_is_a_mistake(tmp_path: Path) -> None:
    good = BENCH.HEAD + BENCH.PROCESS + "  s: {CommandLine: x}\n  condition: s\n"
    rules, found = rule(tmp_path, good + "---\n" + good)
    assert len(rules) == 1
    assert ["another rule" in one.message for one in found] == [True]


def test_a_mistake_stops_the_run_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("title: [\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"bad\.yml:\d+: not YAML"):
        load_rules(tmp_path)


def test_rules_are_read_again_when_a_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "one.yml"
    path.write_text(BENCH.HEAD + BENCH.PROCESS + "  s: {CommandLine: x}\n  condition: s\n", encoding="utf-8")
    assert len(load_rules(tmp_path)) == 1
    (tmp_path / "two.yml").write_text(path.read_text().replace("6f9c", "5f9c"), encoding="utf-8")
    assert len(load_rules(tmp_path)) == 2


def test_a_correlation_that_counts_itself_is_a_mistake(tmp_path: Path) -> None:
    text = BENCH.HEAD + "name: me\ncorrelation:\n  type: event_count\n  rules: [me]\n  group-by: [src_ip]\n"
    rules, found = rule(tmp_path, text + "  timespan: 5m\n  condition: {gte: 5}\n")
    assert rules == []
    assert "counts a rule that has a mistake, or itself" in found[0].message


def test_alerts_are_the_same_in_every_run_and_whatever_the_order() -> None:
    events = EVENTS.frame(
        [{"ssh": [2, "anna", "203.0.113.9"], "times": 9}, {"ssh": [1, "root", "203.0.113.9"], "after": 30}]
    )
    once, again = detect(events), detect(events.sample(frac=1, random_state=3).reset_index(drop=True))
    pd.testing.assert_frame_equal(once, again)
    assert list(once.columns) == list(COLUMNS)
    assert once["alert_id"].is_unique
    worst = once.sort_values("severity_id").iloc[-1]
    assert (worst["title"], worst["severity_id"], worst["technique"], worst["tactic"]) == (
        "Password guessed over SSH, then logged in", 5, "T1078", "initial-access",
    )  # fmt: skip
    assert (worst["event_uid"], worst["host"], worst["user"], worst["src_ip"]) == (
        "e9",
        "host-1",
        "root",
        "203.0.113.9",
    )
    assert "source address 203.0.113.9 within 10 minutes" in json.loads(worst["reasons"])[0]


def test_the_same_event_twice_is_one_alert() -> None:
    events = EVENTS.frame([{"ssh": [1, "root", "10.0.0.9"]}])
    assert len(detect(pd.concat([events, events], ignore_index=True))) == 1


def test_a_burst_is_one_alert_and_a_second_burst_another() -> None:
    burst = {"ssh": [2, "anna", "203.0.113.9"], "times": 40}
    events = EVENTS.frame([burst, {**burst, "after": 2000}])
    found = rule_alerts(events, load_rules(RULES))
    assert (found["title"] == "Passwords guessed over SSH").sum() == 2


SSH = [one for one in load_rules(RULES) if "SSH" in one.title]


def spread(*counts: int) -> list[pd.DataFrame]:
    """Partitions of five minutes with failed log-ins, one a second: in the first's last minute, from the others' start on."""
    parts = []
    for number, count in enumerate(counts):
        after = 300 * number if number else 240
        events = EVENTS.frame([{"ssh": [2, "anna", "203.0.113.9"], "times": count}])
        uids = [f"p{number}-{uid}" for uid in events["metadata_uid"]]
        parts.append(events.assign(metadata_uid=uids, time=events["time"] + pd.Timedelta(seconds=after)))
    return parts


def found(events: pd.DataFrame, *parts: pd.DataFrame) -> list[str]:
    """Titles of what is found in events, with what the partitions before them carried."""
    before = pd.concat([carried(part, SSH) for part in parts], ignore_index=True) if parts else None
    return list(rule_alerts(events, SSH, before)["title"])


def test_what_is_spread_over_partitions_is_found_once_where_it_becomes_true() -> None:
    first, second, third = spread(5, 4, 4)
    assert (found(first), found(second)) == ([], [])
    alerts = detect(second, stages.carried(first))
    assert alerts["title"].tolist() == ["Passwords guessed over SSH"]
    assert alerts["event_uid"].tolist() == ["p1-e2"]  # the eighth
    assert "8 events of source address 203.0.113.9" in json.loads(alerts["reasons"][0])[0]
    assert "Events behind it: p0-e0, p0-e1" in json.loads(alerts["reasons"][0])[2]
    assert found(second.assign(src_endpoint_ip="203.0.113.8"), first) == []
    assert found(third, *spread(5, 60)) == []  # goes on: reported already
    got_in = third.assign(status_id=pd.array([1] * 4, dtype="Int64"))
    assert found(got_in, *spread(5, 60)) == ["Password guessed over SSH, then logged in"]
    assert found(got_in) == []


def test_an_event_delivered_again_in_the_next_partition_counts_once_and_another_of_its_name_for_itself() -> None:
    first, second = spread(5, 4)
    again = pd.concat([second.iloc[:2], first], ignore_index=True)
    assert found(again, first) == []
    assert len(found(again.assign(user_name=["anna"] * 2 + [f"user{n}" for n in range(5)]), first)) == 1
    assert len(found(second, first, first)) == 1


def test_different_values_are_counted_over_partitions() -> None:
    first = EVENTS.frame([{"net": ["10.0.0.9", "{n}"], "times": 12}])
    names = [f"later-{uid}" for uid in first["metadata_uid"]]
    second = first.assign(metadata_uid=names, time=first["time"] + pd.Timedelta(seconds=60))
    others = second.assign(dst_endpoint_port=second["dst_endpoint_port"] + 100)
    assert detect(others).empty
    assert detect(others, stages.carried(first))["title"].tolist() == ["Many ports of a host tried"]
    assert detect(second, stages.carried(first)).empty  # the same twelve ports twice


def test_a_partition_carries_what_may_still_count_and_no_more() -> None:
    (events,) = spread(300)
    assert len(carried(events, SSH)) == 9  # eight make it true, with any more of them
    got_in = events.assign(status_id=pd.array([1] * 300, dtype="Int64"))
    assert carried(got_in, SSH).empty  # a success completes, it begins nothing
    old = events.assign(time=events["time"] - pd.Timedelta("2h"), src_endpoint_ip="203.0.113.7")
    assert len(carried(pd.concat([old, events]), SSH)) == 9
    empty = carried(EVENTS.frame([]), SSH)
    assert list(empty.columns) == list(CARRIED)
    assert found(EVENTS.frame([]), EVENTS.frame([]), events) == []


def test_a_rule_that_reaches_further_back_than_detection_looks_is_a_mistake(tmp_path: Path) -> None:
    single = BENCH.HEAD + "name: one\n" + BENCH.PROCESS + "  s: {CommandLine: x}\n  condition: s\n"
    counts = (
        BENCH.HEAD.replace("6f9c", "5f9c") + "correlation:\n  type: event_count\n  rules: [one]\n  group-by: [User]\n"
    )
    rules, found = rule(tmp_path, f"{single}---\n{counts}  timespan: 2h\n  condition: {{gte: 5}}\n")
    assert len(rules) == 1
    assert ["further back than the 60 minutes" in one.message for one in found] == [True]
    assert rule(tmp_path, f"{single}---\n{counts}  timespan: 1h\n  condition: {{gte: 5}}\n")[1] == []


def test_no_events_give_no_alerts_with_the_columns() -> None:
    found = detect(EVENTS.frame([]))
    assert list(found.columns) == list(COLUMNS)
    assert len(found) == 0
    assert str(found["time"].dtype) == "datetime64[ns, UTC]"


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_csv('/etc/hostname')", "COPY (SELECT 1) TO '/tmp/baton-test.csv'", "ATTACH '/tmp/baton-test.db'",
     "SET enable_external_access = true", "SET memory_limit = '90GB'", "INSTALL httpfs"],
)  # fmt: skip
def test_the_database_reaches_nothing_outside(sql: str) -> None:
    import duckdb

    with engine.connect() as connection, pytest.raises(duckdb.Error):
        connection.execute(sql)


def test_a_text_of_an_event_is_never_sql() -> None:
    events = EVENTS.frame([{"p": ["/bin/x", "'); DROP TABLE events; --"]}, {"p": ["/usr/sbin/ufw", "ufw disable"]}])
    assert detect(events)["event_uid"].tolist() == ["e1"]


def test_rules_that_take_too_long_are_stopped() -> None:
    events = EVENTS.frame([{"p": ["/x", "ab" * 4000], "times": 300}])
    with pytest.raises(BatonError, match=r"\d+ rules over 300 events took longer than 0.0001 s"):
        engine.matches(events, [one for one in load_rules(RULES) if one.correlation is None], seconds=0.0001)


@pytest.mark.parametrize(
    ("tags", "technique", "tactic", "unknown"),
    [
        (["attack.t1110", "attack.t1110.001", "attack.credential_access"], "T1110.001", "credential-access", ()),
        (["attack.execution", "attack.g0007", "attack.s0002", "cve.2021.1"], None, "execution", ()),
        (["attack.nosuch"], None, None, ("nosuch",)),
    ],
)
def test_tags(tags: list[str], technique: str | None, tactic: str | None, unknown: tuple[str, ...]) -> None:
    found = attack_of(tags)
    assert (found.technique, found.tactic, found.unknown) == (technique, tactic, unknown)
