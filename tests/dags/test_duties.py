"""Who starts a training or a promotion by hand needs the duty, once its model's owner gave it; what starts by itself needs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.api_fastapi.core_api.datamodels.assets import CreateAssetEventsBody
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowFailException, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DagRunStateResult, ErrorResponse, OKResponse

from baton.airflow.operators.monitor import MonitorOperator
from baton.airflow.operators.runs import OfPromotion, OfTraining
from baton.governance import duties
from baton.lifecycle import assemble, promote
from baton.record import ledger, tables, warehouse
from baton.settings import settings

MODEL = "card_fraud"


@pytest.fixture(autouse=True)
def _made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    warehouse.migrate()
    monkeypatch.setattr(assemble, "as_of", lambda model, until: "2026-11-20T09:00:00")  # nothing is published here
    monkeypatch.setattr(promote, "version_to_judge", lambda model, asked: 3)
    monkeypatch.setattr(promote, "is_champion", lambda model, version: False)
    yield
    warehouse.engine().dispose()


def started(
    of: Any, by: str | None, earlier: str | None = None, run_id: str = "r", kind: str = "manual", **context: Any
) -> str:
    run = SimpleNamespace(run_id=run_id, triggering_user_name=by, run_type=DagRunType(kind))
    return str(of(MODEL).asked({"dag_run": run, "params": {}, **context}, earlier).partition)


def given(duty: Any) -> None:
    with warehouse.write() as conn:
        made = duties.give(conn, f"model:{MODEL}", duty, "ann", duties.Who("op"), datetime.now(UTC).date(), "her model")
        duties.agree(conn, made.id, ["admin"], 1)


@pytest.mark.parametrize(("of", "duty"), [(OfTraining, "modify"), (OfPromotion, "activate")])
def test_a_run_by_hand_is_for_who_has_the_duty(of: Any, duty: Any, home: Path) -> None:
    assert started(of, "bob"), "as Airflow lets them, while nobody was given it"
    given(duty)
    before = len(ledger.entries(kind=assemble.TRAINING_STARTED))
    for nobody in ("bob", "", "anonymous"):
        with pytest.raises(AirflowFailException, match=f"may not {duty} model:{MODEL}: that is for op, admin"):
            started(of, nobody)
    assert len(ledger.entries(kind=assemble.TRAINING_STARTED)) == before
    for good in ("ann", "op", "Admin", None):  # None: the clock, an event, the monitor
        assert started(of, good)
    assert started(of, "bob", earlier="version-3"), "asked once a run, in its first stage"
    (home / "governance").write_text("single\n")
    settings.cache_clear()
    assert started(of, "bob")


ASKED_AT = "2026-11-20T09:00:00"


def drift_asked() -> None:
    row = {"model": MODEL, "partition": ASKED_AT, "reason": "drift", "requested_at": warehouse.now()}
    with warehouse.write() as conn:
        conn.execute(tables.retrains.insert().values(row))


def test_a_training_that_drift_asked_for_is_nobodys_though_somebody_started_the_monitor() -> None:
    given("modify")
    of_drift = {"run_id": f"drift__{ASKED_AT}", "kind": "operator_triggered"}
    with pytest.raises(AirflowFailException, match="bob may not modify"):  # no monitor asked for it
        started(OfTraining, "bob", **of_drift)
    drift_asked()
    for typed in ({**of_drift, "kind": "manual"}, {**of_drift, "run_id": ASKED_AT}):
        with pytest.raises(AirflowFailException, match="bob may not modify"):
            started(OfTraining, "bob", **typed)
    assert ledger.entries(kind=assemble.TRAINING_STARTED) == []
    assert started(OfTraining, "bob", **of_drift) == ASKED_AT
    assert assemble.last_training(MODEL), "the monitor's request is answered"
    assert ledger.entries(kind=assemble.TRAINING_STARTED) == [], "bob may approve what comes of it"


class Supervisor:
    """Airflow's side of a task that starts a run which there is already."""

    def __init__(self, state: str) -> None:
        self.state = state

    def send(self, message: Any) -> Any:
        if type(message).__name__ == "GetDagRunState":
            return DagRunStateResult(state=self.state) if self.state else ErrorResponse(error=ErrorType.GENERIC_ERROR)
        return ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS) if self.state != "none" else OKResponse(ok=True)


def test_a_monitor_fails_where_its_training_ended_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = MonitorOperator(task_id="judge", model=MODEL, watched="transaction_monitoring")
    drift_asked()

    def asks_again(state: str) -> None:
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(state), raising=False)
        monitor.start_training({"request": ASKED_AT, "since": ASKED_AT})

    for on_its_way in ("none", "queued", "running"):
        asks_again(on_its_way)
    for over in ("failed", "success", ""):
        with pytest.raises(AirflowFailException, match=rf"run drift__{ASKED_AT} of card_fraud_train is .*clear it"):
            asks_again(over)
    assemble.record_start(MODEL)
    asks_again("failed")  # after it began: the request is answered, and the next drift asks anew


def test_an_event_sent_to_airflows_api_is_somebodys_and_chooses_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(promote, "version_to_judge", lambda model, version: asked.append(version) or 3)
    sent = CreateAssetEventsBody(asset_id=1, extra={"version": 2, "from_rest_api": False}).extra
    at = datetime.now(UTC)

    def woken(*extras: dict[str, Any]) -> str:
        events = [SimpleNamespace(extra=extra, timestamp=at, source_run_id="t") for extra in extras]
        return started(OfPromotion, None, kind="asset_triggered", triggering_asset_events={"asset": events})

    for extras in ([{"version": 5}], [sent], [{"version": 5}, sent]):
        assert woken(*extras)
    assert asked == [5, 0, 5]
    given("activate")
    assert woken({"version": 5})
    for extras in ([sent], [{"version": 5}, sent], [sent, {"version": 5}]):
        with pytest.raises(AirflowFailException, match=f"nobody may not activate model:{MODEL}"):
            woken(*extras)
