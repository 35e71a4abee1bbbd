"""Answers on a version are votes wherever they are given; what they come to is on record and in the registry's tags."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time import hitl
from airflow.sdk.execution_time.comms import ErrorResponse

from baton.actions import requests
from baton.actions.votes import NOT_COUNTED, Voter
from baton.airflow.operators.approval import ModelApprovalOperator, ReviewTrigger
from baton.effects import firewall
from baton.errors import ServiceError
from baton.lifecycle.assemble import record_start
from baton.lifecycle.promote import record_of
from baton.record import ledger, tables, warehouse
from baton.registry import client
from baton.settings import settings

JUDGED: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["judged"]
FACTS = {"decision": "PROMOTE", "version": 3, "gate_at": "t1"}
TI = "0b9e1d4e-6f8b-4a50-9c39-2f5a0b0c0d0e"


class Registry:
    """Keeps what it is told; one that is down says so."""

    said: list[tuple[str, ...]] = []  # noqa: RUF012 - emptied by the fixture
    down = False
    author: str | None = None

    def tags(self, model: str, version: int) -> dict[str, str]:
        return {}

    def answered_by(self, model: str, version: int, answer: str) -> str | None:
        return self.author

    def ask(self, model: str, version: int, tags: dict[str, str]) -> None:
        if self.down:
            raise ServiceError("MLflow did not answer within 30 s")
        self.said.append((model, str(version), "asked"))

    def say(self, model: str, version: int, words: str) -> None:
        self.said.append((model, str(version), words))

    def show_answer(self, model: str, version: int, answer: str, by: str) -> None:
        if self.down:
            raise ServiceError("MLflow did not answer within 30 s")
        self.said.append((model, str(version), answer, by))


class Task:
    """The approval of version 3 of `late`, as Airflow's worker runs it: what it waits for, how often it asked."""

    def __init__(self, by: str | None = None, source: str = "", mode: str = "either") -> None:
        self.operator = ModelApprovalOperator(
            task_id="approve", model="late", mode=mode, verdict={"facts": FACTS}, subject="?"
        )
        self.skipped: list[Any] = []
        self.operator.skip = lambda **what: self.skipped.append(what)  # type: ignore[method-assign]
        event = SimpleNamespace(source_run_id=source)
        self.context: Any = {
            "ti": SimpleNamespace(id=TI), "dag_run": SimpleNamespace(triggering_user_name=by),
            "triggering_asset_events": {"challenger": [event]}, "task": SimpleNamespace(get_direct_relatives=lambda **_: []),
        }  # fmt: skip
        self.waits: TaskDeferred | None = None

    def _run(self, work: Any) -> Any:
        self.waits = None
        try:
            return work()
        except TaskDeferred as waiting:
            self.waits = waiting
            return None

    def start(self) -> requests.Request:
        self._run(lambda: self.operator.execute(self.context))
        (asked,) = requests.still_open()
        return asked

    def hears(self, event: dict[str, Any]) -> Any:
        """It goes on by an event of its own trigger, or by an answer in Airflow."""
        assert self.waits is not None
        kept = self.waits.kwargs or {}
        own = {"request": kept["asked"]["number"], "until": kept["asked"]["until"]}
        given = event if "chosen_options" in event else {**own, **event}
        return self._run(lambda: self.operator.execute_complete(self.context, given, **kept))


@pytest.fixture(autouse=True)
def _parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    warehouse.migrate()
    JUDGED("late", 3)
    monkeypatch.setattr(client, "Registry", Registry)
    monkeypatch.setattr(Registry, "said", [])
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **what: Registry.said.append(("required actions",)))
    yield
    warehouse.engine().dispose()


@pytest.fixture
def single(home: Path) -> None:
    (home / "governance").write_text("single\n")
    settings.cache_clear()


def event(option: str, id_: str = "1", name: str = "ada") -> dict[str, Any]:
    user = {"id": id_, "name": name}
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user,
    }


ASKED = [("required actions",)]


@pytest.mark.parametrize(
    ("given", "answer", "by"),
    [
        (event("Approve"), "approved", "ada in Airflow"),
        (event("Reject"), "rejected", "ada in Airflow"),
        ({"review": "approved"}, "approved", "grace in MLflow"),
    ],
)
def test_the_tag_of_the_version_says_the_answer(
    given: dict[str, Any], answer: str, by: str, single: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "author", "grace")
    task = Task()
    task.start()
    assert task.hears(given)["answer"] == answer
    assert Registry.said == [*ASKED, ("late", "3", answer, by)]
    assert (record_of("late", 3) or {})["answer"] == answer
    assert bool(task.skipped) == (answer == "rejected")


