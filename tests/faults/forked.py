"""Attempts as forked processes that a director stops at fault points, lets go on, and has kill themselves (SIGKILL).

The parent has imported everything and has an engine whose statements are compiled; a process that ended its attempt
takes the next one, only one that was killed is replaced.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import pickle
import select
import shutil
import signal
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baton.record import warehouse
from baton.settings import settings

_PR_SET_PDEATHSIG = 1
PATIENCE = 30.0  # seconds without a sign of life: a deadlock


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Process:
    """A forked process that carries out one attempt after another until it is killed in the middle of one."""

    pid: int
    orders: int
    reports: int

    @classmethod
    def fork(cls) -> Process:
        order_out, orders = os.pipe()
        reports, report_in = os.pipe()
        known = warehouse.engine()
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            gc.disable()
            # without its connections, which were closed before the fork, but with what it has compiled
            warehouse.engine = lambda: known
            _child(order_out, report_in)
        os.close(order_out)
        os.close(report_in)
        return cls(pid, orders, reports)

    def end(self) -> None:
        """Kill it, if it has not killed itself, and wait."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.orders)
        os.close(self.reports)


_IDLE: list[Process] = []


def dismiss() -> None:
    """End the processes that have nothing to do: they belong to one home."""
    while _IDLE:
        _IDLE.pop().end()


@dataclass
class Attempt:
    """An attempt in a process of its own as the director sees it; `at` is the fault point where it waits.

    Attributes:
        action: what it does, can be pickled; gets the function to call at each fault point, returns its last message
            (with `at`).
        trace: gets a word for every order, also of the other attempts of a scenario.
    """

    action: Callable[[Callable[[str], None]], dict[str, Any]]
    trace: list[str]
    name: str
    kill_at: str | None = None
    sleep_at: str | None = None  # stays there until all others have ended
    process: Process | None = None
    at: str = "start"
    waiting: bool = False  # told to go on, blocked by another attempt's lock
    ended: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    buffer: bytes = b""

    def start(self) -> None:
        """Have a process that waits for the order to begin."""
        self.process = _IDLE.pop() if _IDLE else Process.fork()
        body = pickle.dumps(self.action)
        os.write(self.process.orders, struct.pack("I", len(body)) + body)

    @property
    def _mine(self) -> Process:
        assert self.process is not None
        return self.process

    def order(self) -> None:
        """Let it go on; or, at its point, have it kill itself."""
        if self.at == self.kill_at:
            self.trace.append(f"{self.name} dies at {self.at}")
            os.write(self._mine.orders, b"k")
            self._mine.end()
            self.ended = "killed"
            return
        self.trace.append(f"{self.name} goes on from {self.at}")
        os.write(self._mine.orders, b"g")
        self.waiting = True

    def report(self) -> None:
        """Wait for the next sign of life."""
        while b"\n" not in self.buffer:
            if not select.select([self._mine.reports], [], [], PATIENCE)[0]:
                raise Violation(f"no sign of life for {PATIENCE:.0f} s after {self.at}")
            chunk = os.read(self._mine.reports, 65536)
            if not chunk:
                raise Violation(f"died by itself after {self.at}")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        message = json.loads(line)
        self.waiting = False
        if message.get("point"):
            self.at = message["at"]
        else:
            self.result, self.ended = message, message["at"]
            _IDLE.append(self._mine)

    def step(self) -> None:
        """Make one step, when no lock can be in its way."""
        self.order()
        if self.ended is None:
            self.report()

    def finish(self) -> None:
        """Start it and have it go on to its end, when no lock can be in its way."""
        self.start()
        while self.ended is None:
            self.step()

    @property
    def outcome(self) -> str:
        """How it ended, and of a killed one where, as scenarios count it."""
        return str(self.ended) if self.ended != "killed" else f"killed at {self.at}"

    def bury(self) -> None:
        """Kill it if it is still there."""
        if self.process and self.ended is None:
            self.process.end()
            self.ended = "buried"


def _child(orders: int, reports: int) -> None:
    def tell(message: dict[str, Any]) -> None:
        os.write(reports, json.dumps(message).encode() + b"\n")

    def wait() -> None:
        if os.read(orders, 1) != b"g":
            os.kill(os.getpid(), signal.SIGKILL)

    def stop(point: str) -> None:
        tell({"at": point, "point": True})
        wait()

    try:
        while True:
            action = pickle.loads(os.read(orders, struct.unpack("I", os.read(orders, 4))[0]))
            wait()
            try:
                last = action(stop)
            except Exception as error:
                last = {"at": "failed", "error": repr(error)}
            tell(last)
    finally:
        os._exit(1)


def digest(trace: list[str]) -> str:
    """Name of an interleaving: who did which step in which order, and who died where."""
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()[:16]


@contextmanager
def fresh_home(template: Path, folder: Path) -> Iterator[None]:
    """A home of its own with an empty warehouse: what a scenario costs must not grow with those before it.

    Where BATON_WAREHOUSE_URL names a server, its database is taken as it is.

    Args:
        template: a migrated SQLite file; made when it is not there.
    """
    before = os.environ.get("BATON_HOME")
    os.environ["BATON_HOME"] = str(folder)
    settings.cache_clear()
    try:
        folder.mkdir(parents=True)
        if warehouse.engine().dialect.name != "sqlite":
            warehouse.migrate()
        elif not template.exists():
            warehouse.migrate()
            warehouse.engine().dispose()
            with closing(sqlite3.connect(folder / "warehouse.db")) as made, closing(sqlite3.connect(template)) as kept:
                made.backup(kept)
        else:
            shutil.copy(template, folder / "warehouse.db")
        gc.collect()
        gc.freeze()
        yield
    finally:
        dismiss()
        warehouse.engine().dispose()
        gc.unfreeze()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("BATON_HOME")
        if before is not None:
            os.environ["BATON_HOME"] = before
        settings.cache_clear()
