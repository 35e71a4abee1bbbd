"""Incident response on the really started Airflow, MLflow and security services: the demo's hour, then what it left."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from desks import Room, room
from sqlalchemy import select

from baton.actions import requests
from baton.actions.votes import Voter, VoteRefused
from baton.data.partitions import format_key, parse_key
from baton.effects import firewall, outbox
from baton.errors import BatonError
from baton.quarantine.records import accounting
from baton.record import ledger, tables
from baton.record.warehouse import read as connection
from baton.services.supervisor import Services
from baton.stages.slots import Slot, head, history
from baton_demo.incident_response import company, story
from baton_demo.incident_response.people import OverHttp, forms, words
from baton_demo.incident_response.playbook import FIRST, FLOW, SECOND, UNDO, IncidentResponsePlaybook, slots
from baton_demo.incident_response.simulation import attacks
from baton_demo.story import Demo

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def people(services: Services, request: pytest.FixtureRequest) -> Iterator[Room]:
    """Where the people sit who vote: a real browser each, where there is one."""
    with room(services) as found:
        where = "in Chromium" if found.real else "over HTTP: there is no chromium and chromedriver"
        request.config.pluginmanager.getplugin("terminalreporter").write_line(
            f"\nincident response: people vote {where}"
        )
        yield found


@pytest.fixture(scope="module")
def told(demo: Demo, people: Room) -> dict[str, Any]:
    """The story; it stops at the first thing that is not as told."""
    from baton.packs.demos import prepare_data

    prepare_data("incident_response")
    return story.play(demo, people)


@pytest.fixture(scope="module")
def book(demo: Demo, told: dict[str, Any], people: Room) -> IncidentResponsePlaybook:
    """The moves of the story, for tests that go on from its end."""
    return IncidentResponsePlaybook(demo, people)


@pytest.fixture(scope="module")
def partitions(told: dict[str, Any]) -> list[str]:
    """Partitions that were played."""
    return [row["partition"] for row in told["partitions"]]


def carried_out(book: IncidentResponsePlaybook) -> dict[str, dict[str, Any]]:
    """Key -> action, of all that the security services have done."""
    return {one["key"]: one for one in book.carried_out()}


def delivered() -> list[outbox.Effect]:
    """Effects of the flow that the outbox calls sent, undoes among them."""
    return [one for one in outbox.effects(FLOW) if one.state == outbox.SENT]


def test_every_effect_is_in_the_services_state_exactly_once(
    told: dict[str, Any], book: IncidentResponsePlaybook
) -> None:
    done = carried_out(book)
    wanted = {one.key: one for one in delivered() if one.kind != "notify" and "same_as" not in (one.answer or {})}
    assert set(done) == set(wanted)
    for key, effect in wanted.items():
        assert (done[key]["action"], done[key]["target"]) == (effect.payload["action"], effect.payload["target"])
        assert effect.answer is not None
        assert effect.answer["action_id"] == done[key]["action_id"]
    assert len(wanted) >= 5
    twice = Counter((one["action"], one["target"]) for one in done.values() if one["action"] != "open_ticket")
    assert max(twice.values()) == 1


def test_a_partition_repeated_by_hand_does_nothing_again(
    told: dict[str, Any], partitions: list[str], demo: Demo, book: IncidentResponsePlaybook
) -> None:
    before = carried_out(book)
    run = demo.airflow.trigger(FLOW, partitions[0])
    assert demo.airflow.wait(FLOW, [run], timeout=200) == {run: "success"}
    assert carried_out(book) == before


def test_the_attacker_was_blocked_by_itself(told: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    assert book.security.get(f"/firewall/state/{company.ATTACKER}") == {"address": company.ATTACKER, "blocked": True}
    (effect,) = [one for one in delivered() if one.kind == "block_address" and one.target == company.ATTACKER]
    with connection() as conn:
        asked = conn.execute(select(tables.requests).where(tables.requests.c.effect == effect.key)).fetchall()
    assert asked == [], "nobody had to be asked"


def test_two_people_agreed_to_isolate_a_server_and_one_would_not_have_been_enough(
    told: dict[str, Any], book: IncidentResponsePlaybook
) -> None:
    votes = [one for one in told["votes"] if (one["action"], one["target"]) == ("isolate_host", company.DATABASE)]
    assert [(one["person"], one["state"]) for one in votes] == [(FIRST, "open"), (SECOND, "approved")]
    assert all(one["level"] == "two_approvers" for one in votes)
    assert votes[0]["before"] == {"isolated": False}
    assert votes[0]["after"] == {"isolated": True}
    assert book.security.get(f"/directory/hosts/{company.DATABASE}")["isolated"]
    with connection() as conn:
        kept = (
            conn.execute(select(tables.votes.c.person).where(tables.votes.c.request == votes[0]["request"]))
            .scalars()
            .all()
        )
    assert sorted(kept) == sorted([FIRST, SECOND])


def test_what_was_refused_was_not_done(told: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    refused = [one for one in told["votes"] if one["answer"] == "refused"]
    assert {(one["action"], one["target"]) for one in refused} == {("isolate_host", company.JUMP)}
    assert not book.security.get(f"/directory/hosts/{company.JUMP}")["isolated"]
    assert not [one for one in delivered() if (one.kind, one.target) == ("isolate_host", company.JUMP)]
    with pytest.raises(VoteRefused, match="refused"):
        firewall.vote(refused[0]["request"], Voter(FIRST), "approved", requests_seen(refused[0]["request"]))


def requests_seen(number: int) -> str:
    with connection() as conn:
        return requests.find(conn, number).seen


def test_one_action_was_undone_and_the_state_is_the_one_from_before(
    told: dict[str, Any], book: IncidentResponsePlaybook
) -> None:
    host = attacks.LEAKING_DESK
    assert book.security.get(f"/directory/hosts/{host}") == {"host": host, "isolated": False}
    (effect,) = [one for one in delivered() if one.key == told["undone"]["key"]]
    assert effect.undone_at is not None
    done = [(one["action"], one["target"]) for one in book.security.actions("directory") if one["target"] == host]
    assert done == [("isolate_host", host), ("release_host", host)]
    assert ledger.entries(kind="undo_asked", limit=1)


def test_nothing_left_while_all_effects_were_stopped(told: dict[str, Any]) -> None:
    assert told["stopped"]["during"] == 0
    assert ledger.entries(kind="effects_stopped", limit=1)
    assert ledger.entries(kind="effects_resumed", limit=1)


def test_guessing_and_moving_on_are_one_incident_that_lives_over_runs(
    told: dict[str, Any], partitions: list[str]
) -> None:
    found = [one for one in told["incidents"] if attacks.BRUTE_FORCE in one["really"] and one["route"] == "contain"]
    assert len(found) == 1
    assert attacks.LATERAL_MOVEMENT in found[0]["really"]
    assert {company.JUMP, company.DATABASE} <= set(found[0]["hosts"])
    touched = 0
    for partition in partitions:
        decided = head(Slot(FLOW, "decide", partition))
        assert decided is not None
        from baton.data.datasets import read

        touched += found[0]["incident"] in set(read(decided.ref)["incident_id"])
    assert touched >= 3
    with connection() as conn:
        query = select(tables.cases.c.entity_key).where(
            tables.cases.c.flow == FLOW, tables.cases.c.entity_key == found[0]["incident"]
        )
        assert len(conn.execute(query).fetchall()) == 1, "one case, however many runs"


def test_the_harmless_scanner_contains_nothing(told: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    scans = [one for one in told["incidents"] if attacks.SCANNER in one["really"]]
    assert scans
    assert {one["route"] for one in scans} <= {"noise", "watch"}
    address = company.hosts()[company.SCANNER].address
    assert not book.security.get(f"/firewall/state/{address}")["blocked"]
    assert not book.security.get(f"/directory/hosts/{company.SCANNER}")["isolated"]


def test_bad_rows_are_aside_and_every_row_is_accounted_for(told: dict[str, Any], partitions: list[str]) -> None:
    for partition in partitions:
        checked = [head(Slot(FLOW, stage, partition)) for stage in ("contract", "contract__connections")]
        facts = [one.facts for one in checked if one is not None]
        aside = accounting(
            FLOW, partition
        )  # what is published are incidents, so rows are counted where they were checked
        good = sum(one["rows_good"] for one in facts)
        assert len(facts) == 2
        assert sum(one["rows_in"] for one in facts) == good + aside["open"] + aside["discarded"], partition
    table = tables.quarantine
    with connection() as conn:
        rules = set(
            conn.execute(select(table.c.rule).where(table.c.flow == FLOW, table.c.partition == partitions[1])).scalars()
        )
    assert {"too_long", "json", "clock_ahead", "clock_behind", "class_unknown", "type"} <= rules
    assert told["planted"] == 7


def test_a_service_that_is_down_is_named_and_nothing_turns_red(
    told: dict[str, Any], partitions: list[str], demo: Demo
) -> None:
    assert any(story.BROKEN_PART in sentence for sentence in told["broken"]["degraded"])
    assert not any(story.BROKEN_PART in sentence for sentence in told["broken"]["after"]), "well again"
    states = {run["state"] for run in demo.airflow.runs(FLOW)}
    assert states == {"success"}


def test_models_scored_beside_the_rules(told: dict[str, Any], partitions: list[str]) -> None:
    assert all(version == 1 for version in told["models"].values())
    for model in told["models"]:
        assert len(history(Slot(FLOW, f"score__{model}", partitions[0]))) >= 1


def test_no_secret_of_the_security_services_leaves_their_connections(told: dict[str, Any], services: Services) -> None:
    token = (services.settings.home / "secrets/security.token").read_text().strip()
    for folder in ("airflow/logs", "logs", "reports"):
        for path in (services.settings.home / folder).rglob("*"):
            if path.is_file():
                assert token not in path.read_text(encoding="utf-8", errors="ignore"), path
    assert token not in json.dumps([entry.payload for entry in ledger.entries(limit=100_000)])
    address = json.loads(services.settings.services_file.read_text())["security"]["url"]
    assert httpx.get(f"{address}/firewall/state", trust_env=False).status_code == 401
    assert ledger.verify().ok


def test_a_vote_counts_once_for_each_person(told: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    """What waits is answered by two people; one alone cannot be both, and the flow cannot agree with itself."""
    waiting = [one for one in told["votes"] if one["level"] == "two_approvers" and one["answer"] == "approved"]
    per_request = Counter(one["request"] for one in waiting)
    assert per_request
    assert set(per_request.values()) == {2}
    assert slots(0)[0] < told["partitions"][0]["partition"]


# --- what people see, and press, on the pages ---


def asked(page: str, number: int) -> str:
    """What a page says of an open request."""
    return words(page.partition(f'id="request-{number}"')[2].partition(">")[2].partition("</article>")[0])


def effect(page: str, action: str, target: str) -> str:
    """What a page says of an effect; the first of its rows that begins with these words."""
    rows = [words(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    return next(row for row in rows if row.startswith(f"{action} {target} "))


def of(told: dict[str, Any], action: str, target: str) -> int:
    """The number of the request that the story's people answered."""
    return int({one["request"] for one in told["votes"] if (one["action"], one["target"]) == (action, target)}.pop())


