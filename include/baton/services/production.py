"""Set-up of a production installation, run once by docker-compose at every start; repeating it changes nothing.

`python -m baton.services.production`           databases, migrations, pools, first administrator, MLflow's log-in
`python -m baton.services.production accounts`  the registry's service account and reviewer, when MLflow answers
"""

import os
import subprocess
import sys

import sqlalchemy as sa

from baton.errors import BatonError, ServiceError
from baton.record import warehouse
from baton.services import mlflow_server
from baton.settings import settings

DATABASES = ("mlflow", "baton")


def set_up() -> None:
    """Bring an installation to the present version.

    Raises:
        ServiceError: a variable is missing, or a step fails; its output is above.
    """
    create_databases(_variable("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"))
    _run([sys.executable, "-m", "baton.airflow.server.initialise"])
    _create_administrator(_variable("AIRFLOW_ADMIN_PASSWORD"))
    mlflow_server.prepare(settings().home)
    settings().home.chmod(0o700)
    settings().keys_dir.mkdir(mode=0o700, exist_ok=True)
    warehouse.migrate()


def create_databases(url: str) -> list[str]:
    """Create MLflow's and the warehouse's databases beside Airflow's on its server; return those that were missing."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, hide_parameters=True)
    made = []
    with engine.connect() as connection:
        known = set(connection.scalars(sa.text("select datname from pg_database")))
        for name in DATABASES:
            if name not in known:
                connection.execute(sa.text(f'create database "{name}"'))
                made.append(name)
    return made


def _create_administrator(password: str) -> None:
    """Create the user `admin`; one that exists keeps its password."""
    # the password goes through standard input: an argument would show up in the list of processes
    command = ["airflow", "users", "create", "--username", "admin", "--role", "Admin"]
    command += ["--firstname", "Baton", "--lastname", "Administrator", "--email", "admin@localhost"]
    _run(command, text=f"{password}\n{password}\n")


def accounts() -> None:
    """Create the registry's accounts once the MLflow server answers."""
    uri = settings().mlflow_tracking_uri
    if uri is None:
        raise ServiceError("BATON_MLFLOW_TRACKING_URI is not set")
    mlflow_server.bootstrap(uri, settings().home)


def _variable(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ServiceError(f"{name} is not set")


def _run(command: list[str], text: str | None = None) -> None:
    code = subprocess.run(command, input=text, text=True, check=False).returncode  # noqa: S603 - our own commands
    if code:
        raise ServiceError(f"`{' '.join(command[:4])}` ended with code {code}")


if __name__ == "__main__":
    try:
        {"": set_up, "accounts": accounts}["".join(sys.argv[1:])]()
    except BatonError as error:
        sys.exit(f"baton: {error}")