def test_two_people_have_to_agree_and_who_started_it_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    record_start("late", "train1", "eve")
    task = Task(by="dan", source="train1")
    asked = task.start()
    assert asked.barred == {"eve": "started its training", "dan": "started its promotion"}
    for given in (event("Approve", "4", "dan"), event("Approve", "5", "eve"), event("Approve", "6", "ada")):
        assert task.hears(given) is None
        assert task.waits is not None
    told = [(one.subject, one.payload["person"], one.payload["why"]) for one in ledger.entries(kind=NOT_COUNTED)]
    assert told == [
        ("late/3", "5", "request 1: eve started its training; somebody else has to agree"),
        ("late/3", "4", "request 1: dan started its promotion; somebody else has to agree"),
    ]
    monkeypatch.setattr(Registry, "author", "ada")
    assert task.hears({"review": "approved"}) is None  # the same person again
    said = "approved: request 1: ada has answered it already; another person is needed"
    assert [*ASKED * 4, ("late", "3", "asked"), ("late", "3", said)] == Registry.said, (
        "an answer in Airflow is not taken away"
    )
    monkeypatch.setattr(Registry, "author", "grace")
    assert task.hears({"review": "approved"})["answer"] == "approved"
    assert Registry.said[-1] == ("late", "3", "approved", "ada in Airflow, grace in MLflow")
    (entry,) = ledger.entries(subject="late/3", kind="approval")
    assert entry.payload == {
        "answer": "approved", "reviewer": "ada, grace", "channel": "airflow, registry", "request": asked.id,
    }  # fmt: skip


def test_a_tag_without_a_proven_author_is_a_comment(single: None) -> None:
    task = Task()
    task.start()
    assert task.hears({"review": "approved"}) is None
    assert Registry.said[1] == ("late", "3", "asked")
    assert "a comment only" in Registry.said[2][2]
    assert requests.still_open()


def test_votes_on_our_own_pages_end_the_wait() -> None:
    task = Task(mode="registry")
    asked = task.start()
    for person in ("bob", "cy"):
        firewall.vote(asked.id, Voter(person, person, "command line"), "approved", asked.seen)
    assert task.hears({"closed": "approved"}) == {"answer": "approved", "version": 3, "channel": "command line"}
    assert Registry.said == [("late", "3", "approved", "bob on the command line, cy on the command line")]


def test_a_version_that_was_judged_anew_meanwhile_is_not_promoted(single: None) -> None:
    task = Task()
    task.start()
    JUDGED("late", 3, at="later")
    with pytest.raises(AirflowFailException, match="the request is replaced: nothing is promoted; clear `judge`"):
        task.hears(event("Approve"))


def test_nobody_in_time_fails_the_task_and_ends_the_request() -> None:
    task = Task()
    asked = task.start()
    with pytest.raises(AirflowFailException, match="nobody, or too few, answered for late version 3"):
        task.hears({"review": "timeout"})
    with warehouse.read() as conn:
        assert requests.find(conn, asked.id).state == requests.EXPIRED
    assert (record_of("late", 3) or {})["answer"] == "timeout"


def test_a_registry_that_is_down_takes_nothing_back(single: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "down", True)
    task = Task()
    task.start()
    assert task.hears(event("Approve"))["answer"] == "approved"
    assert len(ledger.entries(kind="approval")) == 1


@pytest.mark.parametrize("before", [False, True])
def test_a_cleared_task_is_not_answered_by_the_tag_of_its_last_answer(before: bool, single: None) -> None:
    """A tag that was set between the verdict and the first request is an answer, and stays."""
    if before:
        task = Task()
        task.start()
        task.hears(event("Approve"))
        Registry.said.clear()
    Task().start()
    assert Registry.said == [*([("late", "3", "asked")] if before else []), *ASKED]