def test_both_approvers_see_what_their_word_came_to(told: dict[str, Any], people: Room) -> None:
    number = of(told, "isolate_host", company.DATABASE)
    first = people.shown(FIRST, f"/requests/{number}")
    said = asked(first, number)
    assert f"Isolate host {company.DATABASE} 1 of 2 approvals" in said
    assert "isolated no yes" in said
    assert f"approved by {FIRST}, " in said
    assert "You cannot approve it: you have agreed already." in said
    assert f" waiting request {number}, two approvers" in effect(first, "isolate host", company.DATABASE)
    second = people.shown(SECOND, f"/requests/{number}")
    assert asked(second, number) == "", "nobody is asked any more"
    row = effect(second, "isolate host", company.DATABASE)
    assert f"request {number}, two approvers: {FIRST}, {SECOND}" in row
    assert " waiting " not in row


def test_a_refusal_is_seen_with_its_reason_and_nobody_can_agree_any_more(
    told: dict[str, Any], book: IncidentResponsePlaybook, people: Room
) -> None:
    number = of(told, "isolate_host", company.JUMP)
    page = people.shown(SECOND, f"/requests/{number}")
    assert asked(page, number) == ""
    said = effect(page, "isolate host", company.JUMP)
    assert f" refused refused by {SECOND}: the administrators need it to repair the others" in said
    with pytest.raises(BatonError, match="no button 'Approve'"):
        book.desk(FIRST).press("actions", f"/requests/{number}", "Approve")


