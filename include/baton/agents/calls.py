"""One call after the other within limits: an answer that the schema and the pack accept, or why there is none.

Which model is asked is for whoever knows connections: `baton.airflow.agents` registers Airflow's here, as
`baton.airflow.effects` does for effects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field

from baton.agents.figures import foreign_numbers
from baton.agents.spec import AgentSpec, Case, Refused
from baton.errors import BatonError
from baton.specs_base import Spec

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.usage import RunUsage

LOST = 2  # failures of the server in a row after which the rest of the run does without


class NoModel(BatonError):
    """There is no model to ask; the message says why, and holds no secret."""


class Model(Protocol):
    """A model behind a connection."""

    name: str  # as configured, for example `openai-chat:smollm2-135m`; part of the stage's digest

    def agent(self, output: type[BaseModel], instructions: str, retries: int) -> Agent[Any, Any]:
        """An agent with typed output, no tools; `retries` after invalid answers.

        Raises:
            NoModel: the connection cannot be used.
        """

    def reveals(self, text: str) -> bool:
        """Does the text hold a secret of the connection?"""


_models: list[Callable[[str], Model]] = []


def register_models(connect: Callable[[str], Model]) -> None:
    """Say how a connection's name becomes a model (or raises `NoModel`); the last one registered counts."""
    _models[:] = [connect]


def connect(conn_id: str) -> Model:
    """The model behind a connection.

    Raises:
        NoModel: there is no such connection, or it is none to a model.
        BatonError: nobody registered models.
    """
    if not _models:
        raise BatonError("baton.agents: nobody registered models; import baton.airflow.agents in the task")
    return _models[0](conn_id)


class Limits(Spec):
    """What one run of the stage may use up."""

    max_calls: int = Field(default=20, ge=0, description="cases asked about in a run; the others get the template")
    max_seconds: float = Field(default=120.0, gt=0.0, description="seconds of all calls together; then templates")
    timeout: float = Field(default=30.0, gt=0.0, description="seconds for a case, with all its retries")
    retries: int = Field(default=1, ge=0, le=5, description="further requests after an answer that breaks the schema")
    max_tokens: int = Field(default=300, ge=16, description="tokens of one answer")
    max_total_tokens: int = Field(
        default=8_000, ge=16, description="tokens of a case, in and out, with all its retries"
    )


@dataclass(frozen=True)
class Answer:
    """What came of one case.

    Attributes:
        output: accepted; None: the template stands, for this `reason`.
        kind: accepted, refused (by policy), invalid (by the schema), failed (the server), skipped (not asked).
        reason: to be counted; `detail` belongs to this answer.
        requests, input_tokens, output_tokens: used, also by what was not accepted. seconds: of the call.
    """

    output: BaseModel | None
    kind: str
    reason: str = ""
    detail: str = ""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


class Caller:
    """Asks one model about the cases of one run."""

    def __init__(self, spec: AgentSpec, model: Model, limits: Limits) -> None:
        """Raises NoModel where the connection turns out to be of no use."""
        self.spec, self.model, self.limits = spec, model, limits
        self._agent = model.agent(spec.output, spec.instructions, limits.retries)
        self._calls, self._lost, self._spent = 0, 0, 0.0

    def ask(self, case: Case) -> Answer:
        """Asks about one case, unless the run's budget is used up or the server was lost; never raises for either."""
        if reason := self._stopped():
            return Answer(None, "skipped", reason)
        self._calls += 1
        before = time.monotonic()
        output, kind, reason, usage = self._call(case, min(self.limits.timeout, self.limits.max_seconds - self._spent))
        seconds = time.monotonic() - before
        self._spent += seconds
        self._lost = self._lost + 1 if kind == "failed" else 0
        judged, detail = (None if output is None else self._accept(case, output)), ""
        if isinstance(judged, Refused):
            kind, reason, detail, judged = "refused", judged.reason, judged.detail, None
        return Answer(judged, kind, reason, detail, usage.requests, usage.input_tokens, usage.output_tokens, seconds)

    def _stopped(self) -> str:
        if self._lost >= LOST:
            return f"not asked: the model server failed {LOST} times in a row"
        if self._calls >= self.limits.max_calls:
            return f"not asked: the run's limit of {self.limits.max_calls} calls"
        if self._spent >= self.limits.max_seconds:
            return f"not asked: the run's limit of {self.limits.max_seconds:g} seconds"
        return ""

    def _call(self, case: Case, timeout: float) -> tuple[BaseModel | None, str, str, RunUsage]:
        """(output or None, kind, reason, usage). The text of an error stays here: a server may echo the key in it."""
        from pydantic_ai.exceptions import RunTimedOut, UnexpectedModelBehavior, UsageLimitExceeded
        from pydantic_ai.usage import RunUsage, UsageLimits

        usage = RunUsage()
        limits = UsageLimits(request_limit=self.limits.retries + 1, total_tokens_limit=self.limits.max_total_tokens)
        try:
            result = self._agent.run_sync(
                case.question(), usage=usage, usage_limits=limits, timeout=timeout,
                model_settings={"max_tokens": self.limits.max_tokens, "temperature": 0.0, "max_retries": 1},
            )  # fmt: skip
        except (RunTimedOut, TimeoutError):
            return None, "failed", f"no answer within {round(timeout, 1):g} seconds", usage
        except UsageLimitExceeded:
            return None, "invalid", f"more than {self.limits.max_total_tokens} tokens", usage
        except UnexpectedModelBehavior:
            return None, "invalid", f"no valid answer in {max(1, usage.requests)} tries", usage
        except Exception as error:  # whatever a foreign server makes its client raise: the run goes on without it
            return None, "failed", _failure(error), usage
        return result.output, "accepted", "", usage

    def _accept(self, case: Case, output: BaseModel) -> BaseModel | Refused:
        """What holds for every agent, then what the pack says."""
        texts = list(_texts(output.model_dump(mode="json")))
        if any(self.model.reveals(text) for text in texts):
            return Refused("a secret in the text")
        for text in texts:
            if foreign := foreign_numbers(text, case.facts, case.data.values()):
                return Refused("number not in the facts", foreign[0])
        return self.spec.check(case, output)


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


def _texts(value: Any) -> list[str]:
    """All texts in an output."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []
