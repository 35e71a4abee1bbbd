"""A file of a pack is used as people agreed to it: another content is not, until enough of them agreed to exactly that."""

from __future__ import annotations

import hashlib
import os
import runpy
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from baton.actions import changes, requests
from baton.actions.action import Action
from baton.actions.votes import Voter, VoteRefused
from baton.cli.app import app
from baton.cli.state import change as cli
from baton.effects import attempts, firewall, outbox, overview
from baton.errors import BatonError, NotAgreed, RegistryRefused, SpecError
from baton.governance import content, duties
from baton.governance.consume import require_consumer
from baton.record import ledger, warehouse
from baton.settings import settings
from baton.stages.run import run
from baton.stages.slots import head

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
job, commit = STAGE["job"], STAGE["commit"]
ORDERS = pd.DataFrame({"order_id": [1, 2, 3], "amount": [10.0, 20.0, 30.0]})
CONTRACT, GOVERNANCE, LIMITS = "contract:shop/orders", "rules:shop/governance", "rules:shop/policy/limits"
POLICY = """\
actions:
  block: {description: blocks, recovery: irreversible, reach: network}
policy:
  - {name: all, level: two_approvers}
"""
ANN, BOB, CY = Voter("ann"), Voter("bob"), Voter("cy")


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        high = (folder / "governance.yaml").read_text().replace("impact: low", "impact: medium")
        (folder / "governance.yaml").write_text(high)
        orders = folder / "contracts" / "orders.yaml"
        orders.write_text(orders.read_text().partition("expectations:")[0])
        (folder / "policy").mkdir()
        (folder / "policy" / "limits.yaml").write_text("most: 5\n")
        yield folder


def doubled(hour: int = 0, **given: Any) -> Any:
    return run(job("double", hour=hour, inputs={"orders": commit("ingest", hour, ORDERS)}, **given))


def checked(hour: int = 0, **given: Any) -> Any:
    """A stage whose result has to keep the contract, which is what it works by."""
    return doubled(hour, output_contract="orders", **given)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def activated(asset: str) -> list[dict[str, Any]]:
    return [one.payload for one in reversed(ledger.entries(asset, content.ACTIVATED))]


def agree(asked: requests.Request, *people: Voter) -> requests.Request:
    for person in people:
        asked = firewall.vote(asked.id, person, "approved", asked.seen)
    return asked


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


def test_a_rule_that_was_deleted_renamed_or_added_is_a_change(pack: Path) -> None:
    """Readers take what a glob finds: without its file a rule is off, and nobody was asked."""
    folder = pack / "policy"
    (folder / "more.yaml").write_text("deny: all\n")
    doubled()
    more, other = "rules:shop/policy/more", "rules:shop/policy/other"
    assert {activated(one)[0]["how"] for one in (LIMITS, more)} == {changes.FIRST_USE}
    (folder / "more.yaml").rename(folder / "other.yaml")
    with pytest.raises(NotAgreed) as refused:
        doubled(1)
    assert f"{more}: in force is {activated(more)[0]['digest'][:16]}, its file says nothing of that name" in str(
        refused.value
    )
    assert f"{other}: in force is nothing of that name, its file says " in str(refused.value)
    listed = {asset: (before, now) for asset, before, now in changes.pending()}
    assert set(listed) == {more, other}
    assert (listed[more][1], listed[other][0]) == (content.GONE.digest, content.GONE.digest)
    gone = changes.ask(more, "dan")
    shown = {name: (before, after) for name, before, after in overview.request(gone.id).difference}
    assert shown["file"] == (None, "is gone: it was deleted or has another name")
    assert shown["line 1"] == ("deny: all", "")
    agree(gone, ANN, BOB)
    with pytest.raises(NotAgreed, match=other):
        doubled(1)
    agree(changes.ask(other, "dan"), ANN, BOB)
    assert doubled(1).ref.rows == 3
    (folder / "more.yaml").write_text("deny: all\n")  # back is a change like another
    with pytest.raises(NotAgreed, match=more):
        doubled(2)
    agree(changes.ask(more, "dan"), ANN, BOB)
    assert doubled(2).ref.rows == 3
    assert changes.pending() == []


def test_rules_behind_a_linked_folder_are_asked_about(pack: Path, home: Path) -> None:
    outside = home / "elsewhere"
    outside.mkdir()
    (outside / "far.yaml").write_text("most: 1\n")
    (outside / "round").symlink_to(outside)
    (pack / "linked").symlink_to(outside)
    doubled()
    assert len(activated("rules:shop/linked/far")) == 1
    (outside / "far.yaml").write_text("most: 9\n")
    with pytest.raises(NotAgreed, match="rules:shop/linked/far"):
        doubled(1)


def test_a_comment_of_a_prompt_is_told_to_a_model_and_so_a_change(pack: Path) -> None:
    prompt = pack / "prompts" / "letters.yaml"
    prompt.parent.mkdir()
    prompt.write_text("greeting: hello\n")
    doubled()
    prompt.write_text("greeting: hello # or curse\n")
    with pytest.raises(NotAgreed, match="prompt:shop/letters"):
        doubled(1)


def test_a_file_of_the_same_time_and_size_is_another_content(pack: Path) -> None:
    path = pack / "policy" / "limits.yaml"
    doubled()
    about = path.stat()
    path.write_text("most: 9\n")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(NotAgreed, match=LIMITS):
        doubled(1)


