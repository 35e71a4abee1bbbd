"""What guards the registry's aliases: a look from the triggerer that wakes the DAG, and the task that puts back."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

INTERVAL = 20.0  # seconds between two looks; a look is one request


class AliasesChanged(BaseEventTrigger):
    """Fire when the aliases `champion` and `previous_champion` of any model, or the attempts on them, are not as last seen.

    The first look fires too: what happened while no triggerer ran is looked at. It reads the registry only; what
    is right, the woken task decides. An unreachable registry is waited for.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        super().__init__()
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The trigger as the metadata database keeps it."""
        return "baton.airflow.operators.guard.AliasesChanged", {"interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event a change."""
        known = ""
        while True:
            try:
                found = await asyncio.to_thread(_standing)
            except Exception as error:
                self.log.warning("registry not reachable, asking again in %s s: %s", self.interval, error)
            else:
                if found != known:
                    known = found
                    yield TriggerEvent({"seen": found})
            await asyncio.sleep(self.interval)


def _standing() -> str:
    from baton.registry.client import Registry
    from baton.registry.guard import wanted

    seen = wanted(Registry(retry_seconds=0.0).standing())
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


class RegistryGuardOperator(BaseOperator):
    """Put aliases back where the ledger says, and what was tried on the ledger.

    It fails once anything had to be put back, so that people are told by what tells them of failures: *Today* and the
    notification. Repeating it then succeeds.
    """

    ui_color = "#fdf3e1"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def execute(self, context: Context) -> dict[str, int]:
        """One pass; returns how many attempts were refused since the last one."""
        from baton.airflow.notify import send
        from baton.registry.client import Registry
        from baton.registry.guard import watch_over

        found = watch_over(Registry())
        for one in found.refused:
            send(
                f"Baton: refused in MLflow: {one.get('by')} tried {one.get('operation')} on {one['model']}: {one.get('what')}"
            )
        if found.reverted:
            raise AirflowFailException("; ".join(map(str, found.reverted)))
        return {"refused": len(found.refused)}
