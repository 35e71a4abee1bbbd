"""An answer on a version, wherever it was given, is on record and in the registry's tags."""

from __future__ import annotations

from datetime import UTC, datetime
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


def test_a_registry_that_is_down_takes_nothing_back(approve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "down", True)
    assert approve.execute_complete({}, event("Approve"))["answer"] == "approved"
    assert len(approve.recorded) == 1
