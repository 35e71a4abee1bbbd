"""The stages `confirmed__message_intent` and `retrieve` as the flow runs them: what people confirmed finds the entry."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data.datasets import DatasetRef, read
from baton.feedback import cases
from baton.feedback.labels import record_labels
from baton.record import warehouse
from baton.sources.replay import ANCHOR_KEY
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage
from baton_packs.customer_experience.service import retrieval

FLOW, STEPS = "customer_experience", "baton_packs.customer_experience.service.stages"
HOURS = [f"2026-11-20T{hour:02d}:00:00" for hour in range(9, 13)]
ASKED = "my orbit pattern is too plain, redraw it"
CONFIRMED = [
    "redraw my orbit pattern",
    "the orbit pattern is plain",
    "how to redraw the pattern",
    "a new orbit pattern",
]


@pytest.fixture(autouse=True)
def _stage(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A warehouse, a history of two messages about something else, and an encoder that needs no packaged model."""
    letters = _module("test_retrieval").Letters
    monkeypatch.setattr(retrieval, "packaged_encoder", letters)
    retrieval._bare.cache_clear()
    warehouse.migrate()
    warehouse.meta_set(ANCHOR_KEY, HOURS[0])  # the history lies before it on the calendar
    answered(home, ["may a child open an account", "how old must I be"])
    yield
    retrieval._bare.cache_clear()
    warehouse.engine().dispose()


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answered(home: Path, texts: list[str]) -> None:
    """Write the source's history."""
    file = home / "data/customer_experience/answered.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    keys = [f"old{number}" for number in range(len(texts))]
    pd.DataFrame({"message_id": keys, "seconds": -3600.0, "text": texts, "intent": "age_limit"}).to_parquet(file)


def commit(stage: str, hour: int, frame: pd.DataFrame) -> DatasetRef:
    return run_stage(
        Slot(FLOW, stage, HOURS[hour]), lambda inputs: StageOutput(frame),
        inputs={}, params={"frame": frame.to_json()}, models={}, code="test", run_id="test",
    ).ref  # fmt: skip


def messages(hour: int, *texts: str) -> DatasetRef:
    keys = [f"h{hour}-{number}" for number in range(len(texts))]
    at = pd.Timestamp(HOURS[hour], tz="UTC")
    return commit("contract", hour, pd.DataFrame({"message_id": keys, "received_at": at, "text": texts}))


def confirm(hour: int, intent: str, count: int, origin: str = "outcome") -> None:
    """Label the first messages of an hour."""
    rows = [(f"h{hour}-{number}", HOURS[hour], intent) for number in range(count)]
    with warehouse.write() as conn:
        record_labels(conn, FLOW, origin, "test", rows, "intent")


def retrieve(hour: int, data: DatasetRef) -> StageResult:
    """Both stages, with an intent model that knows nothing."""
    keys = read(data)["message_id"]
    intents = commit(f"said{hour}", hour, pd.DataFrame({"entity_key": keys, "accepted": False, "reasons": "[]"}))
    options = {"model": "message_intent", "columns": ["text"], "each": retrieval.EXAMPLES}
    known = run(job("confirmed__message_intent", "baton.steps.confirmed:rows", hour, options, after=data))
    return run(job("retrieve", f"{STEPS}:retrieve", hour, {}, messages=data, intents=intents, history=known.ref))


def job(stage: str, step: str, hour: int, options: dict[str, Any], **inputs: DatasetRef) -> StageJob:
    return StageJob("customer_experience", FLOW, stage, HOURS[hour], step, inputs=inputs, options=options)


def best(result: StageResult) -> str:
    return str(read(result.ref)["best"][0])


def test_a_message_finds_its_entry_by_words_that_only_a_confirmed_text_holds() -> None:
    assert best(retrieve(0, messages(0, ASKED))) != "change-pin"
    messages(1, *CONFIRMED)
    confirm(1, "change_pin", 4)
    found = retrieve(2, messages(2, ASKED))
    assert best(found) == "change-pin"
    assert found.facts["examples"] == {"min": 0, "median": 0}  # most of the 77 have none yet
    assert "degraded" not in found.facts


def test_labels_of_the_same_and_of_later_partitions_are_not_used() -> None:
    messages(2, *CONFIRMED)
    confirm(2, "change_pin", 4)
    own = messages(1, ASKED, *CONFIRMED)
    confirm(1, "change_pin", 5)
    found = retrieve(1, own)
    assert best(found) != "change-pin"
    assert retrieve(1, own).cached


def test_labels_that_came_later_leave_a_repeated_partition_as_it_was() -> None:
    messages(0, *CONFIRMED)
    own = messages(1, ASKED)
    before = retrieve(1, own)
    confirm(0, "change_pin", 4)
    again = retrieve(1, own)
    assert again.cached
    assert again.digest == before.digest
    assert best(retrieve(2, messages(2, ASKED))) == "change-pin"


def test_what_an_analyst_answered_on_a_case_counts() -> None:
    messages(0, *CONFIRMED, "and one that nobody answered")
    answers = json.dumps({"it is: change_pin": {"intent": "change_pin"}, "none of them": {}})
    opened = pd.DataFrame({
        "entity_key": [f"h0-{number}" for number in range(4)], "route": "escalate", "risk": 1.0, "resolutions": answers,
    })  # fmt: skip
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, HOURS[0], opened)
    cases.decide(FLOW, "h0-3", "none of them", "ada")
    for number in range(3):
        cases.decide(FLOW, f"h0-{number}", "it is: change_pin", "ada")
    own = messages(1, ASKED)
    assert best(retrieve(1, own)) == "change-pin"
    known = read(run(job("look", "baton.steps.confirmed:rows", 1, {
        "model": "message_intent", "columns": ["text"], "each": 2,
    }, after=own)).ref)  # fmt: skip
    assert known["text"].tolist() == ["may a child open an account", "how old must I be", *CONFIRMED[1:3]]
    assert known["intent"].tolist() == ["age_limit"] * 2 + ["change_pin"] * 2


def test_without_any_confirmed_text_the_result_says_so(home: Path) -> None:
    answered(home, [])
    found = retrieve(0, messages(0, "changing the PIN of a card"))
    assert best(found) == "change-pin"
    assert found.facts["degraded"] == ["no confirmed texts yet: entries are found by their own words only"]
    assert found.facts["examples"] == {"min": 0, "median": 0}
