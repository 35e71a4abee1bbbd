"""The console with a host of a few lines: rights, forms, pages, and what they show of a filled warehouse."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from baton.console import alias_watch, forms, wording
from baton.console.app import create_app
from baton.console.host import OpenRequest, Person, Rights, RunsOfDag
from baton.console.sparkline import Point, sparkline
from baton.console.stored_pages import find_page
from baton.errors import ServiceError
from baton.settings import settings

ROWS = runpy.run_path(str(Path(__file__).with_name("console_rows.py")))
FLOW = ROWS["FLOW"]
HTML = {"accept": "text/html"}
SITE = "http://testserver"


class LittleHost:
    """Knows three people: admin decides, viewer reads, stranger may nothing."""

    root, origin, secret = "", "", b"key of this test"

    def allowed(self, person: Person, action: str, dag_id: str | None) -> bool:
        return person.name == "admin" or (person.name == "viewer" and action == "read")

    def runs(self, person: Person, since: datetime) -> list[RunsOfDag]:
        if person.name == "stranger":
            return []
        return [
            RunsOfDag(
                FLOW, {"success": 13, "failed": 1}, "run-2", "failed", since.isoformat(), "2026-11-20T09:00:00", "run-2"
            )
        ]

    def requests(self, person: Person) -> list[OpenRequest]:
        at = datetime.now(UTC).isoformat()
        return [
            OpenRequest("card_fraud_promote", "run 1", "approve", -1, "Promote?", at),
            OpenRequest("document_intake", "r", "confirm", 3, "Is this invoice real?", at),
        ] if person.name != "stranger" else []  # fmt: skip

    def login_url(self, next_url: str) -> str:
        return f"/auth/login?next={next_url}"


def who(request: Request) -> Person:
    """Bearer token or cookie; the token is the name."""
    name = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get("who")
    if not name:
        raise HTTPException(401, "Not authenticated")
    return Person(name)


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry's answer is what a test puts here; without one it does not answer."""
    answer: dict[str, Any] = {}

    def fetch(models: tuple[str, ...]) -> Any:
        if not answer:
            raise ServiceError("MLflow: no server is known")
        return answer

    monkeypatch.setattr(alias_watch, "fetch", fetch)
    monkeypatch.setattr(alias_watch, "KEEP", 0.0)
    monkeypatch.setattr("baton.console.state.known_models", lambda: ("card_fraud", "transaction_anomaly"))
    return answer


def new_home(folder: Path, patch: pytest.MonkeyPatch) -> None:
    from baton import warehouse

    patch.setenv("BATON_HOME", str(folder))
    settings.cache_clear()
    warehouse.migrate()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        new_home(tmp_path_factory.mktemp("filled"), patch)
        yield ROWS["fill"](decisions_per_partition=8, partitions=12)
    settings.cache_clear()


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    new_home(tmp_path, monkeypatch)
    yield
    monkeypatch.undo()
    settings.cache_clear()


def client(name: str | None, *, cookie: bool = False) -> TestClient:
    outer = FastAPI()
    outer.mount("/baton", create_app(who, LittleHost()))
    made = TestClient(outer, follow_redirects=False)
    if name and cookie:
        made.cookies.set("who", name)
    elif name:
        made.headers["authorization"] = f"Bearer {name}"
    return made


def routes() -> list[tuple[str, str]]:
    """Every (method, address) of the console, with values for its parameters."""
    app = create_app(who, LittleHost())
    values = {"{path:path}": "contracts/f/p/x.html", "{flow}": FLOW, "{entity_key:path}": "1"}
    found = []
    for route in app.routes:
        path = route.path  # type: ignore[attr-defined]
        for name, value in values.items():
            path = path.replace(name, value)
        assert "{" not in path, f"give a value for the parameters of {path}"
        found += [(method, f"/baton{path}") for method in sorted(getattr(route, "methods", None) or {"GET"})]
    return found


# --- who may what ---


