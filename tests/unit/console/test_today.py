"""The console: who may what, and what the page Today shows of a filled and of an empty warehouse."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from baton.console.host import Rights, RunsOfDag
from baton.console.queries import state, work
from baton.record import ledger, tables, warehouse
from baton.settings import settings

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
ROWS, FLOW, HTML, client, routes = (STAGE[name] for name in ("ROWS", "FLOW", "HTML", "client", "routes"))
APPROVING = runpy.run_path(str(Path(__file__).parents[2] / "approving.py"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]

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
    assert len(writes) == 8
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


@pytest.fixture
def today(filled: Any, no_registry: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, as JSON, with a challenger in the registry."""
    no_registry.update({"card_fraud": {"champion": 2, "challenger": 3}, "transaction_anomaly": {"champion": 1}})
    found: dict[str, Any] = client("admin").get("/baton/api/today").json()
    return found


def test_today_counts_what_waits(filled: Any, today: dict[str, Any]) -> None:
    assert today["totals"] == {
        "to_answer": 2, "cases": len(filled["cases"]), "quarantined": 327, "drifted": 2, "failed": 1, "runs": 14, "warnings": 0,
    }  # fmt: skip


def put_back(model: str, came_from: int | None, to: int | None, by: str | None, *scored: str) -> None:
    said = {"alias": "champion", "from": came_from, "to": to, "by": by, "scored": [[FLOW, one] for one in scored]}
    with warehouse.write() as conn:
        ledger.append(conn, "alias_reverted", model, said)


def test_an_alias_that_was_moved_by_hand_and_put_back_is_told_with_what_was_scored(empty: Any) -> None:
    assert client("admin").get("/baton/api/today").json()["put_back"] == []
    put_back("card_fraud", None, 2, None)
    put_back("card_fraud", 3, 2, "eve", "2026-11-20T08:00:00", "2026-11-20T09:00:00")
    newest, before = client("viewer").get("/baton/api/today").json()["put_back"]
    assert [one["partition"] for one in newest["scored"]] == ["2026-11-20T08:00:00", "2026-11-20T09:00:00"]
    assert (newest["from"], newest["to"], newest["by"], newest["more"]) == (3, 2, "eve", 0)
    assert (before["from"], before["by"], before["scored"]) == (None, None, [])
    page = " ".join(re.sub("<[^>]+>", "", client("viewer").get("/baton/today", headers=HTML).text).split())
    assert "champion of card_fraud was moved outside Baton to" in page
    assert "moved by eve. Scored with it meanwhile:" in page
    assert "20 Nov 08:00, " in page
    assert "nobody knows by whom, since it passed no log-in of MLflow. Nothing was scored with it." in page
    assert client("stranger").get("/baton/api/today").json()["put_back"] == []


def test_what_was_put_back_is_told_for_a_day_and_names_few_partitions(empty: Any) -> None:
    put_back("card_fraud", 3, 2, None, *(f"2026-11-20T{hour:02}:00:00" for hour in range(24)))
    rights = Rights(STAGE["LittleHost"](), STAGE["Person"]("admin"))
    with warehouse.read() as conn:
        (told,) = state.put_back(conn, rights)
        later = datetime.now(UTC) + state.HEALED_WITHIN + timedelta(minutes=1)
        assert state.put_back(conn, rights, later) == []
    assert (len(told["scored"]), told["more"]) == (state.REPEATED, 24 - state.REPEATED)
    page = " ".join(client("admin").get("/baton/today", headers=HTML).text.split())
    assert "and 14 more partitions;" in page


def test_the_riskiest_cases_stand_first_with_their_reasons(filled: Any, today: dict[str, Any]) -> None:
    assert today["cases"]["top"][0]["risk"] == max(row["risk"] for row in today["cases"]["top"])
    assert today["cases"]["top"][0]["money"] > 0
    assert "v14 strongly" in today["cases"]["top"][0]["why"][0]["words"]
    assert len(today["cases"]["top"]) == min(20, len(filled["cases"]))


def test_a_question_to_a_person_leads_to_its_form(today: dict[str, Any]) -> None:
    (approval,) = today["approvals"]
    assert (approval["model"], approval["version"], approval["champion"]) == ("card_fraud", 3, 2)
    assert approval["request"] == "/dags/card_fraud_promote/runs/run 1/tasks/approve/required_actions"
    assert today["requests"][0]["request"].endswith("/tasks/confirm/mapped/3/required_actions")


