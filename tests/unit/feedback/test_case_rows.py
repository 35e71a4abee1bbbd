"""An answer that is also about rows: the decision names them, each becomes a label of the partition that it lies in."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.data import objects
from baton.errors import BatonError, DatasetCorrupt
from baton.feedback import cases
from baton.feedback.labels import ARRIVED, Bounds, known_labels
from baton.record import ledger, tables, warehouse
from baton.stages.slots import Slot, head

STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
commit, rows, job, FLOW, HOURS = (STAGE[name] for name in ("commit", "rows", "job", "FLOW", "HOURS"))
ANSWERS = {"yes": {"is_incident": 1, "is_attack": {"seen": 1}}, "no": {"is_incident": 0, "is_attack": {"seen": 0}}}


@pytest.fixture(autouse=True)
def pack(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with STAGE["warehouse_and_pack"](home, monkeypatch) as folder:
        yield folder


def publish(seen: dict[str, list[str]] | None, hour: int = 1) -> None:
    """Case `inc` of a partition, whose decision is about the rows `seen`, by partition."""
    from baton.stages.run import run

    cell = None if seen is None else json.dumps(seen)
    frame = pd.DataFrame({
        "entity_key": ["inc"], "risk": 0.5, "route": "contain", "money": 0.0, "resolutions": json.dumps(ANSWERS),
        "seen": pd.Series([cell], dtype=object),
    })  # fmt: skip
    run(job(step="baton.steps.publish:publish", hour=hour, inputs={"decisions": commit("decide", hour, frame)},
            options={"case_routes": ["contain"]}))  # fmt: skip


def said(target: str = "is_attack", **bounds: Any) -> dict[str, tuple[str, Any]]:
    found = known_labels(FLOW, target, bounds=Bounds(**bounds))
    return {row.entity_key: (row.partition, row.label) for row in found.itertuples()}


def test_an_answer_labels_the_rows_of_the_decision_each_in_its_own_partition() -> None:
    publish({HOURS[0]: ["c1", "c2"], HOURS[1]: ["c3"]})
    cases.decide(FLOW, "inc", "yes", "ann")
    assert said() == {"c1": (HOURS[0], 1.0), "c2": (HOURS[0], 1.0), "c3": (HOURS[1], 1.0)}
    assert said("is_incident") == {"inc": (HOURS[1], 1.0)}
    (label,) = rows(tables.labels, "origin", "actor", "rank", entity_key="c3")
    assert tuple(label) == ("analyst", "ann", 1)


def test_the_monitors_hear_which_partitions_have_labels_now() -> None:
    publish({HOURS[0]: ["c1", "c2"], HOURS[1]: ["c3"]})
    cases.decide(FLOW, "inc", "no", "ann")
    (entry,) = ledger.entries(kind=ARRIVED, subject=FLOW)
    assert entry.payload["partitions"] == HOURS[:2]
    assert (entry.payload["target"], entry.payload["origin"], entry.payload["published"]) == ("is_attack", "analyst", 3)
    assert {label for _, label in said().values()} == {0.0}


@pytest.mark.parametrize("seen", [None, {}])
def test_a_decision_about_no_rows_labels_the_case_alone(seen: dict[str, list[str]] | None) -> None:
    publish(seen)
    cases.decide(FLOW, "inc", "yes", "ann")
    assert (said(), said("is_incident")) == ({}, {"inc": (HOURS[1], 1.0)})
    assert not ledger.entries(kind=ARRIVED)


def test_rows_that_cannot_be_read_leave_the_case_open() -> None:
    publish({HOURS[0]: ["c1"]})
    found = head(Slot(FLOW, "publish", HOURS[1]))
    assert found is not None
    objects.path_of(found.ref.uri).unlink()
    with pytest.raises(DatasetCorrupt):
        cases.decide(FLOW, "inc", "yes", "ann")
    assert rows(tables.cases, "status", entity_key="inc") == [("open",)]


def test_a_column_that_no_decision_has_is_named_when_the_case_opens() -> None:
    frame = pd.DataFrame({"entity_key": ["inc"], "risk": 0.5, "route": "contain"})
    with (
        warehouse.write() as conn,
        pytest.raises(BatonError, match="the rows of the column 'seen', which no decision has"),
    ):
        cases.open_cases(conn, FLOW, HOURS[0], frame, ANSWERS)