def test_every_route_asks_who_is_there() -> None:
    assert {"/baton/today", "/baton/api/today", "/baton/ledger/verify"} <= {path for _, path in routes()}
    for method, path in routes():
        answer = client(None).request(method, path, headers=HTML)
        assert answer.status_code == 401, f"{method} {path}"
        assert client(None).request(method, path).json() == {"detail": "Not authenticated"}
    page = client(None).get("/baton/today", headers=HTML)
    assert "/auth/login?next=http://testserver/baton/today" in page.text
    assert client("admin").get("/baton/openapi.json").status_code == 404
    assert client("admin").get("/baton/docs").status_code == 404


def test_viewer_may_not_write(filled: Any) -> None:
    writes = [(method, path) for method, path in routes() if method not in ("GET", "HEAD")]
    assert len(writes) == 2
    for method, path in writes:
        assert client("viewer").request(method, path, json={"resolution": "fraud"}).status_code == 403, path
    page = client("viewer").get("/baton/today", headers=HTML).text
    assert "read only" in page
    assert 'value="fraud"' not in page
    assert "Verify now" not in page


def test_nobody_sees_what_they_may_not_read(filled: Any) -> None:
    found = client("stranger").get("/baton/api/today").json()
    assert found["totals"]["cases"] == found["totals"]["quarantined"] == found["totals"]["to_answer"] == 0
    assert found["drift"] == found["champions"] == found["cases"]["top"] == found["quarantine"]["groups"] == []
    key = filled["cases"][0][1]
    assert client("stranger").get(f"/baton/cases/{FLOW}/{key}").status_code == 404
    assert client("stranger").post(f"/baton/cases/{FLOW}/{key}", json={"resolution": "fraud"}).status_code == 403


# --- the page ---


def test_today_shows_the_day(filled: Any, no_registry: dict[str, Any]) -> None:
    no_registry.update({"card_fraud": {"champion": 2, "challenger": 3}, "transaction_anomaly": {"champion": 1}})
    answer = client("admin").get("/baton/today", headers=HTML)
    found = client("admin").get("/baton/api/today").json()
    assert answer.status_code == 200
    assert found["totals"] == {
        "to_answer": 2, "cases": len(filled["cases"]), "quarantined": 327, "drifted": 2, "failed": 1, "runs": 14, "warnings": 0,
    }  # fmt: skip
    assert found["cases"]["top"][0]["risk"] == max(row["risk"] for row in found["cases"]["top"])
    assert found["cases"]["top"][0]["money"] > 0
    assert "v14 strongly" in found["cases"]["top"][0]["why"][0]["words"]
    assert len(found["cases"]["top"]) == min(20, len(filled["cases"]))
    (approval,) = found["approvals"]
    assert (approval["model"], approval["version"], approval["champion"]) == ("card_fraud", 3, 2)
    assert approval["request"] == "/dags/card_fraud_promote/runs/run 1/tasks/approve/required_actions"
    assert found["requests"][0]["request"].endswith("/tasks/confirm/mapped/3/required_actions")
    champion = found["champions"][0]
    assert (champion["model"], champion["version"], champion["previous"], champion["actor"]) == (
        "card_fraud",
        2,
        1,
        "admin",
    )
    assert champion["challenger"] == 3
    drift = next(window for window in found["drift"] if window["model"] == "card_fraud")
    assert [f["feature"] for f in drift["measured"]] == ["v14", "v4", "amount"]
    assert drift["labelled"]["status"] == "dropped"
    assert len(drift["series"]) == 12
    assert "31 labelled positives" in drift["retrain"]["reason"]
    for text in ("average precision 0.842 against 0.611", "amount_median", "divide amount by 100", "<svg", "UTC"):
        assert text in answer.text


