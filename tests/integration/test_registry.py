"""The registry against a real MLflow server with its log-in app, started and stopped by this module."""

from __future__ import annotations

import json
import runpy
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from baton.errors import RegistryRefused, ServiceError
from baton.record import ledger, tables, warehouse
from baton.registry import guard
from baton.registry.client import Registry
from baton.registry.review import champion_moved
from baton.services import mlflow_server
from baton.services.mlflow_access import reserved
from baton.settings import settings
from baton.steps.ingest import choose_models
from baton.tracking.rest import Credentials, Rest, RestError, credentials
from baton.tracking.runs import run_name

BY: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["by"]
KIT: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("registry_server.py")))
MODEL, DATA, BOOSTER, MOVE, Verdict = (KIT[name] for name in ("MODEL", "DATA", "BOOSTER", "MOVE", "Verdict"))
train, artefacts, as_user = (KIT[name] for name in ("train", "artefacts", "as_user"))
Server = Any


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with KIT["running"](tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def registry(server: Server) -> Registry:
    return Registry()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "saved"
    made.mkdir()
    (made / "model.json").write_text('{"format": 1, "family": "classification"}')
    (made / "boosted.lightgbm.txt").write_text(BOOSTER)
    return made


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
    got = registry.verified(MODEL, version)
    assert got == settings().home / "models" / MODEL / str(version)
    assert (got / "boosted.lightgbm.txt").read_text() == BOOSTER
    assert registry.identity(MODEL, version).dataset == DATA.content_sha256
    began = time.perf_counter()
    assert registry.verified(MODEL, version) == got
    assert time.perf_counter() - began < 1.0


def test_tampering_on_the_server_is_refused(server: Server, registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    stored = artefacts(server, registry, version) / "boosted.lightgbm.txt"
    stored.write_text(BOOSTER.replace("0.5", "0.9"))
    with pytest.raises(RegistryRefused, match=rf"{MODEL} version {version}: boosted.* not those that were signed"):
        registry.verified(MODEL, version)
    assert not (settings().home / "models" / MODEL / str(version)).exists()
    stored.write_text(BOOSTER)
    (stored.parent / "code").mkdir()
    (stored.parent / "code" / "evil.py").write_text("import os\n")
    with pytest.raises(RegistryRefused, match="folder of code"):
        registry.verified(MODEL, version)


def test_tampering_with_the_cache_is_refused(registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    cached = registry.verified(MODEL, version)
    (cached / "boosted.lightgbm.txt").write_text(BOOSTER.replace("0.5", "0.9"))
    with pytest.raises(RegistryRefused, match="cached copy"):
        registry.verified(MODEL, version)
    shutil.rmtree(cached)
    assert registry.verified(MODEL, version) == cached


def test_replays_are_refused(server: Server, registry: Registry, folder: Path) -> None:
    old, new = train(registry, folder), train(registry, folder)
    # the files of the old version, correctly signed, put where those of the new one were
    target = artefacts(server, registry, new)
    shutil.rmtree(target)
    shutil.copytree(artefacts(server, registry, old), target)
    with pytest.raises(RegistryRefused, match="replayed"):
        registry.verified(MODEL, new)
    # the old upload registered once more, and under another model
    admin, known = as_user(server, "admin"), registry.version(MODEL, old)
    body = {"source": f"models:/{known.logged_model}", "run_id": known.run_id, "model_id": known.logged_model}
    again = int(admin.post("/model-versions/create", name=MODEL, **body)["model_version"]["version"])
    with pytest.raises(RegistryRefused, match=f"is version {old} registered once more"):
        registry.verified(MODEL, again)
    admin.post("/registered-models/create", name="other_model")
    admin.post("/model-versions/create", name="other_model", **body)
    with pytest.raises(RegistryRefused, match="signed for model 'card_fraud'"):
        registry.verified("other_model", 1)


def test_a_version_that_baton_did_not_register_is_refused(server: Server, registry: Registry, folder: Path) -> None:
    known = registry.version(MODEL, train(registry, folder))
    admin = as_user(server, "admin")
    admin.post("/registered-models/create", name="by_hand")
    source = f"mlflow-artifacts:/1/{known.run_id}/artifacts/model"
    admin.post("/model-versions/create", name="by_hand", source=source, run_id=known.run_id)
    with pytest.raises(RegistryRefused, match="did not register"):
        registry.verified("by_hand", 1)
    with pytest.raises(RegistryRefused, match="not in the registry"):
        registry.verified("by_hand", 9)


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


def test_nobody_but_baton_moves_its_aliases_or_writes_its_tags(
    server: Server, registry: Registry, folder: Path
) -> None:
    first, second = train(registry, folder), train(registry, folder)
    registry.promote(MODEL, first, registry.recorded_champion(MODEL), permit=BY())
    at = registry.record_gate(MODEL, second, Verdict())
    before = registry.aliases(MODEL), registry.tags(MODEL, second)
    named, user = {"name": MODEL, "version": str(second)}, credentials(server.home, "admin")
    with httpx.Client(base_url=server.url, auth=(user.username, user.password)) as client:
        kind = {"Content-Type": "application/json"}
        for path in KIT["ALIAS_PATHS"]:
            for method, how in KIT["SPELLINGS"]:
                assert client.request(method, path, headers=kind, **how).status_code == 403, (path, how)
        for path, how in KIT["NOT_READ"]:
            answer = client.post(path, **how)
            assert answer.status_code >= 300 or "errors" in answer.text, path
            assert registry.aliases(MODEL) == before[0], path
        for method, path, body in KIT["taken"](named, first):
            assert client.request(method, f"/api/2.0/mlflow/{path}", json=body).status_code == 403, path
        own = {"name": MODEL, "alias": "mine", "version": str(first)}
        assert client.post("/api/2.0/mlflow/registered-models/alias", json=own).status_code == 200
        del own["version"]
        assert client.request("DELETE", "/api/2.0/mlflow/registered-models/alias", json=own).status_code == 200
    assert (registry.aliases(MODEL), registry.tags(MODEL, second)) == before
    found = guard.watch_over(registry, settle=0)
    assert found.reverted == []
    tried = {entry["operation"]: entry for entry in found.refused if entry["by"] == "admin"}
    assert set(tried) >= {
        "SetRegisteredModelAlias",
        "DeleteRegisteredModel",
        "DeleteModelVersion",
        "SetModelVersionTag",
    }
    assert tried["SetRegisteredModelAlias"]["times"] == 6 * len(KIT["ALIAS_PATHS"])
    assert "admin" in {entry.payload["by"] for entry in ledger.entries(subject=MODEL, kind="alias_refused")}
    assert guard.watch_over(registry, settle=0).refused == []
    assert registry.review(MODEL, second, at) is None


def test_every_operation_of_the_registry_is_decided_on() -> None:
    from mlflow.protos.model_registry_pb2 import ModelRegistryService

    asked = SimpleNamespace(name="theirs", alias="mine", key="mine", version="1", tags=[])
    operations = [method.input_type.name for method in ModelRegistryService.DESCRIPTOR.methods]
    assert {one: reserved(one, asked, lambda _: {}) for one in operations} == dict.fromkeys(operations)


def test_an_alias_moved_by_sql_goes_back_and_nothing_was_scored_with_it(
    server: Server, registry: Registry, folder: Path
) -> None:
    model = "moved_by_sql"
    first, second, third = (train(registry, folder, model) for _ in range(3))
    registry.promote(model, first, None, permit=BY())
    registry.promote(model, second, first, permit=BY())
    server.sql(MOVE, third, model)
    server.sql("delete from registered_model_aliases where name = ? and alias = 'previous_champion'", model)
    assert registry.alias(model, "champion") == third
    chosen, said, _ = choose_models(f"{model}_monitor", "2026-01-01T00:00:00", [model], "recorded")
    assert chosen == {model: second}
    assert "moved outside Baton" in said[0]
    found = guard.watch_over(registry, settle=0)
    assert [(one.alias, one.at, one.recorded, one.scored) for one in found.reverted] == [
        ("champion", third, second, ()), ("previous_champion", None, first, ()),
    ]  # fmt: skip
    assert registry.aliases(model) == {"champion": second, "previous_champion": first, "challenger": third}
    kept = ledger.entries(subject=model, kind="alias_reverted")[-1].payload
    assert kept == {"alias": "champion", "from": third, "to": second, "by": None, "scored": []}
    assert guard.watch_over(registry, settle=0) == guard.GuardPass()
    server.sql(MOVE, third, model)
    with warehouse.write() as conn:  # had anything been scored with it, it would be named
        row = {"flow": "a_flow", "partition": "p1", "model": model, "version": third, "recorded_at": warehouse.now()}
        conn.execute(tables.partition_models.insert(), [row])
    assert guard.watch_over(registry, settle=0).reverted[0].scored == (("a_flow", "p1"),)


def test_whose_word_a_review_is(server: Server, registry: Registry, folder: Path) -> None:
    version = train(registry, folder)
    at = registry.record_gate(MODEL, version, Verdict())
    word = {"name": MODEL, "version": str(version), "key": "baton.review", "value": "Approved"}
    assert registry.answered_by(MODEL, version, "approved") is None
    as_user(server, "reviewer").post("/model-versions/set-tag", **word)
    assert registry.review(MODEL, version, at) == "approved"
    assert registry.answered_by(MODEL, version, "approved") == "reviewer"
    mlflow_server.ensure_user(as_user(server, "admin"), Credentials("reads", "only-reads-passw0rd"))
    with pytest.raises(RestError, match="no permission"):  # and does not sign what is not theirs
        Rest(server.url, Credentials("reads", "only-reads-passw0rd"), 5).post("/model-versions/set-tag", **word)
    assert registry.answered_by(MODEL, version, "approved") == "reviewer"
    changed = "update model_version_tags set value = 'rejected' where name = ? and version = ? and key = 'baton.review'"
    server.sql(changed, MODEL, version)
    assert registry.review(MODEL, version, at) == "rejected"
    assert registry.answered_by(MODEL, version, "rejected") is None


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
    registry.promote(model, first, None, permit=BY("ada"))
    assert registry.aliases(model) == {"champion": first, "challenger": second}
    with pytest.raises(RegistryRefused, match="judge again"):
        registry.promote(model, second, None, permit=BY())
    registry.promote(model, second, first, permit=BY("ada"))
    registry.promote(model, second, first, permit=BY("ada"))  # a repeated try adds no record
    assert registry.aliases(model) == {"champion": second, "previous_champion": first}
    assert registry.rollback(model, actor="bob", reason="too many false alarms") == first
    assert registry.aliases(model) == {"champion": first}
    moves = sorted(ledger.entries(subject=model, kind="alias_moved"), key=lambda entry: entry.seq)
    assert [move.payload["version"] for move in moves] == [first, second, first]
    assert moves[-1].payload["actor"] == "bob"
    assert champion_moved(model, registry.alias(model, "champion"), registry.recorded_champion(model)) is None
    server.sql(MOVE, second, model)
    found = champion_moved(model, registry.alias(model, "champion"), registry.recorded_champion(model))
    assert "moved outside Baton" in (found or "")
    third = train(registry, folder, model)
    (artefacts(server, registry, third, model) / "model.json").write_text("{}")
    with pytest.raises(RegistryRefused, match="not those that were signed"):
        registry.promote(model, third, second, permit=BY())
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
