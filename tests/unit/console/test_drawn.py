"""What a decision says in pictures: read with care, drawn with every text escaped, hidden where it is personal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from baton.console.drawn import MOST, drawn_values
from baton.console.pages.graph_drawing import draw
from baton.errors import SpecError
from baton.specs.contract import ColumnSpec

COLUMNS: dict[str, Any] = {
    "history": {"shows": "timeline", "description": "what happened", "pii": "direct"},
    "entities": {"shows": "graph"},
    "plain": {"type": "str"},
}
GRAPH = {
    "nodes": [{"id": "a", "kind": "address", "label": "203.0.113.9", "state": "bad"}, {"id": "h", "kind": "host"}, {"kind": "user"}],
    "edges": [["a", "h", "logged in"], ["a", "nowhere", "?"], ["a"]],
}  # fmt: skip


def read(unmask: bool = True, **cells: Any) -> Any:
    return drawn_values({name: json.dumps(cell) for name, cell in cells.items()}, COLUMNS, unmask)


def test_moments_come_in_their_order_with_a_state_that_there_is() -> None:
    later, first = (
        {"at": "2026-11-20T10:01", "text": "blocked", "state": "good"},
        {"at": "2026-11-20T10:00", "text": "tried", "state": "odd"},
    )
    (found,) = read(history=[later, first])["timeline"]
    assert [(one["text"], one["state"]) for one in found["moments"]] == [("tried", "none"), ("blocked", "good")]


def test_personal_pictures_are_empty_for_those_who_may_not_decide() -> None:
    (found,) = read(unmask=False, history=[{"at": "", "text": "Ann Example logged in"}])["timeline"]
    assert found["hidden"]
    assert "Ann" not in json.dumps(found)


def test_edges_that_lead_nowhere_are_counted_not_drawn() -> None:
    (found,) = read(entities=GRAPH)["graph"]
    assert [node["label"] for node in found["nodes"]] == ["203.0.113.9", "h"]
    assert found["edges"] == [{"from": "a", "to": "h", "text": "logged in"}]
    assert found["left_out"] == 1


def test_a_flood_is_cut_and_said() -> None:
    (found,) = read(history=[{"at": str(n), "text": "x"} for n in range(MOST + 7)])["timeline"]
    assert (len(found["moments"]), found["left_out"]) == (MOST, 7)


@pytest.mark.parametrize("cell", ["no json", 7, None, {"nodes": 1}, [1, "a"]])
def test_what_is_no_picture_breaks_nothing(cell: Any) -> None:
    raw = {"history": cell if isinstance(cell, str) else json.dumps(cell), "entities": json.dumps(cell)}
    found = drawn_values(raw, COLUMNS, True)
    assert found["graph"] == []
    assert all(one["moments"] == [] for one in found["timeline"])


def test_texts_are_escaped_and_the_picture_is_said_in_words() -> None:
    nodes = [
        {"id": "x", "kind": "host", "label": "<script>", "state": "none"},
        {"id": "y", "kind": "user", "label": "u", "state": "bad"},
    ]
    drawn = str(draw({"nodes": nodes, "edges": [{"from": "x", "to": "y", "text": "runs as"}]}))
    assert "<script>" not in drawn
    assert 'aria-label="&lt;script&gt; runs as u"' in drawn
    assert drawn.count("<rect") == 4


def test_what_a_card_draws_is_text() -> None:
    with pytest.raises((ValueError, SpecError), match="shows: what the decision card draws is JSON"):
        ColumnSpec.model_validate({"type": "float", "shows": "graph"})
