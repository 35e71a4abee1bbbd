"""Actions in the console: two people agree to what they saw, a third may not; the switch; taking back what was done."""

from __future__ import annotations

import runpy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from baton.actions import changes, promotions, requests, votes
from baton.actions.action import Action
from baton.actions.votes import Voter
from baton.console.host import Person, Rights
from baton.console.pages.rendering import environment
from baton.console.queries.actions import TOLD_WITHIN, in_vain, of_case, why_not_by
from baton.effects import delivery, firewall, outbox, overview
from baton.effects.peer import Outcome
from baton.governance import content, duties
from baton.record import warehouse

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
HTML, FLOW, client, empty = STAGE["HTML"], STAGE["FLOW"], STAGE["client"], STAGE["empty"]
no_registry = STAGE["no_registry"]
HOUR = "2026-11-20T09:00:00"
POLICY = """
actions:
  isolate_host: {description: Cuts a host off, recovery: reversible, reach: host, undo: release_host}
  release_host: {description: Lets it back, recovery: reversible, reach: host, undo: isolate_host}
policy:
  - {name: servers, actions: [isolate_host], asset_class: [server], level: two_approvers}
  - {name: small, actions: [isolate_host, release_host], level: notify}
"""


class Switchboard:
    """A peer that does what it is told."""

    answers = True

    def find(self, key: str, payload: dict[str, Any]) -> Outcome:
        return Outcome("absent")

    def place(self, key: str, payload: dict[str, Any]) -> Outcome:
        return Outcome("done", answer={"action_id": "1"})


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "actions.yaml").write_text(POLICY)
    return folder


def place(pack: Path, host: str, asset_class: str, **changed: Any) -> None:
    action = Action(
        "isolate_host", "incident-7", host, {"action": "isolate_host", "target": host}, asset_class=asset_class,
        confidence=0.9, evidence=["alert-1"], before={"isolated": False}, after={"isolated": True},
    )  # fmt: skip
    action = replace(action, **changed)
    with warehouse.write() as conn:
        firewall.place(conn, pack, FLOW, HOUR, [action], kinds=["isolate_host"], whole=False)


def asked(who: str = "admin") -> Any:
    return client(who).get("/baton/actions").json()["requests"]


def answer(who: str, number: int, seen: str, word: str = "approved") -> Any:
    return client(who).post(f"/baton/actions/requests/{number}", json={"answer": word, "seen": seen})


def state(host: str) -> str:
    return next(one.state for one in outbox.effects(FLOW, HOUR) if one.target == host)


