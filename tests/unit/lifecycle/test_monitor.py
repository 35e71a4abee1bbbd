"""The monitor's book-keeping: which windows are due, what they are judged to be, and how often training is asked for.

Most tests put judged windows on record; `tests/integration/test_lifecycle.py` goes the whole way with a real registry.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import update

from baton.data import datasets
from baton.data.datasets import DatasetRef
from baton.drift import compare as drift
from baton.drift.decision import Window, decide
from baton.drift.performance import Performance
from baton.feedback.labels import ARRIVED, digest, known_labels, record_labels, replace_labels
from baton.lifecycle import monitor
from baton.lifecycle import windows as lifecycle_windows
from baton.lifecycle.monitor import judge_windows
from baton.packs.pack import find_model
from baton.record import ledger, tables, warehouse
from baton.settings import settings
from baton.stages import groups
from baton.stages.slots import Slot, StageOutput, StageResult, run_stage

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
SEED = STAGE["PUBLISHED"]["seed"]
committed, rows, statements, FLOW, HOURS = (
    STAGE[name] for name in ("committed", "rows", "statements", "FLOW", "HOURS")
)
FRAME = pd.DataFrame({"order_id": [1, 2]})
SAID = pd.DataFrame({"entity_key": ["1", "2"], "score": [0.1, 0.2]})
DRIFT = """\
drift:
  persistence: {k: 2, n: 2}
  cooldown: 2h
  budget: {retrains: 1, per: 7d}
  min_labelled_positives: 10
  performance: {}
"""


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model with a drift policy."""
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        with (folder / "models/late_order.yaml").open("a") as yaml:
            yaml.write(DRIFT)
        yield


def reach(hour: int, *stages: str, status: str = "passed") -> None:
    """Commit stages of the flow for a partition, as if a run had come that far."""
    for stage in stages:
        committed(stage, hour, FRAME, **({"status": status} if stage == "contract" else {}))


def score(hour: int, data: DatasetRef, scored: pd.DataFrame = SAID, model: int = 1, **facts: Any) -> StageResult:
    """Commit what a version said of a partition's rows."""
    return run_stage(
        Slot(FLOW, "score__late_order", HOURS[hour]), lambda inputs: StageOutput(scored, facts), inputs={"data": data}, params={},
        models={"late_order": model}, code="test", run_id="test",
    )  # fmt: skip


def show(hour: int, *drifted: str, positives: int = 20) -> None:
    """Publish a partition whose window is judged already."""
    reach(hour, "ingest", "publish")
    scores = score(hour, committed("contract", hour, FRAME, status="passed").ref)
    window, labels = Window(HOURS[hour], 1, "judged", drifted, 500, positives), digest(known_labels(FLOW, "late"))
    row = {
        "model": "late_order", "flow": FLOW, "partition": HOURS[hour], "version": 1, "verdict": "stable", "features": [],
        "table": {}, "window": asdict(window), "measured": 0, "performance": {"labels": labels},
        "commit_id": scores.commit_id, "judged_at": "",
    }  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.drift_windows.insert().values(**row))


def watch() -> dict[str, Any]:
    return judge_windows("late_order", FLOW)


def requests() -> list[tuple[Any, ...]]:
    return rows(tables.retrains, "partition")


def trained(hour: int) -> None:
    """A training whose rows passed their contract."""
    for stage in ("assemble", "contract"):
        committed(stage, hour, FRAME, "late_order_train")


def test_partitions_are_told_apart_by_how_far_they_came() -> None:
    reach(0, "ingest", "contract", "publish")
    reach(1, "ingest", "contract", status="broken")
    reach(2, "ingest", "contract")
    reach(3, "ingest")
    with warehouse.write() as conn:
        old = {"created_at": "2026-01-01T00:00:00.000000Z"}
        conn.execute(update(tables.commits).where(tables.commits.c.partition == HOURS[3]).values(old))
    expected = dict(zip(HOURS, ("published", "broken", "running", "abandoned"), strict=True))
    with warehouse.read() as conn:
        assert lifecycle_windows.states(conn, FLOW, HOURS) == expected


def test_before_the_first_window_it_says_what_it_waits_for() -> None:
    assert (watch()["decision"], watch()["reasons"]) == ("TOO_FEW", ["no published partition yet"])
    reach(1, "ingest")
    assert watch()["reasons"] == [f"{HOURS[1]} is not published yet"]


def test_training_is_asked_for_once_and_again_until_it_has_started() -> None:
    show(0, "amount")
    assert (watch()["decision"], requests()) == ("WARN", [])
    show(1, "amount")
    outcome = watch()
    assert (outcome["decision"], outcome["request"], outcome["since"]) == ("RETRAIN", HOURS[1], HOURS[0])
    show(2, "amount")
    outcome = watch()
    assert (outcome["decision"], outcome["request"], outcome["partition"]) == ("RETRAIN", HOURS[1], HOURS[2])
    assert requests() == [(HOURS[1],)]
    assert len(ledger.entries(kind="retraining_requested")) == 1
    trained(1)
    assert (watch()["decision"], watch()["request"]) == ("COOLDOWN", None)


def test_a_training_from_before_the_request_does_not_answer_it() -> None:
    trained(0)
    show(0, "amount")
    show(1, "amount")
    watch()
    assert watch()["request"] == HOURS[1]


def test_a_request_that_was_lost_is_repeated_after_a_broken_window_too() -> None:
    show(0, "amount")
    show(1, "amount")
    assert watch()["decision"] == "RETRAIN"  # and the monitor dies before the event
    reach(2, "ingest", "contract", status="broken")
    assert watch()["decision"] == "RETRAIN"


def test_a_request_that_was_lost_does_not_use_up_the_budget_for_nothing() -> None:
    show(0, "amount")
    show(1, "amount")
    assert watch()["decision"] == "RETRAIN"  # and the monitor dies before the event
    show(2, "amount")
    show(3, "amount")
    assert watch()["decision"] == "RETRAIN"


def test_after_the_pause_the_budget_decides() -> None:
    show(0, "amount")
    show(1, "amount")
    watch()
    trained(1)
    show(2, "amount")
    assert watch()["decision"] == "COOLDOWN"
    show(3, "amount")
    outcome = watch()
    assert outcome["decision"] == "DRIFT"
    assert "the budget of 1 retrainings per 7d is used up" in outcome["reasons"][-1]
    assert requests() == [(HOURS[1],)]


# --- windows that are judged here ---


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of every version: what partitions are compared with."""
    known = pd.DataFrame({"amount": np.random.default_rng(0).normal(50.0, 5.0, 2000)})
    reference = drift.reference(known, ["amount"], np.random.default_rng(1).random(2000)) | {"metrics": {}}
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    monkeypatch.setattr(
        lifecycle_windows, "Registry", lambda: SimpleNamespace(verified=lambda model, version: tmp_path)
    )
    return tmp_path


def scored(hour: int, mean: float, model: int = 1) -> None:
    """Publish a partition of 600 orders and a version's scores of them."""
    amount = np.random.default_rng(hour + 1).normal(mean, 5.0, 600)
    orders = pd.DataFrame({"order_id": np.arange(600), "amount": amount})
    data = committed("contract", hour, orders, status="passed").ref
    said = np.random.default_rng(hour + model).random(600)
    score(hour, data, pd.DataFrame({"entity_key": orders["order_id"].astype(str), "score": said}), model)
    committed("publish", hour, FRAME)


def judged() -> list[tuple[Any, ...]]:
    return rows(tables.drift_windows, "partition", "version", "verdict", "features")


def test_rows_that_moved_are_a_drifted_window_with_a_page(registry: Path) -> None:
    scored(0, 50.0)
    assert watch()["decision"] == "STABLE"
    scored(1, 90.0)
    outcome = watch()
    assert (outcome["decision"], outcome["features"]) == ("WARN", ["amount"])
    assert judged() == [(HOURS[0], 1, "stable", []), (HOURS[1], 1, "drifted", ["amount"])]
    page = (settings().reports_dir / outcome["report"]).read_text()
    assert "late_order" in page
    assert "amount" in page


def in_parts(hour: int, frame: pd.DataFrame, stage: str = "contract", **about: Any) -> StageResult:
    """Commit rows in parts of 170."""
    ends = [*range(170, len(frame), 170), len(frame)]
    about = {"inputs": {}, "models": {}} | about
    return run_stage(
        Slot(FLOW, stage, HOURS[hour]), lambda inputs: StageOutput(frame, {"status": "passed"}, ends=ends), params={},
        code=stage, run_id="test", **about,
    )  # fmt: skip


