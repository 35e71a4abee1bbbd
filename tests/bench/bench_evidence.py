"""Evidence about a model with a year of history, on the year of `bench_year.py` (built where it is not there: minutes, 8 GB).

    python tests/bench/bench_evidence.py                    all, as `make bench NAME=evidence`
    python tests/bench/bench_evidence.py measure            in this process, as JSON

Measured after the first checkpoint, which reads the whole ledger once. Appends are single transactions on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APPENDS = 2000
PROOFS = 200
NONE = "the year has no registry"
# figure -> unit, target, larger is better
FIGURES: dict[str, tuple[str, float | None, bool]] = {
    "first checkpoint of the year": ("s", None, False),
    "checkpoint of 1,000 new entries": ("s", 0.5, False),
    "pack of a model": ("s", 20.0, False),
    "size of the pack": ("MB", 20.0, False),
    "the same bytes when repeated": ("", 1.0, True),
    "proof of an old entry, mean": ("ms", 10.0, False),
    "verify.py on a bare Python": ("s", None, False),
    "verify.py says that all is as signed": ("", 1.0, True),
    "ledger verify": ("s", 5.0, False),
    "append, durable": ("/s", 250.0, True),
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what was returned."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def append(count: int) -> None:
    """Entries, each in a transaction of its own."""
    from baton.record import ledger, warehouse

    for number in range(count):
        with warehouse.write() as conn:
            ledger.append(conn, "noted", f"bench/{number}", {"n": number})


def measure() -> dict[str, float]:
    """Each figure, in the home of the environment."""
    from baton.evidence.from_ledger import inclusion
    from baton.evidence.model import evidence
    from baton.evidence.pack import source
    from baton.record import anchor, checkpoint, ledger, tables, warehouse
    from baton.settings import settings

    model = runpy.run_path(str(Path(__file__).parent / "year_rows.py"))["MODEL"]
    found: dict[str, float] = {}
    checkpoint.path().unlink(missing_ok=True)  # of an earlier measurement
    with warehouse.write() as conn:
        conn.execute(tables.ledger_tree.delete())
    found["first checkpoint of the year"], _ = timed(ledger.checkpoint)
    found["ledger verify"], whole = timed(ledger.verify)
    assert whole.ok, whole.reason
    seconds, _ = timed(lambda: append(APPENDS))
    found["append, durable"] = APPENDS / seconds
    ledger.checkpoint()
    append(999)
    found["checkpoint of 1,000 new entries"], at = timed(ledger.checkpoint)
    with warehouse.read() as conn:
        step = at.size // PROOFS
        seconds, _ = timed(lambda: [inclusion(conn, 1 + number * step, at) for number in range(PROOFS)])
    found["proof of an old entry, mean"] = seconds / PROOFS * 1000
    pack: Callable[[], bytes] = lambda: evidence(model, 1, settings().keys_dir, NONE)  # noqa: E731
    found["pack of a model"], data = timed(pack)
    found["size of the pack"] = len(data) / 1e6
    found["the same bytes when repeated"] = float(hashlib.sha256(data).digest() == hashlib.sha256(pack()).digest())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pack.zip").write_bytes(data)
        Path(folder, "verify.py").write_text(source())
        words = [sys.executable, "-I", "-S", "verify.py", "pack.zip", "--key", str(anchor.folder() / "evidence.pub")]
        seconds, done = timed(lambda: subprocess.run(words, cwd=folder, capture_output=True, text=True))
    found["verify.py on a bare Python"] = seconds
    found["verify.py says that all is as signed"] = float(not done.returncode)
    return found


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Measure in a process of its own on the year."""
    environment = runpy.run_path(str(Path(__file__).parent / "bench_year.py"))["built"](out)
    done = subprocess.run(
        [sys.executable, __file__, "measure"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    values = json.loads(done.stdout.splitlines()[-1])
    return [
        {"name": name, "value": values[name], "unit": unit, "target": target, "larger_is_better": larger, "required": True,
         "seed": seed, "load": os.getloadavg()}
        for name, (unit, target, larger) in FIGURES.items()
    ]  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure() if sys.argv[1:] == ["measure"] else run(20, Path(tempfile.mkdtemp()))) + "\n")