def test_undo_by_its_button_takes_somebody_else(
    told: dict[str, Any], book: IncidentResponsePlaybook, services: Services, demo: Demo
) -> None:
    """Whoever pressed Undo cannot agree to it: there is no button, and a form made by hand is refused in words."""
    account, known = company.SERVICE_ACCOUNT, book.known(UNDO)
    assert book.security.get(f"/directory/accounts/{account}")["disabled"]
    (done,) = [one for one in delivered() if (one.kind, one.target) == ("disable_account", account)]
    card, held = f"cases/{FLOW}/{done.entity_key}", {"key": done.key}
    why = {"reason": "the backup has to run tonight"}
    page = book.desk(FIRST).press(card, "/actions/undo", "Undo", held=held, typed=why)
    (waiting,) = [one for one in requests.still_open(FLOW) if (one.kind, one.target) == ("enable_account", account)]
    said, form = asked(page, waiting.id), f"/actions/requests/{waiting.id}"
    assert f"Enable account {account} 0 of 1 approval" in said
    assert "disabled yes no" in said
    assert f"{FIRST}: the backup has to run tonight" in said
    assert f"You cannot approve it: {FIRST} asked for it; somebody else has to agree." in said
    with pytest.raises(BatonError, match="no button 'Approve'"):
        book.desk(FIRST).press(card, form, "Approve")

    by_hand = OverHttp(services.airflow_url, FIRST, services.users[FIRST])
    (given,) = [one for one in forms(by_hand.read(card)) if one.action.endswith(form)]
    sent = {**given.fields, "answer": "approved"}
    others = next(one for one in forms(book.desk(SECOND).read(card)) if one.action.endswith(form)).fields["token"]
    for body, origin, status, why in (
        (sent, services.airflow_url, 409, f"{FIRST} asked for it; somebody else has to agree"),
        ({**sent, "token": others}, services.airflow_url, 403, "made for somebody else"),
        (sent, "https://elsewhere.example", 403, "not from this site"),
    ):
        answer = by_hand.http.post(given.action, data=body, headers={"Origin": origin})
        assert answer.status_code == status, answer.text
        assert why in words(answer.text)
    assert book.security.get(f"/directory/accounts/{account}")["disabled"]

    book.desk(SECOND).press(card, form, "Approve", typed={"reason": "it may"})
    book.expect_all(demo.airflow.wait(UNDO, [demo.airflow.wait_for_run(UNDO, known, timeout=60)], timeout=120))
    page = book.desk(SECOND).read(card)
    assert "sent taken back" in effect(page, "disable account", account)
    assert effect(page, "enable account takes back", account)
    assert not [one for one in forms(page) if held.items() <= one.fields.items()], "it has no button any more"
    assert not book.security.get(f"/directory/accounts/{account}")["disabled"]


