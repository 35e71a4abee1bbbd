"""The simulated hour: the same for a seed, true to its contracts, with attacks that can be found and not too easily."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.formats import read_bytes
from baton.packs.pack import load_pack
from baton.packs.prepared import json_lines
from baton_demo.incident_response import company, simulate
from baton_demo.incident_response.data import SEEDS
from baton_demo.incident_response.simulation import attacks, features, history, hour
from baton_demo.incident_response.simulation.rows import STEP, daily

PARTITION = "2026-11-28T00:10:00"
PYTHON = {"int": int, "float": float, "str": str}


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return hour.events(SEEDS["hour"])


@pytest.fixture(scope="module")
def connections() -> pd.DataFrame:
    return hour.connections(SEEDS["hour"])


@pytest.fixture(scope="module")
def known() -> pd.DataFrame:
    return history.connections(SEEDS["connections"])


def written(frames: list[pd.DataFrame]) -> list[bytes]:
    return [json_lines(frame) for frame in frames]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(events: pd.DataFrame, connections: pd.DataFrame) -> None:
    first = written(hour.deliveries(events, 12))
    assert written(hour.deliveries(hour.events(SEEDS["hour"]), 12)) == first
    assert json_lines(hour.connections(SEEDS["hour"])) == json_lines(connections)
    assert written(hour.deliveries(hour.events(99), 12)) != first


def test_there_is_little_of_it(events: pd.DataFrame, connections: pd.DataFrame) -> None:
    size = sum(map(len, written([*hour.deliveries(events, 12), *hour.connections_by_slot(connections)])))
    assert size < 12_000_000
    assert min(map(len, hour.deliveries(events, 12))) > 150
    assert min(map(len, hour.connections_by_slot(connections))) > 150


def test_attacks_are_a_part_and_lie_where_the_story_says(events: pd.DataFrame, connections: pd.DataFrame) -> None:
    share = events["attack"].ne("").mean()
    assert 0.1 < share < 0.35
    kinds = {attacks.BRUTE_FORCE, attacks.LATERAL_MOVEMENT, attacks.EXFILTRATION, attacks.SCANNER}
    assert set(events["attack"]) == set(connections["attack"]) == {"", *kinds}
    guessed = events[events["attack"] == attacks.BRUTE_FORCE]
    assert set(guessed["src_endpoint_ip"]) == {company.ATTACKER}
    failures = guessed[(guessed["activity_id"] == 1) & (guessed["status_id"] == 2)]
    entered = guessed[(guessed["activity_id"] == 1) & (guessed["status_id"] == 1)]
    assert len(failures) > 150
    assert entered["user_name"].tolist() == [company.SERVICE_ACCOUNT]
    assert failures["seconds"].max() < entered["seconds"].iloc[0]
    moved = events[events["attack"] == attacks.LATERAL_MOVEMENT]
    assert {company.DATABASE, company.FILES} <= set(moved["device_hostname"])
    assert moved["seconds"].min() > entered["seconds"].iloc[0]
    harmless = connections[connections["attack"] == attacks.SCANNER]
    assert set(harmless["src_endpoint_ip"]) == {company.hosts()[company.SCANNER].address}
    assert harmless["is_attack"].sum() == 0
    assert connections.loc[connections["attack"].isin(kinds - {attacks.SCANNER}), "is_attack"].all()


def test_the_scanner_keeps_away_from_hosts_of_the_other_attacks(events: pd.DataFrame) -> None:
    """Or the story could not tell whether the correlation is right."""
    by_kind = events[events["attack"] != ""].groupby("attack")["device_hostname"].agg(set)
    others = by_kind.drop(attacks.SCANNER)
    assert not by_kind[attacks.SCANNER] & set.union(*others)
    assert not by_kind[attacks.EXFILTRATION] & by_kind[attacks.LATERAL_MOVEMENT]


@pytest.mark.parametrize("source", ["events", "connections"])
def test_rows_are_as_their_contract_says(source: str, events: pd.DataFrame, connections: pd.DataFrame) -> None:
    frame = {"events": events, "connections": connections}[source]
    columns: dict[str, Any] = load_pack("incident_response").contract(source).columns
    assert set(columns) - {"time"} <= set(frame.columns)
    for name, column in columns.items():
        if name == "time":
            continue
        values = frame[name]
        assert column.nullable or values.notna().all(), name
        kind = PYTHON[column.type]
        found = {type(value) for value in values.dropna().tolist()}
        assert found <= {kind}, (name, found)
    assert frame["metadata_uid"].is_unique
    assert frame["seconds"].between(0, hour.HOUR, inclusive="left").all()


def test_shares_are_shares(connections: pd.DataFrame, known: pd.DataFrame) -> None:
    for frame in (connections, known):
        rates = frame[[name for name in frame if str(name).endswith("_rate")]]
        assert rates.shape[1] == 15
        assert rates.min().min() >= 0
        assert rates.max().max() <= 1
        assert frame[["count", "srv_count", "dst_host_count", "dst_host_srv_count"]].min().min() >= 1
        assert frame["dst_host_count"].max() <= 255


def test_traffic_features_are_counted_as_they_are_defined() -> None:
    rows = [
        (0.0, "a", "x", 1, "http", "SF"), (0.5, "b", "x", 2, "http", "S0"), (1.0, "a", "x", 1, "ssh", "REJ"),
        (1.5, "a", "y", 3, "http", "SF"), (9.0, "a", "x", 1, "http", "SF"),
    ]  # fmt: skip
    names = ["seconds", "src_endpoint_ip", "dst_endpoint_ip", "src_port", "service", "flag"]
    found = features.with_traffic_features(pd.DataFrame(rows, columns=names))
    third, fourth, last = (found.iloc[number] for number in (2, 3, 4))
    assert (third["count"], third["srv_count"]) == (3, 1)
    assert (third["serror_rate"], third["rerror_rate"], third["srv_rerror_rate"]) == (0.33, 0.33, 1.0)
    assert (third["same_srv_rate"], third["diff_srv_rate"]) == (0.33, 0.67)
    assert (fourth["count"], fourth["srv_count"], fourth["srv_diff_host_rate"]) == (1, 3, 0.67)
    assert (last["count"], last["srv_count"]) == (1, 1), "two seconds are over"
    assert (last["dst_host_count"], last["dst_host_srv_count"], last["dst_host_same_srv_rate"]) == (4, 3, 0.75)
    assert (last["dst_host_same_src_port_rate"], last["dst_host_srv_diff_host_rate"]) == (0.75, 0.25)
    assert (last["dst_host_serror_rate"], last["dst_host_srv_serror_rate"], last["dst_host_rerror_rate"]) == (
        0.25,
        0.33,
        0.25,
    )


def test_every_event_arrives_some_late_some_twice_and_one_clock_is_ahead(events: pd.DataFrame) -> None:
    parts = hour.deliveries(events, SEEDS["hour"])
    arrived = pd.concat([part.assign(slot=number) for number, part in enumerate(parts)], ignore_index=True)
    assert set(arrived["metadata_uid"]) == set(events["metadata_uid"])
    assert not any(part["metadata_uid"].duplicated().any() for part in parts[1:3])
    first = arrived.drop_duplicates("metadata_uid").merge(events[["metadata_uid", "seconds"]], on="metadata_uid")
    happened = first["seconds_y"] // STEP
    assert 20 < (first["slot"] > happened).sum() < 90
    again = arrived[arrived["metadata_uid"].duplicated()]
    assert 20 < len(again) < 90
    ahead = first[first["seconds_x"] >= (first["slot"] + 1) * STEP]
    assert 2 < len(ahead) < 40
    assert set(ahead["device_hostname"]) == {hour.AHEAD}


def test_the_day_has_a_shape() -> None:
    night, morning, noon, evening = (daily(3600.0 * at) for at in (3, 8, 12.5, 19))
    assert night < 0.15 < morning < noon
    assert noon > 0.95
    assert evening < 0.5


def test_attacks_can_be_learnt_and_not_perfectly(known: pd.DataFrame, connections: pd.DataFrame) -> None:
    from lightgbm import LGBMClassifier
    from sklearn.metrics import roc_auc_score

    assert 0.1 < known["is_attack"].mean() < 0.35
    assert {"flood", "sweep", "guess", "leak", "tunnel", "takeover"} <= set(known["attack"])
    names = [name for name in known.columns if name not in (*hour.SENSOR, "attack", "is_attack")]
    frame = known[names].astype(dict.fromkeys(("protocol_type", "service", "flag"), "category"))
    held = np.arange(len(frame)) % 4 == 0
    model = LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1).fit(frame[~held], known["is_attack"][~held])
    auc = roc_auc_score(known["is_attack"][held], model.predict_proba(frame[held])[:, 1])
    assert 0.9 < auc < 0.995
    seen = connections[names].copy()
    for name in ("protocol_type", "service", "flag"):
        seen[name] = pd.Categorical(seen[name], categories=frame[name].cat.categories)
    told = connections.assign(score=model.predict_proba(seen)[:, 1])
    found = told[told["is_attack"] == 1].groupby("attack")["score"].median()
    assert (found > 0.5).all(), found
    assert told.loc[told["attack"] == "", "score"].gt(0.5).mean() < 0.05


def test_lines_of_the_day_before_are_mostly_ordinary() -> None:
    lines = history.log_events(SEEDS["logs"])
    assert lines["raw_data"].notna().all()
    windows = lines.groupby(["device_hostname", lines["seconds"] // STEP])["is_attack"].max()
    assert len(windows) > 1_000
    assert 0.01 < windows.mean() < 0.08
    assert lines["seconds"].between(-86_400, 0, inclusive="left").all()


def test_bad_rows_cost_themselves_and_nothing_else(events: pd.DataFrame) -> None:
    frame = hour.deliveries(events, 12)[2]
    start = pd.Timestamp(PARTITION, tz="UTC")
    laid = frame.assign(time=start + pd.to_timedelta(frame["seconds"] % STEP, unit="s"))
    content, planted = simulate.bad_events(laid, PARTITION, 5)
    assert simulate.bad_events(laid, PARTITION, 5)[0] == content
    read = read_bytes(content, "delivery.jsonl", "json")
    assert len(read) == len(frame) + len(planted)
    assert read["_problem"].iloc[: len(frame)].isna().all()
    tail = read.iloc[len(frame) :].reset_index(drop=True)
    assert tail.loc[planted["kind"] == "half", "_problem"].notna().all()
    assert tail.loc[planted["kind"] == "binary", "_problem"].notna().all()
    assert tail.loc[planted["kind"] == "long line", "_problem"].str.startswith("too_long").all()
    assert set(planted["kind"]) == {"long line", "binary", "clock ahead", "clock behind", "class", "type", "half"}


def test_a_year_later_other_services_are_used(connections: pd.DataFrame) -> None:
    partitions = [f"2026-11-28T00:{minute:02d}:00" for minute in (0, 5)]
    later = simulate.changed_connections(partitions, SEEDS["later"])
    assert list(later) == partitions
    frame = pd.concat(later.values())
    assert frame["metadata_uid"].is_unique
    assert frame["service"].eq("http_8001").mean() > 0.15
    assert not connections["service"].eq("http_8001").any()
    assert frame["time"].str.startswith(("2026-11-28T00:0",)).all()


def test_the_company_is_as_large_as_it_says() -> None:
    hosts = company.hosts().values()
    classes = pd.Series([host.asset_class for host in hosts]).value_counts().to_dict()
    assert classes == {company.WORKSTATION: 40, company.SERVER: 8, company.DOMAIN_CONTROLLER: 1}
    assert len({host.address for host in hosts}) == len(hosts)
    assert len(company.users()) == company.USERS
    assert sum(user.privileged for user in company.users().values()) == 3