def shared(hour: int, data: DatasetRef, said: pd.DataFrame) -> StageResult:
    """Commit what two tasks said of a partition's rows, and name it as one."""
    whole, models = Slot(FLOW, "score__late_order", HOURS[hour]), {"late_order": 1}

    def some(group: groups.Portion) -> StageResult:
        rows = said.iloc[group.edges[group.number] : group.edges[group.number + 1]].reset_index(drop=True)
        return run_stage(
            replace(whole, map_index=group.map_index), lambda inputs: StageOutput(rows),
            inputs=groups.shared({"data": data}, group)[group.number], params={}, models=models, code="test", run_id="test",
        )  # fmt: skip

    made = [some(group) for group in groups.split(data, 2)]
    return groups.whole(whole, [one.ref for one in made], [one.facts for one in made], models)


def test_a_partition_too_large_for_a_frame_is_judged_as_it_would_be_in_one(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = json.loads((registry / "reference.json").read_text()) | {"metrics": {"average_precision": 0.9}}
    (registry / "reference.json").write_text(json.dumps(reference))
    rng = np.random.default_rng(7)
    orders = pd.DataFrame({"order_id": np.arange(600), "amount": rng.normal(90.0, 5.0, 600)})
    said = pd.DataFrame({"entity_key": orders["order_id"].astype(str), "score": rng.random(600)})
    for hour in (0, 1, 2):
        SEED(FLOW, HOURS[hour], predictions=[
            {"entity_key": key, "model": "late_order", "version": 1, "score": value} for key, value in said.to_numpy()
        ])  # fmt: skip
    with warehouse.write() as conn:
        record_labels(conn, FLOW, "analyst", "ann", [(str(n), HOURS[0], int(n % 3 == 0)) for n in range(590)], "late")
    score(0, committed("contract", 0, orders, status="passed").ref, said)
    committed("publish", 0, FRAME)
    watch()
    data = in_parts(1, orders).ref
    in_parts(1, said, "score__late_order", inputs={"data": data}, models={"late_order": 1})
    committed("publish", 1, FRAME)
    shared(2, in_parts(2, orders).ref, said)
    committed("publish", 2, FRAME)
    monkeypatch.setenv("BATON_MAX_FRAME_ROWS", "300")
    settings.cache_clear()
    monkeypatch.setattr(datasets, "read_frames", partial(datasets.read_frames, rows=110))
    assert watch()["windows"][-1]["drifted"] == ["amount"]
    found = [
        (verdict, {**table, "page": ""}, measured, window["truths"])
        for verdict, table, measured, window in rows(
            tables.drift_windows, "verdict", "table", "performance", "window"
        )
    ]  # fmt: skip
    assert found[0][2]["rows"] == 590
    assert found[0] == found[1] == found[2]


def test_of_a_partition_that_several_have_scored_the_rows_of_one_version_are_judged(registry: Path) -> None:
    rng = np.random.default_rng(1)
    amount = np.concatenate([rng.normal(50.0, 5.0, 600), rng.normal(90.0, 5.0, 300)])
    orders = pd.DataFrame({"order_id": np.arange(900), "amount": amount})
    said = pd.DataFrame({"entity_key": orders["order_id"].astype(str), "score": rng.random(900)})
    by_both = said.assign(version=[2] * 600 + [0] * 300)  # rules had what the model could not score
    data = committed("contract", 0, orders, status="passed").ref
    score(0, data, by_both, 2, rung="rules", version=None, versions={"2": 600, "0": 300})
    committed("publish", 0, FRAME)
    watch()
    assert judged() == [(HOURS[0], 2, "stable", [])]
    ((window, _),) = rows(tables.drift_windows, "window", "partition")
    assert window["rows"] == 600


def test_a_window_is_judged_again_when_labels_or_scores_change(registry: Path) -> None:
    scored(0, 50.0)
    assert watch()["report"]
    assert watch()["report"] is None, "nothing changed: the one on record"
    assert len(ledger.entries(kind="window_judged")) == 1
    SEED(FLOW, HOURS[0], predictions=[{"entity_key": "7", "model": "late_order", "version": 1, "score": 0.2}])
    with warehouse.write() as conn:
        record_labels(conn, FLOW, "analyst", "ann", [("7", HOURS[0], 1)], "late")
        ledger.append(conn, "case_decided", f"{FLOW}/7", {})
    assert watch()["report"]
    scored(0, 90.0, model=2)
    assert (watch()["decision"], judged()[-1]) == ("WARN", (HOURS[0], 2, "drifted", ["amount"]))


def test_what_is_known_of_a_row_that_is_scored_and_not_published_has_its_window_judged_again(registry: Path) -> None:
    SEED(FLOW, HOURS[0], predictions=[{"entity_key": "7", "model": "late_order", "version": 1, "score": 0.2}])
    scored(0, 50.0)
    assert watch()["report"]
    with warehouse.write() as conn:
        record_labels(conn, FLOW, "analyst", "ann", [("8", HOURS[0], 1)], "late")
        ledger.append(conn, ARRIVED, FLOW, {"partitions": [HOURS[0]]})
    assert watch()["report"]
    ((_, window),) = rows(tables.drift_windows, "partition", "window")
    assert window["truths"] == 1


def test_a_window_that_cannot_be_compared_is_missing(registry: Path) -> None:
    reach(0, "ingest", "contract", "publish")  # without scores
    scored(1, 50.0)
    (registry / "reference.json").unlink()  # trained before its spec had a drift policy
    assert [window["status"] for window in watch()["windows"]] == ["missing", "missing"]
    assert judged() == []


def test_a_window_whose_data_turn_out_broken_counts_no_longer_until_they_are_repaired(registry: Path) -> None:
    for hour in (0, 1):
        scored(hour, 90.0)
    assert watch()["windows"][-1]["status"] == "judged"
    reach(1, "contract", status="broken")
    outcome = watch()
    assert (outcome["decision"], outcome["windows"][-1]["status"]) == ("TOO_FEW", "broken")
    assert [verdict for *_, verdict, _ in judged()] == ["drifted", "broken"]
    scored(1, 50.0)
    assert watch()["windows"][-1]["drifted"] == []


def test_a_label_that_is_taken_back_has_its_window_judged_again(registry: Path) -> None:
    scored(0, 50.0)
    SEED(FLOW, HOURS[0], predictions=[{"entity_key": "7", "model": "late_order", "version": 1, "score": 0.2}])
    watch()
    for known in ([("7", 1.0)], []):
        with warehouse.write() as conn:
            about = replace_labels(conn, FLOW, HOURS[0], "bank", "late", "chargeback", known)
            assert about == {HOURS[0]}
            ledger.append(conn, ARRIVED, FLOW, {"partitions": sorted(about)})
        assert watch()["report"]
        assert watch()["report"] is None


# --- a year later ---


def judged_hours(drifted: list[bool], measured: list[str | None]) -> list[Window]:
    """As many hours, each published and judged, as the tables have them; returns the windows."""
    hours = STAGE["grown"](len(drifted), ("ingest", "contract", "publish", "score__late_order"))
    windows = [
        Window(hour, 1, "judged", ("amount",) if moved else (), 500, 1,
               said and Performance("average_precision", 0.5, 0.4, 0.6, 0.7, 20, 500, said))
        for hour, moved, said in zip(hours, drifted, measured, strict=True)
    ]  # fmt: skip
    with warehouse.write() as conn:
        conn.execute(tables.drift_windows.delete())
        conn.execute(tables.drift_windows.insert(), [
            {"model": "late_order", "flow": FLOW, "partition": one.partition, "version": 1, "commit_id": 1,
             "verdict": "drifted" if one.drifted else "stable", "measured": int(one.performance is not None),
             "window": asdict(one), "table": {}, "features": [], "performance": {}, "judged_at": ""} for one in windows
        ])  # fmt: skip
    return windows


def test_a_wake_up_with_nothing_new_costs_the_same_after_ten_times_as_many_partitions() -> None:
    sent = []
    for many in (50, 500):
        judged_hours([False] * many, ["held"] * many)
        with statements() as seen:
            assert watch()["decision"] == "STABLE"
        sent.append(len(seen))
    assert sent[0] == sent[1] <= 20


def test_the_decision_is_that_of_all_windows_however_few_are_read() -> None:
    rng, verdicts = np.random.default_rng(3), set()
    spec = find_model("late_order")[1].model_copy()
    for _ in range(60):
        many, often = int(rng.integers(1, 90)), rng.choice([0.0, 0.1, 0.6, 0.95])
        drifted = list(rng.random(many) < often)
        known = [str(rng.choice(["held", "dropped", "open"])) if rng.random() < 0.2 else None for _ in range(many)]
        windows = judged_hours(drifted, known)
        with warehouse.read() as conn:
            found = monitor.verdict_on(conn, spec, windows[-1], None)
        assert found == decide(windows, spec.drift, now=windows[-1].partition)
        verdicts.add(found.verdict)
    assert len(verdicts) > 3
