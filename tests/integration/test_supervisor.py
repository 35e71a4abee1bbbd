"""The really started Airflow and MLflow: addresses, log-in, warm workers, kills, stopping."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from baton.services.airflow_api import Orchestrator
from baton.services.health import client
from baton.services.plan import Plan
from baton.services.processes import Session
from baton.services.supervisor import Services
from baton.settings import Settings
from baton.tracking.rest import credentials

_DAGS = '''
"""DAGs of tests/integration/test_supervisor.py; airflow looks for its name in the file."""
import sys
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

with DAG("warm", schedule=None):

    @task
    def imports() -> dict:
        known = "pandas" in sys.modules
        began = time.perf_counter()
        import great_expectations, lightgbm, mlflow, pandas, sklearn.ensemble  # noqa: F401
        return {"known": known, "seconds": time.perf_counter() - began}

    imports()

with DAG("slow", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}):

    @task
    def sleeps(params: dict | None = None) -> None:
        record = Path(__file__).with_suffix(".txt")
        with record.open("a") as file:
            file.write("begun\\n")
        time.sleep(8)
        with record.open("a") as file:
            file.write("done\\n")

    sleeps()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("supervised")


@pytest.fixture(scope="module")
def services(folder: Path) -> Iterator[Services]:
    dags = folder / "dags"
    dags.mkdir()
    (dags / "probe.py").write_text(_DAGS)
    with Services(folder / "home", dags_folder=dags, plugins_folder=folder / "plugins", report=print) as up:
        yield up


@pytest.fixture(scope="module")
def airflow(services: Services) -> Orchestrator:
    airflow = Orchestrator(services.airflow_url, services.token)
    _until(lambda: {"warm", "slow"} <= set(airflow.dag_ids()), "DAGs are parsed", 120)
    return airflow


def _until(true: Callable[[], Any], what: str, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _record(folder: Path) -> list[str]:
    record = folder / "dags" / "probe.txt"
    return record.read_text().split() if record.exists() else []


def listeners(sessions: Iterable[Session]) -> list[tuple[str, int, str]]:
    """(address, port, process name) of each listening TCP socket of the sessions."""
    found = set()
    for process in (member for session in sessions for member in session.members()):
        with contextlib.suppress(psutil.Error):
            for one in process.net_connections(kind="tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((one.laddr.ip, one.laddr.port, process.name()))
    return sorted(found)


def foreign(sessions: Iterable[Session]) -> list[tuple[str, int, str]]:
    """Listening sockets that are not on loopback."""
    return [one for one in listeners(sessions) if one[0] not in ("127.0.0.1", "::1")]


def test_every_socket_listens_on_loopback(services: Services) -> None:
    sessions = services.sessions().values()
    airflow = {"api-server", "scheduler", "dag-processor", "triggerer"}
    assert set(services.sessions()) == {*airflow, "mlflow", "purchasing", "security"}
    assert {port for _, port, _ in listeners(sessions)} >= {
        httpx.URL(services.airflow_url).port,
        httpx.URL(services.mlflow_url).port,
    }
    assert foreign(sessions) == []


@pytest.mark.parametrize("path", ["dags", "connections", "variables", "dags/slow/dagRuns", "eventLogs", "config"])
def test_nobody_reads_airflow_without_log_in(services: Services, path: str) -> None:
    with client() as http:
        assert http.get(f"{services.airflow_url}/api/v2/{path}").status_code == 401


def test_nobody_reads_mlflow_without_log_in(services: Services) -> None:
    url = f"{services.mlflow_url}/api/2.0/mlflow/registered-models/search"
    with client() as http:
        assert http.get(url).status_code == 401
        for role in ("admin", "service", "reviewer"):
            known = credentials(services.settings.home, role)
            assert http.get(url, auth=(known.username, known.password)).status_code == 200


@pytest.mark.parametrize(("user", "status"), [("viewer", 403), ("op", 200)])
def test_roles_differ(services: Services, airflow: Orchestrator, user: str, status: int) -> None:
    with client() as http:
        answer = http.get(
            f"{services.airflow_url}/api/v2/connections", headers={"Authorization": f"Bearer {services.token(user)}"}
        )
    assert answer.status_code == status


def test_tasks_find_the_heavy_libraries_imported(services: Services, airflow: Orchestrator) -> None:
    run = airflow.trigger("warm")
    assert airflow.wait("warm", [run], 120) == {run: "success"}
    found = airflow.xcom("warm", run, "imports")
    assert found["known"]
    assert found["seconds"] < 0.05
    assert {worker.num_threads() for worker in services.workers()} == {1}


def test_worker_is_free_as_soon_as_its_task_ends(services: Services, airflow: Orchestrator) -> None:
    log = services.settings.logs_dir / "scheduler.log"
    seen = log.read_text().count("Workload finished")
    runs = [airflow.trigger("warm") for _ in range(8)]
    airflow.wait("warm", runs, 120)
    _until(lambda: log.read_text().count("Workload finished") >= seen + 8, "workloads finish", 30)
    lines = [line for line in log.read_text().splitlines() if "Workload finished" in line][-8:]
    seconds = sorted(float(line.split("duration=")[1].split()[0]) for line in lines)
    assert seconds[4] < 4.0, f"tasks of 0.3 s held their slots for {seconds} s"


def test_killed_scheduler_takes_its_tasks_along_and_the_run_ends_green(
    services: Services, airflow: Orchestrator, folder: Path
) -> None:
    run = airflow.trigger("slow")
    _until(lambda: _record(folder) == ["begun"], "the task begins", 60)
    old = [services.pids()["scheduler"], *(p.pid for p in services.workers()), *(p.pid for p in services.tasks())]
    assert len(old) > 2
    services.kill("scheduler")
    _until(lambda: services.restarts()["scheduler"] == 1, "a new scheduler starts", 30)
    assert not [pid for pid in old if _alive(pid)], "the old tasks must be dead before"
    assert airflow.wait("slow", [run], 150) == {run: "success"}
    assert _record(folder) == ["begun", "begun", "done"]
    services.wait_ready(60)


def test_killed_api_server_comes_back_and_the_task_survives(
    services: Services, airflow: Orchestrator, folder: Path
) -> None:
    before = _record(folder)
    run = airflow.trigger("slow")
    _until(lambda: len(_record(folder)) == len(before) + 1, "the task begins", 60)
    services.kill("api-server")
    assert airflow.wait("slow", [run], 150) == {run: "success"}
    assert _record(folder)[len(before) :] == ["begun", "done"]
    assert services.restarts()["api-server"] == 1


def test_dead_idle_workers_do_not_block_the_executor(services: Services, airflow: Orchestrator) -> None:
    _until(lambda: services.workers() and not services.tasks(), "workers are idle", 30)
    before = services.restarts()["scheduler"]
    for worker in services.workers()[:-1]:
        worker.kill()
    runs = [airflow.trigger("warm") for _ in range(8)]
    assert set(airflow.wait("warm", runs, 120).values()) == {"success"}
    assert services.restarts()["scheduler"] == before


def test_task_of_a_killed_worker_runs_again_long_before_its_heartbeat_is_overdue(
    services: Services, airflow: Orchestrator, folder: Path
) -> None:
    before = _record(folder)
    run = airflow.trigger("slow")
    _until(lambda: len(_record(folder)) == len(before) + 1, "the task begins", 60)
    worker = next(one for one in services.workers() if one.children())
    worker.kill()
    _until(lambda: len(_record(folder)) == len(before) + 2, "it begins again", 20)
    assert airflow.wait("slow", [run], 120) == {run: "success"}
    assert _record(folder)[len(before) :] == ["begun", "begun", "done"]


def test_other_services_come_back(services: Services) -> None:
    names = ("mlflow", "triggerer", "dag-processor")
    for name in names:
        services.kill(name)
    _until(lambda: all(services.restarts()[name] == 1 for name in names), "they start again", 30)
    services.wait_ready(180)
    assert foreign(services.sessions().values()) == []


def test_stopping_leaves_nothing(services: Services) -> None:
    sessions = services.sessions()
    began = time.monotonic()
    services.stop()
    assert time.monotonic() - began < 20
    assert [process for session in sessions.values() for process in session.members()] == []
    assert not services.settings.services_file.exists()


def test_up_in_the_foreground_stops_on_a_signal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    here = Settings(home=home)
    environment = Plan(here, tmp_path, tmp_path, 1, 2).environment() | {"BATON_PROJECT": str(tmp_path)}
    for name in ("BATON_AIRFLOW_URL", "BATON_MLFLOW_TRACKING_URI"):
        del environment[name]
    (tmp_path / "dags").mkdir()
    up = subprocess.Popen(
        [Path(sys.executable).parent / "baton", "up"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert up.stdout
    said: list[str] = []
    try:
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        status = subprocess.run(
            [Path(sys.executable).parent / "baton", "status"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert status.returncode == 0, status.stdout + status.stderr
        assert status.stdout.count(" well ") == 7
        family = psutil.Process(up.pid).children(recursive=True)
        assert len(family) >= 6
    finally:
        up.send_signal(signal.SIGTERM)
        began = time.monotonic()
        rest = up.communicate(timeout=60)[0]
    assert time.monotonic() - began < 20, rest
    assert up.returncode == 0, "".join(said) + rest
    assert not [process for process in family if _alive(process.pid)]
    assert list((home / "secrets").iterdir())
