"""The watch over a set of services: restarts what ends or hangs, ends what lost its parent."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil

from baton.errors import ServiceError
from baton.services.health import answers, beats, heartbeats, retire_jobs
from baton.services.plan import Plan, Service
from baton.services.processes import Session, write_sessions
from baton.services.supervised import Supervised

POLL = 0.2
_CHECK = 5.0
_CHECK_STARTING = 0.5
_STUCK_STARTING = 240.0  # a loaded machine may need minutes for the imports
_STUCK = 90.0


class Watch:
    """The processes of one plan. One thread starts and ends them, another asks how they are.

    Args:
        plan: what runs, and how.
        report: gets one line per event.
        when_up: service name -> called once when that service answers for the first time; the service counts
            as well when it has returned.
    """

    def __init__(self, plan: Plan, report: Callable[[str], None], when_up: dict[str, Callable[[], None]]) -> None:
        self.plan = plan
        self.failure: Exception | None = None
        self._report = report
        self._when_up = when_up
        self._supervised: dict[str, Supervised] = {}
        self._guarded: dict[str, Session] = {}
        self._changing = threading.RLock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def all(self) -> list[Supervised]:
        """Return the supervised processes."""
        return list(self._supervised.values())

    def sessions(self) -> dict[str, Session]:
        """Return the session of each running service."""
        with self._changing:
            return {one.service.name: one.session for one in self.all() if one.session and one.process}

    def workers(self) -> list[psutil.Process]:
        """Return the executor's workers: children of the scheduler."""
        scheduler = self.sessions().get("scheduler")
        return [] if scheduler is None else living_children(psutil.Process(scheduler.sid))

    def add(self, service: Service) -> None:
        """Start a service."""
        one = Supervised(service, self.plan.settings.logs_dir / f"{service.name}.log")
        with self._changing:
            self._supervised[service.name] = one
            self._start(one)

    def run_once(self, name: str, command: list[str]) -> None:
        """Run a command to its end, as a guarded session: an interrupted start leaves nothing behind.

        Raises:
            ServiceError: it fails; carries the end of its log.
        """
        one = Supervised(Service(name, command, 0), self.plan.settings.logs_dir / f"{name}.log")
        with self._changing:
            self._start(one)
        code = one.process.wait() if one.process else None
        with self._changing:
            self._guarded.pop(name, None)
            self._record()
        if code and not self._stopping.is_set():
            raise ServiceError(f"{name} ended with code {code}; the end of {one.log}:\n{one.tail()}")

    def begin(self) -> None:
        """Start watching."""
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._supervise, self._examine)]
        for thread in self._threads:
            thread.start()

    def end(self, last: Iterable[str]) -> None:
        """End all processes, those named `last` after the others have ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2.0)  # the one that asks may wait for an answer; it changes nothing any more
        with self._changing:
            for late in (False, True):
                group = [one for name, one in self._supervised.items() if (name in last) is late]
                with ThreadPoolExecutor(max(1, len(group))) as pool:
                    list(pool.map(Supervised.stop, group))
            self.abandon()

    def abandon(self) -> None:
        """Kill all processes at once."""
        self._stopping.set()
        for session in list(self._guarded.values()):
            session.end(grace=0)

    def _start(self, one: Supervised) -> None:
        if job_type := one.service.job_type:
            # known to be true by the lock on the home and by Session.end: none of them is alive
            retire_jobs(self.plan.metadata_url, job_type)
        one.start(self.plan.environment(), self.plan.settings.home)
        if one.session:
            self._guarded[one.service.name] = one.session
        self._record()

    def _record(self) -> None:
        write_sessions(self.plan.settings.sessions_file, self._guarded)

    def _supervise(self) -> None:
        """Restart what ended or hangs."""
        next_look = 0.0
        while not self._stopping.wait(POLL):
            for name, one in self._supervised.items():
                with self._changing:
                    code = one.ended()
                    if code is not None:
                        self._report(f"{name} ended with code {code}; its log: {one.log}")
                        one.clear()
                    elif one.stuck(_STUCK if one.ready else _STUCK_STARTING):
                        self._report(f"{name} gives no sign of life and is ended")
                        one.clear()
                    if one.process is None and time.monotonic() >= one.not_before:
                        self._start(one)
                        self._report(f"{name} started again, {one.restarts} by now")
            if time.monotonic() >= next_look and "scheduler" in self._supervised:
                next_look = time.monotonic() + 1.0
                with self._changing:
                    self._end_orphans(self._supervised["scheduler"])

    def _end_orphans(self, scheduler: Supervised) -> None:
        """End tasks whose worker died; the executor has reported them, and Airflow runs them again."""
        session = scheduler.session
        if scheduler.process is None or session is None or scheduler.process.poll() is not None:
            return
        for process in session.orphans():
            self._report(f"task process {process.pid} lost its worker and is ended; Airflow runs it again")
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _examine(self) -> None:
        """Ask every service how it is: often while one starts, seldom when all are well."""
        while not self._stopping.wait(_CHECK if all(one.ready for one in self.all()) else _CHECK_STARTING):
            beating = heartbeats(f"{self.plan.airflow_url}/api/v2/monitor/health")
            for one in self.all():
                process, session = one.process, one.session
                if process is None or session is None:
                    continue
                if one.service.health_url:
                    well = answers(one.service.health_url)
                elif one.service.heartbeat is None:
                    # the part that tasks talk to is built on its first request, which takes seconds
                    well = beating is not None and (one.ready or answers(f"{self.plan.airflow_url}/execution/health"))
                elif beating is None:
                    continue  # without the API server nothing is known
                else:
                    well = beats(beating.get(one.service.heartbeat), session.started)
                well = well and self._welcome(one.service.name)
                if one.process is process:
                    one.judge(well)

    def _welcome(self, name: str) -> bool:
        """Do what is to be done once when a service is up."""
        if what := self._when_up.get(name):
            try:
                what()
            except Exception as error:
                self.failure = error
                return False
            del self._when_up[name]
        return True


def living_children(process: psutil.Process) -> list[psutil.Process]:
    """Return the children of a process that have not ended; none when it has ended itself."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in process.children():
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
    return found
