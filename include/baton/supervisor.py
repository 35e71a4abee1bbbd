"""Start Airflow and MLflow on loopback and keep them running: behind `baton up`, the demo and the tests.

One supervisor per home (a lock). Two threads: one starts and ends processes, the other only asks how they are.
When this process dies without a word, a guardian process ends the services; what both missed, the next start
ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self

import httpx
import psutil

from baton import mlflow_server
from baton.errors import ServiceError
from baton.health import answers, beats, client, heartbeats, retire_jobs
from baton.processes import Session, read_sessions, write_sessions
from baton.services import Plan, Service, choose_port, prepare_home, users_file, write_secret
from baton.settings import LOOPBACK, Settings, settings
from baton.supervised import Supervised

_POLL = 0.2
_CHECK = 5.0
_CHECK_STARTING = 0.5
_STUCK_STARTING = 240.0  # a loaded machine may need minutes for the imports
_STUCK = 90.0
_GIVE_UP = 4


class Services:
    """The services of one home, started and supervised from this process.

    Use as a context manager; outside of one, call `start` and `stop`.

    Args:
        home: folder of all state; default the settings' home.
        dags_folder: default `dags/` of the project.
        plugins_folder: default `plugins/` of the project.
        extra_env: variables for all services, winning over all others.
        paused: whether new DAGs start paused.
        report: gets one line per event (started, ended, restarted, stuck).
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        dags_folder: Path | None = None,
        plugins_folder: Path | None = None,
        extra_env: Mapping[str, str] | None = None,
        paused: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.settings = Settings(home=home) if home else settings()
        self._dags = dags_folder or self.settings.project / "dags"
        self._plugins = plugins_folder or self.settings.project / "plugins"
        self._extra = dict(extra_env or {})
        self._paused = paused
        self._report = report
        self._plan: Plan | None = None
        self._supervised: dict[str, Supervised] = {}
        self._guarded: dict[str, Session] = {}
        self._changing = threading.RLock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock: IO[str] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._idle: dict[int, bool] = {}
        self._mlflow_ready = False
        self._failure: Exception | None = None

    def start(self, wait: bool = True, timeout: float = 300.0) -> float:
        """Start everything; return the seconds it took.

        Args:
            wait: return when all services are well, not when they are launched.
            timeout: seconds to wait for that.

        Raises:
            ServiceError: a port is taken, another supervisor has this home, or a service does not come up.
        """
        began = time.monotonic()
        try:
            prepare_home(self.settings)
            mlflow_server.prepare(self.settings.home)
            self._take_lock()
            self._end_leftovers()
            self._stopping = threading.Event()
            self._plan = plan = self._make_plan()
            self._start_guardian()
            self._launch(plan)
            write_secret(self.settings.services_file, json.dumps(plan.addresses()))
            settings.cache_clear()
            if wait:
                self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def _launch(self, plan: Plan) -> None:
        """Start MLflow while Airflow's database is made, then the Airflow services, then the two threads."""
        migrate = "from baton import warehouse; warehouse.migrate()"
        with ThreadPoolExecutor(3) as pool:
            tasks = [
                pool.submit(self._spawn_new, self._mlflow(plan)),
                pool.submit(self._initialise, "airflow", [sys.executable, "-m", "baton.airflow.initialise"]),
                pool.submit(self._initialise, "warehouse", [sys.executable, "-c", migrate]),
            ]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                self._end_guarded()  # or leaving the pool would wait for them
                raise
        for service in plan.airflow_services():
            self._spawn_new(service)
        loops = (self._supervise, self._examine)
        self._threads = [threading.Thread(target=loop, args=(self._stopping,), daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all services within 20 s: first those that report to the API server, then the servers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2.0)  # the one that asks may wait for an answer; it changes nothing any more
        self._threads.clear()
        with self._changing:
            servers = {"api-server", "mlflow"}
            for last in (False, True):
                group = [one for name, one in self._supervised.items() if (name in servers) is last]
                with ThreadPoolExecutor(max(1, len(group))) as pool:
                    list(pool.map(Supervised.stop, group))
            self._end_guarded()
            self._supervised.clear()
        if self._lock:
            self._sessions_file.unlink(missing_ok=True)
            self.settings.services_file.unlink(missing_ok=True)
            settings.cache_clear()
        if self._guardian and self._guardian.stdin:
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        """Start and wait until all services are well."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    def wait_ready(self, timeout: float = 300.0) -> None:
        """Wait until every service is well.

        Raises:
            ServiceError: with the end of the log of a service that keeps ending or is not well in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._failure:
                raise ServiceError(f"MLflow's accounts could not be made: {self._failure}") from self._failure
            late = [one for one in self._supervised.values() if not one.ready]
            if not late:
                return
            for one in late:
                if one.failures >= _GIVE_UP or time.monotonic() > deadline:
                    why = (
                        f"ended {one.failures} times"
                        if one.failures
                        else f"is not well after {timeout:.0f} s"
                    )
                    raise ServiceError(f"{one.service.name} {why}; the end of {one.log}:\n{one.tail()}")
            time.sleep(_POLL)

    @property
    def plan(self) -> Plan:
        """The plan of the running services; raises ServiceError before `start`."""
        if self._plan is None:
            raise ServiceError("the services are not started")
        return self._plan

    @property
    def airflow_url(self) -> str:
        """Address of Airflow."""
        return self.plan.airflow_url

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow."""
        return self.plan.mlflow_url

    @property
    def users(self) -> dict[str, str]:
        """Airflow's users and their passwords."""
        return dict(json.loads(users_file(self.settings).read_text(encoding="utf-8")))

    def token(self, user: str = "admin") -> str:
        """Return a token of Airflow's REST interface for `user`."""
        return airflow_token(self.airflow_url, user, self.users[user])

    def pids(self) -> dict[str, int]:
        """Return the process id of each running service."""
        with self._changing:
            return {name: one.process.pid for name, one in self._supervised.items() if one.process}

    def restarts(self) -> dict[str, int]:
        """Return how often each service was started again."""
        return {name: one.restarts for name, one in self._supervised.items()}

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the main process of a service; return its process id."""
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def sessions(self) -> dict[str, Session]:
        """Return the sessions of the running services."""
        with self._changing:
            return {
                name: one.session for name, one in self._supervised.items() if one.session and one.process
            }

    def workers(self) -> list[psutil.Process]:
        """Return the executor's workers: children of the scheduler that run tasks or wait for them."""
        return [process for process in psutil.Process(self.pids()["scheduler"]).children() if _alive(process)]

    def tasks(self) -> list[psutil.Process]:
        """Return the processes of running tasks: children of the workers."""
        return [task for worker in self.workers() for task in worker.children() if _alive(task)]

    def _supervise(self, stopping: threading.Event) -> None:
        """Restart what ended or hangs; end tasks that lost their worker."""
        next_look = 0.0
        while not stopping.wait(_POLL):
            for name, one in self._supervised.items():
                with self._changing:
                    code = one.ended()
                    if code is not None:
                        self._report(f"{name} ended with code {code}; its log: {one.log}")
                        one.clear()
                    elif one.stuck(_STUCK if one.ready else _STUCK_STARTING):
                        self._report(f"{name} gives no sign of life; it is ended and started again")
                        one.clear()
                    if one.process is None and time.monotonic() >= one.not_before:
                        self._spawn(one)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 1.0
                with self._changing:
                    self._look_after_workers(self._supervised["scheduler"])

    def _look_after_workers(self, scheduler: Supervised) -> None:
        """End tasks whose worker died, and the executor itself when it can hand out no more tasks.

        Idle workers wait for work one at a time, holding a lock that the kernel does not free when the holder
        is killed. So the death of a worker that had nothing to do means a new scheduler.
        """
        session = scheduler.session
        if scheduler.process is None or session is None or scheduler.process.poll() is not None:
            self._idle.clear()
            return
        for process in session.orphans():
            self._report(
                f"task process {process.pid} lost its worker and is ended; Airflow will run it again"
            )
            with contextlib.suppress(psutil.Error):
                process.kill()
        workers = {worker.pid: not worker.children() for worker in self.workers()}
        if dead := [pid for pid, idle in self._idle.items() if idle and pid not in workers]:
            self._report(f"idle worker {dead[0]} died; the scheduler is started again")
            scheduler.clear()
            workers = {}
        self._idle = workers

    def _examine(self, stopping: threading.Event) -> None:
        """Ask every service how it is, until stopped: often while one starts, seldom when all are well."""
        while not stopping.wait(_CHECK if self._all_ready() else _CHECK_STARTING):
            beating = heartbeats(f"{self.plan.airflow_url}/api/v2/monitor/health")
            for one in list(self._supervised.values()):
                process, session = one.process, one.session
                if process is None or session is None:
                    continue
                if one.service.health_url:
                    well = answers(one.service.health_url) and self._bootstrap_mlflow()
                elif one.service.heartbeat is None:
                    # the part that tasks talk to is built on its first request, which takes seconds
                    well = beating is not None
                    well = well and (one.ready or answers(f"{self.airflow_url}/execution/health"))
                elif beating is None:
                    continue  # without the API server nothing is known
                else:
                    well = beats(beating.get(one.service.heartbeat), session.started)
                if one.process is process:
                    one.judge(well)

    def _all_ready(self) -> bool:
        return all(one.ready for one in self._supervised.values())

    def _bootstrap_mlflow(self) -> bool:
        if not self._mlflow_ready:
            try:
                mlflow_server.bootstrap(self.plan.mlflow_url, self.settings.home)
            except Exception as error:
                self._failure = error
                return False
            self._mlflow_ready, self._failure = True, None
        return True

    def _make_plan(self) -> Plan:
        wanted = self.settings
        return Plan(
            settings=self.settings,
            dags_folder=self._dags,
            plugins_folder=self._plugins,
            airflow_port=choose_port(wanted.airflow_port, "BATON_AIRFLOW_PORT"),
            mlflow_port=choose_port(wanted.mlflow_port, "BATON_MLFLOW_PORT"),
            paused=self._paused,
            extra=self._extra,
        )

    def _mlflow(self, plan: Plan) -> Service:
        command, environment = mlflow_server.server_command(LOOPBACK, plan.mlflow_port, self.settings.home)
        return Service("mlflow", command, 4, health_url=f"{plan.mlflow_url}/health", environment=environment)

    def _spawn_new(self, service: Service) -> None:
        one = Supervised(service, self.settings.logs_dir / f"{service.name}.log")
        with self._changing:
            self._supervised[service.name] = one
            self._spawn(one)

    def _spawn(self, one: Supervised) -> None:
        if job_type := one.service.job_type:
            # only true because of the lock and of Session.end: nothing of the kind is alive
            retire_jobs(self.plan.metadata_url, job_type)
        one.start(self.plan.environment(), self.settings.home)
        if one.session:
            self._guard(one.service.name, one.session)
        again = f" again ({one.restarts})" if one.restarts else ""
        self._report(f"{one.service.name} started{again}")

    def _initialise(self, name: str, command: list[str]) -> None:
        """Run a command to its end, as a guarded session: an interrupted start leaves nothing behind."""
        one = Supervised(Service(f"init-{name}", command, 0), self.settings.logs_dir / f"init-{name}.log")
        with self._changing:
            one.start(self.plan.environment(), self.settings.home)
            if one.session:
                self._guard(one.service.name, one.session)
        code = one.process.wait() if one.process else None
        with self._changing:
            self._guarded.pop(one.service.name, None)
            write_sessions(self._sessions_file, self._guarded)
        if code and not self._stopping.is_set():
            raise ServiceError(f"init-{name} ended with code {code}; the end of {one.log}:\n{one.tail()}")

    def _guard(self, name: str, session: Session) -> None:
        self._guarded[name] = session
        write_sessions(self._sessions_file, self._guarded)

    def _end_guarded(self) -> None:
        for session in list(self._guarded.values()):
            session.end(grace=0)
        self._guarded.clear()

    def _start_guardian(self) -> None:
        self._guardian = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "baton.processes", str(self._sessions_file)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def _sessions_file(self) -> Path:
        return self.settings.home / "sessions.json"

    def _take_lock(self) -> None:
        path = self.settings.home / "supervisor.lock"
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise ServiceError(
                f"{self.settings.home}: process {holder} supervises it already; stop that, or set BATON_HOME"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _end_leftovers(self) -> None:
        for name, session in read_sessions(self._sessions_file).items():
            if session.members():
                self._report(f"{name} is left over from a supervisor that died; it is ended")
            session.end(grace=0)


def airflow_token(url: str, user: str, password: str) -> str:
    """Log in to Airflow at `url`; return the token for its REST interface.

    Raises:
        ServiceError: it does not answer, or refuses the user.
    """
    try:
        with client(30.0) as http:
            answer = http.post(f"{url}/auth/token", json={"username": user, "password": password})
            return str(answer.raise_for_status().json()["access_token"])
    except httpx.HTTPError as error:
        raise ServiceError(f"Airflow at {url}: no log-in for {user}: {error}") from error


def supervisor_of(home: Path) -> int | None:
    """Return the process id of the supervisor of `home`, None when nobody supervises it."""
    try:
        with (home / "supervisor.lock").open("r+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0)
            return None
    except FileNotFoundError:
        return None


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextlib.contextmanager
def running(
    home: Path | None = None,
    dags_folder: Path | None = None,
    extra_env: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Services]:
    """Yield started, healthy services and stop them at the end; arguments as in `Services`."""
    with Services(home, dags_folder=dags_folder, extra_env=extra_env, report=report) as services:
        yield services
