"""What was read out of a text, on the decision card: each value with its confidence, where it stands."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

from baton.console.spans import AROUND, LONGEST, placed_values

STAGE = runpy.run_path(str(Path(__file__).with_name("console_stage.py")))
LETTERS = runpy.run_path(str(Path(__file__).with_name("console_letters.py")))
HTML, client = STAGE["HTML"], STAGE["client"]
no_registry, empty = STAGE["no_registry"], STAGE["empty"]
CARD = f"/baton/cases/{LETTERS['FLOW']}/a"
TEXT = "Invoice <b>R-17</b> of\n   3 March\nTotal: 1,234,567.89 EUR"
COLUMNS: dict[str, Any] = {"fields": {"type": "str", "spans": "text", "pii": "direct"}}
SOURCE: dict[str, Any] = {"text": {"type": "str", "pii": "direct"}}


def value(field: str, value: Any, printed: str = "", confidence: Any = 0.5) -> dict[str, Any]:
    start = TEXT.find(printed) if printed else -1
    return {"field": field, "value": value, "start": start, "end": start + len(printed), "confidence": confidence}


VALUES = [
    value("invoice_number", "R-17", "R-17", 0.97), value("total", 1234567.89, "1,234,567.89"),
    value("issuer", "<script>alert(1)</script>"), value("date", None),
]  # fmt: skip


def placed(cell: Any, text: Any = TEXT, unmask: bool = True, source: dict[str, Any] = SOURCE) -> list[dict[str, Any]]:
    return placed_values({"fields": cell}, COLUMNS, {"text": text}, source, unmask)


def test_each_value_comes_with_the_text_around_it() -> None:
    number, total, issuer, date = placed(json.dumps(VALUES))
    assert (number["value"], number["confidence"]) == ("R-17", 0.97)
    assert (number["before"], number["marked"], number["after"]) == (
        "Invoice <b>",
        "R-17",
        "</b> of 3 March Total: 1,234,567.89 E…",
    )
    assert (total["value"], total["marked"]) == ("1234567.89", "1,234,567.89")
    assert (issuer["marked"], date["value"]) == (None, None)
    long = "x" * 100 + "17" + "y" * 300
    (one,) = placed(json.dumps([{"field": "n", "value": 17, "start": 100, "end": 102, "confidence": 1}]), long)
    assert (one["before"], one["after"]) == ("…" + "x" * AROUND, "y" * AROUND + "…")
    (one,) = placed(json.dumps([{"field": "n", "value": "y", "start": 102, "end": 402, "confidence": 1}]), long)
    assert len(one["marked"]) == LONGEST + 1


def test_a_place_that_is_none_and_a_cell_that_is_no_list_show_nothing_wrong() -> None:
    for start, end in ((5, 5), (9, 5), (0, len(TEXT) + 1), (-3, -1), ("0", "4"), (None, None), (0.0, 4.0)):
        (one,) = placed(json.dumps([{"field": "n", "value": "x", "start": start, "end": end, "confidence": "high"}]))
        assert (one["marked"], one["confidence"]) == (None, None)
    for cell in (None, float("nan"), "", "no JSON", "{}", '"text"', '["text", 1]', 7):
        assert placed(cell) == []
    (one,) = placed('[{"value": "x"}]', text=None)
    assert (one["field"], one["value"], one["marked"]) == ("", "x", None)
    assert placed_values({}, COLUMNS, {}, {}, True) == []


def test_who_may_not_decide_sees_that_there_is_a_value_and_how_sure_it_is() -> None:
    number = placed(json.dumps(VALUES), unmask=False)[0]
    assert (number["field"], number["confidence"], number["hidden"], number["place_hidden"]) == (
        "invoice_number",
        0.97,
        True,
        True,
    )
    assert [number[name] for name in ("value", "before", "marked", "after")] == [None] * 4
    open_columns = {"fields": {"type": "str", "spans": "text"}}
    (one,) = placed_values({"fields": json.dumps(VALUES[:1])}, open_columns, {"text": TEXT}, SOURCE, False)
    assert (one["value"], one["marked"], one["place_hidden"]) == ("R-17", None, True), "the text itself is personal"


def card(name: str, **headers: Any) -> Any:
    columns = {**LETTERS["DECISIONS"]["columns"], **COLUMNS, "template_because": {"type": "str", "description": "why"}}
    LETTERS["fill"](TEXT, {**LETTERS["DECISIONS"], "columns": columns}, fields=json.dumps(VALUES),
                    template_because="no model: there is no connection")  # fmt: skip
    return client(name).get(CARD, **headers)


def test_the_card_marks_the_values_in_their_text(empty: None) -> None:
    page = card("admin", headers=HTML).text
    assert (
        '<span class="soft">Invoice &lt;b&gt;</span><mark>R-17</mark><span class="soft">&lt;/b&gt; of 3 March' in page
    )
    assert '<td class="num">97 %</td>' in page
    assert "1234567.89" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "no place in the text" in page
    assert "no model: there is no connection" in page
    assert '"field"' not in page, "no JSON is shown to people"
    assert "&#34;field&#34;" not in page
    assert "fields" not in [cell["name"] for cell in client("admin").get(CARD).json()["proposal"]]


def test_the_card_hides_the_values_from_those_who_may_not_decide(empty: None) -> None:
    answer = card("viewer", headers=HTML)
    assert "R-17" not in answer.text
    assert "1,234,567.89" not in answer.text
    assert "invoice number" in answer.text
    assert "97 %" in answer.text
    assert "R-17" not in client("viewer").get(CARD).text


def test_a_decision_without_such_a_column_has_no_table(empty: None) -> None:
    LETTERS["fill"]()
    assert client("admin").get(CARD).json()["fields"] == []
    assert "<h2>Fields</h2>" not in client("admin").get(CARD, headers=HTML).text
