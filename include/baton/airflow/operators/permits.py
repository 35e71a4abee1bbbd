"""The permits operator: a run waits, without a worker, until nobody is asked any more about what it placed.

People answer on Baton's pages or by `baton actions`; what they did not answer in time has expired, and counts as a no.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.triggers.base import BaseTrigger, TriggerEvent

from baton.airflow.operators.stage import whole_result


class PermitsTrigger(BaseTrigger):
    """Wait until no request of a flow's partition is open.

    A warehouse that cannot be reached is waited for, since the wait is long anyway.
    """

    def __init__(self, flow: str, partition: str, until: str | None = None, interval: float = 2.0) -> None:
        super().__init__()
        self.flow, self.partition, self.until, self.interval = flow, partition, until, interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger as the metadata database keeps it."""
        arguments = {"flow": self.flow, "partition": self.partition, "until": self.until, "interval": self.interval}
        return "baton.airflow.operators.permits.PermitsTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: that all are answered, or that the time is over."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                left = await asyncio.to_thread(_open, self.flow, self.partition)
            except Exception as error:
                self.log.warning("warehouse not reachable, asking again in %s s: %s", self.interval, error)
                continue
            if not left:
                yield TriggerEvent({"open": 0})
                return
            if self.until and datetime.now(UTC) >= datetime.fromisoformat(self.until):
                yield TriggerEvent({"open": left})
                return


def _open(flow: str, partition: str) -> int:
    from baton.actions import requests
    from baton.effects import firewall

    firewall.sweep()
    return sum(not one.undoes for one in requests.still_open(flow, partition))


class PermitsOperator(BaseOperator):
    """Wait for people's answers about the effects of a partition; at once where nobody is asked.

    Args:
        after: result of the stage that placed them; it is given back, so that a later stage can stand behind this one.
        longest: no answer by then: the run goes on with what is approved. The requests stay open to their own end.
    """

    template_fields: Sequence[str] = ("after",)
    ui_color = "#fdf3e1"

    def __init__(self, *, after: Any, longest: timedelta = timedelta(days=3), **kwargs: Any) -> None:
        super().__init__(execution_timeout=None, **kwargs)  # it would count the time of waiting
        self.after, self.longest = after, longest

    def execute(self, context: Context) -> Any:
        """Go on, or wait."""
        self.after = whole_result(self.after)
        partition = str(self.after["partition"])
        dry_run = bool((context.get("params") or {}).get("dry_run"))  # it placed nothing
        if dry_run or not (left := _open(self.dag_id, partition)):
            return self._answered(partition, 0)
        self.log.info("%s requests wait for people: `baton actions list`, or Baton's page Actions", left)
        self._wait(partition, (datetime.now(UTC) + self.longest).isoformat())
        return None

    def _wait(self, partition: str, until: str) -> None:
        trigger = PermitsTrigger(self.dag_id, partition, until)
        self.defer(trigger=trigger, method_name="execute_complete", kwargs={"until": until})

    def execute_complete(self, context: Context, event: dict[str, Any], until: str | None = None) -> dict[str, Any]:
        """All are answered, or the time is over; the event only wakes, for with SQLite it may be meant for another wait."""
        self.after = whole_result(self.after)
        partition = str(self.after["partition"])
        left = _open(self.dag_id, partition)
        if left and until and datetime.now(UTC) < datetime.fromisoformat(until):
            self._wait(partition, until)
        return self._answered(partition, left)

    def _answered(self, partition: str, left: int) -> dict[str, Any]:
        from baton.effects import outbox

        states = Counter(one.state for one in outbox.effects(self.dag_id, partition))
        self.log.info("%s: %s", partition, dict(states))
        facts = {"waiting": left, "may_go": states["pending"], "forbidden": states["forbidden"]}
        return {**self.after, "facts": facts}