def test_two_people_agree_to_what_they_saw(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (one,) = asked()
    assert one["difference"] == [["isolated", False, True]]
    assert (one["agreed"], one["needs"], one["why_not"]) == (0, 2, "")
    assert answer("admin", one["id"], "something else").status_code == 409
    assert answer("viewer", one["id"], one["seen"]).status_code == 403
    assert answer("admin", one["id"], one["seen"]).json()["state"] == "open"
    assert asked()[0]["why_not"] == "you have agreed already"
    assert answer("admin", one["id"], one["seen"]).status_code == 409
    assert state("srv-db") == outbox.WAITING
    assert answer("second", one["id"], one["seen"]).json()["state"] == "approved"
    assert (asked(), state("srv-db")) == ([], outbox.PENDING)
    (row,) = client("viewer").get("/baton/actions").json()["effects"]
    assert (row["answered"], row["agreed"]) == ("approved", ["admin", "second"])
    assert (
        f"request {one['id']}, two approvers: admin, second" in client("admin").get("/baton/actions", headers=HTML).text
    )


def test_whoever_agreed_says_it_again_by_one_click_where_only_what_is_shown_changed(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (first,) = asked()
    assert first["void"] is None
    answer("admin", first["id"], first["seen"])
    place(
        pack, "srv-db", "server", before={"isolated": False, "owner": "ada"}, after={"isolated": True, "owner": "ada"}
    )
    (now,) = asked()
    assert (now["agreed"], now["why_not"]) == (0, ""), "a yes is to what was seen"
    assert now["void"] == {
        "request": first["id"], "by": ["admin"], "display": True, "mine": True,
        "changed": [["before: owner", None, "ada"], ["after: owner", None, "ada"]],
    }  # fmt: skip
    page = client("admin").get("/baton/actions", headers=HTML).text
    for words in (
        f"You agreed to request {first['id']}, which counts for nothing here",
        "only what is shown changed",
        "Agree again",
    ):
        assert words in page, words
    other = client("second").get("/baton/actions", headers=HTML).text
    assert f"admin agreed to request {first['id']}" in other
    assert "Agree again" not in other
    assert asked("viewer")[0]["void"]["changed"] == []
    assert answer("admin", now["id"], first["seen"]).status_code == 409, "what was seen then is not what is asked"
    assert answer("admin", now["id"], now["seen"]).json()["state"] == "open"
    assert answer("second", now["id"], now["seen"]).json()["state"] == "approved"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"evidence": ["alert-2"]}, ["evidence", "alert-1", "alert-2"]),
        ({"payload": {"action": "isolate_host", "target": "srv-db", "minutes": 5}}, ["payload: minutes", None, 5]),
    ],
)
def test_a_yes_to_another_subject_stays_void(empty: Any, pack: Path, changed: dict[str, Any], named: list[Any]) -> None:
    place(pack, "srv-db", "server")
    (first,) = asked()
    answer("admin", first["id"], first["seen"])
    place(pack, "srv-db", "server", **changed)
    (now,) = asked()
    assert (now["agreed"], now["void"]["display"], now["void"]["changed"]) == (0, False, [named])
    page = client("admin").get("/baton/actions", headers=HTML).text
    assert "this is another request" in page
    assert "Approve this one" in page
    assert "Agree again" not in page


