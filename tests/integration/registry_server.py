"""A real MLflow server with its log-in app, in a process of its own, for the tests of the registry.

They load it by path, because tests are no package: `KIT = runpy.run_path(...)`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data.datasets import DatasetRef
from baton.record import warehouse
from baton.registry.client import Registry
from baton.registry.package import Submission
from baton.services import mlflow_server
from baton.settings import settings
from baton.tracking.rest import Rest, credentials
from baton.tracking.runs import run_name

MODEL = "card_fraud"
EXAMPLE = pd.DataFrame({"v1": [0.1, -0.2], "hour": [1, 2], "channel": ["web", "pos"]})
SCORES = pd.DataFrame({"score": [0.2, 0.9]})
DATA = DatasetRef("file:///store/train.parquet", 1000, "fp1", "ab" * 32, "2026-01-01T00:00:00")
MOVE = "update registered_model_aliases set version = ? where name = ? and alias = 'champion'"
BOOSTER = "tree\nversion=v4\n\nTree=0\nnum_leaves=1\nleaf_value=0.5\n\nend of trees\n"


@dataclass
class Server:
    """A started server and how to stop it."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command, environment = mlflow_server.server_command("127.0.0.1", self.port, self.home)
        with (self.home / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session, so nobody else's
            self.process.wait()
            self.process = None

    def sql(self, statement: str, *values: object) -> None:
        """Change MLflow's database past its log-in."""
        with sqlite3.connect(self.home / "mlflow" / "mlflow.db", timeout=10) as conn:
            assert conn.execute(statement, values).rowcount == 1
        conn.close()


def as_user(server: Server, role: str) -> Rest:
    return Rest(server.url, credentials(server.home, role), 5)


def train(registry: Registry, folder: Path, model: str = MODEL, **tags: str) -> int:
    run = registry.start_run(model, run_name(model, DATA.partition), params={"rows": 1000}, datasets=[DATA])
    card, metrics = f"# {model}\n\nFor tests.\n", {"average_precision": 0.8, "loss": float("nan")}
    more: dict[str, Any] = {
        "tags": {"baton.partition": DATA.partition, **tags},
        "dataset": DATA,
        "about": "Owner: fraud team",
    }
    version = registry.register(
        Submission(model, folder, run, "classification", EXAMPLE, card, SCORES, metrics, **more)
    )
    registry.end_run(run)
    registry.set_alias(model, "challenger", version)
    return version


@dataclass
class Verdict:
    decision: str = "PROMOTE"
    reasons: tuple[str, ...] = ("average precision 0.8 over nothing",)
    table: tuple[dict[str, Any], ...] = ({"check": "floor", "value": 0.8, "ok": True},)


def artefacts(server: Server, registry: Registry, version: int, model: str = MODEL) -> Path:
    """The folder on the server's disk that holds a version's files."""
    upload = registry.version(model, version).logged_model
    return next((server.home / "mlflow" / "artifacts").glob(f"*/models/{upload}/artifacts"))


SPELLINGS = [  # of the same wish: champion -> version 1
    ("POST", {"json": {"name": MODEL, "alias": "champion", "version": "1"}}),
    ("POST", {"json": {"name": MODEL, "alias": " Champion ", "version": "1"}}),
    ("POST", {"content": '{"name":"card_fraud","alias":"free","alias":"champion","version":"1"}'}),
    ("POST", {"content": '{"name":"card_fraud","\\u0061lias":"ch\\u0061mpion","version":"1"}'}),
    ("POST", {"json": json.dumps({"name": MODEL, "alias": "champion", "version": "1"})}),  # encoded twice
    ("POST", {"json": {"name": MODEL, "alias": "champion", "version": "1"}, "params": {"alias": "free"}}),
    ("DELETE", {"json": {"name": MODEL, "alias": "previous_champion"}}),
    ("DELETE", {"json": {"name": MODEL, "alias": "challenger"}, "params": {"alias": "free"}}),
]
ALIAS_PATHS = [
    f"{api}/mlflow/registered-models/{name}" for api in ("/api/2.0", "/ajax-api/2.0") for name in ("alias", "%61lias")
]

_FORM = {"name": MODEL, "alias": "champion", "version": "1"}
NOT_READ: list[tuple[str, dict[str, Any]]] = [  # what MLflow does not read or route changes nothing either
    ("/api/2.0/mlflow/registered-models/alias", {"data": _FORM}),
    ("/api/2.0/mlflow/registered-models/alias/", {"json": _FORM}),
    ("/api/3.0/mlflow/registered-models/alias", {"json": _FORM}),
    ("/api/2.0/mlflow//registered-models/alias", {"json": _FORM}),
    ("/graphql", {"json": {"query": 'mutation { setRegisteredModelAlias(input: {name: "card_fraud"}) { name } }'}}),
]


def taken(judged: dict[str, Any], champion: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Requests that would write Baton's tags, or take its aliases away with what they point at."""
    return [
        ("POST", "model-versions/set-tag", {**judged, "key": "baton.gate", "value": "PROMOTE"}),
        ("POST", "model-versions/set-tag", {**judged, "key": "baton.gate_at", "value": "t"}),
        ("POST", "model-versions/set-tag", {**judged, "key": "baton.review_by", "value": '{"by": "ada"}'}),
        ("DELETE", "model-versions/delete-tag", {**judged, "key": "baton.gate_at"}),
        ("POST", "registered-models/set-tag", {"name": MODEL, "key": "baton.refused.1", "value": ""}),
        ("POST", "model-versions/create", {"name": MODEL, "source": "s", "tags": [{"key": "baton.gate", "value": "P"}]}),
        ("POST", "registered-models/create", {"name": "n", "tags": [{"key": "baton.refused.1", "value": "{}"}]}),
        ("DELETE", "model-versions/delete", {"name": MODEL, "version": str(champion)}),
        ("DELETE", "registered-models/delete", {"name": MODEL}),
        ("POST", "registered-models/rename", {"name": MODEL, "new_name": "elsewhere"}),
    ]  # fmt: skip


@contextmanager
def running(home: Path) -> Iterator[Server]:
    """A server of an empty home, which is Baton's for the time of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Server(home, probe.getsockname()[1])
    patch = pytest.MonkeyPatch()
    patch.setenv("BATON_HOME", str(home))
    patch.setenv("BATON_MLFLOW_TRACKING_URI", made.url)
    for name in ("BATON_WAREHOUSE_URL", "BATON_STORE_URL"):
        patch.delenv(name, raising=False)
    settings.cache_clear()
    try:
        warehouse.migrate()
        mlflow_server.prepare(home)
        made.start()
        mlflow_server.bootstrap(made.url, home, retry_seconds=240)
        yield made
    finally:
        made.stop()
        patch.undo()
        settings.cache_clear()
