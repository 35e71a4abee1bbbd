"""What the trigger form says of a run's partition, made the run's partition key, in the one spelling.

Airflow has a field of its own for the key; the form of a flow has *First partition* and *Last partition*, which its UI sends as the
run's configuration. Without this such a run has no key: Airflow's list of runs shows no partition.
"""

from __future__ import annotations

import json
import re
from typing import Any

from baton.airflow.server.bodies import Message, Receive, Send, body_of, instead
from baton.data.partitions import is_own, read_key
from baton.errors import SourceError

_RUNS = re.compile(r"/dags/[^/]+/dagRuns/?$")
FORM = {
    "partition_from",
    "partition_to",
    "model",
    "dry_run",
}  # a run's configuration that holds them all is a flow's form


class FormPartitions:
    """ASGI middleware around Airflow's API: a new run of one partition gets its key."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and _RUNS.search(scope["path"]):
            receive = instead(with_key(await body_of(receive)), receive)
        await self.app(scope, receive, send)


def with_key(body: bytes) -> bytes:
    """The body of a request for a run, with its partition as key; as it is where it names none, several, or what is none."""
    try:
        asked = json.loads(body)
        typed, conf = asked.get("partition_key"), asked.get("conf") or {}
        form = [conf[name] for name in ("partition_from", "partition_to")] if set(conf) >= FORM else []
        named = {read_key(text) for text in ([typed] if typed else form) if text}
    except (
        ValueError,
        AttributeError,
        TypeError,
        RecursionError,
        SourceError,
    ):  # Airflow, or the run's first task, says what is wrong
        return body
    if len(named) != 1 or is_own(
        key := named.pop()
    ):  # a run of named files is no interval: Airflow's clock cannot read its key
        return body
    return json.dumps({**asked, "partition_key": key}).encode()
