"""`engine: spark` on a real Spark Connect server: the rows of a task, and what happens when anything on the way fails."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.airflow.connections.lookup import AirflowConnections
from baton.data import datasets, objects, parts
from baton.data.datasets import DatasetRef
from baton.engines import spark
from baton.engines.orders import EngineError
from baton.engines.spark import SparkCluster
from baton.errors import DatasetCorrupt, RegistryRefused, SpecError
from baton.families import load
from baton.families.base import Rows
from baton.families.tabular.selection import learner
from baton.packs.pack import find_model
from baton.record import warehouse
from baton.registry.identity import Identity
from baton.registry.package import Submission, package
from baton.settings import settings
from baton.stages import garbage
from baton.stages.connections import Unconnected
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, head, history, run_stage
from baton.steps import score as scoring

S3: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("object_servers.py")))
SAIL: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("spark_server.py")))
HOUR, ROWS = "2026-01-01T00:00:00", 500


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with S3["serving"]("moto", tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Iterator[int]:
    """A cluster whose workers have rights in a bucket, of their own."""
    rights = {name: value for name, value in S3["environment"](bucket).items() if name.startswith("AWS_")}
    with SAIL["sailing"](tmp_path_factory.mktemp("sail") / "log", **rights) as (port, _):
        yield port


def transactions(rng: np.random.Generator, count: int) -> pd.DataFrame:
    frame = pd.DataFrame(rng.normal(size=(count, 28)), columns=[f"v{i}" for i in range(1, 29)])
    frame["amount"] = rng.exponential(80, count)
    frame.insert(0, "transaction_id", np.arange(count))
    frame["event_time"] = pd.Timestamp("2026-01-01", tz="UTC")
    frame["_row"] = np.arange(1, count + 1)
    return frame


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack's boosting, fitted and saved."""
    folder, rng = tmp_path_factory.mktemp("model"), np.random.default_rng(20)
    _, spec = find_model("card_fraud")
    chosen = next(one for one in spec.candidates if one.name == "boosting")
    frame = transactions(rng, 3_000)
    y = (frame.v1 + frame.v2 + rng.normal(size=len(frame)) > 2).astype(int).to_numpy()
    learner("classification").fit(spec, chosen, Rows(frame, y), seed=20).save(folder / "saved")
    return folder / "saved"


class Clustered(Unconnected):
    """Connections that all lead to one cluster."""

    def __init__(self, port: int) -> None:
        self.port = port

    def cluster(self, conn_id: str) -> SparkCluster:
        return SparkCluster("127.0.0.1", self.port, tls=False)


