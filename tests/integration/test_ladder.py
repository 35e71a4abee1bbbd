"""The ladder with a real registry: a file cut short, a version that is gone, scores out of contract, a server that is down.

The tests tell one story and build on each other, in the order of the file. Its store is on S3, from the first training on.
"""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.actions import requests
from baton.actions.votes import Voter, VoteRefused
from baton.data import parts
from baton.data.datasets import read
from baton.effects import firewall
from baton.errors import RegistryRefused
from baton.lifecycle.monitor import judge_windows
from baton.record import ledger, tables
from baton.record import warehouse as records
from baton.registry import rungs
from baton.registry.client import Registry
from baton.settings import settings
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageResult, head
from baton.steps import ingest, ladder
from baton.steps.ingest import choose_models

pytestmark = pytest.mark.timeout(300)

ANSWER: Any = runpy.run_path(str(Path(__file__).parents[1] / "approving.py"))["answer"]
PUBLISHED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "published_rows.py"))
SHOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("lifecycle_shop.py")))
S3: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("object_servers.py")))
MODEL, FLOW, HOURS = SHOP["MODEL"], SHOP["FLOW"], SHOP["HOURS"]
train, judge, move, orders, step = (SHOP[name] for name in ("train", "judge", "move", "orders", "step"))
RULES = "shop_pack.rules:late"
RULE = """\
import pandas as pd

from baton.stages.step import row_local


@row_local
def decide(orders: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    assert orders["order_id"].astype(str).tolist() == scores["entity_key"].tolist()
    return scores[["entity_key", "score"]].assign(late=scores["score"] > 0.5)


def counted(decided: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    assert decided["entity_key"].tolist() == scores["entity_key"].tolist()
    return pd.DataFrame({"rows": [len(decided)], "keys": [decided["entity_key"].nunique()]})


def late(data: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"entity_key": data["order_id"], "score": (data["x1"] > data["x2"]).astype(float), "reasons": None})
"""
DAG = f"""
# Airflow DAG
from baton.airflow.flows import Flow

with Flow("shop_laddered", pack="shop", cron=None, models=["{MODEL}"], owner="tests", doc_md="") as flow:
    orders = flow.contract(flow.ingest("orders"), "orders")
    flow.publish_scores({{"{MODEL}": flow.score(orders, "{MODEL}", fallback="{RULES}")}})
"""
PROMOTION = f"""
# Airflow DAG
from baton.airflow.lifecycle import build
from baton.packs.pack import find_model

globals().update(build(*find_model("{MODEL}"), only="{MODEL}_promote"))
"""
SHARED = f"""
# Airflow DAG
from baton.airflow.flows import Flow

with Flow("shop_shared", pack="shop", cron=None, models=["{MODEL}"], owner="tests", doc_md="") as flow:
    orders = flow.contract(flow.ingest("orders"), "orders")
    scores = flow.score(orders, "{MODEL}")
    decided = flow.stage("decide", "shop_pack.rules:decide", orders=orders, scores=scores)
    flow.stage("counted", "shop_pack.rules:counted", decided=decided, scores=scores)
"""
SCORES = """\
contract: scores
version: 1
owner: tests
description: one score for each order
key: entity_key
columns:
  entity_key: {type: str}
  score: {type: float}
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {column: score, min_value: 0, max_value: HIGHEST}
    severity: critical
    meta: {rule: score_range}
"""


