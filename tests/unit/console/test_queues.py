"""A team's queue: what waits, in the order it is worked, page by page, for those who may read it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from baton.console.host import Person, Rights
from baton.console.pages import forms
from baton.console.queries import queues

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
HTML, SITE, LittleHost, client = (STAGE[name] for name in ("HTML", "SITE", "LittleHost", "client"))
no_registry, empty = STAGE["no_registry"], STAGE["empty"]
HOUR = "2026-11-20T09:00:00"
ANSWERS = {"right": {"kind": "a"}, "wrong": {}}


@pytest.fixture
def waiting(empty: None) -> None:
    """Three queues of two flows, and a case in none."""
    open_case("mail", "late", "care", 2, 0.4)
    open_case("mail", "risky", "care", 2, 0.9)
    open_case("mail", "first", "care", 1, 0.1)
    open_case("mail", "other", "legal", 3, 0.5, route="suggest")
    open_case("chat", "elsewhere", "care", 2, 0.95)
    open_case("cards", "plain", None, None, 0.6)


def open_case(
    flow: str, key: str, queue: str | None, priority: int | None, risk: float, route: str = "escalate", **said: str
) -> None:
    import pandas as pd

    from baton.feedback import cases
    from baton.record.warehouse import write

    row = {"entity_key": key, "route": route, "risk": risk, "queue": queue, "priority": priority, **said}
    frame = pd.DataFrame([row], dtype=object)
    with write() as conn:  # a partition of its own: one call withdraws the others of its partition
        cases.open_cases(conn, flow, f"{HOUR}-{key}", frame, ANSWERS)


def asked(name: str = "admin", **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = client(name).get("/baton/cases", params=query).json()
    return found


def keys(**query: Any) -> list[str]:
    return [row["entity_key"] for row in asked(**query)["cases"]]


def test_cases_come_in_the_order_they_are_worked(waiting: None) -> None:
    assert keys() == ["first", "elsewhere", "risky", "plain", "late", "other"]
    assert keys(flow="mail", queue="care") == ["first", "risky", "late"]
    open_case("mail", "later", "care", 2, 0.9)
    assert keys(flow="mail", queue="care") == ["first", "risky", "later", "late"], (
        "of equal risk the oldest comes first"
    )


def test_a_case_is_called_what_its_flow_says_by_those_who_may_decide(empty: None) -> None:
    why = json.dumps(["negative at 0.97", "lost_card is a regulated topic;"])
    open_case("mail", "3f9a", "care", 1, 0.9, title="Lost card <b>, from Ann Example", reasons=why)
    for address in ("/baton/cases", "/baton/today"):
        page = client("admin").get(address, headers=HTML).text
        assert "Lost card &lt;b&gt;, from Ann Example" in page, address
        assert "Negative at 0.97; lost_card is a regulated topic." in page, address
        assert "<code>3f9a</code>" in page, address
        read = client("viewer").get(address, headers=HTML).text + client("viewer").get(address).text
        assert "Ann Example" not in read, address
        assert "regulated" not in read, address
    assert '/baton/cases/mail/3f9a">3f9a</a>' in client("viewer").get("/baton/cases", headers=HTML).text


def test_each_filter_counts_alone_and_together(waiting: None) -> None:
    assert keys(queue="care") == ["first", "elsewhere", "risky", "late"]
    assert keys(route="suggest") == ["other"]
    assert keys(queue=queues.NO_QUEUE) == ["plain"]
    assert keys(flow="mail", queue="", route="") == ["first", "risky", "late", "other"]
    assert keys(flow="chat", queue="legal") == keys(flow="nothing") == []
    found = asked(flow="mail", queue="legal")
    assert (found["open"], found["page"], found["pages"]) == (1, 1, 1)
    assert found["choices"] == {
        "flow": ["cards", "chat", "mail"], "queue": ["-", "care", "legal"], "route": ["escalate", "suggest"],
    }  # fmt: skip
    assert client("admin").get("/baton/cases?page=0").status_code == 422


def test_a_page_holds_fifty_and_the_pages_hold_all(empty: None) -> None:
    import pandas as pd

    from baton.feedback import cases
    from baton.record.warehouse import write

    rows = [{"entity_key": f"{n:03d}", "route": "escalate", "risk": n / 200, "queue": "care", "priority": 1 + n % 3}
            for n in range(120)]  # fmt: skip
    with write() as conn:
        cases.open_cases(conn, "mail", HOUR, pd.DataFrame(rows), ANSWERS)
    pages = [keys(page=number) for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [queues.PER_PAGE, queues.PER_PAGE, 20]
    expected = sorted(rows, key=lambda row: (row["priority"], -row["risk"]))  # type: ignore[operator]
    assert [key for page in pages for key in page] == [row["entity_key"] for row in expected]
    assert asked(page=9)["page"] == 3
    html = client("admin").get("/baton/cases?flow=mail&page=2", headers=HTML).text
    assert "120 open cases, page 2 of 3" in html
    assert "/baton/cases?flow=mail&amp;queue=&amp;route=&amp;page=3" in html
    assert "/baton/cases?flow=mail&amp;queue=&amp;route=&amp;page=1" in html


def test_today_counts_the_queues_and_leads_to_them(waiting: None) -> None:
    found = client("admin").get("/baton/api/today").json()["cases"]
    assert [(one["flow"], one["queue"], one["open"]) for one in found["queues"]] == [
        ("cards", None, 1), ("chat", "care", 1), ("mail", "care", 3), ("mail", "legal", 1),
    ]  # fmt: skip
    assert [(one["flow"], one["route"], one["open"]) for one in found["routes"]][-2:] == [
        ("mail", "escalate", 3), ("mail", "suggest", 1),
    ]  # fmt: skip
    assert found["oldest"] == min(one["oldest"] for one in found["queues"])
    html = client("admin").get("/baton/today", headers=HTML).text
    assert "5 escalate, 1 suggest open" in html
    assert '<a href="/baton/cases?flow=mail&amp;queue=care"><b>3</b> care</a>' in html
    assert '<a href="/baton/cases?flow=cards&amp;queue=-"><b>1</b> no queue</a>' in html
    assert '<a href="/baton/cases">all open cases</a>' in html


def test_who_may_not_read_a_flow_does_not_learn_that_it_has_cases(waiting: None) -> None:
    from baton.record.warehouse import read

    class MailOnly(LittleHost):  # type: ignore[misc, valid-type]
        def allowed(self, person: Person, action: str, dag_id: str | None) -> bool:
            return dag_id == "mail" and action == "read"

    with read() as conn:
        rights = Rights(MailOnly(), Person("ann"))
        everything = queues.one_page(conn, rights, queues.Filter(), 1)
        others = queues.one_page(conn, rights, queues.Filter(flow="chat"), 1)
    assert {row["flow"] for row in everything["cases"]} == {"mail"}
    assert everything["choices"]["flow"] == ["mail"]
    assert (everything["open"], others["open"], others["cases"]) == (4, 0, [])
    assert asked("stranger")["cases"] == []
    assert asked("stranger")["choices"] == {"flow": [], "queue": [], "route": []}


def test_deciding_is_for_those_who_may_and_leads_back_to_the_queue(waiting: None) -> None:
    page = client("viewer").get("/baton/cases", headers=HTML).text
    assert "read only" in page
    assert "<button name=" not in page
    page = client("admin").get("/baton/cases?queue=care", headers=HTML).text
    assert '<button name="resolution" value="right">Right</button>' in page
    assert 'name="back" value="cases?flow=&amp;queue=care&amp;route=&amp;page=1"' in page
    browser, token = client("admin", cookie=True), forms.token_for(LittleHost(), Person("admin"))

    def back(key: str, named: str) -> str:
        form = {"resolution": "wrong", "token": token, "back": named}
        answer = browser.post(f"/baton/cases/mail/{key}", data=form, headers={"origin": SITE})
        assert answer.status_code == 303
        return str(answer.headers["location"])

    assert back("first", "cases?flow=&queue=care&page=2") == "/baton/cases?queue=care&page=2"
    assert back("risky", "cases?queue=a%26b&next=https://evil.example") == "/baton/cases?queue=a%26b"
    assert back("late", "cases/../../evil") == "/baton/today"
    assert keys(queue="care") == ["elsewhere"], "what was decided waits no longer"


def test_an_empty_queue_says_so_and_names_are_text(empty: None) -> None:
    assert "No open case." in client("admin").get("/baton/cases", headers=HTML).text
    open_case("mail", '"><i>', "<script>alert(1)</script>", 1, 0.5)
    for address in ("/baton/cases", "/baton/today", "/baton/cases?queue=<b>&flow=%22%3E<i>"):
        html = client("admin").get(address, headers=HTML).text
        assert "<script>alert" not in html
        assert '"><i>' not in html
    assert "No open case here: choose another" in html


def test_cases_are_found_by_an_index(waiting: None) -> None:
    from baton.record import warehouse
    from baton.record.warehouse import read

    said: list[tuple[str, Any]] = []
    engine = warehouse.engine()
    event.listen(engine, "before_cursor_execute", lambda c, cur, text, values, *_: said.append((text, values)))
    asked(flow="mail", queue="care", route="escalate")
    asked(queue=queues.NO_QUEUE)
    client("admin").get("/baton/api/today")
    about_cases = [(text, values) for text, values in list(said) if "FROM cases" in text]
    assert len(about_cases) >= 7
    with read() as conn:
        for text, values in about_cases:
            plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            walked = [step for step in plan if step.startswith(("SCAN cases", "SCAN decisions", "SCAN predictions"))]
            assert walked == [], text
            found = (
                "ix_cases_status_flow_queue_route (status=?",
                "ix_cases_status_updated_at_flow (status=? AND updated_at>?)",
            )
            assert any(index in step for step in plan for index in found), plan
