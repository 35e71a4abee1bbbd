"""A real MLflow server with log-in and a migrated Airflow database, once for the tests that ask for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from baton import mlflow_server
from baton.settings import settings


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
        from baton.airflow.initialise import initialise
        from baton.warehouse import migrate

        migrate()
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
