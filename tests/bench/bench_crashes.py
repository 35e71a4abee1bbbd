"""Crash scenarios of commits and effects: processes killed (SIGKILL) at fault points, interleaved by seeds.

A scenario counts when its interleaving (who made which step in which order, who died where) is not that of another. Each
is checked: rows published once, one head, objects that verify, each effect booked and recorded once, a whole ledger.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HARNESS = Path(__file__).parents[1] / "faults" / "crashes.py"
LANES = (("slot", 0, 3600), ("slot", 3600, 7200), ("outbox", 0, 2150), ("outbox", 2150, 4300))
BEST_PUBLISHED = 10_712


def run(seed: int, out: Path) -> list[dict[str, Any]]:
    """Run all lanes, two at a time; a scenario has a seed of its own."""
    began = time.monotonic()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a killed process needs no disk that syncs
    with tempfile.TemporaryDirectory(prefix="baton-crashes-", dir=memory) as name, ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(lambda number: _lane(number, Path(name)), range(len(LANES))))
        seconds = time.monotonic() - began
        traces = {(file.stem[:-1], line) for file in Path(name).glob("*.txt") for line in file.read_text().split()}
    violations = [found for one in summaries for found in one["violations"]]
    (out / "crashes_endings.json").write_text(json.dumps(summaries, indent=1), encoding="utf-8")
    shared = {"seed": seed, "scenarios": sum(one["scenarios"] for one in summaries), "violations": violations}
    none = {"peer": None, "peer_value": None, "ratio": None}
    return [
        {"name": "distinct crash scenarios", "value": len(traces), "unit": "", "target": 11_000, "larger_is_better": True,
         "peer": "best published", "peer_value": BEST_PUBLISHED, "ratio": len(traces) / BEST_PUBLISHED, **shared},
        {"name": "of them with a loss or a double", "value": len(violations), "unit": "", "target": 0,
         "larger_is_better": False, **none, **shared},
        {"name": "time for all", "value": seconds, "unit": "s", "target": 600.0, "larger_is_better": False, **none, **shared},
    ]  # fmt: skip


def _lane(number: int, folder: Path) -> dict[str, Any]:
    kind, start, end = LANES[number]
    command = [
        sys.executable, str(HARNESS), "--kind", kind, "--seeds", f"{start}:{end}", "--seconds", "3600",
        "--folder", str(folder), "--traces", str(folder / f"{kind}{number}.txt"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return dict(json.loads(done.stdout))
