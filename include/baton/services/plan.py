"""The plan of the services: what they are and how they are configured, by commands, environment, secrets, ports.

Airflow is configured by environment variables alone, but for the three keys that must not show up in a
process listing: they are in `home/secrets/airflow.cfg`. A variable `AIRFLOW__*` that the user has set wins,
except for addresses and log-in.
"""

import configparser
import io
import json
import os
import secrets
import socket
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from baton.errors import ServiceError
from baton.files import place
from baton.services.container import xcoms_of
from baton.settings import LOOPBACK, SINGLE, Settings

USERS = {"admin": "admin", "op": "op", "viewer": "viewer"}
"""Users of the local installation and their roles in Airflow's simple auth manager."""

# one thread: LocalExecutor forks its workers from this process, and a fork copies only the calling thread
_SINGLE_THREADED = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
# and one heap for Arrow, NumPy and Python, which a task gives back between two frames (`baton.data.parts.give_back`) and not
# after each array, which costs more than a small batch
_SINGLE_THREADED |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}
_SINGLE_THREADED |= {
    "JE_ARROW_MALLOC_CONF": "background_thread:false"
}  # also the allocator that is not used starts a thread
_SINGLE_THREADED |= {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}


@dataclass(frozen=True)
class Service:
    """One supervised process.

    Attributes:
        name: also the name of its log file.
        command: argument vector.
        grace: seconds between TERM and KILL when it stops.
        heartbeat: its name in Airflow's health report; None for the server that gives this report.
        job_type: its name in Airflow's table of jobs; None where it has none.
        health_url: answers 200 when well; None for Airflow's services.
        environment: what it gets beyond the common environment.
    """

    name: str
    command: list[str]
    grace: float
    heartbeat: str | None = None
    job_type: str | None = None
    health_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that is fixed before the services start.

    Attributes:
        settings: of the home that the services work in.
        dags_folder: DAG files.
        plugins_folder: plugin registrations.
        airflow_port: of the API server.
        mlflow_port: of the tracking server.
        paused: whether new DAGs start paused.
        extra: variables that win over all others.
    """

    settings: Settings
    dags_folder: Path
    plugins_folder: Path
    airflow_port: int
    mlflow_port: int
    paused: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def airflow_url(self) -> str:
        """Address of Airflow's UI and REST interface."""
        return f"http://{LOOPBACK}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """Address of the tracking server."""
        return f"http://{LOOPBACK}:{self.mlflow_port}"

    def addresses(self) -> dict[str, dict[str, str | int]]:
        """Return the content of services.json."""
        return {
            "airflow": {"url": self.airflow_url, "port": self.airflow_port},
            "mlflow": {"url": self.mlflow_url, "port": self.mlflow_port},
        }

    def environment(self) -> dict[str, str]:
        """Return the common environment of all services."""
        home = self.settings.home
        inherited = dict(os.environ)
        # set by many container images; every process would compile every module anew
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        no_proxy = ",".join(filter(None, [inherited.get("NO_PROXY"), LOOPBACK, "localhost"]))
        return {
            **airflow_defaults(self.paused),
            **xcoms_of(self.settings.store_url),
            **inherited,
            **self._fixed(),
            "BATON_HOME": str(home),
            "BATON_WAREHOUSE_URL": self.settings.warehouse_url,
            "BATON_STORE_URL": self.settings.store_url,
            "BATON_AIRFLOW_URL": self.airflow_url,
            "BATON_MLFLOW_TRACKING_URI": self.mlflow_url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONUNBUFFERED": "1",
            **self.extra,
        }

    def _fixed(self) -> dict[str, str]:
        """Return the part of Airflow's configuration that follows from the home and the ports."""
        home = self.settings.home
        return {
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW_CONFIG": str(self.settings.secrets_dir / "airflow.cfg"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.plugins_folder),
            "AIRFLOW__CORE__AUTH_MANAGER": (
                "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
            ),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(users_file(self.settings)),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__API__BASE_URL": self.airflow_url,
            "AIRFLOW__API__HOST": LOOPBACK,
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.metadata_url,
        }

    @property
    def metadata_url(self) -> str:
        """SQLAlchemy URL of Airflow's metadata database; AIRFLOW__DATABASE__SQL_ALCHEMY_CONN wins."""
        variable = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        given = self.extra.get(variable) or os.environ.get(variable)
        # SQLite's own 5 s are too short when all cores train a model, and much longer is too long: Airflow's API server
        # logs an action inside its event loop, and may wait there for a writer that needs that loop; WAL is Airflow's own
        return given or f"sqlite:///{self.settings.home / 'airflow' / 'airflow.db'}?timeout=15"

    def airflow_services(self) -> list[Service]:
        """Return Airflow's services, without log servers: those listen everywhere; the UI reads files."""
        airflow, quiet = airflow_command(), "--skip-serve-logs"
        return [
            Service("api-server", [airflow, "api-server"], 4),
            Service(
                "scheduler", [airflow, "scheduler", quiet], 6, "scheduler", "SchedulerJob", environment=_SINGLE_THREADED
            ),
            Service("dag-processor", [airflow, "dag-processor"], 4, "dag_processor", "DagProcessorJob"),
            Service("triggerer", [airflow, "triggerer", quiet], 4, "triggerer", "TriggererJob"),
        ]


