"""Tools: what a model may look up by itself while it writes, and what it may never do."""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from baton.errors import SpecError

if TYPE_CHECKING:
    from pydantic_ai.toolsets import FunctionToolset

    from baton.agents.case import AgentQuestion
    from baton.agents.masking import Mask

_LONGEST_RESULT = 4_000  # characters of one result that a model is shown


@dataclass(frozen=True)
class Tool:
    """A function that a model may call, with its reach.

    Attributes:
        name: what the model calls it.
        function: (case, *, typed arguments) to JSON; its docstring tells the model what it is for. The case comes from
            the engine, so that a tool can look up what belongs to the case without being told whose it is.
        reads: what it looks at, for people: ("knowledge base",).
        writes: what it changes. A tool that changes anything is declared so that people see it, but no agent may list
            it: effects go through the outbox, after approval.
        reversible: can what it does be undone; asked of tools with `writes` only.
        max_calls: in one case; more are answered with a refusal.
    """

    name: str
    function: Callable[..., Any]
    reads: tuple[str, ...]
    writes: tuple[str, ...] = ()
    reversible: bool = True
    max_calls: int = 3

    def arguments(self) -> type[BaseModel]:
        """The typed arguments, without the case.

        Raises:
            SpecError: the function takes no case first, or an argument has no type.
        """
        names = list(inspect.signature(self.function).parameters.values())
        if not names or names[0].name != "case":
            raise SpecError(f"tool {self.name}: its function takes `case` first, which the engine gives")
        hints, fields = get_type_hints(self.function), {}
        for parameter in names[1:]:
            if parameter.name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise SpecError(
                    f"tool {self.name}: argument {parameter.name} has no type; a model gives typed ones only"
                )
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
        return create_model(f"{self.name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)  # type: ignore[call-overload]

    def must_be_harmless(self, agent: str) -> None:
        """Raises SpecError unless a model may call it."""
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", self.name):
            raise SpecError(f"agent {agent}: tool {self.name!r}: write its name in small letters, digits and _")
        if self.writes or not self.reversible:
            what = ", ".join(self.writes) or "what cannot be undone"
            raise SpecError(
                f"agent {agent}: tool {self.name} changes {what}; a model may call tools that read only: "
                "put the effect into the outbox, behind an approval"
            )
        if not self.reads or self.max_calls < 1:
            raise SpecError(f"agent {agent}: tool {self.name}: say what it reads, and allow at least one call")
        self.arguments()


@dataclass
class ToolCall:
    """One call as the model saw it: masked arguments and result; times in nanoseconds since 1970."""

    name: str
    arguments: dict[str, Any]
    result: Any
    started: int
    ended: int


@dataclass
class Toolbox:
    """The tools of one case: arguments are restored before a tool sees them, results masked before the model does."""

    tools: Sequence[Tool]
    case: AgentQuestion
    mask: Mask
    calls: list[ToolCall] = field(default_factory=list)

    def toolset(self) -> FunctionToolset[Any]:
        """The tools for pydantic-ai."""
        from pydantic_ai import Tool as ModelTool
        from pydantic_ai.toolsets import FunctionToolset

        def made(tool: Tool) -> Any:
            said, schema = inspect.getdoc(tool.function), tool.arguments().model_json_schema()
            return ModelTool.from_schema(self._runner(tool), tool.name, said, schema, sequential=True)

        return FunctionToolset(list(map(made, self.tools)))

    def results(self) -> list[Any]:
        """What the model was told by tools, masked: numbers in it are given ones."""
        return [call.result for call in self.calls]

    def _runner(self, tool: Tool) -> Callable[..., Any]:
        arguments = tool.arguments()

        def run(**given: Any) -> Any:
            started = time.time_ns()
            result = self._result(tool, arguments, given)
            self.calls.append(ToolCall(tool.name, given, result, started, time.time_ns()))
            return result

        return run

    def _result(self, tool: Tool, arguments: type[BaseModel], given: dict[str, Any]) -> Any:
        if sum(call.name == tool.name for call in self.calls) >= tool.max_calls:
            return f"refused: {tool.name} may be called {tool.max_calls} times"
        try:
            typed = arguments.model_validate(self.mask.restored(given))
        except ValidationError as error:
            first = error.errors()[0]  # its text would quote what was restored
            return f"refused: argument {'.'.join(map(str, first['loc']))}: {first['type']}"
        values = {name: getattr(typed, name) for name in arguments.model_fields}
        result = self.mask.hidden(json.loads(json.dumps(tool.function(self.case, **values))))
        shown = json.dumps(result, ensure_ascii=False)
        return result if len(shown) <= _LONGEST_RESULT else f"{shown[:_LONGEST_RESULT]}…"
