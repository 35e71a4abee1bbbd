"""The executor whose workers are killed: real worker processes, no services of Airflow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.executors.base_executor import BaseExecutor
from airflow.utils.state import CallbackState, TaskInstanceState

from baton.airflow.server.executor import LocalExecutor

FAILED, SUCCESS = TaskInstanceState.FAILED, TaskInstanceState.SUCCESS


@dataclass(frozen=True)
class Work:
    """A workload as the executor sees it; it writes who does it into `key`, and takes `seconds`."""

    key: str
    seconds: float = 0.0
    running_state: Any = None
    success_state: Any = SUCCESS
    failure_state: Any = FAILED
    display_name: str = "work"
    ti: Any = field(default_factory=lambda: SimpleNamespace(priority_weight=1), compare=False)


def _run(work: Work, **_: Any) -> None:
    Path(work.key).write_text(str(os.getpid()))
    time.sleep(work.seconds)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    monkeypatch.setattr(BaseExecutor, "run_workload", staticmethod(_run))
    made = LocalExecutor(parallelism=2)
    made.start()
    yield made
    for worker in workers():
        worker.kill()
    made.end()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 5
    while not (found := true()):
        assert time.monotonic() < deadline, "not within 5 s"
        time.sleep(0.01)
    return found


def give(executor: LocalExecutor, *works: Work) -> None:
    executor.queued_tasks.update({work.key: work for work in works})  # type: ignore[misc]
    executor.heartbeat()


def events(executor: LocalExecutor, *keys: str) -> dict[Any, Any]:
    """What the scheduler hears, turn by turn, until it has heard of all keys."""
    found: dict[Any, Any] = {}

    def turn() -> bool:
        executor.heartbeat()
        found.update(executor.get_event_buffer())
        return found.keys() >= set(keys)

    until(turn)
    return found


def doer(key: str) -> int:
    return int(until(lambda: Path(key).exists() and Path(key).read_text()))


def test_task_of_a_killed_worker_is_reported_at_once_and_others_go_on(executor: LocalExecutor, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("long", "beside", "after", "later")]
    give(executor, Work(names[0], 60), Work(names[1], 0.5), Work(names[2]), Work(names[3]))
    victim = doer(names[0])
    os.kill(victim, signal.SIGKILL)
    found = events(executor, *names)
    state, why = found.pop(names[0])
    assert (state, why) == (FAILED, f"its worker, process {victim}, ended with code -9")
    assert {state for state, _ in found.values()} == {SUCCESS}
    assert len(workers()) == 2  # another took its place


def test_workers_that_die_while_they_wait_are_replaced(executor: LocalExecutor, tmp_path: Path) -> None:
    for worker in workers():
        worker.kill()
    names = [str(tmp_path / name) for name in ("one", "two", "three")]
    until(lambda: not workers())
    give(executor, *map(Work, names))
    assert {state for state, _ in events(executor, *names).values()} == {SUCCESS}


def test_worker_that_dies_after_its_result_has_lost_nothing(executor: LocalExecutor, tmp_path: Path) -> None:
    done = str(tmp_path / "done")
    give(executor, Work(done))
    victim = doer(done)
    time.sleep(0.2)  # the result is on its way
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in [worker.pid for worker in workers()])
    assert events(executor, done)[done][0] == SUCCESS


def test_a_work_that_says_that_it_runs_is_not_done_by_that(executor: LocalExecutor, tmp_path: Path) -> None:
    states = [getattr(CallbackState, name) for name in ("RUNNING", "SUCCESS", "FAILED")]
    callback = str(tmp_path / "callback")
    give(executor, Work(callback, 60, *states))
    victim = doer(callback)
    assert events(executor, callback)[callback][0] == CallbackState.RUNNING
    os.kill(victim, signal.SIGKILL)
    assert events(executor, callback)[callback][0] == CallbackState.FAILED


def test_end_waits_for_running_work_and_hands_out_no_more(executor: LocalExecutor, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("one", "two", "three")]
    give(executor, *(Work(name, 0.3) for name in names))
    assert doer(names[0]) != doer(names[1])
    executor.end()
    assert {key: state for key, (state, _) in executor.get_event_buffer().items()} == dict.fromkeys(names[:2], SUCCESS)
    assert not Path(names[2]).exists()