def test_open_cases_are_listed_by_severity(told: dict[str, Any], book: IncidentResponsePlaybook) -> None:
    page = words(book.desk(SECOND).read("cases?queue=security"))
    shown = re.findall(r"(Critical|High|Medium|Low|Informational): \w", page)
    assert len(shown) >= 2
    assert shown == sorted(shown, key=["Critical", "High", "Medium", "Low", "Informational"].index)


def test_the_week_is_measured_and_drawn(
    told: dict[str, Any], book: IncidentResponsePlaybook, partitions: list[str], demo: Demo
) -> None:
    (leak,) = [one for one in told["incidents"] if attacks.EXFILTRATION in one["really"] and one["route"] == "contain"]
    card = f"cases/{FLOW}/{leak['incident']}"
    page = book.desk(FIRST).press(
        card, f"/{card}", "Decide", typed={"resolution": "true_positive", "note": "a curious desk"}
    )
    assert f"true_positive by {FIRST}" in words(page)
    day = parse_key(partitions[0])
    week = format_key(day - timedelta(days=day.weekday(), hours=day.hour, minutes=day.minute))
    run = demo.airflow.trigger("incident_report", week)
    assert demo.airflow.wait("incident_report", [run], timeout=200) == {run: "success"}
    done = head(Slot("incident_report", "report", week))
    assert done is not None
    assert None not in [done.facts[name] for name in ("detect", "triage", "contain", "undone", "false_positives")]
    drawn = words(book.desk(FIRST).read(f"pages/{done.facts['report']}"))
    for said in ("min to detect", "min to triage", "min to contain", "% taken back", "% false positives"):
        assert f"{said}: " in drawn
