"""A model may look things up within limits, sees them masked, and can call nothing that has an effect."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from pydantic_ai.messages import ModelResponse, ToolCallPart, ToolReturnPart

from baton.agents.asking import Answer, Caller
from baton.agents.calls import Limits
from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec
from baton.agents.tools import Tool
from baton.errors import SpecError

Scripted = runpy.run_path(str(Path(__file__).parents[1] / "scripted_model.py"))["Scripted"]
SEEN: list[tuple[Any, ...]] = []


class Reply(BaseModel):
    text: str = Field(max_length=80)


def look_up(case: AgentQuestion, name: str, year: int = 2026) -> dict[str, Any]:
    """Orders of a person."""
    SEEN.append((case.key, name, year))
    return {"orders": 7, "mail": "ann@x.example", "of": name}


CASE = AgentQuestion("a", {"amount": 12}, {"message": "I am Ann Lee"}, personal={"NAME": ["Ann Lee"]})
ORDERS = Tool("orders", look_up, reads=("orders",), max_calls=2)
SPEC = AgentSpec("clerk", Path(__file__), Reply, lambda: [CASE], lambda case, reply: reply, lambda case: Reply(text="-"),
                 tools=(ORDERS,))  # fmt: skip


def calling(**arguments: Any) -> ModelResponse:
    return ModelResponse(parts=[ToolCallPart("orders", arguments)])


def ask(*script: Any) -> tuple[Answer, list[Any]]:
    """The answer, and what the model was told by tools."""
    SEEN.clear()
    model = Scripted(*script)
    answer = Caller(SPEC, model, Limits()).ask(CASE)
    messages = model.asked[-1][0]
    return answer, [part.content for one in messages for part in one.parts if isinstance(part, ToolReturnPart)]


def test_a_tool_sees_the_person_and_the_model_does_not() -> None:
    answer, told = ask(calling(name="[NAME_1]"), {"text": "[NAME_1] has 7 orders; see [MAIL_1]."})
    assert SEEN == [("a", "Ann Lee", 2026)]
    assert told == [{"orders": 7, "mail": "[MAIL_1]", "of": "[NAME_1]"}]
    assert answer.output == Reply(text="Ann Lee has 7 orders; see ann@x.example.")
    assert (answer.tool_calls, answer.requests) == (1, 2)


def test_a_number_that_no_tool_gave_is_foreign() -> None:
    answer, _ = ask(calling(name="[NAME_1]"), {"text": "There are 8 orders."})
    assert answer.reason == "number not in the facts"


def test_arguments_are_typed_and_calls_counted() -> None:
    answer, told = ask(calling(name="x", year="soon"), calling(name="x", amount=9), calling(name="x"), {"text": "ok"})
    assert told == [
        "refused: argument year: int_parsing", "refused: argument amount: extra_forbidden",
        "refused: orders may be called 2 times",
    ]  # fmt: skip
    assert SEEN == []
    assert answer.output == Reply(text="ok")


def test_a_tool_that_is_not_there_is_not_called() -> None:
    answer, _ = ask(*[ModelResponse(parts=[ToolCallPart("pay", {"amount": 9})])] * 9)
    assert (answer.output, answer.kind, SEEN) == (None, "invalid", [])


def test_what_changes_something_is_no_tool_of_an_agent() -> None:
    def untyped(case: AgentQuestion, name) -> None:  # type: ignore[no-untyped-def]
        """Nothing."""

    def caseless(name: str) -> None:
        """Nothing."""

    for tool, message in (
        (Tool("pay", look_up, reads=("orders",), writes=("payments",)), "tool pay changes payments; .* outbox"),
        (Tool("burn", look_up, reads=("orders",), reversible=False), "tool burn changes what cannot be undone"),
        (Tool("Pay!", look_up, reads=("orders",)), "small letters"),
        (Tool("orders", look_up, reads=()), "say what it reads"),
        (Tool("orders", untyped, reads=("orders",)), "argument name has no type"),
        (Tool("orders", caseless, reads=("orders",)), "takes `case` first"),
    ):
        with pytest.raises(SpecError, match=message):
            replace(SPEC, tools=(tool,))
