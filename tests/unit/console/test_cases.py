"""The console: the decision card, decisions that go on record, forms that come from our own page only, stored pages."""

from __future__ import annotations

import json
import re
import runpy
import time
from pathlib import Path
from typing import Any

from baton.console.host import Person, Rights
from baton.console.pages import forms
from baton.console.pages.stored_pages import find_page
from baton.data.cells import MASKED
from baton.quarantine.rows import list_rows
from baton.settings import settings

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
FLOW, HTML, SITE, LittleHost, client = (STAGE[name] for name in ("FLOW", "HTML", "SITE", "LittleHost", "client"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]
LETTERS = runpy.run_path(str(Path(__file__).with_name("console_letters.py")))

# --- the decision card ---


def test_card_tells_the_whole_story(filled: Any) -> None:
    partition, key = filled["cases"][1]
    card = client("admin").get(f"/baton/cases/{FLOW}/{key}").json()
    assert card["case"]["partition"] == partition
    assert card["may_decide"] is True
    assert {score["model"]: score["version"] for score in card["scores"]} == {"card_fraud": 1, "transaction_anomaly": 1}
    fraud = next(score for score in card["scores"] if score["model"] == "card_fraud")
    assert fraud["words"] == "v14 strongly and v10 raise it, amount lowers it"
    assert fraud["approval"]["answer"] == "approved"
    assert card["contract"]["name"] == "transactions v1"
    assert card["row_problem"] is None
    assert [cell["name"] for cell in card["row"][:3]] == ["v14", "v10", "amount"]
    values = {cell["name"]: cell["value"] for cell in card["row"]}
    assert values["transaction_id"] == int(key)
    assert values["card_holder"] == "Ada Example"
    assert [entry["kind"] for entry in card["history"]] == ["decisions_published"]
    page = client("admin").get(f"/baton/cases/{FLOW}/{key}", headers=HTML)
    assert page.status_code == 200
    assert "Note (why), kept on record" in page.text
    assert [one["code"] for one in fraud["sentences"]] == ["pattern"]
    assert "in features that the processor keeps confidential (v14, v10)." in page.text


def test_direct_personal_data_are_for_those_who_decide(filled: Any) -> None:
    key = filled["cases"][1][1]
    row = client("viewer").get(f"/baton/cases/{FLOW}/{key}").json()["row"]
    holder = next(cell for cell in row if cell["name"] == "card_holder")
    assert holder["hidden"] is True
    assert holder["value"] is None
    assert "Ada Example" not in client("viewer").get(f"/baton/cases/{FLOW}/{key}", headers=HTML).text


def test_a_masked_value_of_quarantine_is_for_those_who_decide(empty: None) -> None:
    from baton.record import tables
    from baton.record.warehouse import write

    LETTERS["fill"]()
    letters, secret = LETTERS["FLOW"], "Ann Example <ann@home.example>"
    row = {**STAGE["ROWS"]["quarantined"](STAGE["ROWS"]["partition_keys"]())[0], "flow": letters, "entity_key": "a"}
    row |= {
        "column": "sender, amount",
        "value": f"{MASKED}, -1",
        "raw": {"sender": secret, "amount": "-1", "text": "x"},
    }
    shifted = {
        **row,
        "rule": "ragged",
        "column": None,
        "value": MASKED,
        "raw": {"_problem": f"ragged: 3 cells; {secret}"},
    }
    with write() as conn:
        conn.execute(tables.quarantine.insert(), [row, shifted])
    for path in ("/baton/today", "/baton/api/today", f"/baton/cases/{letters}/a"):
        for accept in ("text/html", "application/json"):
            assert "ann@home" not in client("viewer").get(path, headers={"accept": accept}).text, path
            assert "ann@home" in client("admin").get(path, headers={"accept": accept}).text, path
    shown = client("admin").get(f"/baton/cases/{letters}/a").json()["quarantine"]
    assert {one["value"] for one in shown} == {f"{secret}, -1", f"3 cells; {secret}"}
    assert [row.values for row in list_rows()] == [(f"{secret}, -1", f"3 cells; {secret}")]


def test_card_says_why_it_has_no_row(filled: Any) -> None:
    from baton.data import objects
    from baton.stages.slots import Slot, head

    partition, key = filled["cases"][-1]
    found = head(Slot(FLOW, "contract", partition))
    assert found is not None
    path = objects.path_of(found.ref.uri)
    path.rename(path.with_suffix(".gone"))
    try:
        card = client("admin").get(f"/baton/cases/{FLOW}/{key}").json()
    finally:
        path.with_suffix(".gone").rename(path)
    assert card["row"] == []
    assert "object is missing" in card["row_problem"]


# --- deciding ---


def test_decision_goes_on_record_under_the_persons_name(filled: Any) -> None:
    from sqlalchemy import select

    from baton.record import ledger, tables
    from baton.record.warehouse import read

    key = filled["cases"][2][1]
    admin, address = client("admin"), f"/baton/cases/{FLOW}/{key}"
    assert admin.post(address, json={"resolution": "maybe"}).status_code == 422
    assert admin.post(address, json={"resolution": "fraud", "note": "x" * 2001}).status_code == 422
    assert admin.post(f"/baton/cases/{FLOW}/no-such", json={"resolution": "fraud"}).status_code == 404
    answer = admin.post(address, json={"resolution": "fraud", "note": " card was stolen ", "actor": "somebody else"})
    assert answer.status_code == 200
    assert answer.json()["actor_id"] == "admin"
    assert (answer.json()["resolution"], answer.json()["actor"], answer.json()["note"]) == (
        "fraud",
        "admin",
        "card was stolen",
    )
    again = admin.post(address, json={"resolution": "legitimate"})
    assert again.status_code == 409
    assert "already decided fraud by admin" in again.json()["detail"]
    with read() as conn:
        label = conn.execute(select(tables.labels).where(tables.labels.c.entity_key == key)).mappings().one()
    assert (label["label"], label["origin"], label["actor"]) == (1, "analyst", "admin")
    entry = ledger.entries(subject=f"{FLOW}/{key}")[0]
    assert (entry.kind, entry.payload["actor"]) == ("case_decided", "admin")
    found = client("admin").get("/baton/api/today").json()["cases"]
    assert found["closed_today"] == 1
    seen = found["top"][0]["seen"]
    assert f'name="seen" value="{seen}"' in client("admin").get("/baton/cases", headers=HTML).text, "lists say it, too"
    assert "fraud</span>" in client("admin").get(address, headers=HTML).text


def test_forms_need_our_own_page(filled: Any) -> None:
    key = filled["cases"][3][1]
    address, host, admin = f"/baton/cases/{FLOW}/{key}", LittleHost(), Person("admin")
    token, other = forms.token_for(host, admin), forms.token_for(host, Person("viewer"))
    old = forms.token_for(host, admin, now=time.time() - forms.VALID_SECONDS - 5)
    browser = client("admin", cookie=True)
    good = {"resolution": "legitimate", "token": token}

    def refused(data: dict[str, str], **headers: str) -> int:
        return browser.post(
            address, data=data, headers={k.replace("_", "-"): v for k, v in headers.items()}
        ).status_code

    assert refused(good) == 403  # neither header
    assert refused(good, origin="https://evil.example") == 403
    assert refused(good, origin="null") == 403
    assert refused(good, sec_fetch_site="cross-site", origin=SITE) == 403
    assert refused(good, sec_fetch_site="same-site") == 403
    assert refused({"resolution": "fraud"}, origin=SITE) == 403
    assert refused({**good, "token": other}, origin=SITE) == 403
    assert refused({**good, "token": old}, origin=SITE) == 403
    assert refused({**good, "token": token[:-1] + "x"}, origin=SITE) == 403
    assert (
        browser.post(address, json={"resolution": "fraud"}, headers={"origin": "https://evil.example"}).status_code
        == 403
    )
    assert (
        browser.post(
            address, content="resolution=fraud", headers={"content-type": "text/plain", "origin": SITE}
        ).status_code
        == 415
    )
    big = json.dumps({"note": "x" * forms.MAX_BODY})
    assert (
        browser.post(address, content=big, headers={"content-type": "application/json", "origin": SITE}).status_code
        == 413
    )
    done = browser.post(
        address, data={**good, "back": "https://evil.example"}, headers={"sec-fetch-site": "same-origin"}
    )
    assert (done.status_code, done.headers["location"]) == (303, "/baton/today")
    assert browser.post(address, data={**good, "back": "card"}, headers={"origin": SITE}).status_code == 409
    page = browser.get("/baton/today", headers=HTML).text
    assert forms.token_holds(host, admin, re.search(r'name="token" value="([^"]+)"', page)[1])  # type: ignore[index]


def test_ledger_is_verified_on_demand(filled: Any) -> None:
    assert client("admin").get("/baton/api/today").json()["ledger"]["verified"] is None
    result = client("admin").post("/baton/ledger/verify", json={}).json()
    assert result["ok"] is True
    ledger = client("admin").get("/baton/api/today").json()["ledger"]
    assert ledger["verified"]["records"] == ledger["records"] > 0
    assert "verified" in client("admin").get("/baton/today", headers=HTML).text


def test_the_page_says_what_the_last_check_of_the_ledger_found(empty: None) -> None:
    from baton.record.ledger import ChainCheck, append, remember
    from baton.record.warehouse import write

    with write() as conn:
        append(conn, "kind", "subject", {})
    for found, said in (
        (ChainCheck(True, 5, None, "h", "", 2), "2 records without a line in the anchor"),
        (ChainCheck(False, 5, 3, "h", "entry 3 was changed", 0), "Record 3 is broken"),
        (ChainCheck(False, 5, None, "h", "the anchor is empty", 5), "Not to be relied on"),
    ):
        remember(found, "tester")
        assert said in client("viewer").get("/baton/today", headers=HTML).text


# --- stored pages ---


def test_stored_pages_stay_in_their_folder(filled: Any) -> None:
    reports = settings().reports_dir
    page = reports / "contracts" / FLOW / "2026-11-20T09-00-00" / "contract-1.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<h1>verdict</h1>")
    (reports.parent / "secret.html").write_text("secret")
    (reports / "contracts" / "notes.txt").write_text("no page")
    (reports / "contracts" / ".hidden.html").write_text("no page")
    (reports / "contracts" / "link.html").symlink_to(reports.parent / "secret.html")
    name = page.relative_to(reports).as_posix()
    answer = client("viewer").get(f"/baton/pages/{name}")
    assert answer.status_code == 200
    assert answer.text == "<h1>verdict</h1>"
    assert answer.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    )
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert client("stranger").get(f"/baton/pages/{name}").status_code == 404
    outside = (
        "../secret.html", "contracts/../../secret.html", "contracts/link.html", "contracts/notes.txt", "contracts/.hidden.html",
        "contracts", "", "/etc/passwd", "contracts//x.html", str(page), "contracts/\0.html", "..\\secret.html", "contracts/./x.html",
    )  # fmt: skip
    for path in outside:
        assert find_page(reports, path) is None, path
    for path in (
        "..%2fsecret.html",
        "contracts%2f..%2f..%2fsecret.html",
        "%2e%2e/secret.html",
        "contracts/link.html",
        "//etc/passwd",
    ):
        assert client("admin").get(f"/baton/pages/{path}").status_code == 404, path


def test_a_page_belongs_to_its_dag() -> None:
    asked: list[str | None] = []

    class Asking(LittleHost):
        def allowed(self, person: Person, action: str, dag_id: str | None) -> bool:
            asked.append(dag_id)
            return True

    from baton.console.pages.stored_pages import readable

    rights = Rights(Asking(), Person("admin"))
    for path in ("contracts/flow_a/p/x.html", "drift/model_b/p.html", "other/x.html"):
        assert readable(rights, path)
    assert asked == ["flow_a", "model_b_monitor", "other"]
