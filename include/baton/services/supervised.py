"""One supervised process: start, notice its end, restart with back-off."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baton.services.plan import Service
from baton.services.processes import Session

_MAX_DELAY = 30.0
_MAX_LOG_BYTES = 20_000_000


@dataclass
class Supervised:
    """A service and its present process.

    Attributes:
        service: what runs.
        log: file that standard output and error go to.
        process: None before the first start and while it waits for its next one.
        session: of the present or last process.
        restarts: starts after the first one.
        failures: ends in a row of processes that were never well.
        not_before: monotonic time of the next start.
        ready: whether the present process has been well once.
        unwell_since: monotonic time since when it fails its health check, None while well.
    """

    service: Service
    log: Path
    process: subprocess.Popen[bytes] | None = None
    session: Session | None = None
    restarts: int = -1
    failures: int = 0
    not_before: float = 0.0
    ready: bool = False
    unwell_since: float | None = None

    def start(self, environment: Mapping[str, str], folder: Path) -> None:
        """Start the process in a session of its own: Ctrl-C in a terminal reaches the supervisor alone.

        What it and its children write is for the owner alone.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            whole = {**environment, **self.service.environment}
            command = self.service.command
            self.process = subprocess.Popen(  # noqa: S603
                command, env=whole, cwd=folder, start_new_session=True, umask=0o077, **streams
            )
        self.session = Session.of(self.process.pid)
        self.restarts += 1
        self.ready = False
        self.unwell_since = None

    def ended(self) -> int | None:
        """Return the exit code of a process that has just ended, None while it runs or waits to start."""
        return self.process.poll() if self.process else None

    def clear(self) -> None:
        """End what is left of the session and plan the next start: at once, then after 1, 2, 4 ... 30 s.

        One that was well is started at once however often it is killed: somebody may be waiting for it.
        """
        if self.session:
            self.session.end(grace=0)
        if self.process:
            self.process.wait()
            self.process = None
        self.failures = 0 if self.ready else self.failures + 1
        delay = 0.0 if self.failures <= 1 else min(_MAX_DELAY, 2.0 ** (self.failures - 2))
        self.not_before = time.monotonic() + delay
        self.ready = False

    def stop(self) -> None:
        """TERM, then KILL after the service's grace, and wait."""
        if self.session:
            self.session.end(grace=self.service.grace if self.process else 0)
        if self.process:
            self.process.wait()
            self.process = None
        self.ready = False

    def judge(self, well: bool) -> None:
        """Note the result of a health check."""
        if well:
            self.ready = True
            self.unwell_since = None
        elif self.unwell_since is None:
            self.unwell_since = time.monotonic()

    def stuck(self, limit: float) -> bool:
        """Return whether the process runs and fails its health checks for longer than `limit` seconds."""
        since = self.unwell_since
        return bool(self.process) and since is not None and time.monotonic() - since > limit

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
