"""What the benchmarks of agents share: a home of their own with MLflow, a model server that records, and stage runs.

The stages are those of the flows of the pack `customer_experience`, run as a task runs them.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

SERVER: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "integration" / "model_server.py"))
CONN_ID, DAY = "bench_agent", "2026-11-20T00:00:00"
PACK = "baton_packs.customer_experience"


@dataclass
class Bench:
    """A running workbench.

    Attributes:
        written: all that was logged or printed in it.
        handed_on: what each stage gave to the next one through Airflow: its reference and facts, as JSON.
    """

    home: Path
    server: Any
    written: io.StringIO
    handed_on: list[str] = field(default_factory=list)

    def receive(self, flow: str, name: str, frame: pd.DataFrame) -> Any:
        """A reference to rows, as if a stage before had committed them."""
        from baton.stages.slots import Slot, StageOutput, run_stage

        return run_stage(
            Slot(flow, f"receive_{name}", DAY), lambda given: StageOutput(frame), inputs={}, params={"rows": len(frame)},
            models={}, code="bench", run_id="bench",
        ).ref  # fmt: skip

    def stage(
        self, flow: str, name: str, step: str, inputs: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> Any:
        """Result of a stage: a step of the pack, such as `replies:place`, or a dotted path."""
        from baton.airflow.connections.lookup import AirflowConnections
        from baton.stages import answers
        from baton.stages.job import StageJob
        from baton.stages.run import run

        if options and "answer" in options:
            answers.note(flow, DAY, "review", options["answer"])
        path = step if step.count(".") > 1 else f"{PACK}.{step}"
        job = StageJob("customer_experience", flow, name, DAY, path, inputs=inputs, options=options or {},
                       run_id="manual__bench", connections=AirflowConnections())  # fmt: skip
        result = run(job)
        self.handed_on.append(json.dumps({"ref": result.ref.to_dict(), "facts": result.facts}))
        return result

    def advise(self, flow: str, agent: str, inputs: Mapping[str, Any], conn_id: str = CONN_ID) -> Any:
        """Result of the stage that asks an agent of the pack, such as `writing:CUSTOMER_REPLY`, about every case."""
        options = {"agent": f"{PACK}.{agent}", "conn_id": conn_id, "max_calls": 100_000, "max_seconds": 36_000.0,
                   "timeout": 60.0, "max_total_tokens": 1_000_000}  # fmt: skip
        return self.stage(flow, "draft", "baton.steps.advise:advise", inputs, options)

    def mails(self, flow: str) -> dict[str, dict[str, Any]]:
        """What is to be sent, by entity."""
        from baton.effects import outbox

        return {one.entity_key: one.payload for one in outbox.effects(flow, DAY) if one.state != outbox.WITHDRAWN}

    def mlflow_texts(self) -> str:
        """Everything in MLflow's database and artefacts, as text."""
        files = [path for path in (self.home / "mlflow").rglob("*") if path.is_file() and "basic_auth" not in path.name]
        return "\n".join(path.read_bytes().decode("utf-8", "ignore") for path in files)


@contextlib.contextmanager
def workbench(tracking: bool = True) -> Iterator[Bench]:
    """A home in a temporary folder, with MLflow if `tracking`, and a model server behind the connection."""
    home = Path(tempfile.mkdtemp(prefix="baton-agents-"))
    before = dict(os.environ)
    os.environ |= {"BATON_HOME": str(home), "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                   "NO_PROXY": "127.0.0.1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}  # fmt: skip
    os.environ.pop("BATON_MLFLOW_TRACKING_URI", None)
    from baton.record import warehouse
    from baton.settings import settings

    written, running = io.StringIO(), contextlib.ExitStack()
    try:
        if tracking:
            running.callback(_start_mlflow(home))
        settings.cache_clear()
        warehouse.migrate()
        running.callback(lambda: warehouse.engine().dispose())
        server = running.enter_context(SERVER["running"]())
        connection = {"conn_type": "pydanticai", "host": server.url, "password": SERVER["KEY"],
                      "extra": {"model": "openai-chat:scripted"}}  # fmt: skip
        os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
        running.callback(_record(written))
        running.enter_context(contextlib.redirect_stdout(written))
        running.enter_context(contextlib.redirect_stderr(written))
        yield Bench(home, server, written)
    finally:
        running.close()
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()
        shutil.rmtree(home, ignore_errors=True)


def _record(written: io.StringIO) -> Callable[[], None]:
    """Every log line of every library, debugging too."""
    handler, root = logging.StreamHandler(written), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)

    def stop() -> None:
        root.removeHandler(handler)
        root.setLevel(level)

    return stop


def _start_mlflow(home: Path) -> Callable[[], None]:
    from baton.services import mlflow_server

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    mlflow_server.prepare(home)
    command, environment = mlflow_server.server_command("127.0.0.1", port, home)
    with (home / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )

    def stop() -> None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    try:
        mlflow_server.bootstrap(url, home)
    except BaseException:
        stop()
        raise
    os.environ["BATON_MLFLOW_TRACKING_URI"] = url
    return stop


def question(body: Mapping[str, Any]) -> str:
    """What a request's user says first."""
    return str(next(message["content"] for message in body["messages"] if message["role"] == "user"))


def shown(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts and data of a request, as the model sees them."""
    lines = question(body).splitlines()
    return json.loads(lines[1]), json.loads(lines[4])


def report(results: list[dict[str, Any]]) -> None:
    """Print results as JSON."""
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