def test_a_row_that_breaks_two_rules_counts_once(filled: Any) -> None:
    quarantine = client("admin").get("/baton/api/today").json()["quarantine"]
    assert {group["rule"]: group["rows"] for group in quarantine["groups"]} == {
        "amount_median": 319, "amount_not_negative": 7, "type": 1, "key_is_present": 1,
    }  # fmt: skip
    assert quarantine["rows"] == 327
    (waiting,) = quarantine["repaired"]
    assert (waiting["rows"], waiting["command"]) == (1, f"baton quarantine reinject {FLOW} {filled['keys'][6]}")
    first = quarantine["groups"][0]
    assert first["examples"][0] == {"entity_key": "9001", "column": "amount", "value": "100"}
    assert first["commands"][0].startswith(f"baton quarantine list --flow {FLOW} --partition {filled['keys'][9]}")


def test_moved_alias_is_a_warning(filled: Any, no_registry: dict[str, Any]) -> None:
    no_registry.update({"card_fraud": {"champion": 1}, "transaction_anomaly": {"champion": 1}})
    found = client("admin").get("/baton/api/today").json()
    assert found["totals"]["warnings"] == 1
    assert found["champions"][0]["warning"] == (
        "card_fraud: champion is version 1, but the ledger says version 2: moved outside Baton"
    )
    assert "moved outside Baton" in client("admin").get("/baton/today", headers=HTML).text


def test_without_the_registry_the_page_says_so(filled: Any) -> None:
    found = client("admin").get("/baton/api/today").json()
    assert found["registry"]["compared"] is False
    assert found["champions"][0]["version"] == 2
    assert "aliases not compared" in client("admin").get("/baton/today", headers=HTML).text


def test_empty_states_say_what_to_do(empty: None) -> None:
    page = client("stranger").get("/baton/today", headers=HTML)
    assert page.status_code == 200
    for hint in ("baton new model", "_monitor", "No open case", "No row waits for repair", "Nothing waits", "unpaused"):
        assert hint in page.text, hint
    assert "none yet: trigger" in client("admin").get("/baton/today", headers=HTML).text


def test_a_warehouse_without_tables_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    answer = client("admin").get("/baton/today", headers=HTML)
    settings.cache_clear()
    assert answer.status_code == 503
    assert "baton up" in answer.text


def test_pages_load_nothing_from_elsewhere(filled: Any) -> None:
    for path in ("/baton/today", f"/baton/cases/{FLOW}/{filled['cases'][0][1]}", "/baton/nothing-here"):
        answer = client("admin").get(path, headers=HTML)
        policy, html = answer.headers["content-security-policy"], answer.text
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if nonce := re.search("script-src 'nonce-([^']+)'", policy):
            assert set(re.findall(r'<(?:script|style)[^>]*nonce="([^"]+)"', html)) == {nonce[1]}
        assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html)
        assert not re.search(r"\son\w+=|style=\"|<script(?! nonce)", html)


def test_what_data_say_is_text(empty: None) -> None:
    from baton import tables
    from baton.warehouse import write

    row = {
        **ROWS["quarantined"](ROWS["partition_keys"]())[0],
        "value": "<script>alert(1)</script>",
        "entity_key": '"><i>',
    }
    with write() as conn:
        conn.execute(tables.quarantine.insert(), [row])
    page = client("admin").get("/baton/today", headers=HTML).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert '"><i>' not in page


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


def test_direct_personal_data_are_for_those_who_decide(filled: Any) -> None:
    key = filled["cases"][1][1]
    row = client("viewer").get(f"/baton/cases/{FLOW}/{key}").json()["row"]
    holder = next(cell for cell in row if cell["name"] == "card_holder")
    assert holder["hidden"] is True
    assert holder["value"] is None
    assert "Ada Example" not in client("viewer").get(f"/baton/cases/{FLOW}/{key}", headers=HTML).text


