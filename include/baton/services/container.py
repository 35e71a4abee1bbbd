"""Inside a container of an installation: secrets come from files, and a part says whether it is alive.

    with-secrets COMMAND ...                    puts secrets, and where large XComs go, into the environment and becomes the command
    with-secrets alive SchedulerJob             ends with 1 when this container's job has told nothing for a minute
    with-secrets alive worker                   the same of its Celery worker, which is asked

A variable's value names a secret as `{secret:NAME}`, which is the content of the file `/run/secrets/NAME`: neither the
description of the container nor `docker-compose.yml` has it. The checks import neither Airflow nor its providers, which would
cost seconds of a core each time.
"""

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from baton.errors import BatonError, ServiceError

SECRETS = Path("/run/secrets")
SILENT = 60  # seconds without a sign of life after which a part does not count as well; they give one every five


def with_secrets(environment: Mapping[str, str], folder: Path = SECRETS) -> dict[str, str]:
    """Return the variables whose values name a secret, with it.

    Raises:
        ServiceError: there is no such file, or it is empty.
    """

    def content(name: re.Match[str]) -> str:
        path = folder / name[1]
        there = name[1].isidentifier() and path.is_file()  # no path that leads elsewhere
        text = path.read_text(encoding="utf-8").strip() if there else ""
        if not text:
            raise ServiceError(f"{path} is missing or empty: give this container the secret {name[1]}")
        return text

    named = {name: value for name, value in environment.items() if "{secret:" in value}
    return {name: re.sub(r"\{secret:([^}]*)\}", content, value) for name, value in named.items()}


def xcoms_of(store: str) -> dict[str, str]:
    """Airflow's variables by which XComs above 64 kB lie in an object store, beside the datasets; none where the store is a folder.

    Args:
        store: BATON_STORE_URL.
    """
    if not store or store.startswith("file://"):
        return {}
    return {
        "AIRFLOW__CORE__XCOM_BACKEND": "baton.airflow.xcoms.StoredXCom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"{store.rstrip('/')}/xcom",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": str(64 * 1024),
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_COMPRESSION": "gzip",
    }


def refuse_single(environment: Mapping[str, str]) -> None:
    """Refuse to start what would let one person agree alone: that is for no installation of containers.

    Raises:
        ServiceError: BATON_GOVERNANCE, or without it the file of the home, says so.
    """
    file = Path(environment.get("BATON_HOME", ".baton")) / "governance"
    said = environment.get("BATON_GOVERNANCE") or (file.read_text(encoding="utf-8") if file.is_file() else "")
    if said.strip() == "single":
        raise ServiceError(
            f"governance: single is for one person's own machine: let BATON_GOVERNANCE be four_eyes, and take {file} away"
        )


def alive(part: str) -> None:
    """Ask whether this container's part is alive.

    Args:
        part: `worker`, or the type of an Airflow job: SchedulerJob, DagProcessorJob, TriggererJob.

    Raises:
        ServiceError: it is not, or nobody can tell.
    """
    host = socket.gethostname()
    if part == "worker":
        from celery import Celery

        control = Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"]).control
        if not control.ping(destination=[f"celery@{host}"], timeout=10):
            raise ServiceError(f"the worker celery@{host} does not answer")
        return
    import psycopg2

    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "", 1)
    query = (
        "select 1 from job where job_type = %s and hostname = %s and state = 'running' "
        "and latest_heartbeat > now() - make_interval(secs => %s)"
    )
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, (part, host, SILENT))
            if cursor.fetchone() is None:
                raise ServiceError(f"no {part} of {host} has given a sign of life for {SILENT} s")
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        os.environ.update({**xcoms_of(os.environ.get("BATON_STORE_URL", "")), **os.environ, **with_secrets(os.environ)})
        if sys.argv[1:2] == ["alive"]:
            alive(sys.argv[2])
        else:
            refuse_single(os.environ)
            os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the container's own command
    except BatonError as error:
        sys.exit(f"baton: {error}")
