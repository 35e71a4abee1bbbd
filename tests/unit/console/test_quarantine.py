"""The pages Quarantine: what waits, masked for those who may not decide; rows are given up by whoever logged in, above the share by two."""

from __future__ import annotations

import re
import runpy
from html import escape, unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.actions.votes import Voter
from baton.console.pages import forms
from baton.console.pages.quarantine import routes
from baton.console.queries.quarantine import waiting
from baton.data.cells import MASKED
from baton.errors import BatonError
from baton.quarantine import repairs
from baton.quarantine.rows import Where, counts
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
HTML, SITE, FLOW, LittleHost, client = (STAGE[name] for name in ("HTML", "SITE", "FLOW", "LittleHost", "client"))
no_registry, empty = STAGE["no_registry"], STAGE["empty"]
HOUR, LATER, OTHER = "2026-11-20T09:00:00", "2026-11-20T10:00:00", "shop_flow"
SECRET, SCRIPT = "Ann Example <ann@home.example>", "<script>alert(1)</script>"
PAGE = f"contracts/{FLOW}/2026-11-20T09-00-00/contract-test.html"


@pytest.fixture
def hundred(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred rows thirty wait, one of them for two rules; a row of the next hour, and one of another flow."""
    monkeypatch.setattr("baton.actions.votes.account", lambda: Voter("airflow", "airflow", "command line"))
    read = pd.DataFrame({"amount": [1.0]})
    run_stage(
        Slot(FLOW, "contract", HOUR), lambda _: StageOutput(read, {"rows_in": 100, "page": PAGE}), inputs={}, params={},
        models={}, code="test", run_id="r",
    )  # fmt: skip
    stored = settings().reports_dir / PAGE
    stored.parent.mkdir(parents=True)
    stored.write_text("<p>a page</p>")
    rows = [record(row, "range", "amount", "-1", advice="drop the sign") for row in range(1, 31)]
    rows.append(record(3, "not_null", "sender", f"{MASKED}, {SCRIPT}", raw={"sender": SECRET}))
    rows[-1]["column"] = "sender"
    rows += [record(1, "range", partition=LATER), record(1, "range", flow=OTHER, sha="f1")]
    with warehouse.write() as conn:
        conn.execute(tables.quarantine.insert(), rows)


def record(
    row: int, rule: str, column: str = "amount", value: str = "-1", *, flow: str = FLOW, partition: str = HOUR, sha: str = "", **more: Any
) -> dict[str, Any]:  # fmt: skip
    at = warehouse.now()
    said = {"column": column, "value": value, "advice": None, "raw": {"amount": "-1"}, "entity_key": f"k{row}"} | more
    return {"flow": flow, "partition": partition, "row_sha": sha or f"{partition[12]}a{row}", "row": row, "rule": rule, "source": "orders",
            "status": "open", "first_seen": at, "updated_at": at, **said}  # fmt: skip


def here(partition: str = HOUR, flow: str = FLOW) -> str:
    return f"/baton/quarantine/{flow}/{partition}"


def names(*rows: int) -> list[str]:
    return [f"{row}:9a{row}" for row in rows]


def give_up(*rows: int, who: str = "admin", reason: str = "sent twice", at: str = "", **body: Any) -> Any:
    body = {"rows": names(*rows)} | body if rows else body
    return client(who).post(f"{at or here()}/discard", json={"reason": reason, **body})


def answer(who: str, word: str = "approved", reason: str = "") -> Any:
    (one,) = client(who).get("/baton/actions").json()["requests"]
    body = {"answer": word, "seen": one["seen"], "reason": reason}
    return client(who).post(f"/baton/actions/requests/{one['id']}", json=body)


def gone() -> int:
    return counts()["discarded"]


# --- what waits ---


def test_partitions_with_what_is_wrong_in_them(hundred: None) -> None:
    found = client("admin").get("/baton/quarantine").json()
    assert [(one["flow"], one["partition"], one["rows"]) for one in found["places"]] == [
        (FLOW, LATER, 1), (OTHER, HOUR, 1), (FLOW, HOUR, 30)
    ]  # fmt: skip
    last = found["places"][-1]
    assert [(one["rule"], one["column"], one["rows"]) for one in last["groups"]] == [
        ("range", "amount", 30),
        ("not_null", "sender", 1),
    ]
    assert (last["result"], last["more"], found["found"], found["pages"]) == (PAGE, 0, 3, 1)
    page = client("viewer").get("/baton/quarantine", headers=HTML).text
    assert f'href="{here()}"' in unescape(page).replace("%3A", ":")
    assert f"/baton/pages/{PAGE}" in page
    assert client("stranger").get("/baton/quarantine").json()["places"] == []
    (settings().reports_dir / PAGE).unlink()
    assert client("admin").get("/baton/quarantine").json()["places"][-1]["result"] == "", "retention removed it"


def test_a_page_says_how_many_there_are_and_shows_some(hundred: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PLACES", 2)
    monkeypatch.setattr(waiting, "GROUPS", 1)
    monkeypatch.setattr(waiting, "ROWS", 20)
    second = client("admin").get("/baton/quarantine", params={"page": 9}).json()
    assert (second["page"], second["pages"], second["places"][0]["more"]) == (2, 2, 1)
    found = client("admin").get(here(), params={"page": 2}).json()
    assert (found["page"], found["pages"], found["open"]) == (2, 2, 30)
    assert [row["row"] for row in found["rows"]] == list(range(21, 31))
    one = client("admin").get(here(), params={"rule": "not_null"}).json()
    assert (one["pages"], one["open"], [row["row"] for row in one["rows"]]) == (1, 30, [3])
    assert [broken["rule"] for broken in one["rows"][0]["broken"]] == ["not_null", "range"], "all that is wrong with it"
    assert "page 1 of 2" in client("admin").get(here(), headers=HTML).text


def test_personal_values_are_for_those_who_may_decide_and_nothing_is_markup(hundred: None) -> None:
    for accept in ("text/html", "application/json"):
        read = client("viewer").get(here(), headers={"accept": accept}).text
        decides = client("admin").get(here(), headers={"accept": accept}).text
        assert "ann@home" not in read, accept
        assert MASKED in read, accept
        assert "ann@home" in decides, accept
    assert SCRIPT not in client("viewer").get(here(), headers=HTML).text
    assert escape(SCRIPT) in client("viewer").get(here(), headers=HTML).text
    with warehouse.write() as conn:
        conn.execute(tables.quarantine.insert(), [
            record(90, SCRIPT, SCRIPT, SCRIPT, advice=SCRIPT, entity_key=SCRIPT, source=SCRIPT),
            record(91, "range", flow=f"f'\"{SCRIPT.replace('/', '')}", partition=f"p{SCRIPT.replace('/', '')}\"", sha="f2"),
        ])  # fmt: skip
    for address in (here(), "/baton/quarantine", "/baton/today", f"{here()}?rule={SCRIPT}"):
        page = client("admin").get(address, headers=HTML)
        assert page.status_code == 200
        assert "<script>alert" not in page.text, address
    read = client("viewer").get(here(), headers=HTML).text
    assert "<form" not in read
    assert "Deciding takes the right" in read


def test_what_is_not_theirs_is_as_if_it_did_not_exist(hundred: None) -> None:
    assert client(None).get(here()).status_code == client(None).post(f"{here()}/discard").status_code == 401
    for who, address in (("stranger", here()), ("stranger", here("nothing", "none")), ("admin", here("p%00", "f"))):
        assert client(who).get(address).status_code == 404, address
    assert client("admin").get(here("2026-11-20T23:00:00")).json()["open"] == 0


def test_the_rows_of_the_past_cost_nothing(hundred: None) -> None:
    sent = STAGE["sent_from_now"]()
    for address in ("/baton/quarantine", here(), f"{here()}?rule=range"):
        assert client("admin").get(address).status_code == 200
    assert give_up(1).status_code == 200
    plans = STAGE["plans_of"](sent)
    assert len(plans) > 15
    for text, steps in plans:
        for step in steps:
            assert not re.match(r"SCAN (commits|heads|permits|quarantine|requests)\b", step), text
            assert not re.match(r"SEARCH (commits|heads|quarantine) .*\(flow=\?\)", step), text


# --- giving rows up ---


def test_a_few_are_given_up_under_the_name_of_who_logged_in(hundred: None) -> None:
    token = forms.token_for(LittleHost(), STAGE["Person"]("admin"))
    form = {"token": token, "reason": " sent twice ", "actor": "somebody else", "row:1:9a1": "on", "row:3:9a3": "on"}
    admin = client("admin", cookie=True)
    sent = admin.post(f"{here()}/discard", data=form, headers={"origin": SITE})
    assert sent.status_code == 303
    assert sent.headers["location"].replace("%3A", ":") == here()
    page = admin.get(here(), headers=HTML).text
    assert "28 rows open" in page
    assert "2 rows of this partition were discarded" in page
    (entry,) = ledger.entries(kind="rows_discarded")
    said = {name: entry.payload[name] for name in ("actor", "person", "channel", "reason", "rows")}
    assert said == {"actor": "admin", "person": "admin", "channel": "airflow", "reason": "sent twice", "rows": 2}


def test_a_form_of_another_site_gives_nothing_up(hundred: None) -> None:
    form = {"reason": "r", "row:1:9a1": "on"}
    admin, address = client("admin", cookie=True), f"{here()}/discard"
    theirs = forms.token_for(LittleHost(), STAGE["Person"]("second"))
    for sent in (
        admin.post(address, data=form, headers={"origin": SITE}),
        admin.post(address, data={**form, "token": theirs}, headers={"origin": SITE}),
        admin.post(address, json={"reason": "r", "rows": names(1)}, headers={"origin": "http://evil.example"}),
        admin.post(address, json={"reason": "r", "rows": names(1)}),
        give_up(1, who="viewer"),
        give_up(1, who="stranger"),
        give_up(1, who="viewer", at=here("no", "such")),
    ):
        assert sent.status_code == 403
    assert gone() == 0


@pytest.mark.parametrize(
    "body",
    [
        {}, {"rows": names(1), "rule": "range", "seen": 30}, {"rule": "range"}, {"rule": "range", "seen": "many"}, {"rows": ["1"]},
        {"rows": [["1", "9a1"]]}, {"rows": "1:9a1"}, {"rows": ["1:9a1' OR 1=1"]}, {"rule": 7, "seen": 30}, {"rule": "\0", "seen": 30},
        {"rows": [f"{n}:a" for n in range(501)]}, {"rows": names(1), "reason": " "}, {"rows": names(1), "reason": "x" * 501},
        {"rows": names(1), "reason": "a\0b"}, {"rows": names(1), "reason": ["r"]},
    ],
)  # fmt: skip
def test_what_nobody_can_mean_is_said(hundred: None, body: dict[str, Any]) -> None:
    assert give_up(**body).status_code == 422
    assert gone() == 0


def test_only_rows_of_this_partition_and_as_many_as_were_seen(hundred: None) -> None:
    for body in (
        {"rows": [*names(1), "1:0a1"]},  # of the next hour
        {"rows": [*names(1), "1:f1"]},  # of another flow
        {"rows": ["2:9a1"]},
        {"rule": "range", "seen": 29},
        {"rule": "nothing", "seen": 1},
    ):
        sent = give_up(**body)
        assert sent.status_code == 409, body
        assert "nothing was discarded: " in sent.json()["detail"]
    repairs.repair(Where(FLOW, HOUR, row=1), {"amount": "1"}, "cy")
    assert give_up(1, 2).status_code == 409, "somebody repaired one meanwhile"
    assert (gone(), ledger.entries(kind="rows_discarded")) == (0, [])
    assert give_up(rule="not_null", seen=1).json() == {"discarded": 1, "request": None, "words": ""}


def test_a_rule_of_very_many_rows_is_for_the_command(hundred: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST", 20)
    sent = give_up(rule="range", seen=30)
    assert sent.status_code == 409
    assert "baton quarantine discard" in sent.json()["detail"]
    assert "more than 20: <code>baton quarantine discard" in client("admin").get(here(), headers=HTML).text


def test_above_the_share_one_other_person_agrees_and_the_same_again_does_it(hundred: None) -> None:
    sent = give_up(*range(1, 7))
    assert (sent.status_code, sent.json()["discarded"], sent.json()["request"]) == (202, 0, 1)
    assert "6.0% of its rows would be given up" in sent.json()["words"]
    assert "waits for another person" in sent.json()["words"]
    page = client("second").get(here(), headers=HTML).text
    assert "admin wants 6 rows given up (“sent twice”)" in page
    assert "0 of 1 approval so far" in page
    assert 'href="/baton/actions#request-1"' in page
    assert "sent twice" not in client("viewer").get(here(), headers=HTML).text
    assert answer("admin").status_code == 409, "whoever asked"
    assert answer("viewer").status_code == 403
    assert give_up(*range(1, 7)).status_code == 202, "nobody agreed yet"
    assert answer("second").json()["state"] == "approved"
    page = client("admin").get(here(), headers=HTML).text
    assert "was agreed to, and is not done yet: 6 rows, “sent twice”" in page
    assert page.count(" checked>") == 6
    assert page.count('value="sent twice"') == 3, "the same again is a click away"
    for lost in ({"expires_at": "2020-01-01"}, {"void_at": "2020-01-01"}):
        with warehouse.write() as conn:
            before = conn.execute(tables.permits.select()).mappings().one()
            conn.execute(tables.permits.update().values(lost))
        assert client("admin").get(here()).json()["standing"] is None, "what nobody can do any more waits for nobody"
        with warehouse.write() as conn:
            conn.execute(tables.permits.update().values({name: before[name] for name in lost}))
    assert give_up(*range(1, 7)).json()["discarded"] == 6
    (entry,) = ledger.entries(kind="rows_discarded")
    assert (entry.payload["share"], entry.payload["request"], entry.payload["person"]) == (0.06, 1, "admin")
    assert client("admin").get(here()).json()["standing"] is None
    assert give_up(7).status_code == 202, "a permit is good once"


def test_refused_stays_refused(hundred: None) -> None:
    give_up(*range(1, 7))
    assert answer("second", "refused", "they are orders").status_code == 200
    sent = give_up(*range(1, 7))
    assert sent.status_code == 409
    assert "refused by second: they are orders" in sent.json()["detail"]
    page = client("admin").get(here(), headers=HTML).text
    assert "was refused by second: they are orders" in page
    assert gone() == 0


def test_many_small_posts_are_one(hundred: None) -> None:
    for row in range(1, 6):
        assert give_up(row, who="admin" if row % 2 else "second").json()["discarded"] == 1
    assert give_up(6).status_code == 202
    assert give_up(6, who="second").status_code == 202
    assert gone() == 5


def test_who_asks_here_is_known_whatever_account_the_server_has(hundred: None) -> None:
    """The command in the same container needs two, and what is asked on one way does not make the other one easier."""
    which = Where(FLOW, HOUR, rows=tuple((f"9a{row}", row) for row in range(1, 7)))
    with pytest.raises(BatonError, match=r"waits for two people: .*on the page Quarantine"):
        repairs.discard(which, "sent twice", "admin")
    assert answer("second").json()["state"] == "open"
    assert give_up(*range(1, 7)).json()["request"] == 2, (
        "another request: that word was to one that anybody may have asked"
    )
    assert answer("admin").status_code == 409
    with pytest.raises(BatonError, match="request 3 waits for two people"):
        repairs.discard(which, "sent twice", "x")
    assert answer("admin").json()["state"] == "open", "one of two"
    with pytest.raises(BatonError, match="request 3 waits for two people"):
        repairs.discard(which, "sent twice", "x")
    assert gone() == 0


@pytest.mark.parametrize("name", ["Anonymous", "airflow", "service:x", ""])
def test_a_log_in_that_is_nobodys_takes_two(hundred: None, name: str) -> None:
    which = Where(FLOW, HOUR, rows=tuple((f"9a{row}", row) for row in range(1, 7)))
    with pytest.raises(BatonError, match="waits for two people"):
        repairs.discard(which, "sent twice", Voter(name, "Ann", "airflow"))
    with pytest.raises(BatonError, match="waits for two people"):  # what a command says of itself is no log-in
        repairs.discard(which, "sent twice", Voter("ann", "ann", "command line"))


def test_today_leads_there(hundred: None) -> None:
    page = unescape(client("viewer").get("/baton/today", headers=HTML).text).replace("%3A", ":")
    assert 'href="/baton/quarantine">' in page
    assert f'href="{here()}?rule=range"' in page