def test_a_recorded_vote_outlives_a_registry_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that failed here would be cleared, and the word in the tag be lost or counted anew."""
    monkeypatch.setattr(Registry, "author", "grace")
    task = Task()
    asked = task.start()
    monkeypatch.setattr(Registry, "down", True)
    assert task.hears({"review": "approved"}) is None
    assert task.waits is not None, "it asks on"
    monkeypatch.setattr(Registry, "down", False)
    firewall.vote(asked.id, Voter("ada"), "approved", asked.seen)
    assert task.hears({"closed": "approved"})["answer"] == "approved"


def test_a_task_that_waited_before_an_upgrade_says_what_to_clear() -> None:
    trigger = ReviewTrigger(model="late", version=3, gate_at="t1", ti_id=TI, interval=0)

    async def first() -> Any:
        return await anext(aiter(trigger.run()))

    event_ = asyncio.run(first())
    task = Task()
    for kept in ({}, {"asked": None}):
        with pytest.raises(AirflowFailException, match="asked by an earlier Baton: clear `judge`"):
            task.operator.execute_complete(task.context, event_.payload, **kept)
    for other in (event("Approve"), {"closed": "approved"}, {"closed": "approved", "request": 77}):
        with pytest.raises(AirflowFailException, match="asked by an earlier Baton: clear `judge`"):
            task.operator.execute_complete(task.context, other)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Airflow's server keeps of the question: an answer once given is not changed."""
    kept: dict[str, Any] = {}

    def give(**answer: Any) -> None:
        if kept:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 409}))
        kept.update(answer, responded_by_user=None)

    def seen(**_: Any) -> Any:
        return SimpleNamespace(response_received=bool(kept), **{"responded_by_user": None, **kept})

    monkeypatch.setattr(hitl, "update_hitl_detail_response", give)
    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", seen)
    return kept


def test_an_answer_is_looked_for_until_the_server_can_be_asked(single: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, tries = Task().start(), [500, 0]
    user = SimpleNamespace(id="1", name="ada")

    def seen(**_: Any) -> Any:
        if code := tries.pop(0):
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": code}))
        return SimpleNamespace(response_received=True, responded_by_user=user, chosen_options=["Approve"])

    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", seen)
    assert fires(asked)["responded_by_user"] == {"id": "1", "name": "ada"}
    tries[:] = [404, 0]
    firewall.vote(asked.id, Voter("ada"), "refused", asked.seen)
    monkeypatch.setattr(hitl, "update_hitl_detail_response", lambda **_: None)
    assert fires(asked) == {"closed": "refused", "request": asked.id}, "only the registry was asked"


def fires(asked: requests.Request) -> dict[str, Any]:
    trigger = ReviewTrigger(model="late", version=3, gate_at="t1", ti_id=TI, request=asked.id, interval=0)

    async def first() -> Any:
        return await asyncio.wait_for(anext(aiter(trigger.run())), 10)

    return dict(asyncio.run(first()).payload)


def test_a_question_that_an_earlier_trigger_has_closed_ends_the_wait_of_the_next(shown: dict[str, Any]) -> None:
    """A vote of another page came while the task took one of Airflow's: its old trigger closes the question, and wakes nobody."""
    task = Task()
    asked = task.start()
    for person in ("ada", "grace"):
        firewall.vote(asked.id, Voter(person), "approved", asked.seen)
    assert fires(asked) == {"closed": "approved", "request": asked.id}
    assert shown["chosen_options"] == ["Approve"]
    assert fires(asked) == {"closed": "approved", "request": asked.id}
    assert task.hears({"closed": "approved"})["answer"] == "approved"


def test_an_answer_that_came_before_the_task_waited_is_a_vote(single: None, shown: dict[str, Any]) -> None:
    task = Task()
    asked = task.start()
    shown.update(chosen_options=["Approve"], responded_by_user=SimpleNamespace(id="1", name="ada"))
    given = fires(asked)
    assert given == {
        "chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "ada"}, "request": asked.id,
    }  # fmt: skip
    assert task.hears(given)["answer"] == "approved"


@pytest.mark.parametrize(
    "foreign",
    [
        {"closed": "approved", "request": 77},
        {"review": "timeout", "request": 77},
        {"review": "timeout", "request": 1, "until": "2026-01-01T00:00:00+00:00"},
        {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "ada"}, "request": 77},
        {"open": 0},
    ],
)
def test_an_event_of_another_wait_changes_nothing(foreign: dict[str, Any], single: None) -> None:
    """With SQLite the next task gets the number of a trigger that is just ending, and with it its event."""
    task = Task()
    asked = task.start()
    assert task.hears({"request": 77, **foreign}) is None
    assert task.waits is not None
    assert requests.still_open() == [asked]
    with warehouse.read() as conn:
        assert conn.execute(tables.votes.select()).all() == []
