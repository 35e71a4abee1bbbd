"""A real Spark Connect server on loopback for the tests: Sail, without Java. Loaded by path, tests are no package."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

INCLUDE = Path(__file__).parents[2] / "include"


@contextmanager
def sailing(log: Path, **environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Its port and process; it is ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # a cluster has none of our settings: what a worker needs is in the order
    own = {name: value for name, value in os.environ.items() if not name.startswith(("BATON_", "AIRFLOW"))}
    own |= {"PYTHONPATH": str(INCLUDE), "OMP_NUM_THREADS": "1", **environment}
    command = [str(Path(sys.executable).with_name("sail")), "spark", "server", "--port", str(port)]
    with log.open("ab") as said:
        process = subprocess.Popen(command, env=own, stdout=said, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"sail did not start: {log.read_text()}")
            time.sleep(0.05)
        yield port, process
    finally:
        process.kill()
        process.wait()
