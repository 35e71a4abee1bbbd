"""What a monitor and a training ask the warehouse, on a real Postgres server: the same answers as on SQLite."""

from __future__ import annotations

import runpy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from baton.console.queries.state import each_value
from baton.drift.decision import Window
from baton.feedback import labels
from baton.lifecycle import news, windows
from baton.lifecycle.assemble import last_training
from baton.record import ledger, tables, warehouse
from baton.stages.slots import heads_of, partitions

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "step_stage.py"))
FLOW, MODEL = STAGE["FLOW"], "late_order"


@pytest.fixture
def hours(postgres_home: Path) -> list[str]:
    """Thirty published hours, each judged and labelled; every tenth drifted, and measured."""
    hours: list[str] = STAGE["grown"](30, ("ingest", "contract", "publish"))
    seen = [Window(hour, 1, "judged", ("a",) if number % 10 == 0 else ()) for number, hour in enumerate(hours)]
    for hour in hours:
        STAGE["PUBLISHED"]["seed"](FLOW, hour, predictions=[{"entity_key": f"of {hour}", "model": MODEL}])
    with warehouse.write() as conn:
        conn.execute(tables.drift_windows.insert(), [
            {"model": MODEL, "flow": FLOW, "partition": one.partition, "version": 1, "verdict": "drifted" if one.drifted else "stable",
             "measured": int(bool(one.drifted)), "window": asdict(one), "table": {}, "features": [], "performance": {},
             "judged_at": ""} for one in seen
        ])  # fmt: skip
        labels.record_labels(conn, FLOW, "outcome", "t", [(f"of {hour}", hour, 1) for hour in hours], "late")
    return hours


def test_the_windows_are_those_that_a_decision_needs(hours: list[str]) -> None:
    with warehouse.read() as conn:
        current, *_ = windows.last_settled(conn, MODEL)
        assert current.partition == hours[-1]
        found, edge, whole = windows.history(conn, MODEL, current, 2, None)
        assert (edge, whole) == (hours[-2], False)
        assert {one.partition for one in found} == {*hours[-2:], hours[20], hours[10]}
        everything = windows.history(conn, MODEL, current, 2, hours[0])[0]
        assert len(everything) == len(hours)
        assert windows.newest(conn, FLOW, 3) == hours[-3:]
        assert windows.states(conn, FLOW, hours[:2]) == dict.fromkeys(hours[:2], "published")
        assert list(each_value(conn, tables.drift_windows.c.model)) == [MODEL]


def test_the_news_are_what_was_committed_labelled_or_decided_since(hours: list[str]) -> None:
    with warehouse.write() as conn:
        ledger.append(conn, "dataset_committed", f"{FLOW}/publish/{hours[3]}", {})
        ledger.append(conn, "dataset_committed", f"other/publish/{hours[4]}", {})
        about = labels.replace_labels(conn, FLOW, hours[5], "t", "late", "outcome", [])
        ledger.append(conn, labels.ARRIVED, FLOW, {"partitions": sorted(about)})
        ledger.append(conn, "case_decided", f"{FLOW}/of {hours[6]}", {})
    with warehouse.read() as conn:
        found = news.since_last_look(conn, MODEL, FLOW)
    assert set(found.first) == {hours[3], hours[5], hours[6]}
    news.remember(MODEL, FLOW, found, [hours[5]])
    with warehouse.read() as conn:
        assert set(news.since_last_look(conn, MODEL, FLOW).first) == {hours[5], hours[6]}
    assert last_training(MODEL) is None


def test_the_newest_labelled_partitions_are_found_and_counted(hours: list[str]) -> None:
    assert labels.partitions_known(FLOW, "contract", 3, "late") == hours[-3:]
    assert labels.partitions_known(FLOW, "contract", 3, "other") == []
    counts = labels.counts(FLOW, "late", hours[-3:])
    assert {partition: count for partition, (count, _) in counts.items()} == dict.fromkeys(hours[-3:], 1)
    assert labels.class_sizes(FLOW, "late", hours) == {1.0: 30}
    assert partitions(FLOW, "contract", before=hours[5], newest=2) == hours[3:5]
    assert list(heads_of(FLOW, "contract", hours[::-1])) == hours
