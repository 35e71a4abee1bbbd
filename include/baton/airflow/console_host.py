"""The console inside Airflow's API server: Airflow's log-in, Airflow's rights, Airflow's runs.

Plugins are loaded by every process of Airflow, also by those that only run tasks. So importing this module costs
nothing: the application, and what it imports, is made at the API server's first request to it.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from fastapi import FastAPI

    from baton.console.host import Action, OpenRequest, Person, RunsOfDag

PREFIX = "/baton"
# a list and a conductor's baton; the pale outline keeps it visible on the dark ground of the selected entry
_SHAPE = "%3Cpath d='M4 7h9M4 12h6M4 17h9M20 4 13 16'/%3E%3Ccircle cx='20' cy='4' r='1.2'/%3E"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke-linecap='round'%3E"
    f"%3Cg stroke='{{outline}}' stroke-width='4'%3E{_SHAPE}%3C/g%3E%3Cg stroke='{{line}}' stroke-width='1.8'%3E{_SHAPE}%3C/g%3E"
    "%3C/svg%3E"
)


def nav_entry(base_url: str) -> dict[str, Any]:
    """The entry in Airflow's navigation: the page Today in a frame.

    Args:
        base_url: `[api] base_url`; its path comes before every address of this server.
    """
    root = urlsplit(base_url).path.rstrip("/")
    return {
        "name": "Today", "href": f"{root}{PREFIX}/today", "destination": "nav", "url_route": "today",
        "nav_top_level": True, "icon": _ICON.format(line="%234a5a6e", outline="%23e8eef6"), "icon_dark_mode": _ICON.format(line="%23d5dde7", outline="none"),
    }  # fmt: skip


class Console:
    """The ASGI application that a plugin mounts; the real one is made when it is first asked for."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        await application()(scope, receive, send)


@lru_cache(maxsize=1)
def application() -> FastAPI:
    """The console, with Airflow as its host."""
    from airflow.api_fastapi.core_api.security import GetUserDep

    from baton.console.app import create_app
    from baton.console.host import Person

    def current_user(user) -> Person:  # type: ignore[no-untyped-def]
        return Person(user.get_name(), user)

    # set here, not in the signature: the name is known only inside this function
    current_user.__annotations__ = {"user": GetUserDep, "return": Person}
    return create_app(current_user, AirflowHost())


class AirflowHost:
    """What Airflow knows, in the console's words (`baton.console.host.Host`)."""

    @property
    def root(self) -> str:
        """Path of `[api] base_url`, without a slash at its end."""
        from airflow.api_fastapi.app import API_ROOT_PATH

        return API_ROOT_PATH.rstrip("/")

    @property
    def origin(self) -> str:
        """Scheme and host of `[api] base_url`."""
        from airflow.api_fastapi.app import API_BASE_URL

        parts = urlsplit(API_BASE_URL)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    @property
    def secret(self) -> bytes:
        """Derived from `[api] secret_key`, which all API servers share."""
        import hashlib

        from airflow.api_fastapi.auth.tokens import get_signing_key

        return hashlib.sha256(b"baton-console" + get_signing_key("api", "secret_key").encode()).digest()

    def allowed(self, person: Person, action: Action, dag_id: str | None) -> bool:
        """Reading takes the right to read the DAG; deciding the right that Required Actions asks for."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
        from airflow.models.dag import DagModel

        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)) if dag_id else None
        manager = get_auth_manager()
        if action == "decide":
            return manager.is_authorized_dag(
                method="PUT", access_entity=DagAccessEntity.HITL_DETAIL, details=details, user=person.handle
            )
        return manager.is_authorized_dag(method="GET", details=details, user=person.handle)

    def runs(self, person: Person, since: datetime) -> list[RunsOfDag]:
        """Runs since a moment, and those that still run, by DAG; newest activity first."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy import or_, select

        from baton.console.host import RunsOfDag

        readable = get_auth_manager().get_authorized_dag_ids(user=person.handle)
        columns = (DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.run_after, DagRun.partition_key)
        query = (
            select(*columns)
            .where(
                or_(DagRun.run_after >= since, DagRun.state.in_(["running", "queued"])),
                DagRun.dag_id.in_(readable),
            )
            .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        )
        with create_session() as session:
            rows = session.execute(query).all()
        found: dict[str, dict[str, Any]] = {}
        for dag_id, run_id, state, at, partition in rows:
            entry = found.setdefault(dag_id, {
                "states": {}, "last_run": run_id, "last_state": str(state), "last_at": at.isoformat(),
                "partition": partition, "failed_run": None,
            })  # fmt: skip
            entry["states"][str(state)] = entry["states"].get(str(state), 0) + 1
            if str(state) == "failed" and entry["failed_run"] is None:
                entry["failed_run"] = run_id
        return [RunsOfDag(dag_id, **entry) for dag_id, entry in found.items()]

    def requests(self, person: Person) -> list[OpenRequest]:
        """Human-in-the-loop requests that a waiting task still asks."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.models.hitl import HITLDetail
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import select

        from baton.console.host import OpenRequest

        readable = get_auth_manager().get_authorized_dag_ids(user=person.handle)
        task = TaskInstance
        query = (
            select(task.dag_id, task.run_id, task.task_id, task.map_index, HITLDetail.subject, HITLDetail.created_at)
            .join(task, task.id == HITLDetail.ti_id)
            .where(
                HITLDetail.responded_at.is_(None), task.state.in_(["deferred", "awaiting_input"]),
                task.dag_id.in_(readable),
            )
            .order_by(HITLDetail.created_at)
        )  # fmt: skip
        with create_session() as session:
            return [OpenRequest(*row[:5], row[5].isoformat()) for row in session.execute(query).all()]

    def login_url(self, next_url: str) -> str:
        """The auth manager's log-in page."""
        from airflow.api_fastapi.app import get_auth_manager

        return get_auth_manager().get_url_login(next_url=next_url)
