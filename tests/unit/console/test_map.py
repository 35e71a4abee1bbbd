"""The page Map: what hangs together, out of the DAGs' wiring, with today's state, for those who may read it."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from baton.console.host import Wiring
from baton.console.pages import map_drawing
from baton.console.queries import orchestra

PLACING: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "placing.py"))

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
FLOW, HTML, client, LittleHost = (STAGE[name] for name in ("FLOW", "HTML", "client", "LittleHost"))
no_registry, filled, empty = STAGE["no_registry"], STAGE["filled"], STAGE["empty"]
SENT = "effect financial_crime mail outgoing_mail"


def asked(name: str = "admin") -> dict[str, Any]:
    found: dict[str, Any] = client(name).get("/baton/map").raise_for_status().json()
    return found


def parts(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["key"]: node for nodes in found["packs"].values() for node in nodes}


def test_what_is_wired_hangs_together(filled: Any) -> None:
    found = asked()
    assert set(found["packs"]) == {"financial_crime"}, "a DAG that is none of Baton's is not on the map"
    assert {tuple(edge) for edge in found["edges"]} == {
        ("source financial_crime transactions", f"flow {FLOW}", "reads"),
        ("source financial_crime labels", "flow transaction_labels", "reads"),
        (f"flow {FLOW}", "model card_fraud", "scores"),
        (f"flow {FLOW}", SENT, "sends"),
        ("flow transaction_labels", "model card_fraud", "labels"),
    }, "a model whose lifecycle may not be read is not named"
    assert asked("stranger") == {"packs": {}, "edges": []}


def test_each_part_says_how_it_is_today(filled: Any) -> None:
    found = parts(asked())
    flow = found[f"flow {FLOW}"]
    assert flow["says"] == ["1 failed", "13 done", f"{len(filled['cases'])} open cases"]
    assert (flow["state"], flow["page"]) == ("bad", f"/dags/{FLOW}/runs/run-2")
    assert found["flow transaction_labels"]["says"] == ["paused", "no run today"]
    assert found["source financial_crime transactions"]["says"] == ["nothing read yet", "328 rules broken"]
    assert found["model card_fraud"]["says"] == ["version 2", "no window of it judged yet"], (
        "the newest is of version 1"
    )
    assert found["model card_fraud"]["page"] == "/models?model=card_fraud"
    assert (found[SENT]["says"], found[SENT]["state"]) == (["nothing waits"], "good")


def test_effects_in_doubt_and_deliveries_are_told(empty: None) -> None:
    import pandas as pd

    from baton.record import tables
    from baton.record.warehouse import write
    from baton.stages.slots import Slot, StageOutput, run_stage

    delivery = StageOutput(pd.DataFrame({"a": [1]}), {"rows_in": 571})
    run_stage(
        Slot(FLOW, "ingest", "2026-11-20T09:00:00"),
        lambda _: delivery,
        inputs={},
        params={},
        models={},
        code="test",
        run_id="r",
    )
    with write() as conn:
        PLACING["enqueue"](conn, FLOW, "2026-11-20T09:00:00", "mail", [("a", {"to": "x"}), ("b", {"to": "y"})])
        conn.execute(tables.outbox.update().where(tables.outbox.c.entity_key == "a").values(state="unknown"))
    found = parts(asked())
    assert found["source financial_crime transactions"]["says"] == ["571 rows for 20 Nov 09:00"]
    assert sorted(found[SENT]["says"]) == ["1 in doubt", "1 pending"]
    assert found[SENT]["state"] == "bad"
    assert found["model card_fraud"]["says"] == ["no champion yet"]


def test_the_picture_is_a_link_a_part_with_its_state_in_words(filled: Any) -> None:
    page = client("viewer").get("/baton/map", headers=HTML).text
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    links = {link.get("aria-label", "").partition(":")[0]: link for link in picture.iter("a")}
    assert set(links) == {
        "source transactions", "source labels", f"flow {FLOW}", "flow transaction_labels", "model card_fraud",
        "effect mail by outgoing mail",
    }  # fmt: skip
    assert links["model card_fraud"].get("href") == "/baton/models?model=card_fraud"
    assert links["model card_fraud"].get("data-out") is None
    assert (links[f"flow {FLOW}"].get("href"), links[f"flow {FLOW}"].get("data-out")) == (
        f"/dags/{FLOW}/runs/run-2",
        "ui",
    )
    assert len([path for path in picture.iter("path") if "edge" in path.get("class", "")]) == 5


def test_names_are_text_and_a_wire_back_is_drawn(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "<script>alert(1)</script>"
    wired = [
        Wiring(
            "first",
            ("kind:flow", f"pack:{hostile}"),
            stages={"ingest": {"source": hostile}},
            gives=("x-baton://first/published",),
        ),
        Wiring("second", ("kind:flow", f"pack:{hostile}"), wakes_on=("x-baton://first/published",)),
    ]
    monkeypatch.setattr(LittleHost, "wirings", lambda self, person: wired)
    assert ["flow first", "flow second", "wakes"] in asked()["edges"]
    page = client("admin").get("/baton/map", headers=HTML).text
    assert "<script>alert" not in page
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


def test_no_part_lies_on_another() -> None:
    nodes = [{"key": f"{kind} {n}", "kind": kind, "name": "x" * 90, "says": ["y" * 90], "state": "", "page": "", "inside": True}
             for kind in ("source", "flow", "model", "effect") for n in range(4)]  # fmt: skip
    edges = [[f"source {n}", f"flow {n % 2}", "reads"] for n in range(4)] + [["flow 1", "effect 2", "sends"]]
    picture = ElementTree.fromstring(
        str(map_drawing.draw({"a": nodes, "b": [dict(nodes[0], key="other")]}, edges, "", ""))
    )
    boxes = [box for box in picture.iter("rect") if "box" in box.get("class", "")]
    places = sorted((float(box.get("x", 0)), float(box.get("y", 0))) for box in boxes)
    assert len(places) == 17
    assert all(x != to or below - y >= map_drawing.HEIGHT for (x, y), (to, below) in pairwise(places))
    assert all(
        "…" in (text.text or "") for text in picture.iter("text") if (text.text or "").startswith(("xxx", "yyy"))
    )


def test_the_worst_of_a_part_colours_it() -> None:
    node = orchestra.Node("flow", "k", "n")
    for state, now in (("", ""), ("good", "good"), ("warn", "warn"), ("good", "warn"), ("bad", "bad"), ("", "bad")):
        node.say("word", state)
        assert node.state == now
