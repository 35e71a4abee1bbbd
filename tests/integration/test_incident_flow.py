"""Incident response by its stages, on the simulated hour, with the real security services: detect, decide, act, look, undo."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from baton.actions import requests
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall
from baton.feedback import cases
from baton.record import warehouse
from baton.settings import settings
from baton_demo.incident_response import company, simulate
from baton_demo.incident_response.data import SEEDS
from baton_demo.incident_response.simulation import hour

F: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_flow.py")))
FLOW = F["FLOW"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[int, dict[str, Any]]]]:
    """The hour's first eight partitions, one after the other, without people."""
    patch = pytest.MonkeyPatch()
    patch.setenv("BATON_HOME", str(tmp_path_factory.mktemp("home")))
    settings.cache_clear()
    warehouse.migrate()
    with F["services"](tmp_path_factory.mktemp("security"), patch) as client:
        runs = {}
        for slot in range(8):
            F["deliver"](slot)
            runs[slot] = F["through"](F["partition_of"](slot))
        yield client, runs
    warehouse.engine().dispose()
    patch.undo()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _home_of_the_story(story: Any) -> None:
    settings.cache_clear()


def all_rows(runs: dict[int, dict[str, Any]], stage: str) -> pd.DataFrame:
    return pd.concat([F["rows"](run[stage]).assign(slot=slot) for slot, run in runs.items()], ignore_index=True)


def test_the_guessing_from_outside_is_one_incident_over_all_its_partitions(story: Any) -> None:
    _, runs = story
    decided = all_rows(runs, "decide")
    attack = decided[decided["addresses"].str.contains(company.ATTACKER) & (decided["route"] == "contain")]
    assert attack["incident_id"].nunique() == 1
    assert attack["slot"].nunique() >= 3
    last = attack.iloc[-1]
    assert last["severity_id"] >= 4
    assert {company.JUMP, company.DATABASE} <= set(json.loads(last["hosts"]))


def test_the_attacker_is_blocked_once_and_it_holds(story: Any) -> None:
    client, runs = story
    done = [one for one in client.get("/firewall/actions").json()["actions"] if one["target"] == company.ATTACKER]
    assert [one["action"] for one in done] == ["block_address"]
    assert client.get(f"/firewall/state/{company.ATTACKER}").json()["blocked"]
    verified = all_rows(runs, "verify")
    assert set(verified.loc[verified["target"] == company.ATTACKER, "holds"]) - {""} == {"yes"}  # first it waited


def test_hosts_and_accounts_wait_for_people(story: Any) -> None:
    client, _ = story
    waiting = {(one.kind, one.target): one.level for one in requests.still_open(FLOW)}
    assert waiting["isolate_host", company.DATABASE] == "two_approvers"
    assert not client.get(f"/directory/hosts/{company.DATABASE}").json()["isolated"]


def test_what_the_model_is_wrong_about_glues_nothing_together(story: Any) -> None:
    _, runs = story
    last = all_rows(runs, "decide").drop_duplicates("incident_id", keep="last")
    last = last[last["state"] != "merged"]
    wrong = last[last["entities"].str.contains("10.20.0.") & ~last["alerts"].str.contains('"source": "rule"')]
    wrong = wrong[~wrong["entities"].str.contains('"sweep"')]
    assert set(wrong["route"]) == {"watch"}
    for row in wrong.to_dict("records"):  # who did it is one desk, and nothing else ties
        assert len([one for one in json.loads(row["entities"]) if one["ties"]]) == 1
        assert json.loads(row["hosts"]) == []
    attacks = last[last["alerts"].str.contains('"source": "rule"') & (last["route"] == "contain")]
    assert not attacks["hosts"].str.contains(company.CONTROLLER).any()
    guessing = attacks[attacks["addresses"].str.contains(company.ATTACKER)].iloc[0]
    assert not attacks.loc[attacks["playbook"] == "exfiltration", "incident_id"].eq(guessing["incident_id"]).any()


def test_our_own_scanner_is_noise_and_glues_nothing_together(story: Any) -> None:
    _, runs = story
    address = company.hosts()[company.SCANNER].address
    decided = all_rows(runs, "decide")
    scans = decided[decided["entities"].str.contains('"sweep"')]
    assert set(scans["route"]) == {"noise"}
    assert scans["incident_id"].nunique() == 1
    others = decided[~decided["entities"].str.contains('"sweep"')]
    assert not others["addresses"].str.contains(address).any()


def test_what_leaks_is_an_incident_of_its_own(story: Any) -> None:
    _, runs = story
    decided = all_rows(runs, "decide")
    leak = decided[decided["playbook"] == "exfiltration"]
    assert len(leak)
    assert leak["hosts"].str.contains("ws-17").all()


def test_the_same_run_again_computes_nothing(story: Any) -> None:
    _, runs = story
    last = max(runs)
    again = F["through"](F["partition_of"](last))
    looked = {name: result for name, result in again.items() if not result.cached}
    assert looked.keys() == {name for name, result in runs[last].items() if result.facts.get("sent")}
    assert {result.facts["sent"] for result in looked.values()} <= {0}, (
        "what was sent is looked at once more, and not sent"
    )
    assert all(result.cached for result in F["through"](F["partition_of"](last)).values())


