"""The caller of an agent, case by case: hide, draft, criticise, restore, check; or say why the template stands."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from baton.agents.calls import CallBudget, CallResult, Limits, call
from baton.agents.case import AgentQuestion, Refused
from baton.agents.figures import foreign_numbers, quotes
from baton.agents.masking import Mask
from baton.agents.records import Records, Work
from baton.agents.spec import AgentSpec, Critic, Remarks
from baton.agents.tools import Toolbox
from baton.data.fit import flaw
from baton.stages.connections import Model
from baton.stages.journal import Journal

LOST = 2  # failures of the server in a row after which the rest of the run does without


@dataclass(frozen=True)
class Answer:
    """What came of one case.

    Attributes:
        output: accepted, with its personal data restored; None: the template stands, for this `reason`.
        kind: accepted, refused (by policy), invalid (by the schema), failed (the server), skipped (not asked).
        reason: to be counted; `detail` belongs to this answer.
        model: that wrote the last draft; empty where none was asked.
        rounds: drafts that were written. calls: of the model, in all rounds. replayed: of them, those of an earlier try.
        requests, input_tokens, output_tokens: used, also by what was not accepted. seconds: of the case.
        tool_calls: how often the model looked something up.
        paid: requests, tokens in and out of what this attempt asked itself, with the most that requests may have used whose
            answers did not come.
    """

    output: BaseModel | None
    kind: str
    reason: str = ""
    detail: str = ""
    model: str = ""
    rounds: int = 0
    calls: int = 0
    replayed: int = 0
    tool_calls: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    paid: tuple[int, ...] = (0, 0, 0)


class Caller:
    """Asks one model about the cases of one run.

    Attributes:
        spent: seconds of the run so far.
        broke: why nothing may be asked any more; what an earlier attempt was told still stands. Empty: it may.
    """

    def __init__(
        self,
        spec: AgentSpec,
        model: Model,
        limits: Limits,
        records: Records | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Raises NoModel where the connection turns out to be of no use."""
        self.spec, self.model, self.limits = spec, model, limits
        self.records, self.journal = records or Records(), journal
        self._writer = model.agent(spec.output, spec.instructions, limits.retries)
        self._critic = (
            model.agent(Remarks, spec.critic_instructions, limits.retries) if isinstance(spec.critic, Critic) else None
        )
        self._cases, self._lost, self.spent = 0, 0, 0.0
        self.broke = ""

    @property
    def limit(self) -> str:
        """Why no further cases are asked about."""
        return f"not asked: the run's limit of {self.limits.max_calls} calls"

    def ask(self, case: AgentQuestion) -> Answer:
        """Asks about one case, unless the run's budget is used up or the server was lost; never raises for either."""
        if reason := self._stopped():
            return Answer(None, "skipped", reason)
        before, started = time.monotonic(), time.time_ns()
        try:
            mask = Mask(case.personal, self.spec.names)
            hidden = mask.case(case, self.spec.longest)
            question = hidden.question(self.spec.longest)
        except Exception as error:  # of the pack's detector or values: without a mask nobody is asked
            return Answer(None, "skipped", f"not asked: masking failed ({type(error).__name__})")
        self._cases += 1
        allowed = min(self.limits.timeout, self.limits.max_seconds - self.spent)
        tools = Toolbox(self.spec.tools, case, mask) if self.spec.tools else None
        work = Work(case, mask, hidden, question, allowed, before + allowed, tools)
        answer = self._answer(work, self._rounds(work), before)
        self.spent += answer.seconds
        self._lost = self._lost + 1 if answer.kind == "failed" else 0
        self.records.case(work, self.spec.name, answer.reason, started)
        return answer

    def _answer(self, work: Work, done: BaseModel | Refused | CallResult, before: float) -> Answer:
        kind, reason, detail = "accepted", "", ""
        if isinstance(done, CallResult):
            kind, reason = done.kind, done.reason
        elif isinstance(done, Refused):
            kind, reason, detail = "refused", done.reason, done.detail
        model = next((outcome.model for role, _, outcome, _ in reversed(work.calls) if role == "draft"), "")
        looked = len(work.tools.calls) if work.tools else 0
        asked = work.drafts, len(work.calls), work.sum("replayed"), looked
        used = work.sum("requests"), work.sum("input_tokens"), work.sum("output_tokens"), time.monotonic() - before
        new = [outcome for _, _, outcome, _ in work.calls if not outcome.replayed]
        names = ("requests", "input_tokens", "output_tokens")
        paid = tuple(sum(getattr(one, name) + one.unheard[n] for one in new) for n, name in enumerate(names))
        return Answer(done if isinstance(done, BaseModel) else None, kind, reason, detail, model, *asked, *used, paid)

    def _stopped(self) -> str:
        if self._lost >= LOST:
            return f"not asked: the model server failed {LOST} times in a row"
        if self._cases >= self.limits.max_calls:
            return self.limit
        if self.spent >= self.limits.max_seconds:
            return f"not asked: the run's limit of {self.limits.max_seconds:g} seconds"
        return ""

    def _rounds(self, work: Work) -> BaseModel | Refused | CallResult:
        """Draft, critic, redraft; then what the pack's policy says of the last draft."""
        question = work.question
        while True:
            outcome = self._call(work, "draft", question)
            work.drafts += 1
            draft = outcome.output
            if draft is None:
                return outcome
            sound = self._restored(work, draft)
            if isinstance(sound, CallResult) or (isinstance(sound, Refused) and self.spec.critic is None):
                return sound
            remarks = [str(sound)] if isinstance(sound, Refused) else self._remarks(work, draft, sound)
            if isinstance(remarks, CallResult):
                return remarks
            if not remarks and isinstance(sound, BaseModel):
                return self.spec.check(work.case, sound)
            if work.drafts > self.spec.redrafts:
                return sound if isinstance(sound, Refused) else Refused("the critic's remarks remain")
            question = _redraft(work.question, self._shown(work, draft), remarks)

    def _call(self, work: Work, role: str, question: str) -> CallResult:
        """One call, or what an earlier attempt of the run was told in answer to it."""
        agent = self._critic if role == "critic" and self._critic is not None else self._writer
        output: type[BaseModel] = Remarks if role == "critic" else self.spec.output
        key = "" if self.journal is None else self.journal.key(work.case.key, role, question)
        outcome = None if self.journal is None else _replayed(self.journal.get(key), output)
        if outcome is None and self.broke:
            return CallResult(None, "skipped", self.broke)
        if outcome is None:
            spent = work.sum("input_tokens") + work.sum("output_tokens")
            left = CallBudget(work.until - time.monotonic(), work.allowed, self.limits.max_total_tokens - spent)
            tools = work.tools if role == "draft" else None
            looked = len(tools.calls) if tools else 0
            outcome = call(self.model, agent, question, self.limits, left, tools)
            shown = self._shown(work, outcome.output)
            # a lookup gives placeholders that no later attempt would know
            if self.journal is not None and isinstance(shown, dict) and looked == (len(tools.calls) if tools else 0):
                used = {name: getattr(outcome, name) for name in ("model", "requests", "input_tokens", "output_tokens")}
                self.journal.put(key, {"output": shown, **used})
        else:
            shown = self._shown(work, outcome.output)
        work.calls.append((role, question, outcome, shown))
        return outcome

    def _shown(self, work: Work, output: BaseModel | None) -> Any:
        """An output as it may be kept and traced: nothing of it where it holds what it may not."""
        if output is None:
            return None
        content = output.model_dump(mode="json")
        for text in _texts(content):
            if self.model.reveals(text):
                return "withheld: a secret in the text"
            if stray := work.mask.stray(text):
                return f"withheld: {stray}"
        return content

    def _remarks(self, work: Work, draft: BaseModel, sound: BaseModel) -> list[str] | CallResult:
        """What the critic wants mended; the failed call if it could not be asked: a draft that nobody judged is none."""
        if self.spec.critic is None:
            return []
        if not isinstance(self.spec.critic, Critic):
            return [work.mask.hide(remark) for remark in self.spec.critic(work.case, sound)]
        outcome = self._call(work, "critic", f"{work.question}\n\nDRAFT (to be judged):\n{draft.model_dump_json()}")
        found = outcome.output
        if not isinstance(found, Remarks):
            return CallResult(None, outcome.kind, f"the critic: {outcome.reason}")
        fit = [text for text in found.remarks if text.strip() and work.mask.stray(text) is None]
        return [] if found.ok else fit or ["It may not go out as it is."]

    def _restored(self, work: Work, draft: BaseModel) -> BaseModel | Refused | CallResult:
        """The draft with its personal data, if it holds nothing that nobody gave."""
        content = draft.model_dump(mode="json")
        mask, texts = work.mask, list(_texts(content))
        if any(self.model.reveals(text) for text in texts):
            return CallResult(None, "refused", "a secret in the text")  # not even to be mended: it would be sent again
        for text in texts:
            if unfit := flaw(text):
                return Refused("no text that can be kept", unfit)
            if reason := mask.stray(text) or mask.borrowed(text):
                return Refused(reason)
            if quotes(text, self.spec.instructions):
                return Refused("quotes its instructions")
        facts = mask.bare({"facts": work.hidden.facts, "tools": work.tools.results() if work.tools else []})
        for text in texts:
            if foreign := foreign_numbers(mask.bare(text), facts, work.hidden.data.values()):
                return Refused("number not in the facts", foreign[0])
        try:
            return self.spec.output.model_validate(mask.restored(content))
        except ValidationError as error:  # its own text would quote what was restored
            return Refused("breaks the schema once restored", ".".join(map(str, error.errors()[0]["loc"])))


def _replayed(found: Mapping[str, Any] | None, output: type[BaseModel]) -> CallResult | None:
    if found is None:
        return None
    now = time.time_ns()
    try:
        requests, read, written = (int(found[name]) for name in ("requests", "input_tokens", "output_tokens"))
        said, model = output.model_validate(found["output"]), str(found["model"])
        return CallResult(said, "accepted", "", model, requests, read, written, started=now, ended=now, replayed=True)
    except (ValidationError, KeyError, TypeError, ValueError):  # torn, or not ours: it is asked again
        return None


def _redraft(question: str, draft: Any, remarks: list[str]) -> str:
    return (
        f"{question}\n\nYOUR DRAFT:\n{json.dumps(draft)}\n\n"
        f"REMARKS ON IT (write it anew without what they find; the rules stay):\n{json.dumps(remarks)}"
    )


def _texts(value: Any) -> list[str]:
    """All texts in an output."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []
