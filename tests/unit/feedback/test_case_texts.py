"""An answer that comes with a text: what is offered, what a person made of it, and what is on record about that."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import objects
from baton.errors import BatonError, DatasetCorrupt
from baton.feedback import cases
from baton.record import ledger, tables
from baton.stages.slots import Slot, head

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, rows, job, FLOW, HOURS = (STAGE[name] for name in ("commit", "rows", "job", "FLOW", "HOURS"))
ANSWERS = {"accepted": {"kind": "x"}, "edited": {"kind": "x"}, "rejected": {}}
REPLY = "Dear Ann,\n\nIt takes two days.\n"


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def publish(reply: str | None = REPLY, edits: dict[str, str] | None = None, hour: int = 0) -> None:
    """Cases 1 and 2, offering the column `reply` to be changed, out of a real publication."""
    from baton.stages.run import run

    texts = json.dumps({"edited": "reply"} if edits is None else edits)
    frame = pd.DataFrame({
        "entity_key": ["1", "2"], "risk": 0.5, "route": "suggest", "money": 0.0, "resolutions": json.dumps(ANSWERS),
        "edits": texts, "reply": pd.Series([reply, "Dear Bob."], dtype=object),
    })  # fmt: skip
    run(job(step="baton.steps.publish:publish", hour=hour, inputs={"decisions": commit("decide", hour, frame)},
            options={"case_routes": ["suggest"]}))  # fmt: skip


def kept(key: str = "1") -> tuple[Any, ...]:
    (row,) = rows(tables.cases, "status", "resolution", "text", entity_key=key)
    return tuple(row)


def test_what_is_offered_is_the_decision_as_it_is_published_now() -> None:
    publish()
    assert cases.offered(FLOW, "1") == {"edited": REPLY}
    publish("Dear Ann, it takes three days.")
    assert cases.offered(FLOW, "1") == {"edited": "Dear Ann, it takes three days."}
    publish(None)
    assert cases.offered(FLOW, "1") == {}
    assert cases.offered(FLOW, "2") == {"edited": "Dear Bob."}
    assert cases.offered(FLOW, "9") == cases.offered("another_flow", "1") == {}


def test_a_changed_text_is_kept_on_the_case_and_not_in_the_ledger() -> None:
    publish()
    decided = cases.decide(FLOW, "1", "edited", "ada", "too short", "Dear Ann,\r\n\r\nIt takes a week, sorry.\r\n")
    assert decided["text"] == "Dear Ann,\n\nIt takes a week, sorry."
    assert kept() == ("closed", "edited", "Dear Ann,\n\nIt takes a week, sorry.")
    (record,) = ledger.entries(subject=f"{FLOW}/1", kind="case_decided")
    del record.payload["shown"]
    wanted = {"resolution": "edited", "actor": "ada", "note": "too short", "seen": None, "text_changed": True}
    assert record.payload == wanted
    assert "a week" not in str(ledger.entries())
    assert rows(tables.labels, "entity_key", "target", "category") == [("1", "kind", "x")]


def test_an_unchanged_text_is_what_was_offered_whatever_a_browser_made_of_its_lines() -> None:
    publish()
    cases.decide(FLOW, "1", "edited", "ada", text="Dear Ann,\r\n\r\nIt takes two days.\r\n")
    assert kept() == ("closed", "edited", None)
    (record,) = ledger.entries(subject=f"{FLOW}/1", kind="case_decided")
    assert record.payload["text_changed"] is False


def test_an_answer_without_a_text_says_nothing_about_one() -> None:
    publish()
    cases.decide(FLOW, "1", "accepted", "ada")
    (record,) = ledger.entries(subject=f"{FLOW}/1", kind="case_decided")
    assert "text_changed" not in record.payload
    assert kept() == ("closed", "accepted", None)


@pytest.mark.parametrize(("resolution", "text", "message"), [
    ("edited", None, "comes with the text that is to be used; it is empty"),
    ("edited", " \r\n\t ", "it is empty"),
    ("edited", "x" * (cases.LONGEST_TEXT + 1), "4,001 characters; 4,000 are allowed"),
    ("edited", "a\x00b", "control characters"),
    ("edited", "a\ud83d", "half of a surrogate pair"),
    ("accepted", "Dear Ann", "the answer 'accepted' takes none; only edited does"),
    ("rejected", "", "takes none"),
])  # fmt: skip
def test_a_text_that_cannot_be_used_is_refused_with_nothing_written(
    resolution: str, text: str | None, message: str
) -> None:
    publish()
    with pytest.raises(cases.UnusableText, match=message):
        cases.decide(FLOW, "1", resolution, "ada", text=text)
    assert kept() == ("open", None, None)
    assert rows(tables.labels) == ledger.entries(kind="case_decided") == []


def test_a_note_that_no_database_holds_is_refused() -> None:
    publish()
    with pytest.raises(cases.UnusableText, match="note: control: holds U"):
        cases.decide(FLOW, "1", "accepted", "ada", "a\x00b")
    assert kept() == ("open", None, None)


def test_the_longest_text_and_every_line_ending_are_taken() -> None:
    publish()
    cases.decide(FLOW, "1", "edited", "ada", text="x" * cases.LONGEST_TEXT + "\r\n")
    assert kept()[2] == "x" * cases.LONGEST_TEXT
    cases.decide(FLOW, "2", "edited", "ada", text="Dear Bob,\u2028\tall is well \U0001f600")
    assert kept("2")[2] == "Dear Bob,\n\tall is well \U0001f600"


def test_a_case_that_offers_nothing_takes_no_text() -> None:
    frame = pd.DataFrame({"entity_key": ["3"], "route": "review", "risk": 0.5})
    from baton.record import warehouse

    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, HOURS[0], frame, {"fraud": {"late": 1}})
    with pytest.raises(cases.UnusableText, match="this case is answered without a text"):
        cases.decide(FLOW, "3", "fraud", "ada", text="hello")


def test_who_is_late_hears_that_and_not_about_their_text() -> None:
    publish()
    cases.decide(FLOW, "1", "rejected", "grace")
    with pytest.raises(BatonError, match="already decided rejected by grace"):
        cases.decide(FLOW, "1", "edited", "ada", text="Dear Ann")


def test_edits_must_name_answers() -> None:
    with pytest.raises(BatonError, match="`edits` names 'worded', which no case is answered"):
        publish(edits={"worded": "reply"})
    assert rows(tables.cases) == []


def test_what_is_offered_follows_the_flow_until_a_person_decides() -> None:
    publish()
    publish(edits={})
    assert rows(tables.cases, "entity_key", "edits") == [("1", None), ("2", None)]
    publish()
    cases.decide(FLOW, "1", "edited", "ada", text="Mine.")
    publish("Something else.", edits={})
    assert kept() == ("closed", "edited", "Mine.")
    assert rows(tables.cases, "edits", entity_key="1") == [({"edited": "reply"},)]


def test_a_text_is_not_taken_while_what_was_offered_cannot_be_read() -> None:
    publish()
    found = head(Slot(FLOW, "publish", HOURS[0]))
    assert found is not None
    objects.path_of(found.ref.uri).unlink()
    with pytest.raises(DatasetCorrupt):
        cases.decide(FLOW, "1", "edited", "ada", text="Mine.")
    assert kept() == ("open", None, None)


def test_the_trace_names_a_category_that_a_person_decided_and_no_text() -> None:
    from baton.console.queries.trace import trace

    publish()
    cases.decide(FLOW, "1", "edited", "ada", text="Mine alone.")
    steps = trace("1", FLOW)
    assert [step.says for step in steps if step.what == "label"] == ["kind x from analyst (ada)"]
    assert "Mine alone." not in str(steps)
