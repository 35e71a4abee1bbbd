"""A file of a pack is used as people agreed to it: another content is not, until enough of them agreed to exactly that."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from baton.actions import changes, requests
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.cli.app import app
from baton.cli.state import change as cli
from baton.effects import attempts, firewall, outbox, overview
from baton.errors import BatonError, NotAgreed, RegistryRefused, SpecError
from baton.governance import content
from baton.record import warehouse
from baton.settings import settings

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).parent / "changed_files.py"))
pack = SHOP["pack"]
doubled, checked, edit, activated, agree = (SHOP[name] for name in ("doubled", "checked", "edit", "activated", "agree"))
STAGE, CONTRACT, GOVERNANCE, LIMITS, POLICY, ANN, BOB, CY = (
    SHOP[name] for name in ("STAGE", "CONTRACT", "GOVERNANCE", "LIMITS", "POLICY", "ANN", "BOB", "CY")
)


def test_a_changed_contract_is_not_used_until_two_others_agreed_to_it(pack: Path) -> None:
    checked()
    (first,) = activated(CONTRACT)
    assert (first["how"], first["by"], first["before"]) == (changes.FIRST_USE, [], None)
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    new = content.read(pack / "contracts" / "orders.yaml").digest
    said = f"{CONTRACT}: in force is {first['digest'][:16]}, its file says {new[:16]}"
    for hour in (0, 1):  # also what was committed already is not handed out
        with pytest.raises(NotAgreed, match=said) as refused:
            checked(hour)
    assert "stage shop_flow.double" in str(refused.value)
    (found,) = requests.still_open()
    assert f"request {found.id} about it is open" in str(refused.value)
    asked = changes.ask(CONTRACT, "dan", "the till rounds")
    assert (asked.needs, asked.action["payload"]) == (2, {"from": first["digest"], "to": new})
    shown = overview.request(asked.id)
    assert shown.difference == [("digest", first["digest"], new), ("line 9", "tolerated: 0.5", "tolerated: 0.4")]
    with pytest.raises(VoteRefused, match="dan asked for it; somebody else has to agree"):
        agree(asked, Voter("dan"))
    assert agree(asked, ANN).state == requests.OPEN
    with pytest.raises(NotAgreed, match=f"request {asked.id} about it is open"):
        checked()
    assert agree(asked, BOB).state == requests.APPROVED
    last = activated(CONTRACT)[-1]
    assert (last["digest"], last["before"], last["by"]) == (new, first["digest"], ["ann", "bob"])
    assert (last["requester"], last["request"]) == ("dan", asked.id)
    assert last["permit"]
    assert checked().ref.rows == 3
    told = CliRunner().invoke(app, ["asof", warehouse.now(), CONTRACT]).output
    assert new in told
    assert "agreed, by ann, bob (entry " in told
    assert "the page Assets know" in CliRunner().invoke(app, ["asof", "2026-01-01", "contract:shop/none"]).output


def test_the_old_content_is_not_used_either_once_the_new_one_was_agreed_to(pack: Path) -> None:
    checked()
    path = pack / "contracts" / "orders.yaml"
    before = path.read_text()
    edit(path, "tolerated: 0.5", "tolerated: 0.4")
    agree(changes.ask(CONTRACT, "dan"), ANN, BOB)
    path.write_text(before)
    with pytest.raises(NotAgreed):
        checked()
    agree(changes.ask(CONTRACT, "dan"), ANN, BOB)  # back is a change like another
    assert checked().ref.rows == 3
    assert [one["how"] for one in activated(CONTRACT)] == [changes.FIRST_USE, changes.AGREED, changes.AGREED]


def test_a_file_that_changes_while_people_answer_voids_what_they_said(pack: Path) -> None:
    checked()
    path = pack / "contracts" / "orders.yaml"
    edit(path, "tolerated: 0.5", "tolerated: 0.4")
    asked = agree(changes.ask(CONTRACT, "dan"), ANN)
    edit(path, "tolerated: 0.4", "tolerated: 0.3")
    with pytest.raises(VoteRefused, match="the file, what is in force, or the policy changed since it was asked"):
        agree(asked, BOB)
    again = changes.ask(CONTRACT, "eve")
    assert again.id != asked.id
    assert agree(again, BOB).state == requests.OPEN
    assert len(activated(CONTRACT)) == 1


def test_whoever_asked_for_a_content_once_may_not_agree_to_it(pack: Path) -> None:
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    asked = changes.ask(CONTRACT, "dan")
    assert changes.ask(CONTRACT, "eve").id == asked.id  # the same request, still dan's
    firewall.vote(asked.id, Voter("dan"), "refused", asked.seen)
    again = changes.ask(CONTRACT, "eve")
    with pytest.raises(VoteRefused, match="dan asked for it before"):
        agree(again, Voter("dan"))
    for nobody in ("", "service", "flow:shop_flow"):
        with pytest.raises(BatonError, match="not asked"):
            changes.ask(CONTRACT, nobody)


def test_what_was_recorded_once_is_never_trusted_again_by_itself(pack: Path) -> None:
    checked()
    path = pack / "contracts" / "orders.yaml"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("tolerated: 0.5", "tolerated: 0.4"))
    with pytest.raises(NotAgreed):
        checked()
    (pack / "contracts" / "more.yaml").write_text(text.replace("contract: orders", "contract: more"))
    with pytest.raises(RegistryRefused, match="nothing of it is in force yet"):
        changes.ask("contract:shop/more", "dan")


def test_where_one_person_runs_it_a_change_is_in_force_at_its_first_use(pack: Path, home: Path) -> None:
    checked()
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    with pytest.raises(BatonError, match="one person runs this installation"):
        changes.ask(CONTRACT, "dan")
    assert checked().ref.rows == 3
    assert [one["how"] for one in activated(CONTRACT)] == [changes.FIRST_USE, changes.ALONE]


def test_a_dry_run_tries_what_nobody_agreed_to(pack: Path) -> None:
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    assert checked(dry_run=True).ref.rows == 3
    assert len(activated(CONTRACT)) == 1


def test_comments_and_layout_are_no_change(pack: Path) -> None:
    checked()
    path = pack / "contracts" / "orders.yaml"
    path.write_text("# of the tills\n" + path.read_text().replace("tolerated: 0.5", "tolerated:   0.5 # half"))
    checked()
    edit(path, "owner: tests", "owner: 'tests'")
    with pytest.raises(NotAgreed):
        checked()


def test_no_pack_makes_its_own_votes_fewer(pack: Path) -> None:
    checked()
    assert activated(GOVERNANCE)[0]["how"] == changes.FIRST_USE
    edit(pack / "governance.yaml", "impact: medium", "impact: low")
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    with pytest.raises(NotAgreed, match=f"{CONTRACT}: .*{GOVERNANCE}: "):
        checked()
    assert changes.ask(CONTRACT, "dan").needs == 2
    asked = changes.ask(GOVERNANCE, "dan")
    assert asked.needs == 2
    agree(asked, ANN, BOB)
    with pytest.raises(VoteRefused, match="the policy changed since it was asked"):
        agree(requests.still_open()[0], CY)
    assert changes.ask(CONTRACT, "dan").needs == 1
    edit(pack / "governance.yaml", "review: 2030", "review: 2031")  # and one vote would not do for it
    assert changes.ask(GOVERNANCE, "dan").needs == 2


def test_a_function_of_a_pack_works_by_rules_that_were_agreed_to(pack: Path) -> None:
    doubled()
    assert len(activated(LIMITS)) == 1
    edit(pack / "policy" / "limits.yaml", "5", "500")
    with pytest.raises(NotAgreed, match=LIMITS):
        doubled(1)
    changes.require([("shop", "contract", "orders")], "a step of the engine")  # which reads no rule of the pack
    agree(changes.ask(LIMITS, "dan"), ANN, BOB)
    assert doubled(1).ref.rows == 3


def test_effects_go_by_the_policy_that_was_agreed_to(pack: Path) -> None:
    """Else whoever edits actions.yaml lets their own effect through."""
    path = pack / "actions.yaml"
    path.write_text(POLICY)
    block = Action("block", "i1", "203.0.113.7", {"a": 1}, before={"blocked": False}, after={"blocked": True})

    def place() -> Any:
        return warehouse.transact(lambda conn: firewall.place(conn, "shop", "shop_flow", "p", [block]))

    (number,) = place().waiting
    asked = overview.request(number).request
    agree(asked, ANN)
    edit(path, "two_approvers", "one_approver")
    with pytest.raises(NotAgreed, match="rules:shop/actions"):
        place()
    with pytest.raises(VoteRefused, match="rules:shop/actions"):
        agree(asked, BOB)
    edit(path, "one_approver", "two_approvers")
    agree(asked, BOB)
    edit(path, "two_approvers", "one_approver")
    (effect,) = outbox.effects("shop_flow", "p")
    kept = attempts.claim(effect, 60)
    assert isinstance(kept, attempts.Kept)
    assert "the action firewall uses what nobody agreed to" in kept.words
    assert f"request {requests.still_open()[-1].id} about it is open" in kept.words  # the claim's transaction asks
    agree(changes.ask("rules:shop/actions", "dan"), ANN, BOB)
    kept = attempts.claim(effect, 60)  # judged anew, by what holds now
    assert isinstance(kept, attempts.Kept)
    assert "one_approver" in kept.words


def test_an_agent_writes_by_the_prompt_that_was_agreed_to(pack: Path) -> None:
    prompt = pack / "prompts" / "reply.md"
    prompt.parent.mkdir()
    prompt.write_text("Answer politely.\n")
    one = content.owned(prompt)
    assert one == ("shop", "agent", "reply")
    changes.require([one], "stage shop_flow.advise")
    prompt.write_text("Promise everything.\n")
    with pytest.raises(NotAgreed, match="agent:shop/reply"):
        changes.require([one], "stage shop_flow.advise")
    with pytest.raises(RegistryRefused, match="its file is an agent's: name it as agent:shop/reply"):
        changes.ask("prompt:shop/reply", "dan")
    assert changes.pending() == [
        ("agent:shop/reply", activated("agent:shop/reply")[0]["digest"], content.read(prompt).digest)
    ]
    with pytest.raises(SpecError, match="lies in the folder prompts of a pack"):
        content.owned(pack / "reply.md")


def test_on_the_command_line_whoever_types_asks(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled()
    edit(pack / "policy" / "limits.yaml", "5", "6")
    monkeypatch.setattr(cli, "person", lambda: Voter("dan", "Dan", "command line"))
    listed = CliRunner().invoke(app, ["change", "list"]).output
    assert LIMITS in listed
    assert "1 file differs" in listed
    said = CliRunner().invoke(app, ["change", "ask", LIMITS, "--reason", "more room"]).output
    (asked,) = requests.still_open()
    assert f"request {asked.id}: {LIMITS} waits for 2 people to agree" in said
    assert asked.requester == "dan"
    assert asked.reasons[-1] == "dan: more room"


def test_what_looks_secret_is_not_shown_but_that_it_changed_is(pack: Path) -> None:
    doubled()
    path = pack / "policy" / "limits.yaml"
    path.write_text(
        "most: 5\ntokens: 4 in all\npassword_rule: ask for two\napi_key: hunter2hunter2hunter2\nat: https://ann:pw1@shop.example\n"
        + "".join(f"a{n}: {n}\n" for n in range(400))
    )
    shown = {name: after for name, _, after in overview.request(changes.ask(LIMITS, "dan").id).difference}
    assert "hunter2" not in str(shown)
    assert "pw1" not in str(shown)
    assert "tokens: 4 in all\npassword_rule: ask for two\n" in shown["line 2"]
    digest = hashlib.sha256(b"api_key: hunter2hunter2hunter2").hexdigest()[:16]
    assert f"api_key: *** (SHA-256 of the line {digest})" in shown["line 2"]
    assert len(shown["line 2"]) < 500
    assert shown["line 2"].endswith("more characters)")


def test_a_stage_whose_files_are_in_force_asks_once(pack: Path) -> None:
    doubled()
    used = [("shop", "contract", "orders"), ("shop", "rules", "policy/limits")]
    changes.require(used, "test")
    with STAGE["statements"]() as sent:
        changes.require(used, "test")
    assert sum("FROM ledger" in one for one in sent) == 1
