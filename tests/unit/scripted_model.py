"""A model that plays its script, for tests of agents without a socket.

Test modules load it by path, because tests are no package: `runpy.run_path(...)["Scripted"]`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from baton.stages.connections import Model


class Scripted(Model):
    """A dict is an answer, a text a raw one, a number hangs so long, an error is raised, a response is itself; a function is
    called for one of these.

    At the end of its script it gives the answer `good`.
    """

    name = "scripted:one"
    key = "sk-unit-secret-key"

    def __init__(self, *script: Any, good: dict[str, Any] | None = None) -> None:
        self.script, self.good = list(script), good or {"text": "Take 12 of them.", "tags": ["a"]}
        self.asked: list[tuple[list[ModelMessage], AgentInfo]] = []

    @property
    def questions(self) -> list[str]:
        """What the users of each call said first."""
        return [
            str(next(part.content for part in first.parts if isinstance(part, UserPromptPart)))
            for (first, *_), _ in self.asked
            if isinstance(first, ModelRequest)
        ]

    def agent(self, output: type[BaseModel], instructions: str, retries: int) -> Agent[Any, Any]:
        return Agent(
            FunctionModel(self._play), output_type=NativeOutput(output), instructions=instructions, retries=retries
        )

    async def _play(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.asked.append((messages, info))
        move = self.script.pop(0) if self.script else self.good
        move = move() if callable(move) else move
        if isinstance(move, BaseException):
            raise move
        if isinstance(move, ModelResponse):
            return move
        if isinstance(move, float):
            await asyncio.sleep(move)
        return ModelResponse(parts=[TextPart(move if isinstance(move, str) else json.dumps(move))])

    def reveals(self, text: str) -> bool:
        return self.key in text
