"""The page Models: one model over a page of partitions, drawn, for those who may read it, whatever lies behind."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from baton.console.pages import charts
from baton.console.pages.drawing import svg, tag
from baton.console.queries import models
from baton.record import tables, warehouse
from baton.stages.slots import Slot, StageOutput, run_stage

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
ROWS = STAGE["ROWS"]
FLOW, HTML, client = (STAGE[name] for name in ("FLOW", "HTML", "client"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "known_models", lambda: ("card_fraud", "untrained"))


def asked(name: str = "admin", **query: str) -> dict[str, Any]:
    found: dict[str, Any] = client(name).get("/baton/models", params=query).raise_for_status().json()
    return found


def test_a_model_over_its_partitions(filled: Any) -> None:
    found = asked()
    assert found["models"] == ["card_fraud", "transaction_anomaly", "untrained"]
    assert (found["model"], found["flow"]) == ("card_fraud", FLOW)
    assert [one["partition"] for one in found["partitions"]] == filled["keys"]
    assert [move["version"] for move in found["moves"]] == [1, 2]
    assert found["features"] == ["amount", "v14", "v4"]
    fallen = found["partitions"][5]
    assert fallen["effects"]["v14"] == [3.05, True]
    assert (fallen["status"], fallen["verdict"], fallen["drifted"]) == ("dropped", "drifted", ["v14", "v4", "amount"])
    assert (found["earlier"], found["later"]) == (None, None)
    assert asked(model="transaction_anomaly")["partitions"][-1]["drifted"] == ["amount"]
    assert asked(model="untrained")["partitions"] == []


def test_the_page_is_drawn_and_a_column_opens_its_report(filled: Any) -> None:
    page = client("admin").get("/baton/models", headers=HTML).text
    picture = page[
        page.index('<svg class="chart heat"') : page.index("</svg>", page.index('<svg class="chart heat"')) + 6
    ]
    heat = ElementTree.fromstring(picture)
    links = heat.findall("a")
    assert len(links) == len(filled["keys"])
    assert links[0].get("href") == f"/baton/pages/drift/card_fraud/{filled['keys'][0].replace(':', '-')}-v1.html"
    assert [link.get("tabindex") for link in links] == ["-1"] * (len(links) - 1) + ["0"], (
        "one stop for Tab, arrows between"
    )
    assert "v14, v4, amount drifted. Opens the report" in links[5].get("aria-label", "")
    for words in ("champion from", "average_precision over 10 labelled partitions", "The same in figures", "fell"):
        assert words in page, words
    assert "No champion yet" in client("admin").get("/baton/models?model=untrained", headers=HTML).text


def test_what_was_in_force_at_a_moment_that_is_chosen(filled: Any) -> None:
    assert asked()["as_of"] is None
    found = asked(model="card_fraud", at=datetime.now(UTC).isoformat())["as_of"]
    assert (found["version"], found["actor"], found["approval"]["says"]["reviewer"]) == (2, "admin", "admin")
    page = client("admin").get("/baton/models", params={"model": "card_fraud", "at": found["at"]}, headers=HTML).text
    for words in ("champion from", "approved by admin (airflow)", f"ledger entry {found['entry']}", "not on record"):
        assert words in page, words
    early = client("viewer").get("/baton/models?model=card_fraud&at=2020-01-01", headers=HTML).text
    assert "had no champion at 2020-01-01" in early
    assert "&lt;b&gt;&#39; is no moment" in client("viewer").get("/baton/models?at=<b>", headers=HTML).text


def test_where_it_comes_from_and_where_it_goes(filled: Any) -> None:
    assert asked(model="transaction_anomaly")["downstream"] == [FLOW]
    made: dict[str, Any] = {"params": {"options": {"source": "history"}}, "models": {}, "code": "c", "run_id": "r"}
    inputs: dict[str, Any] = {}
    for stage, facts in (("assemble", {"source_sha256": "a"}), ("contract", {}), ("register", {"version": 2})):
        frame = pd.DataFrame({"a": [1]})
        slot, output = Slot("untrained_train", stage, "r1"), StageOutput(frame, facts)
        inputs = {"data": run_stage(slot, partial(lambda found, _: found, output), inputs=inputs, **made).ref}
    upstream = [["", "history"], ["untrained_train", "contract"], ["untrained_train", "register"]]
    assert asked(model="untrained")["upstream"] == upstream
    page = client("viewer").get("/baton/models?model=untrained", headers=HTML).text
    assert "source <b>history</b> →" in page


def test_who_may_not_read_a_model_does_not_learn_of_it(filled: Any) -> None:
    assert asked("stranger") == {"models": [], "model": ""}
    assert client("stranger").get("/baton/models?model=card_fraud").status_code == 404
    assert client("admin").get("/baton/models?model=<b>", headers=HTML).status_code == 404
    assert "No model is known" in client("stranger").get("/baton/models", headers=HTML).text
    assert "Opens the report" in client("viewer").get("/baton/models", headers=HTML).text


def test_old_partitions_are_pages_away_and_cost_nothing(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PARTITIONS", 5)
    keys, newest = filled["keys"], asked()
    assert [one["partition"] for one in newest["partitions"]] == keys[-5:]
    assert (newest["earlier"], newest["later"]) == (keys[-6], None)
    before = asked(model="card_fraud", until=newest["earlier"])
    assert [one["partition"] for one in before["partitions"]] == keys[-10:-5]
    assert before["later"] == keys[-1]
    first = asked(model="card_fraud", until=keys[1])
    assert ([one["partition"] for one in first["partitions"]], first["earlier"]) == (keys[:2], None)
    assert asked(model="card_fraud", until="1999")["partitions"] == []


def test_an_empty_warehouse_says_what_to_do(empty: None) -> None:
    page = client("admin").get("/baton/models", headers=HTML)
    assert page.status_code == 200
    assert "card_fraud_train" in page.text


def test_the_newest_verdict_stands_there_with_its_groups(empty: None) -> None:
    page = client("admin").get("/baton/models?model=card_fraud", headers=HTML).text
    assert "<h2>Gate</h2>" not in page
    groups = [{"group": "<b>", "counted": 90, "judged": True, "challenger": 0.4, "champion": None},
              {"group": "c", "counted": 3, "judged": False, "challenger": None}]  # fmt: skip
    fair = {"name": "branch", "column": "branch", "metric": "true_positive_rate", "max_gap": 0.2, "min_rows": 20,
            "groups": groups, "gaps": {"challenger": None}}  # fmt: skip
    for version, rules in ((3, []), (4, [fair])):
        row = ROWS["approval"]("card_fraud", version, None, None, f"2026-11-20T0{version}:00:00Z")
        row["verdict"] |= {"fairness": rules}
        with warehouse.write() as conn:
            conn.execute(tables.approvals.insert(), row)
        page = client("admin").get("/baton/models?model=card_fraud", headers=HTML).text
        assert f"version {version}, judged 2026-11-20 0{version}:00: PROMOTE" in page
        assert ("No groups are declared" in page) == (not rules)
    assert asked(model="card_fraud")["gate"]["fairness"] == [fair]
    for words in ("&lt;b&gt;", "3, too few", "0.4000", "not judged"):
        assert words in page, words


# --- the pictures ---


def one(partition: str = "2026-11-20T09:00:00", **more: Any) -> dict[str, Any]:
    plain = dict.fromkeys(("value", "low", "high", "reference", "status", "metric", "page"))
    shared = {
        "partition": partition,
        "version": 1,
        "verdict": "stable",
        "drifted": [],
        "effects": {},
        "routes": {},
        "money": {},
    }
    return {**plain, **shared, **more}


def test_texts_are_escaped_wherever_they_stand() -> None:
    hostile = '"><script>alert(1)</script>'
    cells = {hostile: [0.4, False]}
    drawn = charts.heat([hostile], [one(verdict=hostile, effects=cells, page=hostile)], "/baton")
    drawn += charts.shares([one(routes={hostile: 1.0})], [hostile])
    drawn += charts.metric([one(metric=hostile, value=0.5, low=0.4, high=0.6, reference=0.5)])
    move = {"at": "2026-11-20T09:00:00Z", "version": 1, "actor": hostile, "reason": hostile}
    drawn += charts.champions([move], datetime(2026, 11, 21, tzinfo=UTC), "http://mlflow/#/")
    assert "<script" not in drawn
    ElementTree.fromstring(f"<all>{drawn}</all>")
    assert tag("a", "<b>", href='"x"') == '<a href="&#34;x&#34;">&lt;b&gt;</a>'
    assert 'aria-label="&lt;i&gt;"' in svg(1, 1, "<i>")


def test_a_route_that_takes_nearly_all_leaves_room_for_the_others() -> None:
    many = [one(routes={"clear": 97.0, "review": 3.0}), one(routes={"clear": 95.0, "block": 5.0})]
    assert charts.routes(many) == ["clear", "block", "review"]
    picture = str(charts.shares(many, charts.routes(many)))
    assert "share, clear the rest" in picture
    assert "5.0%" in picture
    assert "review 3.0%" in picture
    even = str(charts.shares([one(routes={"a": 1.0, "b": 1.0})], ["a", "b"]))
    assert "share of routes" in even
    assert even.count('class="c0"') == even.count('class="c1"') == 1


def test_what_is_not_there_is_not_drawn() -> None:
    assert charts.metric([one()]) == charts.champions([], datetime.now(UTC), None) == charts.money([one()], ["a"]) == ""
    drawn = str(charts.heat(["v1", "gone"], [one(effects={"v1": [9.0, False]})], ""))
    assert ("<a " in drawn, 'class="h4"' in drawn, "gone" in drawn) == (False, True, True)
    dot = ElementTree.fromstring(str(charts.calibration([[0.4, 45.0, 50.0, 100.0]])))
    assert "said 45.0%, came true 50.0%, 100 rows" in "".join(dot.itertext())
