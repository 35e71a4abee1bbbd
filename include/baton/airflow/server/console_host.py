"""Airflow as the console's host: Airflow's log-in, Airflow's rights, Airflow's runs. Imported by the API server only."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.app import API_BASE_URL, API_ROOT_PATH, get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.tokens import get_signing_key
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.asset import AssetModel, DagScheduleAssetReference, TaskOutletAssetReference
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import or_, select

from baton.console.host import Access, OpenRequest, Person, RunsOfDag, Wiring
from baton.errors import BatonError


def current_user(user: GetUserDep) -> Person:
    """The person behind the request's bearer token or log-in cookie; 401 without either, as on all of Airflow's pages."""
    return Person(user.get_name(), user, str(user.get_id()))


class AirflowHost:
    """What Airflow knows, in the console's words (`baton.console.host.Host`)."""

    @property
    def root(self) -> str:
        """Path of `[api] base_url`, without a slash at its end."""
        return API_ROOT_PATH.rstrip("/")

    @property
    def origin(self) -> str:
        """Scheme and host of `[api] base_url`."""
        parts = urlsplit(API_BASE_URL)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    @property
    def secret(self) -> bytes:
        """Derived from `[api] secret_key`, which all API servers share."""
        return hashlib.sha256(b"baton-console" + get_signing_key("api", "secret_key").encode()).digest()

    def allowed(self, person: Person, action: Access, dag_id: str | None) -> bool:
        """Reading takes the right to read the DAG; deciding the right that Required Actions asks for, in general that for all DAGs."""
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)) if dag_id else None
        manager = get_auth_manager()
        if action == "decide":
            entity = DagAccessEntity.HITL_DETAIL
            if not manager.is_authorized_dag(method="PUT", access_entity=entity, details=details, user=person.handle):
                return False
            # about DAGs in general FAB asks only for the request's right, which knows no DAG: whoever decides for the whole house
            # may edit all of them
            return details is not None or manager.is_authorized_dag(method="PUT", user=person.handle)
        return manager.is_authorized_dag(method="GET", details=details, user=person.handle)

    def runs(self, person: Person, since: datetime) -> list[RunsOfDag]:
        """Runs since a moment, and those that still run, by DAG; newest first."""
        readable = get_auth_manager().get_authorized_dag_ids(user=person.handle)
        recent = or_(DagRun.run_after >= since, DagRun.state.in_(["running", "queued"]))
        query = (
            select(DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.run_after, DagRun.partition_key, DagRun.conf)
            .where(recent, DagRun.dag_id.in_(readable))
            .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        )
        found: dict[str, dict[str, Any]] = {}
        with create_session() as session:
            for dag_id, run_id, state, at, partition, conf in session.execute(query):
                newest = {
                    "states": {}, "last_run": run_id, "last_state": str(state), "last_at": at.isoformat(),
                    "partition": partition or _asked(conf), "failed_run": None,
                }  # fmt: skip
                entry = found.setdefault(dag_id, newest)
                entry["states"][str(state)] = entry["states"].get(str(state), 0) + 1
                if str(state) == "failed" and entry["failed_run"] is None:
                    entry["failed_run"] = run_id
        return [RunsOfDag(dag_id, **entry) for dag_id, entry in found.items()]

    def requests(self, person: Person) -> list[OpenRequest]:
        """Human-in-the-loop requests that a waiting task still asks, oldest first."""
        readable = get_auth_manager().get_authorized_dag_ids(user=person.handle)
        task = TaskInstance
        query = (
            select(task.dag_id, task.run_id, task.task_id, task.map_index, HITLDetail.subject, HITLDetail.created_at)
            .join(task, task.id == HITLDetail.ti_id)
            # a task that failed or timed out leaves its request unanswered
            .where(HITLDetail.responded_at.is_(None), task.state.in_(["deferred", "awaiting_input"]))
            .where(task.dag_id.in_(readable))
            .order_by(HITLDetail.created_at)
        )
        with create_session() as session:
            return [OpenRequest(*row[:5], row[5].isoformat()) for row in session.execute(query)]

    def wirings(self, person: Person) -> list[Wiring]:
        """DAGs as the processor serialised them last, with the assets between them."""
        readable = get_auth_manager().get_authorized_dag_ids(user=person.handle)
        gives: dict[str, list[str]] = {}
        wakes: dict[str, list[str]] = {}
        with create_session() as session:
            here = select(DagModel.dag_id, DagModel.is_paused).where(
                DagModel.dag_id.in_(readable), DagModel.is_stale.is_(False)
            )
            paused = {str(row.dag_id): bool(row.is_paused) for row in session.execute(here)}
            for found, reference in ((gives, TaskOutletAssetReference), (wakes, DagScheduleAssetReference)):
                pairs = select(reference.dag_id, AssetModel.uri).join(AssetModel, AssetModel.id == reference.asset_id)
                for dag_id, uri in session.execute(pairs.where(reference.dag_id.in_(paused))):
                    found.setdefault(dag_id, []).append(uri)
            files = SerializedDagModel.get_latest_serialized_dags(dag_ids=list(paused), session=session)
            written = {one.dag_id: (one.data or {}).get("dag", {}) for one in files}
        return [
            Wiring(dag_id, tuple(dag.get("tags", ())), paused[dag_id], _stages(dag), tuple(sorted(gives.get(dag_id, ()))),
                   tuple(sorted(wakes.get(dag_id, ())))) for dag_id, dag in sorted(written.items())
        ]  # fmt: skip

    def start(self, person: Person, dag_id: str, conf: Mapping[str, str]) -> str:
        """A run as the trigger form starts one, under the person's name."""
        run = trigger_dag(
            dag_id, triggered_by=DagRunTriggeredByType.UI, triggering_user_name=person.name, conf=dict(conf)
        )
        if run is None:
            raise BatonError(f"the DAG {dag_id} could not be started: is it there, and not paused?")
        return run.run_id

    def login_url(self, next_url: str) -> str:
        """The auth manager's log-in page."""
        return get_auth_manager().get_url_login(next_url=next_url)


def _asked(conf: Any) -> str | None:
    """The one partition that the trigger form of a run names; such a run has no partition key."""
    first, last = ((conf or {}).get(f"partition_{end}") or None for end in ("from", "to"))
    return first or last if first == last or None in (first, last) else None


def _stages(dag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Task id -> options, of a serialised DAG; those of a mapped task lie a level deeper, in a form of their own."""
    tasks = [task.get("__var", task) for task in dag.get("tasks", ())]
    options = {str(task["task_id"]): {**task.get("partial_kwargs", {}), **task}.get("options") for task in tasks}
    return {task_id: found.get("__var", found) if isinstance(found, dict) else {} for task_id, found in options.items()}