def test_a_changed_policy_is_another_request(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (first,) = asked()
    answer("admin", first["id"], first["seen"])
    (pack / "actions.yaml").write_text(
        POLICY.replace("level: two_approvers", "level: two_approvers, permit_minutes: 9")
    )
    place(pack, "srv-db", "server", confidence=0.8)
    (now,) = asked()
    assert now["void"]["display"] is False
    assert now["void"]["changed"] == [["confidence", 0.9, 0.8], ["policy", "as it was", "changed"]]


def test_one_no_ends_it(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (one,) = asked()
    assert answer("second", one["id"], one["seen"], "refused").json()["state"] == "refused"
    assert answer("admin", one["id"], one["seen"]).status_code == 409
    page = client("admin").get("/baton/actions", headers=HTML).text
    assert '<span class="tag bad">refused</span>' in page, "a person said no: the policy did not forbid it"
    (row,) = client("admin").get("/baton/actions").json()["effects"]
    assert (row["state"], row["answered"], row["agreed"]) == ("forbidden", "refused", [])


def test_a_request_tells_what_its_evidence_says_where_that_is_known(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    moment = {"at": "2026-11-20T09:02:00", "text": "Stored passwords read out", "state": "bad", "ids": ["alert-1"]}
    knows = Rights(STAGE["LittleHost"](), Person("admin")), Rights(STAGE["LittleHost"](), Person("viewer"))
    told, hidden = (of_case(one, FLOW, "incident-7", {"alert-1": moment})["requests"][0] for one in knows)
    assert (told["findings"], told["unexplained"], told["asset_class"], told["confidence"]) == (
        [moment],
        0,
        "server",
        0.9,
    )
    assert hidden["findings"] == []
    assert asked()[0]["unexplained"] == 1
    page = client("admin").get("/baton/actions", headers=HTML).text
    assert "What speaks for it: 1 finding" in page
    assert "the rule servers asks for two approvers" in page


def test_who_may_not_decide_sees_no_difference_and_strangers_see_nothing(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (one,) = asked("viewer")
    assert (one["difference"], one["hidden"]) == ([], True)
    assert asked("stranger") == []
    assert client("stranger").get("/baton/actions").json()["effects"] == []


def test_the_page_shows_the_difference_and_a_form(empty: Any, pack: Path) -> None:
    place(pack, "srv-<b>", "server")
    page = client("admin").get("/baton/actions", headers=HTML).text
    assert "srv-&lt;b&gt;" in page
    assert "0 of 2 approvals" in page
    assert 'value="approved"' in page
    assert 'value="approved"' not in client("viewer").get("/baton/actions", headers=HTML).text


def test_what_was_done_is_taken_back_by_those_who_may(empty: Any, pack: Path) -> None:
    place(pack, "ws-01", "workstation")
    delivery.deliver("isolate_host", Switchboard(), FLOW, HOUR, via={"conn_id": "directory"})
    found = client("admin").get("/baton/actions").json()
    assert [one["target"] for one in found["notices"]] == ["ws-01"]
    (done,) = found["effects"]
    assert (done["state"], done["undoable"]) == ("sent", True)
    assert client("viewer").get("/baton/actions").json()["effects"][0]["undoable"] is False
    assert client("viewer").post("/baton/actions/undo", json={"key": done["key"]}).status_code == 403
    result = client("admin").post("/baton/actions/undo", json={"key": done["key"], "reason": "a false alarm"}).json()
    assert result["started"] == "run 9"  # the policy lets it go with a notice: nobody is asked
    again = client("admin").post("/baton/actions/undo", json={"key": done["key"]}).json()
    assert again["key"] == result["key"]  # pressed twice: the same effect, to be delivered once
    assert client("admin").post("/baton/actions/undo", json={"key": "nothing"}).status_code == 404


def test_findings_that_spoke_for_an_action_do_not_speak_for_its_undo(empty: Any, pack: Path) -> None:
    place(pack, "ws-01", "workstation")
    delivery.deliver("isolate_host", Switchboard(), FLOW, HOUR, via={"conn_id": "directory"})
    (done,) = client("admin").get("/baton/actions").json()["effects"]
    (pack / "actions.yaml").write_text(POLICY.replace("level: notify", "level: one_approver"))
    client("admin").post("/baton/actions/undo", json={"key": done["key"], "reason": "a false alarm"}).raise_for_status()
    (one,) = asked()
    assert one["reasons"][1:] == ["admin: a false alarm"], "who has to agree reads why"
    assert (one["kind"], one["undoes"]) == ("release_host", True)
    assert one["why_not"] == "admin asked for it; somebody else has to agree"
    page = client("second").get("/baton/actions", headers=HTML).text
    assert "What spoke for what it takes back: 1 finding" in page
    assert " sure</span>" not in page


def test_the_switch_stops_everything_with_a_reason_and_lets_it_begin_again(empty: Any) -> None:
    turn = "/baton/actions/switch"
    assert client("viewer").post(turn, json={"turn": "stop", "reason": "no"}).status_code == 403
    assert client("admin").post(turn, json={"turn": "stop"}).status_code == 422
    assert client("admin").post(turn, json={"turn": "sideways"}).status_code == 422
    assert client("admin").post(turn, json={"turn": "stop", "reason": "a wrong policy"}).json() == {"stopped": True}
    assert client("admin").get("/baton/api/today").json()["actions"]["stopped"]["reason"] == "a wrong policy"
    assert "All effects are stopped" in client("viewer").get("/baton/today", headers=HTML).text
    assert client("admin").post(turn, json={"turn": "stop", "reason": "again"}).status_code == 409
    assert client("admin").post(turn, json={"turn": "start"}).json() == {"stopped": False}
    assert client("admin").get("/baton/api/today").json()["actions"]["stopped"] is None


def test_a_change_of_a_packs_file_is_answered_by_who_may_decide_on_all_dags(empty: Any) -> None:
    asset = "contract:financial_crime/transactions"
    with warehouse.write() as conn:
        content.put_in_force(conn, asset, content.FileContent("0" * 64, "contract: another\n"), None, "first use")
    number = changes.ask(asset, "dan").id
    (one,) = asked()
    assert (one["id"], one["kind"], one["target"], one["change"]) == (number, "edit", asset, True)
    assert one["difference"][0][:2] == ["digest", "0" * 64]
    page = client("admin").get("/baton/actions", headers=HTML).text
    assert asset in page
    assert client("admin").get("/baton/api/today").json()["actions"]["waiting"] == 1
    assert answer("admin", number, one["seen"]).status_code == 200
    events = client("admin").get(f"/baton/assets/{asset}").json()["events"]
    assert {"asset_activated", "action_requested", "action_voted"} <= {event["kind"] for event in events}


def test_what_would_change_an_asset_that_others_were_given_to_read_is_not_shown(empty: Any) -> None:
    asset = "contract:financial_crime/transactions"
    with warehouse.write() as conn:
        content.put_in_force(conn, asset, content.FileContent("0" * 64, "contract: another\n"), None, "first use")
        day = datetime.now(UTC).date()
        promotions.grant(conn, asset, "modify", "ann", duties.Who("op"), day, "she writes it")
    edit = changes.ask(asset, "dan").id

    def seen(name: str) -> tuple[list[str], int]:
        waiting = client(name).get("/baton/api/today").json()["actions"]["waiting"]
        return sorted(one["kind"] for one in asked(name)), waiting

    assert seen("second") == (["edit", "grant_duty"], 2)
    shown = {one["kind"]: one for one in asked("second")}
    with warehouse.write() as conn:
        read = duties.give(conn, asset, "read", "viewer", duties.Who("op"), day, "of the team")
        duties.agree(conn, read.id, ["admin"], 1)
    assert [seen(name) for name in ("second", "viewer")] == [([], 0), (["edit", "grant_duty"], 2)]
    assert seen("admin")[1] == 2, "its deputy's"
    codes = {kind: answer("second", one["id"], one["seen"]).status_code for kind, one in shown.items()}
    assert codes == {"edit": 404, "grant_duty": 403}
    rights = Rights(STAGE["LittleHost"](), Person("second"))
    with warehouse.read() as conn:
        request = overview.request(edit).request
        assert why_not_by(conn, rights, request) == f"reading {asset} is others' duty"


def test_whoever_answered_in_vain_elsewhere_reads_why_and_nobody_else_does(empty: Any, pack: Path) -> None:
    place(pack, "srv-db", "server")
    (one,) = asked()
    with warehouse.write() as conn:
        request = requests.find(conn, one["id"])
        votes.not_counted(conn, request, Voter("7", "ADMIN"), "approved", f"request {one['id']}: admin asked for it")
        votes.not_counted(conn, request, Voter("", ""), "approved", "nobody knows who this is")
    found = {who: client(who).get("/baton/actions").json()["in_vain"] for who in ("admin", "second", "stranger")}
    (mine,) = found["admin"]
    assert (mine["request"], mine["answer"], mine["channel"]) == (one["id"], "approved", "airflow")
    assert mine["why"] == f"request {one['id']}: admin asked for it"
    assert found["second"] == found["stranger"] == []
    page = " ".join(client("admin").get("/baton/actions", headers=HTML).text.split())
    assert "did not count" in page
    assert "admin asked for it" in page
    assert "did not count" not in client("second").get("/baton/actions", headers=HTML).text
    rights = Rights(STAGE["LittleHost"](), Person("admin"))
    assert in_vain(rights, datetime.now(UTC) + TOLD_WITHIN + timedelta(minutes=1)) == []


def test_a_digest_is_short_and_whole_where_the_pointer_rests() -> None:
    digest = "0123456789abcdef" * 4
    said = environment().get_template("action_parts.html.j2").module.said  # type: ignore[attr-defined]
    assert said(digest) == f'<abbr title="{digest}">0123456789ab…</abbr>'
    assert said(f"{digest[:-1]}>") == f"{digest[:-1]}&gt;"
    assert (said(None), said(2.50)) == ("–", "2.5")