def airflow_defaults(paused: bool) -> dict[str, str]:
    """Return Baton's defaults for Airflow 3.3, as environment; reasons and figures are beside each."""
    cores = os.cpu_count() or 1
    return {
        "AIRFLOW__CORE__EXECUTOR": "baton.airflow.server.executor.LocalExecutor",  # frees slots 5 s sooner
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(2 * cores),  # 32 workers otherwise; more than this is no faster
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(paused),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default asks a name server
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.07",  # the hop: 1.0 s -> 0.11 s; an idle one costs 0.2 of a core
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",  # last resort: the executor knows of a dead worker
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # instead of 300
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "30",  # a task outlives a restart of the API server, a minute at most
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "3",  # and notices soon that it is back
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API__CLIENT_USE_PUBLIC_CERTS": "False",  # no TLS on loopback
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "great_expectations=WARNING",  # hundreds of lines otherwise
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }


def airflow_command() -> str:
    """Return the path of the `airflow` script of this environment.

    Raises:
        ServiceError: Airflow is not installed beside the running Python.
    """
    script = Path(sys.executable).parent / "airflow"
    if not script.exists():
        raise ServiceError(f"no {script}: install Baton's environment first (make setup)")
    return str(script)


def users_file(settings: Settings) -> Path:
    """Return the file with the passwords of Airflow's users: {"admin": ...}."""
    return settings.secrets_dir / "airflow_users.json"


def prepare_home(settings: Settings) -> None:
    """Create the home and its folders and, once, Airflow's keys and passwords (files 0600, home and secret folders 0700).

    A new home says `governance: single`, unless BATON_GOVERNANCE says otherwise: one person starts it and has all its
    passwords, so that a second vote would be theirs too. Whoever writes `four_eyes` into the file has it at the next start.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.home.chmod(0o700)
    for folder in (settings.home / "airflow", settings.logs_dir, settings.reports_dir, settings.data_dir):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (settings.secrets_dir, settings.keys_dir):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    users = users_file(settings)
    if not users.exists() and not settings.governance_file.exists():
        place(settings.governance_file, f"{settings.governance if _is_said(settings) else SINGLE}\n")
    if not users.exists():
        place(users, json.dumps({user: secrets.token_urlsafe(16) for user in USERS}))
    config = settings.secrets_dir / "airflow.cfg"
    if not config.exists():
        place(config, _airflow_cfg())


def unsaid(settings: Settings) -> str:
    """What to tell of a home with users, as an earlier Baton made it, that does not say who agrees; empty: it says it, or is new."""
    if _is_said(settings) or not users_file(settings).exists():
        return ""
    return (
        f"{settings.governance_file} is not there: four_eyes, so two people have to agree to a new champion; "
        f"write `{SINGLE}` into it if one person runs this installation"
    )


def _is_said(settings: Settings) -> bool:
    return "governance" in settings.model_fields_set


def _airflow_cfg() -> str:
    parser = configparser.ConfigParser(interpolation=None)
    parser["core"] = {"fernet_key": urlsafe_b64encode(os.urandom(32)).decode()}
    parser["api"] = {"secret_key": secrets.token_urlsafe(32)}
    # signs the tokens of users and tasks; 64 bytes for HS512
    parser["api_auth"] = {"jwt_secret": secrets.token_urlsafe(64)}
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def choose_port(wanted: int | None, variable: str) -> int:
    """Return `wanted` when it is free, any free port when it is None.

    Raises:
        ServiceError: another process has the wanted port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted or 0))
        except OSError as error:
            raise ServiceError(
                f"{variable}={wanted}: the port is taken ({error.strerror}); end the process that has it, "
                f"choose another number, or unset {variable} for any free one"
            ) from error
        return int(probe.getsockname()[1])
