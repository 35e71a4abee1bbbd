"""The approval operator: people's yes or no to one model version, however they give it.

A request about the promotion is opened as for any action (`baton.actions.promotions`). People answer it on Baton's pages, by
`baton actions`, in the Airflow UI (Required Actions), or by the tag `baton.review = approved | rejected` on exactly this
version in the MLflow registry, if MLflow's log-in saw who set it. Each answer is one person's vote, by the same rules; the task
asks on until the request is closed. A plain `awaiting_input` wait cannot be ended by a trigger, so the task asks as
`ApprovalOperator` does, and defers on a trigger that polls request and tag; the UI's answer resumes a deferred task too.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, AirflowSkipException
from airflow.sdk.execution_time import hitl
from airflow.triggers.base import BaseTrigger, TriggerEvent

AIRFLOW, REGISTRY, EITHER = "airflow", "registry", "either"
OPEN = "open"
_NOT_THERE = 404
_EARLIER = "people were asked by an earlier Baton: clear `judge` to have the version judged and asked about anew"


class ReviewTrigger(BaseTrigger):
    """Wait until the request is closed, or the version's tag `baton.review` says approved or rejected.

    The first look is after one interval; an unreachable registry or warehouse is waited for, since the wait is long anyway.

    Args:
        request: number of the request about the promotion; None: an earlier Baton stored the trigger, and asked nobody's vote.
        tagged: whether the tag is looked at.
    """

    def __init__(
        self, model: str, version: int, gate_at: str, ti_id: UUID | str, request: int | None = None,
        tagged: bool = True, until: str | None = None, interval: float = 2.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.version, self.gate_at, self.ti_id = model, version, gate_at, UUID(str(ti_id))
        self.request, self.tagged, self.until, self.interval = request, tagged, until, interval
        self._looked_back = False  # for an answer that was given before this trigger ran

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger as the metadata database keeps it."""
        arguments = {"model": self.model, "version": self.version, "gate_at": self.gate_at, "ti_id": str(self.ti_id),
                     "request": self.request, "tagged": self.tagged, "until": self.until, "interval": self.interval}  # fmt: skip
        return "baton.airflow.operators.approval.ReviewTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event with the request's number: an answer in Airflow, what the request came to, the tag's word, or the end.

        A trigger runs on for a moment after its task went on, and SQLite gives its number to the next one: that task would get
        the event, and knows by the request that it is none of its own.
        """
        if self.request is None:
            yield TriggerEvent({"error": _EARLIER})
            return
        event = None
        while event is None:
            await asyncio.sleep(self.interval)
            event = await asyncio.to_thread(self._look)
        if "closed" in event:
            await asyncio.to_thread(self._close_request, event["closed"])
        yield TriggerEvent({**event, "request": self.request})

    def _look(self) -> dict[str, Any] | None:
        """What there is to tell; None: nothing yet."""
        try:
            if not self._looked_back:
                early, self._looked_back = self._answered_early(), True
                if early:
                    return early
            state = _state(self.request or 0)
            if state != OPEN:
                return {"closed": state}
            if self.tagged and (review := _review(self.model, self.version, self.gate_at)):
                return {"review": review}
        except Exception as error:  # the time runs on all the same
            self.log.warning("not reachable, asking again in %s s: %s", self.interval, error)
        over = self.until and datetime.now(UTC) >= datetime.fromisoformat(self.until)
        return {"review": "timeout", "until": self.until} if over else None

    def _answered_early(self) -> dict[str, Any] | None:
        """A person's answer that Airflow took while the task did not wait: it resumed nothing, and asks no more.

        Answers that come while it waits resume the task themselves.
        """
        try:
            given = hitl.get_hitl_detail_content_detail(ti_id=self.ti_id)
        except AirflowRuntimeError as error:
            if (error.error.detail or {}).get("status_code") == _NOT_THERE:  # only the registry is asked
                return None
            raise
        # no answer at all where no triggerer stands between, as in `dag.test()`
        if given is None or not given.response_received or given.responded_by_user is None:
            return None
        user = {"id": given.responded_by_user.id, "name": given.responded_by_user.name}
        return {"chosen_options": list(given.chosen_options or []), "responded_by_user": user}

    def _close_request(self, state: str) -> None:
        """Answer the request in Airflow too, so that nobody is asked for what was answered elsewhere.

        Only the triggerer may do this: a task's own supervisor does not take this message.
        """
        option = ModelApprovalOperator.APPROVE if state == "approved" else ModelApprovalOperator.REJECT
        try:
            hitl.update_hitl_detail_response(ti_id=self.ti_id, chosen_options=[option], params_input={})
        except Exception as error:  # the answer stands; only the request's display is behind
            self.log.warning("the request in Airflow could not be closed: %s", error)


def _review(model: str, version: int, gate_at: str) -> str | None:
    from baton.registry.client import Registry

    return Registry().heard(model, version, gate_at)


def _state(number: int) -> str:
    from baton.actions import requests
    from baton.record import warehouse

    with warehouse.read() as conn:
        return requests.find(conn, number).state


def _told(number: int, voter: Any, answer: str, why: str) -> None:
    """Keep why a vote did not count: Airflow's form said that the response was successful."""
    from baton.actions import requests, votes
    from baton.record import warehouse

    warehouse.transact(lambda conn: votes.not_counted(conn, requests.find(conn, number), voter, answer, why))


