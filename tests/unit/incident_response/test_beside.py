"""Partitions that run side by side: none sees what the other commits, and yet nothing opens twice."""

from __future__ import annotations

import runpy
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from baton.actions import requests
from baton.actions.action import Action
from baton.effects import firewall, outbox
from baton.errors import BatonError
from baton.feedback import cases
from baton.record import warehouse
from baton.stages import slots
from baton.stages.job import StageJob
from baton.stages.run import run
from baton.stages.slots import Slot, StageOutput, run_stage
from baton_packs.incident_response.incidents import correlate, respond
from baton_packs.incident_response.incidents.correlate import ALERT
from baton_packs.incident_response.incidents.incident import COLUMNS, MERGED

MADE: dict[str, pd.DataFrame] = {}  # what each partition gave
ROWS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("incident_rows.py")))
STAGE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "step_stage.py"))
alert = ROWS["alert"]
FLOW = "incident_response"
FIRST, SECOND, THIRD = "2026-11-20T10:00:00", "2026-11-20T10:05:00", "2026-11-20T10:10:00"


@pytest.fixture(autouse=True)
def _migrated(home: Path) -> None:
    warehouse.migrate()


def given(stage: str, partition: str, frame: pd.DataFrame) -> Any:
    made = run_stage(Slot(FLOW, stage, partition), lambda _: StageOutput(frame), inputs={},
                     params={"rows": frame.to_json()}, models={}, code="t", run_id="t")  # fmt: skip
    return made.ref


@pytest.fixture
def _frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's inputs are frames here."""
    monkeypatch.setattr(correlate, "read_inputs", lambda inputs: inputs)
    MADE.clear()


def correlated(alerts: list[dict[str, Any]], partition: str, *seen: str) -> pd.DataFrame:
    """The stage, looking back on the partitions `seen`."""
    parts = [MADE[one].assign(partition=one) for one in seen]
    earlier = pd.concat(parts, ignore_index=True) if parts else ROWS["NONE"]
    inputs: Any = {"alerts": pd.DataFrame(alerts, columns=list(ALERT)), "earlier": earlier}
    MADE[partition] = correlate.stage(StageJob(FLOW, FLOW, "correlate", partition, "", inputs=inputs)).frame
    return MADE[partition]


def ids(rows: pd.DataFrame) -> list[str]:
    return list(rows[rows["state"] != MERGED]["incident_id"])


EARLY = [alert(1, at="10:01", host="web-1")]
LATE = [alert(2, at="10:06", host="web-1")]


@pytest.mark.usefixtures("_frames")
@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)])
def test_what_two_partitions_find_at_once_is_one_incident(order: tuple[str, str]) -> None:
    found = {one: correlated({FIRST: EARLY, SECOND: LATE}[one], one) for one in order}
    assert ids(found[FIRST]) == ids(found[SECOND])
    third = correlated([alert(3, at="10:11", host="web-1")], THIRD, FIRST, SECOND)
    assert (ids(third), third["alerts_total"].tolist()) == (ids(found[FIRST]), [3]), "and the next one has it whole"


