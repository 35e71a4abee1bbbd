"""What a request for a person's word asks, and which values its fields take."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowFailException

from baton.airflow.flows import Flow
from baton.airflow.operators.review import ReviewOperator
from baton.airflow.operators.runs import OfFlow
from baton.airflow.operators.stage import StageOperator
from baton.airflow.server.answers import CheckedAnswers
from baton.errors import SpecError
from baton.feedback import cases
from baton.record import ledger, warehouse
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
    return ReviewOperator(task_id="asked", decisions=decisions, field="masked", subject="What of {partition}?", dag=dag)


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
    at = datetime(2026, 11, 20, 9, 30, 1, 5, UTC)
    event = {"chosen_options": ["Approve"], "params_input": {"a": None, "b": "Dear"}, "responded_at": at,
             "responded_by_user": {"id": "1", "name": "ada"}}  # fmt: skip
    answer = review.execute_complete({}, event)
    who = {"actor": "ada", "actor_id": "1", "at": "2026-11-20T09:30:01.000005Z"}
    assert answer == {"answer": "approved", "changes": {"a": None, "b": "Dear"}, **who}


def test_an_answer_is_about_what_was_shown_whatever_is_published_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import TaskAwaitingInput

    fields = {"entity_key": ["a"], "route": "approve", "money": [2.0], "masked": "Dear"}
    review = operator(pd.DataFrame(fields), DAG("asks", schedule=None))
    shown = {name: review.decisions["ref"][name] for name in ("uri", "content_sha256", "partition")}

    def waits(self: Any, context: Any) -> None:
        raise TaskAwaitingInput(method_name="execute_complete")

    monkeypatch.setattr(HITLOperator, "execute", waits)
    with pytest.raises(TaskAwaitingInput) as waiting:
        review.execute({"params": {}})  # type: ignore[typeddict-item]
    form = json.dumps([review.subject, review.body, {"a": "Dear"}], sort_keys=True)
    shown["form_sha256"] = hashlib.sha256(form.encode()).hexdigest()
    review.decisions = {}  # what Airflow fills in when the task goes on may be another publication
    event = {"chosen_options": ["Approve"], "params_input": {}, "responded_at": datetime.now(UTC),
             "responded_by_user": {"id": "1", "name": "ada"}}  # fmt: skip
    assert review.execute_complete({}, event, **(waiting.value.kwargs or {}))["about"] == shown  # type: ignore[typeddict-item]
    (noted,) = ledger.entries(kind="review_answered")
    assert (noted.subject, noted.payload["task"], noted.payload["actor_id"]) == (f"asks/{PARTITION}", "asked", "1")
    assert noted.payload["shown"] == shown


def test_what_a_person_decided_on_its_case_is_not_asked_about_again() -> None:
    from airflow.sdk import DAG

    frame = pd.DataFrame({"entity_key": ["a", "b"], "route": "approve", "risk": 0.5, "money": 0.0, "masked": "Dear"})
    review = operator(frame, DAG("asks", schedule=None))
    with warehouse.write() as conn:
        cases.open_cases(conn, "asks", PARTITION, frame, {"answered otherwise": {}})
    assert asked(review) == ["a", "b"]
    cases.decide("asks", "a", "answered otherwise", "ada")
    assert asked(review) == ["b"]
    assert review.subject == f"What of {PARTITION}?", "a run that the form started has no partition key in Airflow"


STEPS = """
import pandas as pd

def settle(decisions: pd.DataFrame, answer: dict | None = None) -> pd.DataFrame:
    return decisions
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "settled_pack.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    return "settled_pack:settle"


def test_a_pure_step_and_an_engine_step_take_the_answer_by_its_name(steps: str) -> None:
    with Flow("settles", pack="supply_chain", cron=None, owner="tests", doc_md="") as flow:
        decided = flow.ingest("stock")
        word = flow.review(decided, field="quantity", subject="?")
        flow.stage("settle", steps, decisions=decided, answer=word)
        flow.stage("order", "baton_packs.supply_chain.steps:place", decisions=decided, answer=word)
    for name, options in (("settle", {"params": {"answer": word}}), ("order", {"answer": word})):
        task = flow.get_task(name)
        assert (task.options, list(task.inputs)) == (options, ["decisions"])
        assert task.upstream_task_ids == {"ingest", "review"}