class ModelApprovalOperator(ApprovalOperator):
    """Ask people about the version that the gate would promote.

    Skips itself when the gate did not say PROMOTE. A refusal skips what follows; a timeout, or that the version would not be
    promoted like this any more, fails the task.

    Args:
        model: name of the model.
        mode: `airflow`, `registry` or `either`: where people are asked besides Baton's pages and `baton actions`.
        verdict: result of the gate task.
    """

    template_fields = ("subject", "body", "verdict")

    def __init__(self, *, model: str, mode: str, verdict: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.mode, self.verdict = model, mode, verdict

    def execute(self, context: Context) -> Any:
        """Open the request, then wait for people."""
        from baton.actions import promotions
        from baton.airflow.operators.runs import waking_runs
        from baton.errors import RegistryRefused
        from baton.lifecycle.promote import had_a_part

        facts = self.verdict["facts"]
        if facts["decision"] != "PROMOTE":
            means = facts.get("means", "")
            raise AirflowSkipException(
                f"no approval asked: the gate says {facts['decision']}, {means}: {facts['reasons']}"
            )
        self._forget_an_old_answer(facts["version"])
        by = context["dag_run"].triggering_user_name or ""
        try:
            barred = had_a_part(self.model, facts["version"], waking_runs(context), by)
            asked = promotions.ask(self.model, facts["version"], barred)
        except RegistryRefused as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("request %s: %s of the people have to agree; %s", asked.id, asked.needs, "; ".join(asked.reasons))
        until = (datetime.now(UTC) + self.response_timeout).isoformat() if self.response_timeout else None
        self._question(context)
        self._wait(context, {"number": asked.id, "seen": asked.seen, "until": until})

    def _question(self, context: Context) -> None:
        """Ask in Airflow. An answer that is there is taken away, so it must have been heard; then people are asked again."""
        if self.mode != REGISTRY:  # an answer that would not count is not asked for
            hitl.upsert_hitl_detail(
                ti_id=context["ti"].id, options=self.options, subject=self.subject, body=self.body, params={},
            )  # fmt: skip

    def _wait(self, context: Context, asked: dict[str, Any]) -> None:
        """Wait for whoever answers next."""
        facts = self.verdict["facts"]
        trigger = ReviewTrigger(
            self.model, facts["version"], facts["gate_at"], context["ti"].id, asked["number"], self.mode != AIRFLOW,
            asked["until"],
        )  # fmt: skip
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"asked": asked})

    def _forget_an_old_answer(self, version: int) -> None:
        """The task was cleared after it had an answer: the tag still says that one, and must not answer for a person again."""
        from baton.lifecycle.promote import record_of
        from baton.registry.client import Registry

        if (record_of(self.model, version) or {}).get("answer") is not None:
            registry = Registry()
            registry.ask(self.model, version, registry.tags(self.model, version))

    def execute_complete(self, context: Context, event: dict[str, Any], asked: dict[str, Any] | None = None) -> Any:
        """Take an answer as its person's vote; go on once the request is closed, else ask on."""
        from baton.actions import promotions
        from baton.actions.votes import Voter
        from baton.lifecycle.promote import record_of

        version, state = self.verdict["facts"]["version"], OPEN
        if asked is None:
            # `dag.test()` hands the event on alone; else an earlier Baton asked, and whatever was answered is no vote on a request
            asked = {"number": (record_of(self.model, version) or {}).get("request")}
            if "closed" not in event or asked["number"] is None or event.get("request") != asked["number"]:
                raise AirflowFailException(_EARLIER)
        resumed = "chosen_options" in event and "request" not in event  # by Airflow itself, for a person's answer
        if not resumed and event.get("request") != asked["number"]:
            self.log.info("an event of another wait: %s", event)
            self._wait(context, asked)
        if "closed" in event:
            return self._closed(context, version, str(event["closed"]))
        if event.get("review") == "timeout":
            if event["until"] != asked["until"]:  # of a wait about the same request that was cleared
                self._wait(context, asked)
            said = f"nobody, or too few, answered for {self.model} version {version} within {self.response_timeout}"
            promotions.give_up(asked["number"], said)
            raise AirflowFailException(said)
        if "review" in event:
            state = self._tagged(version, str(event["review"]), asked)
        else:
            user = event.get("responded_by_user") or {}
            voter = Voter(str(user.get("id") or ""), str(user.get("name") or ""), AIRFLOW)
            yes = event["chosen_options"] == [self.APPROVE]
            state, _ = self._vote(asked, voter, "approved" if yes else "refused")
            if state == OPEN:
                self._question(context)
        if state == OPEN:
            self._wait(context, asked)
        return self._closed(context, version, state)

    def _vote(self, asked: dict[str, Any], voter: Any, answer: str) -> tuple[str, str]:
        """The request's state after a person's vote, and why that did not count."""
        from baton.actions.votes import VoteRefused
        from baton.effects import firewall

        try:
            after = firewall.vote(asked["number"], voter, answer, asked["seen"])
        except VoteRefused as refusal:
            self.log.warning("%s", refusal)
            _told(asked["number"], voter, answer, str(refusal))
            return _state(asked["number"]), str(refusal)
        left = "" if after.state != OPEN else f"{voter.known_as} agreed; another person is needed"
        return after.state, left

    def _tagged(self, version: int, review: str, asked: dict[str, Any]) -> str:
        """The request's state after the tag's word; a word that does not close it goes back to `pending`, and is answered."""
        from baton.actions.votes import Voter
        from baton.errors import BatonError
        from baton.registry.client import Registry

        registry = Registry()
        who = registry.answered_by(self.model, version, review)
        state, said = OPEN, "a comment only: MLflow's log-in did not see who set it; answer in Airflow, or set it again"
        if who is not None:
            state, said = self._vote(
                asked, Voter(who, who, REGISTRY), "approved" if review == "approved" else "refused"
            )
        if state == OPEN:
            try:
                registry.ask(self.model, version, {})
                registry.say(self.model, version, f"{review}: {said}")
            except BatonError as error:  # a vote stands; a tag that still says it counts no second time
                self.log.warning("the tag was not answered: %s", error)
        return state

    def _closed(self, context: Context, version: int, state: str) -> dict[str, Any]:
        """Show what the request came to, and go on, skip or fail."""
        from baton.actions import promotions
        from baton.errors import BatonError
        from baton.lifecycle.promote import record_of
        from baton.registry.client import Registry

        record = record_of(self.model, version) or {}
        answer, channel = record.get("answer"), record.get("channel")
        if state not in ("approved", "refused") or answer is None:
            raise AirflowFailException(
                f"{self.model} version {version}: the request is {state}: nothing is promoted; clear `judge` to have it asked anew"
            )
        try:
            Registry().show_answer(self.model, version, str(answer), promotions.voices(int(record["request"])))
        except BatonError as error:  # one that cannot be written changes nothing of what is on record
            self.log.warning("the answer is on record, but not in the registry's tags: %s", error)
        if state == "refused":
            self.skip(ti=context["ti"], tasks=context["task"].get_direct_relatives(upstream=False))
        return {"answer": answer, "version": version, "channel": channel}