def test_a_stage_asks_itself_and_two_others_agree(pack: Path) -> None:
    """In a container every account is a service's: nobody could ask. Who wrote the file nobody knows, so two agree."""
    low = (pack / "governance.yaml").read_text().replace("impact: medium", "impact: low")
    (pack / "governance.yaml").write_text(low)
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    for _ in range(2):  # the same request, however often it fails
        with pytest.raises(NotAgreed, match=r"request \d+ about it is open"):
            checked()
    (asked,) = requests.still_open()
    assert (asked.requester, asked.kind, asked.needs) == ("flow:shop_flow", "edit_found", 2)
    with pytest.raises(VoteRefused, match="account of a service"):
        agree(asked, Voter("baton"))
    assert agree(asked, ANN).state == requests.OPEN
    assert agree(asked, BOB).state == requests.APPROVED
    last = activated(CONTRACT)[-1]
    assert (last["how"], last["by"], last["requester"]) == (changes.AGREED, ["ann", "bob"], "flow:shop_flow")
    assert checked().ref.rows == 3


def test_what_was_refused_no_stage_asks_again(pack: Path) -> None:
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    asked = changes.ask(CONTRACT, "dan")
    firewall.vote(asked.id, ANN, "refused", asked.seen, "too little")
    with pytest.raises(NotAgreed, match=rf"request {asked.id} about it was refused \(by ann: too little\)"):
        checked()
    assert requests.still_open() == []
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.4", "tolerated: 0.3")
    with pytest.raises(NotAgreed):
        checked()
    assert len(requests.still_open()) == 1


def test_a_file_that_changes_while_a_stage_runs_fails_it(pack: Path) -> None:
    (pack / "steps.py").write_text(
        "from pathlib import Path\n\n\ndef late(orders):\n    path = Path(__file__).parent / 'policy' / 'limits.yaml'\n"
        "    path.write_text('most: 9\\n')\n    return orders\n\n\ndef added(orders):\n"
        "    (Path(__file__).parent / 'policy' / 'new.yaml').write_text('a: 1\\n')\n    return orders\n"
    )
    doubling = job("late", "shop_pack.steps:late", inputs={"orders": commit("ingest", 0, ORDERS)})
    with pytest.raises(NotAgreed, match=f"stage shop_flow.late: {LIMITS} changed while it ran"):
        run(doubling)
    assert head(doubling.slot) is None
    (pack / "policy" / "limits.yaml").write_text("most: 5\n")
    adding = job("late", "shop_pack.steps:added", inputs={"orders": commit("ingest", 0, ORDERS)})
    with pytest.raises(NotAgreed, match="rules:shop/policy/new changed while it ran"):
        run(adding)
    assert head(adding.slot) is None


def test_a_duty_is_not_theirs_whom_nobody_agreed_to(pack: Path) -> None:
    """Else whoever edits governance.yaml makes themselves the owner, and a consumer of any model."""
    checked()
    edit(pack / "governance.yaml", "owner: ann", "owner: mallory")
    edit(pack / "governance.yaml", "[shop_flow]", "[shop_flow, theirs]")
    until = date.today() + timedelta(days=30)  # noqa: DTZ011
    with (
        warehouse.write() as conn,
        pytest.raises(SpecError, match=r"governance\.yaml of shop says what nobody agreed to"),
    ):
        duties.give(conn, CONTRACT, "approve", "eve", duties.Who("mallory"), until, "why not")
    with warehouse.read() as conn:
        assert duties.lacks(conn, "contract:shop/orders", "audit", duties.Who("mallory"))
    with pytest.raises(RegistryRefused, match=r"flow theirs may not use model late_order: .*nobody agreed to"):
        require_consumer("late_order", "theirs")
    agree(changes.ask(GOVERNANCE, "dan"), ANN, BOB)
    require_consumer("late_order", "theirs")
    with warehouse.read() as conn:
        assert not duties.lacks(conn, "contract:shop/orders", "audit", duties.Who("mallory"))


def test_a_gone_governance_is_a_change_too(pack: Path) -> None:
    checked()
    (pack / "governance.yaml").unlink()
    with pytest.raises(NotAgreed, match=f"{GOVERNANCE}: .*its file says nothing of that name"):
        checked(1)


@pytest.mark.parametrize(
    ("name", "words"), [("budgets", "a raise is asked about by the run"), ("retention", "it holds as it is written")]
)
def test_tables_that_nobody_is_asked_about_say_so(pack: Path, name: str, words: str) -> None:
    (pack / f"{name}.yaml").write_text("{}\n")
    with pytest.raises(RegistryRefused, match=f"rules:shop/{name}: nobody is asked about this file: {words}"):
        changes.ask(f"rules:shop/{name}", "dan")


def test_a_policy_that_a_commit_comes_upon_is_asked_about_though_the_commit_is_rolled_back(pack: Path) -> None:
    (pack / "actions.yaml").write_text(POLICY)
    (pack / "steps.py").write_text(
        "from baton.actions.action import Action\nfrom baton.effects import firewall\nfrom baton.stages.slots import StageOutput\n\n\n"
        "def act(orders):\n    one = Action('block', 'i1', 'x', {'a': 1}, before={'b': 0}, after={'b': 1})\n"
        "    place = lambda conn, number: firewall.place(conn, 'shop', 'shop_flow', 'p', [one])\n"
        "    return StageOutput(orders, {}, place)\n"
    )
    acting = job("act", "shop_pack.steps:act", inputs={"orders": commit("ingest", 0, ORDERS)})
    run(acting)
    edit(pack / "actions.yaml", "two_approvers", "one_approver")
    other = job("act", "shop_pack.steps:act", hour=1, inputs={"orders": commit("ingest", 1, ORDERS)})
    with pytest.raises(
        NotAgreed, match=r"stage shop_flow.act uses .*rules:shop/actions: .*request \d+ about it is open"
    ):
        run(other)
    assert [one.target for one in requests.still_open() if one.of_asset] == ["rules:shop/actions"]
    assert head(other.slot) is None