@pytest.fixture(scope="module")
def yaml(workbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("s3fs", reason="the driver comes with the extras `production` and `dev`")
    with (
        S3["serving"]("moto", tmp_path_factory.mktemp("s3")) as address,
        S3["used"](address),
        SHOP["installed"](tmp_path_factory.mktemp("site"), workbench.home) as path,
    ):
        (path.parents[1] / "rules.py").write_text(RULE)
        contract(path, 1.0)
        yield path


@pytest.fixture
def home(workbench: Any, yaml: Path) -> Path:
    return workbench.home


def contract(yaml: Path, highest: float) -> None:
    (yaml.parents[1] / "contracts/scores.yaml").write_text(SCORES.replace("HIGHEST", str(highest)))


def score(home: Path, hour: int) -> StageResult:
    """An hour from its orders to its published scores, with a fallback; returns the scores."""
    partition = HOURS[hour]
    file = home / f"landing/shop/orders-{partition.replace(':', '-')}.parquet"
    if not file.exists():
        orders(hour).drop(columns="late").to_parquet(file)
    models, _, _ = choose_models(FLOW, partition, [MODEL], "recorded", fallbacks=[MODEL])
    raw = step(FLOW, "ingest", partition, "steps.ingest:ingest", source="orders", models=models)
    good = step(FLOW, "contract", partition, "steps.contract:contract", contract="orders", data=raw, models=models)
    options = {"model": MODEL, "fallback": RULES}
    job = StageJob("shop", FLOW, f"score__{MODEL}", partition, "baton.steps.score:score", {"data": good.ref}, options,
                   output_contract="scores", models=models)  # fmt: skip
    scores = run(job)
    step(FLOW, "publish", partition, "steps.publish:publish_predictions", models=models, scores=scores)
    return scores


def published(hour: int) -> set[tuple[str, int]]:
    return set(PUBLISHED["read_all"]("predictions", "model", "version", partition=HOURS[hour]))


def forget(home: Path, version: int) -> None:
    """The copy on this machine goes: the version has to be fetched."""
    shutil.rmtree(home / "models" / MODEL / str(version), ignore_errors=True)


def artefacts(home: Path, version: int) -> Path:
    upload = Registry().version(MODEL, version).logged_model
    return next((home / "mlflow" / "artifacts").glob(f"*/models/{upload}/artifacts"))


def test_before_the_first_training_the_rules_score(home: Path) -> None:
    scores = score(home, 0)
    assert scores.facts["rung"] == "rules"
    assert f"{MODEL} has no champion yet" in scores.facts["degraded"][0]
    assert published(0) == {(MODEL, 0)}


def test_a_flow_with_a_fallback_is_green_in_airflow_without_any_model(home: Path, yaml: Path, tmp_path: Path) -> None:
    orders(6).drop(columns="late").to_parquet(home / f"landing/shop/orders-{HOURS[6].replace(':', '-')}.parquet")
    assert set(in_airflow(tmp_path, "shop_laddered", DAG, HOURS[6])) == {
        ("ingest", -1), ("contract", -1), (f"score__{MODEL}", 0), ("publish", -1),
    }  # fmt: skip
    assert set(PUBLISHED["read_all"]("predictions", "version", flow="shop_laddered")) == {(0,)}
    with records.read() as conn:
        assert "shop_laddered" in {one["flow"] for one in rungs.in_force(conn)}
    with records.write() as conn:
        conn.execute(tables.rungs.delete().where(tables.rungs.c.flow == "shop_laddered"))


def in_airflow(folder: Path, dag_id: str, text: str, partition: str = "") -> list[tuple[str, int]]:
    """One green run in this process; its tasks with their map indices."""
    file = folder / f"{dag_id}.py"
    file.write_text(text)
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(str(file))
    assert bag.import_errors == {}
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)  # `dag.test()` stores only what lies in Airflow's own folder
    dag = bag.dags[dag_id]
    dag.deadline = None  # Airflow 3.3.2 cannot store a deadline alert in `dag.test()`
    run = dag.test(run_conf={"partition_from": partition} if partition else None)
    assert str(run.state) == "success"
    return sorted((task.task_id, task.map_index) for task in run.get_task_instances())


