"""Processes of the services: find, signal and end them, also after their parent died.

Every service leads a session of its own. Airflow's workers and tasks stay in the session of their scheduler
whatever process group they move to, also when the scheduler is killed: the session id finds them again.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True)
class Session:
    """A service's session.

    Attributes:
        sid: process id of the service, and id of the session that it leads.
        started: its start, seconds since the epoch; tells it from a later process with the same id.
    """

    sid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the session that the process `pid` leads."""
        return cls(pid, psutil.Process(pid).create_time())

    def leader(self) -> psutil.Process | None:
        """Return the service itself while it runs."""
        return next((process for process in self.members() if process.pid == self.sid), None)

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the session and their descendants: leader, workers, tasks.

        Empty when the session id belongs to somebody else by now (another boot, or a recycled process id).
        """
        if psutil.boot_time() > self.started + 1:
            return []
        found: dict[int, psutil.Process] = {}
        others: list[tuple[psutil.Process, int]] = []
        for pid in psutil.pids():
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if os.getsid(pid) != self.sid:
                    others.append((process, process.ppid()))
                elif pid == self.sid and abs(process.create_time() - self.started) > 1:
                    return []
                else:
                    found[pid] = process
        # a task may have started a session of its own (a shell): its parent leads to it
        while more := [process for process, parent in others if parent in found and process.pid not in found]:
            found.update((process.pid, process) for process in more)
        return sorted(found.values(), key=self._rank)

    def _rank(self, process: psutil.Process) -> tuple[int, int]:
        # a worker that outlives its task would report the kill as the task's failure
        if process.pid == self.sid:
            return (0, process.pid)
        with contextlib.suppress(OSError):
            return (1 if os.getpgid(process.pid) == self.sid else 2, process.pid)
        return (2, process.pid)

    def orphans(self) -> list[psutil.Process]:
        """Return tasks whose worker died: without the process that reports for them they can only do harm.

        Empty when the service itself is gone: then all of the session is to end.
        """
        members = self.members()
        pids = {process.pid for process in members}
        if self.sid not in pids:
            return []
        lost = []
        for process in members:
            with contextlib.suppress(psutil.Error):
                if process.pid != self.sid and process.ppid() not in pids:
                    lost.append(process)
        return lost

    def end(self, grace: float, wait_dead: float = 10.0) -> list[int]:
        """Ask the leader to end (TERM), then KILL whatever is left of the session.

        Args:
            grace: seconds the leader has after TERM; 0 kills at once.
            wait_dead: seconds to wait for killed processes to disappear.

        Returns:
            Ids of processes that are still there: an empty list unless the kernel cannot end one (disk wait).
        """
        leader = self.leader()
        if grace > 0 and leader is not None:
            with contextlib.suppress(psutil.Error):
                leader.terminate()
            _wait_gone([leader], grace)
        deadline = time.monotonic() + wait_dead
        while left := self.members():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not _wait_gone(left, 1.0) and time.monotonic() > deadline:
                return [process.pid for process in left]
        return []


def _wait_gone(processes: Iterable[psutil.Process], seconds: float) -> bool:
    """Wait until all processes ended (a zombie has); return whether they did."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while True:
        left = [process for process in left if _alive(process)]
        if not left or time.monotonic() > deadline:
            return not left
        time.sleep(0.05)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def write_sessions(path: Path, sessions: dict[str, Session]) -> None:
    """Record the sessions of the services, so that a successor and the guardian can end them."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({name: asdict(session) for name, session in sessions.items()}), encoding="utf-8")
    part.replace(path)


def read_sessions(path: Path) -> dict[str, Session]:
    """Return the recorded sessions, `{}` when there are none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: Session(**fields) for name, fields in content.items()}


def guard(path: Path) -> None:
    """Wait until standard input ends, which is when the supervisor died, and end all recorded sessions.

    A supervisor that stops in good order removes the record first, so that nothing is left to do.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sessions = read_sessions(path)
    for session in sessions.values():
        session.end(grace=0)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
