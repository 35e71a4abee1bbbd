"""The monitor's book-keeping: which windows are due, and how often training is asked for. Windows are given here;
`tests/integration/test_lifecycle.py` judges real ones."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import update

from baton.drift.decision import Window
from baton.lifecycle import windows as lifecycle_windows
from baton.lifecycle.monitor import judge_windows
from baton.record import ledger, tables, warehouse

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
committed, rows, FLOW, HOURS = (STAGE[name] for name in ("committed", "rows", "FLOW", "HOURS"))
FRAME = pd.DataFrame({"order_id": [1, 2]})
DRIFT = """\
drift:
  persistence: {k: 2, n: 2}
  cooldown: 2h
  budget: {retrains: 1, per: 7d}
  min_labelled_positives: 10
"""


@pytest.fixture(autouse=True)
def windows(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Window]]:
    """What each partition's window shows; the test fills it in."""
    given: dict[str, Window] = {}
    monkeypatch.setattr(lifecycle_windows, "window", lambda spec, flow, partition, state: (given[partition], None))
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        with (folder / "models/late_order.yaml").open("a") as yaml:
            yaml.write(DRIFT)
        yield given


def reach(hour: int, *stages: str, status: str = "passed") -> None:
    """Commit stages of the flow for a partition, as if a run had come that far."""
    for stage in stages:
        committed(stage, hour, FRAME, **({"status": status} if stage == "contract" else {}))


def show(windows: dict[str, Window], hour: int, *drifted: str, status: str = "judged", positives: int = 20) -> None:
    reach(hour, "ingest", "contract", "publish")
    windows[HOURS[hour]] = Window(HOURS[hour], 1, status, drifted, 500, positives)


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
    assert lifecycle_windows.states(FLOW) == expected


def test_before_the_first_window_it_says_what_it_waits_for() -> None:
    assert (watch()["decision"], watch()["reasons"]) == ("TOO_FEW", ["no published partition yet"])
    reach(1, "ingest")
    assert watch()["reasons"] == [f"{HOURS[1]} is not published yet"]


def test_training_is_asked_for_once_and_again_until_it_has_started(windows: dict[str, Window]) -> None:
    show(windows, 0, "amount")
    assert (watch()["decision"], requests()) == ("WARN", [])
    show(windows, 1, "amount")
    outcome = watch()
    assert (outcome["decision"], outcome["request"], outcome["since"]) == ("RETRAIN", HOURS[1], HOURS[0])
    show(windows, 2, "amount")
    outcome = watch()
    assert (outcome["decision"], outcome["request"], outcome["partition"]) == ("RETRAIN", HOURS[1], HOURS[2])
    assert requests() == [(HOURS[1],)]
    assert len(ledger.entries(kind="retraining_requested")) == 1
    trained(1)
    assert (watch()["decision"], watch()["request"]) == ("COOLDOWN", None)


def test_a_training_from_before_the_request_does_not_answer_it(windows: dict[str, Window]) -> None:
    trained(0)
    show(windows, 0, "amount")
    show(windows, 1, "amount")
    watch()
    assert watch()["request"] == HOURS[1]


def test_a_request_that_was_lost_is_repeated_after_a_broken_window_too(windows: dict[str, Window]) -> None:
    show(windows, 0, "amount")
    show(windows, 1, "amount")
    assert watch()["decision"] == "RETRAIN"  # and the monitor dies before the event
    show(windows, 2, status="broken")
    assert watch()["decision"] == "RETRAIN"


def test_a_request_that_was_lost_does_not_use_up_the_budget_for_nothing(windows: dict[str, Window]) -> None:
    show(windows, 0, "amount")
    show(windows, 1, "amount")
    assert watch()["decision"] == "RETRAIN"  # and the monitor dies before the event
    show(windows, 2, "amount")
    show(windows, 3, "amount")
    assert watch()["decision"] == "RETRAIN"


def test_after_the_pause_the_budget_decides(windows: dict[str, Window]) -> None:
    show(windows, 0, "amount")
    show(windows, 1, "amount")
    watch()
    trained(1)
    show(windows, 2, "amount")
    assert watch()["decision"] == "COOLDOWN"
    show(windows, 3, "amount")
    outcome = watch()
    assert outcome["decision"] == "DRIFT"
    assert "the budget of 1 retrainings per 7d is used up" in outcome["reasons"][-1]
    assert requests() == [(HOURS[1],)]
