"""Health of the services, asked over HTTP on loopback, and of Airflow's table of jobs."""

import time
from datetime import UTC, datetime

import httpx
import sqlalchemy as sa

from baton.errors import ServiceError

_ENDED = sa.column("end_date", sa.DateTime(timezone=True))
_JOB = sa.table("job", sa.column("job_type", sa.String), sa.column("state", sa.String), _ENDED)


def client(timeout: float = 5.0) -> httpx.Client:
    """Return a client for loopback addresses: no proxy, whatever the environment says."""
    return httpx.Client(timeout=timeout, trust_env=False)


def answers(url: str) -> bool:
    """Return whether `url` answers 200 within 20 s."""
    try:
        with client(20.0) as http:
            return http.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def heartbeats(health_url: str) -> dict[str, float] | None:
    """Return the newest heartbeat of each Airflow component, seconds since the epoch.

    Returns:
        None when the API server does not answer; a component that never ran is missing.
    """
    try:
        with client() as http:
            report = http.get(health_url).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    found = {}
    for name in ("scheduler", "triggerer", "dag_processor"):
        if stamp := report.get(name, {}).get(f"latest_{name}_heartbeat"):
            found[name] = datetime.fromisoformat(stamp).timestamp()
    return found


def airflow_token(url: str, user: str, password: str, patience: float = 0.0) -> str:
    """Log in to Airflow at `url`; return the token for its REST interface.

    Args:
        url: address of the API server.
        user: a user of Airflow.
        password: the user's password.
        patience: seconds to wait for a server that is being started again.

    Raises:
        ServiceError: it does not answer, or refuses the user.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with client(30.0) as http:
                answer = http.post(f"{url}/auth/token", json={"username": user, "password": password})
                return str(answer.raise_for_status().json()["access_token"])
        except httpx.HTTPError as error:
            if isinstance(error, httpx.TransportError) and time.monotonic() < deadline:
                time.sleep(0.5)
                continue
            raise ServiceError(f"Airflow at {url}: no log-in for {user}: {error}") from error


def beats(heartbeat: float | None, started: float, tolerated: float = 30.0) -> bool:
    """Return whether a heartbeat is recent and of the process started at `started`, not its predecessor."""
    return heartbeat is not None and heartbeat >= started and time.time() - heartbeat < tolerated


def retire_jobs(metadata_url: str, job_type: str) -> int:
    """Tell Airflow that all processes of a kind are dead, as the caller knows; return how many were known.

    Airflow would find out by itself 30 s after their last heartbeat. A new scheduler takes over the tasks of
    retired ones when it starts, a new triggerer their triggers; an interrupted task loses none of its tries.
    """
    engine = sa.create_engine(metadata_url, poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            if not sa.inspect(connection).has_table("job"):
                return 0
            done = connection.execute(
                sa.update(_JOB)
                .where(_JOB.c.job_type == job_type, _JOB.c.state == "running")
                .values(state="failed", end_date=datetime.now(UTC))
            )
            return int(done.rowcount)
    finally:
        engine.dispose()
