"""Crash scenarios by seed: `python tests/faults/crashes.py --kind slot --seeds 17:18` runs one again.

Prints a JSON summary; exit code 1 if an invariant was violated. `make bench NAME=crashes` runs thousands.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import effect_sequences
import group_crashes
import outbox_crashes
import slot_crashes
from forked import Violation, fresh_home

from baton.record import ledger

KINDS = {"slot": slot_crashes.run_scenario, "outbox": outbox_crashes.run_scenario}
KINDS["group"] = group_crashes.run_scenario
KINDS["guarded"] = outbox_crashes.run_guarded
KINDS["agreed"] = effect_sequences.run_killed
PER_HOME = 40  # scenarios that share a warehouse; all, where a server holds it: its ledger has one key


def seeds(text: str) -> list[int]:
    """`0:10,100:200` as numbers."""
    bounds = [part.split(":") for part in text.split(",")]
    return [seed for start, end in bounds for seed in range(int(start), int(end))]


def main() -> int:
    """Run scenarios for a number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=sorted(KINDS), default="slot")
    parser.add_argument("--seeds", default="0:200", help="ranges `from:to` without the end, e.g. 0:10,100:200")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop early after this time")
    parser.add_argument("--folder", type=Path, help="where homes are made; a folder in memory needs no syncing disk")
    parser.add_argument("--traces", type=Path, help="file for the names of the interleavings, one a line")
    arguments = parser.parse_args()
    began, wanted = time.monotonic(), seeds(arguments.seeds)
    counts: Counter[str] = Counter()
    traces: set[str] = set()
    violations: list[str] = []
    done = records = 0
    step = len(wanted) if "BATON_WAREHOUSE_URL" in os.environ else PER_HOME
    with tempfile.TemporaryDirectory(prefix="baton-crashes-", dir=arguments.folder) as name:
        folder = Path(name)
        for start in range(0, len(wanted), step):
            if time.monotonic() - began > arguments.seconds:
                break
            with fresh_home(folder / "template.db", folder / f"{start}"):
                for seed in wanted[start : start + step]:
                    if time.monotonic() - began > arguments.seconds:
                        break
                    try:
                        traces.add(KINDS[arguments.kind](seed, counts))
                    except Violation as violation:
                        violations.append(str(violation))
                    done += 1
                verdict = ledger.verify()
                records += verdict.records
                if not verdict.ok:
                    violations.append(f"ledger after {arguments.kind} seeds from {wanted[start]}: {verdict.reason}")
    if arguments.traces:
        arguments.traces.write_text("\n".join(sorted(traces)))
    summary = {
        "kind": arguments.kind, "scenarios": done, "distinct": len(traces), "violations": violations,
        "endings": dict(sorted(counts.items())), "ledger_records": records, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
