"""Evidence about a model with a year of history, on the year of `bench_year.py` (built where it is not there: minutes, 5 GB).

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
    "as of a moment, a model": ("s", 0.5, False),
    "as of a moment, a flow": ("s", 0.5, False),
    "pack of a flow": ("s", 20.0, False),
    "size of the flow's pack": ("MB", None, False),
    "pack of a decision": ("s", 20.0, False),
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
    from baton.console.queries.lineage import lineage
    from baton.evidence import decision
    from baton.evidence import flow as of_flow
    from baton.evidence.from_ledger import inclusion
    from baton.evidence.model import evidence
    from baton.evidence.pack import source
    from baton.record import anchor, asof, checkpoint, ledger, tables, warehouse
    from baton.settings import settings

    year = runpy.run_path(str(Path(__file__).parent / "year_rows.py"))
    model, flow = year["MODEL"], year["FLOW"]
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
    with warehouse.read() as conn:
        found["as of a moment, a model"], _ = timed(lambda: asof.of_model(conn, model, warehouse.now()))
        found["as of a moment, a flow"], _ = timed(lambda: asof.of_flow(conn, flow, f"{year['hour'](4380)}.000000Z"))
    keys_dir: Path = settings().keys_dir
    found["pack of a flow"], large = timed(lambda: of_flow.evidence(flow, keys_dir, lambda *_: NONE))
    found["size of the flow's pack"] = len(large) / 1e6

    def of_decision() -> bytes:
        entity = year["keys"](4380, year["Size"]())[7]
        line = lineage(flow, entity)
        assert line.published is not None
        checked = [(one.commit, one.row) for one in line.checked]
        basis = decision.Basis(
            flow, entity, line.partition, line.decision, line.scores, line.published, checked, line.sources
        )
        return decision.evidence(basis, keys_dir, lambda *_: NONE)

    found["pack of a decision"], _ = timed(of_decision)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pack.zip").write_bytes(data)
        Path(folder, "flow.zip").write_bytes(large)
        Path(folder, "verify.py").write_text(source())
        words = [sys.executable, "-I", "-S", "verify.py", "pack.zip", "--key", str(anchor.folder() / "evidence.pub")]
        seconds, done = timed(lambda: subprocess.run(words, cwd=folder, capture_output=True, text=True))
        found["verify.py on a bare Python"] = seconds
        words[4] = "flow.zip"
        of_large = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    found["verify.py says that all is as signed"] = float(not (done.returncode or of_large.returncode))
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
