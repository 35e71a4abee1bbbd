"""The registry against a real MLflow server with its log-in app, started and stopped by this module."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest

from baton.data.datasets import DatasetRef
from baton.errors import RegistryRefused, ServiceError
from baton.record import ledger, warehouse
from baton.registry.client import Registry
from baton.registry.package import Submission
from baton.registry.review import champion_moved
from baton.services import mlflow_server
from baton.settings import settings
from baton.tracking.rest import Rest, RestError, credentials
from baton.tracking.runs import run_name

MODEL = "card_fraud"
EXAMPLE = pd.DataFrame({"v1": [0.1, -0.2], "hour": [1, 2], "channel": ["web", "pos"]})
SCORES = pd.DataFrame({"score": [0.2, 0.9]})
DATA = DatasetRef("file:///store/train.parquet", 1000, "fp1", "ab" * 32, "2026-01-01T00:00:00")
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
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


@pytest.fixture
def registry(server: Server) -> Registry:
    return Registry()


def as_user(server: Server, role: str) -> Rest:
    return Rest(server.url, credentials(server.home, role), 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "saved"
    made.mkdir()
    (made / "model.json").write_text('{"format": 1, "family": "classification"}')
    (made / "boosted.lightgbm.txt").write_text(BOOSTER)
    return made


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


def test_only_loopback_and_only_with_log_in(server: Server) -> None:
    assert server.process is not None
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    sockets = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in sockets} == {"127.0.0.1"}
    for path in ("/", "/api/2.0/mlflow/experiments/search?max_results=1", "/ajax-api/3.0/mlflow/jobs/1"):
        assert httpx.get(server.url + path).status_code == 401
    rebinding = httpx.get(server.url + "/", headers={"Host": "evil.example"})
    assert rebinding.status_code == 403


@pytest.mark.parametrize("role", ["reviewer", "service", "admin"])
def test_nobody_can_make_the_server_run_something(server: Server, role: str) -> None:
    user = credentials(server.home, role)
    client = httpx.Client(base_url=server.url, auth=(user.username, user.password))
    mine = {"base_url": "http://127.0.0.1:9/v1", "permissions": {"full_access": True}, "selected": True}
    takeover = client.put("/ajax-api/3.0/mlflow/assistant/config", json={"providers": {"ollama": mine}})
    assert takeover.status_code == 403
    for path in ("mlflow/assistant/message", "mlflow/demo/generate", "mlflow/scorer/invoke", "jobs/"):
        assert client.post(f"/ajax-api/3.0/{path}", json={"message": "hi"}).status_code == 403


def test_bootstrap_can_be_repeated_and_repairs_a_password(server: Server) -> None:
    user = credentials(server.home, "service").username
    as_user(server, "admin").patch("/users/update-password", username=user, password="another-password-1")
    mlflow_server.bootstrap(server.url, server.home)
    assert as_user(server, "service").get("/users/get", username=user)["user"]["username"] == user


def test_mlflow_itself_sees_run_version_schema_and_data(
    server: Server, registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = train(registry, folder)
    child = registry.start_run(
        MODEL, run_name(MODEL, DATA.partition, "linear"), parent=registry.version(MODEL, version).run_id
    )
    registry.end_run(child)

    import mlflow
    from mlflow import MlflowClient

    service = credentials(server.home, "service")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", service.username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", service.password)
    client = MlflowClient(server.url, server.url)
    found = client.get_model_version_by_alias(MODEL, "challenger")
    assert int(found.version) == version
    assert found.description.startswith(f"# {MODEL}")
    assert found.tags["baton.dataset"] == DATA.content_sha256
    run = client.get_run(found.run_id)
    assert run.info.run_name == "card_fraud__2026-01-01T00:00:00"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"average_precision": 0.8}
    assert run.data.tags["baton.not_finite"] == "loss"
    assert json.loads(run.inputs.dataset_inputs[0].dataset.source) == {"uri": DATA.uri, "sha256": DATA.content_sha256}
    assert run.outputs.model_outputs[0].model_id == registry.version(MODEL, version).logged_model
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == found.run_id
    mlflow.set_tracking_uri(server.url)
    try:
        uri = f"models:/{MODEL}/{version}"
        info = mlflow.models.get_model_info(uri)
        assert info.signature is not None
        assert info.signature.inputs.input_names() == ["v1", "hour", "channel"]
        kinds = [kind.name for kind in info.signature.inputs.input_types()]
        assert kinds == ["double", "long", "string"]
        with pytest.raises(mlflow.MlflowException, match="python_function"):
            mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(None)


def test_download_verifies_and_caches(registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    got = registry.download(MODEL, version)
    assert got == settings().home / "models" / MODEL / str(version)
    assert (got / "boosted.lightgbm.txt").read_text() == BOOSTER
    assert registry.identity(MODEL, version).dataset == DATA.content_sha256
    began = time.perf_counter()
    assert registry.download(MODEL, version) == got
    assert time.perf_counter() - began < 1.0


def test_tampering_on_the_server_is_refused(server: Server, registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    stored = artefacts(server, registry, version) / "boosted.lightgbm.txt"
    stored.write_text(BOOSTER.replace("0.5", "0.9"))
    with pytest.raises(RegistryRefused, match=rf"{MODEL} version {version}: boosted.* not those that were signed"):
        registry.download(MODEL, version)
    assert not (settings().home / "models" / MODEL / str(version)).exists()
    stored.write_text(BOOSTER)
    (stored.parent / "code").mkdir()
    (stored.parent / "code" / "evil.py").write_text("import os\n")
    with pytest.raises(RegistryRefused, match="folder of code"):
        registry.download(MODEL, version)


def test_tampering_with_the_cache_is_refused(registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    cached = registry.download(MODEL, version)
    (cached / "boosted.lightgbm.txt").write_text(BOOSTER.replace("0.5", "0.9"))
    with pytest.raises(RegistryRefused, match="cached copy"):
        registry.download(MODEL, version)
    shutil.rmtree(cached)
    assert registry.download(MODEL, version) == cached


def test_replays_are_refused(server: Server, registry: Registry, folder: Path) -> None:
    old, new = train(registry, folder), train(registry, folder)
    # the files of the old version, correctly signed, put where those of the new one were
    target = artefacts(server, registry, new)
    shutil.rmtree(target)
    shutil.copytree(artefacts(server, registry, old), target)
    with pytest.raises(RegistryRefused, match="replayed"):
        registry.download(MODEL, new)
    # the old upload registered once more, and under another model
    admin, known = as_user(server, "admin"), registry.version(MODEL, old)
    body = {"source": f"models:/{known.logged_model}", "run_id": known.run_id, "model_id": known.logged_model}
    again = int(admin.post("/model-versions/create", name=MODEL, **body)["model_version"]["version"])
    with pytest.raises(RegistryRefused, match=f"is version {old} registered once more"):
        registry.download(MODEL, again)
    admin.post("/registered-models/create", name="other_model")
    admin.post("/model-versions/create", name="other_model", **body)
    with pytest.raises(RegistryRefused, match="signed for model 'card_fraud'"):
        registry.download("other_model", 1)


def test_a_version_that_baton_did_not_register_is_refused(server: Server, registry: Registry, folder: Path) -> None:
    known = registry.version(MODEL, train(registry, folder))
    admin = as_user(server, "admin")
    admin.post("/registered-models/create", name="by_hand")
    source = f"mlflow-artifacts:/1/{known.run_id}/artifacts/model"
    admin.post("/model-versions/create", name="by_hand", source=source, run_id=known.run_id)
    with pytest.raises(RegistryRefused, match="did not register"):
        registry.download("by_hand", 1)
    with pytest.raises(RegistryRefused, match="not in the registry"):
        registry.download("by_hand", 9)


def test_a_pickle_is_never_registered(registry: Registry, folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(RegistryRefused, match=r"model\.pkl: pickle"):
        train(registry, folder, model="with_pickle")
    wanted = {"experiment_ids": [registry.experiment("with_pickle")]}
    assert registry.rest.post("/logged-models/search", **wanted)["models"][0]["info"]["status"].endswith("FAILED")
    assert registry.versions("with_pickle") == []


def test_reviews_count_only_after_the_verdict(server: Server, registry: Registry, folder: Path) -> None:
    version = train(registry, folder, **{"baton.review": "approved", "baton.gate_at": "2020"})
    assert registry.tags(MODEL, version)["baton.review"] == "pending"
    reviewer = as_user(server, "reviewer")

    def answer(value: str) -> None:
        reviewer.post("/model-versions/set-tag", name=MODEL, version=str(version), key="baton.review", value=value)

    answer("approved")
    assert registry.review(MODEL, version) is None
    at = registry.record_gate(MODEL, version, Verdict())
    assert registry.review(MODEL, version, at) is None
    assert registry.tags(MODEL, version)["baton.review_before_gate"] == "approved"
    answer("aproved")
    assert registry.heard(MODEL, version, at) is None
    said = "'aproved' is no answer: set baton.review to approved or rejected"
    assert registry.tags(MODEL, version)["baton.review_says"] == said
    answer("Approved")
    assert registry.review(MODEL, version, at) == "approved"
    answer("rejected")
    assert registry.review(MODEL, version, at) == "rejected"
    known = registry.version(MODEL, version)
    assert "## Gate: PROMOTE" in known.description
    assert known.tags["baton.gate"] == "PROMOTE"
    table = next((server.home / "mlflow" / "artifacts").glob(f"*/{known.run_id}/artifacts/gate.json"))
    assert json.loads(table.read_text()) == {"columns": ["check", "value", "ok"], "data": [["floor", 0.8, True]]}
    later = registry.record_gate(MODEL, version, Verdict(decision="HOLD"))
    assert registry.review(MODEL, version, at) is None
    assert registry.review(MODEL, version, later) is None


def test_a_reviewer_can_tag_and_nothing_else(server: Server, registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    known, reviewer = registry.version(MODEL, version), as_user(server, "reviewer")
    assert reviewer.get("/registered-models/get", name=MODEL)["registered_model"]["name"] == MODEL
    named = {"name": MODEL, "version": str(version)}
    location = f"mlflow-artifacts:/1/models/{known.logged_model}/artifacts"
    forbidden = [
        lambda: reviewer.post("/registered-models/alias", alias="champion", **named),
        lambda: reviewer.delete("/registered-models/alias", name=MODEL, alias="challenger"),
        lambda: reviewer.delete("/registered-models/delete", name=MODEL),
        lambda: reviewer.delete("/model-versions/delete", **named),
        lambda: reviewer.post("/model-versions/create", name=MODEL, source=f"models:/{known.logged_model}"),
        lambda: reviewer.post("/runs/set-tag", run_id=known.run_id, key="a", value="b"),
        lambda: reviewer.upload(location, "model.json", b"{}"),
        lambda: reviewer.post("/users/create", username="friend", password="friend-password-1"),
    ]
    for attempt in forbidden:
        with pytest.raises(RestError, match="no permission"):
            attempt()


def test_a_name_taken_by_somebody_else_is_a_clear_error(server: Server, registry: Registry, folder: Path) -> None:
    as_user(server, "reviewer").post("/registered-models/create", name="squatted")
    with pytest.raises(ServiceError, match="belongs to another MLflow user"):
        train(registry, folder, model="squatted")


def test_promotion_rollback_and_the_back_door(server: Server, registry: Registry, folder: Path) -> None:
    model = "promoted"
    first, second = train(registry, folder, model), train(registry, folder, model)
    with pytest.raises(RegistryRefused, match="promote or rollback"):
        registry.set_alias(model, "champion", first)
    with pytest.raises(RegistryRefused, match="no previous champion"):
        registry.rollback(model)
    registry.promote(model, first, None, actor="ada")
    assert registry.aliases(model) == {"champion": first, "challenger": second}
    with pytest.raises(RegistryRefused, match="judge again"):
        registry.promote(model, second, None)
    registry.promote(model, second, first, actor="ada")
    registry.promote(model, second, first, actor="ada")  # a repeated try adds no record
    assert registry.aliases(model) == {"champion": second, "previous_champion": first}
    assert registry.rollback(model, actor="bob", reason="too many false alarms") == first
    assert registry.aliases(model) == {"champion": first}
    moves = sorted(ledger.entries(subject=model, kind="alias_moved"), key=lambda entry: entry.seq)
    assert [move.payload["version"] for move in moves] == [first, second, first]
    assert moves[-1].payload["actor"] == "bob"
    assert champion_moved(model, registry.alias(model, "champion"), registry.recorded_champion(model)) is None
    as_user(server, "admin").post("/registered-models/alias", name=model, alias="champion", version=str(second))
    found = champion_moved(model, registry.alias(model, "champion"), registry.recorded_champion(model))
    assert "moved outside Baton" in (found or "")
    third = train(registry, folder, model)
    (artefacts(server, registry, third, model) / "model.json").write_text("{}")
    with pytest.raises(RegistryRefused, match="not those that were signed"):
        registry.promote(model, third, second)
    assert registry.alias(model, "champion") == second


def test_a_server_that_is_down_for_a_moment_and_one_that_stays_down(
    server: Server, registry: Registry, folder: Path
) -> None:
    version = train(registry, folder)
    server.stop()
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"did not answer within 1 s.*baton up"):
        Registry(retry_seconds=1).alias(MODEL, "challenger")
    assert time.monotonic() - began < 10
    comeback = threading.Timer(1.0, server.start)
    comeback.start()
    try:
        assert Registry(retry_seconds=240).alias(MODEL, "challenger") == version
    finally:
        comeback.join()
