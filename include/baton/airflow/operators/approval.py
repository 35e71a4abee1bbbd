"""The approval operator: a person's yes or no to one model version, by either of two answers to one wait.

The Airflow UI's answer (Required Actions) and the tag `baton.review = approved | rejected` on exactly this
version in the MLflow registry resume the same task. A plain `awaiting_input` wait cannot be ended by a
trigger, so the task writes the request as `ApprovalOperator` does, and then defers on a trigger that polls
the tag; the UI's answer resumes a deferred task too.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput
from airflow.triggers.base import BaseTrigger, TriggerEvent

AIRFLOW, REGISTRY, EITHER = "airflow", "registry", "either"


class ReviewTrigger(BaseTrigger):
    """Wait until the version's tag `baton.review` says approved or rejected.

    The first look is after one interval; an unreachable registry is waited for, since the wait is long anyway.
    """

    def __init__(
        self, model: str, version: int, gate_at: str, ti_id: UUID | str, until: str | None = None, interval: float = 2.0
    ) -> None:
        super().__init__()
        self.model, self.version, self.gate_at, self.ti_id = model, version, gate_at, UUID(str(ti_id))
        self.until, self.interval = until, interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger as the metadata database keeps it."""
        arguments = {"model": self.model, "version": self.version, "gate_at": self.gate_at, "ti_id": str(self.ti_id),
                     "until": self.until, "interval": self.interval}  # fmt: skip
        return "baton.airflow.operators.approval.ReviewTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the review, or that the time is over."""
        while True:
            await asyncio.sleep(self.interval)
            review = None
            try:
                review = await asyncio.to_thread(_review, self.model, self.version, self.gate_at)
            except Exception as error:  # the time runs on all the same
                self.log.warning("registry not reachable, asking again in %s s: %s", self.interval, error)
            if review:
                await asyncio.to_thread(self._close_request, review)
                yield TriggerEvent({"review": review})
                return
            if self.until and datetime.now(UTC) >= datetime.fromisoformat(self.until):
                yield TriggerEvent({"review": "timeout"})
                return

    def _close_request(self, review: str) -> None:
        """Answer the request in Airflow too, so that nobody is asked for what was answered elsewhere.

        Only the triggerer may do this: a task's own supervisor does not take this message.
        """
        from airflow.sdk.execution_time.hitl import update_hitl_detail_response

        option = ModelApprovalOperator.APPROVE if review == "approved" else ModelApprovalOperator.REJECT
        try:
            update_hitl_detail_response(ti_id=self.ti_id, chosen_options=[option], params_input={})
        except Exception as error:  # the answer in the registry stands; only the request's display is behind
            self.log.warning("the request in Airflow could not be closed: %s", error)


def _review(model: str, version: int, gate_at: str) -> str | None:
    from baton.registry.client import Registry

    return Registry().heard(model, version, gate_at)


class ModelApprovalOperator(ApprovalOperator):
    """Ask a person about the version that the gate would promote.

    Skips itself when the gate did not say PROMOTE. A rejection skips what follows; a timeout fails the task.

    Args:
        model: name of the model.
        mode: `airflow`, `registry` or `either`: whose answer counts.
        verdict: result of the gate task.
    """

    template_fields = ("subject", "body", "verdict")

    def __init__(self, *, model: str, mode: str, verdict: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.mode, self.verdict = model, mode, verdict

    def execute(self, context: Context) -> Any:
        """Write the request, then wait for either answer."""
        facts = self.verdict["facts"]
        if facts["decision"] != "PROMOTE":
            means = facts.get("means", "")
            raise AirflowSkipException(
                f"no approval asked: the gate says {facts['decision']}, {means}: {facts['reasons']}"
            )
        self._forget_an_old_answer(facts["version"])
        if self.mode != REGISTRY:  # an answer that would not count is not asked for
            try:
                super().execute(context)
            except TaskAwaitingInput:
                if self.mode == AIRFLOW:
                    raise
        until = (datetime.now(UTC) + self.response_timeout).isoformat() if self.response_timeout else None
        trigger = ReviewTrigger(self.model, facts["version"], facts["gate_at"], context["ti"].id, until)
        self.defer(trigger=trigger, method_name="execute_complete")

    def _forget_an_old_answer(self, version: int) -> None:
        """The task was cleared after it had an answer: the tag still says that one, and must not answer for a person again."""
        from baton.lifecycle.promote import record_of
        from baton.registry.client import Registry

        if (record_of(self.model, version) or {}).get("answer") is not None:
            registry = Registry()
            registry.ask(self.model, version, registry.tags(self.model, version))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer with its channel and reviewer; of a tag in the registry, whom MLflow's log-in saw setting it."""
        from baton.lifecycle.promote import record_answer

        version = self.verdict["facts"]["version"]
        if "review" in event:
            return self._answered_in_registry(context, version, event["review"])
        if "error" in event:
            record_answer(self.model, version, "timeout", reviewer="", channel=AIRFLOW)
            return super().execute_complete(context, event)
        user = event.get("responded_by_user") or {}
        answer = "approved" if event["chosen_options"] == [self.APPROVE] else "rejected"
        reviewer = str(user.get("name") or user.get("id") or "")
        record_answer(self.model, version, answer, reviewer=reviewer, channel=AIRFLOW)
        self._show_in_registry(version, answer, f"{reviewer} in Airflow")
        super().execute_complete(context, event)
        return {"answer": answer, "version": version, "channel": AIRFLOW}

    def _show_in_registry(self, version: int, answer: str, by: str) -> None:
        """The version's tags say the answer too; one that cannot be written changes nothing of what is on record."""
        from baton.errors import BatonError
        from baton.registry.client import Registry

        try:
            Registry().show_answer(self.model, version, answer, by)
        except BatonError as error:
            self.log.warning("the answer is on record, but not in the registry's tags: %s", error)

    def _answered_in_registry(self, context: Context, version: int, review: str) -> dict[str, Any]:
        from baton.lifecycle.promote import record_answer
        from baton.registry.client import Registry

        if review == "timeout":
            record_answer(self.model, version, "timeout", reviewer="", channel=REGISTRY)
            raise AirflowFailException(
                f"nobody answered for {self.model} version {version} within {self.response_timeout}"
            )
        who = Registry().answered_by(self.model, version, review)
        reviewer = f"{who} (registry)" if who else "unverified (registry)"
        record_answer(self.model, version, review, reviewer=reviewer, channel=REGISTRY)
        self._show_in_registry(version, review, f"{who} in MLflow" if who else "whoever set the tag")
        if review == "rejected":
            self.skip(ti=context["ti"], tasks=context["task"].get_direct_relatives(upstream=False))
        return {"answer": review, "version": version, "channel": REGISTRY}
