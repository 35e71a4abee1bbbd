"""Runs pytest in forks of a process that has imported what is heavy and is not changed: half the time of a judgement.

python warm.py SECONDS    reads lines of JSON, the arguments of pytest each; answers each with its exit code, or -1
                          when it took longer. The library itself is imported in the fork only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time

HEAVY = (
    "pytest", "pandas", "numpy",
    "pyarrow.parquet", "pyarrow.compute", "scipy.stats", "sqlalchemy", "sqlalchemy.dialects.sqlite", "alembic.command",
    "pydantic", "yaml", "httpx", "jinja2", "cryptography.hazmat.primitives.serialization",
)  # fmt: skip

_IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # asserts of libraries are not looked into


def run(arguments: list[str], patience: float) -> int:
    """Pytest's exit code from a fork; -1 when it had to be killed."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        code = 3
        try:
            code = int(sys.modules["pytest"].main([*_IMPORTED, *arguments]))
        finally:
            os._exit(code)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def main() -> None:
    """Answer until the input ends."""
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(f"{run(json.loads(line), float(sys.argv[1]))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