def test_an_answer_that_no_step_would_see_is_an_error_when_the_file_is_parsed(steps: str) -> None:
    with Flow("loses", pack="supply_chain", cron=None, owner="tests", doc_md="") as flow:
        decided = flow.ingest("stock")
        word = flow.review(decided, field="quantity", subject="?")
        with pytest.raises(SpecError, match=r"no option `answer`: give `answer` by its name"):
            flow.stage("settle", steps, {"answer": word}, decisions=decided)
        with pytest.raises(SpecError, match=r"no frame or parameter `word`.*It takes decisions, answer"):
            flow.stage("settle", steps, decisions=decided, word=word)
        with pytest.raises(SpecError, match="input `after` is what task review returns, no result of a stage"):
            flow.deliver("send", after=word, effect="mail", conn_id="x")


def test_a_result_that_is_none_of_a_stage_is_not_left_out_without_a_word() -> None:
    job = StageOperator(
        task_id="settle", step="a:b", pack="p", run_key=OfFlow(), inputs={"answer": {"answer": "approved"}}
    )
    with pytest.raises(AirflowFailException, match="input `answer` is no result of a stage"):
        job.execute({})  # type: ignore[typeddict-item]


FIELDS = {
    "a": {"value": 7, "schema": {"type": "integer", "minimum": 0}},
    "b": {"value": "Dear", "schema": {"type": ["string", "null"], "maxLength": 9}},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": 0, "b": None}, None),
        ({"a": "zero"}, "a: \"zero\" does not fit: 'zero' is not of type 'integer'"),
        ({"a": 1.5}, "a: 1.5 does not fit"),
        ({"a": -1}, "a: -1 does not fit: -1 is less than the minimum of 0"),
        ({"b": 10 * "x"}, "is too long"),
        ({"c": 1}, "c: not among what was asked; the fields are a, b"),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused_where_it_arrives(
    given: dict[str, Any], said: str | None
) -> None:
    """Airflow itself is told of no answer, so that the request stays open, and its refusals of a person stand."""
    path = "/api/v2/dags/settles/dagRuns/manual__2026-11-20T09%3A00/taskInstances/review/-1/hitlDetails"
    body = json.dumps({"chosen_options": ["Approve"], "params_input": given}).encode()
    for allowed in (True, False):
        status, answer, heard = asyncio.run(patched(path, body, allowed))
        if said is None:
            assert (heard, status) == (body, 200 if allowed else 403)
        elif allowed:
            assert (heard, status) == (b"{}", 422)
            assert said in json.loads(answer)["detail"]
        else:
            assert (heard, status, answer) == (b"{}", 403, b"no")


async def patched(path: str, body: bytes, allowed: bool) -> tuple[int, bytes, bytes]:
    """Status, answer, and what Airflow was given of a request."""
    heard, sent = [], []
    halves = iter([(body[:5], True), (body[5:], False)])

    async def airflow(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["body"])
        status = 403 if not allowed else 200 if json.loads(heard[0]) else 422
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"no", "more_body": False})

    async def receive() -> dict[str, Any]:
        part, more = next(halves)
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(message: Any) -> None:
        sent.append(message)

    def asked(*about: Any) -> dict[str, Any]:
        assert about == ("settles", "manual__2026-11-20T09:00", "review", -1)
        return FIELDS

    await CheckedAnswers(airflow, asked)({"type": "http", "method": "PATCH", "path": path}, receive, send)
    return sent[0]["status"], sent[-1]["body"], heard[0]


def test_the_request_says_how_to_keep_one_answer_back(dags: dict[str, Any]) -> None:
    assert "Empty a field to keep that answer back." in dags["document_intake"].get_task("review").body
