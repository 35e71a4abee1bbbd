"""Asking within budgets: as many cases as were reserved for, by the model that they were reserved for; the rest has its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from baton.agents.asking import Answer, Caller
from baton.agents.calls import Limits
from baton.agents.case import AgentQuestion
from baton.agents.spec import AgentSpec, Critic
from baton.tracking.traces import cost
from baton.usage.budgets import Amounts, Hold
from baton.usage.used import Use

DEGRADED = "degraded: budget"
_LAPSED = f"{DEGRADED} (what was reserved has lapsed)"


def bound(spec: AgentSpec, limits: Limits, prices: Mapping[str, float]) -> dict[str, float]:
    """What a case may use up at most, by unit; `cost` only where the model has prices."""
    looks = sum(tool.max_calls for tool in spec.tools)
    drafts, judged = spec.redrafts + 1 if spec.critic is not None else 1, limits.retries + 1
    calls = drafts * (judged + looks) + (drafts * judged if isinstance(spec.critic, Critic) else 0)
    most = {"calls": float(calls), "tokens": float(limits.max_total_tokens), "seconds": limits.timeout}
    return most | ({"cost": limits.max_total_tokens * max(prices.values()) / 1e6} if prices else {})


@dataclass
class Rung:
    """A model of the ladder: how many cases it may still be asked about, and what its answers say of that; empty: nothing."""

    caller: Caller
    cases: int
    degraded: str = ""
    asked: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    def took(self, answer: Answer) -> None:
        if not answer.calls or answer.calls > answer.replayed:  # what an earlier attempt paid for takes nobody's place
            self.cases -= 1
        self.asked += 1
        self.seconds += answer.seconds
        requests, tokens_in, tokens_out = answer.paid
        self.requests, self.tokens_in, self.tokens_out = (
            self.requests + requests, self.tokens_in + tokens_in, self.tokens_out + tokens_out,
        )  # fmt: skip

    def cost(self) -> float | None:
        prices = self.caller.model.prices
        return sum(cost(self.tokens_in, self.tokens_out, prices)) if prices else None


class Purse:
    """Asks about the cases of one run, down the rungs.

    Args:
        first: whose journal may have the answer to a case that there is no room for; None: nobody is asked.
        rungs: with budgets, of so many cases as are reserved for.
        hold: what is reserved; None: there is no budget.
        rest: why nobody is asked about the others.
    """

    def __init__(
        self, first: Caller | None, rungs: Sequence[Rung] = (), hold: Hold | None = None, rest: str = ""
    ) -> None:
        self._first, self.rungs, self._hold, self._rest = first, list(rungs), hold, rest
        self._costs: list[float | None] = []

    def ask(self, case: AgentQuestion) -> Answer:
        """As `Caller.ask`, of the first rung that has room."""
        rung = next((one for one in self.rungs if one.cases), None)
        if rung and self._hold and not self._hold.keep(self._spent(), self._left(), rung.caller.limits.timeout):
            self._rest, rung = _LAPSED, None
            for one in self.rungs:
                one.cases = 0
        if rung is None:
            if self._first is None:
                return Answer(None, "skipped", self._rest)
            self._first.broke = self._rest
            return self._priced(self._first, self._first.ask(case))
        rung.caller.spent = sum(one.seconds for one in self.rungs)
        answer = self._priced(rung.caller, rung.caller.ask(case))
        rung.took(answer)
        if not rung.degraded:
            return answer
        return replace(answer, reason=": ".join(filter(None, (rung.degraded, answer.reason))))  # whatever came of it

    def cost(self) -> float | None:
        """Dollars of all answers, also of those that an earlier attempt paid for; None where a price is not known."""
        known = [one for one in self._costs if one is not None]
        if self._first is None or len(known) < len(self._costs) or not (known or self._first.model.prices):
            return None
        return sum(known)

    def _priced(self, caller: Caller, answer: Answer) -> Answer:
        prices = caller.model.prices
        if prices or answer.requests:
            self._costs.append(sum(cost(answer.input_tokens, answer.output_tokens, prices)) if prices else None)
        return answer

    def close(self) -> None:
        """Release what was not used: nobody is asked any more."""
        if self._hold:
            self._hold.end(self._spent())

    def uses(self) -> list[Use]:
        """For the record of the commit, of the models that were asked."""
        return [
            Use(
                f"agent:{one.caller.spec.name}", one.caller.spec.prompt_sha[:12], one.caller.model.name, one.asked,
                one.requests, one.tokens_in, one.tokens_out, one.seconds, one.cost(),
            )
            for one in self.rungs if one.asked
        ]  # fmt: skip

    def _spent(self) -> Amounts:
        mine = self.rungs
        return {
            "cost": sum(one.cost() or 0.0 for one in mine), "calls": sum(one.requests for one in mine),
            "tokens": sum(one.tokens_in + one.tokens_out for one in mine), "seconds": sum(one.seconds for one in mine),
        }  # fmt: skip

    def _left(self) -> Amounts:
        left = [(one.cases, bound(one.caller.spec, one.caller.limits, one.caller.model.prices)) for one in self.rungs]
        return {
            unit: sum(cases * most.get(unit, 0.0) for cases, most in left)
            for unit in ("cost", "tokens", "calls", "seconds")
        }