def test_two_champions_later_the_newest_scores_and_the_recovery_is_on_record(
    home: Path, yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time import hitl

    assert train().facts["version"] == 1
    judge(1)
    ANSWER(MODEL, 1, "ada")
    move(1)
    yaml.write_text(yaml.read_text().replace("C: 0.0000001", "C: 1.0"))
    assert train().facts["version"] == 2
    with monkeypatch.context() as four_eyes:
        four_eyes.setenv("BATON_GOVERNANCE", "four_eyes")
        settings.cache_clear()
        four_eyes.setattr(hitl, "upsert_hitl_detail", lambda **_: two_others_agree())
        states = in_airflow(tmp_path, f"{MODEL}_promote", PROMOTION)
    settings.cache_clear()
    assert states == [("approve", -1), ("judge", -1), ("move_champion", -1)]
    moved = ledger.entries(subject=MODEL, kind="alias_moved", limit=1)[0].payload
    assert (moved["version"], moved["before"], moved["actor"], moved["reason"]) == (
        2,
        1,
        "ann, bob",
        "approved by test",
    )
    assert Registry().aliases(MODEL) == {"champion": 2, "previous_champion": 1}
    assert score(home, 1).facts["version"] == 2
    (recovered,) = ledger.entries(kind=rungs.RECOVERED)
    assert recovered.payload["seconds"] > 0
    again = score(home, 0)
    assert (again.facts["rung"], again.facts["version"]) == ("champion", 2), "the first hour does not keep its rules"


def two_others_agree() -> None:
    """As soon as the run asks: whoever started it may not, two others do."""
    (asked,) = requests.still_open(f"{MODEL}_promote")
    with pytest.raises(VoteRefused, match="dag_test started its promotion; somebody else has to agree"):
        firewall.vote(asked.id, Voter("dag_test"), "approved", asked.seen)
    for person in ("ann", "bob"):
        firewall.vote(asked.id, Voter(person, person, "test"), "approved", asked.seen)


def test_a_flow_of_another_pack_gets_no_model_that_is_not_for_it(home: Path) -> None:
    who = r"theirs may not use model late_order: .*owner ann .*governance.yaml:\d+"
    for given in ({"choice": "recorded"}, {"choice": f"{MODEL}=1"}, {"choice": "champion", "fallbacks": [MODEL]}):
        with pytest.raises(RegistryRefused, match=who):
            choose_models("theirs", HOURS[0], [MODEL], **given)  # type: ignore[arg-type]
    for consumer in (
        "theirs",
        "",
        f"{MODEL}_score",
    ):  # nor past the first stage, by a step that asks the registry itself
        with pytest.raises(RegistryRefused, match="may not use model late_order"):
            Registry().download(MODEL, 1, consumer)
    assert {one.payload["flow"] for one in ledger.entries(subject=f"model:{MODEL}", kind="consume_refused")} == {
        "theirs"
    }


def test_a_batch_of_parts_is_shared_by_tasks_and_the_next_stage_sees_the_whole(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders(7).drop(columns="late").to_parquet(home / f"landing/shop/orders-{HOURS[7].replace(':', '-')}.parquet")
    alone = in_airflow(tmp_path, "shop_alone", SHARED.replace("shop_shared", "shop_alone"), HOURS[7])
    assert [one for one in alone if one[1] >= 0] == [("decide", 0), (f"score__{MODEL}", 0)], "one part, one task"
    before = {stage: head(Slot("shop_alone", stage, HOURS[7])) for stage in ("decide", f"score__{MODEL}", "counted")}
    assert before["counted"] is not None
    assert read(before["counted"].ref).to_dict("records") == [{"rows": 150, "keys": 150}]
    monkeypatch.setattr(parts, "ROWS", 50)
    monkeypatch.setattr(parts, "STEP", 10)
    monkeypatch.setenv("BATON_SCORING_SLOTS", "1")
    settings.cache_clear()
    tasks = in_airflow(tmp_path, "shop_shared", SHARED, HOURS[7])
    assert [one for one in tasks if one[1] >= 0] == [
        ("decide", 0),
        ("decide", 1),
        (f"score__{MODEL}", 0),
        (f"score__{MODEL}", 1),
    ]
    for stage in ("decide", f"score__{MODEL}"):
        whole = head(Slot("shop_shared", stage, HOURS[7]))
        assert whole is not None
        assert whole.ref.kind == "manifest"
        columns = ["entity_key", "score"]
        pd.testing.assert_frame_equal(read(whole.ref, columns), read(before[stage].ref, columns))  # type: ignore[union-attr]
        groups = [head(Slot("shop_shared", stage, HOURS[7], number)) for number in (0, 1)]
        assert [one.ref.rows for one in groups if one] == [50, 100]
    counted = head(Slot("shop_shared", "counted", HOURS[7]))
    assert counted is not None
    assert read(counted.ref).to_dict("records") == [{"rows": 150, "keys": 150}]


def test_a_file_cut_short_is_noticed_and_the_champion_before_scores(home: Path) -> None:
    model = next(file for file in sorted((home / "models" / MODEL / "2").rglob("*")) if file.suffix == ".skops")
    whole = model.read_bytes()
    model.chmod(0o600)
    model.write_bytes(whole[: len(whole) // 2])
    scores = score(home, 2)
    assert (scores.facts["rung"], scores.facts["version"]) == ("previous", 1)
    assert set(read(scores.ref)["source"]) == {"previous"}
    assert published(2) == {(MODEL, 1)}
    assert ledger.entries(subject=f"{MODEL}/2", kind="version_refused")
    model.write_bytes(whole)
    assert score(home, 2).facts["rung"] == "champion", "repeated, the partition has the champion again"
    assert published(2) == {(MODEL, 2)}


def test_a_version_whose_files_are_gone_everywhere_and_the_one_before_too(home: Path) -> None:
    moved = []
    for version in (1, 2):
        forget(home, version)
        place = artefacts(home, version)
        place.rename(place.with_name("elsewhere"))
        moved.append(place)
    scores = score(home, 3)
    assert scores.facts["rung"] == "rules"
    assert scores.facts["degraded"][0].count("does not score") == 2
    for place in moved:
        place.with_name("elsewhere").rename(place)
    windows = {one["partition"]: one["status"] for one in judge_windows(MODEL, FLOW)["windows"]}
    assert (windows[HOURS[2]], windows[HOURS[3]]) == ("judged", "missing"), (
        "what rules scored is no window of the model"
    )
    assert score(home, 3).facts["rung"] == "champion"


def test_scores_out_of_contract_never_go_on(home: Path, yaml: Path) -> None:
    contract(yaml, 0.0001)
    data = home / f"landing/shop/orders-{HOURS[4].replace(':', '-')}.parquet"
    frame = orders(4).drop(columns="late")
    frame.assign(x1=frame["x2"] - 1.0).to_parquet(data)  # of which the rules say 0
    scores = score(home, 4)
    assert scores.facts["rung"] == "rules"
    assert "its scores break contract scores (score_range)" in scores.facts["degraded"][0]
    assert read(scores.ref)["score"].max() == 0.0
    contract(yaml, 1.0)
    assert score(home, 4).facts["rung"] == "champion"


def test_a_registry_that_is_down_stops_no_flow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ladder, ingest):
        monkeypatch.setattr(module, "PATIENCE", 0.5)
    with monkeypatch.context() as patch:
        patch.setenv("BATON_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        settings.cache_clear()
        scores = score(home, 5)
    settings.cache_clear()
    assert scores.facts["rung"] == "rules"
    with records.read() as conn:
        (one,) = rungs.in_force(conn)
    assert (one["flow"], one["model"], one["rung"]) == (FLOW, MODEL, "rules")
    assert score(home, 5).facts["rung"] == "champion"
    with records.read() as conn:
        assert rungs.in_force(conn) == []
