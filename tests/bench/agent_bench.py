"""What the benchmarks of agents share: a home of their own with MLflow, a model server that records, and one stage run.

`Subject` says which agent of which pack is measured and how its frames are made of the planted rows; a pack's own agent
takes the place of the small generic one by another `Subject`.
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


@dataclass(frozen=True)
class Subject:
    """An agent under test.

    Attributes:
        agent: dotted path of its AgentSpec.
        frames: planted rows to the frames that the agent's `cases` takes, by input name.
        params: keywords for its `cases`.
    """

    agent: str
    frames: Callable[[pd.DataFrame], Mapping[str, pd.DataFrame]]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Bench:
    """A running workbench; `written` is all that was logged or printed in it."""

    home: Path
    server: Any
    written: io.StringIO

    def advise(
        self, subject: Subject, rows: pd.DataFrame, flow: str, conn_id: str = CONN_ID
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """The stage's rows and facts."""
        from baton.datasets import read
        from baton.slots import Slot, StageOutput, run_stage
        from baton.stages import StageJob, run

        inputs = {}
        for name, frame in subject.frames(rows).items():
            inputs[name] = run_stage(
                Slot(flow, f"receive_{name}", DAY), lambda given, frame=frame: StageOutput(frame), inputs={},  # type: ignore[misc]
                params={"rows": len(frame)}, models={}, code="bench", run_id="bench",
            ).ref  # fmt: skip
        options = {"agent": subject.agent, "conn_id": conn_id, "params": dict(subject.params), "max_calls": 100_000,
                   "max_seconds": 36_000.0, "timeout": 60.0, "max_total_tokens": 1_000_000}  # fmt: skip
        job = StageJob(
            "bench", flow, "advise", DAY, "baton.agents.advise:advise", inputs, options, run_id="manual__bench"
        )
        result = run(job)
        return read(result.ref), result.facts

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
    from baton import warehouse
    from baton.settings import settings

    written, running = io.StringIO(), contextlib.ExitStack()
    try:
        if tracking:
            running.callback(_start_mlflow(home))
        settings.cache_clear()
        import baton.airflow.agents  # noqa: F401  registers the connections

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
    from baton import mlflow_server

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


def report(results: list[dict[str, Any]]) -> None:
    """Print results as JSON."""
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