def test_who_may_not_approve_reads_why_instead_of_being_asked(empty: Any) -> None:
    APPROVING["judged"]("card_fraud", 3)
    APPROVING["ask"]("card_fraud", 3, admin="started its training")
    said = {}
    for who in ("admin", "second", "viewer"):
        (said[who],) = client(who).get("/baton/api/today").json()["approvals"]
    assert said["admin"]["why_not"] == "admin started its training; somebody else has to agree"
    assert said["second"]["why_not"] == ""
    assert said["viewer"]["why_not"] == "answering takes the right to decide"
    assert "You cannot approve it: admin started its training" in client("admin").get("/baton/today", headers=HTML).text


def test_a_champion_stands_with_its_challenger_and_who_made_it(today: dict[str, Any]) -> None:
    champion = today["champions"][0]
    assert (champion["model"], champion["version"], champion["previous"], champion["actor"]) == (
        "card_fraud",
        2,
        1,
        "admin",
    )
    assert champion["challenger"] == 3


def test_drift_is_measured_shown_over_time_and_explained(today: dict[str, Any]) -> None:
    drift = next(window for window in today["drift"] if window["model"] == "card_fraud")
    assert [f["feature"] for f in drift["measured"]] == ["v14", "v4", "amount"]
    assert drift["labelled"]["status"] == "dropped"
    assert len(drift["series"]) == 12
    assert "31 labelled positives" in drift["retrain"]["reason"]


def test_the_page_says_the_same_in_words(today: dict[str, Any]) -> None:
    answer = client("admin").get("/baton/today", headers=HTML)
    assert answer.status_code == 200
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
    pages = ["today", "models", "map", "cases", f"cases/{FLOW}/{filled['cases'][0][1]}", "nothing-here"]
    for path in [f"/baton/{page}" for page in pages]:
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
    from baton.record import tables
    from baton.record.warehouse import write

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


# --- when it is old ---

GROWING = "cases|commits|decisions|drift_windows|heads|labels|outbox|partition_models|predictions|quarantine"


def test_no_page_walks_through_what_grows_with_the_years(filled: Any) -> None:
    from baton.console.queries.trace import trace

    sent = STAGE["sent_from_now"]()
    key = filled["cases"][0][1]
    until = f"/baton/models?model=card_fraud&until={filled['keys'][5]}"
    for path in (
        "/baton/api/today",
        "/baton/models",
        until,
        "/baton/map",
        "/baton/cases",
        f"/baton/cases/{FLOW}/{key}",
        "/baton/quarantine",
        f"/baton/quarantine/{FLOW}/{filled['keys'][9]}",
    ):
        assert client("admin").get(path).status_code == 200
    trace(key, FLOW)
    plans = STAGE["plans_of"](sent)
    assert len(plans) > 40
    for text, steps in plans:
        for step in steps:
            assert not re.match(rf"SCAN ({GROWING})\b", step), text
            # the first column alone: all that a flow ever wrote
            assert not re.match(rf"SEARCH ({GROWING}) .*\(flow=\?\)", step), text


def test_a_run_of_the_form_is_named_by_the_partition_that_it_committed(filled: Any) -> None:
    commit = {
        "stage": "ingest",
        "map_index": -1,
        "fence": 9,
        "digest": "d",
        "uri": "u",
        "code": "c",
        "created_at": "2026",
    }
    more = {"ref": {}, "facts": {}, "inputs": {}, "params": {}, "models": {}, "partition": "2026-11-20T07:00:00"}
    with warehouse.write() as conn:
        conn.execute(tables.commits.insert().values(**commit, **more, flow=FLOW, run_id="manual-1"))
    one = RunsOfDag(FLOW, {"success": 1}, "manual-1", "success", "2026-11-20T08:00:00+00:00")
    with warehouse.read() as conn:
        runs = work.with_partitions(conn, [one, replace(one, last_run="manual-2"), replace(one, partition="p")])
    assert [run.partition for run in runs] == ["2026-11-20T07:00:00", None, "p"]
