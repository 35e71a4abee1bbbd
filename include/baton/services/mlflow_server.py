"""The MLflow server of a Baton home: command, configuration, users.

It listens on one address with MLflow's log-in app on (never without), keeps everything in `home/mlflow`,
serves the artefacts itself so that no worker needs their storage, and runs no jobs: MLflow's job API is what
its worst security reports were about, and it starts twelve processes that Baton has no use for. The parts of
MLflow that would execute something for a user are closed by `mlflow_access`.

Three users: `admin` of the server, `baton` for stages (owns what it creates), `reviewer` for people. A
reviewer reads everything and may change *versions* (tag them, which is the review) but not the registered
model, so that a reviewer cannot move the alias `champion`. Whoever else has a user reads.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from baton.errors import ServiceError
from baton.files import place
from baton.services.health import answers
from baton.services.plan import Service, choose_port
from baton.services.processes import write_sessions
from baton.services.supervised import Supervised
from baton.settings import LOOPBACK, settings
from baton.tracking.rest import Credentials, Rest, RestError, credentials

USERS = {"admin": "admin", "service": "baton", "reviewer": "reviewer"}
# what a reviewer gets: versions of every model, and nothing on the models themselves
REVIEWER_GRANT = {"resource_type": "registered_model_version", "resource_id": "*", "permission": "EDIT"}
TEMPLATE = Path(__file__).parent / "basic_auth.ini"


def prepare(home: Path, passwords: Mapping[str, str] | None = None) -> None:
    """Create folders, passwords and the log-in app's configuration in `home`; what is there already stays.

    Files: `secrets/mlflow.json` and `mlflow/basic_auth.ini`, both readable by this user only.

    Args:
        home: Baton's home.
        passwords: of some of `USERS`; the others get random ones.
    """
    for folder in ("secrets", "mlflow", "mlflow/artifacts"):
        (home / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / "secrets" / "mlflow.json"
    if not path.exists():
        known: dict[str, Any] = {
            role: {"username": name, "password": (passwords or {}).get(role) or secrets.token_urlsafe(24)}
            for role, name in USERS.items()
        }
        place(path, json.dumps(known | {"flask_secret_key": secrets.token_hex(32)}, indent=1))
    admin = credentials(home, "admin")
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        # the parser of this file reads % as the start of a reference
        database_uri=f"sqlite:///{_database(home, 'basic_auth.db')}".replace("%", "%%"),
        admin_username=admin.username,
        admin_password=admin.password,
    )
    place(home / "mlflow" / "basic_auth.ini", text, replace=True)


def server_command(
    host: str, port: int, home: Path, allowed_hosts: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Return the server's argument vector and the variables to add to its environment; `prepare` comes first.

    Args:
        host: address to listen on.
        port: port to listen on.
        home: Baton's home.
        allowed_hosts: further `Host` headers to answer, such as a service name behind a proxy.

    Raises:
        ServiceError: `prepare` has not been called.
    """
    path = home / "secrets" / "mlflow.json"
    try:
        secret_key = json.loads(path.read_text(encoding="utf-8"))["flask_secret_key"]
    except (FileNotFoundError, KeyError) as error:
        raise ServiceError(f"MLflow: {path} has no flask_secret_key; prepare(home) writes it") from error
    names = [host, "127.0.0.1", "localhost", *allowed_hosts]
    hosts = list(dict.fromkeys(f"{name}:{port}" if ":" not in name else name for name in names))
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--app-name", "basic-auth"),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{_database(home, 'mlflow.db')}"),
        *("--artifacts-destination", str(home / "mlflow" / "artifacts")),
        *("--allowed-hosts", ",".join(hosts)),
        *("--cors-allowed-origins", ",".join(f"http://{name}" for name in hosts)),
        *("--x-frame-options", "SAMEORIGIN"),
    ]
    config = str(home / "mlflow" / "basic_auth.ini")
    environment = {"MLFLOW_AUTH_CONFIG_PATH": config, "MLFLOW_FLASK_SERVER_SECRET_KEY": secret_key}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return command, {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **quiet}


@contextmanager
def at_hand(home: Path) -> Iterator[str | None]:
    """Yield the address of the registry that runs; where none does, start that of `home` for the time of the block.

    A guardian ends it also when this process dies. Yields None where no registry was ever made.

    Raises:
        ServiceError: it does not come up within two minutes; carries the end of its log.
    """
    known = settings().mlflow_tracking_uri
    if known and (not _database(home, "mlflow.db").exists() or answers(f"{known}/health")):
        yield known
        return
    if not _database(home, "mlflow.db").exists():
        yield None
        return
    prepare(home)
    port = choose_port(None, "MLflow's port")
    url = f"http://{LOOPBACK}:{port}"
    command, environment = server_command(LOOPBACK, port, home)
    one = Supervised(Service("mlflow", command, 4, environment=environment), home / "logs" / "mlflow-alone.log")
    one.start(os.environ, home)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="baton-mlflow-") as scratch,
            _guarded(one, Path(scratch, "sessions.json")),
        ):
            deadline = time.monotonic() + 120
            while not answers(f"{url}/health"):
                if one.ended() is not None or time.monotonic() > deadline:
                    raise ServiceError(f"MLflow of {home} does not come up; the end of {one.log}:\n{one.tail()}")
                time.sleep(0.2)
            yield url
    finally:
        one.clear()


def _guarded(one: Supervised, record: Path) -> subprocess.Popen[bytes]:
    """A process that ends the server when its input does: when this block is left, or this process dies."""
    write_sessions(record, {"mlflow": one.session} if one.session else {})
    guardian = [sys.executable, "-m", "baton.services.processes", str(record)]
    return subprocess.Popen(guardian, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own


def bootstrap(url: str, home: Path, retry_seconds: float = 120) -> None:
    """Create the service and reviewer users once the server answers; repeating it changes nothing.

    Args:
        url: address of the server.
        home: Baton's home.
        retry_seconds: how long to wait for the server; its first start on an empty database takes up to 30 s.

    Raises:
        ServiceError: the server does not answer, or knows another admin password than `secrets/mlflow.json`.
    """
    rest = Rest(url, credentials(home, "admin"), retry_seconds)
    for role in ("service", "reviewer"):
        ensure_user(rest, credentials(home, role))
    reviewer = credentials(home, "reviewer").username
    try:
        rest.call("POST", "/api/3.0/mlflow/users/permissions/grant", username=reviewer, **REVIEWER_GRANT)
    except RestError as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise


def ensure_user(rest: Rest, user: Credentials) -> None:
    """Create a user with this password, or give it to the one that there is; without a grant, a user reads."""
    try:
        rest.post("/users/create", username=user.username, password=user.password)
    except RestError as error:
        if error.code != "RESOURCE_ALREADY_EXISTS":
            raise
        # the password of secrets/mlflow.json is the one that counts
        rest.patch("/users/update-password", username=user.username, password=user.password)


def _database(home: Path, name: str) -> Path:
    return (home / "mlflow" / name).resolve()
