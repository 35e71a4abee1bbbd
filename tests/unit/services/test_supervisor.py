"""Processes: what leads a session, what is killed with it, when a service is started again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from baton.errors import ServiceError
from baton.services.health import beats
from baton.services.plan import Service
from baton.services.processes import Session, read_sessions, write_sessions
from baton.services.supervised import Supervised
from baton.services.supervisor import Services, supervisor_of
from baton.services.watch import Watch
from baton.settings import settings

# a scheduler with a worker in its process group and, below it, a task in a group of its own
_TREE = """
import os, signal, time
def tell():
    os.write(1, b"%d\\n" % os.getpid())
def fork(below):
    if os.fork() == 0:
        below()
        tell()
        time.sleep(600)
def task():
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
fork(lambda: fork(task))
tell()
time.sleep(600)
"""


@pytest.fixture
def tree() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _TREE], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    pids = [int(process.stdout.readline()) for _ in range(3)]
    yield process
    for pid in pids:
        if psutil.pid_exists(pid):
            psutil.Process(pid).kill()
    process.wait()
    process.stdout.close()


def test_session_lists_leader_worker_task(tree: subprocess.Popen[str]) -> None:
    session = Session.of(tree.pid)
    members = session.members()
    assert members[0].pid == tree.pid
    assert [os.getpgid(process.pid) == tree.pid for process in members] == [True, True, False]
    assert session.orphans() == []


def test_ending_takes_the_whole_session(tree: subprocess.Popen[str]) -> None:
    session = Session.of(tree.pid)
    assert session.end(grace=5.0) == []
    assert session.members() == []


def test_ending_reaches_what_a_killed_leader_left(tree: subprocess.Popen[str]) -> None:
    session = Session.of(tree.pid)
    tree.kill()
    tree.wait()
    assert session.leader() is None
    assert len(session.members()) == 2
    assert session.end(grace=5.0) == []


def test_task_without_worker_is_an_orphan(tree: subprocess.Popen[str]) -> None:
    session = Session.of(tree.pid)
    _, worker, task = session.members()
    worker.kill()
    deadline = time.monotonic() + 10
    while not session.orphans() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process.pid for process in session.orphans()] == [task.pid]


def test_recycled_process_id_is_left_alone(tree: subprocess.Popen[str]) -> None:
    started = Session.of(tree.pid).started
    assert Session(tree.pid, started - 100).members() == []
    assert Session(tree.pid, psutil.boot_time() - 100).members() == []
    Session(tree.pid, started - 100).end(grace=0)
    assert tree.poll() is None


def test_guardian_ends_the_sessions_of_a_dead_supervisor(tree: subprocess.Popen[str], tmp_path: Path) -> None:
    record = tmp_path / "sessions.json"
    write_sessions(record, {"scheduler": Session.of(tree.pid)})
    guardian = subprocess.Popen([sys.executable, "-m", "baton.services.processes", str(record)], stdin=subprocess.PIPE)
    assert guardian.stdin
    time.sleep(0.5)
    assert tree.poll() is None
    guardian.stdin.close()  # what the kernel does when the supervisor is killed
    guardian.wait(30)
    assert tree.wait(5) != 0
    assert read_sessions(record) == {}


def _service(tmp_path: Path, code: str) -> Supervised:
    return Supervised(Service("probe", [sys.executable, "-c", code], 1.0), tmp_path / "logs" / "probe.log")


def _wait_ended(one: Supervised) -> int:
    deadline = time.monotonic() + 20
    while (code := one.ended()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


def test_output_goes_to_the_log_and_the_code_is_seen(tmp_path: Path) -> None:
    one = _service(tmp_path, "print('no such option'); raise SystemExit(3)")
    one.start(os.environ, tmp_path)
    assert _wait_ended(one) == 3
    assert one.tail() == "no such option"


def test_what_a_service_writes_is_for_its_owner(tmp_path: Path) -> None:
    one = _service(tmp_path, "import pathlib; pathlib.Path('a').touch(); pathlib.Path('b').mkdir()")
    one.start(os.environ, tmp_path)
    assert _wait_ended(one) == 0
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in "ab"] == ["0o600", "0o700"]


def test_restarts_back_off(tmp_path: Path) -> None:
    one = _service(tmp_path, "pass")
    delays = []
    for _ in range(8):
        one.start(os.environ, tmp_path)
        _wait_ended(one)
        one.clear()
        delays.append(round(one.not_before - time.monotonic()))
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30]
    assert one.restarts == 7
    assert one.process is None


def test_a_service_that_was_well_is_started_at_once_however_often_it_is_killed(tmp_path: Path) -> None:
    one = _service(tmp_path, "pass")
    seen = []
    for well in (False, False, False, True, True, True, True, True, False, False, False):
        one.start(os.environ, tmp_path)
        _wait_ended(one)
        one.judge(well)
        one.clear()
        seen.append((one.failures, round(one.not_before - time.monotonic())))
    failed = [(1, 0), (2, 1), (3, 2)]
    assert seen == [*failed, *[(0, 0)] * 5, *failed]


def test_silent_service_counts_as_stuck(tmp_path: Path) -> None:
    one = _service(tmp_path, "import time; time.sleep(600)")
    one.start(os.environ, tmp_path)
    try:
        one.judge(well=True)
        assert one.ready
        assert not one.stuck(0.0)
        one.judge(well=False)
        time.sleep(0.01)
        assert one.stuck(0.0)
        assert not one.stuck(60.0)
        one.judge(well=True)
        assert not one.stuck(0.0)
    finally:
        one.stop()
    assert one.session
    assert one.session.members() == []


def test_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    one = _service(tmp_path, "print('x' * 20)")
    for written in (100, 20_000_001, 20_000_001):
        one.log.parent.mkdir(exist_ok=True)
        one.log.touch()
        os.truncate(one.log, written)  # a file with a hole, which takes no room
        one.start(os.environ, tmp_path)
        _wait_ended(one)
        one.clear()
        assert one.log.stat().st_size == (121 if written == 100 else 21)
    assert one.log.with_suffix(".log.1").stat().st_size == 20_000_001


@pytest.mark.parametrize(
    ("age", "since_start", "expected"), [(1, 10, True), (31, 100, False), (5, 1, False)]
)  # fmt: skip
def test_heartbeat_counts_when_recent_and_own(age: float, since_start: float, expected: bool) -> None:
    now = time.time()
    assert beats(now - age, started=now - since_start) is expected
    assert beats(None, started=now) is False


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the services that would run, in order; no process is started for them."""
    names: list[str] = []
    monkeypatch.setattr(Watch, "add", lambda self, service: names.append(service.name))
    monkeypatch.setattr(Watch, "run_once", lambda self, name, command: names.append(name))
    monkeypatch.setattr(Watch, "begin", lambda self: None)
    monkeypatch.setattr("baton.services.supervisor.choose_port", lambda wanted, variable: 1)
    return names


