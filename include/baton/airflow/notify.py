"""Notifications: to the log always, to mail and chat when the connections `baton_smtp`, `baton_slack` exist."""

import asyncio
import logging
from typing import Any

from airflow.sdk import BaseHook, BaseNotifier, Context
from airflow.sdk.exceptions import AirflowNotFoundException

log = logging.getLogger(__name__)


class Notify(BaseNotifier):
    """Tell people what happened to a run.

    Connections (none by default): `baton_smtp` (SMTP; extra `{"to": "team@example.org"}`) and
    `baton_slack` (HTTP; an incoming-webhook address).
    """

    template_fields = ("event",)

    def __init__(self, event: str) -> None:
        super().__init__()
        self.event = event

    def notify(self, context: Context) -> None:
        """Send; a channel that fails is logged and never fails the run it reports on."""
        ti = context.get("ti")
        where = f"{ti.dag_id}.{ti.task_id} run {ti.run_id}" if ti else str(context.get("dag_run"))
        reason = str(context.get("exception") or "").splitlines()[:1]
        send(f"Baton: {self.event}: {where} {' '.join(reason)}".strip())


async def deadline_missed(minutes: float, context: dict[str, Any] | None = None, **_: Any) -> None:
    """Callback of a missed deadline; runs in the triggerer."""
    run = (context or {}).get("dag_run", {})
    await asyncio.to_thread(send, f"Baton: deadline of {minutes:g} minutes missed: {run}")


def send(text: str) -> list[str]:
    """Send to every channel that has a connection; returns the channels reached (`log` always)."""
    log.warning(text)
    reached = ["log"]
    for channel, deliver in (("baton_smtp", _mail), ("baton_slack", _chat)):
        try:
            deliver(channel, text)
            reached.append(channel)
        except AirflowNotFoundException:
            continue  # not configured: the log is the default
        except Exception as error:
            log.error("notification through %s failed: %s", channel, error)
    return reached


def _mail(conn_id: str, text: str) -> None:
    from html import escape

    from airflow.providers.smtp.hooks.smtp import SmtpHook

    to = BaseHook.get_connection(conn_id).extra_dejson["to"]
    with SmtpHook(smtp_conn_id=conn_id) as hook:
        hook.send_email_smtp(to=to, subject=text[:120], html_content=escape(text))  # it may quote a cell


def _chat(conn_id: str, text: str) -> None:
    from airflow.providers.http.hooks.http import HttpHook

    BaseHook.get_connection(conn_id)
    HttpHook(method="POST", http_conn_id=conn_id).run(json={"text": text})
