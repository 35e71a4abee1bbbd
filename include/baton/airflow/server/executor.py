"""Airflow's LocalExecutor, whose workers notice the end of a task at once, and which notices the end of a worker.

Airflow 3.3.2 closes the last socket of an ended task and then asks whether the process is gone. Often it is
not quite, and with nothing left to listen to, the worker sleeps for `workers.min_heartbeat_interval` (5 s)
before it asks again: two of three tasks held their slot for 5 s after their end.

Its workers share two queues, and it does not know which of them has which task. So the task of a killed worker
counts as running until its heartbeat is overdue (`task_instance_heartbeat_timeout`), and a worker that was killed
while it waited for work keeps the queue's lock for ever. Here each worker has a line of its own: the task of one
that died is reported as failed in the same turn of the scheduler, and nothing that it held is in another's way.
"""

import ctypes
import multiprocessing
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from airflow.executors import local_executor
from airflow.sdk.execution_time.supervisor import WatchedSubprocess

_LAST_WAIT = 0.02  # seconds between two looks at a process that has closed its sockets

_service_subprocess = WatchedSubprocess._service_subprocess


def _service_promptly(self: WatchedSubprocess, max_wait_time: float, *args: Any, **kwargs: Any) -> int | None:
    """Service sockets as Airflow does, without a long sleep when there are none left to wait for."""
    wait = max_wait_time if self._open_sockets else min(max_wait_time, _LAST_WAIT)
    return _service_subprocess(self, wait, *args, **kwargs)


@dataclass
class _Line:
    """The worker's end of its line, as the two queues that Airflow's worker expects."""

    end: Connection

    def get(self) -> Any:
        return self.end.recv()

    def put(self, result: Any) -> None:
        self.end.send(result)


@dataclass
class _Worker:
    process: multiprocessing.Process
    line: Connection
    workload: Any = None  # what it was given and has not ended


class LocalExecutor(local_executor.LocalExecutor):
    """LocalExecutor with prompt workers that may die; the name stays, Airflow judges a deployment by it."""

    def start(self) -> None:
        """Fork the workers."""
        WatchedSubprocess._service_subprocess = _service_promptly  # type: ignore[method-assign]
        self._crew: list[_Worker] = []
        self._waiting: deque[Any] = deque()
        super().start()

    def _spawn_worker(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        line = _Line(theirs)
        process = multiprocessing.Process(
            target=local_executor._run_worker,
            kwargs={"logger_name": self.log.name, "input": line, "output": line, "team_conf": self.conf,
                    "unread_messages": multiprocessing.Value(ctypes.c_uint)},  # counts what nobody reads here
        )  # fmt: skip
        process.start()
        theirs.close()  # so that its death ends the line, in the middle of a word too
        self._crew.append(_Worker(process, ours))

    def _process_workloads(self, workload_list: Any) -> None:
        for workload in workload_list:
            self._waiting.append(workload)
            for queued in (self.queued_tasks, self.queued_callbacks, self.queued_connection_tests):
                queued.pop(workload.key, None)
        self._check_workers()

    def _check_workers(self) -> None:
        """Report what dead workers had, and give what waits to idle ones; new ones take the places of the dead."""
        dead = [worker for worker in self._crew if not worker.process.is_alive()]
        if dead:
            self._read_results()  # what they said last
        for worker in dead:
            self._crew.remove(worker)
            if worker.workload is not None:
                why = f"its worker, process {worker.process.pid}, ended with code {worker.process.exitcode}"
                self.log.error("%s: %s", worker.workload.key, why)
                self.change_state(worker.workload.key, worker.workload.failure_state, why)
            worker.line.close()
            worker.process.close()
        while self._waiting:
            idle = next((worker for worker in self._crew if worker.workload is None), None)
            if idle is not None:
                idle.workload = self._waiting.popleft()
                with suppress(OSError):  # it has died since: the next look reports it
                    idle.line.send(idle.workload)
            elif len(self._crew) < self.parallelism:
                self._spawn_workers_with_gc_freeze(1)
            else:
                return

    def _read_results(self) -> None:
        for worker in self._crew:
            with suppress(EOFError, OSError):  # the end of a dead worker's line
                while worker.line.poll():
                    key, state, _ = worker.line.recv()
                    if worker.workload is not None and state != worker.workload.running_state:
                        worker.workload = None
                    self.change_state(key, state)

    def end(self) -> None:
        """Let running tasks end; what waits for a worker stays queued for the next scheduler."""
        for worker in self._crew:
            with suppress(OSError):
                worker.line.send(None)
        for worker in self._crew:
            worker.process.join()
        self._read_results()
