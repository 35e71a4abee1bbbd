"""What must not be lost: kills in the middle of stages, a stopped worker that wakes too late, a version tampered with."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from kills import held, kill, rows
from kills import hold as hold_stages

from baton.names import monitor_of, promote_of, train_of
from baton.record import ledger, tables, warehouse
from baton.registry.client import Registry
from baton.stages.slots import Slot, head, history
from baton_demo.financial_crime.accounts import FLOW, MODEL
from baton_demo.financial_crime.playbook import FinancialCrimePlaybook
from baton_demo.story import Demo

pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]


@pytest.mark.parametrize(
    ("stage", "victim", "hour"),
    [("contract", "task", 48), (f"score__{MODEL}", "scheduler", 49), ("publish", "worker", 50)],
)
def test_killed_in_the_middle_of_a_stage(
    stage: str, victim: str, hour: int, demo: Demo, book: FinancialCrimePlaybook, hold: Path
) -> None:
    outcome = kill(demo.services, demo.airflow, hold, book.hours(hour)[0], stage, victim)
    assert outcome.state == "success"
    assert (outcome.lost, outcome.duplicated) == (0, 0)
    assert outcome.seconds < 60, "a heartbeat would have been waited for"


def test_attempt_that_wakes_after_its_replacement_committed_is_refused(
    demo: Demo, book: FinancialCrimePlaybook, hold: Path
) -> None:
    """The first attempt stands still between computing and committing; a second run of the partition commits."""
    partition, stage = book.hours(51)[0], "decide"
    hold_stages(hold, [stage])
    first = demo.airflow.trigger(FLOW, partition)
    _, pid = held(hold, demo.airflow, FLOW, first, [stage])
    os.kill(pid, signal.SIGSTOP)
    hold_stages(hold, [])
    try:
        book.expect_all(book.run_hours([partition]))
        committed = [result.commit_id for result in history(Slot(FLOW, stage, partition))]
    finally:
        os.kill(pid, signal.SIGCONT)
    demo.airflow.wait(FLOW, [first], timeout=180)
    time.sleep(1)
    assert [result.commit_id for result in history(Slot(FLOW, stage, partition))] == committed
    assert len(committed) == 1
    assert rows(partition) == (0, 0)


def test_version_tampered_with_is_refused_and_the_previous_champion_scores(
    demo: Demo, book: FinancialCrimePlaybook
) -> None:
    """Here a byte of the cached champion changes after it was signed; nothing of it is opened."""
    registry = Registry()
    aliases = registry.aliases(MODEL)
    folder = registry.verified(MODEL, aliases["champion"])
    victim = next(path for path in sorted(folder.rglob("*")) if path.suffix in {".txt", ".skops"})
    stored = _artifact(demo, folder, victim)
    original = stored.read_bytes()
    changed = original[:-10] + bytes([original[-10] ^ 1]) + original[-9:]
    for path in (victim, stored):
        path.chmod(0o600)
        path.write_bytes(changed)
    partition = book.hours(52)[0]
    try:
        book.expect_all(book.run_hours([partition]))
    finally:
        for path in (victim, stored):
            path.write_bytes(original)
    result = head(Slot(FLOW, f"score__{MODEL}", partition))
    assert result is not None
    from baton.record.used_models import recorded_models

    assert recorded_models(FLOW, partition)[MODEL] == aliases["previous_champion"]
    refused = ledger.entries(subject=f"{MODEL}/{aliases['champion']}", kind="version_refused", limit=1)
    assert refused
    assert refused[0].payload["instead"] == aliases["previous_champion"]
    run = demo.airflow.runs(FLOW, limit=1)[0]
    made, *_ = demo.airflow.xcom(FLOW, run["dag_run_id"], "ingest")  # one for each task that shares the judging
    assert "refused" in made["facts"]["degraded"][0]


def _artifact(demo: Demo, folder: Path, victim: Path) -> Path:
    """The file in the server's artefact store with the same bytes as the verified copy."""
    content = victim.read_bytes()
    root = demo.services.settings.home / "mlflow"
    return next(p for p in root.rglob(victim.name) if p.is_file() and p.read_bytes() == content)


def test_mlflow_that_is_killed_comes_back_and_scoring_goes_on(demo: Demo, book: FinancialCrimePlaybook) -> None:
    demo.services.kill("mlflow")
    partition = book.hours(53)[0]
    book.expect_all(book.run_hours([partition]))
    assert rows(partition) == (0, 0)


def test_what_the_database_refuses_does_not_stand_in_the_log_of_the_task(
    demo: Demo, book: FinancialCrimePlaybook
) -> None:
    """A trigger refuses one hour's cases; once it is gone, the retry goes through."""
    partition = book.hours(54)[0]
    logs = demo.services.settings.home / "airflow" / "logs" / f"dag_id={FLOW}"
    with warehouse.write() as conn:
        conn.execute(sa.text(
            "CREATE TRIGGER refusal BEFORE INSERT ON cases "
            f"WHEN NEW.flow = '{FLOW}' AND NEW.partition = '{partition}' BEGIN SELECT RAISE(ABORT, 'not today'); END"
        ))  # fmt: skip
    try:
        run = demo.airflow.trigger(FLOW, partition)
        said = _log_with("not today", logs / f"run_id={run}" / "task_id=publish" / "attempt=1.log")
    finally:
        with warehouse.write() as conn:
            conn.execute(sa.text("DROP TRIGGER refusal"))
    assert demo.airflow.wait(FLOW, [run], timeout=180) == {run: "success"}
    assert "INSERT INTO cases" in said
    with warehouse.read() as conn:
        ours = tables.cases.c
        keys = conn.scalars(sa.select(ours.entity_key).where(ours.flow == FLOW, ours.partition == partition)).all()
    assert keys
    assert [key for key in keys if key in said] == []


def _log_with(text: str, path: Path, seconds: float = 90) -> str:
    until = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < until, f"{path} does not say {text!r}"
        time.sleep(0.2)
    time.sleep(1)  # the error's causes come after it
    return path.read_text()


def test_rollback_and_forward_again(demo: Demo, book: FinancialCrimePlaybook) -> None:
    registry = Registry()
    before = registry.aliases(MODEL)
    assert registry.rollback(MODEL, actor="test", reason="drill") == before["previous_champion"]
    assert registry.rollback(MODEL, before["champion"], actor="test", reason="drill over") == before["champion"]
    assert registry.aliases(MODEL)["champion"] == before["champion"]
    assert ledger.verify().ok


@pytest.mark.parametrize("dag_id", [FLOW, train_of(MODEL), promote_of(MODEL), monitor_of(MODEL)])
def test_a_failed_run_is_cleared_with_the_calls_that_the_ui_makes(
    dag_id: str, demo: Demo, book: FinancialCrimePlaybook
) -> None:
    """Failed before it was through, so that its deadline still stands: *Clear* moves that as well."""
    airflow = demo.airflow
    partition = book.hours(54)[0] if dag_id == FLOW else None
    conf = {"version": Registry().recorded_champion(MODEL)} if dag_id == promote_of(MODEL) else None
    run = airflow.trigger(dag_id, partition, conf)
    for path, body in (
        (f"/dags/{dag_id}/clearTaskInstances", {"dag_run_id": run, "only_failed": False, "reset_dag_runs": True}),
        (f"/dags/{dag_id}/dagRuns/{run}/clear", {}),
    ):
        airflow.request("PATCH", f"/dags/{dag_id}/dagRuns/{run}", json={"state": "failed"})
        airflow.request("POST", path, json={**body, "dry_run": False})
    book.expect_all(airflow.wait(dag_id, [run], timeout=180))
