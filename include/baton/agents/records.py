"""Records of agents in MLflow: versions of prompts, a trace of each case. Without MLflow a run goes on, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from baton.agents.calls import CallResult
from baton.agents.case import AgentQuestion
from baton.agents.masking import Mask
from baton.agents.tools import Toolbox
from baton.errors import BatonError
from baton.settings import settings
from baton.tracking.prompts import prompt_name, register
from baton.tracking.rest import Rest, credentials
from baton.tracking.runs import RunLog
from baton.tracking.traces import Span, Tracer, linked, llm_attributes, now

if TYPE_CHECKING:
    from baton.agents.calls import CallResult
    from baton.agents.spec import AgentSpec
    from baton.stages.job import StageJob

_PATIENCE = 3.0  # seconds for a server that restarts: a run does not wait for its records


@dataclass
class Records:
    """Where a run is recorded; nowhere without a tracer.

    Attributes:
        prompts: version of each prompt by its name in the registry.
        prices: dollars for a million tokens, `input` and `output`; empty if they are not known.
        problem: why there is no tracer although there is an MLflow server; no secret in it.
    """

    tracer: Tracer | None = None
    prompts: Mapping[str, int] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""

    def case(self, work: Work, agent: str, reason: str, started: int) -> None:
        """Trace one case; all of its texts are masked already, or withheld."""
        calls = work.calls
        if self.tracer is None or not calls:
            return
        parts = [
            Span(role, "LLM", one.started, one.ended, question, shown, self._attributes(one), one.reason)
            for role, question, one, shown in calls
        ]
        parts += [
            Span(one.name, "TOOL", one.started, one.ended, one.arguments, one.result)
            for one in (work.tools.calls if work.tools else [])
        ]
        last = next((shown for role, _, _, shown in reversed(calls) if role == "draft"), None)
        about = {"baton.rounds": work.drafts, "baton.reason": reason}
        root = Span(agent, "AGENT", started, now(), calls[0][1], None if reason else last, about, reason)
        self.tracer.case(root, parts, {"entity": work.case.key})

    def _attributes(self, one: CallResult) -> dict[str, Any]:
        used = llm_attributes(one.model, one.input_tokens, one.output_tokens, self.prices)
        return {**used, "baton.replayed": one.replayed, "baton.requests": one.requests}

    def facts(self) -> dict[str, Any]:
        """For the stage's facts."""
        return {"traced": self.tracer.written if self.tracer else 0, "prompt_versions": dict(self.prompts)}

    def degraded(self, agent: str) -> list[str]:
        """What was not recorded, and why."""
        if self.problem:
            return [f"agent {agent}: nothing is traced and no prompt registered: {self.problem}"]
        if self.tracer is not None and self.tracer.lost:
            return [f"agent {agent}: {self.tracer.lost} cases are not traced: {self.tracer.problem}"]
        return []


def open_records(spec: AgentSpec, job: StageJob, cases: int, prices: Mapping[str, float]) -> Records:
    """Records of a run in the tracking server of the settings, if there is one.

    Args:
        cases: how many the run has.
    """
    url = settings().mlflow_tracking_uri
    if not url:
        return Records(prices=prices)
    texts = {prompt_name(spec.name): spec.instructions}
    if spec.critic_instructions:
        texts[prompt_name(spec.name, critic=True)] = spec.critic_instructions
    try:
        user = credentials(settings().home, "service")
        rest = Rest(url, user, _PATIENCE)
        experiment = RunLog(rest).experiment(f"agents/{spec.name}")
        versions = {name: register(rest, name, text, experiment) for name, text in texts.items()}
    except (BatonError, httpx.HTTPError, KeyError, ValueError) as error:
        said = str(error).partition("\n")[0] if isinstance(error, BatonError) else type(error).__name__
        return Records(prices=prices, problem=said[:200])
    tags = {"flow": job.flow, "stage": job.stage, "partition": job.partition, "dag_run_id": job.run_id}
    tags |= {"cases": str(cases), "mlflow.linkedPrompts": linked(versions)}
    session = job.run_id or f"{job.flow}/{job.partition}"
    return Records(Tracer(url, user, experiment, tags, session), versions, prices)


@dataclass
class Work:
    """A case in the making: `hidden` is all that a model ever sees of it."""

    case: AgentQuestion
    mask: Mask
    hidden: AgentQuestion
    question: str
    allowed: float  # seconds for all of it
    until: float  # on the monotonic clock
    tools: Toolbox | None
    drafts: int = 0
    # role, question, outcome, output as shown
    calls: list[tuple[str, str, CallResult, Any]] = field(default_factory=list)

    def sum(self, what: str) -> int:
        """Of all calls."""
        return sum(getattr(outcome, what) for _, _, outcome, _ in self.calls)
