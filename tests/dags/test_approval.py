"""An answer on a version, wherever it was given, is on record and in the registry's tags."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator

from baton.airflow.operators.approval import ModelApprovalOperator
from baton.errors import ServiceError
from baton.lifecycle import promote
from baton.registry import client

FACTS = {"decision": "PROMOTE", "version": 3, "gate_at": "t1"}


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
        self.said.append((model, str(version), "asked"))

    def show_answer(self, model: str, version: int, answer: str, by: str) -> None:
        if self.down:
            raise ServiceError("MLflow did not answer within 30 s")
        self.said.append((model, str(version), answer, by))


@pytest.fixture
def approve(monkeypatch: pytest.MonkeyPatch) -> ModelApprovalOperator:
    recorded: list[Any] = []
    monkeypatch.setattr(client, "Registry", Registry)
    monkeypatch.setattr(promote, "record_answer", lambda *said, **more: recorded.append((said, more)))
    monkeypatch.setattr(ApprovalOperator, "execute_complete", lambda self, context, event: None)
    monkeypatch.setattr(Registry, "said", [])
    made = ModelApprovalOperator(task_id="approve", model="late", mode="either", verdict={"facts": FACTS}, subject="?")
    made.recorded = recorded  # type: ignore[attr-defined]
    return made


def event(option: str) -> dict[str, Any]:
    user = {"id": "1", "name": "ada"}
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user,
    }


@pytest.mark.parametrize(
    ("given", "answer", "by"),
    [
        (event("Approve"), "approved", "ada in Airflow"),
        (event("Reject"), "rejected", "ada in Airflow"),
        ({"review": "approved"}, "approved", "whoever set the tag"),
    ],
)
def test_the_tag_of_the_version_says_the_answer(approve: Any, given: dict[str, Any], answer: str, by: str) -> None:
    assert approve.execute_complete({}, given)["answer"] == answer
    assert Registry.said == [("late", "3", answer, by)]
    assert approve.recorded[0][0] == ("late", 3, answer)


def test_a_tag_is_the_word_of_whom_the_log_in_saw(approve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    approve.execute_complete({}, {"review": "approved"})
    monkeypatch.setattr(Registry, "author", "grace")
    approve.execute_complete({}, {"review": "approved"})
    reviewers = [more["reviewer"] for _, more in approve.recorded]
    assert reviewers == ["unverified (registry)", "grace (registry)"]
    assert Registry.said[-1] == ("late", "3", "approved", "grace in MLflow")


def test_a_registry_that_is_down_takes_nothing_back(approve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "down", True)
    assert approve.execute_complete({}, event("Approve"))["answer"] == "approved"
    assert len(approve.recorded) == 1


@pytest.mark.parametrize(("before", "asked"), [(None, []), ("approved", [("late", "3", "asked")])])
def test_a_cleared_task_is_not_answered_by_the_tag_of_its_last_answer(
    approve: Any, before: str | None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag that was set between the verdict and the first request is an answer, and stays."""
    monkeypatch.setattr(promote, "record_of", lambda model, version: {"answer": before})
    monkeypatch.setattr(ApprovalOperator, "execute", lambda self, context: None)
    monkeypatch.setattr(ModelApprovalOperator, "defer", lambda self, **how: None)
    approve.execute({"ti": SimpleNamespace(id="0b9e1d4e-6f8b-4a50-9c39-2f5a0b0c0d0e")})
    assert Registry.said == asked
