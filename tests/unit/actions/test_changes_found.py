"""What a stage comes upon: files that are gone or new or changed while it runs, which it asks about itself; who answers meanwhile."""

from __future__ import annotations

import os
import runpy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from baton.actions import changes, requests
from baton.actions.votes import Voter, VoteRefused
from baton.effects import firewall, overview
from baton.errors import NotAgreed, RegistryRefused, SpecError
from baton.governance import content, duties
from baton.governance.consume import require_consumer
from baton.record import tables, warehouse
from baton.stages.run import run
from baton.stages.slots import head

SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).parent / "changed_files.py"))
pack = SHOP["pack"]
job, commit, doubled, checked, edit, activated, agree = (
    SHOP[name] for name in ("job", "commit", "doubled", "checked", "edit", "activated", "agree")
)
STAGE, ORDERS, CONTRACT, GOVERNANCE, LIMITS, POLICY, ANN, BOB = (
    SHOP[name] for name in ("STAGE", "ORDERS", "CONTRACT", "GOVERNANCE", "LIMITS", "POLICY", "ANN", "BOB")
)


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


def test_a_pack_that_never_had_a_governance_works_without(pack: Path) -> None:
    text = (pack / "governance.yaml").read_text()
    (pack / "governance.yaml").unlink()
    assert checked().ref.rows == 3
    assert activated(GOVERNANCE) == []
    agreed = changes.require([("shop", "contract", "orders")], "stage shop_flow.late")
    (pack / "governance.yaml").write_text(text)
    with pytest.raises(NotAgreed, match=f"stage shop_flow.late: {GOVERNANCE} changed while it ran"):
        agreed.require_unchanged("stage shop_flow.late")


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


def test_within_a_transaction_the_votes_are_counted_in_it(pack: Path) -> None:
    low = (pack / "governance.yaml").read_text().replace("impact: medium", "impact: low")
    (pack / "governance.yaml").write_text(low)
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    opened: list[Any] = []
    event.listen(warehouse.engine(), "checkout", lambda *told: opened.append(told))
    asked = changes.ask(CONTRACT, "dan")
    assert (asked.needs, len(opened)) == (1, 1)
    opened.clear()
    assert agree(asked, ANN).state == requests.APPROVED
    assert len(opened) <= 2  # the second writes the anchor's lines once the first is committed


def test_who_asked_in_vain_is_no_voter_once_a_stage_asks(pack: Path) -> None:
    checked()
    edit(pack / "contracts" / "orders.yaml", "tolerated: 0.5", "tolerated: 0.4")
    changes.ask(CONTRACT, "dan")
    with warehouse.write() as conn:
        conn.execute(tables.requests.update().values(expires_at="2026-01-01T00:00:00"))
    with pytest.raises(NotAgreed):
        checked()
    (asked,) = requests.still_open()
    assert asked.requester == "flow:shop_flow"
    with pytest.raises(VoteRefused, match="dan asked for it before"):
        agree(asked, Voter("dan"))
