"""Set-up of a production installation, run once by docker-compose at every start; repeating it changes nothing.

`python -m baton.services.production`           databases and their users, migrations, pools, first administrator, MLflow's log-in
`python -m baton.services.production accounts`  the registry's other accounts, when MLflow answers
`python -m baton.services.production databases` databases and their users alone, empty, for a restore
"""

import os
import subprocess
import sys
from collections.abc import Sequence

import sqlalchemy as sa

from baton.errors import BatonError, ServiceError
from baton.published import carrying
from baton.services import mlflow_server
from baton.settings import SINGLE, settings
from baton.tracking.rest import Credentials, Rest, credentials

# each names a database and the user that owns it
DATABASES = (
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CELERY__RESULT_BACKEND", "BATON_WAREHOUSE_URL", "MLFLOW_BACKEND_STORE_URI",
)  # fmt: skip
SAVED = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "MLFLOW_BACKEND_STORE_URI")
"""Databases that backups read with a user of their own; into the warehouse's ledger a backup is written, by its owner."""
PASSWORDS = {
    "admin": "MLFLOW_ADMIN_PASSWORD", "service": "MLFLOW_TRACKING_PASSWORD", "reviewer": "MLFLOW_REVIEWER_PASSWORD",
}  # fmt: skip


def set_up() -> None:
    """Bring an installation to the present version.

    Raises:
        ServiceError: a variable is missing, a step fails (its output is above), or somebody wants to agree alone.
    """
    if settings().governance == SINGLE:
        raise ServiceError(
            "governance: single is for an installation that one person runs on their own machine: in production two people agree "
            f"to a new champion; take {settings().governance_file} away"
        )
    databases()
    _run([sys.executable, "-m", "baton.airflow.server.initialise"])
    _create_administrator(_variable("AIRFLOW_ADMIN_PASSWORD"))
    mlflow_server.prepare(settings().home, {"admin": _variable(PASSWORDS["admin"])})
    carrying.migrate()


def databases() -> None:
    """Create the databases and their users."""
    administrator = _variable("POSTGRES_ADMIN_URL")
    create_databases(administrator, [_variable(name) for name in DATABASES])
    create_reader(administrator, "backup", _variable("BACKUP_DATABASE_PASSWORD"), [_variable(name) for name in SAVED])


def create_databases(administrator: str, urls: Sequence[str]) -> list[str]:
    """Create databases and the users that own them, each allowed into its own only; return the databases that were missing.

    Args:
        administrator: SQLAlchemy URL of a user that may create both.
        urls: SQLAlchemy URLs, perhaps in Celery's notation (`db+...`); a user that exists gets the password of its URL.

    Raises:
        ServiceError: a database that is there is encoded otherwise than UTF8.
    """
    engine = sa.create_engine(administrator, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, hide_parameters=True)
    made = []
    with engine.connect() as connection:
        encodings = connection.execute(sa.text("select datname, pg_encoding_to_char(encoding) from pg_database"))
        known: dict[str, str] = {row[0]: row[1] for row in encodings}
        roles = set(connection.scalars(sa.text("select rolname from pg_roles")))
        for url in map(sa.make_url, (one.removeprefix("db+") for one in urls)):
            verb = "alter" if url.username in roles else "create"
            _run_in(connection, f"{verb} role %I login password %L", user=url.username, password=url.password)
            if url.database not in known:
                # of template0, since template1 has the encoding of the server, which need not know every character
                _run_in(
                    connection, "create database %I owner %I encoding utf8 template template0",
                    database=url.database, user=url.username,
                )  # fmt: skip
                made.append(str(url.database))
            elif known[url.database] != "UTF8":
                raise ServiceError(
                    f"database {url.database} is encoded as {known[url.database]}: texts need UTF8; dump it and restore it "
                    "into a database made with encoding 'UTF8' template template0"
                )
            _run_in(connection, "revoke all on database %I from public", database=url.database)
    return made


def create_reader(administrator: str, name: str, password: str, urls: Sequence[str]) -> None:
    """Create a user that reads all of some databases, is let into no other, and changes nothing.

    Args:
        administrator: SQLAlchemy URL of a user that may create it.
        name: of the user; one that exists gets the password.
        urls: SQLAlchemy URLs of the databases, which exist.
    """
    engine = sa.create_engine(administrator, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, hide_parameters=True)
    with engine.connect() as connection:
        known = connection.scalar(sa.text("select 1 from pg_roles where rolname = :name"), {"name": name})
        _run_in(connection, f"{'alter' if known else 'create'} role %I login password %L", user=name, password=password)
        _run_in(connection, "grant pg_read_all_data to %I", user=name)
        for url in map(sa.make_url, urls):
            _run_in(connection, "grant connect on database %I to %I", database=url.database, user=name)


def _run_in(connection: sa.Connection, statement: str, **values: str | None) -> None:
    # the server quotes names and passwords: statements that define something take no parameters
    arguments = ", ".join(f"cast(:{name} as text)" for name in values)
    made = connection.scalar(sa.text(f"select format('{statement}', {arguments})"), values)
    connection.exec_driver_sql(str(made).replace("%", "%%"))


def _create_administrator(password: str) -> None:
    """Create the user `admin`; one that exists keeps its password."""
    # the password goes through standard input: an argument would show up in the list of processes
    command = ["airflow", "users", "create", "--username", "admin", "--role", "Admin"]
    command += ["--firstname", "Baton", "--lastname", "Administrator", "--email", "admin@localhost"]
    _run(command, text=f"{password}\n{password}\n")


def accounts() -> None:
    """Create the registry's accounts once the MLflow server answers: of the stages, of reviewers, of what only looks."""
    uri = settings().mlflow_tracking_uri
    if uri is None:
        raise ServiceError("BATON_MLFLOW_TRACKING_URI is not set")
    mlflow_server.prepare(settings().home, {role: _variable(name) for role, name in PASSWORDS.items()})
    mlflow_server.bootstrap(uri, settings().home)
    reader = Credentials("reader", _variable("MLFLOW_READER_PASSWORD"))
    mlflow_server.ensure_user(Rest(uri, credentials(settings().home, "admin")), reader)


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
        {"": set_up, "accounts": accounts, "databases": databases}["".join(sys.argv[1:])]()
    except BatonError as error:
        sys.exit(f"baton: {error}")