def test_one_supervisor_per_home(home: Path, launched: list[str]) -> None:
    assert supervisor_of(home) is None
    first = Services()
    first.start(wait=False)
    try:
        assert supervisor_of(home) == os.getpid()
        assert launched[0] == "mlflow", "the others report to it"
        assert set(launched[1:]) >= {"init-airflow", "init-warehouse", "api-server", "scheduler"}
        assert launched.index("init-airflow") < launched.index("api-server")
        assert settings().airflow_url == "http://127.0.0.1:1"
        with pytest.raises(ServiceError, match=f"process {os.getpid()} supervises it already"):
            Services().start()
        assert settings().airflow_url, "the refused one must not clear up after the other"
    finally:
        first.stop()
    assert supervisor_of(home) is None
    assert settings().airflow_url is None


def test_next_start_ends_what_a_dead_supervisor_left(
    home: Path, tree: subprocess.Popen[str], launched: list[str]
) -> None:
    write_sessions(settings().sessions_file, {"scheduler": Session.of(tree.pid)})
    said: list[str] = []
    services = Services(report=said.append)
    services.start(wait=False)
    services.stop()
    assert tree.wait(5) != 0
    assert said == ["scheduler is left over from a supervisor that died; it is ended"]


def test_questions_before_the_start_are_refused(home: Path) -> None:
    with pytest.raises(ServiceError, match="not started"):
        Services().pids()
