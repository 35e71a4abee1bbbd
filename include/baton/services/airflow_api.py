"""Client of Airflow's public REST interface: what a user's trigger, approval or look at a run does, as code."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from baton.errors import ServiceError

DONE = ("success", "failed")


@dataclass
class Orchestrator:
    """Airflow at `url`, as one user.

    Args:
        url: address of the API server.
        token: returns a fresh access token (log-in of this user).
    """

    url: str
    token: Callable[[], str]
    timeout: float = 30.0
    _client: httpx.Client | None = field(default=None, init=False, repr=False)

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call `/api/v2<path>`; logs in once more when the token is too old; waits while the server restarts.

        A request whose transaction the database refused is repeated: it has changed nothing. SQLite refuses one at once,
        whatever its timeout, when somebody else wrote since it began to read.

        Raises:
            ServiceError: no answer within a minute, or an error status; carries the server's own words.
        """
        until = time.monotonic() + 60
        while True:
            try:
                response = self._connected().request(method, f"/api/v2{path}", **kwargs)
            except (httpx.TransportError, ServiceError) as error:  # the latter: no log-in, from `token`
                if time.monotonic() > until:
                    raise ServiceError(
                        f"Airflow at {self.url} does not answer: {error}. Is `baton up` running?"
                    ) from error
                self._client = None
                time.sleep(0.5)
                continue
            if response.status_code == 401 and time.monotonic() < until:
                self._client = None
                time.sleep(0.5)
                continue
            if _refused_by_database(response) and time.monotonic() < until:
                time.sleep(0.5)
                continue
            if response.status_code >= 400:
                raise ServiceError(f"Airflow answered {response.status_code} to {method} {path}: {response.text[:500]}")
            return response.json() if response.content else None

    def _connected(self) -> httpx.Client:
        if self._client is None:
            headers = {"Authorization": f"Bearer {self.token()}"}
            self._client = httpx.Client(base_url=self.url, headers=headers, timeout=self.timeout, trust_env=False)
        return self._client

    def trigger(
        self, dag_id: str, partition: str | None = None, conf: Mapping[str, Any] | None = None, run_id: str = ""
    ) -> str:
        """Start a run; returns its id."""
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf or {})}
        if partition:
            body["partition_key"] = partition
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """Runs of a DAG, newest first."""
        path = f"/dags/{dag_id}/dagRuns?limit={limit}&order_by=-run_after"
        return list(self.request("GET", path)["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return dict(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run."""
        return list(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=false"
        value = self.request("GET", f"{path}&map_index={map_index}")["value"]
        return json.loads(value) if isinstance(value, str) else value

    def wait(
        self, dag_id: str, run_ids: Sequence[str], timeout: float, on_change: Callable[[int], None] | None = None
    ) -> dict[str, str]:
        """Wait until all runs are done; returns state by run id.

        Raises:
            ServiceError: not done in time; names the runs and the tasks they are at.
        """
        until, states = time.monotonic() + timeout, dict.fromkeys(run_ids, "queued")
        while True:
            for row in self.runs(dag_id):
                if row["dag_run_id"] in states:
                    states[row["dag_run_id"]] = row["state"]
            if on_change:
                on_change(sum(state in DONE for state in states.values()))
            if all(state in DONE for state in states.values()):
                return states
            if time.monotonic() > until:
                open_runs = [run for run, state in states.items() if state not in DONE]
                at = [f"{t['task_id']}={t['state']}" for t in self.tasks(dag_id, open_runs[0])]
                raise ServiceError(f"{dag_id}: {open_runs} not done in {timeout:.0f} s; {', '.join(at)}")
            time.sleep(0.4)

    def wait_for_run(self, dag_id: str, known: set[str], timeout: float) -> str:
        """Wait until a run that is not in `known` exists (one that an asset started); returns its id."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            fresh = [row["dag_run_id"] for row in self.runs(dag_id) if row["dag_run_id"] not in known]
            if fresh:
                return str(fresh[-1])
            time.sleep(0.4)
        raise ServiceError(f"no new run of {dag_id} within {timeout:.0f} s: did its asset event arrive?")

    def answer(
        self, dag_id: str, run_id: str, task_id: str, approve: bool, timeout: float = 60, params: Mapping[str, Any] = {}
    ) -> None:
        """Answer an approval, with the call that the UI's *Required Actions* page makes; `params` are its form's fields."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        until = time.monotonic() + timeout
        while True:
            task = next((t for t in self.tasks(dag_id, run_id) if t["task_id"] == task_id), {})
            if task.get("state") in ("deferred", "awaiting_input"):
                break
            if task.get("state") in ("success", "failed", "skipped", "upstream_failed"):
                raise ServiceError(f"{dag_id}.{task_id} is {task['state']}: there is nothing to answer")
            if time.monotonic() > until:
                raise ServiceError(f"{dag_id}.{task_id} did not ask within {timeout:.0f} s (state {task.get('state')})")
            time.sleep(0.3)
        # Airflow 3.3.2 fails a task that is resumed before its scheduler has noticed that it paused (some 0.2 s):
        # no person is that fast, a program must wait
        time.sleep(2)
        options = ["Approve" if approve else "Reject"]
        self.request("PATCH", path, json={"chosen_options": options, "params_input": dict(params or {})})

    def dag_ids(self) -> list[str]:
        """All active DAGs."""
        return [row["dag_id"] for row in self.request("GET", "/dags?limit=500")["dags"]]


def _refused_by_database(response: httpx.Response) -> bool:
    """Whether Airflow says that a statement failed, so that all of the request was rolled back."""
    if response.status_code != 500:
        return False
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(detail, dict) and detail.get("reason") == "Database error"
