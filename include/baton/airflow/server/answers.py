"""Answers of people, looked at where they arrive: a field that does not fit its request is refused, not found out later.

Airflow 3.3.2 checks the options of an answer (`PATCH .../hitlDetails`) and takes any value for its fields. The task would
fail on it after the request is closed, when nobody can answer any more.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from baton.airflow.server.bodies import Message, Receive, Send, body_of, instead

FieldsOf = Callable[[str, str, str, int], Mapping[str, Any]]  # DAG, run, task, map index -> fields of its request

_ANSWER = re.compile(
    r"/dags/(?P<dag>[^/]+)/dagRuns/(?P<run>[^/]+)/taskInstances/(?P<task>[^/]+)/(?P<index>-?\d{1,9})/hitlDetails/?$"
)
REFUSED = 422
NOTHING = b"{}"  # no answer at all: Airflow refuses it with 422, of those who may answer


class CheckedAnswers:
    """ASGI middleware around Airflow's API.

    Whoever may not answer learns nothing: Airflow sees an empty answer instead, and its own refusal (401, 403, 404)
    stands. Where it says 422, the reason takes the place of its words.

    Args:
        app: what answers requests.
        asked: the fields of a request as Airflow serialised them; empty where there is none.
    """

    def __init__(self, app: Any, asked: FieldsOf) -> None:
        self.app, self.asked = app, asked

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answers = scope["type"] == "http" and scope["method"] == "PATCH" and _ANSWER.search(scope["path"])
        if not answers:
            await self.app(scope, receive, send)
            return
        body = await body_of(receive)
        about = [unquote(answers[name]) for name in ("dag", "run", "task")]
        fields = await asyncio.to_thread(self.asked, about[0], about[1], about[2], int(answers["index"]))
        problem = misfit(fields, body)
        await self.app(
            scope, instead(NOTHING if problem else body, receive), _saying(problem, send) if problem else send
        )


def misfit(fields: Mapping[str, Any], body: bytes) -> str | None:
    """What is wrong with the fields of an answer; None: nothing, or the body is none, which Airflow says itself."""
    from airflow.sdk import Param
    from airflow.sdk.exceptions import ParamValidationError

    try:
        given = json.loads(body).get("params_input") or {}
        pairs = list(given.items())
    except (ValueError, AttributeError, RecursionError):
        return None
    for name, value in pairs:
        if name not in fields:
            return f"{name}: not among what was asked; the fields are {', '.join(sorted(fields)) or 'none'}"
        try:
            Param(None, schema=fields[name].get("schema") or {}).resolve(value)
        except ParamValidationError as error:
            return f"{name}: {json.dumps(value)[:100]} does not fit: {str(error).splitlines()[0]}"
    return None


def open_fields(dag: str, run: str, task: str, index: int) -> Mapping[str, Any]:
    """The fields of a task's request in Airflow's database."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    at = TaskInstance
    query = select(HITLDetail.params).join(at, at.id == HITLDetail.ti_id)
    here = query.where(at.dag_id == dag, at.run_id == run, at.task_id == task, at.map_index == index)
    with create_session() as session:
        return dict(session.scalar(here) or {})


def _saying(problem: str, send: Send) -> Send:
    """Sends the reason where the answer that comes is a 422; any other one as it is."""
    said = json.dumps({"detail": problem}).encode()
    ours = False

    async def send_on(message: Message) -> None:
        nonlocal ours
        if message["type"] == "http.response.start" and message["status"] == REFUSED:
            ours = True
            length = str(len(said)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({**message, "headers": headers})
        elif not ours:
            await send(message)
        elif not message.get("more_body", False):
            await send({**message, "body": said})

    return send_on
