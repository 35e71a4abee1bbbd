"""One call to a model within limits, and what comes of it.

Which model is asked is for whoever knows connections (`baton.stages.connections`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from baton.specs.base import Spec
from baton.stages.connections import Model

if TYPE_CHECKING:
    from pydantic_ai import Agent

    from baton.agents.tools import Toolbox

FALLBACK = ", the fallback "  # between the name of a model that answered instead of the first one, and its connection


class Limits(Spec):
    """What one run of the stage may use up."""

    max_calls: int = Field(default=20, ge=0, description="cases asked about in a run; the others get the template")
    max_seconds: float = Field(default=120.0, gt=0.0, description="seconds of all calls together; then templates")
    timeout: float = Field(default=30.0, gt=0.0, description="seconds for a case, with all retries")
    retries: int = Field(default=1, ge=0, le=5, description="further requests after an answer that breaks the schema")
    max_tokens: int = Field(default=300, ge=16, description="tokens of one answer")
    max_total_tokens: int = Field(default=8_000, ge=16, description="tokens of a case, in and out, with all retries")


@dataclass(frozen=True)
class CallResult:
    """What came of one call: an output that the schema accepts, or its `kind` (invalid, failed) and the reason.

    Attributes:
        model: that answered, or the first one asked.
        requests, input_tokens, output_tokens: used, also without an output. unheard: beside them, the most that a request
            may have used whose answer did not come. started, ended: nanoseconds since 1970.
        replayed: it was asked by an earlier attempt of the run.
    """

    output: BaseModel | None
    kind: str
    reason: str = ""
    model: str = ""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    unheard: tuple[int, int, int] = (0, 0, 0)
    started: int = 0
    ended: int = 0
    replayed: bool = False


@dataclass(frozen=True)
class CallBudget:
    """What is left of a case: `seconds` of the `allowed` ones, `tokens` of `Limits.max_total_tokens`."""

    seconds: float
    allowed: float
    tokens: int


def call(
    model: Model, agent: Agent[Any, Any], question: str, limits: Limits, left: CallBudget, tools: Toolbox | None = None
) -> CallResult:
    """Asks once, with retries after invalid answers and calls of tools; never raises for what a server does."""
    from pydantic_ai.exceptions import RunTimedOut, UnexpectedModelBehavior, UsageLimitExceeded
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.usage import RunUsage, UsageLimits

    usage, started = RunUsage(), time.time_ns()
    model.answered = ""

    def ended(
        kind: str, reason: str = "", output: BaseModel | None = None, lost: int = 0, worked: bool = True
    ) -> CallResult:
        used = usage.requests, usage.input_tokens, usage.output_tokens
        rest = max(left.tokens - usage.input_tokens - usage.output_tokens, 0) if lost and worked else 0
        unheard = lost, rest - min(rest, limits.max_tokens), min(rest, limits.max_tokens)
        return CallResult(output, kind, reason, model.answered or model.name, *used, unheard, started, time.time_ns())

    late = f"no answer within {round(left.allowed, 1):g} seconds"
    if left.seconds <= 0:
        return ended("failed", late)
    looks = sum(tool.max_calls for tool in tools.tools) if tools else 0
    most = UsageLimits(request_limit=limits.retries + 1 + looks, total_tokens_limit=max(left.tokens, 0))
    settings = ModelSettings(max_tokens=limits.max_tokens, temperature=0.0, max_retries=1)
    if model.chain > 1:  # else a first one that hangs would use up the time of all
        settings |= ModelSettings(timeout=left.seconds / model.chain, max_retries=0)
    try:
        sets = [tools.toolset()] if tools else None
        own: dict[str, Any] = {"usage": usage, "usage_limits": most, "model_settings": settings, "toolsets": sets}
        result = agent.run_sync(question, timeout=left.seconds, **own)
    except (RunTimedOut, TimeoutError):
        return ended("failed", late, lost=1)
    except UsageLimitExceeded:
        return ended("invalid", f"more than {limits.max_total_tokens} tokens")
    except UnexpectedModelBehavior:
        return ended("invalid", f"no valid answer in {max(1, usage.requests)} tries")
    except Exception as error:  # whatever a foreign server makes its client raise: the run goes on without it
        lost, worked = _sent(error)
        return ended(
            "failed", _failure(error), lost=lost, worked=worked
        )  # its text stays here: a server may echo the key in it
    return ended("accepted", output=result.output)


def _sent(error: BaseException) -> tuple[int, bool]:
    """How many requests failed that a server got, and whether one may have used tokens: one that was answered with a status did not."""
    if isinstance(error, BaseExceptionGroup):  # of a chain of fallbacks
        each = [_sent(one) for one in error.exceptions]
        return sum(requests for requests, _ in each), any(worked for _, worked in each)
    if getattr(error, "phase", None) in ("pool", "connect"):
        return 0, False
    return 1, not isinstance(getattr(error, "status_code", None), int)


def _failure(error: BaseException) -> str:
    """What went wrong, by status or kind."""
    from pydantic_ai.exceptions import ModelAPIError, ModelConnectionError

    while isinstance(error, BaseExceptionGroup):  # of a chain of fallbacks: the last one asked
        error = error.exceptions[-1]
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"the model server answered {status}"
    if isinstance(error, ModelConnectionError):
        return "the model server cannot be reached"
    if isinstance(error, ModelAPIError):
        return "the model server's answer is none of its interface"
    return f"the call failed ({type(error).__name__})"
