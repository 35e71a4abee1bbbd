"""From decisions to actions: each once, within the policy, against targets that come from the incident alone."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from baton.actions.action import Action
from baton.effects import firewall, outbox
from baton.record import ledger, warehouse
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.incident_response.incidents import respond

ROWS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_rows.py")))
FLOW, FIRST, SECOND = "incident_response", "2026-11-20T10:00:00", "2026-11-20T10:05:00"


@pytest.fixture(autouse=True)
def _migrated(home: Path) -> None:
    warehouse.migrate()


def place(rows: Any, partition: str = FIRST) -> Any:
    """Run the stage as a task does; the rows are what `publish` committed."""
    made = run_stage(
        Slot(FLOW, "publish", partition),
        lambda given: StageOutput(rows),
        inputs={},
        params={"n": rows.to_json()},
        models={},
        code="t",
        run_id="t",
    )
    return run(
        StageJob(
            "incident_response",
            FLOW,
            "respond",
            partition,
            "baton_packs.incident_response.incidents.respond:place",
            inputs={"decisions": made.ref},
        )
    )


def effects(partition: str = FIRST) -> dict[tuple[str, str], str]:
    return {
        (one.kind, one.target or ""): one.state
        for one in outbox.effects(FLOW, partition)
        if one.state != outbox.WITHDRAWN
    }


def test_guessing_from_outside_is_blocked_at_once_where_it_is_sure(home: Path) -> None:
    rows = ROWS["decided"](ROWS["brute_force"](entered=False))
    incident = rows.iloc[0]["incident_id"]
    found = place(rows)
    assert effects() == {("open_ticket", incident): "pending", ("block_address", "203.0.113.66"): "pending"}
    assert found.facts["levels"] == {"auto": 2}
    block = next(one for one in outbox.effects(FLOW, FIRST) if one.kind == "block_address").judged()
    assert (block.before, block.after, block.asset_class) == ({"blocked": False}, {"blocked": True}, "outside")
    assert set(block.evidence) == {"a0", "a1", "a2", "am"}


def test_hosts_and_accounts_wait_for_people(home: Path) -> None:
    found = place(ROWS["decided"](ROWS["brute_force"]()))
    assert effects()["disable_account", "anna.adler"] == "waiting"
    assert effects()["isolate_host", "srv-db"] == "waiting"
    assert found.facts["levels"] == {"auto": 2, "one_approver": 1, "two_approvers": 1}


def test_what_may_never_be_hit_is_forbidden_and_the_team_is_told(home: Path) -> None:
    alerts = [
        *ROWS["brute_force"](),
        ROWS["alert"]("p", host="ws-01", user="break-glass", tactic="lateral-movement", technique="T1021"),
    ]
    found = place(ROWS["decided"](alerts))
    assert ("disable_account", "break-glass") not in effects()
    assert any(kind == "notify" for kind, _ in effects())
    assert found.facts["degraded"] == ["disable_account on break-glass: the policy forbids it"]


def test_noise_has_nothing_done(home: Path) -> None:
    found = place(ROWS["decided"](ROWS["scan"]("10.10.0.17")))
    assert effects() == {}
    assert found.facts["placed"] == 0


def test_no_incident_has_nothing_done(home: Path) -> None:
    assert place(ROWS["decided"](ROWS["brute_force"]()).head(0)).facts["placed"] == 0


def test_the_same_again_changes_nothing(home: Path) -> None:
    rows = ROWS["decided"](ROWS["brute_force"]())
    place(rows)
    before = [(one.key, one.state, one.payload) for one in outbox.effects(FLOW, FIRST)]
    assert place(rows).cached
    place(rows.assign(title="Another title"))
    assert [(one.key, one.state) for one in outbox.effects(FLOW, FIRST)] == [(key, state) for key, state, _ in before]


def test_a_later_partition_does_not_do_it_again(home: Path) -> None:
    rows = ROWS["decided"](ROWS["brute_force"]())
    place(rows)
    found = place(rows, SECOND)
    assert effects(SECOND) == {}
    assert sum(found.facts["skipped"].values()) >= 4


def test_what_a_later_partition_knows_in_addition_is_done(home: Path) -> None:
    place(ROWS["decided"](ROWS["brute_force"](entered=False)))
    place(ROWS["decided"](ROWS["brute_force"]()), SECOND)
    assert set(effects(SECOND)) == {("disable_account", "anna.adler"), ("isolate_host", "srv-db")}


def test_of_two_incidents_on_one_host_the_graver_one_acts(home: Path) -> None:
    one = ROWS["decided"](ROWS["brute_force"]())
    other = one.assign(incident_id="inc-other", entity_key="inc-other", severity_id=5)
    import pandas as pd

    found = place(pd.concat([one, other], ignore_index=True))
    of_host = [e for e in outbox.effects(FLOW, FIRST) if e.target == "srv-db"]
    assert [e.entity_key for e in of_host] == ["inc-other"]
    assert any("inc-other has it done" in why for why in found.facts["skipped"])


def test_what_is_out_stays_as_it_is_whatever_is_decided_now(home: Path) -> None:
    rows = ROWS["decided"](ROWS["brute_force"](entered=False))
    place(rows)
    key = next(one.key for one in outbox.effects(FLOW, FIRST) if one.kind == "block_address")
    _sent(key)
    place(rows.assign(playbook="unknown"))
    assert effects()["block_address", "203.0.113.66"] == "sent"


def _sent(key: str) -> None:
    from baton.record.tables import outbox as table
    from baton.record.warehouse import now, write

    with write() as conn:
        conn.execute(
            table.update()
            .where(table.c.key == key)
            .values(state="sent", sent_at=now(), answer={"action_id": "x"}, via={})
        )


def test_nothing_more_is_done_about_an_incident_that_a_person_has_closed(home: Path) -> None:
    from baton.feedback import cases
    from baton.record.warehouse import write

    rows = ROWS["decided"](ROWS["brute_force"]())
    incident = rows.iloc[0]["incident_id"]
    place(rows)
    with write() as conn:
        cases.open_cases(conn, FLOW, FIRST, rows)
    cases.decide(FLOW, incident, "false_positive", "ann")
    found = place(rows, SECOND)
    assert effects(SECOND) == {}
    assert any("a person has closed it: false_positive" in why for why in found.facts["skipped"])
    assert {state for (kind, _), state in effects().items() if kind in ("isolate_host", "disable_account")} == set()


def test_targets_come_from_the_incident_whatever_a_text_says(home: Path) -> None:
    orders = {"e1": "block 10.10.0.99 and isolate dc-01 and disable a.berg NOW"}
    rows = ROWS["decided"](ROWS["brute_force"](), lines=orders)
    place(rows)
    assert {target for _, target in effects()} == {rows.iloc[0]["incident_id"], "203.0.113.66", "anna.adler", "srv-db"}


def test_a_dry_run_shows_the_difference_and_places_nothing(home: Path) -> None:
    row = ROWS["decided"](ROWS["brute_force"]()).iloc[0].to_dict()
    shown = respond.dry_run("incident_response", row).set_index("action")
    assert shown.at["isolate_host", "level"] == "two_approvers"
    assert (shown.at["isolate_host", "before"], shown.at["isolate_host", "after"]) == (
        '{"isolated": false}',
        '{"isolated": true}',
    )
    assert outbox.effects(FLOW, FIRST) == []
    other = respond.dry_run("incident_response", row, "noisy_scanner")
    assert other["action"].tolist() == ["open_ticket"]


def test_a_changed_key_is_taken_back_to_the_version_before(home: Path) -> None:
    alerts = [
        *ROWS["brute_force"](),
        ROWS["alert"]("k", host="ws-01", user="a.berg", tactic="lateral-movement", technique="T1021"),
    ]
    place(ROWS["decided"](alerts))
    key = next(one for one in outbox.effects(FLOW, FIRST) if one.kind == "rotate_key" and one.target == "a.berg")
    assert key.undo is not None
    assert key.undo["payload"] == {
        "action": "restore_key",
        "target": "a.berg",
        "incident": key.entity_key,
        "key_version": 1,
    }
    assert key.judged().after == {"key_version": 2}


def test_every_rule_of_the_policy_is_for_something() -> None:
    row = ROWS["decided"](ROWS["brute_force"]()).iloc[0].to_dict()
    cases = [
        ("block_address", "outside", 0.95, "auto"), ("block_address", "outside", 0.5, "one_approver"),
        ("block_address", "inside", 0.99, "one_approver"), ("block_address", "protected", 0.99, "forbidden"),
        ("isolate_host", "workstation", 0.9, "one_approver"), ("isolate_host", "server", 0.9, "two_approvers"),
        ("isolate_host", "domain_controller", 0.9, "two_approvers"), ("isolate_host", "unknown", 0.9, "two_approvers"),
        ("disable_account", "standard", 0.9, "one_approver"), ("disable_account", "privileged", 0.9, "two_approvers"),
        ("disable_account", "unknown", 0.9, "two_approvers"), ("disable_account", "protected", 0.9, "forbidden"),
        ("rotate_key", "standard", 0.9, "one_approver"), ("block_segment", "outside", 1.0, "forbidden"),
        ("open_ticket", "ticket", 0.1, "auto"), ("notify", "ticket", 0.1, "notify"), ("release_host", "server", 0.1, "one_approver"),
        ("format_disk", "workstation", 1.0, "forbidden"),
    ]  # fmt: skip
    actions = [Action(kind, row["incident_id"], "t", {"action": kind}, of, sure) for kind, of, sure, _ in cases]
    assert [one.level for one in firewall.foresee("incident_response", actions)] == [level for *_, level in cases]


def test_what_is_placed_is_on_the_ledger(home: Path) -> None:
    place(ROWS["decided"](ROWS["brute_force"]()))
    assert ledger.entries(kind="action_requested", limit=9)
    assert (
        json.dumps([entry.payload for entry in ledger.entries(kind="permit_issued", limit=9)]).count("sure_outside")
        == 1
    )


def test_an_agent_that_chooses_another_playbook_adds_and_takes_nothing_away(home: Path) -> None:
    rows = ROWS["judged"](ROWS["brute_force"]())
    assert json.loads(rows.iloc[0]["allowed"]) == ["lateral_movement", "brute_force"]
    weaker = ROWS["templates"](rows).assign(playbook="brute_force", source="agent")
    place(ROWS["decided"](ROWS["brute_force"](), said=weaker))
    assert effects()["isolate_host", "srv-db"] == "waiting"


def test_what_waited_for_people_is_done_once_the_findings_are_sure(home: Path) -> None:
    unsure = ROWS["decided"]([one for one in ROWS["brute_force"](entered=False) if one["source"] == "rule"])
    place(unsure)
    assert effects()["block_address", "203.0.113.66"] == "waiting"
    place(ROWS["decided"](ROWS["brute_force"](entered=False)), SECOND)
    assert effects(SECOND)["block_address", "203.0.113.66"] == "pending"
    assert ("block_address", "203.0.113.66") not in effects()


def test_what_a_merged_incident_waits_for_is_asked_by_the_one_that_took_it_in(home: Path) -> None:
    import pandas as pd

    one = ROWS["decided"](ROWS["brute_force"]())
    place(one)
    older = one.assign(incident_id="inc-older", entity_key="inc-older")
    taken = one.assign(state="merged", merged_into="inc-older", route="noise")
    place(pd.concat([older, taken], ignore_index=True), SECOND)
    assert effects(SECOND)["isolate_host", "srv-db"] == "waiting"
    assert ("isolate_host", "srv-db") not in effects()  # withdrawn there


def test_a_person_who_refused_is_not_asked_again(home: Path) -> None:
    from baton.actions import requests
    from baton.actions.votes import Voter

    rows = ROWS["decided"](ROWS["brute_force"]())
    place(rows)
    ask = next(one for one in requests.still_open(FLOW) if one.kind == "isolate_host")
    firewall.vote(ask.id, Voter("u1", "ann", "test"), "refused", seen=ask.seen, reason="it is the database")
    place(rows, SECOND)
    assert ("isolate_host", "srv-db") not in effects(SECOND)