def test_card_says_why_it_has_no_row(filled: Any) -> None:
    from baton import datasets
    from baton.slots import Slot, head

    partition, key = filled["cases"][-1]
    found = head(Slot(FLOW, "contract", partition))
    assert found is not None
    path = datasets.path_of(found.ref.uri)
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

    from baton import ledger, tables
    from baton.warehouse import read

    key = filled["cases"][2][1]
    admin, address = client("admin"), f"/baton/cases/{FLOW}/{key}"
    assert admin.post(address, json={"resolution": "maybe"}).status_code == 422
    assert admin.post(address, json={"resolution": "fraud", "note": "x" * 2001}).status_code == 422
    assert admin.post(f"/baton/cases/{FLOW}/no-such", json={"resolution": "fraud"}).status_code == 404
    answer = admin.post(address, json={"resolution": "fraud", "note": " card was stolen ", "actor": "somebody else"})
    assert answer.status_code == 200
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
    assert client("admin").get("/baton/api/today").json()["cases"]["closed_today"] == 1
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

    from baton.console.stored_pages import readable

    rights = Rights(Asking(), Person("admin"))
    for path in ("contracts/flow_a/p/x.html", "drift/model_b/p.html", "other/x.html"):
        assert readable(rights, path)
    assert asked == ["flow_a", "model_b_monitor", None]


# --- small parts ---


def test_a_slow_registry_costs_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), []

    def slow(models: tuple[str, ...]) -> Any:
        asked.append(models)
        release.wait(10)
        return {"m": {"champion": 1}}

    monkeypatch.setattr(alias_watch, "fetch", slow)
    monkeypatch.setattr(alias_watch, "PATIENCE", 0.2)
    watch = alias_watch.AliasWatch()
    began = time.monotonic()
    assert watch.look(["m"]) is None
    assert watch.look(["m"]) is None
    assert time.monotonic() - began < 2
    assert len(asked) == 1, "one question at a time"
    release.set()
    deadline = time.monotonic() + 5
    while watch.look(["m"]) != {"m": {"champion": 1}}:
        assert time.monotonic() < deadline


def test_words() -> None:
    assert (
        wording.in_words([["v14", 3.0], ["v10", 1.0], ["amount", -0.5]])
        == "v14 strongly and v10 raise it, amount lowers it"
    )
    assert wording.in_words([["a", 1.0], ["b", 1.0], ["c", 1.0]]) == "a, b and c raise it"
    assert wording.in_words([["a", -1.0]]) == "a strongly lowers it"
    assert wording.in_words(None) == wording.in_words([["a", 0.0]]) == ""
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    assert wording.when("2026-11-22T10:31:05.000000Z", now) == "10:31"
    assert wording.when("2026-11-20T10:31:05+02:00", now) == "20 Nov 08:31"
    assert wording.when("2025-01-02T03:04:05", now) == "2 Jan 2025 03:04"
    assert wording.partition("2026-11-20T09:00:00") == "20 Nov 09:00"
    assert wording.partition("version-3") == "version-3"
    assert [wording.ago(f"2026-11-22T{t}Z", now) for t in ("11:59:20", "11:58:59", "10:30:00", "09:00:00")] == [
        "40 s",
        "1 min",
        "90 min",
        "3 h",
    ]
    assert wording.plural(1, "row") + wording.plural(2000, "row") == "1 row2,000 rows"
    assert (
        wording.details({"models": {"m": 1}, "sha": "x" * 300, "reasons": ["a", "b"], "none": None})
        == "models: m 1 · reasons: a; b"
    )


def test_sparkline() -> None:
    drawn = sparkline([Point("a", 0.8), Point("b", None), Point("<c>", 0.4, bad=True)], 0.84, "metric")
    assert drawn.count("<circle") == 1
    assert 'class="reference"' in drawn
    assert "&lt;c&gt;" in drawn
    assert sparkline([Point("a", None)]) == ""
    assert sparkline([Point("a", 0.5)]).count("<circle") == 1


def test_nothing_heavy_is_imported_before_the_first_request() -> None:
    code = (
        "import sys; import baton.airflow.console_mount; "
        "early = {'airflow', 'fastapi', 'sqlalchemy', 'jinja2'} & set(sys.modules); assert not early, early; "
        "import baton.console.app, baton.console.state; "
        "late = {'pandas', 'numpy', 'mlflow', 'great_expectations', 'sklearn', 'pyarrow', 'airflow'} & set(sys.modules); "
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
