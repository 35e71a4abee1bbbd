"""What a request for a person's word asks, and which values its fields take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.providers.standard.operators.hitl import HITLOperator

from baton.airflow.operators.review import ReviewOperator
from baton.feedback import cases
from baton.record import warehouse
from baton.stages.slots import Slot, StageOutput, run_stage

PARTITION = "2026-11-20T09:00:00"


@pytest.fixture(autouse=True)
def tables(home: Path) -> Iterator[None]:
    warehouse.migrate()
    yield
    warehouse.engine().dispose()


def operator(frame: pd.DataFrame, dag: Any) -> ReviewOperator:
    result = run_stage(Slot(dag.dag_id, "publish", PARTITION), lambda inputs: StageOutput(frame), inputs={}, params={},
                       models={}, code="test", run_id="test")  # fmt: skip
    decisions = {"ref": result.ref.to_dict(), "partition": PARTITION}
    return ReviewOperator(task_id="asked", decisions=decisions, field="masked", subject="?", dag=dag)


def asked(review: ReviewOperator) -> list[str]:
    """Whom the request asks about; Airflow's own part of it, which needs a running task, is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HITLOperator, "execute", lambda self, context: "asked")
        assert review.execute({"params": {}}) == "asked"  # type: ignore[typeddict-item]
    return list(review.params)


def test_a_text_may_be_emptied_and_a_number_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import ParamValidationError

    fields = {"entity_key": ["a", "b"], "route": "approve", "money": 0.0, "masked": ["Dear [NAME_1],", 7]}
    frame = pd.DataFrame(fields).astype({"masked": object})
    monkeypatch.setattr("baton.data.datasets.read", lambda ref: frame)  # a dataset's column holds one type
    review = operator(frame.assign(masked="Dear"), DAG("asks", schedule=None))
    asked(review)
    text, number = review.params.get_param("a"), review.params.get_param("b")
    assert text.resolve("") == ""
    assert text.serialize()["schema"]["type"] == ["string", "null"]  # the form makes null of an emptied field
    assert text.serialize()["schema"]["format"] == "multiline"
    for refused in ("", -1):
        with pytest.raises(ParamValidationError):
            number.resolve(refused)


def test_a_decision_is_called_what_people_call_it() -> None:
    from airflow.sdk import DAG

    fields = {
        "entity_key": ["a", "b"],
        "route": "approve",
        "money": [2.0, 1.0],
        "masked": "Dear",
        "topic": "Complaint: late",
    }
    review = operator(pd.DataFrame(fields), DAG("asks", schedule=None))
    review.title = "topic"
    assert asked(review) == ["a", "b"]
    titles = [review.params.get_param(key).serialize()["schema"]["title"] for key in ("a", "b")]
    assert titles == ["Complaint: late, masked (a)", "Complaint: late, masked (b)"]
    assert "| topic | money | entity_key |" in review.body
    assert "| Complaint: late | 2.00 | a |" in review.body


def test_an_emptied_field_comes_back_as_the_form_sends_it() -> None:
    from airflow.sdk import DAG

    review = operator(pd.DataFrame({"entity_key": ["a"]}), DAG("asks", schedule=None))
    event = {"chosen_options": ["Approve"], "params_input": {"a": None, "b": "Dear"}, "responded_at": datetime.now(UTC),
             "responded_by_user": {"id": "1", "name": "ada"}}  # fmt: skip
    answer = review.execute_complete({}, event)
    assert answer == {"answer": "approved", "changes": {"a": None, "b": "Dear"}, "actor": "ada"}


def test_what_a_person_decided_on_its_case_is_not_asked_about_again() -> None:
    from airflow.sdk import DAG

    frame = pd.DataFrame({"entity_key": ["a", "b"], "route": "approve", "risk": 0.5, "money": 0.0, "masked": "Dear"})
    review = operator(frame, DAG("asks", schedule=None))
    with warehouse.write() as conn:
        cases.open_cases(conn, "asks", PARTITION, frame, {"answered otherwise": {}})
    assert asked(review) == ["a", "b"]
    cases.decide("asks", "a", "answered otherwise", "ada")
    assert asked(review) == ["b"]


def test_the_request_says_how_to_keep_one_answer_back(dags: dict[str, Any]) -> None:
    assert "Empty a field to keep that answer back." in dags["document_intake"].get_task("review").body
