"""The supervisor: starts Airflow and MLflow on loopback and keeps them running, for `baton up`, the demo and the tests.

One supervisor per home (a lock). When this process dies without a word, a guardian process ends the services;
what both missed, the next start ends.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self

import psutil

from baton.errors import ServiceError
from baton.files import place
from baton.services import mlflow_server
from baton.services.companions import Companion, companions
from baton.services.health import airflow_token
from baton.services.plan import Plan, Service, choose_port, prepare_home, unsaid, users_file
from baton.services.processes import Session, read_sessions
from baton.services.watch import POLL, Watch, living_children
from baton.settings import LOOPBACK, Settings, settings

_GIVE_UP = 4  # ends in a row of processes that were never well
_MIGRATE = "from baton.published.carrying import migrate; migrate()"


class Services:
    """The services of one home, started and supervised from this process.

    Use as a context manager; outside of one, call `start` and `stop`.

    Args:
        home: folder of all state; default the settings' home.
        dags_folder: default `dags/` of the project.
        plugins_folder: default `plugins/` of the project.
        extra_env: variables for all services, winning over all others.
        paused: whether new DAGs start paused.
        report: gets one line per event (started again, ended, stuck).
        companions_of: packs whose companions are started; none: those of all packs.
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
        companions_of: Sequence[str] = (),
    ) -> None:
        self.settings = Settings(home=home) if home else settings()
        self._dags = dags_folder or self.settings.project / "dags"
        self._plugins = plugins_folder or self.settings.project / "plugins"
        self._extra = dict(extra_env or {})
        self._paused = paused
        self._report = report
        self._companions_of = companions_of
        self._watch: Watch | None = None
        self._lock: IO[str] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

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
            if line := unsaid(self.settings):
                self._report(line)
            prepare_home(self.settings)
            mlflow_server.prepare(self.settings.home)
            self._take_lock()
            self._end_leftovers()
            plan = self._make_plan()
            url, home = plan.mlflow_url, self.settings.home
            when_up = {"mlflow": lambda: mlflow_server.bootstrap(url, home)}
            self._watch = Watch(plan, self._report, when_up)
            self._start_guardian()
            ports = self._launch(self._watch)
            beside = {name: {"url": Companion.url(port), "port": port} for name, port in ports.items()}
            place(self.settings.services_file, json.dumps({**plan.addresses(), **beside}), replace=True)
            settings.cache_clear()
            if wait:
                self.wait_ready(timeout)
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def stop(self) -> None:
        """End all services within 20 s: the servers after those that report to them."""
        if self._watch:
            self._watch.end(last=("api-server", "mlflow"))
            self._watch = None
        if self._lock:
            self.settings.sessions_file.unlink(missing_ok=True)
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
        watch = self._running()
        deadline = time.monotonic() + timeout
        while late := [one for one in watch.all() if not one.ready]:
            if watch.failure:
                raise ServiceError(f"setting up a service failed: {watch.failure}") from watch.failure
            for one in late:
                if one.failures >= _GIVE_UP or time.monotonic() > deadline:
                    why = f"ended {one.failures} times" if one.failures else f"not well after {timeout:.0f} s"
                    raise ServiceError(f"{one.service.name}: {why}; the end of {one.log}:\n{one.tail()}")
            time.sleep(POLL)

    @property
    def airflow_url(self) -> str:
        """Address of Airflow."""
        return self._running().plan.airflow_url

    @property
    def mlflow_url(self) -> str:
        """Address of MLflow."""
        return self._running().plan.mlflow_url

    @property
    def users(self) -> dict[str, str]:
        """Airflow's users and their passwords."""
        return dict(json.loads(users_file(self.settings).read_text(encoding="utf-8")))

    def token(self, user: str = "admin") -> str:
        """Return a token of Airflow's REST interface for `user`; waits while the server is started again."""
        return airflow_token(self.airflow_url, user, self.users[user], patience=90.0)

    def pids(self) -> dict[str, int]:
        """Return the process id of each running service."""
        return {name: session.sid for name, session in self.sessions().items()}

    def sessions(self) -> dict[str, Session]:
        """Return the session of each running service."""
        return self._running().sessions()

    def restarts(self) -> dict[str, int]:
        """Return how often each service was started again."""
        return {one.service.name: one.restarts for one in self._running().all()}

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the main process of a service; return its process id."""
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def workers(self) -> list[psutil.Process]:
        """Return the executor's workers: children of the scheduler that run tasks or wait for them."""
        return self._running().workers()

    def tasks(self) -> list[psutil.Process]:
        """Return the processes of running tasks: children of the workers."""
        return [task for worker in self.workers() for task in living_children(worker)]

    def _running(self) -> Watch:
        if self._watch is None:
            raise ServiceError("the services are not started")
        return self._watch

    def _launch(self, watch: Watch) -> dict[str, int]:
        """Start MLflow and companions while Airflow's database is made, then Airflow, then watching; returns companions' ports."""
        python, plan = sys.executable, watch.plan
        command, environment = mlflow_server.server_command(LOOPBACK, plan.mlflow_port, self.settings.home)
        health_url = f"{plan.mlflow_url}/health"
        watch.add(Service("mlflow", command, 4, health_url=health_url, environment=environment))
        ports = {}
        for one in companions(self.settings, self._companions_of):
            ports[one.name] = choose_port(None, one.name)
            watch.add(Service(one.name, one.on(ports[one.name]), 4, health_url=f"{one.url(ports[one.name])}/health"))
        with ThreadPoolExecutor(2) as pool:
            initialise = [python, "-m", "baton.airflow.server.initialise", json.dumps(ports)]
            once = {"init-airflow": initialise, "init-warehouse": [python, "-c", _MIGRATE]}
            tasks = [pool.submit(watch.run_once, name, command) for name, command in once.items()]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                watch.abandon()  # or leaving the pool would wait for them
                raise
        for service in plan.airflow_services():
            watch.add(service)
        watch.begin()
        return ports

    def _make_plan(self) -> Plan:
        wanted = self.settings
        airflow = choose_port(wanted.airflow_port, "BATON_AIRFLOW_PORT")
        mlflow = choose_port(wanted.mlflow_port, "BATON_MLFLOW_PORT")
        return Plan(wanted, self._dags, self._plugins, airflow, mlflow, self._paused, self._extra)

    def _start_guardian(self) -> None:
        command = [sys.executable, "-m", "baton.services.processes", str(self.settings.sessions_file)]
        self._guardian = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own

    def _take_lock(self) -> None:
        lock = (self.settings.home / "supervisor.lock").open("a+", encoding="utf-8")
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
        for name, session in read_sessions(self.settings.sessions_file).items():
            if session.members():
                self._report(f"{name} is left over from a supervisor that died; it is ended")
            session.end(grace=0)


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