def test_two_people_agree_and_the_host_is_isolated_then_released(story: Any) -> None:
    client, runs = story
    ask = next(one for one in requests.still_open(FLOW) if (one.kind, one.target) == ("isolate_host", company.DATABASE))
    assert ask.action["before"] == {"isolated": False}
    assert ask.action["after"] == {"isolated": True}
    with pytest.raises(VoteRefused):  # the flow asked; it cannot agree with itself
        firewall.vote(ask.id, Voter(ask.requester, "flow", "test"), "approved", seen=ask.seen)
    firewall.vote(ask.id, Voter("u1", "ann", "test"), "approved", seen=ask.seen)
    with pytest.raises(VoteRefused):
        firewall.vote(ask.id, Voter("u1", "ann", "test"), "approved", seen=ask.seen)
    firewall.vote(ask.id, Voter("u2", "bob", "test"), "approved", seen=ask.seen)
    slot = next(slot for slot in runs if F["partition_of"](slot) == ask.partition)
    done = F["send"](ask.partition, runs[slot]["respond"], "_approved")
    assert client.get(f"/directory/hosts/{company.DATABASE}").json()["isolated"]
    verified = F["rows"](done["verify"])
    assert set(verified.loc[verified["target"] == company.DATABASE, "holds"]) == {"yes"}
    undone = firewall.take_back(ask.effect, "u3", "it was the nightly job")
    assert undone.state == "waiting"


def test_a_closed_incidents_requests_are_withdrawn_and_cannot_be_approved(story: Any) -> None:
    ask = next(one for one in requests.still_open(FLOW) if not one.undoes and one.kind != "isolate_host")
    cases.decide(FLOW, ask.entity_key, "benign", "ann")
    with pytest.raises(VoteRefused):
        firewall.vote(ask.id, Voter("u1", "ann", "test"), "approved", seen=ask.seen)
    assert all(one.undoes or one.entity_key != ask.entity_key for one in requests.still_open(FLOW))


@pytest.mark.parametrize("part", ["reputation", "assets", "users", "firewall", "directory"])
@pytest.mark.parametrize("mode", ["down", "wrong", "redirect"])
def test_a_part_that_is_broken_stops_no_decision(story: Any, part: str, mode: str) -> None:
    client, runs = story
    slot = 1
    found, partition = (
        runs[slot],
        f"2026-11-21T1{['down', 'wrong', 'redirect'].index(mode)}:{5 * ['reputation', 'assets', 'users', 'firewall', 'directory'].index(part):02d}:00",
    )
    client.post("/faults", json={"part": part, "mode": mode, "seconds": 1}).raise_for_status()
    try:
        moved = F["rows"](found["alerts"]).assign(
            time=lambda frame: (
                frame["time"] + (pd.Timestamp(partition, tz="UTC") - pd.Timestamp(F["partition_of"](slot), tz="UTC"))
            )
        )
        moved = moved.assign(alert_id=[f"{part}-{mode}-{one}" for one in moved["alert_id"]])
        decided = F["decide"](partition, found["events"], F["given"]("alerts", partition, moved))
    finally:
        client.post("/faults", json={"part": part, "mode": "none"}).raise_for_status()
    before, after = F["rows"](found["decide"]), F["rows"](decided["decide"])
    assert after["severity_id"].max() >= min(before["severity_id"].max(), 3)
    assert "contain" in set(after["route"])


def test_bad_rows_wait_in_quarantine_and_the_others_go_on(story: Any) -> None:
    partition = "2026-11-22T10:00:00"
    frame = hour.deliveries(hour.events(SEEDS["hour"]), 12)[1]
    times = pd.Timestamp(partition, tz="UTC") + pd.to_timedelta(frame["seconds"] % 300, unit="s")
    named = [f"bad-day-{uid}" for uid in frame["metadata_uid"]]  # else they would be old events, delivered again
    content, planted = simulate.bad_events(frame.assign(time=times, metadata_uid=named), partition, 7)
    simulate.deliver("events", partition, content)
    found = F["detect"](partition)
    assert found["events"].facts["status"] == "quarantined"
    kept = F["rows"](found["events"])
    assert not set(
        planted.loc[planted["kind"].isin(["clock ahead", "clock behind", "class", "type"]), "metadata_uid"]
    ) & set(kept["metadata_uid"])
    assert kept["raw_data"].dropna().str.len().max() <= 8_192
    decided = F["decide"](partition, found["events"], found["alerts"])
    assert len(F["rows"](decided["decide"]))


def test_a_firewall_that_is_down_gets_it_with_the_next_partition_and_once(story: Any) -> None:
    client, _ = story
    target, first, second = "203.0.113.77", "2026-11-23T10:00:00", "2026-11-23T10:05:00"
    placed = {one: F["given"]("respond", one, pd.DataFrame({"n": [1]})) for one in (first, second)}
    action = Action(
        "block_address",
        "inc-down",
        target,
        {"action": "block_address", "target": target},
        "outside",
        0.95,
        evidence=["a"],
    )
    with warehouse.write() as conn:
        firewall.place(conn, "incident_response", FLOW, first, [action])
    client.post("/faults", json={"part": "firewall", "mode": "down"}).raise_for_status()
    try:
        done = F["send"](first, placed[first])
    finally:
        client.post("/faults", json={"part": "firewall", "mode": "none"}).raise_for_status()
    assert "not yet" in " ".join(done["firewall"].facts["degraded"])
    assert F["send"](second, placed[second])["firewall"].facts["behind"] == 1
    assert [one["target"] for one in client.get("/firewall/actions").json()["actions"]].count(target) == 1
    F["send"](second, placed[second])
    assert [one["target"] for one in client.get("/firewall/actions").json()["actions"]].count(target) == 1