@pytest.fixture
def batch(home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetRef:
    return delivered(home, saved, monkeypatch)


def delivered(home: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetRef:
    """A batch of three parts, and a registry that holds one signed version."""
    warehouse.migrate()
    monkeypatch.setattr(parts, "ROWS", 200)
    monkeypatch.setattr(parts, "STEP", 100)
    example = transactions(np.random.default_rng(1), 2)
    identity = Identity("card_fraud", "run", "m-1", "", "2026-01-01T00:00:00+00:00")
    folder = home / "version"
    package(
        Submission("card_fraud", saved, "run", "classification", example, "# card"),
        identity,
        folder,
        settings().keys_dir,
    )
    assert load(folder)
    shelf = SimpleNamespace(download=lambda name, version, consumer: folder, version_url=lambda name, version: "url")
    monkeypatch.setattr(scoring, "Registry", lambda: shelf)
    frame = transactions(np.random.default_rng(2), ROWS)
    return run_stage(
        Slot("cards", "contract", HOUR),
        lambda inputs: StageOutput(frame),
        inputs={},
        params={},
        models={},
        code="1",
        run_id="t",
    ).ref


def score(batch: DatasetRef, port: int, stage: str = "score", **options: Any) -> StageJob[Any]:
    given = {"model": "card_fraud", "explain": 1.0, **options}
    return StageJob(
        "financial_crime", "cards", stage, HOUR, "baton.steps.score:score", {"data": batch}, given, "scores",
        {"card_fraud": 3}, connections=Clustered(port),
    )  # fmt: skip


def objects_of(stage: str) -> list[str]:
    return [item.name for item in objects.listed() if f"/{stage}/" in item.name]


def test_the_rows_are_those_of_a_task(batch: DatasetRef, server: int) -> None:
    """A model and a pure function of three inputs, each in both ways."""
    here, there = run(score(batch, server, "here")), run(score(batch, server, engine="spark"))
    assert there.ref.kind == "manifest"
    assert there.facts == here.facts
    one, other = datasets.read(here.ref), datasets.read(there.ref)
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-12)
    assert run(score(batch, server, engine="spark")).cached
    assert len(objects_of("score")) == 4, "three parts and the manifest"

    inputs = {"transactions": batch, "card_fraud": there.ref, "transaction_anomaly": there.ref}
    decide = StageJob(
        "financial_crime", "cards", "decide", HOUR, "baton_packs.financial_crime.steps:combine", inputs,
        output_contract="decisions", connections=Clustered(server),
    )  # fmt: skip
    options = {"engine": "spark", "params": {"block_probability": 0.8}}
    decided = run(replace(decide, options=options)).ref
    by_a_task = run(replace(decide, stage="here", options={"params": {"block_probability": 0.8}})).ref
    pd.testing.assert_frame_equal(datasets.read(decided), datasets.read(by_a_task))


def test_the_workers_reach_an_object_store_by_rights_of_their_own(
    home: Path, saved: Path, bucket: str, server: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3["used"](bucket):
        far = delivered(home, saved, monkeypatch)
        there = run(score(far, server, engine="spark")).ref
        assert there.uri.startswith("s3://")
        assert there.content_sha256 == run(score(far, server, "here")).ref.content_sha256
        assert len(objects_of("score")) == 4


def test_a_part_that_was_altered_is_named_and_a_model_that_was_is_refused(
    batch: DatasetRef, server: int, home: Path
) -> None:
    tree = next((home / "version").rglob("*.lightgbm.txt"))
    good = tree.read_bytes()
    tree.write_bytes(good.replace(b"leaf_value=", b"leaf_value=1", 1))
    with pytest.raises(RegistryRefused, match=rf"{tree.name}: bytes are not those that were signed"):
        run(score(batch, server, engine="spark"))
    tree.write_bytes(good)
    path = objects.path_of(parts.of_manifest(batch.uri, batch.content_sha256)[1].uri)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(DatasetCorrupt, match=rf"{path.name}: the bytes have SHA-256"):
        run(score(batch, server, engine="spark"))
    path.write_bytes(content)
    assert run(score(batch, server, engine="spark")).ref.rows == ROWS
    garbage.gc(timedelta(0))  # what a worker wrote after the task had heard of the altered part
    assert len(objects_of("score")) == 4


def test_a_cluster_that_dies_in_the_middle_is_said_and_the_retry_doubles_nothing(
    batch: DatasetRef, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "PATIENCE", {**spark.PATIENCE, "max_retries": 2})
    # nobody writes into the pipe in the place of the last part: whoever reads it is in the middle until he dies
    last = objects.path_of(parts.of_manifest(batch.uri, batch.content_sha256)[-1].uri)
    kept = last.rename(tmp_path / "kept")
    os.mkfifo(last)
    with SAIL["sailing"](tmp_path / "log") as (port, process), monkeypatch.context() as patch:
        # what is not removed is as what a worker writes after its task has given up
        patch.setattr(objects, "delete", lambda uri: None)

        def dies() -> None:
            while not any(name.endswith(".00000.parquet") for name in objects_of("score")):
                time.sleep(0.005)
            process.kill()

        killer = Thread(target=dies)
        killer.start()
        with pytest.raises(EngineError, match=rf"sc://127.0.0.1:{port}: .*nothing was committed"):
            run(replace(score(batch, port, engine="spark"), output_contract=""))
        killer.join()
    kept.replace(last)
    left = objects_of("score")
    assert left
    assert head(Slot("cards", "score", HOUR)) is None
    again = run(replace(score(batch, server, engine="spark"), output_contract=""))
    assert datasets.read(again.ref)["_row"].tolist() == list(range(1, ROWS + 1))
    assert len(history(Slot("cards", "score", HOUR))) == 1
    gone = garbage.gc(timedelta(0))
    assert sorted(objects.address(name) for name in left) == gone.uris
    assert any(".model.parquet" in uri for uri in gone.uris)
    assert len(objects_of("score")) == 4
    assert datasets.verifies(again.ref)


def test_the_connection_is_airflows_own_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def cluster(**fields: Any) -> SparkCluster:
        given = {"conn_type": "spark_connect", "host": "sc://spark.example.org", **fields}
        monkeypatch.setenv("AIRFLOW_CONN_SPARK", json.dumps(given))
        return AirflowConnections().cluster("spark")  # type: ignore[return-value]

    assert cluster() == SparkCluster("spark.example.org")
    more = {"use_ssl": True, "headers": {"x-databricks-cluster-id": "1-2"}}
    assert cluster(port=443, login="me", password="tok", extra=more) == SparkCluster(
        "spark.example.org", 443, "me", "tok", True, {"x-databricks-cluster-id": "1-2"}
    )
    assert cluster(host="127.0.0.1", port=1, extra={"use_ssl": "false"}) == SparkCluster("127.0.0.1", 1, tls=False)
    for fields, said in (
        ({"extra": {"use_ssl": False}, "password": "tok"}, "code and token would travel unencrypted"),
        ({"conn_type": "spark"}, "needs type spark_connect, this is spark"),
        ({"host": ""}, "host should be the name of the server alone"),
        ({"host": "a/;token=tok"}, "host should be the name of the server alone"),
        ({"extra": {"deploy": 1}}, "extra holds deploy; known are headers, use_ssl"),
        ({"extra": {"headers": {"a": 1}}}, "extra.headers must be an object of texts"),
        ({"extra": {"use_ssl": "perhaps"}}, "extra.use_ssl should be true or false"),
    ):
        with pytest.raises(SpecError, match=said) as refused:
            cluster(**fields)
        assert "tok" not in str(refused.value).replace("token", "")


def test_a_server_that_is_not_there_is_named_without_the_token(
    batch: DatasetRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "PATIENCE", {**spark.PATIENCE, "max_retries": 0})
    monkeypatch.setattr(
        Clustered, "cluster", lambda self, conn_id: SparkCluster("localhost", 9, token="secret-word", tls=False)
    )
    with pytest.raises(EngineError, match=r"sc://localhost:9: does not answer") as told:
        run(score(batch, 9, engine="spark"))
    assert "secret-word" not in str(told.value) + str(told.value.__cause__)
    assert objects_of("score") == []


def test_a_process_without_a_main_file_imports_what_imports_spark() -> None:
    """As a task of Airflow may be: Spark's client ends such a process where it finds no whole Spark, and GX imports the client."""
    code = "from baton.contracts.engine import warm; warm(); from pyspark.sql.connect.session import SparkSession"
    plain = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=plain)
