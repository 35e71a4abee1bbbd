"""MLflow's REST interface: one connection with its own credentials, patient for a while, then a clear error.

Requests go through httpx and not through `MlflowClient`: the triggerer and the pages in Airflow's UI read aliases and
tags without importing MLflow (2 s and 200 MB), every connection carries its own user instead of process-wide variables,
and waiting for a restarting server has one bound. Paths and fields are MLflow's public REST API.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from baton.errors import ServiceError

# a minute of absence, and the time that the server takes to start
RETRY_SECONDS = 90.0
TIMEOUT_SECONDS = 30.0
API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
_TRANSIENT = {408, 429, 502, 503, 504}
# one line for each request would bury a task's own log
if logging.getLogger("httpx").level == logging.NOTSET:
    logging.getLogger("httpx").setLevel(logging.WARNING)

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class RestError(ServiceError):
    """The server answered, with an error.

    Attributes:
        code: MLflow's error code, such as `RESOURCE_DOES_NOT_EXIST`, or the HTTP status as text.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Credentials:
    """A user of the tracking server."""

    username: str
    password: str


def credentials(home: Path, role: str) -> Credentials:
    """Return the user that `home/secrets/mlflow.json` names for `role` (admin | service | reviewer).

    Without that file (a worker in production) MLflow's own variables MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD name the service account.

    Raises:
        ServiceError: neither is there.
    """
    path = home / "secrets" / "mlflow.json"
    if path.exists():
        entry = json.loads(path.read_text(encoding="utf-8")).get(role, {})
        if {"username", "password"} <= entry.keys():
            return Credentials(entry["username"], entry["password"])
    username, password = (os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD"))
    if role == "service" and username and password:
        return Credentials(username, password)
    raise ServiceError(
        f"MLflow: no credentials for {role}: {path} does not name any; start the services with `baton up`, "
        "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )


class Rest:
    """Calls of one user to one tracking server."""

    def __init__(self, url: str, user: Credentials, retry_seconds: float = RETRY_SECONDS) -> None:
        self.url = url.rstrip("/")
        self.retry_seconds = retry_seconds
        self._client = httpx.Client(
            base_url=self.url,
            auth=(user.username, user.password),
            timeout=TIMEOUT_SECONDS,
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,  # a proxy cannot reach our loopback
        )

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET `API + path` as JSON."""
        return self._json("GET", API + path, params=params)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST `body` to `API + path`."""
        return self._json("POST", API + path, json=body)

    def patch(self, path: str, **body: Any) -> dict[str, Any]:
        """PATCH `API + path` with `body`."""
        return self._json("PATCH", API + path, json=body)

    def delete(self, path: str, **body: Any) -> dict[str, Any]:
        """DELETE `API + path` with `body`."""
        return self._json("DELETE", API + path, json=body)

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Send `body` to a path outside `API`, such as `/api/3.0/...`."""
        return self._json(method, path, json=body)

    def upload(self, location: str, path: str, content: bytes) -> None:
        """Store `content` as artefact `path` below a `mlflow-artifacts:` location."""
        self._send("PUT", f"{PROXY}/{quote(artifact_root(location))}/{quote(path)}", content=content)

    def artifacts(self, location: str) -> Iterator[tuple[str, int]]:
        """Yield (path, bytes) of every file below a location, folders expanded.

        A folder counts as an artefact of its own only when it is empty; its name then ends with '/'.
        """
        pending = [""]
        while pending:
            folder = pending.pop()
            listed = self._json("GET", PROXY, params={"path": f"{artifact_root(location)}/{folder}".rstrip("/")})
            for entry in listed.get("files", []):
                path = f"{folder}/{entry['path']}".lstrip("/")
                if entry.get("is_dir"):
                    pending.append(path)
                else:
                    yield path, int(entry.get("file_size", 0))

    def fetch(self, location: str, path: str) -> bytes:
        """Return the bytes of one artefact."""
        return self._send("GET", f"{PROXY}/{quote(artifact_root(location))}/{quote(path)}").content

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._send(method, path, **options)
        if not response.content:
            return {}
        answer: dict[str, Any] = response.json()
        return answer

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send until the server answers; repeating a request of ours does no harm (`Versions.register`)."""
        deadline, pause, problem = time.monotonic() + self.retry_seconds, 0.2, ""
        while True:
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return response
                if not _transient(response):
                    raise self._error(method, path, response)
                problem = f"HTTP {response.status_code}"
            if time.monotonic() + pause > deadline:
                raise ServiceError(
                    f"MLflow: {self.url} did not answer within {self.retry_seconds:.0f} s ({problem}); "
                    "see logs/mlflow.log in BATON_HOME and start it with `baton up`"
                )
            time.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _error(self, method: str, path: str, response: httpx.Response) -> RestError:
        try:
            answer = response.json()
            code, message = str(answer["error_code"]), str(answer.get("message", ""))
        except (ValueError, KeyError, TypeError):
            code, message = str(response.status_code), response.text[:200]
        if response.status_code == 401:
            message = "user name or password not accepted; secrets/mlflow.json does not belong to this server"
        if response.status_code == 403:
            message = "this user has no permission for it; the resource belongs to another MLflow user"
        return RestError(f"MLflow: {method} {path}: {code}: {message}", code)


def _transient(response: httpx.Response) -> bool:
    # SQLite's writer lock surfaces as an internal error of the server
    return response.status_code in _TRANSIENT or (response.status_code >= 500 and "database is locked" in response.text)


def artifact_root(location: str) -> str:
    """Return the path below the proxy of a location such as `mlflow-artifacts:/1/models/m-1/artifacts`.

    Raises:
        ServiceError: the server hands out locations that it does not serve itself.
    """
    parts = urlsplit(location)
    if parts.scheme != "mlflow-artifacts":
        raise ServiceError(
            f"MLflow: artefact location {location} is not served by the tracking server; "
            "start it with --artifacts-destination and without --default-artifact-root"
        )
    return parts.path.strip("/")
