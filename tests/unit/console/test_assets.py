"""The pages Assets: who answers for what, searched and filtered, and the life of one; for those who may read it."""

from __future__ import annotations

import runpy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import event

from baton.console.host import Rights
from baton.console.pages.assets import timeline
from baton.console.queries.assets import life, listing
from baton.governance import duties
from baton.governance.assets import every, find
from baton.record import ledger
from baton.record.warehouse import read, write
from baton.usage import report

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
FLOW, HTML, client = (STAGE[name] for name in ("FLOW", "HTML", "client"))
use, put = (runpy.run_path(str(Path(__file__).with_name("test_usage.py")))[name] for name in ("row", "put"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]


def asked(path: str = "assets", name: str = "admin", **query: str) -> dict[str, Any]:
    found: dict[str, Any] = client(name).get(f"/baton/{path}", params=query).raise_for_status().json()
    return found


def test_assets_are_listed_searched_and_filtered(empty: Any) -> None:
    everything = asked()
    assert everything["all"] == len(every()) > everything["found"] - 1
    assert everything["assets"][0]["impact"] == "high"
    assert [one["id"] for one in asked(q="fraud cards", kind="model")["assets"]] == []
    assert [one["id"] for one in asked(q="FRAUD card", kind="model")["assets"]] == ["model:card_fraud"]
    found = asked(pack="supply_chain", impact="high")
    assert {one["id"] for one in found["assets"]} == {
        "model:demand", "rules:supply_chain/policy/items", "effect:supply_chain/purchase_order",
    }  # fmt: skip
    pages = {number: asked(page=str(number)) for number in (1, everything["pages"], 999)}
    assert len(pages[1]["assets"]) == listing.PER_PAGE
    assert pages[999]["page"] == everything["pages"]


def test_who_may_read_no_flow_sees_no_asset(empty: Any) -> None:
    assert asked(name="stranger")["all"] == 0
    assert "you may read about no flow" in client("stranger").get("/baton/assets", headers=HTML).text
    for asset in ("model:card_fraud", "contract:financial_crime/decisions", "model:nothing", "nothing"):
        assert client("stranger").get(f"/baton/assets/{asset}").status_code == 404
    assert client("viewer").get("/baton/assets/contract:financial_crime/decisions").status_code == 200


def test_what_is_due_is_named_also_on_today(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rights = Rights(STAGE["LittleHost"](), STAGE["Person"]("admin"))
    known = listing.rows(rights, date(2027, 6, 10))
    assert len(listing.due(known)) == len(every())
    assert {one["due_in"] for one in known} == {-10}
    assert listing.due(listing.rows(rights, date(2027, 4, 30))) == []
    assert asked("api/today")["reviews"] == listing.due(listing.rows(rights))
    monkeypatch.setattr(listing, "SOON", 10_000)
    page = client("admin").get("/baton/today", headers=HTML).text
    assert "Due for review" in page
    assert "card_fraud" in client("admin").get("/baton/assets?due=due&q=card_fraud", headers=HTML).text


def test_a_model_has_a_life(filled: Any) -> None:
    with write() as conn:
        ledger.append(conn, "training_started", "card_fraud", {"run": "manual__4", "by": "ada"})
        for version, run in ((4, "manual__4"), (5, "drift__7"), (6, "scheduled__6"), (7, "manual__7")):
            said = {"winner": "trees", "run": run}
            ledger.append(conn, "version_registered", f"card_fraud/{version}", said)
        ledger.append(conn, "consume_refused", "model:card_fraud", {"flow": "theirs", "reason": "not listed"})
    found = asked("assets/model:card_fraud")
    versions = {one["version"]: one for one in found["versions"]}
    assert list(versions) == [7, 6, 5, 4, 3, 2, 1]
    proposed = {number: one["proposed_by"] for number, one in versions.items()}
    assert proposed == {7: None, 6: None, 5: "monitor", 4: "ada", 3: None, 2: None, 1: None}
    assert (versions[4]["reigns"], versions[4]["scored"]) == ([], 0)
    assert [one["reviewer"] for one in versions[2]["answers"]] == ["admin"]
    assert versions[1]["reigns"][0]["until"] == versions[2]["reigns"][0]["at"]
    assert versions[2]["reigns"][0]["until"] is None
    assert [one["kind"] for one in found["troubles"]] == ["consume_refused"]
    assert len(found["over"]["partitions"]) == len(filled["keys"])
    page = client("admin").get("/baton/assets/model:card_fraud", headers=HTML).text
    for words in ("versions on a time line", "consume refused", "not listed", "Performance", " by ada", " by monitor"):
        assert words in page, words


def test_a_flow_shows_what_it_published_and_its_cases(filled: Any) -> None:
    found = asked(f"assets/flow:{FLOW}")
    assert [one["partition"] for one in found["partitions"]] == filled["keys"]
    assert [one["flow"] for one in found["cases"]] == [FLOW]
    assert found["place"].startswith("financial_crime/governance.yaml:")
    for asset in (f"flow:{FLOW}", "effect:customer_experience/mail", "rules:supply_chain/policy/items"):
        page = client("admin").get(f"/baton/assets/{asset}", headers=HTML)
        assert (page.status_code, "people have to agree" in page.text.replace("</span>", " ")) == (200, True), asset


def test_versions_are_drawn_in_lanes_and_said_in_words() -> None:
    at = [f"2026-11-{day:02d}T10:00:00.000000Z" for day in (1, 2, 3, 4)]
    one = {"version": 2, "registered_at": at[0], "judged_at": at[1], "decision": "PROMOTE",
           "answers": [{"at": at[2], "answer": "approved", "reviewer": "<ada>", "channel": "airflow"}],
           "reigns": [{"at": at[3], "until": None, "actor": "ada"}]}  # fmt: skip
    lone = {"version": 1, "registered_at": None, "judged_at": None, "decision": None, "answers": [], "reigns": []}
    drawn = timeline.versions([one, lone], datetime(2026, 11, 5, tzinfo=UTC))
    tree = ElementTree.fromstring(str(drawn))
    assert tree.get("aria-label") == "1 versions on a time line"
    assert len(tree.findall(".//circle")) == 4
    assert "approved by &lt;ada&gt;" in drawn
    assert timeline.versions([lone], datetime(2026, 11, 5, tzinfo=UTC)) == ""


def test_owner_or_deputy_gives_duties_where_airflow_lets_them_decide(empty: Any) -> None:
    until = (datetime.now(UTC).date() + timedelta(30)).isoformat()
    asked_for = {
        "asset": "model:card_fraud",
        "duty": "approve",
        "person": "ann",
        "until": until,
        "reason": "she knows it",
    }

    def send(name: str, path: str = "grants", **changed: str) -> Any:
        return client(name).post(f"/baton/{path}", json={**asked_for, **changed})

    codes = {name: send(name).status_code for name in ("stranger", "viewer", "second", "admin")}
    assert codes == {"stranger": 403, "viewer": 403, "second": 409, "admin": 200}, (
        "second decides in Airflow, and owns nothing"
    )
    assert send("admin", until="soon").status_code == 422
    assert send("admin", person="admin").status_code == 409
    assert client(None).post("/baton/grants", json=asked_for).status_code == 401
    (grant,) = asked("assets/model:card_fraud")["grants"]
    assert (grant["person"], grant["given_by"], grant["good"], grant["waits"]) == ("ann", "admin", False, True)
    page = client("admin").get("/baton/assets/model:card_fraud", headers=HTML).text
    assert "she knows it" in page
    assert 'action="/baton/grants/end"' in page
    assert 'action="/baton/grants' not in client("second").get("/baton/assets/model:card_fraud", headers=HTML).text
    assert send("admin", "grants/end", grant="99").status_code == 422
    assert send("second", "grants/end", grant=str(grant["id"])).status_code == 409
    assert send("admin", "grants/end", grant=str(grant["id"])).json()["ended_by"] == "admin"


def test_what_others_were_given_to_read_is_on_no_page(empty: Any) -> None:
    put(use(datetime.now(UTC).date(), 1, "model:card_fraud", rows=77))

    def grant(asset: str, person: str) -> None:
        with write() as conn:
            day = datetime.now(UTC).date()
            made = duties.give(conn, asset, "read", person, duties.Who("op"), day, "of the team")
            duties.agree(conn, made.id, ["admin"], 1)

    paths = (f"assets/flow:{FLOW}", "assets/model:card_fraud", "assets/contract:financial_crime/decisions")

    def codes(name: str) -> list[int]:
        return [client(name).get(f"/baton/{path}").status_code for path in paths]

    assert codes("viewer") == [200, 200, 200]
    grant(f"flow:{FLOW}", "ann")
    assert [codes(name) for name in ("viewer", "second", "admin")] == [
        [404, 200, 200],
        [404, 200, 200],
        [200, 200, 200],
    ]
    assert FLOW not in client("viewer").get("/baton/api/today").text
    assert [one["dag_id"] for one in asked("api/today")["runs"]] == [FLOW]
    assert FLOW not in [one["name"] for one in asked(name="viewer", kind="flow")["assets"]]
    assert asked("usage", "second")["models"] == []
    assert [f"'{FLOW}'" in str(asked("map", name)) for name in ("admin", "viewer")] == [True, False]
    case = {"resolution": 7}
    assert client("second").post(f"/baton/cases/{FLOW}/1", json=case).status_code == 403, "nor is it theirs to decide"
    grant("model:card_fraud", "ann")
    grant("contract:financial_crime/decisions", "ann")
    assert codes("viewer") == [404, 404, 404]
    assert "card_fraud" not in asked("models", "viewer")["models"]
    assert "card_fraud" not in str(asked("api/today", "viewer")["approvals"])
    grant("model:card_fraud", "VIEWER")
    assert codes("viewer") == [404, 200, 404]


def test_what_a_page_asks_is_answered_by_an_index_however_much_there_is(filled: Any) -> None:
    rights = Rights(STAGE["LittleHost"](), STAGE["Person"]("admin"))
    asked_for: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked_for.append((statement, parameters))

    with read() as conn:
        event.listen(conn, "before_cursor_execute", note)
        for asset in ("model:card_fraud", "agent:inventory", f"flow:{FLOW}"):
            life.life(conn, rights, find(asset))
        event.remove(conn, "before_cursor_execute", note)
        plans = {
            said: [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", given)]
            for said, given in asked_for
        }
    assert len(plans) >= 7
    assert {said: steps for said, steps in plans.items() if any(one.startswith("SCAN") for one in steps)} == {}


def test_what_versions_were_used_for_is_shown_by_month(empty: Any) -> None:
    today = datetime.now(UTC).date()
    last = today.replace(day=1) - timedelta(days=1)
    old = today - timedelta(days=400)
    put(
        use(today, 1, "model:card_fraud", version="2", rows=900, cost=None, calls=0),
        use(last, 2, "model:card_fraud", version="1", rows=100, cost=None, calls=0),
        use(today, 3, "model:card_fraud", version="1", flow="hidden_flow", rows=7),
        use(old, 4, "model:card_fraud", version="1", rows=5000),
        use(today, 5, "agent:inventory", pack="supply_chain", version="abc", model="small"),
        use(today, 6, "agent:inventory", pack="another", version="abc", model="small"),
    )
    used = asked("assets/model:card_fraud")["used"]
    assert [(one["month"], one["version"], one["rows"], one["cost"]) for one in used["rows"]] == [
        (f"{today:%Y-%m}", "1", 7, 0.5), (f"{today:%Y-%m}", "2", 900, None), (f"{last:%Y-%m}", "1", 100, None),
    ]  # fmt: skip
    assert sum(one["rows"] for one in used["rows"]) == 1007, "of the last twelve months"
    assert [one["month"] for one in used["months"]] == [f"{last:%Y-%m}", f"{today:%Y-%m}"]
    assert used["months"][0]["rows"] == {"1": 100}
    (one,) = asked("assets/agent:supply_chain/inventory")["used"]["rows"]
    assert (one["version"], one["model"], one["calls"], one["tokens_in"], one["cost"]) == ("abc", "small", 2, 200, 0.5)
    page = client("admin").get("/baton/assets/agent:supply_chain/inventory", headers=HTML).text
    for words in ("Use and cost", "dollars over 1 month", "rows over 1 month", "abc"):
        assert words in page, words
    assert "rows over 2 months" in client("admin").get("/baton/assets/model:card_fraud", headers=HTML).text
    assert "Use and cost" not in client("admin").get(f"/baton/assets/flow:{FLOW}", headers=HTML).text
    with read() as conn:
        seen = report.of_asset(conn, "model:card_fraud", None, today, lambda flow: flow == FLOW)
    assert [one["rows"] for one in seen["rows"]] == [900, 100], "what a person may not read about is not summed"