@pytest.mark.usefixtures("_frames")
def test_threads_that_start_together_agree() -> None:
    gate, found = threading.Barrier(2), {}

    def one(partition: str, alerts: list[dict[str, Any]]) -> None:
        gate.wait()
        found[partition] = ids(correlated(alerts, partition))

    threads = [threading.Thread(target=one, args=pair) for pair in ((FIRST, EARLY), (SECOND, LATE))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[FIRST] == found[SECOND]


@pytest.mark.usefixtures("_frames")
def test_a_repeated_partition_keeps_its_ids_and_sees_what_came_before() -> None:
    (name,) = ids(correlated(LATE, SECOND))
    assert ids(correlated(EARLY, FIRST)) == [name]
    assert ids(correlated([*EARLY, alert(9, at="10:02", host="web-1")], FIRST)) == [name]
    again = correlated(LATE, SECOND, FIRST)
    assert (ids(again), again["alerts_total"].tolist()) == ([name], [3])


@pytest.mark.usefixtures("_frames")
def test_what_a_partition_beside_joined_to_a_known_incident_is_not_opened_anew() -> None:
    known = ids(correlated(EARLY, FIRST))
    assert ids(correlated([alert(2, at="10:06", host="web-1", user="ann")], SECOND, FIRST)) == known
    assert ids(correlated([alert(3, at="10:11", host="db-1", user="ann")], THIRD, FIRST)) == known


@pytest.mark.usefixtures("_frames")
def test_what_has_nothing_in_common_stays_apart() -> None:
    assert ids(correlated(EARLY, FIRST)) != ids(correlated([alert(2, at="10:06", host="db-1")], SECOND))
    day = "2026-11-21T10:00:00"
    late = [{**EARLY[0], "alert_id": "b1", "time": pd.Timestamp("2026-11-21T10:01:00Z")}]
    assert ids(correlated(late, day)) != ids(correlated(EARLY, FIRST))


@pytest.mark.usefixtures("_frames")
def test_an_alert_delivered_to_both_counts_once() -> None:
    first, second = correlated(EARLY, FIRST), correlated([*EARLY, *LATE], SECOND)
    assert ids(first) == ids(second)
    third = correlated([alert(3, at="10:11", host="web-1")], THIRD, FIRST, SECOND)
    assert third["alerts_total"].tolist() == [3]
    assert list(third.columns) == list(COLUMNS)


def planned(rows: pd.DataFrame, partition: str) -> StageJob[Any]:
    step = "baton_packs.incident_response.incidents.respond:place"
    return StageJob(FLOW, FLOW, "respond", partition, step, inputs={"decisions": given("publish", partition, rows)})


def test_two_that_would_ask_for_the_same_at_once_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one planned before the first one had committed: it is refused, and its retry leaves it to the first."""
    rows = ROWS["decided"](ROWS["brute_force"]())
    other = rows.assign(incident_id="inc-other", entity_key="inc-other")

    job, waits = planned(other, SECOND), list[str]()

    def beside(point: str) -> None:
        if point == "computed" and not waits:
            waits.append(point)
            run(planned(rows, FIRST))

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", beside)
        with pytest.raises(BatonError, match=f"placed meanwhile by the partition {FIRST}: run this one again"):
            run(job)
    run(job)
    asked = [(one.kind, one.target, one.partition) for one in requests.still_open()]
    assert sorted(asked) == [("disable_account", "anna.adler", FIRST), ("isolate_host", "srv-db", FIRST)]


def test_nothing_is_placed_for_an_incident_that_was_closed_since_it_was_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = ROWS["decided"](ROWS["brute_force"]())
    incident, job = rows.iloc[0]["incident_id"], planned(rows, FIRST)
    with warehouse.write() as conn:
        cases.open_cases(conn, FLOW, FIRST, rows)
    closed: list[str] = []

    def meanwhile(point: str) -> None:
        if point == "computed" and not closed:
            closed.append(point)
            cases.decide(FLOW, incident, "false_positive", "ann")

    with monkeypatch.context() as patch:
        patch.setattr(slots, "FAULT", meanwhile)
        with pytest.raises(BatonError, match=f"{incident} was closed meanwhile as false_positive: run this one again"):
            run(job)
    assert run(job).facts["placed"] == 0
    assert (outbox.effects(FLOW), requests.still_open()) == ([], [])


def test_looking_back_costs_what_is_new_however_much_was_done_before() -> None:
    rows = ROWS["decided"](ROWS["brute_force"]()).to_dict("records")

    def asked() -> int:
        with STAGE["statements"]() as seen:
            found = respond.earlier(FLOW, SECOND, rows)
        assert found.effects == []
        return len(seen)

    before = asked()
    old = [Action("block_address", f"inc-{n}", f"198.51.100.{n}", {"n": n}, undo={"n": n}) for n in range(40)]
    with warehouse.write() as conn:
        firewall.place(conn, FLOW, FLOW, FIRST, old)
    assert asked() == before
